//! What is known of a container: an immutable record, and its state.

use super::asked::Asked;
use crate::cgroup::place::Placed;
use crate::engine::container::health::Health;
use crate::engine::container::keeping::Keeping;
use crate::engine::request::mounts::{Kind, Mounted};
use crate::engine::request::network::Network;
use crate::engine::request::publish::Transport;
use crate::engine::request::signal::StopSignal;
use crate::process::ProcessId;
use crate::sys::{pidfd, wait};
use jiff::Timestamp;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// A container as it was created. `record.json` in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique among the user's containers.
    pub name: String,
    /// When.
    pub created: Timestamp,
    /// On which machine; the store may be shared by several.
    pub host: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id (digest of its configuration), if it is in the store.
    pub image_id: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `--label`s and the image's.
    pub labels: BTreeMap<String, String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// The namespaces (`CLONE_NEW*`) that are not the caller's.
    pub namespaces: u64,
    /// Its network, as `--network` has it.
    #[serde(default = "unknown_network")]
    pub network: Network,
    /// Its published ports, as they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<crate::engine::request::publish::Port>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<StopSignal>,
    /// How it is looked after.
    #[serde(default)]
    pub keeping: Keeping,
    /// What was asked to be mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mounted>,
    /// How many words of the command are the entry point.
    #[serde(default)]
    pub entrypoint: usize,
    /// `-u`, or the image's user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// What else was asked for.
    #[serde(default)]
    pub asked: Asked,
}

/// What has been with a container so far; beside its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub finished: Option<Timestamp>,
    /// How often its policy started it again.
    pub restarts: u32,
    /// Where its ports are published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<super::record::Published>,
    /// What its health checks found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its control groups.
    pub confinement: Confinement,
    /// Processes that were killed for want of memory, since its last start.
    pub oom_kills: u64,
}

/// A container's state. `state.json` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum State {
    /// Never started.
    Created,
    /// Its first process runs.
    Running {
        /// The process.
        #[serde(flatten)]
        process: ProcessId,
        /// Since when.
        since: Timestamp,
        /// The number of its user namespace, by which its processes are known
        /// if it has no PID namespace of its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_namespace: Option<u64>,
    },
    /// It runs, but the kernel lets none of its processes go on.
    Paused {
        /// Its first process.
        #[serde(flatten)]
        process: ProcessId,
        /// Since when it runs.
        since: Timestamp,
        /// As of a running one.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_namespace: Option<u64>,
    },
    /// It ended, and its supervisor will start it again.
    Restarting {
        /// Exit code.
        code: i32,
        /// When it ended.
        at: Timestamp,
    },
    /// What is known of it cannot be read; it can only be removed.
    Dead {
        /// Why.
        why: String,
    },
    /// It ran, or failed to.
    Exited {
        /// Exit code, 128 + n for signal n.
        code: i32,
        /// When.
        at: Timestamp,
        /// What went wrong, if bryo and not the command failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// What a record says of the network that was made before it said anything.
fn unknown_network() -> Network {
    Network::Unknown(String::new())
}

impl Record {
    /// The entry point and its arguments.
    pub fn split_command(&self) -> (&[String], &[String]) {
        let at = self.entrypoint.min(self.command.len());
        self.command.split_at(at)
    }

    /// Whether it stands on an image, by its id, or has it mounted.
    pub fn uses_image(&self, id: &str) -> bool {
        let mut mounts = self.mounts.iter();
        self.image_id.as_deref() == Some(id)
            || mounts.any(|m| m.kind == Kind::Image && m.source == id)
    }

    /// The record of a container of which only the id can be read.
    pub fn unknown(id: &str) -> Record {
        Record {
            id: id.to_owned(),
            name: crate::engine::ground::names::short(id).to_owned(),
            created: Timestamp::UNIX_EPOCH,
            host: crate::sys::machine::name(),
            image: String::new(),
            image_id: None,
            command: Vec::new(),
            labels: BTreeMap::new(),
            auto_remove: false,
            network: unknown_network(),
            ports: Vec::new(),
            namespaces: 0,
            stop_signal: None,
            keeping: Keeping::default(),
            mounts: Vec::new(),
            entrypoint: 0,
            user: String::new(),
            asked: Asked::default(),
        }
    }
}

impl State {
    /// Its name, as docker's `ps` filters know it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running { .. } => "running",
            State::Paused { .. } => "paused",
            State::Restarting { .. } => "restarting",
            State::Dead { .. } => "dead",
            State::Exited { .. } => "exited",
        }
    }

    /// Its first process, while it has one.
    pub fn process(&self) -> Option<&ProcessId> {
        match self {
            State::Running { process, .. } | State::Paused { process, .. } => Some(process),
            _ => None,
        }
    }

    /// Whether somebody has to look after it.
    pub fn is_active(&self) -> bool {
        self.process().is_some() || matches!(self, State::Restarting { .. })
    }
}

/// A port of the host at which a container is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Address and port of the host.
    pub host: SocketAddr,
    /// The container's port.
    pub container: u16,
    /// Its protocol.
    pub transport: Transport,
}

/// What is known of a container's control groups: part of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// Where they are.
    #[serde(flatten)]
    pub placed: Option<Placed>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
    /// Limits that were asked for and are not in force: file and reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, String>,
}

/// The number of a process's user namespace.
pub fn user_namespace(pid: Pid) -> Option<u64> {
    let file = std::fs::metadata(format!("/proc/{pid}/ns/user")).ok()?;
    Some(file.ino())
}

/// Ends every process in a user namespace.
pub fn end_all_in(user_namespace: u64) {
    if self::user_namespace(Pid::this()) == Some(user_namespace) {
        return;
    }
    loop {
        let mut found = false;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let pid = Pid::from_raw(pid);
            if self::user_namespace(pid) != Some(user_namespace) {
                continue;
            }
            let Ok(process) = pidfd::open(pid) else {
                continue;
            };
            // Looked at again: the descriptor is of the same process.
            if self::user_namespace(pid) == Some(user_namespace) {
                found |= pidfd::kill(&process, libc::SIGKILL).is_ok();
                wait::readable(&process, wait::within(Duration::from_secs(1)));
            }
        }
        if !found {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_flat_json() {
        let state = State::Running {
            process: ProcessId {
                pid: 7,
                start_time: 9,
                boot: 0,
            },
            since: Timestamp::UNIX_EPOCH,
            user_namespace: None,
        };
        let json = serde_json::to_string(&state).unwrap();
        assert!(
            json.starts_with(r#"{"status":"running","pid":7,"start_time":9,"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
