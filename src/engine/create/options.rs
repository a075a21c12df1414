//! What `run` asks for, checked and parsed: the flags of docker and podman in
//! the form that the engine works with.

use crate::engine::host::share::Share;
use crate::engine::request::capabilities::CapabilityChanges;
use crate::engine::request::dns::Dns;
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::health::HealthOptions;
use crate::engine::request::hosts::HostEntry;
use crate::engine::request::mounts::{ImageVolumes, MountOption, VolumesFrom};
use crate::engine::request::namespaces::Sharing;
use crate::engine::request::network::Network;
use crate::engine::request::process::Clock;
use crate::engine::request::publish::Port;
use crate::engine::request::secret::SecretOption;
use crate::engine::request::security::{SeccompOption, Unmask};
use crate::engine::request::signal::StopSignal;
use crate::engine::request::systemd::SystemdMode;
use crate::engine::request::time_zone::TimeZone;
use crate::engine::request::user::{Groups, UserOption};
use crate::engine::request::userns::UserNs;
use oci_spec::runtime::PosixRlimitType;
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
    /// Rows and columns of the terminal at first.
    pub window_size: Option<(u16, u16)>,
    /// Command and arguments, in place of the image's `Cmd`.
    pub command: Vec<String>,
    /// In place of the image's `Entrypoint`; empty for none.
    pub entrypoint: Option<Vec<String>>,
    /// Variables, after those of the image; one without a value takes that of
    /// the image away.
    pub env: Vec<(String, Option<String>)>,
    /// `--env-merge`: variables made of those that it has by default.
    pub env_merge: Vec<(String, String)>,
    /// `--unsetenv-all`: it has none of the image's and of bryo's variables.
    pub unset_env: bool,
    /// `--tz`: its time zone.
    pub time_zone: Option<TimeZone>,
    /// Files in `/etc` that are the image's own: of
    /// [`ETC_FILES`](crate::engine::create::spec::ETC_FILES).
    pub without_etc: Vec<&'static str>,
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
    /// `--secret`.
    pub secrets: Vec<SecretOption>,
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
    /// Size of `/dev/shm` in bytes; docker's 64 MiB if that was not said.
    pub shm_size: Option<u64>,
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
    /// Clocks, and by how many seconds they are shifted.
    pub time_offsets: Vec<(Clock, i64)>,
    /// `--init`.
    pub init: bool,
    /// Labels, after those of the image.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the OCI spec.
    pub annotations: BTreeMap<String, String>,
    /// Lines for `/etc/hosts`.
    pub add_hosts: Vec<HostEntry>,
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
    pub limits: crate::engine::create::limits::LimitOptions,
    /// Whether its first process is systemd.
    pub systemd: SystemdMode,
    /// Its processes may make control groups below its own.
    pub writable_cgroups: bool,
    /// How it is looked after.
    pub keeping: crate::engine::container::keeping::Keeping,
    /// How its health is checked.
    pub health: HealthOptions,
    /// The command line, for `inspect`.
    pub said: Vec<String>,
}
