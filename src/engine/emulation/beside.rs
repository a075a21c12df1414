//! Answering beside who started the command.

use super::Emulator;
use crate::process::{Resident, Until, spawn};
use crate::runtime::seccomp;
use anyhow::Result;
use nix::sched::CloneFlags;
use std::os::fd::{AsRawFd, OwnedFd};

impl Emulator {
    /// Answers for the command in a process of its own: what the command leaves
    /// behind may ask when this one is gone.
    pub fn serve_beside(self, target: &OwnedFd) -> Result<()> {
        spawn(|process| {
            let mut kept = self.descriptors();
            kept.push(target.as_raw_fd());
            let resident = Resident {
                name: c"bryo-emulate",
                role: "root emulation",
                until: Until::Done,
                hidden: true,
                keeps: Some(&kept),
            };
            resident.begin(process)?;
            let _ = nix::sched::setns(target, CloneFlags::CLONE_NEWUSER);
            let _ = crate::sys::seccomp::confine(seccomp::CARETAKER, true);
            self.serve_all();
            Ok(())
        })
        .map(drop)
    }
}
