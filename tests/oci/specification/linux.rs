//! config-linux.md.

use super::{add, printed, refused, run, section};
use crate::oci::groups::named;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;

#[test]
fn devices() {
    section(
        "config-linux.md, Devices",
        &[
            ("those that each container has", |r| {
                let script = "cd /dev; echo x >null && head -c 2 zero | od -An -tx1 && \
                    head -c 1 random >null && head -c 1 urandom >null && \
                    test -c full && test -c tty && test -e ptmx && echo all";
                assert_eq!(printed(r, script, |_| {}), " 00 00\nall");
            }),
            ("links for descriptors", |r| {
                let script = "cd /dev; for n in fd stdin stdout stderr; do readlink $n; done";
                let said = printed(r, script, |_| {});
                let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2";
                assert_eq!(said, links);
            }),
            ("one more", |r| {
                let said = printed(r, "stat -c %t:%T /dev/net/tun", |c| {
                    c["linux"]["devices"] = json!([{"path": "/dev/net/tun", "type": "c",
                        "major": 10, "minor": 200, "fileMode": 438}]);
                });
                assert_eq!(said, "a:c8");
            }),
            ("one without a number is refused", |r| {
                refused(r, |c| {
                    c["linux"]["devices"] = json!([{"path": "/dev/nonex", "type": "c"}]);
                });
            }),
        ],
    );
}

#[test]
fn namespaces() {
    section(
        "config-linux.md, Namespaces",
        &[
            ("new ones", |r| {
                let script = "for n in user mnt pid uts ipc; do readlink /proc/self/ns/$n; done";
                let said = printed(r, script, |_| {});
                for (line, kind) in said.lines().zip(["user", "mnt", "pid", "uts", "ipc"]) {
                    let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
                    assert_ne!(line, own.to_str().unwrap());
                }
                assert_eq!(said.lines().count(), 5);
            }),
            ("the runtime's where none is named", |r| {
                let own = fs::read_link("/proc/self/ns/net").unwrap();
                let said = printed(r, "readlink /proc/self/ns/net", |_| {});
                assert_eq!(said, own.to_str().unwrap());
            }),
            ("network", |r| {
                let said = printed(r, "ip -o link | cut -d: -f2", |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "network"}));
                });
                assert!(said.starts_with(" lo"), "{said}");
            }),
            ("cgroup", |r| {
                let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
                let said = printed(r, "readlink /proc/self/ns/cgroup", |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "cgroup"}));
                });
                assert_ne!(said, own.to_str().unwrap());
            }),
            ("the first process is 1", |r| {
                assert_eq!(printed(r, "echo $$", |_| {}), "1");
            }),
            ("by their paths", |r| {
                r.configure(&["sleep", "1000"], |c| c["hostname"] = json!("other"));
                let other = format!("{}-other", r.id);
                r.create(&other, &[]).expect(0);
                let pid = r.state(&other)["pid"].clone();
                let said = run(r, "hostname", |c| {
                    let linux = c["linux"].as_object_mut().unwrap();
                    linux.remove("uidMappings");
                    linux.remove("gidMappings");
                    linux["namespaces"] = json!([{"type": "mount"}, {"type": "pid"},
                        {"type": "user", "path": format!("/proc/{pid}/ns/user")},
                        {"type": "uts", "path": format!("/proc/{pid}/ns/uts")}]);
                });
                r.call(&["delete", "--force", &other]);
                assert_eq!(said.expect(0).stdout, "other\n");
            }),
            ("a path that is not there is refused", |r| {
                refused(r, |c| {
                    add(
                        &mut c["linux"]["namespaces"],
                        json!({"type": "network", "path": "/none"}),
                    );
                });
            }),
            ("one of another kind is refused", |r| {
                refused(r, |c| {
                    let path = "/proc/self/ns/uts";
                    add(
                        &mut c["linux"]["namespaces"],
                        json!({"type": "network", "path": path}),
                    );
                });
            }),
            ("the same twice is refused", |r| {
                refused(r, |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "uts"}))
                });
            }),
            ("uidMappings, gidMappings", |r| {
                let said = printed(r, "awk '{print $1, $3}' /proc/self/uid_map", |_| {});
                assert_eq!(said, "0 1");
            }),
            ("timeOffsets", |r| {
                let script = "awk '$1 == \"boottime\" {print $2}' /proc/self/timens_offsets";
                let said = printed(r, script, |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "time"}));
                    c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000}});
                });
                assert_eq!(said, "1000");
            }),
            ("offsets without a namespace are refused", |r| {
                refused(r, |c| {
                    c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000}})
                });
            }),
        ],
    );
}

#[test]
fn control_groups() {
    section(
        "config-linux.md, Control groups",
        &[
            ("cgroupsPath", |r| {
                let (path, group) = named(&r.id);
                let said = printed(r, "grep 0:: /proc/self/cgroup", |c| {
                    c["linux"]["cgroupsPath"] = json!(path);
                });
                assert_eq!(said, format!("0::{path}"));
                assert!(!group.exists());
            }),
            ("unified", |r| {
                let (path, group) = named(&r.id);
                r.configure(&["sleep", "1000"], |c| {
                    c["linux"]["cgroupsPath"] = json!(path);
                    c["linux"]["resources"]["unified"] = json!({"cgroup.max.descendants": "7"});
                });
                r.create(&r.id, &[]).expect(0);
                let file = group.join("cgroup.max.descendants");
                assert_eq!(fs::read_to_string(file).unwrap(), "7\n");
            }),
            ("a file that is not there is refused", |r| {
                let (path, _) = named(&r.id);
                refused(r, |c| {
                    c["linux"]["cgroupsPath"] = json!(path);
                    c["linux"]["resources"]["unified"] = json!({"nothing.max": "7"});
                });
            }),
            ("a limit that cannot be set is refused", |r| {
                let (path, _) = named(&r.id);
                refused(r, |c| {
                    c["linux"]["cgroupsPath"] = json!(path);
                    c["linux"]["resources"]["hugepageLimits"] =
                        json!([{"pageSize": "3MB", "limit": 1}]);
                });
            }),
        ],
    );
}

fn seccomp(config: &mut Value, rule: Value) {
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], "syscalls": [rule]});
}

#[test]
fn filters() {
    section(
        "config-linux.md, Seccomp",
        &[
            ("SCMP_ACT_ERRNO", |r| {
                let said = printed(r, "mkdir /made 2>&1", |c| {
                    let names = ["mkdir", "mkdirat"];
                    seccomp(c, json!({"names": names, "action": "SCMP_ACT_ERRNO"}));
                    c["process"]["args"][2] = json!("mkdir /made 2>&1; true");
                });
                assert!(said.contains("Operation not permitted"), "{said}");
            }),
            ("errnoRet", |r| {
                let said = printed(r, "mkdir /made 2>&1; true", |c| {
                    let names = ["mkdir", "mkdirat"];
                    let action = "SCMP_ACT_ERRNO";
                    seccomp(c, json!({"names": names, "action": action, "errnoRet": 28}));
                });
                assert!(said.contains("No space left"), "{said}");
            }),
            ("defaultAction and defaultErrnoRet", |r| {
                let output = run(r, "true", |c| {
                    c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO",
                        "defaultErrnoRet": 38, "syscalls": [{"action": "SCMP_ACT_ALLOW",
                        "names": ["execve", "execveat", "exit_group", "write", "read"]}]});
                });
                assert_ne!(output.code, 0, "{output}");
            }),
            ("SCMP_ACT_KILL_PROCESS", |r| {
                let said = printed(r, "(mkdir /made); echo $?", |c| {
                    let names = ["mkdir", "mkdirat"];
                    seccomp(
                        c,
                        json!({"names": names, "action": "SCMP_ACT_KILL_PROCESS"}),
                    );
                });
                assert!(said.ends_with("159"), "{said}");
            }),
            ("args", |r| {
                let said = printed(r, "umask 7; umask; umask 2; umask", |c| {
                    seccomp(
                        c,
                        json!({"names": ["umask"], "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]}),
                    );
                });
                // As the shell shows it: the mask that is set while it asks.
                assert!(said.ends_with("0002"), "{said}");
            }),
            ("names that nobody knows are passed over", |r| {
                let said = printed(r, "echo ran", |c| {
                    seccomp(
                        c,
                        json!({"names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO"}),
                    );
                });
                assert_eq!(said, "ran");
            }),
            ("flags", |r| {
                let said = printed(r, "grep ^Seccomp_filters /proc/self/status", |c| {
                    seccomp(c, json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG"}));
                    c["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
                });
                assert_eq!(said, "Seccomp_filters:\t1");
            }),
            ("an unknown action is refused", |r| {
                refused(r, |c| {
                    seccomp(c, json!({"names": ["mkdir"], "action": "SCMP_ACT_NOPE"}));
                });
            }),
            ("listenerPath gets the descriptor and the state", |r| {
                let place = r.sandbox.path().join(format!("l{}", r.id));
                let listener = UnixListener::bind(&place).unwrap();
                r.configure(&["true"], |c| {
                    seccomp(c, json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}));
                    c["linux"]["seccomp"]["listenerPath"] = json!(place);
                    c["linux"]["seccomp"]["listenerMetadata"] = json!("data");
                });
                r.create(&r.id, &[]).expect(0);
                listener.set_nonblocking(true).unwrap();
                let (connection, _) = listener.accept().unwrap();
                connection.set_nonblocking(false).unwrap();
                let patience = std::time::Duration::from_secs(10);
                connection.set_read_timeout(Some(patience)).unwrap();
                let channel =
                    bryo::sys::channel::Channel::from(std::os::fd::OwnedFd::from(connection));
                let message = channel.receive().unwrap().expect("nothing came");
                assert!(message.fd.is_some());
                let said: Value = serde_json::from_slice(&message.data).unwrap();
                assert_eq!(said["fds"], json!(["seccompFd"]));
                assert_eq!(said["metadata"], "data");
                assert_eq!(said["state"]["id"], r.id.as_str());
                assert!(said["pid"].as_u64().is_some());
            }),
        ],
    );
}

#[test]
fn protection() {
    section(
        "config-linux.md, Sysctl, propagation, masked and readonly paths",
        &[
            ("sysctl", |r| {
                let said = printed(r, "cat /proc/sys/kernel/msgmax", |c| {
                    c["linux"]["sysctl"] = json!({"kernel.msgmax": "9999"});
                });
                assert_eq!(said, "9999");
            }),
            ("one of the network's", |r| {
                let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
                let said = printed(r, script, |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "network"}));
                    let key = "net.ipv4.ip_unprivileged_port_start";
                    c["linux"]["sysctl"] = json!({key: "77"});
                });
                assert_eq!(said, "77");
            }),
            ("the machine's are refused", |r| {
                refused(r, |c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"}));
            }),
            ("rootfsPropagation private", |r| {
                let said = printed(
                    r,
                    "grep ' / / ' /proc/self/mountinfo || cat /proc/self/mountinfo",
                    |c| {
                        c["linux"]["rootfsPropagation"] = json!("private");
                    },
                );
                let root = said
                    .lines()
                    .find(|l| l.split(' ').nth(4) == Some("/"))
                    .unwrap();
                assert!(
                    !root.contains("shared:") && !root.contains("master:"),
                    "{root}"
                );
            }),
            ("rootfsPropagation shared", |r| {
                let said = printed(r, "cat /proc/self/mountinfo", |c| {
                    c["linux"]["rootfsPropagation"] = json!("shared");
                });
                let root = said
                    .lines()
                    .find(|l| l.split(' ').nth(4) == Some("/"))
                    .unwrap();
                assert!(root.contains("shared:"), "{root}");
            }),
            ("rootfsPropagation unbindable", |r| {
                let said = printed(r, "cat /proc/self/mountinfo", |c| {
                    c["linux"]["rootfsPropagation"] = json!("unbindable");
                });
                let root = said
                    .lines()
                    .find(|l| l.split(' ').nth(4) == Some("/"))
                    .unwrap();
                assert!(root.contains("unbindable"), "{root}");
            }),
            ("no propagation of that name is refused", |r| {
                refused(r, |c| c["linux"]["rootfsPropagation"] = json!("nope"));
            }),
            ("maskedPaths", |r| {
                let script = "ls /etc/masked | wc -l; wc -c </etc/file; ls /etc";
                let etc = r.bundle.join("rootfs/etc");
                fs::create_dir_all(etc.join("masked/inner")).unwrap();
                fs::write(etc.join("file"), "content").unwrap();
                let said = printed(r, script, |c| {
                    c["linux"]["maskedPaths"] = json!(["/etc/masked", "/etc/file", "/nowhere"]);
                });
                assert!(said.starts_with("0\n0\n"), "{said}");
            }),
            ("readonlyPaths", |r| {
                let etc = r.bundle.join("rootfs/readonly");
                fs::create_dir_all(&etc).unwrap();
                let said = printed(r, "touch /readonly/file 2>/dev/null || echo cannot", |c| {
                    c["linux"]["readonlyPaths"] = json!(["/readonly", "/nowhere"]);
                });
                assert_eq!(said, "cannot");
            }),
        ],
    );
}

#[test]
fn the_rest() {
    section(
        "config-linux.md, Personality, memory policy, RDT, devices of networks, labels",
        &[
            ("personality", |r| {
                let said = printed(r, "uname -m", |c| {
                    c["linux"]["personality"] = json!({"domain": "LINUX32"});
                });
                assert!(matches!(said.as_str(), "i686" | "armv8l"), "{said}");
            }),
            ("memoryPolicy", |r| {
                let said = printed(r, "head -n 1 /proc/self/numa_maps", |c| {
                    c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
                });
                assert_eq!(said.split(' ').nth(1), Some("bind:0"), "{said}");
            }),
            ("a policy of no kind is refused", |r| {
                refused(r, |c| {
                    c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_NOPE"})
                });
            }),
            ("intelRdt where there is none is refused", |r| {
                refused(r, |c| {
                    c["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"})
                });
            }),
            ("netDevices that are not there are refused", |r| {
                refused(r, |c| {
                    add(&mut c["linux"]["namespaces"], json!({"type": "network"}));
                    c["linux"]["netDevices"] = json!({"nodevice0": {}});
                });
            }),
            ("mountLabel where there is none is refused", |r| {
                let label = json!("system_u:object_r:container_file_t:s0");
                refused(r, |c| c["linux"]["mountLabel"] = label);
            }),
        ],
    );
}
