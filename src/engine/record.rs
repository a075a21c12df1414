//! What is known of a container: an immutable record, and its state.

use crate::sys::pidfd;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

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
    /// Unpacked layers that the root file system stands on.
    pub layers: Vec<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `--label`s and the image's.
    pub labels: BTreeMap<String, String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// The namespaces (`CLONE_NEW*`) that are not the caller's.
    pub namespaces: u64,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
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

impl State {
    /// Its name, as docker's `ps` filters know it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running { .. } => "running",
            State::Exited { .. } => "exited",
        }
    }
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id on the host.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field
    /// 22).
    pub start_time: u64,
}

impl ProcessId {
    /// The process `pid` as it is now.
    pub fn of(pid: Pid) -> Result<ProcessId> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read(&path).context(path.clone())?;
        let start_time = start_time(&stat).with_context(|| format!("{path}: no field 22"))?;
        Ok(ProcessId {
            pid: pid.as_raw(),
            start_time,
        })
    }

    /// A descriptor of the process, if it still is this one.
    pub fn open(&self) -> Option<OwnedFd> {
        let fd = pidfd::open(Pid::from_raw(self.pid)).ok()?;
        // Looked up after the open: the descriptor is of the same process.
        let now = ProcessId::of(Pid::from_raw(self.pid)).ok()?;
        (now == *self).then_some(fd)
    }
}

/// Field 22 of proc_pid_stat(5); the second may hold blanks and parentheses.
fn start_time(stat: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(&stat[stat.iter().rposition(|b| *b == b')')? + 1..]).ok()?;
    text.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let this = ProcessId::of(Pid::this()).unwrap();
        assert!(this.open().is_some());
        let other = ProcessId {
            start_time: this.start_time + 1,
            ..this
        };
        assert!(other.open().is_none());
    }

    #[test]
    fn names_with_parentheses() {
        let stat = b"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
    }

    #[test]
    fn states_are_flat_json() {
        let state = State::Running {
            process: ProcessId {
                pid: 7,
                start_time: 9,
            },
            since: Timestamp::UNIX_EPOCH,
        };
        let json = serde_json::to_string(&state).unwrap();
        assert!(
            json.starts_with(r#"{"status":"running","pid":7,"start_time":9,"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
