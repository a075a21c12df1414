//! config.md, Process.

use super::{printed, refused, run_as_it_is, section};
use crate::oci::Runtime;
use serde_json::{Value, json};

/// The last word of a line of `/proc/self/status`.
fn status(runtime: &Runtime, line: &str, change: impl FnOnce(&mut Value)) -> String {
    let script = format!("grep ^{line}: /proc/self/status | awk '{{print $NF}}'");
    printed(runtime, &script, change)
}

fn capabilities(config: &mut Value, sets: &[&str]) {
    config["process"]["noNewPrivileges"] = json!(false);
    for set in sets {
        config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_CHOWN"]);
    }
}

#[test]
fn process() {
    section(
        "config.md, Process",
        &[
            ("args", |r| {
                r.configure(&["echo", "a b", "", "c"], |_| {});
                assert_eq!(run_as_it_is(r).expect(0).stdout, "a b  c\n");
            }),
            ("no args are refused", |r| {
                refused(r, |c| c["process"]["args"] = json!([]));
            }),
            ("env", |r| {
                let said = printed(r, "echo $A", |c| {
                    c["process"]["env"] = json!(["PATH=/bin", "A=b"])
                });
                assert_eq!(said, "b");
            }),
            ("cwd", |r| {
                assert_eq!(
                    printed(r, "pwd", |c| c["process"]["cwd"] = json!("/bin")),
                    "/bin"
                );
            }),
            ("a relative cwd is refused", |r| {
                refused(r, |c| c["process"]["cwd"] = json!("bin"));
            }),
            ("a terminal's size", |r| {
                let place = r.sandbox.path().join(&r.id);
                let listener = std::os::unix::net::UnixListener::bind(&place).unwrap();
                r.configure(&["stty", "size"], |c| {
                    c["process"]["terminal"] = json!(true);
                    c["process"]["consoleSize"] = json!({"height": 31, "width": 97});
                });
                r.create(&r.id, &["--console-socket", place.to_str().unwrap()])
                    .expect(0);
                let mut terminal = crate::oci::receive(&listener);
                r.call(&["start", &r.id]).expect(0);
                let mut said = [0; 64];
                let count = std::io::Read::read(&mut terminal, &mut said).unwrap();
                assert_eq!(&said[..count], b"31 97\r\n");
            }),
        ],
    );
}

#[test]
fn posix() {
    section(
        "config.md, POSIX process",
        &[
            ("rlimits", |r| {
                let said = printed(r, "ulimit -Sn; ulimit -Hn", |c| {
                    c["process"]["rlimits"] =
                        json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
                });
                assert_eq!(said, "100\n200");
            }),
            ("a limit of no kind is refused", |r| {
                refused(r, |c| {
                    c["process"]["rlimits"] =
                        json!([{"type": "RLIMIT_NOPE", "soft": 100, "hard": 200}]);
                });
            }),
            ("a limit that is there twice is refused", |r| {
                let limit = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200});
                refused(r, |c| c["process"]["rlimits"] = json!([limit, limit]));
            }),
            ("umask", |r| {
                let said = printed(r, "umask", |c| c["process"]["user"]["umask"] = json!(0o27));
                assert_eq!(said, "0027");
            }),
            ("a user that is not mapped is refused", |r| {
                refused(r, |c| c["process"]["user"]["uid"] = json!(77));
            }),
            ("groups that are not mapped are refused", |r| {
                refused(r, |c| c["process"]["user"]["additionalGids"] = json!([77]));
            }),
        ],
    );
}

#[test]
fn linux() {
    section(
        "config.md, Linux process",
        &[
            ("bounding, permitted, effective", |r| {
                for (line, set) in [("CapBnd", "21"), ("CapPrm", "21"), ("CapEff", "21")] {
                    let said = status(r, line, |c| {
                        capabilities(c, &["bounding", "permitted", "effective"]);
                    });
                    assert!(said.ends_with(set), "{line} {said}");
                    r.call(&["delete", "--force", &r.id]);
                }
            }),
            ("inheritable, ambient", |r| {
                let said = status(r, "CapAmb", |c| {
                    let sets = [
                        "bounding",
                        "permitted",
                        "effective",
                        "inheritable",
                        "ambient",
                    ];
                    capabilities(c, &sets);
                });
                assert!(said.ends_with("21"), "{said}");
            }),
            ("none unless they are named", |r| {
                let script = "grep -E '^Cap(Bnd|Prm|Eff)' /proc/self/status | awk '{print $2}'";
                let said = printed(r, script, |_| {});
                assert!(said.lines().all(|set| set == "0000000000000000"), "{said}");
            }),
            ("an unknown capability is no error", |r| {
                let said = printed(r, "echo ran", |c| {
                    c["process"]["capabilities"]["bounding"] = json!(["CAP_NOPE", "CAP_KILL"]);
                });
                assert_eq!(said, "ran");
            }),
            ("noNewPrivileges", |r| {
                assert_eq!(status(r, "NoNewPrivs", |_| {}), "1");
            }),
            ("oomScoreAdj", |r| {
                let script = "cat /proc/self/oom_score_adj";
                let said = printed(r, script, |c| c["process"]["oomScoreAdj"] = json!(500));
                assert_eq!(said, "500");
            }),
            ("scheduler", |r| {
                let script = "awk '{print $19, $41}' /proc/self/stat";
                let said = printed(r, script, |c| {
                    c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
                });
                assert_eq!(said, "5 3");
            }),
            ("a scheduler of no kind is refused", |r| {
                refused(r, |c| {
                    c["process"]["scheduler"] = json!({"policy": "SCHED_NOPE"})
                });
            }),
            ("ioPriority", |r| {
                let said = printed(r, "ionice -p $$", |c| {
                    c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
                });
                assert_eq!(said, "best-effort: prio 6");
            }),
            ("execCPUAffinity", |r| {
                r.configure(&["sleep", "1000"], |c| {
                    c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"});
                });
                r.create(&r.id, &[]).expect(0);
                let words = [
                    "exec",
                    &r.id,
                    "grep",
                    "Cpus_allowed_list",
                    "/proc/self/status",
                ];
                let said = r.call(&words).expect(0).stdout;
                assert_eq!(said.trim_end(), "Cpus_allowed_list:\t1");
            }),
            // The machine has no AppArmor.
            ("apparmorProfile where there is none is refused", |r| {
                refused(r, |c| c["process"]["apparmorProfile"] = json!("profile"));
            }),
            ("selinuxLabel where there is none is refused", |r| {
                let label = json!("system_u:system_r:container_t:s0:c1,c2");
                refused(r, |c| c["process"]["selinuxLabel"] = label);
            }),
        ],
    );
}
