//! What `run` asks for, checked and parsed: the flags of docker and podman in
//! the form that the engine works with.

use super::publish::Port;
use super::request::mounts::{ImageVolumes, MountOption, VolumesFrom};
use super::request::network::Network;
use super::request::signal::StopSignal;
use super::request::user::{Groups, UserOption};
use super::request::userns::UserNs;
use super::share::Share;
use crate::runtime::seccomp::RootEmulation;
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, Capability, PosixRlimitType};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// Variables, after those of the image; one without a value takes that of
    /// the image away.
    pub env: Vec<(String, Option<String>)>,
    /// `--share`: what the image `host` shows beyond its default.
    pub share: Share,
    /// Working directory.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<UserOption>,
    /// Host name.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Mounts, in order.
    pub mounts: Vec<MountOption>,
    /// `--volumes-from`: containers whose mounts it has too.
    pub volumes_from: Vec<VolumesFrom>,
    /// What becomes of the image's volumes.
    pub image_volumes: ImageVolumes,
    /// `--read-only`.
    pub read_only: bool,
    /// Changes to the default capabilities.
    pub capabilities: CapabilityChanges,
    /// The system call filter.
    pub seccomp: SeccompOption,
    /// Whether execve(2) may grant no privileges, if that was said. By itself so
    /// where there is one id; with several the kernel lets set-user-ID programs
    /// become those of the container and nobody else.
    pub no_new_privileges: Option<bool>,
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
    /// Published ports.
    pub ports: Vec<Port>,
    /// `-P`: all ports that the image or `--expose` names are published.
    pub publish_all: bool,
    /// `--expose`.
    pub exposed: Vec<Port>,
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
    pub stop_signal: Option<StopSignal>,
    /// Which ids it has.
    pub userns: UserNs,
    /// `--group-add`: its supplementary groups.
    pub groups: Groups,
    /// `--root-emulation`.
    pub root_emulation: EmulationOption,
    /// Score for the out-of-memory killer.
    pub oom_score_adj: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// What it may use.
    pub limits: super::limits::LimitOptions,
    /// Whether its first process is systemd.
    pub systemd: super::systemd::SystemdMode,
    /// Its processes may make control groups below its own.
    pub writable_cgroups: bool,
    /// How it is looked after.
    pub keeping: super::keeping::Keeping,
    /// How its health is checked.
    pub health: super::health::HealthOptions,
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

/// `--root-emulation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmulationOption {
    /// Where it is of use: for who is root and has no other id.
    #[default]
    Auto,
    /// None.
    Off,
    /// What the kernel refuses.
    On,
    /// That, and what files are said to be.
    Full,
}

impl EmulationOption {
    /// Whether it was asked for by name, which takes a map of one id.
    pub fn is_wanted(self) -> bool {
        matches!(self, EmulationOption::On | EmulationOption::Full)
    }

    /// What is emulated in a container with one id whose command runs as `uid`.
    pub fn choose(self, uid: u32) -> Option<RootEmulation> {
        match self {
            EmulationOption::Auto => (uid == 0).then_some(RootEmulation::Refused),
            EmulationOption::Off => None,
            EmulationOption::On => Some(RootEmulation::Refused),
            EmulationOption::Full => Some(RootEmulation::Full),
        }
    }
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
        fn any_flag_is_survived(text in "[a-z0-9:=,/.~ \\PC]{0,40}") {
            let _ = (parse_capability(&text), parse_ulimit(&text));
        }
    }

    #[test]
    fn limits() {
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
