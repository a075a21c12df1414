//! runtime.md and features.md.

use super::section;
use crate::oci::Runtime;
use serde_json::{Value, json};
use std::fs;

/// A container that was created and would leave a file when it runs.
fn created(runtime: &Runtime) -> Value {
    runtime.configure(&["sh", "-c", "echo >/ran; exec sleep 1000"], |_| {});
    let _ = fs::remove_file(runtime.bundle.join("rootfs/ran"));
    runtime.create(&runtime.id, &[]).expect(0);
    runtime.state(&runtime.id)
}

fn has_run(runtime: &Runtime) -> bool {
    runtime.bundle.join("rootfs/ran").exists()
}

fn fails(runtime: &Runtime, words: &[&str]) {
    assert_ne!(runtime.call(words).code, 0, "{words:?}");
}

#[test]
fn state() {
    section(
        "runtime.md, State",
        &[
            ("id, pid, bundle, annotations, version", |r| {
                let state = created(r);
                assert_eq!(state["id"], r.id.as_str());
                assert_eq!(state["bundle"], r.bundle.to_str().unwrap());
                assert_eq!(state["annotations"]["com.example.key"], "value");
                assert!(state["ociVersion"].as_str().unwrap().starts_with('1'));
                let pid = state["pid"].as_u64().unwrap();
                assert!(fs::exists(format!("/proc/{pid}")).unwrap());
            }),
            ("created", |r| assert_eq!(created(r)["status"], "created")),
            ("running", |r| {
                created(r);
                r.call(&["start", &r.id]).expect(0);
                r.await_status(&r.id, "running");
            }),
            ("stopped", |r| {
                created(r);
                r.call(&["start", &r.id]).expect(0);
                r.call(&["kill", &r.id, "KILL"]).expect(0);
                r.await_status(&r.id, "stopped");
            }),
        ],
    );
}

#[test]
fn lifecycle() {
    section(
        "runtime.md, Lifecycle and Operations",
        &[
            ("create does not run the program", |r| {
                created(r);
                assert!(!has_run(r));
            }),
            ("what config.json says later has no effect", |r| {
                created(r);
                fs::write(r.bundle.join("config.json"), "{}").unwrap();
                r.call(&["start", &r.id]).expect(0);
                crate::common::wait_for("the program", || has_run(r).then_some(()));
            }),
            ("create of an id that is taken is an error", |r| {
                let pid = created(r)["pid"].clone();
                assert_ne!(r.create(&r.id, &[]).code, 0);
                assert_eq!(r.state(&r.id)["pid"], pid);
            }),
            ("create without a bundle is an error", |r| {
                fails(r, &["create", "--bundle", "/nowhere", &r.id]);
                fails(r, &["state", &r.id]);
            }),
            ("a create that fails leaves nothing", |r| {
                r.configure(&["true"], |c| c["root"]["path"] = json!("nowhere"));
                assert_ne!(r.create(&r.id, &[]).code, 0);
                fails(r, &["state", &r.id]);
            }),
            ("state of what is not there is an error", |r| {
                fails(r, &["state", &r.id])
            }),
            ("start of what is not there is an error", |r| {
                fails(r, &["start", &r.id])
            }),
            ("start of what runs is an error and changes nothing", |r| {
                created(r);
                r.call(&["start", &r.id]).expect(0);
                r.await_status(&r.id, "running");
                fails(r, &["start", &r.id]);
                assert_eq!(r.state(&r.id)["status"], "running");
            }),
            ("start of what has stopped is an error", |r| {
                created(r);
                r.call(&["kill", &r.id, "KILL"]).expect(0);
                r.await_status(&r.id, "stopped");
                fails(r, &["start", &r.id]);
            }),
            ("kill of what is not there is an error", |r| {
                fails(r, &["kill", &r.id, "TERM"])
            }),
            ("kill of what is created", |r| {
                created(r);
                r.call(&["kill", &r.id, "KILL"]).expect(0);
                r.await_status(&r.id, "stopped");
                assert!(!has_run(r));
            }),
            ("kill of what has stopped is an error", |r| {
                created(r);
                r.call(&["kill", &r.id, "KILL"]).expect(0);
                r.await_status(&r.id, "stopped");
                fails(r, &["kill", &r.id, "TERM"]);
            }),
            ("kill sends that signal", |r| {
                let script =
                    "trap 'echo >/told; exit 0' USR1; echo >/ran; while :; do sleep 0.1; done";
                created(r);
                r.call(&["delete", "--force", &r.id]).expect(0);
                r.configure(&["sh", "-c", script], |_| {});
                r.create(&r.id, &[]).expect(0);
                r.call(&["start", &r.id]).expect(0);
                crate::common::wait_for("the program", || has_run(r).then_some(()));
                r.call(&["kill", &r.id, "USR1"]).expect(0);
                r.await_status(&r.id, "stopped");
                assert!(r.bundle.join("rootfs/told").exists());
            }),
            ("delete of what is not there is an error", |r| {
                fails(r, &["delete", &r.id])
            }),
            ("delete of what runs is an error and changes nothing", |r| {
                created(r);
                r.call(&["start", &r.id]).expect(0);
                r.await_status(&r.id, "running");
                fails(r, &["delete", &r.id]);
                assert_eq!(r.state(&r.id)["status"], "running");
            }),
            (
                "delete of what has stopped leaves the bundle and frees the id",
                |r| {
                    created(r);
                    r.call(&["kill", &r.id, "KILL"]).expect(0);
                    r.await_status(&r.id, "stopped");
                    r.call(&["delete", &r.id]).expect(0);
                    assert!(r.bundle.join("config.json").exists());
                    assert_eq!(created(r)["status"], "created");
                },
            ),
        ],
    );
}

#[test]
fn features() {
    section(
        "features.md",
        &[
            ("the versions, hooks and options", |r| {
                let said = r.call(&["features"]).expect(0).stdout;
                let said: Value = serde_json::from_str(&said).unwrap();
                assert!(said["ociVersionMin"].is_string());
                assert!(said["ociVersionMax"].is_string());
                assert!(said["hooks"].is_array());
                assert!(said["mountOptions"].is_array());
            }),
            ("what is for Linux", |r| {
                let said = r.call(&["features"]).expect(0).stdout;
                let said: Value = serde_json::from_str(&said).unwrap();
                let linux = &said["linux"];
                for list in ["namespaces", "capabilities"] {
                    assert!(linux[list].is_array(), "{list}");
                }
                for part in ["cgroup", "seccomp", "apparmor", "selinux", "intelRdt"] {
                    assert!(linux[part].is_object(), "{part}");
                }
            }),
        ],
    );
}
