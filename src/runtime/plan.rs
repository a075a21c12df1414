//! From an OCI runtime spec to a plan: everything that can be computed before
//! the process is cloned. Pure, so that hostile specs can be thrown at it.

use super::fields::{self, Unsupported};
use super::hooks::Hooks;
use super::interface::Interface;
use super::options::{Attributes, Bind, MountOptions};
use super::process::{self, ProcessPlan};
use super::seccomp::RootEmulation;
use crate::error::{Kind, refusal, refuse};
use crate::idmap::{self, IdMap};
use crate::sys::clone::CloneFlags;
use anyhow::{Context, Result};
use oci_spec::runtime::{
    LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, LinuxTimeOffset, Spec,
};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What the start of one container takes.
#[derive(Debug)]
pub struct Plan {
    /// Namespaces to create.
    pub create: CloneFlags,
    /// Namespaces to join before that, a user namespace first.
    pub join: Vec<Join>,
    /// Lines for `/proc/self/timens_offsets`; empty to leave the clocks.
    pub time_offsets: String,
    /// User ids of a new user namespace.
    pub uid_map: Vec<IdMap>,
    /// Group ids of a new user namespace.
    pub gid_map: Vec<IdMap>,
    /// Host name of a new UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain name of a new UTS namespace.
    pub domainname: Option<String>,
    /// Directory that becomes `/`; mounted on by the mount with destination
    /// `/` if there is one.
    pub root: PathBuf,
    /// Whether `/` is read-only in the end.
    pub root_readonly: bool,
    /// Propagation type of all that is mounted already (`MS_SLAVE`, …).
    pub root_propagation: u64,
    /// Propagation type of `/` in the end, if it is another one.
    pub final_propagation: Option<u64>,
    /// The root file system, where the spec says how to mount it.
    pub root_mount: Option<RootMount>,
    /// Mounts in order.
    pub mounts: Vec<Mount>,
    /// Device nodes, each bound from the host's.
    pub devices: Vec<Device>,
    /// Whether `/dev` is a fresh tmpfs that wants its links.
    pub populate_dev: bool,
    /// Paths hidden from the container.
    pub masked: Vec<PathBuf>,
    /// Paths that the container may only read.
    pub readonly: Vec<PathBuf>,
    /// Kernel parameters: path below `/proc/sys`, and value.
    pub sysctl: Vec<(PathBuf, String)>,
    /// Whether a process of bryo's is PID 1 and the command its child.
    pub init: bool,
    /// A network interface that somebody outside serves.
    pub interface: Option<Interface>,
    /// The control group that it is made in, by its directory. The spec names
    /// it; it is made by whoever runs the plan.
    pub group: Option<OwnedFd>,
    /// The command.
    pub process: ProcessPlan,
    /// Programs that are run at certain moments.
    pub hooks: Hooks,
}

/// A namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its `CLONE_NEW*` flag.
    pub kind: CloneFlags,
    /// A file that refers to it.
    pub path: PathBuf,
}

/// A root file system to be mounted in the container's own namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootMount {
    /// The kernel's overlay.
    Overlay(Overlay),
    /// Another directory, bound.
    Bind {
        /// The directory.
        source: CString,
        /// How deep, and with what attributes.
        options: MountOptions,
    },
}

/// Parts of an overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Read-only directories, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go; without it the overlay is read-only.
    pub upper: Option<PathBuf>,
    /// The kernel's work space beside `upper`.
    pub work: Option<PathBuf>,
    /// Whether changes go to a file system in memory, made for them.
    pub in_memory: bool,
    /// Other options, as mount(8) writes them.
    pub options: Vec<String>,
}

/// A mount of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, from the container's root.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
    /// With what options.
    pub options: MountOptions,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(CString),
    /// Directories seen as one, without a place for changes.
    Overlay(Overlay),
    /// A new file system.
    New {
        /// Its type, as in `/proc/filesystems`.
        fstype: CString,
        /// What `/proc/self/mountinfo` shows as its source.
        source: CString,
    },
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, from the container's root.
    pub path: PathBuf,
    /// The host's node that is bound there.
    pub source: CString,
    /// Device number, where the spec says which it must be.
    pub number: Option<(u32, u32)>,
}

/// The devices that every container has (runtime-spec, config-linux.md,
/// "Default Devices").
const DEFAULT_DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Option of an overlay on `/`: its changes are kept in memory.
pub const TMPFS_UPPER: &str = "bryo.upper=tmpfs";
/// Annotation that lists device nodes to bind, `HOST:CONTAINER` separated by
/// commas, whatever their numbers.
pub const ANNOTATION_DEVICES: &str = "bryo.devices";
/// Annotation `true`: bryo is PID 1 and reaps; the command is its child.
pub const ANNOTATION_INIT: &str = "bryo.init";
/// Annotation: what root alone may do is emulated; the word of a
/// [`RootEmulation`].
pub const ANNOTATION_EMULATE_ROOT: &str = "bryo.emulate-root";
/// Annotation `1`: the command keeps the caller's supplementary groups. Its
/// name is crun's, so that specs of others mean the same here.
pub const ANNOTATION_KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// Annotation: `default` for the built-in seccomp profile with the spec's
/// bounding set.
pub const ANNOTATION_SECCOMP: &str = "bryo.seccomp";

/// Annotation: an [`Interface`] as JSON, to be made in the new network
/// namespace.
pub const ANNOTATION_INTERFACE: &str = "bryo.interface";

/// The `CLONE_NEW*` flag of a kind of namespace.
pub fn clone_flag(kind: LinuxNamespaceType) -> CloneFlags {
    (match kind {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Time => libc::CLONE_NEWTIME,
    }) as CloneFlags
}

pub(super) fn c_string(bytes: impl AsRef<[u8]>, what: &str) -> Result<CString> {
    let bytes = bytes.as_ref();
    CString::new(bytes)
        .with_context(|| format!("{what} {:?} has a NUL byte", String::from_utf8_lossy(bytes)))
}

fn inside(path: &Path) -> Result<PathBuf> {
    if path.components().any(|c| c == Component::ParentDir) {
        refuse!(
            Invalid,
            "{}: '..' in a path of the container",
            path.display()
        );
    }
    Ok(path.strip_prefix("/").unwrap_or(path).to_owned())
}

fn id_maps(maps: &Option<Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    let line = |m: &LinuxIdMapping| IdMap::new(m.container_id(), m.host_id(), m.size());
    maps.iter().flatten().map(line).collect()
}

/// Whether setgroups(2) is allowed under a map of groups: who maps no group
/// but his own must not leave the others, which may keep him out of files.
pub fn allows_setgroups(gid_map: &[IdMap]) -> bool {
    idmap::size(gid_map) > 1
}

/// The namespaces (`CLONE_NEW*`) of a spec that are not the caller's.
pub fn namespaces(spec: &Spec) -> CloneFlags {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let namespaces = namespaces.into_iter().flatten();
    namespaces.fold(0, |all, n| all | clone_flag(n.typ()))
}

fn time_offsets(offsets: &HashMap<String, LinuxTimeOffset>) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    for (clock, offset) in offsets {
        if clock != "monotonic" && clock != "boottime" {
            refuse!(
                Invalid,
                "time offset of clock '{clock}': only monotonic and boottime have one"
            );
        }
        let secs = offset.secs().unwrap_or(0);
        let nanosecs = offset.nanosecs().unwrap_or(0);
        lines.push(format!("{clock} {secs} {nanosecs}\n"));
    }
    lines.sort();
    Ok(lines.concat())
}

impl Plan {
    /// Whether the maps of a new user namespace can be written from inside, by
    /// the process itself: the kernel allows that for a line with nothing but
    /// the ids that it was made with (user_namespaces(7)).
    pub fn maps_alone(&self, uid: u32, gid: u32) -> bool {
        let alone =
            |map: &[IdMap], id| matches!(map, [line] if (line.outside, line.count) == (id, 1));
        alone(&self.uid_map, uid) && alone(&self.gid_map, gid)
    }

    /// Whether a user has ids in the container; always so where it has no
    /// user namespace of its own.
    pub fn has_user(&self, uid: u32, gid: u32) -> bool {
        let has = |map: &[IdMap], id| idmap::outside(&idmap::inverted(map), id).is_some();
        self.create & libc::CLONE_NEWUSER as u64 == 0
            || has(&self.uid_map, uid) && has(&self.gid_map, gid)
    }

    /// The plan of `spec`; relative paths in it start at `bundle`.
    ///
    /// # Errors
    /// What the spec leaves out or contradicts; [`Unsupported`] for what bryo
    /// does not do.
    pub fn new(spec: &Spec, bundle: &Path) -> Result<Plan> {
        let empty = oci_spec::runtime::Linux::default();
        let linux = spec.linux().as_ref().unwrap_or(&empty);
        fields::check(spec)?;
        check_version(spec.version())?;
        let annotation = |key: &str| {
            let all = spec.annotations().as_ref();
            all.and_then(|a| a.get(key)).map(String::as_str)
        };

        let mut create = 0;
        let mut join = Vec::new();
        for namespace in linux.namespaces().iter().flatten() {
            let kind = clone_flag(namespace.typ());
            if create & kind != 0 || join.iter().any(|j: &Join| j.kind == kind) {
                refuse!(
                    Invalid,
                    "linux.namespaces: {} is there twice",
                    namespace.typ()
                );
            }
            match namespace.path() {
                Some(path) => join.push(Join {
                    kind,
                    path: path.clone(),
                }),
                None => create |= kind,
            }
        }
        if create & libc::CLONE_NEWNS as u64 == 0 {
            refuse!(
                Invalid,
                "linux.namespaces: a container needs a mount namespace of its own"
            );
        }
        // Only who is in the user namespace may join what it owns.
        join.sort_by_key(|j| j.kind != libc::CLONE_NEWUSER as u64);

        let time_offsets = match linux.time_offsets() {
            Some(offsets) => time_offsets(offsets)?,
            None => String::new(),
        };
        if !time_offsets.is_empty() && create & libc::CLONE_NEWTIME as u64 == 0 {
            refuse!(
                Invalid,
                "linux.timeOffsets: needs a time namespace of its own"
            );
        }
        let own_uts = create & libc::CLONE_NEWUTS as u64 != 0;
        if !own_uts && (spec.hostname().is_some() || spec.domainname().is_some()) {
            refuse!(Invalid, "hostname: needs a UTS namespace of its own");
        }

        let interface = annotation(ANNOTATION_INTERFACE).map(serde_json::from_str);
        let interface = interface.transpose().context(ANNOTATION_INTERFACE)?;
        if interface.is_some() && create & libc::CLONE_NEWNET as u64 == 0 {
            refuse!(
                Invalid,
                "{ANNOTATION_INTERFACE}: needs a network namespace of its own"
            );
        }

        let root = spec
            .root()
            .as_ref()
            .context(Kind::Invalid.says("root: missing"))?;
        let uid_map = id_maps(linux.uid_mappings());
        let gid_map = id_maps(linux.gid_mappings());

        let mut mounts = Vec::new();
        let mut root_mount = None;
        for mount in spec.mounts().iter().flatten() {
            let what = || format!("mount {}", mount.destination().display());
            let words = mount.options().as_deref().unwrap_or_default();
            if mount.destination() == Path::new("/") {
                root_mount = Some(self::root_mount(mount, bundle).with_context(what)?);
                continue;
            }
            mounts.push(plan_mount(mount, words, bundle, &gid_map).with_context(what)?);
        }

        let dev = mounts
            .iter()
            .rfind(|m| m.destination == Path::new("dev"))
            .map(|m| matches!(m.source, MountSource::New { .. }));
        let populate_dev = dev == Some(true);

        let mut devices = Vec::new();
        if populate_dev {
            for name in DEFAULT_DEVICES {
                devices.push(Device {
                    path: PathBuf::from(format!("dev/{name}")),
                    source: c_string(format!("/dev/{name}"), "device")?,
                    number: None,
                });
            }
        }
        for device in linux.devices().iter().flatten() {
            if device.typ() == LinuxDeviceType::P {
                refuse!(
                    Invalid,
                    "device {}: a FIFO is no device",
                    device.path().display()
                );
            }
            let path = inside(device.path())?;
            devices.retain(|d| d.path != path);
            let number =
                |n: i64| u32::try_from(n).context(Kind::Invalid.says("device number out of range"));
            devices.push(Device {
                path,
                source: c_string(device.path().as_os_str().as_bytes(), "device")?,
                number: Some((number(device.major())?, number(device.minor())?)),
            });
        }
        for pair in annotation(ANNOTATION_DEVICES)
            .iter()
            .flat_map(|list| list.split(','))
            .filter(|pair| !pair.is_empty())
        {
            let (source, path) = pair.split_once(':').unwrap_or((pair, pair));
            let path = inside(Path::new(path))?;
            devices.retain(|d| d.path != path);
            devices.push(Device {
                path,
                source: c_string(source, "device")?,
                number: None,
            });
        }

        let mut sysctl = Vec::new();
        for (key, value) in linux.sysctl().iter().flatten() {
            sysctl.push((sysctl_path(key, create)?, value.clone()));
        }
        sysctl.sort();

        let paths = |list: &Option<Vec<String>>| -> Result<Vec<PathBuf>> {
            let list = list.iter().flatten();
            list.map(|path| inside(Path::new(path))).collect()
        };
        let process = spec
            .process()
            .as_ref()
            .context(Kind::Invalid.says("process: missing"))?;
        let unknown = |key: &str| {
            let field = format!("annotations.{key}");
            Unsupported::new(field, "the value is not known")
        };
        let default_seccomp = match annotation(ANNOTATION_SECCOMP) {
            None => false,
            Some("default") => true,
            Some(_) => return Err(unknown(ANNOTATION_SECCOMP).into()),
        };
        let init = match annotation(ANNOTATION_INIT) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(unknown(ANNOTATION_INIT).into()),
        };
        let emulate_root = annotation(ANNOTATION_EMULATE_ROOT)
            .map(|word| RootEmulation::parse(word).ok_or_else(|| unknown(ANNOTATION_EMULATE_ROOT)))
            .transpose()?;
        let (root_propagation, final_propagation) =
            root_propagation(linux.rootfs_propagation().as_deref())?;
        let setgroups =
            allows_setgroups(&gid_map) && annotation(ANNOTATION_KEEP_GROUPS) != Some("1");
        let mut process_plan = ProcessPlan::of_checked(
            process,
            process::Seccomp::of(linux.seccomp().as_ref(), default_seccomp),
            setgroups,
            emulate_root,
        )?;
        process_plan.treatment = process_plan.treatment.within(linux)?;
        Ok(Plan {
            create,
            join,
            time_offsets,
            hostname: spec.hostname().clone(),
            domainname: spec.domainname().clone(),
            interface,
            root: bundle.join(root.path()),
            root_readonly: root.readonly().unwrap_or(false),
            root_propagation,
            final_propagation,
            root_mount,
            mounts,
            devices,
            populate_dev,
            masked: paths(linux.masked_paths())?,
            readonly: paths(linux.readonly_paths())?,
            sysctl,
            init,
            group: None,
            process: process_plan,
            uid_map,
            gid_map,
            hooks: Hooks::of(spec, bundle)?,
        })
    }
}

/// Later versions of the first have more to say, and mean the same by what the
/// earlier said; what another means nobody knows. Who names none is taken at
/// his word.
fn check_version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("" | "1") => Ok(()),
        _ => Err(Unsupported::new("ociVersion", "bryo knows version 1").into()),
    }
}

/// What all mounts become first, and the root in the end. Nothing is told to the
/// host whatever is asked for: what is shared is so among the container's own.
fn root_propagation(word: Option<&str>) -> Result<(u64, Option<u64>)> {
    let slave = libc::MS_SLAVE;
    Ok(match word {
        None | Some("" | "rslave" | "slave") => (slave, None),
        Some("rprivate" | "private") => (libc::MS_PRIVATE, None),
        Some("shared") => (slave, Some(libc::MS_SHARED)),
        Some("rshared") => (slave, Some(libc::MS_SHARED | libc::MS_REC)),
        Some("unbindable") => (slave, Some(libc::MS_UNBINDABLE)),
        Some("runbindable") => (slave, Some(libc::MS_UNBINDABLE | libc::MS_REC)),
        Some(other) => refuse!(Invalid, "linux.rootfsPropagation: '{other}' is none"),
    })
}

fn root_mount(mount: &oci_spec::runtime::Mount, bundle: &Path) -> Result<RootMount> {
    let words = mount.options().as_deref().unwrap_or_default();
    if mount.typ().as_deref() != Some("overlay") {
        let source = mount
            .source()
            .as_ref()
            .context(Kind::Invalid.says("source: missing"))?;
        return Ok(RootMount::Bind {
            source: c_string(bundle.join(source).as_os_str().as_bytes(), "source")?,
            options: MountOptions::parse(words)?,
        });
    }
    Ok(RootMount::Overlay(overlay(words, bundle)?))
}

/// The parts of an overlay among its mount options.
fn overlay(words: &[String], bundle: &Path) -> Result<Overlay> {
    let mut overlay = Overlay {
        lower: Vec::new(),
        upper: None,
        work: None,
        in_memory: false,
        options: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            // One word a layer, the topmost first: a path may hold a colon.
            Some(("lowerdir", path)) => overlay.lower.push(bundle.join(path)),
            Some(("upperdir", path)) => overlay.upper = Some(bundle.join(path)),
            Some(("workdir", path)) => overlay.work = Some(bundle.join(path)),
            _ if word == TMPFS_UPPER => overlay.in_memory = true,
            _ => overlay.options.push(word.clone()),
        }
    }
    if overlay.lower.is_empty() {
        refuse!(Invalid, "overlay without lowerdir");
    }
    Ok(overlay)
}

fn plan_mount(
    mount: &oci_spec::runtime::Mount,
    words: &[String],
    bundle: &Path,
    gid_map: &[IdMap],
) -> Result<Mount> {
    let mut options = MountOptions::parse(words)?;
    let fstype = mount.typ().as_deref().unwrap_or("none");
    let source = mount.source();
    if fstype == "bind" && options.bind.is_none() {
        options.bind = Some(Bind::Single);
    }
    let source = if options.bind.is_some() {
        if let Some((name, _)) = options.parameters.first() {
            refuse!(
                Invalid,
                "option '{}' of a bind mount is unknown",
                name.to_string_lossy()
            );
        }
        let source = source
            .as_ref()
            .context(Kind::Invalid.says("source: missing"))?;
        MountSource::Bind(c_string(
            bundle.join(source).as_os_str().as_bytes(),
            "source",
        )?)
    } else if fstype == "overlay" && !words.iter().any(|w| w.starts_with("upperdir=")) {
        let words: Vec<String> = words.iter().filter(|w| *w != "ro").cloned().collect();
        options.parameters.clear();
        MountSource::Overlay(overlay(&words, bundle)?)
    } else {
        if fstype == "devpts" {
            // Group 5 (tty) is the convention; a map of one id has no 5.
            options.parameters.retain(|(name, value)| {
                let id = value.as_deref().and_then(|v| v.to_str().ok()?.parse().ok());
                name.as_c_str() != c"gid"
                    || id.is_none_or(|id| idmap::outside(gid_map, id).is_some())
            });
        }
        let source = source.as_deref().unwrap_or(Path::new(fstype));
        MountSource::New {
            fstype: c_string(
                if fstype == "cgroup" {
                    "cgroup2"
                } else {
                    fstype
                },
                "type",
            )?,
            source: c_string(source.as_os_str().as_bytes(), "source")?,
        }
    };
    if options.tmpcopyup && fstype != "tmpfs" {
        refuse!(Invalid, "tmpcopyup: only for a tmpfs");
    }
    if options.subpath.is_some() && options.bind.is_none() {
        refuse!(Invalid, "subpath: only for what is there already");
    }
    Ok(Mount {
        destination: inside(mount.destination())?,
        source,
        options,
    })
}

/// The file of kernel parameter `key`, if it belongs to a namespace that the
/// container has for itself (namespaced ones are listed in runc's and
/// docker's documentation of `--sysctl`).
fn sysctl_path(key: &str, create: CloneFlags) -> Result<PathBuf> {
    // As sysctl(8): the first separator decides, the other is then literal.
    let path = match key.find(['.', '/']).map(|at| &key[at..=at]) {
        Some(".") => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    };
    let owner = match path.as_str() {
        p if p.starts_with("net/") => libc::CLONE_NEWNET,
        p if p.starts_with("fs/mqueue/") => libc::CLONE_NEWIPC,
        "kernel/msgmax"
        | "kernel/msgmnb"
        | "kernel/msgmni"
        | "kernel/sem"
        | "kernel/shmall"
        | "kernel/shmmax"
        | "kernel/shmmni"
        | "kernel/shm_rmid_forced" => libc::CLONE_NEWIPC,
        "kernel/domainname" | "kernel/hostname" => libc::CLONE_NEWUTS,
        _ => refuse!(
            Invalid,
            "sysctl {key}: it belongs to the whole machine, not to a namespace"
        ),
    };
    if path.split('/').any(|part| part == ".." || part.is_empty()) {
        refuse!(Invalid, "sysctl {key}: not a name");
    }
    if create & owner as u64 == 0 {
        let name = match owner {
            libc::CLONE_NEWNET => "network",
            libc::CLONE_NEWIPC => "IPC",
            _ => "UTS",
        };
        return Err(refusal!(
            Invalid,
            "sysctl {key}: needs a {name} namespace of the container's own"
        ));
    }
    Ok(PathBuf::from(path))
}

impl Mount {
    /// Attributes of the mount point itself with those of the whole tree.
    pub fn attributes(&self) -> Attributes {
        self.options.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A spec that has something of everything.
    fn spec() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "box",
            "domainname": "example",
            "process": {
                "terminal": true, "consoleSize": {"width": 80, "height": 24},
                "user": {"uid": 0, "gid": 0, "additionalGids": [1], "umask": 18},
                "args": ["sh"], "env": ["A=b"], "cwd": "/", "oomScoreAdj": 1,
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
                "noNewPrivileges": true
            },
            "mounts": [
                {"destination": "/", "type": "overlay", "options": ["lowerdir=a", "upperdir=b", "workdir=c"]},
                {"destination": "/dev", "type": "tmpfs", "options": ["mode=755", "rro"]},
                {"destination": "/data", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}
            ],
            "annotations": {"bryo.devices": "/dev/null:/dev/x", "bryo.init": "true", "bryo.seccomp": "default"},
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "user"}, {"type": "uts"}, {"type": "time"}, {"type": "ipc"}],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "timeOffsets": {"boottime": {"secs": 1, "nanosecs": 2}},
                "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
                "sysctl": {"kernel.shmmax": "1"},
                "maskedPaths": ["/proc/keys"], "readonlyPaths": ["/proc/sys"],
                "rootfsPropagation": "rslave",
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}
            }
        })
    }

    /// Every place in a JSON document, as pointers.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        let inner: Vec<(String, &Value)> = match value {
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(i, v)| (i.to_string(), v))
                .collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.replace('/', "~1"), v)).collect(),
            _ => return,
        };
        for (key, value) in inner {
            places(value, &format!("{at}/{key}"), found);
        }
    }

    fn hostile() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
            "",
            "/",
            ".",
            "..",
            "/..",
            "/a/../b",
            "a\0b",
            "lowerdir=",
            "=",
            "rro",
            "bind",
            "proc",
            "cgroup",
            "overlay",
            "-1",
            "net.ipv4.x",
            "net/../x",
            "..",
            "monotonic",
            ":",
            ",,",
            "é",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            words.prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-zA-Z./]{0,10}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn the_spec_below_is_one() {
        let spec: Spec = serde_json::from_value(spec()).unwrap();
        let plan = Plan::new(&spec, Path::new("/bundle")).unwrap();
        assert_eq!(plan.mounts.len(), 2);
        assert!(plan.init && plan.root_readonly);
    }

    #[test]
    fn a_namespace_is_there_once() {
        let mut json = spec();
        let all = json["linux"]["namespaces"].as_array_mut().unwrap();
        all.push(json!({"type": "ipc", "path": "/proc/1/ns/ipc"}));
        let spec: Spec = serde_json::from_value(json).unwrap();
        let said = Plan::new(&spec, Path::new("/bundle")).unwrap_err();
        assert_eq!(said.to_string(), "linux.namespaces: ipc is there twice");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_specs_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), hostile()), 1..4)) {
            let mut json = spec();
            for (place, value) in changes {
                let mut all = Vec::new();
                places(&json, "", &mut all);
                let place = &all[place.index(all.len())];
                *json.pointer_mut(place).unwrap() = value;
            }
            if let Ok(spec) = serde_json::from_value::<Spec>(json)
                && let Ok(plan) = Plan::new(&spec, Path::new("/bundle"))
            {
                prop_assert!(!plan.process.args.is_empty());
                for mount in &plan.mounts {
                    let up = |c| c == Component::ParentDir || c == Component::RootDir;
                    prop_assert!(!mount.destination.components().any(up));
                }
            }
        }
    }

    const NET: u64 = libc::CLONE_NEWNET as u64;

    #[test]
    fn sysctl_names_take_dots_and_slashes() {
        let path = |key| sysctl_path(key, NET).map_err(|e| e.to_string());
        assert_eq!(
            path("net.ipv4.ip_forward"),
            Ok("net/ipv4/ip_forward".into())
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.1/x"),
            Ok("net/ipv4/conf/eth0.1/x".into())
        );
        assert!(path("kernel.panic").unwrap_err().contains("whole machine"));
        assert!(path("kernel.shmmax").unwrap_err().contains("IPC"));
        assert!(path("net/../kernel/panic").is_err());
    }

    #[test]
    fn paths_of_the_container_have_no_parent() {
        assert!(inside(Path::new("/a/../b")).is_err());
        assert_eq!(inside(Path::new("/dev")).unwrap(), Path::new("dev"));
    }
}
