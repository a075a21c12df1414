//! A file system without a free byte, one without a free inode, one of which the
//! user's quota is used up, one that is read-only: what is there can be looked
//! at, stopped and removed, and what cannot be made says why and leaves nothing.
//!
//! The file systems are made by `tests/run`, one for each test.

use crate::common::hostile::noise;
use crate::common::registry::Registry;
use crate::common::{Sandbox, failure_of, field, require_small, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lacking {
    Bytes,
    Inodes,
    Quota,
}

impl Lacking {
    /// What the hint says of it.
    fn told(self) -> &'static str {
        match self {
            Lacking::Bytes => "is full",
            Lacking::Inodes => "has no inodes left",
            Lacking::Quota => "your quota on the file system of",
        }
    }
}

/// Leaves nothing of it, neither in the place itself nor in what was put off.
fn fill(place: &Path, what: Lacking) {
    for n in 0.. {
        let path = place.join(format!("fill{n}"));
        let mut file = match File::create(&path) {
            Ok(file) => file,
            Err(error) => {
                let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
                assert!(full.contains(&error.kind()), "{error}");
                break;
            }
        };
        if what == Lacking::Inodes {
            continue;
        }
        let mut written = 0;
        for size in [1 << 20, 1 << 12, 512, 1] {
            while let Ok(count) = file.write(&vec![b'x'; size]) {
                written += count;
            }
        }
        let _ = file.sync_all();
        if written == 0 {
            fs::remove_file(&path).unwrap();
            break;
        }
    }
}

fn empty(place: &Path) {
    for entry in fs::read_dir(place).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("fill") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// The process that looks after a container.
fn supervisor(sandbox: &Sandbox, name: &str) -> Pid {
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.pid(name))).unwrap();
    Pid::from_raw(field(&status, "PPid").parse().unwrap())
}

fn state(sandbox: &Sandbox, name: &str) -> (String, i64) {
    let state = sandbox.inspect(name)["State"].clone();
    let code = state["ExitCode"].as_i64().unwrap();
    (state["Status"].as_str().unwrap().to_owned(), code)
}

/// All of it, for one file system.
fn nobody_is_locked_out(small: &str, what: Lacking) {
    let place = require_small(small);
    let root = place.join("store");
    fs::create_dir(&root).unwrap();
    let sandbox = Sandbox::with_root(&root);
    let ok = |line: &str| {
        let words = line.split(' ');
        sandbox.bryo(words).output().expect(0).stdout
    };
    ok(&format!(
        "import {} busybox",
        crate::common::busybox_tar().display()
    ));
    ok("tag busybox second");
    let tree = sandbox.work().join("tree");
    fs::create_dir(&tree).unwrap();
    sandbox.write("tree/file", "other");
    let tar = sandbox
        .command("tar")
        .args(["-C", "tree", "-cf", "other.tar", "."]);
    tar.output().expect(0);
    ok("import other.tar other");
    ok("volume create data");
    ok("network create net");
    let run = |name: &str, script: &str| {
        let run = sandbox.bryo(["run", "-d", "--network=none", "--name", name]);
        run.args(["busybox", "sh", "-c", script]).output().expect(0);
    };
    run(
        "stopped",
        "dd if=/dev/zero of=/big bs=1k count=900; echo said; exit 3",
    );
    ok("wait stopped");
    let lasting = "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done";
    for name in ["running", "killed", "orphan", "forced"] {
        run(name, lasting);
        wait_for("its trap", || {
            ok(&format!("logs {name}")).contains("ready").then_some(())
        });
    }
    ok("create --name created busybox true");
    let before = (ok("ps -aq"), ok("images -q"));
    // What is not in this store yet.
    let registry = Registry::start(&sandbox);
    let elsewhere = Sandbox::new();
    elsewhere.write("tree/file", noise(1, 3 << 20));
    let tar = elsewhere
        .command("tar")
        .args(["-C", "tree", "-cf", "large.tar", "."]);
    tar.output().expect(0);
    let archive = format!("oci-archive:{}/large.oci", sandbox.work().display());
    for arguments in [
        ["import", "large.tar", "large"],
        ["copy", "large", &archive],
        ["push", "large", &registry.name("large:1")],
    ] {
        elsewhere.bryo(arguments).output().expect(0);
    }
    fill(&place, what);

    // Who looks.
    for line in [
        "ps",
        "ps -a",
        "ps -a --format json",
        "container ls",
        "inspect stopped",
        "inspect running",
        "inspect created",
        "images",
        "image inspect busybox",
        "history busybox",
        "logs stopped",
        "logs running",
        "system df",
        "system df -v",
        "stats --no-stream",
        "top running",
        "port running",
        "diff stopped",
        "volume ls",
        "volume inspect data",
        "network ls",
        "network inspect net",
        "events --no-stream",
        "info",
        "wait stopped",
        "exec running true",
        "export -o /dev/null stopped",
        "cp running:/etc/hosts -",
        "cp running:/bin/busybox copy",
        "cp stopped:/bin/busybox copy",
        "export -o export.tar running",
        "save -o save.tar busybox",
        "copy busybox oci-archive:copy.tar",
        "copy busybox dir:copied",
        "check -q",
        "check -q --quick",
        "image tree busybox",
        "image exists busybox",
        "container exists stopped",
        "volume exists data",
        "network exists net",
        "generate systemd stopped",
        "version",
    ] {
        ok(line);
    }
    // Btrfs writes all anew, also what there is: a state is not known then.
    let notes = what != Lacking::Quota;
    if notes {
        ok("pause running");
        assert_eq!(state(&sandbox, "running").0, "paused");
        ok("unpause running");
    }
    ok(&format!("push busybox {}", registry.name("x:1")));
    assert_eq!(ok("logs stopped").lines().last(), Some("said"));

    // Who makes something.
    let says = what.told();
    let more = sandbox.write("more", vec![b'x'; 1 << 20]);
    let archive = sandbox.work().join("busybox.oci");
    for line in [
        "run --rm busybox true".to_owned(),
        "run -d --name new busybox true".to_owned(),
        "create --name new busybox true".to_owned(),
        "create --name new -v fresh:/fresh busybox true".to_owned(),
        format!("import {} third", archive.display()),
        "commit stopped third".to_owned(),
        "volume create new".to_owned(),
        "network create new".to_owned(),
        "update --restart=on-failure running".to_owned(),
        format!("cp {} stopped:/more", more.display()),
        format!("cp {} running:/more", more.display()),
        format!("pull --retry=0 {}", registry.name("large:1")),
        format!("run --retry=0 --name new {}", registry.name("large:1")),
        "load -i large.oci".to_owned(),
        "run --name new oci-archive:large.oci".to_owned(),
        "copy oci-archive:large.oci new".to_owned(),
        format!("save -o {}/out busybox", place.display()),
        format!("export -o {}/out stopped", place.display()),
        format!("cp stopped:/bin/busybox {}/out", place.display()),
        format!("copy busybox oci:{}/out", place.display()),
        format!("copy busybox docker-archive:{}/out", place.display()),
        format!("man {}/out", place.display()),
    ] {
        if line.starts_with("import") {
            fs::copy(crate::common::busybox_tar(), &archive).unwrap();
            let file = File::options().append(true).open(&archive);
            file.unwrap().write_all(&[0; 1024]).unwrap();
        }
        let refused = sandbox
            .bryo(line.split(' '))
            .output()
            .expect(failure_of(line.split(' ').next().unwrap()));
        let lines: Vec<&str> = refused.stderr.lines().collect();
        let errors = lines
            .iter()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(errors, 1, "{refused}");
        assert!(refused.stderr.contains(says), "{refused}");
        assert!(refused.stderr.contains("bryo system prune"), "{refused}");
        assert!(
            refused.stderr.contains(&place.display().to_string()),
            "{refused}"
        );
        // What was made on the way is gone again.
        fill(&place, what);
    }
    assert_eq!((ok("ps -aq"), ok("images -q")), before);
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    assert!(!ok("volume ls -q").contains("new") && !ok("network ls -q").contains("new"));

    // Who may find as little room as it takes, or not.
    let mut created = "created";
    for line in [
        "start created",
        "restart -t 0 stopped",
        "tag busybox more:1",
        "manifest create list:1",
        "rename created renamed",
        "exec -d running sh -c true",
        "exec running sh -c echo>/file",
    ] {
        let output = sandbox.bryo(line.split(' ')).output();
        match output.code {
            0 if line.starts_with("rename") => created = "renamed",
            0 => {}
            // The command's own.
            1 if line.starts_with("exec") => {}
            _ => {
                let refused = output.expect(1);
                for says in [says, &*place.display().to_string()] {
                    assert!(refused.stderr.contains(says), "{says}: {refused}");
                }
                assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
            }
        }
        fill(&place, what);
    }
    for name in [created, "stopped"] {
        ok(&format!("stop -t 0 {name}"));
        wait_for("its end", || {
            let state = state(&sandbox, name).0;
            ["created", "exited"].contains(&&*state).then_some(())
        });
    }

    // What ends is known to have ended, and how.
    let mut waiting = sandbox.bryo(["wait", "running"]).spawn();
    assert!(waiting.is_running());
    ok("stop running");
    let said = waiting.wait().expect(0).stdout;
    assert!(!notes || said == "7\n", "{said}");
    let known = if notes { 7 } else { 137 };
    assert_eq!(state(&sandbox, "running"), ("exited".to_owned(), known));
    ok("kill killed");
    assert_eq!(ok("wait killed"), "137\n");
    assert_eq!(state(&sandbox, "killed"), ("exited".to_owned(), 137));
    kill(supervisor(&sandbox, "orphan"), Signal::SIGKILL).unwrap();
    wait_for("the orphan's end", || {
        (state(&sandbox, "orphan") == ("exited".to_owned(), 137)).then_some(())
    });
    assert!(ok("ps -a").contains(&format!("Exited ({known})")));

    // Who removes.
    for line in [
        "rm -f forced",
        "rm orphan",
        "rm killed",
        &format!("rm {created}"),
        "volume rm data",
    ] {
        ok(line);
        wait_for("the deletion", || {
            let mut trash = fs::read_dir(root.join("trash")).unwrap();
            trash.next().is_none().then_some(())
        });
        fill(&place, what);
    }
    if !notes {
        // What is freed counts when it is on the disk.
        empty(&place);
        wait_for("room", || {
            let made = sandbox.bryo(["volume", "create", "room"]).output();
            (made.code == 0).then_some(())
        });
    }
    assert!(ok("untag second second").contains("second"));
    ok("rmi other");
    ok("network rm net");
    ok("system prune -f");
    assert_eq!(ok("ps -aq"), "");
    assert_eq!(ok("volume ls -q"), if notes { "" } else { "room\n" });
    assert!(ok("images").contains("busybox") && !ok("images").contains("other"));
    wait_for("room for another one", || {
        let run = sandbox.bryo(["run", "--rm", "--network=none", "busybox", "true"]);
        (run.output().code == 0).then_some(())
    });
    empty(&place);
    ok("rmi busybox");
}

#[test]
fn without_bytes_on_ext4() {
    nobody_is_locked_out("ext4-bytes", Lacking::Bytes);
}

#[test]
fn without_inodes_on_ext4() {
    nobody_is_locked_out("ext4-inodes", Lacking::Inodes);
}

#[test]
fn without_bytes_on_tmpfs() {
    nobody_is_locked_out("tmpfs-bytes", Lacking::Bytes);
}

#[test]
fn without_inodes_on_tmpfs() {
    nobody_is_locked_out("tmpfs-inodes", Lacking::Inodes);
}

#[test]
fn without_quota_on_btrfs() {
    nobody_is_locked_out("btrfs-quota", Lacking::Quota);
}

#[test]
fn without_room_in_the_runtime_directory() {
    let place = require_small("tmpfs-runtime");
    let sandbox = Sandbox::with_busybox();
    let bryo = |line: &str| {
        let run = sandbox.bryo(line.split(' '));
        run.env("XDG_RUNTIME_DIR", &place).output()
    };
    bryo("create --name c busybox true").expect(0);
    fs::write(place.join("fill"), "").unwrap();
    fill(&place, Lacking::Inodes);
    for line in ["ps -a", "inspect c", "images", "system df"] {
        bryo(line).expect(0);
    }
    let run = bryo("run --rm --network=none busybox true");
    let told = ["has no inodes left", "XDG_RUNTIME_DIR"];
    let told = told.iter().all(|says| run.stderr.contains(says));
    assert!(run.code == 0 || run.code == 125 && told, "{run}");
    bryo("rm c").expect(0);
    empty(&place);
    bryo("run --rm --network=none busybox true").expect(0);
    bryo("system prune -f").expect(0);
    let _ = fs::remove_file(place.join("bryo/keeper"));
}

#[test]
fn what_is_written_for_the_user_is_whole_or_not_there() {
    let place = require_small("tmpfs-out");
    let sandbox = Sandbox::with_busybox();
    let bryo = |line: &str| {
        let line = line.replace("OUT", place.to_str().unwrap());
        sandbox.bryo(line.split(' ')).output()
    };
    bryo("run --name c --network=none busybox true").expect(0);
    let running = sandbox.start("running", &[]);
    fs::write(place.join("old"), "old").unwrap();
    for what in [Lacking::Bytes, Lacking::Inodes] {
        fill(&place, what);
        let names = || {
            let names = fs::read_dir(&place).unwrap().flatten();
            let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
            names.retain(|name| !name.to_string_lossy().starts_with("fill"));
            names
        };
        for line in [
            "save -o OUT/new busybox",
            "save -o OUT/old busybox",
            "save --format=oci-dir -o OUT/new busybox",
            "copy busybox docker-archive:OUT/old",
            "copy busybox oci:OUT/new",
            "copy busybox dir:OUT/new",
            "export -o OUT/new c",
            "export -o OUT/old running",
            "cp c:/bin/busybox OUT/new",
            "cp c:/bin/busybox OUT/old",
            "cp running:/bin OUT/new",
            "man OUT/new",
            "create --cidfile=OUT/new --name new busybox true",
            "run -d --rm --pidfile=OUT/new --name new --network=none busybox sleep 100",
            "network trace -w OUT/new running",
        ] {
            let refused = bryo(line).expect(failure_of(line.split(' ').next().unwrap()));
            let told = [what.told(), place.to_str().unwrap(), "write elsewhere"];
            let told = told.iter().all(|says| refused.stderr.contains(says));
            assert!(told, "{refused}");
            assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
            assert_eq!(names(), ["old"], "{refused}");
            assert_eq!(fs::read(place.join("old")).unwrap(), b"old", "{refused}");
            let all = bryo("ps -a").expect(0).stdout;
            assert!(!all.contains("new"), "{all}");
        }
        let login = sandbox.bryo(["login", "-u", "a", "-p", "b", "--tls-verify=false"]);
        let registry = Registry::start(&sandbox);
        let login = login.env("REGISTRY_AUTH_FILE", place.join("auth.json"));
        let refused = login.arg(&registry.host).output().expect(1);
        assert!(refused.stderr.contains(what.told()), "{refused}");
        assert_eq!(names(), ["old"], "{refused}");
        empty(&place);
    }
    bryo("rm -f running").expect(0);
    running.wait();
}

#[test]
fn a_store_that_cannot_be_written_can_be_looked_at() {
    let place = require_small("readonly");
    let (store, seen) = (place.join("writable/store"), place.join("seen/store"));
    fs::create_dir(&store).unwrap();
    let sandbox = Sandbox::with_root(&store);
    let import = sandbox.bryo(["import"]).arg(crate::common::busybox_tar());
    import.arg("busybox").output().expect(0);
    let ok = |line: &str| sandbox.bryo(line.split(' ')).output().expect(0).stdout;
    ok("volume create data");
    ok("network create net");
    ok("run --name c --network=none busybox sh -c echo\tsaid;echo\tmore>/f");
    let read = |line: &str| {
        let bryo = sandbox.bryo(line.split(' '));
        bryo.env("BRYO_ROOT", &seen).output()
    };
    for line in [
        "ps -a",
        "ps -a --size",
        "inspect c",
        "images",
        "image inspect busybox",
        "image tree busybox",
        "history busybox",
        "logs c",
        "system df -v",
        "diff c",
        "volume ls",
        "volume inspect data",
        "network ls",
        "network inspect net",
        "events --no-stream",
        "info",
        "check -q --quick",
        "check -q",
        "wait c",
        "generate systemd c",
        "export -o export.tar c",
        "cp c:/f f",
        "save -o save.tar busybox",
        "copy busybox oci-archive:copy.tar",
        "copy busybox dir:copied",
    ] {
        read(line).expect(0);
    }
    assert_eq!(read("logs c").stdout, "said\n");
    for line in [
        "run --rm --network=none busybox true",
        "create busybox true",
        "start c",
        "rm c",
        "rename c d",
        "commit c new",
        "import save.tar new",
        "load -i save.tar",
        "tag busybox new",
        "rmi -f busybox",
        "volume create new",
        "volume rm data",
        "network create new",
        "network rm net",
        "update --restart=always c",
        "system prune -f",
    ] {
        let refused = read(line).expect(failure_of(line.split(' ').next().unwrap()));
        let told = ["is read-only", seen.to_str().unwrap(), "BRYO_ROOT"];
        let told = told.iter().all(|says| refused.stderr.contains(says));
        assert!(told, "{refused}");
        assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
    }
    // Nothing of it was done by halves.
    assert_eq!(ok("ps -a --format {{.Names}}"), "c\n");
    ok("start -a c");
    ok("rm c");
    ok("rmi busybox");
}
