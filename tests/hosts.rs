//! Machines that lack something: bryo does without, or says what is missing.

use crate::common::{Sandbox, bryo};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_run_inside_a_run() {
    let sandbox = Sandbox::with_busybox();
    let work = sandbox.path().display().to_string();
    let volume = format!("{work}:{work}");
    let inner = [bryo().display().to_string(), "run".into(), "--rm".into()];
    let script = "echo inner $$ $(id -u); touch /x; grep -c NoNewPrivs /proc/self/status";
    for (outer, network) in [
        // The store on the outer one's overlay, which can be no upper layer.
        (&[][..], "none"),
        (&[], "host"),
        // The store of the host.
        (&["-v", &volume], "none"),
    ] {
        let run = sandbox.bryo(["run", "--rm", "--privileged"]).args(outer);
        let run = run.args(["--share", "store,env"]);
        let run = run.arg("host").args(&inner).args(["--network", network]);
        let output = run.args(["busybox", "sh", "-c", script]).output().expect(0);
        assert_eq!(output.stdout, "inner 1 0\n1\n", "{output}");
    }
    // The inner supervisor may have ended before it could empty the trash.
    sandbox.bryo(["ps"]).output().expect(0);
}

#[test]
fn attributes_are_set_without_mount_setattr_too() {
    let sandbox = Sandbox::with_busybox();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mount_setattr"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    let profile = format!(
        "seccomp={}",
        sandbox.write("profile.json", profile).display()
    );
    let outer = [
        "--cap-add=ALL",
        "--security-opt=unmask=ALL",
        "--security-opt",
    ];
    let program = bryo().display().to_string();
    let volume = format!("{}:/x:ro", sandbox.work().display());
    let script = "touch /x/f /y /tmp/z; echo 1 >/proc/sys/kernel/domainname; ls /tmp";
    let run = sandbox
        .bryo(["run", "--rm"])
        .args(outer)
        .arg(profile)
        .args(["--share", "store,env"])
        .arg("host");
    let inner = [
        &program,
        "run",
        "--rm",
        "--read-only",
        "-v",
        &volume,
        "busybox",
    ];
    let output = run
        .args(inner)
        .args(["sh", "-c", script])
        .output()
        .expect(0);
    assert_eq!(output.stdout, "z\n", "{output}");
    let refusals = output.stderr.matches("Read-only file system").count();
    assert_eq!(refusals, 3, "{output}");
    sandbox.bryo(["ps"]).output().expect(0);
}

#[test]
fn an_overlay_that_is_refused_is_replaced_and_said_so() {
    let sandbox = Sandbox::with_busybox();
    sandbox.busybox_tree("tree");
    // A store below an overlay: no upper layer can be there.
    let script = r#"mkdir low up wrk merged && cp -r "$BRYO_ROOT" low/store &&
        mount -t overlay -o userxattr,lowerdir=low,upperdir=up,workdir=wrk none merged &&
        export BRYO_ROOT=$PWD/merged/store &&
        "$0" run --rm busybox sh -c 'touch /x && echo in memory' &&
        "$0" run --name kept busybox sh -c 'touch /x && rm /etc/group && echo copied' &&
        "$0" import links.tar links >/dev/null &&
        "$0" run --name links links /busybox true &&
        "$0" export links | tar --numeric-owner -tvf - s | cut -d ' ' -f 1,2 &&
        "$0" rm kept links && ls merged/store/containers"#;
    let links =
        "cp tree/bin/busybox . && ln -s x s && tar -cf links.tar --owner=0 --group=0 busybox &&
                 tar -rf links.tar --owner=5 --group=6 s";
    sandbox.command("sh").args(["-c", links]).output().expect(0);
    let unshare = sandbox
        .command("unshare")
        .args(["-Urm", "sh", "-c", script]);
    let output = unshare.arg(bryo()).output().expect(0);
    assert_eq!(
        output.stdout, "in memory\ncopied\nlrwxrwxrwx 5/6\nkept\nlinks\n",
        "{output}"
    );
    assert!(output.stderr.contains("in memory"), "{output}");
    assert!(output.stderr.contains("copied"), "{output}");
}

#[test]
fn no_more_user_namespaces() {
    let sandbox = Sandbox::with_busybox();
    let script = r#"echo 0 > /proc/sys/user/max_user_namespaces && "$0" run --rm busybox true"#;
    let unshare = sandbox.command("unshare").args(["-Ur", "sh", "-c", script]);
    let output = unshare.arg(bryo()).output().expect(125);
    assert!(output.stderr.contains("ENOSPC"), "{output}");
    assert!(output.stderr.contains("hint:  the limit of "), "{output}");
    assert!(
        output.stderr.contains("max_user_namespaces is 0"),
        "{output}"
    );
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn inside_a_filter_that_forbids_namespaces() {
    let sandbox = Sandbox::with_busybox();
    let volume = format!("{}:/bryo:ro", bryo().display());
    let flags = [
        "-v",
        &volume,
        "-e",
        "BRYO_ROOT=/tmp/store",
        "busybox",
        "/bryo",
        "run",
        "hello",
    ];
    let output = sandbox.run(&flags).expect(125);
    assert!(output.stderr.contains("hint:"), "{output}");
    assert!(
        output.stderr.contains("seccomp") || output.stderr.contains("clone3"),
        "{output}"
    );
}

#[test]
fn directories_that_are_not_set() {
    let sandbox = Sandbox::with_busybox();
    let run = || sandbox.bryo(["run", "--rm", "busybox", "true"]);
    run().env_remove("XDG_RUNTIME_DIR").output().expect(0);
    run().env("XDG_RUNTIME_DIR", "/nowhere").output().expect(0);
    // The store is in the home directory if nothing else is said.
    let home = sandbox.path().join("home");
    let images = || {
        let run = sandbox.bryo(["run", "--rm", "hello"]);
        run.env_remove("BRYO_ROOT")
    };
    images().output().expect(0);
    assert!(home.join(".local/share/bryo").is_dir());
    let data = sandbox.work().join("data");
    images().env("XDG_DATA_HOME", &data).output().expect(0);
    assert!(data.join("bryo").is_dir());
    // A user whom no file knows, without a home.
    let script = r#"unset HOME BRYO_ROOT XDG_DATA_HOME; "$0" images"#;
    let unshare = sandbox
        .command("unshare")
        .args(["--map-user=4711", "sh", "-c", script]);
    let output = unshare.arg(bryo()).output().expect(1);
    assert!(output.stderr.contains("HOME"), "{output}");
}

#[test]
fn a_store_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    let closed = sandbox.work().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let run = sandbox.bryo(["run", "--rm", "hello"]);
    let output = run
        .env("BRYO_ROOT", closed.join("store"))
        .output()
        .expect(125);
    assert!(output.stderr.contains("closed/store"), "{output}");
    let run = sandbox.bryo(["run", "--rm", "hello"]);
    let output = run.env("BRYO_ROOT", "/proc/nothing").output().expect(125);
    assert!(output.stderr.contains("/proc/nothing"), "{output}");
}

#[test]
fn a_full_disk() {
    let sandbox = Sandbox::with_busybox();
    let script = r#"mkdir small && mount -t tmpfs -o size=1m none small &&
        BRYO_ROOT=$PWD/small/store "$0" import "$1" busybox; code=$?; ls small/store/layers/*; exit $code"#;
    let unshare = sandbox
        .command("unshare")
        .args(["-Urm", "sh", "-c", script]);
    let output = unshare
        .arg(bryo())
        .arg(crate::common::busybox_tar())
        .output()
        .expect(1);
    let hint = output.stderr.lines().find(|line| line.contains("hint:"));
    assert!(
        hint.is_some_and(|hint| hint.contains("small") && hint.contains("(tmpfs)")),
        "{output}"
    );
}
