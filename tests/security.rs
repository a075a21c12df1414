//! What a hostile image, command or path must not get.

use crate::common::{Output, Sandbox, wait_for};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Runs a command over a tree of the test's own.
fn run_tree(sandbox: &Sandbox, tree: &Path, flags: &[&str], command: &[&str]) -> Output {
    let image = format!("dir:{}", tree.display());
    let run = sandbox
        .bryo(["run", "--rm", "--network", "none"])
        .args(flags);
    run.arg(image).args(command).output()
}

/// Replaces what is at `path` in a tree by a link.
fn link(tree: &Path, path: &str, target: impl AsRef<Path>) {
    let place = tree.join(path);
    let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir_all(&place));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    symlink(target, place).unwrap();
}

/// A file of the host that no container may see, and `..` up to the root.
fn secret(sandbox: &Sandbox) -> (PathBuf, String) {
    let path = sandbox.write("secret/file", "secret\n");
    let up = "../".repeat(40);
    let climbing = format!("{up}{}", path.parent().unwrap().display());
    (path.parent().unwrap().to_owned(), climbing)
}

fn binary() -> Vec<u8> {
    fs::read(crate::common::bryo()).unwrap()
}

#[test]
fn no_descriptor_but_the_three_is_passed() {
    let sandbox = Sandbox::with_busybox();
    // Descriptors of the caller's are open, some of them without
    // close-on-exec.
    let script = "exec 5</etc/passwd 9</ 30>/dev/null; exec \"$@\"";
    let leaky = |arguments: &[&str]| {
        let run = sandbox.command("bash").args(["-c", script, "bash"]);
        run.arg(crate::common::bryo())
            .args(arguments)
            .output()
            .expect(0)
            .stdout
    };
    for flags in [&[][..], &["--init"], &["-i"]] {
        // Exactly what ls opens itself comes to the three.
        let command = [&["run", "--rm"], flags, &["busybox", "ls", "/proc/self/fd"]].concat();
        assert_eq!(leaky(&command), "0\n1\n2\n3\n", "{flags:?}");
    }
    let running = sandbox.start("c", &[]);
    assert_eq!(leaky(&["exec", "c", "ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
}

#[test]
fn an_image_cannot_run_the_program_bryo() {
    let before = binary();
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    link(&tree, "entry", "/proc/self/exe");
    let script = tree.join("script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    link(&tree, "one", "/proc/1/exe");
    link(&tree, "task", "/proc/self/task/1/exe");
    link(&tree, "thread", "/proc/thread-self/exe");
    link(&tree, "bin/sh", "/proc/self/exe");
    for command in [
        &["/entry", "version"][..],
        &["/script", "version"],
        &["/one", "version"],
        &["/task", "version"],
        &["/thread", "version"],
        &["/proc/self/exe", "version"],
        &["sh", "version"],
    ] {
        let output = run_tree(&sandbox, &tree, &[], command);
        assert!(matches!(output.code, 126 | 127), "{command:?} {output}");
        assert!(
            !output.stdout.contains(env!("CARGO_PKG_VERSION")),
            "{output}"
        );
        let output = run_tree(&sandbox, &tree, &["--init"], command);
        assert!(
            matches!(output.code, 126 | 127),
            "--init {command:?} {output}"
        );
        assert!(
            !output.stdout.contains(env!("CARGO_PKG_VERSION")),
            "{output}"
        );
    }
    // exec into a container whose shell is such a link.
    let image = format!("dir:{}", tree.display());
    let mut running = sandbox
        .bryo([
            "run",
            "--rm",
            "--name",
            "c",
            &image,
            "/bin/busybox",
            "ash",
            "-c",
            "echo ready; while :; do sleep 1000; done",
        ])
        .spawn();
    running.expect_line("ready");
    for command in [
        "/entry",
        "/script",
        "/bin/sh",
        "/proc/self/exe",
        "/proc/1/exe",
    ] {
        let output = sandbox.bryo(["exec", "c", command, "version"]).output();
        // PID 1 is busybox by now, and no applet is called version.
        assert!(output.code != 0, "{output}");
        assert!(
            !output.stdout.contains(env!("CARGO_PKG_VERSION")),
            "{output}"
        );
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
    assert!(binary() == before, "the binary has changed");
}

#[test]
fn the_program_bryo_cannot_be_opened_for_writing() {
    let before = binary();
    let sandbox = Sandbox::with_busybox();
    // Every process that turns up is tried, while new ones are made.
    let script = "trap 'exit 0' TERM; echo ready; while :; do
            for p in /proc/[0-9]*; do
                ( echo x >> $p/exe ) 2>/dev/null && readlink $p/exe
                case $(readlink $p/exe) in *programs/*|*debug/*|*/bryo) echo found $p;; esac
            done
        done";
    for init in [&[][..], &["--init"]] {
        let run = sandbox.bryo(["run", "--rm", "--name", "c"]).args(init);
        let mut running = run.args(["busybox", "sh", "-c", script]).spawn();
        running.expect_line("ready");
        for _ in 0..10 {
            sandbox.bryo(["exec", "c", "true"]).output().expect(0);
        }
        sandbox.bryo(["kill", "c"]).output().expect(0);
        let output = running.wait();
        for line in output.stdout.lines() {
            let own =
                line.starts_with("found") || line.contains("bryo") && !line.contains("memfd:");
            assert!(!own, "{output}");
        }
    }
    assert!(binary() == before, "the binary has changed");
}

#[test]
fn the_working_directory_is_inside() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    for number in 3..20 {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../../.."),
            format!("/proc/thread-self/fd/{number}"),
            format!("/dev/fd/{number}"),
        ] {
            let exec = sandbox.bryo(["exec", "-w", &path, "c", "ls", "-la", "."]);
            for (output, refused) in [
                (
                    sandbox.run(&["-w", &path, "busybox", "ls", "-la", "."]),
                    125,
                ),
                (exec.output(), 1),
            ] {
                assert!(!output.stdout.contains("lost+found"), "{output}");
                assert!(!output.stdout.contains("config.json"), "{output}");
                assert_eq!(output.code, refused, "{output}");
            }
        }
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
    // The image's own link is no way out either.
    let tree = sandbox.busybox_tree("tree");
    for number in 3..12 {
        link(&tree, "cwd", format!("/proc/self/fd/{number}"));
        let output = run_tree(&sandbox, &tree, &["-w", "/cwd"], &["ls", "-la", "."]);
        assert!(output.code == 125, "{output}");
        link(&tree, "cwd", format!("/proc/1/fd/{number}"));
        let output = run_tree(&sandbox, &tree, &["-w", "/cwd"], &["ls", "-la", "."]);
        assert!(output.code == 125, "{output}");
    }
    link(&tree, "cwd", "/proc/1/cwd");
    let output = run_tree(&sandbox, &tree, &["-w", "/cwd"], &["pwd"]);
    assert!(
        output.code == 125 || output.stdout.starts_with('/'),
        "{output}"
    );
}

#[test]
fn links_in_an_image_do_not_lead_out() {
    let sandbox = Sandbox::new();
    let (directory, climbing) = secret(&sandbox);
    let listing = || {
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    for target in [climbing.as_str(), directory.to_str().unwrap()] {
        for place in [
            "etc",
            "dev",
            "sys",
            "run",
            "tmp",
            "dev/shm",
            "dev/pts",
            "etc/hosts",
            "etc/resolv.conf",
        ] {
            let tree = sandbox.busybox_tree("tree");
            link(&tree, place, target);
            let script =
                "ls -la / >/dev/null; test ! -e /etc/file && echo escaped > /etc/new; echo ok";
            let output = run_tree(
                &sandbox,
                &tree,
                &["--tmpfs", "/run", "--tmpfs", "/tmp"],
                &["/bin/busybox", "sh", "-c", script],
            );
            // Made inside, or refused; but never outside.
            assert!(
                matches!(output.code, 0 | 125),
                "{place} -> {target}: {output}"
            );
            assert_eq!(listing(), ["file"], "{place} -> {target}: {output}");
            fs::remove_dir_all(&tree).unwrap();
        }
    }
}

#[test]
fn proc_and_sys_are_what_they_seem() {
    let sandbox = Sandbox::new();
    let (_, climbing) = secret(&sandbox);
    for (place, target) in [
        ("proc", climbing.as_str()),
        ("proc", "/tmp"),
        ("proc", "/dev/shm"),
        ("sys", "/proc"),
        ("dev", "/proc"),
        ("sys", "/tmp"),
    ] {
        let tree = sandbox.busybox_tree("tree");
        link(&tree, place, target);
        let flags = ["--sysctl", "kernel.shmmax=12345"];
        let script = "cat /proc/sys/kernel/shmmax; echo c > /proc/sysrq-trigger; echo 1 > /proc/sys/kernel/panic; echo x > /proc/sys/kernel/core_pattern; wc -c < /proc/keys";
        let output = run_tree(
            &sandbox,
            &tree,
            &flags,
            &["/bin/busybox", "sh", "-c", script],
        );
        // A container whose /proc is elsewhere must not be run unprotected.
        match output.code {
            125 => assert!(output.stderr.starts_with("error: "), "{output}"),
            _ => assert_eq!(output.stdout, "12345\n0\n", "{place} -> {target}: {output}"),
        }
        fs::remove_dir_all(&tree).unwrap();
    }
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert_ne!(pattern, "x\n");
}

#[test]
fn device_links_of_an_image_mask_nothing_else() {
    // /dev/null is what files are masked with, /dev/pts/… what becomes the
    // console: an image's own must not take their places.
    let sandbox = Sandbox::new();
    let (directory, climbing) = secret(&sandbox);
    let file = format!("{climbing}/file");
    let tree = sandbox.busybox_tree("tree");
    for place in [
        "dev/null",
        "dev/console",
        "dev/ptmx",
        "dev/pts/0",
        "dev/tty",
        "dev/zero",
    ] {
        link(&tree, place, &file);
    }
    let script = "for d in null zero tty; do test -c /dev/$d || echo $d is no device; done; \
        echo overwritten > /dev/null; cat /dev/null; wc -c < /proc/keys; tty";
    let run = ["sh", "-c", script];
    let output = run_tree(&sandbox, &tree, &["-t"], &run).expect(0);
    assert_eq!(
        output.stdout.replace('\r', ""),
        "0\n/dev/pts/0\n",
        "{output}"
    );
    // As a volume, where /dev is not fresh.
    let volume = format!("{}:/dev", tree.join("dev").display());
    let output = run_tree(&sandbox, &tree, &["-t", "-v", &volume], &run);
    assert!(
        output.code == 125 || !output.stdout.contains("secret"),
        "{output}"
    );
    assert_eq!(
        fs::read_to_string(directory.join("file")).unwrap(),
        "secret\n"
    );
}

#[test]
fn masked_paths_stay_masked_behind_links() {
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    // As a mount of the user's own at a place that is masked later.
    link(&tree, "proc/keys", "/etc/passwd");
    let output = run_tree(
        &sandbox,
        &tree,
        &[],
        &["sh", "-c", "wc -c < /proc/keys; wc -l < /etc/passwd"],
    );
    assert_eq!(output.expect(0).stdout, "0\n4\n");
}

#[test]
fn a_volume_goes_where_the_container_sees_its_place() {
    let sandbox = Sandbox::new();
    let (directory, climbing) = secret(&sandbox);
    sandbox.write("volume/mine", "mine\n");
    let tree = sandbox.busybox_tree("tree");
    for target in [
        climbing.clone(),
        directory.display().to_string(),
        "/proc/self/root/tmp".into(),
        "/proc/1/cwd".into(),
    ] {
        link(&tree, "data", &target);
        let output = run_tree(
            &sandbox,
            &tree,
            &["-v", "./volume:/data/inner", "-v", "./volume/mine:/data/f"],
            &["cat", "/data/inner/mine", "/data/f"],
        );
        match output.code {
            125 => assert!(output.stderr.contains("/data"), "{output}"),
            _ => assert_eq!(output.stdout, "mine\nmine\n", "{output}"),
        }
        assert!(!directory.join("inner").exists() && !directory.join("f").exists());
    }
}

#[test]
fn the_host_is_out_of_reach() {
    let sandbox = Sandbox::with_busybox();
    let (directory, climbing) = secret(&sandbox);
    let file = directory.join("file");
    let file = file.to_str().unwrap();
    let script = format!(
        "for p in {file} {climbing}/file /proc/1/root{file} /proc/self/root{file} /proc/self/cwd{file} \
         /proc/self/task/1/root{file} /proc/1/cwd/{climbing}/file /proc/1/map_files/../root{file}; do
            test -e $p && echo seen $p; done
         cd /proc/1/root/../..; test -e .{file} && echo climbed; ls / | tr '\\n' ' '"
    );
    let seen = sandbox.shell(&["-v", "/etc/passwd:/x"], &script);
    assert!(
        !seen.contains("seen") && !seen.contains("climbed"),
        "{seen}"
    );
    assert!(!seen.contains("boot"), "{seen}");
    let privileged = sandbox.shell(&["--privileged"], &script);
    assert!(
        !privileged.contains("seen") && !privileged.contains("climbed"),
        "{privileged}"
    );
    // chroot, the classic way out, finds nothing above the root.
    let chroot = format!("mkdir -p /j; chroot /j /bin/true; cd {climbing} && cat file");
    let output = sandbox.run(&["--privileged", "busybox", "sh", "-c", &chroot]);
    assert!(!output.stdout.contains("secret"), "{output}");
}

#[test]
fn new_user_namespaces_are_refused_by_the_filter() {
    let sandbox = Sandbox::with_busybox();
    let refused = sandbox.run(&["busybox", "unshare", "-U", "true"]);
    assert!(refused.expect(1).stderr.contains("not permitted"));
    let refused = sandbox.run(&["busybox", "mount", "-t", "tmpfs", "none", "/tmp"]);
    assert!(refused.code != 0, "{refused}");
    let refused = sandbox.run(&["busybox", "dmesg"]);
    assert!(refused.code != 0, "{refused}");
    sandbox
        .run(&[
            "--security-opt",
            "seccomp=unconfined",
            "busybox",
            "unshare",
            "-U",
            "true",
        ])
        .expect(0);
}

#[test]
fn setuid_programs_gain_nothing() {
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    let program = tree.join("bin/gain");
    fs::copy(tree.join("bin/busybox"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let script = "grep NoNewPrivs /proc/self/status; exec -a id /bin/gain -u";
    let gained = |flags: &[&str]| {
        let flags = [flags, &["-u", "1000"]].concat();
        let command = ["/bin/busybox", "sh", "-c", script];
        let output = run_tree(&sandbox, &tree, &flags, &command).expect(0);
        let words = output.stdout.split_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    let nothing = ["NoNewPrivs:", "1", "1000"];
    assert_eq!(gained(&["--userns", "single"]), nothing);
    assert_eq!(gained(&["--security-opt", "no-new-privileges"]), nothing);
    // With one id there is nobody to become, whatever is said.
    let flags = [
        "--userns",
        "single",
        "--security-opt",
        "no-new-privileges:0",
    ];
    assert_eq!(gained(&flags), ["NoNewPrivs:", "0", "1000"]);
}

/// With a range `su` works, and gives what the container has and no more.
#[test]
fn setuid_programs_gain_what_is_the_containers() {
    let sandbox = Sandbox::with_busybox();
    let import = sandbox.bryo(["import"]).arg(crate::common::debian_tar());
    import.arg("debian").output().expect(0);
    if sandbox.shell(&[], "wc -l </proc/self/uid_map") == "1" {
        let refused = sandbox.run(&["--userns", "range", "busybox", "true"]);
        refused.expect(125);
        return;
    }
    // Debian's own program, and an account without a password.
    let script = "useradd -m joe; passwd -d root >/dev/null; cp /usr/bin/id /gain
        chmod 6755 /gain; echo ready; exec sleep infinity";
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none", "debian"]);
    let mut running = run.args(["sh", "-ec", script]).spawn();
    running.expect_line("ready");
    let script = "id -u; /gain -u; su -c 'id -u; grep -E \"Cap(Bnd|Eff)\" /proc/self/status
        mount -t tmpfs none /mnt 2>/dev/null || echo confined'
        grep CapBnd /proc/self/status; unshare -U true 2>/dev/null || echo filtered";
    let check = |output: Output| {
        let words = output.expect(0).stdout;
        let words: Vec<_> = words.split_whitespace().collect();
        let [
            user,
            gained,
            root,
            "CapEff:",
            effective,
            "CapBnd:",
            all,
            rest @ ..,
        ] = &words[..]
        else {
            panic!("{words:?}")
        };
        assert_eq!([*user, *gained, *root], ["1000", "0", "0"], "{words:?}");
        assert_eq!(all, effective, "root has the whole set");
        let expected = ["confined", "CapBnd:", all, "filtered"];
        assert_eq!(rest, &expected[..], "{words:?}");
    };
    check(
        sandbox
            .bryo(["exec", "-u", "joe", "c", "sh", "-c", script])
            .output(),
    );
    // The bits are in an image of it too, and hold from the first process on.
    sandbox.bryo(["commit", "c", "image"]).output().expect(0);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
    let run = |flags: &[&str]| {
        let run = sandbox.bryo(["run", "--rm", "--network", "none", "-u", "joe"]);
        run.args(flags).args(["image", "sh", "-c", script]).output()
    };
    check(run(&[]));
    let refused = run(&["--security-opt", "no-new-privileges"]);
    assert!(refused.stdout.starts_with("1000\n1000\n"), "{refused}");
    assert!(refused.stderr.contains("su: "), "{refused}");
}

#[test]
fn processes_of_the_host_cannot_be_signalled() {
    let sandbox = Sandbox::with_busybox();
    let mut bystander = sandbox.command("sleep").arg("600").spawn();
    let pid = bystander.pid();
    let refused = sandbox.run(&["busybox", "kill", "-9", &pid.to_string()]);
    assert!(refused.code != 0, "{refused}");
    sandbox.run(&["busybox", "sh", "-c", "kill -9 -1; exit 0"]);
    assert!(bystander.child.try_wait().unwrap().is_none());
    bystander.child.kill().unwrap();
    bystander.wait();
}

#[test]
fn the_session_keyring_is_not_the_callers() {
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    let source = "#include <stdio.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main() { printf(\"%ld\\n\", syscall(SYS_keyctl, 0, -3, 0)); return 0; }";
    let source = sandbox.write("session.c", source);
    let gcc = sandbox.command("gcc").args(["-static", "-o"]);
    let program = tree.join("session");
    gcc.arg(&program).arg(source).output().expect(0);
    let ours = sandbox.command(&program).stdout();
    // Where the filter lets the call through.
    let flags = ["--security-opt", "seccomp=unconfined"];
    let inside = run_tree(&sandbox, &tree, &flags, &["/session"]).expect(0);
    let number = |text: &str| text.trim().parse::<i64>().unwrap();
    assert!(
        number(&ours) > 0 && number(&inside.stdout) > 0,
        "{ours} {inside}"
    );
    assert_ne!(number(&ours), number(&inside.stdout));
    let refused = run_tree(&sandbox, &tree, &[], &["/session"]).expect(0);
    assert_eq!(refused.stdout, "-1\n");
}

#[test]
fn abstract_sockets_of_the_host_are_not_reached_without_its_network() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let sandbox = Sandbox::with_busybox();
    let name = format!("bryo-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let script = format!("grep -c @{name} /proc/net/unix");
    let run = |network: &str| {
        let flags = ["--network", network, "busybox", "sh", "-c", &script];
        sandbox.run(&flags).stdout.trim().to_owned()
    };
    assert_eq!(run("host"), "1");
    assert_eq!(run("none"), "0");
}

#[test]
fn files_that_the_container_gets_are_copies() {
    // The host's own resolv.conf and hosts are read, never shown.
    let sandbox = Sandbox::with_busybox();
    let before = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"].map(fs::read);
    sandbox
        .run(&[
            "busybox",
            "sh",
            "-c",
            "set -e; for f in hosts resolv.conf hostname; do echo x > /etc/$f; done",
        ])
        .expect(0);
    let after = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"].map(fs::read);
    for (a, b) in before.iter().zip(&after) {
        assert_eq!(a.as_ref().ok(), b.as_ref().ok());
    }
}

#[test]
fn other_users_cannot_look_into_the_store() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    for name in ["containers", "layers", "images"] {
        let mode = fs::metadata(sandbox.root().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} {mode:o}");
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
}

#[test]
fn nothing_is_mounted_in_proc_but_on_files_about_the_machine() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.write("file", "mine\n");
    let file = file.to_str().unwrap();
    let directory = sandbox.write("directory/file", "mine\n");
    let directory = directory.parent().unwrap().to_str().unwrap();
    for place in ["cpuinfo", "meminfo", "stat", "uptime", "loadavg"] {
        let volume = format!("{file}:/proc/{place}");
        let said = sandbox.shell(&["-v", &volume], &format!("cat /proc/{place}"));
        assert_eq!(said, "mine", "{place}");
    }
    let said = sandbox.shell(&["-v", "/proc:/proc"], "cat /proc/self/comm");
    assert_eq!(said, "cat");
    let bind = |source: &str, target: &str| format!("type=bind,src={source},dst={target}");
    let image = sandbox.busybox_tree("tree");
    for (place, target) in [
        ("linked", "/proc/sys"),
        ("deeper", "/linked/kernel"),
        ("version", "/proc/version"),
        ("thread", "/proc/thread-self/fd"),
        ("stray", "/sys/kernel"),
        ("whole", "/proc"),
    ] {
        link(&image, place, target);
    }
    for flags in [
        ["-v", &format!("{file}:/proc/version")],
        ["-v", &format!("{directory}:/proc/sys")],
        ["-v", &format!("{directory}:/proc/sys/kernel/../net")],
        ["-v", &format!("{directory}:/proc/1/task")],
        ["-v", "named:/proc/bus"],
        ["-v", "named:/proc"],
        ["-v", &format!("{file}:/proc/new")],
        ["--mount", &bind(file, "/proc/self/attr/exec")],
        ["--mount", &bind(directory, "/proc/fs")],
        ["--mount", "type=volume,src=named,dst=/proc/tty"],
        ["--tmpfs", "/proc/sys/net"],
        ["--tmpfs", "/proc/new/below"],
        ["-v", &format!("{directory}:/linked")],
        ["-v", &format!("{directory}:/deeper")],
        ["-v", &format!("{file}:/version")],
        ["--tmpfs", "/thread"],
        ["--tmpfs", "/proc"],
        ["-v", "named:/whole"],
        ["-v", "named:/stray"],
    ] {
        let output = run_tree(&sandbox, &image, &flags, &["/bin/busybox", "true"]);
        assert_eq!(output.code, 125, "{flags:?}: {output}");
        let expected = match flags[1] {
            "named:/stray" => "a link leads from there into /sys",
            "named:/proc" | "/proc" | "named:/whole" => "may be mounted on /proc itself",
            _ => "it is in /proc, where nothing may be mounted but on cpuinfo, diskstats",
        };
        assert!(output.stderr.contains(expected), "{flags:?}: {output}");
    }
    // What users mount in /sys, they name.
    for target in ["/sys/fs/cgroup", "/sys/kernel"] {
        let volume = format!("{directory}:{target}");
        let said = sandbox.shell(&["-v", &volume], &format!("cat {target}/file"));
        assert_eq!(said, "mine");
        sandbox.shell(&["--tmpfs", target], "true");
    }
    let strange = format!("{file}:/sys/new");
    let output = sandbox
        .run(&["-v", &strange, "busybox", "true"])
        .expect(125);
    assert!(
        output.stderr.contains("there is no such place in /sys"),
        "{output}"
    );
}

#[test]
fn bryos_own_processes_can_make_few_system_calls() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["network", "create", "net"])
        .output()
        .expect(0);
    let run = |name: &str, flags: &[&str]| {
        let run = sandbox.bryo(["run", "-d", "--name", name]).args(flags);
        run.args(["busybox", "sleep", "1000"]).output().expect(0);
    };
    let checked = ["--health-cmd=true", "--health-interval=50ms"];
    run("plain", &[]);
    run(
        "c",
        &[&["--network", "net", "--init"][..], &checked].concat(),
    );
    run("again", &[&["--restart=always"][..], &checked].concat());
    let filtered = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == "Seccomp:\t2")
    };
    for (name, count) in [
        ("bryo-supervise", 3),
        ("bryo-health", 2),
        ("bryo-network", 1),
        ("bryo-names", 1),
        ("bryo-net", 3),
    ] {
        wait_for(name, || {
            let found = crate::networks::processes(&sandbox, name);
            (found.len() >= count && found.into_iter().all(filtered)).then_some(())
        });
    }
    wait_for("--init", || filtered(sandbox.pid("c")).then_some(()));
    if let Some(keeper) = sandbox.keeper() {
        wait_for("the keeper", || filtered(keeper).then_some(()));
    }
    sandbox
        .bryo(["rm", "-f", "plain", "c", "again"])
        .output()
        .expect(0);
}

#[test]
fn filters_of_who_starts_a_container_take_nothing_from_it() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--restart=always",
        "--health-cmd=true",
        "--health-interval=50ms",
        "--security-opt=no-new-privileges=false",
    ];
    let script = "grep NoNewPrivs /proc/self/status; sleep 0.1; [ -e /stay ] && sleep 1000";
    let run = sandbox.bryo(["run", "-d", "--name", "c"]).args(flags);
    run.args(["busybox", "sh", "-c", script]).output().expect(0);
    wait_for("restarts", || {
        let count = sandbox.inspect("c")["RestartCount"].as_u64();
        (count >= Some(3)).then_some(())
    });
    let said = sandbox.bryo(["logs", "c"]).stdout();
    assert!(said.lines().count() >= 3, "{said}");
    for line in said.lines() {
        assert_eq!(line, "NoNewPrivs:\t0");
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn a_privileged_container_has_no_power_over_the_machine() {
    let sandbox = Sandbox::with_busybox();
    // All of it would change nothing.
    let script = "for file in kernel/core_pattern kernel/panic vm/swappiness; do
            value=$(cat /proc/sys/$file); (echo \"$value\" > /proc/sys/$file) 2>&- && echo $file
        done
        date -s @$(date +%s) 2>&1 | grep -q 'set date' || echo date
        nice -n -1 true 2>&- && echo nice
        echo tried";
    assert_eq!(sandbox.shell(&["--privileged"], script), "tried");
}
