//! Events of a group: what its processes were killed by.

use super::v2::Group;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The file `memory.events`: poll it for POLLPRI.
#[derive(Debug)]
pub struct MemoryEvents {
    file: File,
}

impl MemoryEvents {
    /// Opens it.
    ///
    /// # Errors
    /// ENOENT where the group has no controller of memory.
    pub fn open(group: &Group) -> std::io::Result<MemoryEvents> {
        let file = File::open(group.dir().join("memory.events"))?;
        let mut events = MemoryEvents { file };
        // What is read is what later events are later than.
        events.kills();
        Ok(events)
    }

    /// How many processes were killed for want of memory so far.
    pub fn kills(&mut self) -> u64 {
        let mut buffer = [0; 512];
        let count = self.file.read_at(&mut buffer, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..count]);
        let mut lines = text.lines();
        let kills = lines.find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
