//! What is said of wrong input: what is wrong with what, and what to do.

use crate::common::Sandbox;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

/// Arguments; what the error names; a part of the remedy.
type Row = (&'static [&'static str], &'static str, &'static str);

/// Flags before an image, and what is said of them.
const FLAGS: &[Row] = &[
    (&["-v", "./none:/x"], "work/none", "make it first"),
    (
        &["-v", "./file/x:/x"],
        "file/x",
        "a file where a directory has to be",
    ),
    (&["-v", "./shut/x:/x"], "shut/x", "namei -l"),
    (&["-v", "./loop:/x"], "loop", "in a circle"),
    (
        &["-v", "./file:/etc"],
        "mount: /etc",
        "a file, and the container has",
    ),
    (
        &["-v", "./dir:/etc/passwd"],
        "/etc/passwd",
        "a directory is to be mounted on a file",
    ),
    (
        &["-v", "./dir:/bin/busybox/x"],
        "/bin/busybox/x",
        "is a file in the container",
    ),
    (&["-v", "./dir:/LONG"], "/nnn", "255 bytes at most"),
    (&["-v", "./dir:x"], "x is not an absolute path", "as /data"),
    (
        &["-v", "./dir:/x:nonsense"],
        "volume './dir:/x:nonsense'",
        "ro, rw",
    ),
    (&["-v", "a b:/x"], "a b", "letters, digits"),
    (
        &["--mount", "type=bind,src=none,dst=/x"],
        "none",
        "make it first",
    ),
    (
        &["--mount", "type=bind,src=dir"],
        "target: missing",
        "target=PATH",
    ),
    (
        &["--ulimit", "nofile=9999999999"],
        "nofile=9999999999:9999999999",
        "can only be lowered",
    ),
    (
        &["--sysctl", "net.ipv4.ip_forward=x"],
        "net.ipv4.ip_forward",
        "no value of this kernel parameter",
    ),
    (
        &["--oom-score-adj", "5000"],
        "--oom-score-adj",
        "-1000..=1000",
    ),
    (&["--tmpfs", "/t:size=x"], "size=x", "does not know"),
    (&["--tmpfs", "/t:bogus=1"], "bogus=1", "does not know"),
    (
        &["--tmpfs", "/bin/busybox"],
        "/bin/busybox",
        "is a file in the container",
    ),
    (
        &["-w", "/bin/busybox"],
        "/bin/busybox",
        "a directory has to be",
    ),
    (&["-w", "/LONG"], "/nnn", "255 bytes at most"),
    (&["--env-file", "dir"], "--env-file dir", "a file is wanted"),
    (
        &["--env-file", "none"],
        "--env-file none",
        "nothing of that name",
    ),
    (&["--env-file", "secret"], "--env-file secret", "namei -l"),
    (
        &["--env-file", "socket"],
        "--env-file socket",
        "that is a socket",
    ),
    (
        &["--cidfile", "file"],
        "--cidfile file",
        "it is there already",
    ),
    (
        &["--cidfile", "none/x"],
        "--cidfile none/x",
        "nothing of that name",
    ),
    (
        &["--cidfile", "dir"],
        "--cidfile dir",
        "it is there already",
    ),
    (
        &["--security-opt", "seccomp=none"],
        "seccomp profile none",
        "nothing of that name",
    ),
    (
        &["--security-opt", "seccomp=dir"],
        "seccomp profile dir",
        "a file is wanted",
    ),
    (
        &["--device", "/dev/nothing"],
        "/dev/nothing",
        "on this host",
    ),
    (&["--name", "a/b"], "name 'a/b'", "has only letters"),
    (&["-h", "LONG"], "-h nnn", "64 bytes at most"),
    (&["-u", "nobody5"], "user 'nobody5'", "/etc/passwd"),
    (
        &["-p", "80:80", "-p", "80:81"],
        "port 80/tcp",
        "choose another port",
    ),
    (
        &["--add-host", "x:y"],
        "--add-host x:y",
        "host-gateway is wanted",
    ),
    (&["-e", ""], "-e ''", "NAME=VALUE or NAME"),
    (
        &["--health-interval", "1", "--health-cmd", "x"],
        "--health-interval 1",
        "10s or 500ms",
    ),
    (
        &["--authfile", "dir", "--pull", "always"],
        "read dir",
        "a file is wanted",
    ),
];

/// Whole command lines.
const VERBS: &[Row] = &[
    (&["run", "docker-archive:dir"], "dir", "a file is wanted"),
    (
        &["run", "docker-archive:none"],
        "none",
        "nothing of that name",
    ),
    (
        &["run", "oci:file"],
        "file/index.json",
        "a file where a directory has to be",
    ),
    (&["run", "tar:dir"], "tar:dir", "a file is wanted"),
    (&["run", "tar:socket"], "socket", "that is a socket"),
    (
        &["run", "--rootfs", "file", "true"],
        "file",
        "not a directory",
    ),
    (
        &["run", "--rootfs", "none", "true"],
        "rootfs none",
        "nothing of that name",
    ),
    (&["import", "dir", "x"], "import dir", "a file is wanted"),
    (
        &["import", "none", "x"],
        "import none",
        "nothing of that name",
    ),
    (&["load", "-i", "none"], "load none", "nothing of that name"),
    (&["load", "-i", "dir"], "load dir", "brought in by import"),
    (
        &["save", "-o", "none/x", "busybox"],
        "none/x",
        "nothing of that name",
    ),
    (
        &["save", "-o", "dir", "busybox"],
        "write dir",
        "a file is wanted",
    ),
    (
        &["save", "--format", "oci-dir", "-o", "file", "busybox"],
        "file",
        "a directory has to be",
    ),
    (
        &["export", "-o", "none/x", "c"],
        "none/x",
        "nothing of that name",
    ),
    (&["export", "-o", "shut/x", "c"], "shut/x", "namei -l"),
    (
        &["copy", "oci:file", "oci:new"],
        "oci:file",
        "a directory has to be",
    ),
    (
        &["pull", "--cert-dir", "file", "localhost:1/x"],
        "list file",
        "a directory has to be",
    ),
    (
        &["commit", "-c", "STOPSIGNAL FOO", "c"],
        "STOPSIGNAL FOO",
        "signal(7)",
    ),
    (
        &["commit", "-c", "EXPOSE 9-8", "c"],
        "\"9-8\" is no port",
        "8000-8010",
    ),
    (&["cp", "c:/bin", "file/x"], "file/x", "not a directory"),
    (
        &["cp", "c:/bin/busybox", "file/x/y"],
        "file/x/y",
        "no such file",
    ),
    (&["ps", "--format", "{{.X"], "{{.X", "without '}}'"),
    (
        &["volume", "create", "a/b"],
        "volume name 'a/b'",
        "letters, digits",
    ),
    (&["kill", "-s", "FOO", "c"], "signal 'FOO'", "signal(7)"),
];

#[test]
fn errors_name_their_object_and_a_remedy() {
    let sandbox = Sandbox::with_busybox();
    let work = sandbox.work();
    sandbox.write("file", "x\n");
    let secret = sandbox.write("secret", "x\n");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o0)).unwrap();
    for (name, mode) in [("dir", 0o755), ("shut", 0)] {
        fs::create_dir(work.join(name)).unwrap();
        fs::set_permissions(work.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("loop", work.join("loop")).unwrap();
    let _socket = UnixListener::bind(work.join("socket")).unwrap();
    let create = sandbox.bryo(["create", "--name", "c", "busybox", "true"]);
    create.output().expect(0);
    let long = "n".repeat(300);
    let mut faults = Vec::new();
    let mut judge = |arguments: Vec<String>, object: &str, remedy: &str, codes: &[i32]| {
        let run = sandbox.bryo(&arguments).output();
        let said = &run.stderr;
        if !codes.contains(&run.code) || !said.contains(object) || !said.contains(remedy) {
            faults.push(format!(
                "{arguments:?} lacks {object:?} or {remedy:?}:\n{run}"
            ));
        }
    };
    for (flags, object, remedy) in FLAGS {
        let flags = flags.iter().map(|flag| flag.replace("LONG", &long));
        let before = ["run", "--rm", "--network", "none"].map(str::to_owned);
        let after = ["busybox", "true"].map(str::to_owned);
        judge(
            before.into_iter().chain(flags).chain(after).collect(),
            object,
            remedy,
            &[125, 126, 127],
        );
    }
    for (words, object, remedy) in VERBS {
        judge(
            words.iter().map(|word| (*word).to_owned()).collect(),
            object,
            remedy,
            // The latter for flags that a verb does not take.
            &[1, 125],
        );
    }
    // The store, and where one is, are named too.
    let elsewhere = |root: &str, object: &str, remedy: &str| {
        let ps = sandbox
            .bryo(["ps"])
            .env("BRYO_ROOT", work.join(root))
            .output();
        let ps = ps.expect(1);
        assert!(
            ps.stderr.contains(object) && ps.stderr.contains(remedy),
            "{ps}"
        );
    };
    elsewhere("file", "work/file", "a directory has to be");
    elsewhere("shut/x", "shut/x", "namei -l");
    fs::create_dir(work.join("gone")).unwrap();
    let script = format!(
        "cd gone && rmdir ../gone && {} run --rm -v .:/x busybox true",
        crate::common::bryo().display()
    );
    let gone = sandbox
        .command("sh")
        .args(["-c", &script])
        .output()
        .expect(125);
    assert!(gone.stderr.contains("the current directory"), "{gone}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Nothing half-done is left.
    assert_eq!(
        sandbox
            .bryo(["ps", "-a", "--format", "{{.Names}}"])
            .stdout(),
        "c"
    );
    sandbox.bryo(["rm", "c"]).output().expect(0);
}
