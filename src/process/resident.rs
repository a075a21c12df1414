//! Processes that stay.

use super::null::release_stdio;
use crate::sys::clone::NewProcess;
use crate::sys::fd::close_all_but;
use crate::sys::{signal, title};
use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use std::ffi::CStr;

/// What a process is that stays beside or behind the one that made it, and has
/// nothing of its caller's.
#[derive(Debug)]
pub struct Resident<'a> {
    /// Its name (`PR_SET_NAME`), of at most 15 characters.
    pub name: &'static CStr,
    /// What it does, for its command line.
    pub role: &'a str,
    /// How long it stays.
    pub until: Until,
    /// Nobody may look into it (`PR_SET_DUMPABLE`): it is, or will be, in a user
    /// namespace in which a container has all capabilities.
    pub hidden: bool,
    /// The descriptors that it keeps, but for 0 to 2; all if this is None.
    pub keeps: Option<&'a [i32]>,
}

/// When a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its work is done; it is in a session of its own.
    Done,
    /// Its maker ends, if its work is not done earlier.
    MakersEnd,
}

impl Resident<'_> {
    /// Makes this process, which was made for it, one: the first that it does.
    /// Its signals do what they do by default, its streams are the null device.
    ///
    /// # Errors
    /// The kernel refuses, or there is no null device.
    pub fn begin(&self, process: &NewProcess) -> Result<()> {
        title::set(self.name, self.role);
        match self.until {
            Until::Done => {
                // Neither a terminal nor a directory is kept busy.
                let _ = nix::unistd::setsid();
                let _ = nix::unistd::chdir("/");
            }
            Until::MakersEnd => {
                prctl::set_pdeathsig(Signal::SIGKILL).context("set parent-death signal")?;
            }
        }
        if self.hidden {
            prctl::set_dumpable(false).context("set dumpable")?;
        }
        signal::reset()?;
        release_stdio(process)?;
        if let Some(kept) = self.keeps {
            close_all_but(process, kept)?;
        }
        Ok(())
    }
}
