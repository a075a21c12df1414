//! Files that are copied into containers and out of them, with containers
//! that wish to lead the copy astray.

use crate::common::{Output, Sandbox};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A container `c` of busybox that runs, or has run, `script`.
fn container(sandbox: &Sandbox, running: bool, flags: &[&str], script: &str) {
    let run = sandbox.bryo(["run", "-d", "--name", "c", "--network", "none"]);
    let script = match running {
        true => format!("{script}; touch /tmp/ready; exec sleep 1000"),
        false => script.to_owned(),
    };
    let run = run.args(flags).args(["busybox", "sh", "-c", &script]);
    run.output().expect(0);
    match running {
        true => {
            let test = "while ! test -e /tmp/ready; do sleep 0.01; done";
            let exec = sandbox.bryo(["exec", "c", "sh", "-c", test]);
            exec.output().expect(0);
        }
        false => drop(sandbox.bryo(["wait", "c"]).output().expect(0)),
    }
}

fn cp(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    sandbox.bryo(["cp"]).args(arguments).output()
}

fn remove(sandbox: &Sandbox) {
    sandbox.bryo(["rm", "-f", "-v", "-a"]).output().expect(0);
}

/// What a path of the container is, by the container's own means.
fn inside(sandbox: &Sandbox, script: &str) -> String {
    let exec = sandbox.bryo(["exec", "c", "sh", "-c", script]);
    exec.stdout()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

const TREE: &str = "mkdir -p /d/sub; echo one >/d/f; echo two >/d/sub/g; ln -s f /d/l; \
                    ln /d/f /d/h; chmod 640 /d/f; chmod 750 /d/sub; mkfifo /d/p; \
                    touch -d '2001-02-03 04:05:06' /d/f; ln -s /d /dir; ln -s /etc/passwd /pw; \
                    ln -s nowhere /dangling";

#[test]
fn trees_come_out_as_they_are() {
    let sandbox = Sandbox::with_busybox();
    for running in [false, true] {
        container(&sandbox, running, &[], TREE);
        let out = sandbox.work().join("out");
        cp(&sandbox, &["c:/d", "out"]).expect(0);
        assert_eq!(read(out.join("f")) + &read(out.join("sub/g")), "one\ntwo\n");
        assert_eq!(fs::read_link(out.join("l")).unwrap(), Path::new("f"));
        let meta = fs::metadata(out.join("f")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o640, 981_173_106));
        assert_eq!(meta.ino(), fs::metadata(out.join("h")).unwrap().ino());
        assert_eq!(fs::metadata(out.join("sub")).unwrap().mode() & 0o777, 0o750);
        // There now: so into it.
        cp(&sandbox, &["c:d", "out"]).expect(0);
        assert_eq!(read(out.join("d/f")), "one\n");
        cp(&sandbox, &["c:/d/.", "out/d/sub/"]).expect(0);
        assert_eq!(read(out.join("d/sub/sub/g")), "two\n");
        fs::remove_dir_all(&out).unwrap();
        remove(&sandbox);
    }
}

#[test]
fn files_and_links_land_as_docker_says() {
    let sandbox = Sandbox::with_busybox();
    let work = sandbox.work();
    for running in [false, true] {
        container(&sandbox, running, &[], TREE);
        cp(&sandbox, &["c:/d/f", "new"]).expect(0);
        cp(&sandbox, &["c:/d/sub/g", "new"]).expect(0);
        assert_eq!(read(work.join("new")), "two\n");
        fs::create_dir(work.join("dir")).unwrap();
        cp(&sandbox, &["c:/d/f", "dir"]).expect(0);
        assert_eq!(read(work.join("dir/f")), "one\n");
        // A link as it is, or what it leads to.
        cp(&sandbox, &["c:/pw", "dir"]).expect(0);
        let link = fs::read_link(work.join("dir/pw")).unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
        cp(&sandbox, &["-L", "c:/pw", "dir/followed"]).expect(0);
        assert!(read(work.join("dir/followed")).contains("www-data"));
        cp(&sandbox, &["-L", "c:/dir", "dir/tree"]).expect(0);
        assert_eq!(read(work.join("dir/tree/f")), "one\n");
        cp(&sandbox, &["c:/dir/", "dir/slash"]).expect(0);
        assert_eq!(read(work.join("dir/slash/f")), "one\n");
        for (arguments, word) in [
            (&["c:/none", "x"][..], "no such file"),
            (&["c:/d/f/", "x"], "not a directory"),
            (&["c:/d", "new"], "place of a file"),
            (&["c:/d/f", "missing/"], "no such"),
            (&["c:/d/f", "missing/x"], "no such"),
            (&["-L", "c:/dangling", "x"], "no such file"),
            (&["new", "c:/missing/"], "no such directory"),
            (&["new", "c:/missing/x"], "no such directory"),
            (&["dir", "c:/d/f"], "place of a file"),
            (&["dir/f", "c:/d/sub/."], ""),
            (&["nowhere", "c:/"], "no such file"),
            (&["new", "other"], "path of a container"),
            (&["new", "nobody:/"], "No such container"),
            (&["new", "c:"], "missing after the colon"),
        ] {
            let output = cp(&sandbox, arguments);
            let output = output.expect(if word.is_empty() { 0 } else { 1 });
            assert!(output.stderr.contains(word), "{output}");
        }
        assert!(!work.join("x").exists() && !work.join("missing").exists());
        fs::remove_dir_all(work.join("dir")).unwrap();
        fs::remove_file(work.join("new")).unwrap();
        remove(&sandbox);
    }
}

#[test]
fn trees_go_in_with_the_owners_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let tree = sandbox.work().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("f"), "one\n").unwrap();
    fs::write(tree.join(".wh.f"), "no whiteout\n").unwrap();
    fs::write(tree.join("sub/script"), "#!/bin/sh\necho ran\n").unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(tree.join("sub/script"), mode).unwrap();
    symlink("sub/script", tree.join("l")).unwrap();
    for userns in ["auto", "single"] {
        for running in [false, true] {
            let script = "[ -e /check ] && exec sh /check; mkdir /into; ln -s /into /link; ln -s /into/late /dangling; echo old >/into/f";
            container(&sandbox, running, &["--userns", userns], script);
            cp(&sandbox, &["tree", "c:/new"]).expect(0);
            cp(&sandbox, &["tree/.", "c:/link"]).expect(0);
            cp(&sandbox, &["tree/f", "c:/dangling"]).expect(0);
            cp(&sandbox, &["tree/f", "c:/into/l"]).expect(0);
            let check = "sh /new/l; cat /into/f /into/late /into/.wh.f; stat -c %u:%g /new/f; \
                         cat /into/sub/script; readlink /into/l";
            sandbox.write("check", check);
            cp(&sandbox, &["check", "c:/check"]).expect(0);
            let found = match running {
                true => inside(&sandbox, "sh /check"),
                false => sandbox.bryo(["start", "-a", "c"]).stdout(),
            };
            // The last copy followed the link, as docker's does.
            assert_eq!(found, "ran\none\none\nno whiteout\n0:0\none\nsub/script");
            remove(&sandbox);
        }
    }
}

#[test]
fn streams_keep_owners() {
    let sandbox = Sandbox::with_busybox();
    for (userns, running) in [
        ("auto", false),
        ("auto", true),
        ("single", false),
        ("single", true),
    ] {
        let script = "mkdir /d; echo x >/d/f; chown 33:44 /d /d/f; ln -s f /d/l; chown -h 5:6 /d/l";
        container(&sandbox, running, &["--userns", userns], script);
        let list = |path: &str| {
            let tar = format!("{} cp {path} - >out.tar", crate::common::bryo().display());
            sandbox.command("sh").args(["-c", &tar]).output().expect(0);
            let flags = ["--numeric-owner", "-tvf", "out.tar"];
            let list = sandbox.command("tar").args(flags).stdout();
            let short = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[1], words[5])
            };
            list.lines().map(short).collect::<Vec<_>>()
        };
        let wanted = ["33/44 d/", "33/44 d/f", "5/6 d/l"];
        assert_eq!(list("c:/d"), wanted, "{userns} {running}");
        assert_eq!(list("c:/d/."), ["33/44 ./", "33/44 f", "5/6 l"]);
        assert_eq!(list("c:/d/f"), ["33/44 f"]);
        // And back, under another name.
        list("c:/d");
        let tar = fs::read(sandbox.work().join("out.tar")).unwrap();
        let put = sandbox.bryo(["cp", "-", "c:/tmp"]).stdin(tar.clone());
        put.output().expect(0);
        let wanted = ["33/44 d/", "33/44 d/f", "5/6 d/l"];
        assert_eq!(list("c:/tmp/d"), wanted, "{userns} {running}");
        for bad in ["c:/none", "c:/d/f"] {
            let put = sandbox.bryo(["cp", "-", bad]).stdin(tar.clone());
            put.output().expect(1);
        }
        let put = sandbox.bryo(["cp", "-", "c:/tmp"]).stdin("no tar at all");
        put.output().expect(1);
        // From one place to another.
        cp(&sandbox, &["-a", "c:/d", "c:/tmp/again"]).expect(0);
        assert_eq!(
            list("c:/tmp/again"),
            ["33/44 again/", "33/44 again/f", "5/6 again/l"]
        );
        // From one container to another.
        let create = sandbox.bryo([
            "create", "--name", "other", "--userns", userns, "busybox", "sh",
        ]);
        create.output().expect(0);
        cp(&sandbox, &["-a", "c:/d", "other:/e"]).expect(0);
        assert_eq!(list("other:/e"), ["33/44 e/", "33/44 e/f", "5/6 e/l"]);
        cp(&sandbox, &["c:/d", "other:/g"]).expect(0);
        assert_eq!(list("other:/g"), ["0/0 g/", "0/0 g/f", "0/0 g/l"]);
        remove(&sandbox);
    }
}

#[test]
fn volumes_and_read_only_places_are_respected() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write("f", "new\n");
    fs::create_dir(sandbox.work().join("host")).unwrap();
    for running in [false, true] {
        let flags = ["-v", "v:/v", "-v", "./host:/host", "-v", "v:/ro:ro"];
        container(&sandbox, running, &flags, "echo in >/v/in");
        cp(&sandbox, &["f", "c:/v/f"]).expect(0);
        cp(&sandbox, &["c:/ro/f", "back"]).expect(0);
        assert_eq!(read(sandbox.work().join("back")), "new\n");
        cp(&sandbox, &["f", "c:/host/"]).expect(0);
        assert_eq!(read(sandbox.work().join("host/f")), "new\n");
        let refused = cp(&sandbox, &["f", "c:/ro/g"]).expect(1);
        assert!(refused.stderr.contains("Read-only"), "{refused}");
        // Where bryo itself has mounted something.
        if running {
            cp(&sandbox, &["f", "c:/etc/hosts"]).expect(0);
            assert_eq!(inside(&sandbox, "cat /etc/hosts"), "new");
        }
        remove(&sandbox);
        container(&sandbox, running, &["--read-only", "-v", "v:/v"], "true");
        let refused = cp(&sandbox, &["f", "c:/f"]);
        // A running one has failed already: it could not say that it is ready.
        let code = refused.code;
        assert_eq!(code, 1, "{refused}");
        cp(&sandbox, &["f", "c:/v/f"]);
        remove(&sandbox);
    }
    sandbox.bryo(["volume", "rm", "v"]).output().expect(0);
}

#[test]
fn links_lead_nowhere_else() {
    let sandbox = Sandbox::with_busybox();
    let secret = sandbox.write("host/secret", "secret\n");
    let host = secret.parent().unwrap().to_owned();
    let (path, up) = (host.display(), "../".repeat(40));
    for running in [false, true] {
        let script = format!(
            "ln -s {path} /out; ln -s {up}{path} /up; ln -s {path}/secret /file; mkdir /d; \
             ln -s {path} /d/l; ln -s /proc/self/root /magic; ln -s /proc/1/cwd /cwd"
        );
        container(&sandbox, running, &[], &script);
        for from in [
            "out/secret",
            "up/secret",
            "file",
            "d/l/secret",
            "magic/out/secret",
        ] {
            let from = format!("c:/{from}");
            let refused = cp(&sandbox, &["-L", &from, "stolen"]).expect(1);
            assert!(!sandbox.work().join("stolen").exists(), "{refused}");
        }
        sandbox.write("f", "planted\n");
        for to in [
            "out/",
            "up/",
            "d/l/",
            "out/new",
            "file",
            "magic/",
            "cwd/x",
            "proc/self/root/x",
        ] {
            let to = format!("c:/{to}");
            cp(&sandbox, &["f", &to]);
            assert_eq!(read(&secret), "secret\n", "{to}");
            assert_eq!(fs::read_dir(&host).unwrap().count(), 1, "{to}");
        }
        // A tar that goes through a link of the container's.
        fs::create_dir_all(sandbox.work().join("evil/d/l")).unwrap();
        sandbox.write("evil/d/l/planted", "planted\n");
        let tar = ["-cf", "evil.tar", "-C", "evil", "d/l/planted"];
        sandbox.command("tar").args(tar).output().expect(0);
        let tar = fs::read(sandbox.work().join("evil.tar")).unwrap();
        sandbox.bryo(["cp", "-", "c:/"]).stdin(tar).output();
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1);
        fs::remove_dir_all(sandbox.work().join("evil")).unwrap();
        remove(&sandbox);
    }
}

#[test]
fn on_the_host_no_link_below_is_followed() {
    let sandbox = Sandbox::with_busybox();
    let kept = sandbox.write("kept/f", "kept\n");
    container(&sandbox, true, &[], "mkdir /d; ln -s /tmp /d/l");
    let out = sandbox.work().join("out");
    cp(&sandbox, &["c:/d", "out"]).expect(0);
    // What came first was a link; now the container sends a directory.
    fs::remove_file(out.join("l")).unwrap();
    symlink(kept.parent().unwrap(), out.join("l")).unwrap();
    inside(
        &sandbox,
        "rm /d/l; mkdir /d/l; echo planted >/d/l/f; echo planted >/d/l/g",
    );
    let refused = cp(&sandbox, &["c:/d/.", "out"]).expect(1);
    assert!(refused.stderr.contains("place of a file"), "{refused}");
    assert_eq!(read(&kept), "kept\n");
    assert_eq!(fs::read_dir(kept.parent().unwrap()).unwrap().count(), 1);
    // Neither a file that is a link: it is replaced.
    inside(&sandbox, "rm -r /d/l; echo planted >/d/l");
    fs::remove_file(out.join("l")).unwrap();
    symlink(&kept, out.join("l")).unwrap();
    cp(&sandbox, &["c:/d/.", "out"]).expect(0);
    assert_eq!(read(&kept), "kept\n");
    assert_eq!(read(out.join("l")), "planted\n");
    // Nobody gets a program that runs with the rights of who copied it.
    inside(
        &sandbox,
        "cp /bin/busybox /d/su; chmod 6755 /d/su; mknod /d/dev b 8 0 || true",
    );
    cp(&sandbox, &["c:/d/su", "su"]).expect(0);
    let mode = fs::metadata(sandbox.work().join("su")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
    remove(&sandbox);
}

#[test]
fn a_container_that_swaps_its_directories_gains_nothing() {
    let sandbox = Sandbox::with_busybox();
    let secret = sandbox.write("host/secret", "secret\n");
    let host = secret.parent().unwrap().to_owned();
    sandbox.write("payload/secret", "planted\n");
    let script = format!(
        "mkdir /d /real; echo own >/real/secret; ln -s {} /evil; touch /ready; \
         while :; do mv /d /x; mv /evil /d; mv /d /evil; mv /x /d; done",
        host.display()
    );
    let run = sandbox.bryo(["run", "-d", "--name", "c", "--network", "none"]);
    let run = run.args(["busybox", "sh", "-c", &script]);
    run.output().expect(0);
    for _ in 0..60 {
        cp(&sandbox, &["payload/.", "c:/d/"]);
        assert_eq!(read(&secret), "secret\n");
        cp(&sandbox, &["payload/secret", "c:/d"]);
        assert_eq!(read(&secret), "secret\n");
        cp(&sandbox, &["-L", "c:/d/secret", "stolen"]);
        cp(&sandbox, &["-L", "c:/d", "tree"]);
        for stolen in ["stolen", "tree/secret", "tree/d/secret"] {
            let text = fs::read_to_string(sandbox.work().join(stolen)).unwrap_or_default();
            assert!(!text.contains("secret"), "{stolen}: {text}");
        }
        let _ = fs::remove_file(sandbox.work().join("tree"));
        let _ = fs::remove_dir_all(sandbox.work().join("tree"));
    }
    remove(&sandbox);
}

#[test]
fn names_that_change_their_type_meanwhile_do_no_harm() {
    let sandbox = Sandbox::with_busybox();
    let script = "mkdir /d; while :; do
        echo text >/d/x; rm /d/x; ln -s /etc /d/x; rm /d/x; mkdir /d/x; rmdir /d/x
        mkfifo /d/x; rm /d/x; done";
    let run = ["run", "-d", "--name", "c", "busybox", "sh", "-c", script];
    sandbox.bryo(run).output().expect(0);
    for n in 0..10 {
        for arguments in [
            &["export", "-o", "out.tar", "c"][..],
            &["cp", "c:/d", &format!("out{n}")],
            &["diff", "c"],
            &["commit", "--pause=false", "c", "made"],
        ] {
            let output = sandbox.bryo(arguments).output();
            assert_eq!(output.code, 0, "{n}: {output}");
        }
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// What cannot be replaced, since it is a mount point, gets the content.
#[test]
fn a_file_that_is_a_mount_point_gets_the_content() {
    let file = crate::common::require_small("mounted").join("file");
    let sandbox = Sandbox::with_busybox();
    let script = "mkdir /d; echo content > /d/file; ln -s /d/file /link; mkfifo /pipe";
    let run = sandbox.bryo([
        "run",
        "--name",
        "c",
        "--network=none",
        "busybox",
        "sh",
        "-c",
    ]);
    run.arg(script).output().expect(0);
    let inode = fs::metadata(&file).unwrap().ino();
    let bryo = |arguments: &[&str]| sandbox.bryo(arguments).output();
    let path = file.to_str().unwrap();
    let above = file.parent().unwrap().to_str().unwrap();
    for (source, target) in [("c:/d/file", path), ("c:/d/file", above), ("c:/d/.", above)] {
        fs::write(&file, "something that is longer than that").unwrap();
        bryo(&["cp", source, target]).expect(0);
        assert_eq!(read(&file), "content\n");
    }
    for source in ["c:/link", "c:/pipe"] {
        let refused = bryo(&["cp", source, path]).expect(1);
        assert!(
            refused.stderr.contains("something is mounted there"),
            "{refused}"
        );
        assert_eq!(read(&file), "content\n");
    }
    bryo(&["export", "-o", path, "c"]).expect(0);
    let tar = sandbox.command("tar").args(["-tf", path]).stdout();
    assert!(tar.contains("d/file"), "{tar}");
    bryo(&["save", "-o", path, "busybox"]).expect(0);
    bryo(&["load", "-i", path]).expect(0);
    let names: Vec<_> = fs::read_dir(above).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    // Credentials are often mounted into development containers.
    fs::write(&file, "{}").unwrap();
    let registry = crate::common::registry::Registry::start(&sandbox);
    let login = [
        "login",
        "-u",
        "a",
        "-p",
        "b",
        "--tls-verify=false",
        &registry.host,
    ];
    let login = sandbox.bryo(login).env("REGISTRY_AUTH_FILE", &file);
    login.output().expect(0);
    assert!(read(&file).contains(&registry.host));
}
