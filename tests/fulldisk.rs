//! A file system without a free byte, and one without a free inode: what is
//! there can be looked at, stopped and removed, and what cannot be made says
//! what is full and leaves nothing.
//!
//! The file systems are made by `tests/run`, one for each test.

use crate::common::{Sandbox, field, require_small, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lacking {
    Bytes,
    Inodes,
}

/// Leaves nothing of it, neither in the place itself nor in what was put off.
fn fill(place: &Path, what: Lacking) {
    for n in 0.. {
        let path = place.join(format!("fill{n}"));
        let mut file = match File::create(&path) {
            Ok(file) => file,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
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
    ] {
        ok(line);
    }
    assert_eq!(ok("logs stopped").lines().last(), Some("said"));

    // Who makes something.
    let says = match what {
        Lacking::Bytes => "is full",
        Lacking::Inodes => "has no inodes left",
    };
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
        format!("cp {} stopped:/more", more.display()),
    ] {
        if line.starts_with("import") {
            fs::copy(crate::common::busybox_tar(), &archive).unwrap();
            let file = File::options().append(true).open(&archive);
            file.unwrap().write_all(&[0; 1024]).unwrap();
        }
        let refused = sandbox.bryo(line.split(' ')).output().expect(125);
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

    // What ends is known to have ended, and how.
    let mut waiting = sandbox.bryo(["wait", "running"]).spawn();
    assert!(waiting.is_running());
    ok("stop running");
    assert_eq!(waiting.wait().expect(0).stdout, "7\n");
    assert_eq!(state(&sandbox, "running"), ("exited".to_owned(), 7));
    ok("kill killed");
    assert_eq!(ok("wait killed"), "137\n");
    assert_eq!(state(&sandbox, "killed"), ("exited".to_owned(), 137));
    kill(supervisor(&sandbox, "orphan"), Signal::SIGKILL).unwrap();
    wait_for("the orphan's end", || {
        (state(&sandbox, "orphan") == ("exited".to_owned(), 137)).then_some(())
    });
    assert!(ok("ps -a").contains("Exited (7)"));

    // Who removes.
    for line in [
        "rm -f forced",
        "rm orphan",
        "rm killed",
        "rm created",
        "volume rm data",
    ] {
        ok(line);
        wait_for("the deletion", || {
            let mut trash = fs::read_dir(root.join("trash")).unwrap();
            trash.next().is_none().then_some(())
        });
        fill(&place, what);
    }
    assert!(ok("untag second second").contains("second"));
    ok("rmi other");
    ok("network rm net");
    ok("system prune -f");
    assert_eq!(
        (ok("ps -aq"), ok("volume ls -q")),
        (String::new(), String::new())
    );
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
