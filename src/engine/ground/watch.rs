//! Waiting until something changes in directories: inotify(7).

use crate::sys::wait;
use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Watches directories, not what is below those in them.
pub struct Watch {
    inotify: Inotify,
}

impl AsFd for Watch {
    /// Can be read when something has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Result<Watch> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).context("inotify")?;
        Ok(Watch { inotify })
    }

    /// Watches `path` too: files in it that are written to, appear or go, and
    /// its own end.
    pub fn add(&self, path: &Path) -> Result<()> {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF;
        let added = self.inotify.add_watch(path, flags);
        added
            .map(drop)
            .with_context(|| format!("watch {}", path.display()))
    }

    /// Waits for a change, for a second at most: that a process was killed
    /// changes nothing.
    pub fn wait(&self) {
        wait::readable(&self.inotify, wait::within(Duration::from_secs(1)));
        self.forget();
    }

    /// Takes note of the changes that there were.
    pub fn forget(&self) {
        // All that has come: whoever waits looks at everything.
        while self
            .inotify
            .read_events()
            .is_ok_and(|events| !events.is_empty())
        {}
    }
}
