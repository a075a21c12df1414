//! Every field that an OCI runtime spec can have, and what becomes of it: it
//! is done, or knowingly left alone, or refused by its name. What is not in
//! the table is refused too, so that a spec never asks for something that is
//! silently not there. Pure.

mod walk;

#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use oci_spec::runtime::{Process, Spec};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use walk::{Fate, walk};

/// A field that asks for something that bryo does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Its place in the spec, as in `linux.personality`.
    pub field: String,
    /// Why it is not done.
    pub why: &'static str,
}

impl Unsupported {
    /// The field `field`, which is not done because of `why`.
    pub fn new(field: impl Into<String>, why: &'static str) -> Self {
        Unsupported {
            field: field.into(),
            why,
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { field, why } = self;
        write!(f, "{field}: not supported: {why}")
    }
}

impl std::error::Error for Unsupported {}

/// What becomes of a field.
enum Field {
    /// What it says is done, or is an error by its value.
    Done,
    /// As `Done`, a structure, a list of such.
    In(&'static Fields),
    /// As `In`, with names of the author's choice above.
    Each(&'static Fields),
    /// It makes no difference here, and why.
    Ignored(&'static str),
    /// It is an error, and why.
    Refused(&'static str),
}

/// The fields of a structure by their names in JSON.
type Fields = [(&'static str, Field)];

use Field::{Done, Each, Ignored, In, Refused};

const OTHER_SYSTEM: &str = "it is for another operating system";

/// runtime-spec, config.md; nothing is said of what is below a refused field.
const SPEC: &Fields = &[
    ("ociVersion", Done),
    ("root", In(&[("path", Done), ("readonly", Done)])),
    ("mounts", In(MOUNT)),
    ("process", In(PROCESS)),
    ("hostname", Done),
    ("domainname", Done),
    ("hooks", In(HOOKS)),
    ("annotations", Done),
    ("linux", In(LINUX)),
    ("solaris", Refused(OTHER_SYSTEM)),
    ("windows", Refused(OTHER_SYSTEM)),
    ("vm", Refused("a container of bryo's is no virtual machine")),
    ("zos", Refused(OTHER_SYSTEM)),
    ("freebsd", Refused(OTHER_SYSTEM)),
    ("uidMappings", Refused(MAPPED_MOUNT)),
    ("gidMappings", Refused(MAPPED_MOUNT)),
];

const MAPPED_MOUNT: &str = "an id-mapped mount of a host file system needs root";

const MOUNT: &Fields = &[
    ("destination", Done),
    ("type", Done),
    ("source", Done),
    ("options", Done),
    ("uidMappings", Refused(MAPPED_MOUNT)),
    ("gidMappings", Refused(MAPPED_MOUNT)),
];

const PROCESS: &Fields = &[
    ("terminal", Done),
    ("consoleSize", In(&[("height", Done), ("width", Done)])),
    (
        "user",
        In(&[
            ("uid", Done),
            ("gid", Done),
            ("umask", Done),
            ("additionalGids", Done),
            ("username", Refused(OTHER_SYSTEM)),
        ]),
    ),
    ("args", Done),
    ("commandLine", Refused(OTHER_SYSTEM)),
    ("env", Done),
    ("cwd", Done),
    (
        "capabilities",
        In(&[
            ("bounding", Done),
            ("effective", Done),
            ("inheritable", Done),
            ("permitted", Done),
            ("ambient", Done),
        ]),
    ),
    (
        "rlimits",
        In(&[("type", Done), ("hard", Done), ("soft", Done)]),
    ),
    ("noNewPrivileges", Done),
    ("apparmorProfile", Refused(NO_LABELS)),
    ("oomScoreAdj", Done),
    ("selinuxLabel", Refused(NO_LABELS)),
    ("ioPriority", In(&[("class", Done), ("priority", Done)])),
    (
        "scheduler",
        In(&[
            ("policy", Done),
            ("nice", Done),
            ("priority", Done),
            ("flags", Done),
            ("runtime", Done),
            ("deadline", Done),
            ("period", Done),
        ]),
    ),
    ("execCPUAffinity", In(&[("initial", Done), ("final", Done)])),
];

const NO_LABELS: &str = "bryo sets no labels of security modules";

const HOOKS: &Fields = &[
    ("prestart", In(HOOK)),
    ("createRuntime", In(HOOK)),
    ("createContainer", In(HOOK)),
    ("startContainer", In(HOOK)),
    ("poststart", In(HOOK)),
    ("poststop", In(HOOK)),
];

const HOOK: &Fields = &[
    ("path", Done),
    ("args", Done),
    ("env", Done),
    ("timeout", Done),
];

/// config-linux.md.
const LINUX: &Fields = &[
    (
        "netDevices",
        Refused("a device of the host's is not a user's to move"),
    ),
    ("uidMappings", In(ID_MAPPING)),
    ("gidMappings", In(ID_MAPPING)),
    ("sysctl", Done),
    ("resources", In(RESOURCES)),
    ("cgroupsPath", Done),
    ("namespaces", In(&[("type", Done), ("path", Done)])),
    (
        "devices",
        In(&[
            ("path", Done),
            ("type", Done),
            ("major", Done),
            ("minor", Done),
            ("fileMode", Ignored(DEVICE_IS_THE_HOSTS)),
            ("uid", Ignored(DEVICE_IS_THE_HOSTS)),
            ("gid", Ignored(DEVICE_IS_THE_HOSTS)),
        ]),
    ),
    ("seccomp", In(SECCOMP)),
    ("rootfsPropagation", Done),
    ("maskedPaths", Done),
    ("readonlyPaths", Done),
    ("mountLabel", Refused(NO_LABELS)),
    ("intelRdt", Refused("the machine's caches need root")),
    (
        "memoryPolicy",
        In(&[("mode", Done), ("nodes", Done), ("flags", Done)]),
    ),
    ("personality", In(&[("domain", Done), ("flags", Done)])),
    ("timeOffsets", Each(&[("secs", Done), ("nanosecs", Done)])),
];

const DEVICE_IS_THE_HOSTS: &str = "a device is the host's own node, as it is there";

const ID_MAPPING: &Fields = &[("hostID", Done), ("containerID", Done), ("size", Done)];

/// Made by [`cgroup::limits`](crate::cgroup::limits), which refuses what
/// control groups of version 2 do not have.
const RESOURCES: &Fields = &[
    (
        "devices",
        Ignored("a container has the devices that are bound into it and can make no others"),
    ),
    (
        "memory",
        In(&[
            ("limit", Done),
            ("reservation", Done),
            ("swap", Done),
            ("kernel", Done),
            ("kernelTCP", Done),
            ("swappiness", Done),
            ("disableOOMKiller", Done),
            (
                "useHierarchy",
                Ignored("control groups of version 2 always do"),
            ),
            (
                "checkBeforeUpdate",
                Ignored("nothing is in use before the start"),
            ),
        ]),
    ),
    (
        "cpu",
        In(&[
            ("shares", Done),
            ("quota", Done),
            ("idle", Done),
            ("burst", Done),
            ("period", Done),
            ("realtimeRuntime", Done),
            ("realtimePeriod", Done),
            ("cpus", Done),
            ("mems", Done),
        ]),
    ),
    ("pids", In(&[("limit", Done)])),
    (
        "blockIO",
        In(&[
            ("weight", Done),
            ("leafWeight", Done),
            (
                "weightDevice",
                In(&[
                    ("major", Done),
                    ("minor", Done),
                    ("weight", Done),
                    ("leafWeight", Done),
                ]),
            ),
            ("throttleReadBpsDevice", In(THROTTLE)),
            ("throttleWriteBpsDevice", In(THROTTLE)),
            ("throttleReadIOPSDevice", In(THROTTLE)),
            ("throttleWriteIOPSDevice", In(THROTTLE)),
        ]),
    ),
    ("hugepageLimits", In(&[("pageSize", Done), ("limit", Done)])),
    (
        "network",
        In(&[
            ("classID", Done),
            ("priorities", In(&[("name", Done), ("priority", Done)])),
        ]),
    ),
    ("rdma", Each(&[("hcaHandles", Done), ("hcaObjects", Done)])),
    ("unified", Done),
];

const THROTTLE: &Fields = &[("major", Done), ("minor", Done), ("rate", Done)];

const SECCOMP: &Fields = &[
    ("defaultAction", Done),
    ("defaultErrnoRet", Done),
    ("architectures", Done),
    ("flags", Done),
    ("listenerPath", Done),
    ("listenerMetadata", Done),
    (
        "syscalls",
        In(&[
            ("names", Done),
            ("action", Done),
            ("errnoRet", Done),
            (
                "args",
                In(&[
                    ("index", Done),
                    ("value", Done),
                    ("valueTwo", Done),
                    ("op", Done),
                ]),
            ),
        ]),
    ),
];

/// A field of a spec that has no effect, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheeded {
    /// Its place in the spec.
    pub field: String,
    /// Why it has none.
    pub why: &'static str,
}

impl fmt::Display for Unheeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unheeded { field, why } = self;
        write!(f, "{field} has no effect: {why}")
    }
}

const UNKNOWN: &str = "it is not known";

/// Reads the text of a spec where it is at hand (`config.json`), which says
/// more than a [`Spec`] keeps of it: returns the fields that make no difference,
/// and those that nobody here knows, which a runtime has to pass over
/// (runtime-spec, config.md, "Extensibility") and may warn of.
///
/// # Errors
/// [`Unsupported`] for the first that asks for what is not done.
pub fn unheeded(config: &Value) -> Result<Vec<Unheeded>> {
    let mut all = Vec::new();
    for (field, fate) in walk(config, SPEC, "").context("spec")? {
        let why = match fate {
            Fate::Refused(why) => return Err(Unsupported { field, why }.into()),
            Fate::Ignored(why) => why,
            Fate::Unknown => UNKNOWN,
        };
        all.push(Unheeded { field, why });
    }
    Ok(all)
}

/// Checks that everything in `spec` is something that is done.
///
/// # Errors
/// [`Unsupported`] for the first that is not.
pub(super) fn check(spec: &Spec) -> Result<()> {
    refuse(spec, SPEC, "")
}

/// As [`check`], of a process by itself.
///
/// # Errors
/// As there.
pub(super) fn check_process(process: &Process) -> Result<()> {
    refuse(process, PROCESS, "process")
}

fn refuse(value: &impl Serialize, fields: &'static Fields, name: &str) -> Result<()> {
    let mut all = walk(value, fields, name).context("spec")?.into_iter();
    let first = all.find_map(|(field, fate)| match fate {
        Fate::Refused(why) => Some(Unsupported { field, why }),
        // A field that the crate has learnt and this table has not.
        Fate::Unknown => Some(Unsupported {
            field,
            why: UNKNOWN,
        }),
        Fate::Ignored(_) => None,
    });
    first.map_or(Ok(()), |unsupported| Err(unsupported.into()))
}
