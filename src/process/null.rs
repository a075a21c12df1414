//! The null device in the place of streams.

use crate::sys::clone::NewProcess;
use crate::sys::fd::duplicate_to;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// Opens `/dev/null` for reading and writing.
pub fn open_null() -> Result<OwnedFd> {
    nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .context("/dev/null")
}

/// Points descriptors 0 to 2 at the null device, so that nobody waits for this
/// process to close a pipe of theirs.
pub fn release_stdio(process: &NewProcess) -> Result<()> {
    let null = open_null()?;
    for number in 0..3 {
        duplicate_to(process, &null, number)?;
    }
    Ok(())
}
