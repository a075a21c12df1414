//! `spec`: a specification to begin with, as runc writes it.

use crate::error::refuse;
use anyhow::{Context, Result};
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};
use std::path::Path;

/// Writes `config.json` to a directory.
///
/// # Errors
/// There is one.
pub fn write(dir: &Path, rootless: bool) -> Result<()> {
    let path = dir.join("config.json");
    let what = || path.display().to_string();
    if path.exists() {
        refuse!(Conflict, "File {} exists. Remove it first", what());
    }
    let mut text = serde_json::to_vec_pretty(&document(rootless))?;
    text.push(b'\n');
    std::fs::write(&path, text).with_context(what)
}

fn document(rootless: bool) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    let still = ["nosuid", "noexec", "nodev"];
    let mut sys = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"]});
    match rootless {
        true => {
            namespaces.push("user");
            // A new one takes a network namespace of one's own.
            sys = json!({"destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
        false => {
            namespaces.push("network");
            pts.push("gid=5");
        }
    }
    let namespaces = namespaces.iter().map(|kind| json!({"type": kind}));
    let mut linux = json!({
        "namespaces": namespaces.collect::<Vec<_>>(),
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
            "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
            "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
            "/proc/sysrq-trigger"],
    });
    match rootless {
        true => {
            let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
            linux["uidMappings"] = map(geteuid().as_raw());
            linux["gidMappings"] = map(getegid().as_raw());
        }
        false => {
            linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        }
    }
    json!({
        "ociVersion": super::features::SPEC,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bryo",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": [still[0], still[1], still[2], "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": still},
            sys,
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": [still[0], still[1], still[2], "relatime", "ro"]},
        ],
        "linux": linux,
    })
}
