//! What is known of a container: an immutable record, and its state.

use crate::sys::pidfd;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

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
        /// The number of its user namespace, by which its processes are known
        /// if it has no PID namespace of its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_namespace: Option<u64>,
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
                wait_for_end(&process);
            }
        }
        if !found {
            return;
        }
    }
}

fn wait_for_end(process: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut fds, 1000u16);
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
