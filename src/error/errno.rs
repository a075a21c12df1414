//! What the kernel said.

use crate::sys;
use anyhow::Error;
use nix::errno::Errno;

/// The number of the system call that failed, wherever it stands among the
/// causes.
pub fn errno(error: &Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let io = io.and_then(std::io::Error::raw_os_error);
        let call = cause.downcast_ref::<sys::Error>().map(|e| e.errno);
        io.map(Errno::from_raw)
            .or(call)
            .or_else(|| cause.downcast_ref().copied())
    })
}
