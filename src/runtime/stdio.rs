//! What a new process has as descriptors 0 to 2.

use crate::process::open_null;
use crate::sys::clone::NewProcess;
use crate::sys::fd::duplicate_to;
use anyhow::Result;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Standard input, output and error of a process in a container, which gets
/// these in the place of its caller's. Whatever is behind them can be opened
/// anew from inside (`/proc/PID/fd`), with other rights: so they are pipes made
/// for it, or the null device, and nothing that is anybody's outside.
#[derive(Debug, Clone)]
pub struct Stdio(pub [Rc<OwnedFd>; 3]);

impl Stdio {
    /// The null device three times.
    ///
    /// # Errors
    /// There is none.
    pub fn null() -> Result<Stdio> {
        let null = Rc::new(open_null()?);
        Ok(Stdio([null.clone(), null.clone(), null]))
    }

    /// Makes them descriptors 0 to 2 of this process, for good.
    pub(super) fn place(&self, process: &NewProcess) -> Result<()> {
        for (number, fd) in (0..).zip(&self.0) {
            duplicate_to(process, fd, number)?;
        }
        Ok(())
    }
}
