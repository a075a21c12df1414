//! Control groups, and what is done by them.

use super::Runtime;
use crate::common::{require_subtree, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A group below the one that is this user's, as a specification names it, and
/// its directory.
pub fn named(id: &str) -> (String, PathBuf) {
    let own = require_subtree();
    let name = format!("{id}-{}", std::process::id());
    let group = own.parent().unwrap().join(name);
    let path = group.strip_prefix("/sys/fs/cgroup").unwrap();
    (format!("/{}", path.display()), group)
}

fn file(group: &Path, name: &str) -> String {
    let text = fs::read_to_string(group.join(name)).unwrap_or_default();
    text.trim_end().to_owned()
}

fn pids(runtime: &Runtime) -> Vec<u64> {
    let said = runtime.call(&["ps", "-f", "json", &runtime.id]).expect(0);
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    let all = said.as_array().unwrap().iter();
    all.map(|pid| pid.as_u64().unwrap()).collect()
}

#[test]
fn a_container_is_in_the_group_that_its_bundle_names() {
    for runtime in [Runtime::bryo(), Runtime::runc(), Runtime::crun()] {
        let id = runtime.id.as_str();
        let (path, group) = named(id);
        runtime.configure(&["sh", "-c", "sleep 1000 & wait"], |config| {
            config["linux"]["cgroupsPath"] = json!(path);
        });
        runtime.create(id, &[]).expect(0);
        let first = runtime.state(id)["pid"].as_u64().unwrap();
        assert_eq!(pids(&runtime), [first]);
        assert_eq!(file(&group, "cgroup.procs"), first.to_string());
        runtime.call(&["start", id]).expect(0);
        let both = wait_for("its child", || {
            Some(pids(&runtime)).filter(|pids| pids.len() == 2)
        });
        assert!(both.contains(&first));
        let table = runtime.call(&["ps", id]).expect(0).stdout;
        if !runtime.is("crun") {
            assert!(table.starts_with("UID"), "{table}");
        }
        assert_eq!(table.lines().count(), 3, "{table}");

        runtime.call(&["pause", id]).expect(0);
        assert_eq!(runtime.state(id)["status"], "paused");
        // crun does not wait for that.
        wait_for("the freeze", || {
            let events = file(&group, "cgroup.events");
            events.contains("frozen 1").then_some(())
        });
        let exec = runtime.call(&["exec", id, "true"]);
        assert_ne!(exec.code, 0);
        assert!(exec.stderr.contains("paused"), "{exec}");
        runtime.call(&["delete", id]).expect(1);
        runtime.call(&["resume", id]).expect(0);
        assert_eq!(runtime.state(id)["status"], "running");
        let again = runtime.call(&["resume", id]);
        // crun takes it for done.
        assert!(
            again.stderr.contains("not paused") || runtime.is("crun"),
            "{again}"
        );
        let inside = runtime.call(&["exec", id, "grep", "0::", "/proc/self/cgroup"]);
        assert_eq!(inside.expect(0).stdout, format!("0::{path}\n"));

        runtime.call(&["kill", "--all", id, "KILL"]).expect(0);
        runtime.await_status(id, "stopped");
        runtime.call(&["delete", id]).expect(0);
        assert!(!group.exists());
    }
}

#[test]
fn limits_are_set_and_changed_or_refused() {
    for runtime in [Runtime::bryo(), Runtime::runc(), Runtime::crun()] {
        let id = runtime.id.as_str();
        let (path, group) = named(id);
        let limited = |resources: Value| {
            runtime.configure(&["sleep", "1000"], |config| {
                config["linux"]["cgroupsPath"] = json!(path);
                config["linux"]["resources"] = resources;
            });
        };
        limited(json!({"unified": {"cgroup.max.descendants": "7"}}));
        runtime.create(id, &[]).expect(0);
        assert_eq!(file(&group, "cgroup.max.descendants"), "7");
        runtime.call(&["delete", "--force", id]).expect(0);
        assert!(!group.exists());
        // Nobody has the controller here.
        limited(json!({"cpu": {"quota": 5000, "period": 100000}}));
        assert_ne!(runtime.create(id, &[]).code, 0);
        runtime.call(&["delete", "--force", id]).expect(0);
        let left = group.exists();
        let _ = fs::remove_dir(&group);
        assert!(!left || !runtime.is("bryo-oci"));
    }
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    let (path, group) = named(id);
    runtime.configure(&["sleep", "1000"], |config| {
        config["linux"]["cgroupsPath"] = json!(path);
    });
    runtime.create(id, &[]).expect(0);
    let change = json!({"unified": {"cgroup.max.depth": "3"}}).to_string();
    let change = runtime.sandbox.write("change", change);
    let flag = format!("--resources={}", change.display());
    runtime.call(&["update", &flag, id]).expect(0);
    assert_eq!(file(&group, "cgroup.max.depth"), "3");
    let words = ["update", "--cpu-quota", "5000", id];
    let refused = runtime.call(&words).expect(1);
    assert!(
        refused.stderr.contains("processors cannot be limited"),
        "{refused}"
    );
    runtime.call(&["delete", "--force", id]).expect(0);
    assert!(!group.exists());
}

#[test]
fn what_a_container_uses_is_told() {
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    let (path, _) = named(id);
    runtime.configure(&["sh", "-c", "read x <>/fifo"], |config| {
        config["linux"]["cgroupsPath"] = json!(path);
    });
    let fifo = runtime.bundle.join("rootfs/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    runtime.create(id, &[]).expect(0);
    runtime.call(&["start", id]).expect(0);
    let said = runtime.call(&["events", "--stats", id]).expect(0).stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["type"], &said["id"]), (&json!("stats"), &json!(id)));
    assert!(said["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    // Until its end, which is here when the first was told.
    let script = "\"$@\" | { read first; echo \"$first\"; echo go >\"$FIFO\"; cat; }";
    let root = runtime.sandbox.path().join("oci");
    let command = runtime.sandbox.command("sh").env("FIFO", &fifo);
    let command = command.args(["-c", script, "sh"]).arg(&runtime.program);
    let command = command.arg("--root").arg(&root);
    let followed = command.args(["events", "--interval", "10ms", id]).output();
    let followed = followed.expect(0);
    assert_eq!(followed.stderr, "");
    for line in followed.stdout.lines() {
        assert_eq!(
            serde_json::from_str::<Value>(line).unwrap()["type"],
            "stats"
        );
    }
    runtime.await_status(id, "stopped");
    let stopped = runtime.call(&["events", "--stats", id]).expect(1);
    assert!(
        stopped.stderr.contains("container not running"),
        "{stopped}"
    );
    runtime.call(&["delete", id]).expect(0);
}

#[test]
fn a_group_that_somebody_is_in_is_not_taken() {
    let runtime = Runtime::bryo();
    let (path, group) = named(&runtime.id);
    runtime.configure(&["sleep", "1000"], |config| {
        config["linux"]["cgroupsPath"] = json!(path);
    });
    runtime.create("a", &[]).expect(0);
    let refused = runtime.create("b", &[]).expect(1);
    assert!(
        refused.stderr.contains("there are processes in"),
        "{refused}"
    );
    assert_eq!(runtime.state("a")["status"], "created");
    runtime.call(&["delete", "a"]).expect(0);
    runtime.call(&["delete", "--force", "b"]).expect(0);
    assert!(!group.exists());
}

#[test]
fn without_a_group_a_container_runs_all_the_same() {
    let runtime = Runtime::bryo();
    let id = runtime.id.as_str();
    let disabled =
        |words: &[&str]| runtime.call(&[&["--cgroup-manager", "disabled"], words].concat());
    let bundle = runtime.bundle.to_str().unwrap();
    runtime.configure(&["true"], |config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 5}});
    });
    let refused = disabled(&["run", "-b", bundle, id]).expect(1);
    assert!(
        refused.stderr.contains("processes cannot be limited"),
        "{refused}"
    );
    runtime.configure(&["sh", "-c", "sleep 1000 & wait"], |config| {
        config["linux"]["resources"] = json!({"cpu": {"shares": 1024},
            "devices": [{"allow": false, "access": "rwm"}]});
    });
    let started = runtime.sandbox.command("sh").args([
        "-c",
        "exec \"$@\" </dev/null >/dev/null 2>&1",
        "sh",
        runtime.program.to_str().unwrap(),
        "--root",
        runtime.sandbox.path().join("oci").to_str().unwrap(),
        "--cgroup-manager",
        "disabled",
        "run",
        "-d",
        "-b",
        bundle,
        id,
    ]);
    started.output().expect(0);
    let first = runtime.state(id)["pid"].as_u64().unwrap();
    let both = wait_for("its child", || {
        Some(pids(&runtime)).filter(|pids| pids.len() == 2)
    });
    assert!(both.contains(&first));
    for words in [
        &["pause", id][..],
        &["update", "--pids-limit", "5", id],
        &["events", "--stats", id],
    ] {
        let refused = runtime.call(words).expect(1);
        assert!(refused.stderr.contains("has no control group"), "{refused}");
    }
    runtime.call(&["kill", "-a", id, "KILL"]).expect(0);
    runtime.await_status(id, "stopped");
    assert!(pids(&runtime).is_empty());
    runtime.call(&["delete", id]).expect(0);
}
