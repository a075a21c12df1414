//! What this runtime can do, as programs read it (runtime-spec, features.md and
//! features-linux.md). Nothing is said to be there that is not.

use serde_json::{Value, json};

/// The newest version of the specification that is done.
pub const SPEC: &str = "1.3.0";

/// The words that a mount's options can have here, with those that say nothing.
const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "loud",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "tmpcopyup",
    "unbindable",
];

/// The document.
pub fn document(version: &str) -> Value {
    let capabilities: Vec<String> = caps::all().iter().map(|c| c.to_string()).collect();
    let mut capabilities = capabilities;
    capabilities.sort();
    let archs = match std::env::consts::ARCH {
        "aarch64" => ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"].as_slice(),
        _ => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    };
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop"],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {
                "v1": false, "v2": true, "systemd": true, "systemdUser": true, "rdma": false,
            },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL",
                    "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                    "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE",
                    "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": archs,
                "knownFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                    "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                "supportedFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                    "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            },
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false, "schemata": false, "monitoring": false},
            "memoryPolicy": {
                "modes": ["MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL",
                    "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES",
                    "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": {"idmap": {"enabled": false}},
            "netDevices": {"enabled": false},
        },
        "annotations": {
            "bryo.version": version,
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": ["bryo.", "run.oci.keep_original_groups"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::options::MountOptions;
    use crate::runtime::seccomp::{NATIVE, compile};
    use oci_spec::runtime::{Features, LinuxSeccomp};

    fn words(value: &Value) -> Vec<&str> {
        let all = value.as_array().unwrap().iter();
        all.map(|word| word.as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_said_to_be_there_is() {
        let document = document("1");
        let options = words(&document["mountOptions"]);
        assert!(options.is_sorted());
        for option in options {
            let parsed = MountOptions::parse(&[option]).unwrap();
            assert!(parsed.parameters.is_empty(), "{option}");
        }
        let seccomp = &document["linux"]["seccomp"];
        for action in words(&seccomp["actions"]) {
            for op in words(&seccomp["operators"]) {
                let profile: LinuxSeccomp = serde_json::from_value(json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": seccomp["archs"],
                    "flags": seccomp["supportedFlags"],
                    "syscalls": [{"names": ["read"], "action": action,
                        "args": [{"index": 0, "value": 1, "op": op}]}],
                }))
                .unwrap();
                assert!(compile(&profile, NATIVE).is_ok(), "{action} {op}");
            }
        }
        // As others read it.
        serde_json::from_value::<Features>(document).unwrap();
    }
}
