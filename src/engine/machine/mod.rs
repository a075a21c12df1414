//! What this machine offers to a user who wants containers.
//!
//! [`Machine::look`] finds it out by trying where that can be tried ([`trial`])
//! and by reading what the machine says of itself where not. [`diagnosis`]
//! judges what was found, [`remedy`] has the words for what is missing; errors
//! of other commands use the same words.

pub mod devices;
pub mod diagnosis;
pub mod groups;
pub mod ids;
pub mod remedy;
pub mod room;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trial;

use crate::engine::ground::paths;
use crate::idmap;
use crate::sys::mountinfo::{self, Mount};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What came of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// The kernel refused it.
    Refused(Errno),
    /// It could not be tried.
    #[default]
    Unknown,
}

impl Tried {
    /// The kernel's reason, if it refused.
    pub fn errno(self) -> Option<Errno> {
        match self {
            Tried::Refused(errno) => Some(errno),
            Tried::Works | Tried::Unknown => None,
        }
    }

    /// Whether it is known to work.
    pub fn works(self) -> bool {
        self == Tried::Works
    }

    /// In words.
    pub fn describe(self) -> String {
        match self {
            Tried::Works => "works".to_owned(),
            Tried::Refused(errno) => format!("refused ({errno:?})"),
            Tried::Unknown => "not tried".to_owned(),
        }
    }
}

impl<T> From<nix::Result<T>> for Tried {
    fn from(result: nix::Result<T>) -> Tried {
        result.map_or_else(Tried::Refused, |_| Tried::Works)
    }
}

impl Serialize for Tried {
    /// `"works"`, the name of the error, or null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tried::Works => serializer.serialize_str("works"),
            Tried::Refused(errno) => serializer.serialize_str(&format!("{errno:?}")),
            Tried::Unknown => serializer.serialize_none(),
        }
    }
}

/// A path as it is shown: JSON has none that are not UTF-8.
fn shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// The same for one that may be missing.
fn shown_if<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let path = path.as_deref().map(Path::to_string_lossy);
    path.serialize(serializer)
}

/// All that was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Machine {
    /// The system and its kernel.
    pub system: System,
    /// The user, and the ids that containers could have.
    pub ids: ids::Ids,
    /// What limits namespaces.
    pub limits: NamespaceLimits,
    /// What works in namespaces.
    pub trial: trial::Trial,
    /// The place of images and containers.
    pub storage: storage::Storage,
    /// Control groups.
    pub cgroups: groups::Cgroups,
    /// The user's session.
    pub session: Session,
    /// `/dev/net/tun` can be opened.
    pub tun: Tried,
    /// `/dev/fuse` can be opened.
    pub fuse: Tried,
    /// Networking of ordinary users.
    pub network: Network,
}

/// The system and its kernel.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct System {
    /// The host's name.
    pub host_name: String,
    /// The distribution.
    pub operating_system: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Its version: major, minor.
    pub kernel_version: Option<(u32, u32)>,
    /// The processor's architecture, in the kernel's words.
    pub architecture: &'static str,
    /// Processors that bryo may use.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// What bryo itself runs in, if in a container.
    pub inside: Option<String>,
    /// openat2(2), which confines paths to a root.
    pub openat2: Tried,
    /// The kernel filters system calls.
    pub seccomp: bool,
    /// A filter can ask another process for the answer.
    pub seccomp_notify: bool,
}

/// What limits user namespaces, by the machine's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceLimits {
    /// `user.max_*_namespaces`: the kind, and how many a user may have.
    pub max: BTreeMap<&'static str, u64>,
    /// `kernel.unprivileged_userns_clone`, on kernels that have it.
    pub unprivileged_clone: Option<bool>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, where it is known.
    pub apparmor_restricts: Option<bool>,
    /// A seccomp filter is around this process.
    pub filtered: bool,
    /// This program, for a profile.
    #[serde(serialize_with = "shown")]
    pub program: PathBuf,
}

/// The user's session and the service manager.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// systemd is the machine's service manager.
    pub systemd: bool,
    /// A manager of the user's own services runs.
    pub user_manager: bool,
    /// The user's processes may outlast the login.
    pub linger: bool,
    /// The directory for sockets.
    #[serde(serialize_with = "shown_if")]
    pub runtime_dir: Option<PathBuf>,
    /// Why there is none.
    pub runtime_error: Option<String>,
    /// It is not below `XDG_RUNTIME_DIR`.
    pub runtime_substitute: bool,
}

/// Networking of ordinary users.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Groups that may send ICMP echo requests, `net.ipv4.ping_group_range`.
    pub ping_groups: Option<(u32, u32)>,
    /// The user is in one of them.
    pub ping: bool,
    /// The first port that everybody may listen on.
    pub first_port: Option<u32>,
}

impl Machine {
    /// Looks at the machine, with `root` as the place for the store; the
    /// store is made if it is missing. The caller must have one thread.
    pub fn look(root: &Path) -> Machine {
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mountinfo::parse(&mounts);
        let scratch = crate::image::session::Session::new(&root.join("tmp"));
        let place = scratch.as_ref().ok().map(|scratch| {
            let place = scratch.path("trial").ok()?;
            let made = std::fs::create_dir(&place);
            made.ok().map(|()| place)
        });
        let place = place.flatten();
        let storage = storage::Storage::look(root, scratch.as_ref().err(), place.as_deref());
        Machine {
            trial: trial::run(place.as_deref()),
            system: System::look(&mounts),
            ids: ids::Ids::look(),
            limits: NamespaceLimits::read(),
            storage,
            cgroups: groups::Cgroups::look(&mounts),
            session: Session::look(),
            tun: device("/dev/net/tun"),
            fuse: device("/dev/fuse"),
            network: Network::look(),
        }
    }
}

/// The content of a file of the kernel, without the last line feed; empty if
/// there is none.
fn read(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn device(path: &str) -> Tried {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    nix::fcntl::open(path, flags, Mode::empty()).into()
}

impl System {
    fn look(mounts: &[Mount]) -> System {
        let kernel = read("/proc/sys/kernel/osrelease");
        let os = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| text::os_name(&read(path)));
        let status = read("/proc/self/status");
        let actions = read("/proc/sys/kernel/seccomp/actions_avail");
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        System {
            host_name: crate::sys::machine::name(),
            operating_system: os.unwrap_or_else(|| "unknown".to_owned()),
            kernel_version: text::kernel_version(&kernel),
            kernel,
            architecture: std::env::consts::ARCH,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: text::memory(&read("/proc/meminfo")),
            inside: inside(mounts),
            openat2: openat2(nix::fcntl::AT_FDCWD, "/", how).into(),
            seccomp: text::status(&status, "Seccomp").is_some(),
            seccomp_notify: actions.split(' ').any(|action| action == "user_notif"),
        }
    }
}

/// The kind of container that this process is in, by the marks that they
/// leave.
fn inside(mounts: &[Mount]) -> Option<String> {
    let by_variable = std::env::var("container").ok();
    let harmless = |name: &String| {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !name.is_empty() && name.len() < 32 && name.chars().all(word)
    };
    if let Some(name) = by_variable.filter(harmless) {
        return Some(name);
    }
    // A machine can be made from a container's image, marks and all.
    let marks = !text::is_first_namespace("pid", &namespace("pid"));
    for (mark, name) in [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")] {
        if marks && Path::new(mark).exists() {
            return Some(name.to_owned());
        }
    }
    let systemd = read("/run/systemd/container");
    if marks && harmless(&systemd) {
        return Some(systemd);
    }
    let root = mounts.iter().rfind(|mount| mount.point == Path::new("/"));
    if marks && root.is_some_and(|mount| mount.fstype == "overlay") {
        return Some("a container".to_owned());
    }
    let map = idmap::parse(&read("/proc/self/uid_map"));
    (!map.is_empty() && !idmap::is_full(&map)).then(|| "a user namespace".to_owned())
}

/// The name of the process's namespace of this kind, as `pid:[4026531836]`.
fn namespace(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}"));
    link.unwrap_or_default().to_string_lossy().into_owned()
}

impl NamespaceLimits {
    /// Reads them.
    pub fn read() -> NamespaceLimits {
        const KINDS: [&str; 8] = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"];
        let limit = |kind: &'static str| {
            let text = read(&format!("/proc/sys/user/max_{kind}_namespaces"));
            Some((kind, text.parse().ok()?))
        };
        let switch = |path: &str| match read(path).as_str() {
            "" => None,
            text => Some(text != "0"),
        };
        let program = std::fs::read_link("/proc/self/exe");
        let status = read("/proc/self/status");
        NamespaceLimits {
            max: KINDS.into_iter().filter_map(limit).collect(),
            unprivileged_clone: switch("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            filtered: text::status(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            program: program.unwrap_or_else(|_| "bryo".into()),
        }
    }

    /// How many namespaces of this kind a user may have.
    pub fn max(&self, kind: &str) -> Option<u64> {
        self.max.get(kind).copied()
    }
}

impl Session {
    fn look() -> Session {
        let uid = nix::unistd::geteuid();
        let runtime = paths::runtime_dir();
        let below_xdg = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|xdg| {
            let here = runtime.as_ref().is_ok_and(|dir| dir.starts_with(&xdg));
            !xdg.is_empty() && here
        });
        let manager = format!("/run/user/{uid}/systemd/private");
        let name = ids::login_name(uid.as_raw());
        let linger = name.map(|name| Path::new("/var/lib/systemd/linger").join(name));
        Session {
            systemd: Path::new("/run/systemd/system").is_dir(),
            user_manager: Path::new(&manager).exists(),
            linger: linger.is_some_and(|file| file.exists()),
            runtime_error: runtime.as_ref().err().map(|error| format!("{error:#}")),
            runtime_dir: runtime.ok(),
            runtime_substitute: !below_xdg,
        }
    }
}

impl Network {
    fn look() -> Network {
        let groups = text::group_range(&read("/proc/sys/net/ipv4/ping_group_range"));
        let mine = nix::unistd::getgroups().unwrap_or_default();
        let mut mine = mine.into_iter().chain([nix::unistd::getegid()]);
        Network {
            ping_groups: groups,
            ping: mine.any(|gid| {
                groups.is_some_and(|(first, last)| (first..=last).contains(&gid.as_raw()))
            }),
            first_port: read("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                .parse()
                .ok(),
        }
    }
}
