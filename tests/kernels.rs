//! Older kernels, and sandboxes that refuse calls: the promise is Linux 5.12,
//! and where something around bryo refuses a call, it does without or says
//! which.

use crate::common::kernel::{Filter, Like};
use crate::common::{Output, Sandbox, busybox_tar, granted, require_subtree};
use nix::errno::Errno;
use std::io::{Read, Write};
use std::net::TcpStream;

/// What Linux 5.12 does not have, as far as numbers and flags tell.
fn linux_5_12() -> Filter {
    use Like::{Has, Is};
    /// `TUN_F_USO4` and `TUN_F_USO6`.
    const USO: u32 = 0x60;
    /// `SECCOMP_IOCTL_NOTIF_SET_FLAGS`.
    const SET_FLAGS: u32 = 0x4008_2104;
    let invalid = |filter: Filter, number, arguments: &[(u32, Like)]| {
        filter.deny_like(number, arguments, Errno::EINVAL)
    };
    // mount_setattr is its newest.
    let filter = Filter::new().unknown_from(libc::SYS_mount_setattr + 1);
    // MFD_NOEXEC_SEAL and MFD_EXEC, Linux 6.3.
    let filter = invalid(filter, libc::SYS_memfd_create, &[(1, Has(0x18))]);
    // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19.
    let filter = invalid(filter, libc::SYS_seccomp, &[(1, Has(1 << 5))]);
    // Linux 6.6.
    let filter = invalid(filter, libc::SYS_ioctl, &[(1, Is(SET_FLAGS))]);
    // Linux 6.2.
    let offload = [(1, Is(libc::TUNSETOFFLOAD as u32)), (2, Has(USO))];
    let filter = invalid(filter, libc::SYS_ioctl, &offload);
    // MOVE_MOUNT_SET_GROUP, Linux 5.15, and MOVE_MOUNT_BENEATH, 6.5.
    let filter = invalid(filter, libc::SYS_move_mount, &[(4, Has(0x300))]);
    // PIDFD_THREAD, Linux 6.9, and what belongs to it.
    let filter = invalid(filter, libc::SYS_pidfd_open, &[(1, Has(0x80))]);
    let filter = invalid(filter, libc::SYS_pidfd_send_signal, &[(3, Has(u32::MAX))]);
    // AT_EXECVE_CHECK, Linux 6.14.
    invalid(filter, libc::SYS_execveat, &[(4, Has(0x1_0000))])
}

/// Ids of a range come from a set-user-ID program, which is none below a filter
/// ([`Filter::around`]): those of a container that runs are there already.
fn with_ids(sandbox: &Sandbox, work: impl FnOnce()) {
    let has_range = granted("/etc/subuid").is_some();
    let holder = has_range.then(|| sandbox.start("holder", &["--init"]));
    work();
    if let Some(holder) = holder {
        sandbox.bryo(["rm", "-f", "holder"]).output().expect(0);
        drop(holder);
    }
}

/// Runs commands below a filter; the test itself is not.
struct Below<'a> {
    sandbox: &'a Sandbox,
    filter: Filter,
}

impl Below<'_> {
    fn bryo(&self, words: &[&str]) -> Output {
        let run = self.sandbox.bryo(words).forked();
        self.filter.around(|| run.spawn()).wait()
    }

    fn shell(&self, image: &str, flags: &[&str], script: &str) -> String {
        let run = [&["run", "--rm", "--network", "none"], flags].concat();
        let run = self.bryo(&[&run[..], &[image, "sh", "-c", script]].concat());
        run.expect(0).stdout
    }
}

/// What most people do with containers, from an archive to an archive.
fn tour(sandbox: &Sandbox, filter: Filter) {
    // To pause one.
    require_subtree();
    let below = Below { sandbox, filter };
    let bryo = |words: &[&str]| below.bryo(words).expect(0).stdout;
    let path = |name: &str| sandbox.work().join(name).display().to_string();
    let tar = busybox_tar().display().to_string();
    bryo(&["import", &tar, "imported"]);
    bryo(&["save", "-o", &path("saved.tar"), "imported"]);
    bryo(&["rmi", "imported"]);
    bryo(&["load", "-i", &path("saved.tar")]);
    assert_eq!(
        sandbox.shell_of("imported", &[], "echo hello $$"),
        "hello 1"
    );

    // The life of a container.
    let script = "echo begun; trap 'exit 3' TERM; while :; do sleep 1000 & wait; done";
    let quiet = ["--network", "none", "--volume", "kept:/kept"];
    let run = [&["run", "-d", "--name", "c"], &quiet[..]].concat();
    bryo(&[&run[..], &["busybox", "sh", "-c", script]].concat());
    assert_eq!(
        bryo(&["exec", "c", "sh", "-c", "id -u; echo x >/kept/f"]),
        "0\n"
    );
    sandbox.write("file", "of the host");
    bryo(&["cp", &path("file"), "c:/copied"]);
    bryo(&["cp", "c:/etc/passwd", &path("passwd")]);
    bryo(&["pause", "c"]);
    bryo(&["unpause", "c"]);
    assert!(bryo(&["diff", "c"]).contains("A /copied\n"));
    assert!(bryo(&["top", "c"]).contains("sleep"));
    bryo(&["stop", "c"]);
    assert_eq!(bryo(&["wait", "c"]), "3\n");
    assert_eq!(bryo(&["logs", "c"]), "begun\n");
    bryo(&["commit", "c", "made"]);
    assert_eq!(below.shell("made", &[], "cat /copied"), "of the host");
    bryo(&["start", "c"]);
    bryo(&["kill", "c"]);
    assert_eq!(bryo(&["wait", "c"]), "137\n");
    bryo(&["cp", "c:/copied", &path("again")]);
    bryo(&["export", "-o", &path("exported.tar"), "c"]);
    bryo(&["rm", "c"]);
    bryo(&["volume", "rm", "kept"]);

    // One id that is all of them, and a terminal.
    let flags = [
        "--userns",
        "single",
        "--root-emulation",
        "full",
        "--init",
        "-t",
    ];
    let script = "touch /f && chown 3:4 /f && stat -c %u:%g /f && tty";
    let said = below.shell("busybox", &flags, script);
    assert_eq!(said, "3:4\r\n/dev/pts/0\r\n");

    // Networks.
    bryo(&["network", "create", "n"]);
    let server = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];
    let run = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "n",
        "-p",
        "127.0.0.1::80",
    ];
    bryo(&[&run[..], &server].concat());
    let ask = "until wget -qO- http://web/hostname; do sleep 0.1; done | wc -c";
    let client = ["run", "--rm", "--network", "n", "busybox", "sh", "-c", ask];
    assert_eq!(bryo(&client), "13\n");
    let address = bryo(&["port", "web", "80"]);
    let mut page = String::new();
    let mut connection = TcpStream::connect(address.trim()).unwrap();
    connection
        .write_all(b"GET /hostname HTTP/1.0\r\n\r\n")
        .unwrap();
    connection.read_to_string(&mut page).unwrap();
    assert!(page.contains("200 OK"), "{page}");
    bryo(&["rm", "-f", "web"]);
    bryo(&["network", "rm", "n"]);
    let lookup = ["run", "--rm", "--network", "user", "busybox", "ip", "route"];
    assert!(bryo(&lookup).starts_with("default via "));

    assert!(bryo(&["info"]).contains("Linux"));
    assert!(bryo(&["images"]).contains("made"));
    bryo(&["rmi", "made", "imported"]);
    assert_eq!(bryo(&["ps", "-aq"]).lines().count(), holders(sandbox));
}

/// How many containers hold ids ([`with_ids`]).
fn holders(sandbox: &Sandbox) -> usize {
    let all = sandbox.bryo(["ps", "-q"]).stdout();
    all.lines().count()
}

#[test]
fn linux_5_12_is_enough() {
    let sandbox = Sandbox::with_busybox();
    with_ids(&sandbox, || tour(&sandbox, linux_5_12()));
}

/// How sandboxes refuse a call: as a kernel without it, which is how it should
/// be, and as older ones did all calls that they did not know.
const REFUSALS: [Errno; 2] = [Errno::ENOSYS, Errno::EPERM];

#[test]
fn what_a_sandbox_hides_is_done_without() {
    let sandbox = Sandbox::with_busybox();
    with_ids(&sandbox, || {
        for errno in REFUSALS {
            let hidden = [
                libc::SYS_close_range,
                libc::SYS_copy_file_range,
                libc::SYS_epoll_pwait2,
                libc::SYS_faccessat2,
                libc::SYS_fchmodat2,
                libc::SYS_landlock_create_ruleset,
                libc::SYS_memfd_secret,
                libc::SYS_mount_setattr,
                libc::SYS_pidfd_getfd,
                libc::SYS_renameat2,
                libc::SYS_splice,
                libc::SYS_statx,
            ];
            let filter = hidden.into_iter();
            let filter = filter.fold(Filter::new(), |filter, call| filter.deny(call, errno));
            tour(&sandbox, filter);
        }
    });
}

#[test]
fn roots_of_the_machine_are_shown_without_what_a_sandbox_hides() {
    let sandbox = Sandbox::with_busybox();
    let tree = sandbox.busybox_tree("tree").display().to_string();
    with_ids(&sandbox, || {
        for errno in REFUSALS {
            let below = Below {
                sandbox: &sandbox,
                filter: Filter::new().deny(libc::SYS_mount_setattr, errno),
            };
            let run = |flags: &[&str], script: &str| {
                let run = [&["run", "--rm", "--network", "none"], flags].concat();
                below.bryo(&[&run[..], &["sh", "-c", script]].concat())
            };
            let script = "echo x >/made && echo made; test -e /proc/1/stat && echo shown";
            let said = run(&["--rootfs", &tree], script).expect(0).stdout;
            assert_eq!(said, "made\nshown\n");
            let said = run(&["--read-only", "--rootfs", &tree], script).expect(0);
            assert_eq!(said.stdout, "shown\n", "{said}");
            assert!(said.stderr.contains("Read-only"), "{said}");
            // Its own root, of which nothing can be changed.
            let script = "echo x >/made && echo made; touch /usr/bin/x || echo kept; \
                          test -e /usr/bin/env && echo shown";
            let said = run(&["host"], script).expect(0);
            assert!(said.stdout.ends_with("shown\n"), "{said}");
            assert!(!std::path::Path::new("/made").exists());
        }
    });
}

/// Each error names the call, what refuses it, and what to do.
#[track_caller]
fn names(output: Output, call: &str) {
    assert!([1, 125, 126].contains(&output.code), "{call}: {output}");
    for words in [
        &format!("{call}("),
        "hint:  ",
        "seccomp filter around bryo",
        "--security-opt seccomp=unconfined",
    ] {
        assert!(output.stderr.contains(words), "{call}: {words}: {output}");
    }
}

#[test]
fn what_a_container_cannot_be_made_without_is_named() {
    let sandbox = Sandbox::with_busybox();
    with_ids(&sandbox, || {
        let before = sandbox.bryo(["ps", "-aq"]).stdout();
        for (number, call) in [
            (libc::SYS_clone3, "clone3"),
            (libc::SYS_execveat, "execveat"),
            (libc::SYS_fsconfig, "fsconfig"),
            (libc::SYS_fsmount, "fsmount"),
            (libc::SYS_fsopen, "fsopen"),
            (libc::SYS_memfd_create, "memfd_create"),
            (libc::SYS_move_mount, "move_mount"),
            (libc::SYS_open_tree, "open_tree"),
            (libc::SYS_openat2, "openat2"),
        ] {
            for errno in REFUSALS {
                let filter = Filter::new().deny(number, errno);
                let below = Below {
                    sandbox: &sandbox,
                    filter,
                };
                let run = ["run", "--rm", "--network", "none", "busybox", "true"];
                let run = below.bryo(&run);
                names(run, call);
            }
        }
        // And nothing is left of any.
        assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), before);
    });
}

#[test]
fn what_a_process_cannot_be_reached_without_is_named() {
    let sandbox = Sandbox::with_busybox();
    let _running = sandbox.start("c", &[]);
    let file = sandbox.write("file", "x").display().to_string();
    for (number, call, verbs) in [
        (
            libc::SYS_pidfd_open,
            "pidfd_open",
            &[
                &["exec", "c", "true"][..],
                &["cp", &file, "c:/f"],
                &["kill", "c"],
                &["rm", "-f", "c"],
                &["stop", "c"],
            ][..],
        ),
        (
            libc::SYS_pidfd_send_signal,
            "pidfd_send_signal",
            &[
                &["cp", &file, "c:/f"],
                &["kill", "-s", "HUP", "c"],
                &["stop", "c"],
            ],
        ),
    ] {
        for (errno, verb) in REFUSALS
            .iter()
            .flat_map(|e| verbs.iter().map(move |v| (e, v)))
        {
            let below = Below {
                sandbox: &sandbox,
                filter: Filter::new().deny(number, *errno),
            };
            names(below.bryo(verb), call);
        }
    }
    // Which it outlives.
    sandbox.bryo(["exec", "c", "true"]).output().expect(0);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}
