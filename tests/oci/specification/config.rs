//! config.md, but for the process.

use super::{add, printed, refused, run, run_as_it_is, section};
use crate::oci::Runtime;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn mount(config: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({"destination": destination, "type": kind, "source": source,
        "options": options});
    add(&mut config["mounts"], mount);
}

/// A directory outside with a file in it.
fn outside(runtime: &Runtime) -> PathBuf {
    let place = runtime.sandbox.work().join(format!("out-{}", runtime.id));
    fs::create_dir_all(place.join("below")).unwrap();
    fs::write(place.join("file"), "content\n").unwrap();
    place
}

/// The options of the mount on `/m`, and which it has of those that have a name
/// in mountinfo.
fn options(runtime: &Runtime, options: &[&str]) -> String {
    let source = outside(runtime);
    let script = "grep ' /m ' /proc/self/mountinfo | tail -n 1 | cut -d' ' -f6,7";
    printed(runtime, script, |c| {
        mount(c, "/m", "bind", source.to_str().unwrap(), options);
    })
}

#[test]
fn specification_version() {
    section(
        "config.md, Specification version",
        &[
            ("a later minor version", |r| {
                let said = printed(r, "echo ran", |c| c["ociVersion"] = json!("1.9.0"));
                assert_eq!(said, "ran");
            }),
            ("another major version is refused", |r| {
                refused(r, |c| c["ociVersion"] = json!("9.0.0"));
            }),
            ("no version is refused", |r| {
                refused(r, |c| drop(c.as_object_mut().unwrap().remove("ociVersion")));
            }),
        ],
    );
}

#[test]
fn root() {
    section(
        "config.md, Root",
        &[
            ("a path from the bundle", |r| {
                assert_eq!(printed(r, "test -x /bin/busybox; echo $?", |_| {}), "0");
            }),
            ("an absolute path", |r| {
                let root = r.bundle.join("rootfs");
                let said = printed(r, "echo ran", |c| c["root"]["path"] = json!(root));
                assert_eq!(said, "ran");
            }),
            ("readonly", |r| {
                let script = "touch /new 2>/dev/null || echo cannot";
                let said = printed(r, script, |c| c["root"]["readonly"] = json!(true));
                assert_eq!(said, "cannot");
            }),
            ("one that is not there is refused", |r| {
                refused(r, |c| c["root"]["path"] = json!("nowhere"));
            }),
        ],
    );
}

#[test]
fn mounts() {
    section(
        "config.md, Mounts",
        &[
            ("in their order", |r| {
                let out = outside(r);
                let said = printed(r, "cat /m/b/file", |c| {
                    mount(c, "/m", "tmpfs", "tmpfs", &[]);
                    mount(c, "/m/b", "bind", out.to_str().unwrap(), &["bind"]);
                });
                assert_eq!(said, "content");
            }),
            ("a file", |r| {
                let file = outside(r).join("file");
                let said = printed(r, "cat /f", |c| {
                    mount(c, "/f", "", file.to_str().unwrap(), &["rbind"]);
                });
                assert_eq!(said, "content");
            }),
            ("a source from the bundle", |r| {
                fs::write(r.bundle.join("beside"), "content").unwrap();
                let said = printed(r, "cat /beside", |c| {
                    mount(c, "/beside", "none", "beside", &["bind"]);
                });
                assert_eq!(said, "content");
            }),
            ("a relative destination", |r| {
                let said = printed(r, "grep -c ' /rel ' /proc/self/mountinfo", |c| {
                    mount(c, "rel", "tmpfs", "tmpfs", &[]);
                });
                assert_eq!(said, "1");
            }),
            ("a destination by a link", |r| {
                let link = r.bundle.join("rootfs/link");
                std::os::unix::fs::symlink("/target", link).unwrap();
                let said = printed(r, "grep -c ' /target ' /proc/self/mountinfo", |c| {
                    mount(c, "/link", "tmpfs", "tmpfs", &[]);
                });
                assert_eq!(said, "1");
            }),
            ("a source that is not there is refused", |r| {
                refused(r, |c| mount(c, "/m", "bind", "/nowhere", &["bind"]));
            }),
            ("an unknown type is refused", |r| {
                refused(r, |c| mount(c, "/m", "nofs", "none", &[]));
            }),
            ("ro", |r| {
                assert!(options(r, &["bind", "ro"]).starts_with("ro,"));
            }),
            ("nosuid, nodev, noexec", |r| {
                let said = options(r, &["rbind", "nosuid", "nodev", "noexec"]);
                assert!(said.starts_with("rw,nosuid,nodev,noexec"), "{said}");
            }),
            ("noatime", |r| {
                let script = "grep ' /m ' /proc/self/mountinfo";
                let said = printed(r, script, |c| {
                    mount(c, "/m", "tmpfs", "tmpfs", &["noatime"])
                });
                assert!(said.contains("noatime"), "{said}");
            }),
            ("nosymfollow", |r| {
                assert!(options(r, &["bind", "nosymfollow"]).contains("nosymfollow"));
            }),
            ("later options win", |r| {
                assert!(options(r, &["bind", "ro", "rw"]).starts_with("rw,"));
            }),
            ("rro", |r| {
                let out = outside(r);
                let out = out.to_str().unwrap();
                let script = "touch /m/new 2>/dev/null || echo cannot; \
                    touch /m/below/new 2>/dev/null || echo cannot";
                let said = printed(r, script, |c| {
                    mount(c, "/m", "bind", out, &["rbind"]);
                    mount(c, "/m/below", "tmpfs", "tmpfs", &[]);
                    mount(c, "/m", "bind", out, &["rbind", "rro"]);
                });
                assert_eq!(said, "cannot\ncannot");
            }),
            ("shared", |r| {
                let said = options(r, &["bind", "shared"]);
                assert!(said.contains(" shared:"), "{said}");
            }),
            ("private", |r| {
                assert!(options(r, &["bind", "rprivate"]).ends_with(" -"));
            }),
            ("unbindable", |r| {
                assert!(options(r, &["bind", "unbindable"]).ends_with(" unbindable"));
            }),
            ("tmpcopyup", |r| {
                let there = r.bundle.join("rootfs/there");
                fs::create_dir(&there).unwrap();
                fs::write(there.join("file"), "content").unwrap();
                let said = printed(r, "cat /there/file", |c| {
                    mount(c, "/there", "tmpfs", "tmpfs", &["tmpcopyup"]);
                });
                assert_eq!(said, "content");
            }),
            ("options of a file system", |r| {
                let script = "df -k /m | tail -n 1 | awk '{print $2}'; stat -c %a /m";
                let said = printed(r, script, |c| {
                    mount(c, "/m", "tmpfs", "tmpfs", &["size=64k", "mode=0711"]);
                });
                assert_eq!(said, "64\n711");
            }),
            ("unknown options are refused", |r| {
                refused(r, |c| mount(c, "/m", "tmpfs", "tmpfs", &["nooption=1"]));
            }),
        ],
    );
}

#[test]
fn names() {
    section(
        "config.md, Hostname and Domainname",
        &[
            ("hostname", |r| {
                let said = printed(r, "hostname", |c| c["hostname"] = json!("box"));
                assert_eq!(said, "box");
            }),
            ("domainname", |r| {
                let script = "cat /proc/sys/kernel/domainname";
                let said = printed(r, script, |c| c["domainname"] = json!("example"));
                assert_eq!(said, "example");
            }),
        ],
    );
}

/// A hook that adds a line to the file `log` of the bundle.
fn hook(runtime: &Runtime, name: &str, then: &str) -> Value {
    let log = runtime.bundle.join("log");
    let text = format!(
        "#!/bin/sh\nread -r state\necho \"$state\" >{0}.{name}\necho {name} >>{0}\n{then}\n",
        log.display()
    );
    let _ = fs::remove_file(&log);
    let file = runtime.sandbox.write(&format!("hook-{name}"), text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    json!([{"path": file}])
}

fn logged(runtime: &Runtime, name: &str) -> String {
    fs::read_to_string(runtime.bundle.join(name)).unwrap_or_default()
}

/// A start with a hook that fails, or takes too long.
fn run_with_bad(runtime: &Runtime, moment: &str, slow: bool) -> (crate::common::Output, String) {
    let mut hooks = hook(
        runtime,
        moment,
        if slow { "exec sleep 100" } else { "exit 3" },
    );
    if slow {
        hooks[0]["timeout"] = json!(1);
    }
    let output = run(runtime, "echo it runs", |c| c["hooks"][moment] = hooks);
    let log = logged(runtime, "log");
    (output, log)
}

#[test]
fn hooks() {
    section(
        "config.md, POSIX-platform Hooks",
        &[
            ("all of them in their order", |r| {
                let outside = ["prestart", "createRuntime", "createContainer", "poststart"];
                let said = printed(r, "true", |c| {
                    for moment in outside.iter().chain(&["poststop"]) {
                        c["hooks"][moment] = hook(r, moment, "");
                    }
                });
                assert_eq!(said, "");
                let expected = "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n";
                assert_eq!(logged(r, "log"), expected);
            }),
            ("startContainer's path is inside", |r| {
                let script = "#!/bin/sh\necho hook >/told\n";
                let file = r.bundle.join("rootfs/inner-hook");
                fs::write(&file, script).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
                let said = printed(r, "cat /told", |c| {
                    let env = ["PATH=/bin"];
                    c["hooks"]["startContainer"] = json!([{"path": "/inner-hook", "env": env}]);
                });
                assert_eq!(said, "hook");
            }),
            ("createRuntime in the runtime's namespaces", |r| {
                let out = r.bundle.join("ns");
                let then = format!("readlink /proc/self/ns/mnt >{}", out.display());
                run(r, "true", |c| {
                    c["hooks"]["createRuntime"] = hook(r, "where", &then)
                })
                .expect(0);
                let own = fs::read_link("/proc/self/ns/mnt").unwrap();
                assert_eq!(
                    fs::read_to_string(out).unwrap().trim(),
                    own.to_str().unwrap()
                );
            }),
            ("createContainer in the container's", |r| {
                let out = r.bundle.join("ns");
                let then = format!("readlink /proc/self/ns/mnt >{}", out.display());
                let hooks = hook(r, "within", &then);
                let said = printed(r, "readlink /proc/self/ns/mnt", |c| {
                    c["hooks"]["createContainer"] = hooks;
                });
                assert_eq!(fs::read_to_string(out).unwrap().trim(), said);
            }),
            ("the state on its input", |r| {
                run(r, "true", |c| {
                    c["hooks"]["poststart"] = hook(r, "state", "")
                })
                .expect(0);
                let state: Value = serde_json::from_str(&logged(r, "log.state")).unwrap();
                assert_eq!(state["id"], r.id.as_str());
                assert_eq!(state["bundle"], r.bundle.to_str().unwrap());
                assert!(state["pid"].as_u64().is_some(), "{state}");
                assert_eq!(state["annotations"]["com.example.key"], "value");
                assert_eq!(state["status"], "running");
            }),
            ("args and env", |r| {
                let out = r.bundle.join("given");
                let script = format!("echo $0 $1 $A >{}", out.display());
                let hooks = json!([{"path": "/bin/sh", "args": ["x", "-c", script, "zero", "one"],
                    "env": ["A=b"]}]);
                run(r, "true", |c| c["hooks"]["createRuntime"] = hooks).expect(0);
                assert_eq!(fs::read_to_string(out).unwrap(), "zero one b\n");
            }),
            ("createRuntime that fails", |r| {
                let (output, _) = run_with_bad(r, "createRuntime", false);
                assert_ne!(output.code, 0);
                assert!(!output.stdout.contains("it runs"));
            }),
            ("createContainer that fails", |r| {
                let (output, _) = run_with_bad(r, "createContainer", false);
                assert_ne!(output.code, 0);
                assert!(!output.stdout.contains("it runs"));
            }),
            ("poststart that fails is an error", |r| {
                let (output, log) = run_with_bad(r, "poststart", false);
                assert_eq!(log, "poststart\n");
                assert_ne!(output.code, 0);
            }),
            ("poststop that fails is none", |r| {
                let (output, log) = run_with_bad(r, "poststop", false);
                assert_eq!(log, "poststop\n");
                output.expect(0);
            }),
            ("timeout", |r| {
                let (output, _) = run_with_bad(r, "createRuntime", true);
                assert_ne!(output.code, 0);
                assert!(!output.stdout.contains("it runs"));
            }),
        ],
    );
}

#[test]
fn extensibility() {
    section(
        "config.md, Annotations, Extensibility and Valid values",
        &[
            ("annotations are in the state", |r| {
                r.configure(&["sleep", "1000"], |_| {});
                r.create(&r.id, &[]).expect(0);
                assert_eq!(r.state(&r.id)["annotations"]["com.example.key"], "value");
            }),
            ("unknown properties are passed over", |r| {
                let said = printed(r, "echo ran", |c| {
                    c["unknown"] = json!({"a": [1]});
                    c["process"]["unknown"] = json!(true);
                    c["linux"]["unknown"] = json!("x");
                });
                assert_eq!(said, "ran");
            }),
            ("a namespace of no kind is refused", |r| {
                refused(r, |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "nope"}))
                });
            }),
            ("a value of another type is refused", |r| {
                refused(r, |c| c["process"]["cwd"] = json!(7));
            }),
            ("no JSON is refused", |r| {
                fs::write(r.bundle.join("config.json"), "{\"ociVersion\":").unwrap();
                assert_ne!(run_as_it_is(r).code, 0);
            }),
        ],
    );
}
