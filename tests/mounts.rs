//! What is mounted in a container, and what `-v`, `--mount`, `--tmpfs` and
//! `--read-only` do.

use crate::common::Sandbox;
use std::fs;

/// A line of mountinfo of each mount point.
fn mounts(sandbox: &Sandbox, flags: &[&str]) -> Vec<(String, String)> {
    let script = "cut -d' ' -f5- /proc/self/mountinfo";
    let text = sandbox.shell(flags, script);
    let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn find<'a>(mounts: &'a [(String, String)], point: &str) -> &'a str {
    let found = mounts.iter().rev().find(|(p, _)| p == point);
    &found
        .unwrap_or_else(|| panic!("no {point} in {mounts:#?}"))
        .1
}

#[test]
fn the_mounts_of_every_container() {
    let sandbox = Sandbox::with_busybox();
    let all = mounts(&sandbox, &[]);
    for (point, options) in [
        ("/", "rw"),
        ("/proc", "rw,nosuid,nodev,noexec"),
        ("/proc/sys", "ro,nosuid,nodev,noexec"),
        ("/proc/bus", "ro,nosuid,nodev,noexec"),
        ("/proc/sysrq-trigger", "ro,nosuid,nodev,noexec"),
        ("/dev", "rw,nosuid"),
        ("/dev/pts", "rw,nosuid,noexec"),
        ("/dev/mqueue", "rw,nosuid,nodev,noexec"),
        ("/dev/shm", "rw,nosuid,nodev,noexec"),
        ("/sys", "ro,nosuid,nodev,noexec"),
        ("/etc/hosts", "rw"),
        ("/etc/resolv.conf", "rw"),
    ] {
        // Not every kernel has every one.
        if !fs::exists(point).unwrap() {
            continue;
        }
        let found = find(&all, point);
        assert!(found.starts_with(options), "{point}: {found}");
    }
    for masked in ["/proc/kcore", "/proc/keys"] {
        let there = fs::exists(masked).unwrap();
        let found = all.iter().any(|(point, _)| point == masked);
        assert_eq!(found, there, "{masked}");
    }
    // Nothing tells the host of mounts, or hears of its own.
    for (point, rest) in &all {
        assert!(
            !rest.contains("shared:") && !rest.contains("master:"),
            "{point} {rest}"
        );
    }
    let text = format!("{all:?}");
    for word in [sandbox.path().to_str().unwrap(), "/home", "/oldroot"] {
        let points: Vec<_> = all.iter().filter(|(p, _)| p.contains(word)).collect();
        assert!(points.is_empty(), "{points:?} in {text}");
    }
}

#[test]
fn shared_memory_has_the_size_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let size = |flags: &[&str]| {
        sandbox.shell(
            flags,
            "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
        )
    };
    assert_eq!(size(&[]), "65536");
    assert_eq!(size(&["--shm-size", "1m"]), "1024");
    sandbox
        .run(&["--shm-size", "x", "busybox", "true"])
        .expect(125);
    let ended = sandbox.run(&[
        "--shm-size",
        "1m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/shm/x",
        "bs=1k",
        "count=2048",
    ]);
    assert!(ended.expect(1).stderr.contains("No space"));
}

#[test]
fn a_read_only_root() {
    let sandbox = Sandbox::with_busybox();
    let script =
        "touch /x 2>&1; touch /etc/hosts 2>&1; touch /tmp/x /run/x /dev/shm/x && echo rest";
    let printed = sandbox.shell(&["--read-only"], script);
    assert_eq!(
        printed,
        "touch: /x: Read-only file system\ntouch: /etc/hosts: Read-only file system\nrest"
    );
}

#[test]
fn file_systems_in_memory() {
    let sandbox = Sandbox::with_busybox();
    let all = mounts(&sandbox, &["--tmpfs", "/scratch:size=64k,exec,mode=700"]);
    let found = find(&all, "/scratch");
    assert!(
        found.starts_with("rw,nosuid,nodev ") || found.starts_with("rw,nosuid,nodev,relatime"),
        "{found}"
    );
    assert!(
        found.contains("size=64k") && found.contains("mode=700"),
        "{found}"
    );
    // What the image has at the place is there.
    let script = "cat /etc/group | head -1; echo x > /etc/new; readlink /var/run";
    let flags = [
        "--tmpfs",
        "/etc",
        "--mount",
        "type=tmpfs,target=/var,tmpfs-size=1m",
    ];
    assert_eq!(sandbox.shell(&flags, script), "root:x:0:\n../run");
    let script = "ls /etc/group /var/log 2>&1 | grep -c 'No such'";
    let flags = [
        "--tmpfs",
        "/etc:notmpcopyup",
        "--mount",
        "type=tmpfs,dst=/var,notmpcopyup",
    ];
    assert_eq!(sandbox.shell(&flags, script), "2");
    assert_eq!(
        sandbox.shell(&["--tmpfs", "/t:ro"], "touch /t/x 2>&1 || true"),
        "touch: /t/x: Read-only file system"
    );
    for bad in ["relative", "/t:nonsense=1"] {
        sandbox
            .run(&["--tmpfs", bad, "busybox", "true"])
            .expect(125);
    }
}

#[test]
fn directories_and_files_of_the_host() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.write("shared/file", "host\n");
    let directory = file.parent().unwrap().to_str().unwrap().to_owned();
    let file = file.to_str().unwrap().to_owned();
    let flags = [
        "-v",
        &format!("{directory}:/data"),
        "-v",
        &format!("{file}:/etc/passwd:ro"),
        "-v",
        "./shared/file:/new/place/file",
    ];
    let script = "cat /data/file /etc/passwd /new/place/file; echo inside > /data/other; \
        echo x >> /etc/passwd || echo '>'; echo changed > /new/place/file";
    let flags: Vec<&str> = flags.iter().map(|flag| *flag as &str).collect();
    let run = sandbox.bryo(["run", "--rm"]).args(&flags);
    let output = run.args(["busybox", "sh", "-c", script]).output().expect(0);
    assert_eq!(output.stdout, "host\nhost\nhost\n>\n");
    assert!(output.stderr.contains("Read-only"), "{output}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed\n");
    let other = sandbox.work().join("shared/other");
    assert_eq!(fs::read_to_string(&other).unwrap(), "inside\n");
    // Root in the container is the caller outside.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(&other).unwrap().uid(),
        nix::unistd::getuid().as_raw()
    );

    for (volume, word) in [
        ("/nowhere:/x", "/nowhere"),
        ("/etc:x", "absolute"),
        ("/etc:/", "hide the image"),
        ("/etc:/x:nonsense", "nonsense"),
        ("/etc:/x:ro:y", "colons"),
    ] {
        let refused = sandbox.run(&["-v", volume, "busybox", "true"]).expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    let twice = sandbox.run(&["-v", "/etc:/x", "-v", "/usr:/x", "busybox", "true"]);
    assert!(twice.expect(125).stderr.contains("two mounts on /x"));
}

#[test]
fn long_forms_of_a_mount() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write("shared/file", "host\n");
    let source = sandbox.work().join("shared");
    let mount = |rest: &str| format!("type=bind,source={},target=/data{rest}", source.display());
    let touch = "touch /data/x 2>&1; ls /data | tr '\\n' ' '";
    assert_eq!(
        sandbox.shell(&["--mount", &mount(",readonly")], touch),
        "touch: /data/x: Read-only file system\nfile "
    );
    assert_eq!(
        sandbox.shell(&["--mount", &mount(",ro=false")], touch),
        "file x "
    );
    for bad in [
        "type=bind,target=/x",
        "type=bind,src=/etc",
        "type=x,src=/etc,dst=/x",
        "type=bind,src=/etc,dst=/x,nonsense=1",
        "",
    ] {
        sandbox
            .run(&["--mount", bad, "busybox", "true"])
            .expect(125);
    }
    // A comma in a path, in quotes as CSV has it.
    sandbox.write("a,b/file", "comma\n");
    let comma = format!(
        r#"type=bind,"source={}","dst=/d,e",ro"#,
        sandbox.work().join("a,b").display()
    );
    let said = sandbox.shell(
        &["--mount", &comma],
        "cat /d,e/file; touch /d,e/x 2>/dev/null || echo ro",
    );
    assert_eq!(said, "comma\nro");
    // Places are cleaned.
    let up = format!("{}:/x/../y", source.display());
    assert_eq!(
        sandbox.shell(&["-v", &up], "ls /y; ls -d /x 2>/dev/null || true"),
        "file\nx"
    );
    let all = mounts(&sandbox, &["--mount", &mount(",noexec,nosuid")]);
    assert!(
        find(&all, "/data").starts_with("rw,nosuid,noexec"),
        "{all:?}"
    );
}

#[test]
fn read_only_reaches_the_mounts_below() {
    let sandbox = Sandbox::with_busybox();
    // A mount below another one, as only a namespace of our own can have.
    fs::create_dir_all(sandbox.work().join("outer/inner")).unwrap();
    let script = r#"mount -t tmpfs none outer/inner && touch outer/inner/below &&
        for options in "" :ro; do
            "$0" run --rm -v ./outer:/o$options busybox sh -c '
                ls /o/inner; touch /o/inner/new 2>&1 && echo written'
            done"#;
    let unshare = sandbox
        .command("unshare")
        .args(["-Urm", "sh", "-c", script]);
    let output = unshare.arg(crate::common::bryo()).output();
    let expected = "below\nwritten\nbelow\nnew\ntouch: /o/inner/new: Read-only file system\n";
    assert_eq!(output.stdout, expected, "{output}");
}

#[test]
fn propagation() {
    let sandbox = Sandbox::with_busybox();
    fs::create_dir_all(sandbox.work().join("d")).unwrap();
    let flags = |option: &str| format!("./d:/d:{option}");
    let optional = |option: &str| {
        let all = mounts(&sandbox, &["-v", &flags(option)]);
        let found = find(&all, "/d").to_owned();
        (
            found.contains("shared:"),
            found.contains("master:"),
            found.contains("unbindable"),
        )
    };
    assert_eq!(optional("rw"), (false, false, false));
    assert_eq!(optional("rprivate"), (false, false, false));
    assert_eq!(optional("rshared"), (true, false, false));
    assert_eq!(optional("unbindable"), (false, false, true));
    // What is mounted on the host later appears where the mount is a slave.
    let script = r#"mount --bind d d; mount --make-shared d; mkfifo pipe
        "$0" run --rm -v ./d:/d:$1 -v ./pipe:/pipe busybox sh -c 'read a < /pipe; test -e /d/s/new && echo seen' &
        exec 3> pipe && mkdir d/s && mount -t tmpfs none d/s && touch d/s/new && echo go >&3 && exec 3>&- && wait $!"#;
    for (option, seen) in [("rslave", "seen\n"), ("rprivate", "")] {
        let unshare = sandbox
            .command("unshare")
            .args(["-Urm", "sh", "-c", script]);
        let output = unshare.arg(crate::common::bryo()).arg(option).output();
        assert_eq!(output.stdout, seen, "{option}: {output}");
        for name in ["d/s", "pipe"] {
            let path = sandbox.work().join(name);
            let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

#[test]
fn mounts_on_top_of_mounts() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write("a/file", "a\n");
    sandbox.write("b/file", "b\n");
    // Parents come first, whatever the order of the flags.
    let flags = ["-v", "./b:/m/inner", "-v", "./a:/m"];
    assert_eq!(sandbox.shell(&flags, "cat /m/file /m/inner/file"), "a\nb");
    // In place of what is there anyway.
    let flags = ["-v", "./a:/dev/shm", "-v", "./b/file:/etc/resolv.conf"];
    assert_eq!(
        sandbox.shell(&flags, "cat /dev/shm/file /etc/resolv.conf"),
        "a\nb"
    );
    let flags = ["--tmpfs", "/etc", "-v", "./a/file:/etc/motd"];
    assert_eq!(
        sandbox.shell(&flags, "cat /etc/motd; ls /etc/group"),
        "a\n/etc/group"
    );
}

#[test]
fn mounts_that_cannot_be_seen_outside_are_told_of() {
    let sandbox = Sandbox::with_busybox();
    let volume = format!("{}:/data:rshared", sandbox.work().display());
    let run = sandbox.run(&["-v", &volume, "busybox", "true"]).expect(0);
    assert!(
        run.stderr
            .contains("below /data in the container is not seen outside"),
        "{run}"
    );
    let volume = format!("{}:/data:rslave", sandbox.work().display());
    let run = sandbox.run(&["-v", &volume, "busybox", "true"]).expect(0);
    assert_eq!(run.stderr, "", "{run}");
}
