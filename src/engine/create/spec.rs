//! From options and an image to an OCI runtime spec. Pure: what must be
//! looked up on the machine comes in as [`Facts`].

use crate::engine::create::options::RunOptions;
use crate::engine::create::root::{ImageDefaults, Root};
use crate::engine::create::systemd;
use crate::engine::ground::user::User;
use crate::engine::host::{self, Parts};
use crate::engine::ids::userns::ANNOTATION_OWNERS;
use crate::engine::request::environment;
use crate::engine::request::namespaces::Sharing;
use crate::engine::request::network::Network;
use crate::engine::request::security::{SeccompOption, Unmask};
use crate::error::refuse;
use crate::idmap::IdMap;
use crate::image::store::MAX_LAYERS;
use crate::runtime::plan::{
    ANNOTATION_DEVICES, ANNOTATION_EMULATE_ROOT, ANNOTATION_INIT, ANNOTATION_INTERFACE,
    ANNOTATION_KEEP_GROUPS, ANNOTATION_SECCOMP,
};
use anyhow::Result;
use oci_spec::runtime::{
    BoxBuilder, Capabilities, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMappingBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, LinuxTimeOffsetBuilder, Mount,
    MountBuilder, PosixRlimit, PosixRlimitBuilder, Process, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What the machine contributes.
#[derive(Debug)]
pub struct Facts {
    /// The container's id.
    pub id: String,
    /// Device nodes of the host that it has because it is privileged.
    pub devices: Vec<PathBuf>,
    /// The container's directory.
    pub directory: PathBuf,
    /// Where the root file system is mounted.
    pub mount_point: PathBuf,
    /// What lies below the image: see [`mountpoints`](crate::engine::create::mountpoints).
    pub mount_points: PathBuf,
    /// The user ids of the container.
    pub uid_map: Vec<IdMap>,
    /// Its group ids.
    pub gid_map: Vec<IdMap>,
    /// See [`ANNOTATION_OWNERS`]; none if it has nobody but the user in it.
    pub owners: Option<&'static str>,
    /// The command stays in the caller's supplementary groups.
    pub keep_groups: bool,
    /// Who the command runs as.
    pub user: User,
    /// All capabilities that the kernel knows.
    pub capabilities: Capabilities,
    /// A profile given by the user, read and resolved.
    pub seccomp: Option<LinuxSeccomp>,
    /// Size of the caller's terminal: columns, rows.
    pub terminal: Option<(u16, u16)>,
}

/// Paths hidden from a container (docker's list, with podman's additions).
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container may only read (docker's list).
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Docker's size of `/dev/shm`, in bytes.
const SHM_SIZE: u64 = 64 << 20;

/// Whatever the caller's is, as with docker.
const DEFAULT_UMASK: u32 = 0o022;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The spec of a container; `asked` are the mounts that the user asked for.
///
/// # Errors
/// Options that contradict each other, an image and options without a
/// command.
pub fn build(
    options: &RunOptions,
    root: &Root,
    image: &ImageDefaults,
    facts: &Facts,
    asked: Vec<Mount>,
) -> Result<Spec> {
    let mut process = process(options, image, facts)?;
    let systemd = systemd::applies(options, process.args().as_deref().unwrap_or_default());
    let mut mounts = Vec::new();
    mounts.push(root_mount(root, facts)?);
    mounts.extend(system_mounts(options, systemd)?);
    if let Some(parts) = &root.parts {
        mounts.extend(part_mounts(root, parts, facts)?);
    }
    add_user_mounts(&mut mounts, asked, etc_mounts(options, facts)?);

    let mut annotations: HashMap<String, String> =
        options.annotations.clone().into_iter().collect();
    if options.init {
        annotations.insert(ANNOTATION_INIT.into(), "true".into());
    }
    for (key, value) in options.limits.annotations() {
        annotations.insert(key.into(), value.into());
    }
    if systemd {
        annotations.insert(systemd::ANNOTATION.into(), "true".into());
        let mut env = process.env().clone().unwrap_or_default();
        for (key, value) in systemd::environment(&facts.id) {
            env.retain(|entry| !entry.starts_with(&format!("{key}=")));
            env.push(format!("{key}={value}"));
        }
        process.set_env(Some(env));
    }
    if let Some(owners) = facts.owners {
        annotations.insert(ANNOTATION_OWNERS.into(), owners.into());
    }
    if facts.keep_groups {
        annotations.insert(ANNOTATION_KEEP_GROUPS.into(), "1".into());
    }
    if facts.owners.is_none()
        && let Some(emulation) = options.root_emulation.choose(facts.user.uid)
    {
        annotations.insert(ANNOTATION_EMULATE_ROOT.into(), emulation.word().into());
    }
    if options.seccomp == SeccompOption::Default && !options.privileged {
        annotations.insert(ANNOTATION_SECCOMP.into(), "default".into());
    }
    if let Network::User(user) = &options.network {
        let interface = serde_json::to_string(&user.interface())?;
        annotations.insert(ANNOTATION_INTERFACE.into(), interface);
    }
    let of_host = facts.devices.iter().map(|device| (device, device));
    let asked_for = options.devices.iter().map(|(host, inside)| (host, inside));
    let devices = of_host.chain(asked_for);
    let devices = devices.map(|(host, inside)| format!("{}:{}", host.display(), inside.display()));
    let devices: Vec<String> = devices.collect();
    if !devices.is_empty() {
        annotations.insert(ANNOTATION_DEVICES.into(), devices.join(","));
    }

    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .root(
            RootBuilder::default()
                .path(&facts.mount_point)
                .readonly(options.read_only)
                .build()?,
        )
        .mounts(mounts)
        .process(process)
        .annotations(annotations)
        .linux(linux(options, facts)?)
        .build()?;
    if options.uts == Sharing::Private {
        let hostname = options.hostname.clone();
        spec.set_hostname(Some(hostname.unwrap_or_else(|| facts.id[..12].to_owned())));
        spec.set_domainname(options.domainname.clone());
    } else {
        if options.hostname.is_some() || options.domainname.is_some() {
            refuse!(
                Invalid,
                "--hostname has no effect on the host's UTS namespace: leave out --uts host"
            );
        }
        spec.set_hostname(None);
    }
    Ok(spec)
}

fn mount(
    destination: impl AsRef<Path>,
    kind: &str,
    source: Option<&Path>,
    options: &[&str],
) -> Result<Mount> {
    let mut builder = MountBuilder::default()
        .destination(destination.as_ref())
        .typ(kind)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
    builder = builder.source(source.unwrap_or(Path::new(kind)));
    Ok(builder.build()?)
}

/// The mounts of the host's root, which stand on a directory of the
/// container's.
fn part_mounts(root: &Root, parts: &Parts, facts: &Facts) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for (index, path) in parts.overlays.iter().enumerate() {
        let (upper, work) = host::layer(&facts.directory, index);
        let option = |key, path: &Path| format!("{key}={}", path.display());
        let words = [
            option("lowerdir", path),
            option("upperdir", &upper),
            option("workdir", &work),
        ];
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.push("userxattr");
        words.extend(root.volatile.then_some("volatile"));
        words.push("nofail");
        mounts.push(mount(path, "overlay", None, &words)?);
    }
    for path in &parts.binds {
        mounts.push(mount(
            path,
            "bind",
            Some(path),
            &["rbind", "rprivate", "rro", "nofail"],
        )?);
    }
    for path in &parts.hidden {
        let words = ["nosuid", "nodev", "mode=0700", "hides"];
        mounts.push(mount(path, "tmpfs", None, &words)?);
    }
    for path in &parts.blank {
        let null = Path::new("/dev/null");
        mounts.push(mount(
            path,
            "bind",
            Some(null),
            &["bind", "rprivate", "hides"],
        )?);
    }
    Ok(mounts)
}

fn root_mount(root: &Root, facts: &Facts) -> Result<Mount> {
    if root.parts.is_some() {
        let upper = facts.directory.join("upper");
        return mount("/", "bind", Some(&upper), &["rbind", "rprivate"]);
    }
    if let Some(dir) = &root.direct {
        return mount("/", "bind", Some(dir), &["rbind", "rprivate"]);
    }
    let mut words = vec!["userxattr".to_owned()];
    if root.volatile {
        words.push("volatile".into());
    }
    // What lies below goes where it would be one too many.
    let below = (root.lowers.len() < MAX_LAYERS).then_some(&facts.mount_points);
    for lower in root.lowers.iter().chain(below) {
        let Some(lower) = lower.to_str() else {
            refuse!(Unsupported, "{}: the path is not UTF-8", lower.display());
        };
        words.push(format!("lowerdir={lower}"));
    }
    for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
        words.push(format!("{key}={}", facts.directory.join(name).display()));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    mount("/", "overlay", None, &words)
}

/// Whether a container may make control groups below its own: podman's rules,
/// and docker's option.
fn writes_cgroups(options: &RunOptions, systemd: bool) -> bool {
    let unmasked = match &options.unmask {
        Unmask::Nothing => false,
        Unmask::Everything => true,
        Unmask::Paths(paths) => paths.iter().any(|p| p == Path::new("/sys/fs/cgroup")),
    };
    systemd || options.privileged || options.writable_cgroups || unmasked
}

fn system_mounts(options: &RunOptions, systemd: bool) -> Result<Vec<Mount>> {
    let ro = if options.privileged { "rw" } else { "ro" };
    let rro = if options.privileged { "rrw" } else { "rro" };
    let shm_size = format!("size={}", options.shm_size.unwrap_or(SHM_SIZE));
    let mut mounts = vec![
        match options.pid {
            Sharing::Private => mount("/proc", "proc", None, &["nosuid", "noexec", "nodev"])?,
            Sharing::Host => mount(
                "/proc",
                "bind",
                Some(Path::new("/proc")),
                &["rbind", "rprivate", "nosuid", "noexec", "nodev"],
            )?,
        },
        mount(
            "/dev",
            "tmpfs",
            None,
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount(
            "/dev/pts",
            "devpts",
            None,
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
    ];
    mounts.push(match &options.network {
        // Only who owns the network namespace may have a sysfs of it.
        Network::Host | Network::Default | Network::Namespace(_) | Network::Unknown(_) => mount(
            "/sys",
            "bind",
            Some(Path::new("/sys")),
            &["rbind", "rprivate", "nosuid", "noexec", "nodev", rro],
        )?,
        Network::None | Network::Named | Network::User(_) | Network::Container(_) => {
            mount("/sys", "sysfs", None, &["nosuid", "noexec", "nodev", ro])?
        }
    });
    if options.cgroup == Sharing::Private {
        let access = if writes_cgroups(options, systemd) {
            "rw"
        } else {
            "ro"
        };
        let words = ["nosuid", "noexec", "nodev", "relatime", access];
        mounts.push(mount("/sys/fs/cgroup", "cgroup", None, &words)?);
    }
    if systemd {
        for (path, words) in systemd::TMPFS {
            mounts.push(mount(path, "tmpfs", None, words)?);
        }
    }
    match options.ipc {
        Sharing::Private => {
            mounts.push(mount(
                "/dev/mqueue",
                "mqueue",
                None,
                &["nosuid", "noexec", "nodev"],
            )?);
            let words = ["nosuid", "noexec", "nodev", "mode=1777", &shm_size];
            mounts.push(mount("/dev/shm", "tmpfs", Some(Path::new("shm")), &words)?);
        }
        Sharing::Host => {
            for path in ["/dev/mqueue", "/dev/shm"] {
                if Path::new(path).is_dir() {
                    let words = ["rbind", "rprivate", "nosuid", "noexec", "nodev"];
                    mounts.push(mount(path, "bind", Some(Path::new(path)), &words)?);
                }
            }
        }
    }
    Ok(mounts)
}

/// The files that bryo writes for each container.
pub const ETC_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The one that it has where a time zone was asked for.
pub const LOCALTIME: &str = "localtime";

fn etc_mounts(options: &RunOptions, facts: &Facts) -> Result<Vec<Mount>> {
    let mode = if options.read_only { "ro" } else { "rw" };
    let bind = |name: &str| {
        // Names belong to networks.
        let source = match &options.network {
            Network::Container(id) if !["hostname", LOCALTIME].contains(&name) => {
                facts.directory.with_file_name(id)
            }
            _ => facts.directory.clone(),
        };
        let source = source.join(name);
        mount(
            format!("/etc/{name}"),
            "bind",
            Some(&source),
            &["bind", "rprivate", mode],
        )
    };
    let names = ETC_FILES
        .iter()
        .filter(|name| !options.without_etc.contains(name));
    let zone = options.time_zone.as_ref().map(|_| &LOCALTIME);
    names.chain(zone).map(|name| bind(name)).collect()
}

/// Adds what the user asked for: parents before children, and in the place
/// of a mount of ours with the same destination. The files in `/etc` come
/// last among their like, for they may be links to below what was asked for.
fn add_user_mounts(mounts: &mut Vec<Mount>, asked: Vec<Mount>, mut etc: Vec<Mount>) {
    for ours in [&mut *mounts, &mut etc] {
        ours.retain(|m| !asked.iter().any(|a| a.destination() == m.destination()));
    }
    mounts.extend(asked);
    mounts.append(&mut etc);
    // Ours among them: a tmpfs on /etc must not hide /etc/hosts.
    mounts.sort_by_key(|m| m.destination().components().count());
}

/// A bind mount that was asked for.
pub fn bind(destination: &Path, source: &Path, options: &[String]) -> Result<Mount> {
    let words: Vec<&str> = options.iter().map(String::as_str).collect();
    mount(destination, "bind", Some(source), &words)
}

/// A tmpfs that was asked for.
pub fn tmpfs(destination: &Path, options: &[String]) -> Result<Mount> {
    let words: Vec<&str> = options.iter().map(String::as_str).collect();
    mount(destination, "tmpfs", None, &words)
}

/// The layers of an image, the topmost first, read-only.
pub fn layers(destination: &Path, lowers: &[PathBuf]) -> Result<Mount> {
    if let [alone] = lowers {
        return mount(
            destination,
            "bind",
            Some(alone),
            &["bind", "rprivate", "ro"],
        );
    }
    let mut words = vec!["userxattr".to_owned(), "ro".to_owned()];
    for lower in lowers {
        let Some(lower) = lower.to_str() else {
            refuse!(Unsupported, "{}: the path is not UTF-8", lower.display());
        };
        words.push(format!("lowerdir={lower}"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    mount(destination, "overlay", None, &words)
}

fn process(options: &RunOptions, image: &ImageDefaults, facts: &Facts) -> Result<Process> {
    let mut args = match &options.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    match options.command.is_empty() {
        // An entry point of the user's own goes without the image's command.
        true if options.entrypoint.is_none() => args.extend(image.command.iter().cloned()),
        true => {}
        false => args.extend(options.command.iter().cloned()),
    }
    if args.is_empty() {
        refuse!(
            Invalid,
            "no command: the image has none, so give one after its name"
        );
    }

    let mut env: Vec<(String, Option<String>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut set = |key: &str, value: Option<&str>| {
        let value = value.map(str::to_owned);
        match places.get(key) {
            Some(place) => env[*place].1 = value,
            None => {
                places.insert(key.to_owned(), env.len());
                env.push((key.to_owned(), value));
            }
        }
    };
    if !options.unset_env {
        set("PATH", Some(DEFAULT_PATH));
        if options.tty {
            set("TERM", Some("xterm"));
        }
    }
    if options.uts == Sharing::Private {
        set(
            "HOSTNAME",
            Some(options.hostname.as_deref().unwrap_or(&facts.id[..12])),
        );
    }
    set("HOME", Some(&facts.user.home));
    for (key, value) in image.env.iter().filter(|_| !options.unset_env) {
        set(key, Some(value));
    }
    if !options.env_merge.is_empty() {
        let of_image = image
            .env
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let mut all: HashMap<&str, &str> = HashMap::from([("PATH", DEFAULT_PATH)]);
        all.insert("HOME", &facts.user.home);
        all.extend(of_image);
        for (key, value) in &options.env_merge {
            let known = |name: &str| all.get(name).map(|value| (*value).to_owned());
            set(key, Some(&environment::expand(value, known)));
        }
    }
    for (key, value) in &options.env {
        set(key, value.as_deref());
    }

    let workdir = options.workdir.as_deref().unwrap_or(&image.workdir);
    let workdir = Path::new("/").join(workdir);
    let sets = options
        .capabilities
        .apply(options.privileged, &facts.capabilities);
    let ambient = Capabilities::new();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(sets.clone())
        .effective(sets.clone())
        .permitted(sets)
        .inheritable(ambient.clone())
        .ambient(ambient)
        .build()?;

    let user = &facts.user;
    let mut account = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .build()?;
    account.set_umask(Some(options.umask.unwrap_or(DEFAULT_UMASK)));
    let rlimits: Vec<PosixRlimit> = options
        .ulimits
        .iter()
        .map(|(kind, soft, hard)| {
            PosixRlimitBuilder::default()
                .typ(*kind)
                .soft(*soft)
                .hard(*hard)
                .build()
        })
        .collect::<Result<_, _>>()?;
    let mut process = ProcessBuilder::default()
        .terminal(options.tty)
        .user(account)
        .args(args)
        .env(
            env.iter()
                .filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={v}")))
                .collect::<Vec<_>>(),
        )
        .cwd(workdir)
        .capabilities(capabilities)
        .rlimits(rlimits)
        .no_new_privileges(
            options
                .no_new_privileges
                .unwrap_or(facts.owners.is_none() && !options.privileged),
        )
        .build()?;
    process.set_oom_score_adj(options.oom_score_adj);
    process.set_console_size(console_size(facts.terminal)?);
    Ok(process)
}

/// A terminal's size, columns and rows, as the spec has it.
pub fn console_size(size: Option<(u16, u16)>) -> Result<Option<oci_spec::runtime::Box>> {
    let build =
        |(columns, rows): (u16, u16)| BoxBuilder::default().width(columns).height(rows).build();
    Ok(size.map(build).transpose()?)
}

fn linux(options: &RunOptions, facts: &Facts) -> Result<Linux> {
    use LinuxNamespaceType as Kind;
    let mut kinds = vec![Kind::User, Kind::Mount, Kind::Time];
    for (kind, sharing) in [
        (Kind::Pid, options.pid),
        (Kind::Ipc, options.ipc),
        (Kind::Uts, options.uts),
        (Kind::Cgroup, options.cgroup),
    ] {
        if sharing == Sharing::Private {
            kinds.push(kind);
        }
    }
    if options.network.is_own() {
        kinds.push(Kind::Network);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let maps = |map: &[IdMap]| {
        let line = |l: &IdMap| {
            LinuxIdMappingBuilder::default()
                .container_id(l.inside)
                .host_id(l.outside)
                .size(l.count)
                .build()
        };
        map.iter().map(line).collect::<Result<Vec<_>, _>>()
    };
    let hidden = |list: &[&str]| -> Vec<String> {
        let stays = |path: &str| match &options.unmask {
            _ if options.privileged => false,
            Unmask::Nothing => true,
            Unmask::Everything => false,
            Unmask::Paths(paths) => !paths.iter().any(|p| p == Path::new(path)),
        };
        list.iter()
            .filter(|p| stays(p))
            .map(|p| (*p).to_owned())
            .collect()
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .uid_mappings(maps(&facts.uid_map)?)
        .gid_mappings(maps(&facts.gid_map)?)
        .masked_paths(hidden(&MASKED))
        .readonly_paths(hidden(&READ_ONLY))
        .build()?;
    linux.set_resources(options.limits.resources.clone());
    linux.set_cgroups_path(options.limits.path(&facts.id).map(PathBuf::from));
    linux.set_seccomp(facts.seccomp.clone());
    if !options.time_offsets.is_empty() {
        let offset = |secs: i64| LinuxTimeOffsetBuilder::default().secs(secs).build();
        let offsets = options.time_offsets.iter();
        let offsets = offsets.map(|(clock, secs)| Ok((clock.to_string(), offset(*secs)?)));
        linux.set_time_offsets(Some(offsets.collect::<Result<_>>()?));
    }
    if !options.sysctls.is_empty() {
        linux.set_sysctl(Some(options.sysctls.clone().into_iter().collect()));
    }
    Ok(linux)
}

#[cfg(test)]
mod tests;
