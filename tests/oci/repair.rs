//! What killed commands leave, several at once, and what vanishes in between: the
//! next command sees to it.

use super::Runtime;
use crate::common::{Output, require_subtree, require_tool, wait_for};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The calls that change something.
const STEPS: &str = "clone3,execve,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
                     write,openat,flock,sendmsg,recvmsg,pidfd_send_signal,waitid,wait4,poll,ppoll";

/// Calls the runtime, which is killed before its `count`th step; `None` when it has
/// fewer.
fn killed(runtime: &Runtime, count: usize, words: &[&str]) -> Option<()> {
    let script = "exec \"$@\" </dev/null >/dev/null 2>&1";
    let strace = require_tool("strace", "strace");
    let root = runtime.sandbox.path().join("oci");
    let call = runtime.sandbox.command("sh").args(["-c", script, "sh"]);
    let call = call.arg(strace).args(["-qq", "-o", "/dev/null"]);
    let call = call.arg("-e").arg(format!("trace={STEPS}"));
    let inject = format!("inject={STEPS}:signal=SIGKILL:when={count}");
    let call = call.arg("-e").arg(inject).arg(&runtime.program);
    let output = call.arg("--root").arg(&root).args(words).output();
    match output.code {
        0 => None,
        137 => Some(()),
        _ => panic!("step {count} of {words:?}: {output}"),
    }
}

/// Proves that the container can be asked about, removed and made anew, and that
/// nothing of it is left then.
fn repaired(runtime: &Runtime, group: &Path, count: usize, what: &str) {
    let check = |output: Output| assert_eq!(output.code, 0, "{what}, step {count}: {output}");
    let id = runtime.id.as_str();
    check(runtime.call(&["list", "-f", "json"]));
    // Every other time the next one has to get along with what is left.
    if count.is_multiple_of(2) {
        check(runtime.call(&["delete", "--force", id]));
        let left = fs::read_dir(runtime.sandbox.path().join("oci")).unwrap();
        assert_eq!(left.count(), 0, "{what}, step {count}");
        assert!(!group.exists(), "{what}, step {count}");
        check(runtime.create(id, &[]));
    } else {
        let created = runtime.create(id, &[]);
        match created.stderr.contains("already exists") {
            true => check(runtime.call(&["state", id])),
            false => check(created),
        }
    }
    check(runtime.call(&["delete", "--force", id]));
    let left = fs::read_dir(runtime.sandbox.path().join("oci")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{what}, step {count}: {left:?}");
    assert!(!group.exists(), "{what}, step {count}");
}

#[test]
fn a_command_that_is_killed_before_any_step_leaves_what_can_be_repaired() {
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    let own = require_subtree();
    let group = own.with_file_name(format!("{id}-{}", std::process::id()));
    let path = group.strip_prefix("/sys/fs/cgroup").unwrap();
    runtime.configure(&["sleep", "1000"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{}", path.display()));
    });
    let bundle = runtime.bundle.to_str().unwrap();
    let create = ["create", "-b", bundle, id];
    let start = ["start", id];
    let delete = ["delete", "--force", id];
    let ready = |words: &[&[&str]]| {
        for words in words {
            match words[0] {
                "create" => runtime.create(id, &[]),
                _ => runtime.call(words),
            }
            .expect(0);
        }
    };
    let rows: [(&[&str], &[&[&str]]); 3] = [
        (&create, &[]),
        (&start, &[&create]),
        (&delete, &[&create, &start]),
    ];
    for (words, before) in rows {
        let mut count = 1;
        loop {
            ready(before);
            let left = killed(&runtime, count, words);
            repaired(&runtime, &group, count, words[0]);
            match left {
                Some(()) => count += 1,
                None => break,
            }
        }
        // It was killed at all.
        assert!(count > 10, "{words:?}: {count}");
    }
}

/// What becomes of several calls at once.
fn at_once(call: impl Fn() -> Output + Sync) -> Vec<Output> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(&call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn of_several_at_once_one_creates_starts_and_deletes() {
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    let out = runtime.bundle.join("rootfs/out");
    runtime.configure(&["sh", "-c", "echo begun >>/out; exec sleep 1000"], |_| {});
    let bundle = runtime.bundle.to_str().unwrap();
    let root = runtime.sandbox.path().join("oci");
    let script = "exec \"$@\" </dev/null >/dev/null 2>\"$ERRORS\"";
    let number = std::sync::atomic::AtomicU32::new(0);
    let create = || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let errors = runtime.bundle.join(format!("errors{number}"));
        let call = runtime.sandbox.command("sh").env("ERRORS", &errors);
        let call = call.args(["-c", script, "sh"]).arg(&runtime.program);
        let call = call.arg("--root").arg(&root);
        let mut output = call.args(["create", "-b", bundle, id]).output();
        output.stderr = fs::read_to_string(errors).unwrap();
        output
    };
    for round in 0..5 {
        let done = |all: &[Output], says: &[&str]| {
            let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|output| output.code == 0);
            assert_eq!(good.len(), 1, "round {round}");
            for output in bad {
                assert!(
                    says.iter().any(|says| output.stderr.contains(says)),
                    "{output}"
                );
            }
        };
        done(&at_once(create), &["already exists"]);
        let start = || runtime.call(&["start", id]);
        done(&at_once(start), &["already running"]);
        wait_for("the command", || out.exists().then_some(()));
        assert_eq!(fs::read_to_string(&out).unwrap(), "begun\n");
        fs::remove_file(&out).unwrap();
        let delete = || runtime.call(&["delete", "--force", id]);
        let deleted = at_once(delete);
        assert!(
            deleted.iter().all(|output| output.code == 0),
            "{}",
            deleted[0]
        );
        assert_eq!(runtime.call(&["list", "-q"]).stdout, "");
    }
}

#[test]
fn a_bundle_that_vanishes_is_not_needed_any_more() {
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    runtime.configure(&["sleep", "1000"], |_| {});
    runtime.create(id, &[]).expect(0);
    let elsewhere = runtime.bundle.with_extension("elsewhere");
    fs::rename(&runtime.bundle, &elsewhere).unwrap();
    runtime.call(&["start", id]).expect(0);
    assert_eq!(runtime.state(id)["status"], "running");
    runtime.call(&["exec", id, "true"]).expect(0);
    runtime.call(&["delete", "--force", id]).expect(0);
    let missing = runtime.run(id).expect(1);
    assert!(
        missing.stderr.contains("config.json not found"),
        "{missing}"
    );
    fs::rename(&elsewhere, &runtime.bundle).unwrap();
    // What it consists of is gone.
    runtime.create(id, &[]).expect(0);
    fs::remove_dir_all(runtime.bundle.join("rootfs/bin")).unwrap();
    let gone = runtime.call(&["start", id]).expect(1);
    assert!(gone.stderr.contains("no such file or directory"), "{gone}");
    runtime.await_status(id, "stopped");
    runtime.call(&["delete", id]).expect(0);
}

#[test]
fn places_that_hold_something_else_are_told_from_containers() {
    let runtime = Runtime::bryo();
    runtime.configure(&["true"], |_| {});
    let at = |root: &str, words: &[&str]| {
        let call = runtime.sandbox.command(&runtime.program);
        call.args(["--root", root]).args(words).output()
    };
    let work = runtime.sandbox.work();
    let place = |name: &str| work.join(name).to_str().unwrap().to_owned();
    let file = runtime.sandbox.write("file", "");
    let refused = at(file.to_str().unwrap(), &["list"]).expect(1);
    assert!(refused.stderr.contains("--root"), "{refused}");
    let refused = at("/", &["list"]).expect(1);
    assert!(refused.stderr.contains("somebody else's"), "{refused}");
    let open = place("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = at(&open, &["list"]).expect(1);
    assert!(
        refused.stderr.contains("others may write to it"),
        "{refused}"
    );

    // Things of others in a place of ours.
    let own = place("own");
    at(&own, &["list"]).expect(0);
    let inside = |name: &str| work.join("own").join(name);
    fs::write(inside("file"), "").unwrap();
    fs::create_dir(inside("empty")).unwrap();
    fs::create_dir(inside("torn")).unwrap();
    fs::write(inside("torn/state.json"), "{\"id\":").unwrap();
    symlink("/", inside("link")).unwrap();
    assert_eq!(at(&own, &["list", "-q"]).expect(0).stdout, "");
    for id in ["file", "empty", "link", "missing"] {
        at(&own, &["state", id]).expect(1);
    }
    let torn = at(&own, &["state", "torn"]).expect(1);
    assert!(torn.stderr.contains("state.json"), "{torn}");
    let bundle = runtime.bundle.to_str().unwrap();
    let taken = at(&own, &["run", "-b", bundle, "torn"]).expect(1);
    assert!(taken.stderr.contains("already exists"), "{taken}");
    at(&own, &["delete", "torn"]).expect(1);
    at(&own, &["delete", "--force", "torn"]).expect(0);
    assert!(!inside("torn").exists());
    // One that was about to be made.
    at(&own, &["run", "-b", bundle, "empty"]).expect(0);
    assert!(!inside("empty").exists());
    let name = "x".repeat(1000);
    let long = at(&own, &["run", "-b", bundle, &name]).expect(1);
    assert!(
        long.stderr.contains("invalid container ID format"),
        "{long}"
    );
}
