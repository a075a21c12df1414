//! Which process it is.

use crate::sys::{self, pidfd};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id on the host.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field
    /// 22).
    pub start_time: u64,
    /// Since which boot: the first half of the kernel's number for it
    /// (random(4), `boot_id`). 0 is unknown.
    #[serde(default)]
    pub boot: u64,
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
            boot: boot(),
        })
    }

    /// Whether the machine has not been restarted since.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot == 0 || self.boot == boot()
    }

    /// A descriptor of the process, if it still is this one; `None` when it
    /// is gone.
    ///
    /// # Errors
    /// Those of pidfd_open(2) that say nothing about the process.
    pub fn open(&self) -> sys::Result<Option<OwnedFd>> {
        let fd = match pidfd::open(Pid::from_raw(self.pid)) {
            // The last two: by now it is a thread of another one.
            Err(e) if matches!(e.errno, Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => {
                return Ok(None);
            }
            other => other?,
        };
        // Looked up after the open: the descriptor is of the same process.
        let now = ProcessId::of(Pid::from_raw(self.pid));
        Ok(now.is_ok_and(|now| now == *self).then_some(fd))
    }
}

/// This boot's number.
fn boot() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(16)
            .collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
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
        assert!(this.open().unwrap().is_some());
        let other = ProcessId {
            start_time: this.start_time + 1,
            ..this
        };
        assert!(other.open().unwrap().is_none());
    }

    #[test]
    fn names_with_parentheses() {
        let stat = b"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
    }
}
