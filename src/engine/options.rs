//! What `run` asks for, checked and parsed: the flags of docker and podman in
//! the form that the engine works with.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, Capability, PosixRlimitType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A container to be created.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Name; generated if there is none.
    pub name: Option<String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// `-i`: standard input stays open.
    pub interactive: bool,
    /// `-t`: a terminal.
    pub tty: bool,
    /// Command and arguments, in place of the image's `Cmd`.
    pub command: Vec<String>,
    /// In place of the image's `Entrypoint`; empty for none.
    pub entrypoint: Option<Vec<String>>,
    /// Variables, after those of the image.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Mounts, in order.
    pub mounts: Vec<MountOption>,
    /// `--read-only`.
    pub read_only: bool,
    /// Changes to the default capabilities.
    pub capabilities: CapabilityChanges,
    /// The system call filter.
    pub seccomp: SeccompOption,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// Paths that stay visible and writable.
    pub unmask: Unmask,
    /// Devices: on the host, in the container.
    pub devices: Vec<(PathBuf, PathBuf)>,
    /// Limits: which, soft, hard.
    pub ulimits: Vec<(PosixRlimitType, u64, u64)>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Network.
    pub network: Network,
    /// Whose PID, IPC, UTS and cgroup namespaces.
    pub pid: Sharing,
    /// See `pid`.
    pub ipc: Sharing,
    /// See `pid`.
    pub uts: Sharing,
    /// See `pid`.
    pub cgroup: Sharing,
    /// Shifts of clocks: `monotonic` or `boottime`, and seconds.
    pub time_offsets: Vec<(String, i64)>,
    /// `--init`.
    pub init: bool,
    /// Labels, after those of the image.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the OCI spec.
    pub annotations: BTreeMap<String, String>,
    /// Lines for `/etc/hosts`: name, address.
    pub add_hosts: Vec<(String, String)>,
    /// Lines for `/etc/resolv.conf`, in place of the host's.
    pub dns: Dns,
    /// Signal that asks the container to stop.
    pub stop_signal: Option<String>,
    /// `--root-emulation`; by itself on where it is of use.
    pub root_emulation: Option<bool>,
    /// Score for the out-of-memory killer.
    pub oom_score_adj: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

/// The container's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// Loopback alone.
    None,
}

/// Whose namespace a container is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// Which paths that are masked or read-only by default are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unmask {
    /// All are.
    #[default]
    Nothing,
    /// None is.
    Everything,
    /// These are not.
    Paths(Vec<PathBuf>),
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompOption {
    /// The built-in one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The profile in this file.
    File(PathBuf),
}

/// `--dns`, `--dns-search`, `--dns-option`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains; `.` alone for none.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// `--cap-add` and `--cap-drop`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityChanges {
    /// Added; `None` stands for all.
    pub add: Vec<Option<Capability>>,
    /// Dropped; `None` stands for all.
    pub drop: Vec<Option<Capability>>,
}

/// A mount given by `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountOption {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
        /// In the container, absolute.
        destination: PathBuf,
        /// Words of mount(8).
        options: Vec<String>,
    },
    /// A new file system in memory.
    Tmpfs {
        /// In the container, absolute.
        destination: PathBuf,
        /// Words of mount(8).
        options: Vec<String>,
    },
}

/// Docker's default capabilities.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Reads the name of a capability, with or without `CAP_`; `ALL` is `None`.
pub fn parse_capability(text: &str) -> Result<Option<Capability>> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(None);
    }
    let parsed = serde_json::from_value(serde_json::Value::String(format!("CAP_{name}")));
    parsed
        .map(Some)
        .with_context(|| format!("capability '{text}': capabilities(7) has none so"))
        .map_err(|e| anyhow::anyhow!("{e}"))
}

impl CapabilityChanges {
    /// The default set, all if `privileged`, with the changes; `last` is the
    /// highest number that the kernel knows.
    pub fn apply(&self, privileged: bool, all: &Capabilities) -> Capabilities {
        let defaults = || DEFAULT_CAPABILITIES.into_iter().filter(|c| all.contains(c));
        let mut set: Capabilities = match privileged || self.add.contains(&None) {
            true => all.clone(),
            false => defaults().collect(),
        };
        if self.drop.contains(&None) {
            set.clear();
        }
        set.extend(self.add.iter().flatten().copied());
        for dropped in self.drop.iter().flatten() {
            set.remove(dropped);
        }
        set
    }
}

/// Splits a `-v` at its colons: source, destination, options.
///
/// # Errors
/// A destination that is not absolute; named and anonymous volumes, which
/// are not supported yet.
pub fn parse_volume(text: &str) -> Result<MountOption> {
    let fail = |why: &str| format!("volume '{text}': {why}");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [_] => bail!(fail(
            "anonymous volumes are not supported yet; give HOST:CONTAINER"
        )),
        [source, destination] => (*source, *destination, ""),
        [source, destination, options] => (*source, *destination, *options),
        _ => bail!(fail("too many colons; use --mount for such a path")),
    };
    if !source.starts_with(['/', '.', '~']) {
        bail!(fail(
            "named volumes are not supported yet; a path starts with '/' or '.'"
        ));
    }
    let mut words: Vec<String> = Vec::new();
    for word in options.split(',').filter(|w| !w.is_empty()) {
        match word {
            // Written through to every mount below, where the kernel can.
            "ro" => words.push("rro".into()),
            "U" | "O" => bail!(fail(&format!("option '{word}' is not supported yet"))),
            "copy" | "nocopy" => {}
            other => words.push(other.into()),
        }
    }
    Ok(MountOption::Bind {
        source: absolute_source(source).with_context(|| fail("source"))?,
        destination: absolute(destination).with_context(|| fail("destination"))?,
        options: bind_words(words),
    })
}

/// Parses `--mount type=bind,source=…,target=…,…`.
///
/// # Errors
/// An unknown type or key, a missing target.
pub fn parse_mount(text: &str) -> Result<MountOption> {
    let fail = |why: String| format!("mount '{text}': {why}");
    let (mut kind, mut source, mut target) = ("volume", None, None);
    let mut words: Vec<String> = Vec::new();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => bail!(fail(format!("{key}={other} is neither true nor false"))),
        };
        let needed = || value.with_context(|| fail(format!("{key} needs a value")));
        match key {
            "type" => kind = needed()?,
            "source" | "src" => source = Some(needed()?),
            "target" | "destination" | "dst" => target = Some(needed()?),
            "readonly" | "ro" => {
                if flag()? {
                    words.push("rro".into());
                }
            }
            "bind-propagation" => words.push(needed()?.into()),
            "bind-nonrecursive" => {
                if flag()? {
                    words.push("bind".into());
                }
            }
            "bind-recursive" => match needed()? {
                "enabled" | "readonly" => {}
                "writable" => words.retain(|w| w != "rro"),
                "disabled" => words.push("bind".into()),
                other => bail!(fail(format!("bind-recursive={other} is unknown"))),
            },
            "tmpfs-size" => words.push(format!("size={}", needed()?)),
            "tmpfs-mode" => words.push(format!("mode={}", needed()?)),
            "consistency" => {}
            "nosuid" | "nodev" | "noexec" | "exec" | "suid" | "dev" | "rw" | "notmpcopyup"
            | "tmpcopyup" => words.push(key.into()),
            other => bail!(fail(format!("'{other}' is unknown or not supported yet"))),
        }
    }
    let target = target.with_context(|| fail("target: missing".into()))?;
    let destination = absolute(target).with_context(|| fail("target".into()))?;
    match kind {
        "bind" => {
            let source = source.with_context(|| fail("source: missing".into()))?;
            Ok(MountOption::Bind {
                source: absolute_source(source).with_context(|| fail("source".into()))?,
                destination,
                options: bind_words(words),
            })
        }
        "tmpfs" if source.is_some() => bail!(fail("a tmpfs has no source".into())),
        "tmpfs" => Ok(MountOption::Tmpfs {
            destination,
            options: tmpfs_words(words),
        }),
        "volume" | "image" => bail!(fail(format!("type {kind} is not supported yet"))),
        other => bail!(fail(format!("type '{other}' is none of bind, tmpfs"))),
    }
}

/// Parses `--tmpfs PATH[:OPTIONS]`.
pub fn parse_tmpfs(text: &str) -> Result<MountOption> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let words = options.split(',').filter(|w| !w.is_empty());
    Ok(MountOption::Tmpfs {
        destination: absolute(path).with_context(|| format!("tmpfs '{text}'"))?,
        options: tmpfs_words(words.map(str::to_owned).collect()),
    })
}

fn bind_words(words: Vec<String>) -> Vec<String> {
    let mut all = Vec::with_capacity(words.len() + 2);
    if !words.iter().any(|w| w == "bind" || w == "rbind") {
        all.push("rbind".into());
    }
    let propagation = ["private", "shared", "slave", "unbindable"];
    let given = |w: &String| propagation.contains(&w.strip_prefix('r').unwrap_or(w));
    if !words.iter().any(given) {
        all.push("rprivate".into());
    }
    all.extend(words);
    all
}

/// Docker's defaults for a tmpfs, and podman's copy of what is below.
fn tmpfs_words(words: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = ["nosuid", "nodev", "noexec", "tmpcopyup"]
        .map(String::from)
        .into();
    if !words.iter().any(|w| w.starts_with("mode=")) {
        all.push("mode=1777".into());
    }
    all.extend(words);
    all
}

fn absolute(path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute() {
        bail!("{} is not an absolute path", path.display());
    }
    Ok(path.to_owned())
}

fn absolute_source(path: &str) -> Result<PathBuf> {
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => std::path::absolute(path)?,
    };
    match path.symlink_metadata() {
        Ok(_) => Ok(path),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Reads a number of bytes as docker does: a suffix of `b`, `k`, `m`, `g`,
/// `t`, each a power of 1024.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 't')) => (&lower[..at], 40),
        _ => (lower, 0),
    };
    let number: u64 = digits
        .parse()
        .ok()
        .with_context(|| format!("size '{text}': a number with b, k, m, g or t is wanted"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("size '{text}' is too large"))
}

/// Parses `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
pub fn parse_ulimit(text: &str) -> Result<(PosixRlimitType, u64, u64)> {
    let fail = || format!("ulimit '{text}': NAME=SOFT[:HARD] is wanted, as nofile=1024:2048");
    let (name, values) = text.split_once('=').with_context(fail)?;
    let kind = serde_json::Value::String(format!("RLIMIT_{}", name.to_ascii_uppercase()));
    let kind = serde_json::from_value(kind)
        .map_err(|_| anyhow::anyhow!("ulimit '{text}': '{name}' is none of prlimit(2)'s"))?;
    let value = |v: &str| match v {
        "-1" | "unlimited" => Ok(u64::MAX),
        v => v.parse::<u64>().ok().with_context(fail),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        bail!("ulimit '{text}': the soft limit is above the hard one");
    }
    Ok((kind, soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_flag_is_survived(text in "[a-z0-9:=,/.~ \\PC]{0,40}", path in "(/[a-z.]{0,4}){1,4}") {
            let _ = (parse_capability(&text), parse_ulimit(&text), parse_bytes(&text));
            let all = [
                parse_volume(&text),
                parse_volume(&format!("/:{path}:{text}")),
                parse_mount(&text),
                parse_mount(&format!("type=bind,src=/,dst={path},{text}")),
                parse_tmpfs(&text),
                parse_tmpfs(&format!("{path}:{text}")),
            ];
            for mount in all.into_iter().flatten() {
                let (MountOption::Bind { destination, .. } | MountOption::Tmpfs { destination, .. }) = mount;
                prop_assert!(destination.is_absolute());
            }
        }
    }

    #[test]
    fn volumes() {
        let parsed = parse_volume("/etc:/x:ro,noexec").unwrap();
        let MountOption::Bind {
            source,
            destination,
            options,
        } = parsed
        else {
            panic!("not a bind")
        };
        assert_eq!(source, Path::new("/etc"));
        assert_eq!(destination, Path::new("/x"));
        assert_eq!(options, ["rbind", "rprivate", "rro", "noexec"]);
        for bad in ["data:/x", "/x", "/etc:x", "/nowhere:/x", "/a:/b:c:d"] {
            let error = format!("{:#}", parse_volume(bad).unwrap_err());
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn mounts() {
        let parsed = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m").unwrap();
        let MountOption::Tmpfs { options, .. } = parsed else {
            panic!("not a tmpfs")
        };
        assert!(options.contains(&"size=1m".to_owned()));
        for bad in [
            "type=bind,target=/x",
            "type=magic,target=/x",
            "type=bind,src=/etc",
            "target=/x",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_limits() {
        assert_eq!(parse_bytes("64m").unwrap(), 64 << 20);
        assert_eq!(parse_bytes("1GiB").unwrap(), 1 << 30);
        assert!(parse_bytes("1x").is_err() && parse_bytes("99999999t").is_err());
        let (_, soft, hard) = parse_ulimit("nofile=10:20").unwrap();
        assert_eq!((soft, hard), (10, 20));
        assert!(parse_ulimit("nofile=20:10").is_err() && parse_ulimit("x=1").is_err());
    }

    #[test]
    fn capability_changes() {
        let all: Capabilities = DEFAULT_CAPABILITIES
            .into_iter()
            .chain([Capability::SysAdmin])
            .collect();
        let changes = |add: &[&str], drop: &[&str]| CapabilityChanges {
            add: add.iter().map(|c| parse_capability(c).unwrap()).collect(),
            drop: drop.iter().map(|c| parse_capability(c).unwrap()).collect(),
        };
        assert_eq!(changes(&[], &[]).apply(false, &all).len(), 14);
        assert_eq!(
            changes(&["all"], &["CAP_CHOWN"]).apply(false, &all).len(),
            14
        );
        assert_eq!(changes(&["sys_admin"], &["ALL"]).apply(true, &all).len(), 1);
        assert!(parse_capability("CAP_FLY").is_err());
    }
}
