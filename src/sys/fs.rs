//! File-system calls that nix does not wrap.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Makes `to` share all data of `from` (`FICLONE`), where the file system can.
pub fn clone_data(from: impl AsFd, to: impl AsFd) -> nix::Result<()> {
    // SAFETY: FICLONE takes a descriptor as its argument and no pointer.
    let result = unsafe {
        libc::ioctl(
            to.as_fd().as_raw_fd(),
            libc::FICLONE,
            from.as_fd().as_raw_fd(),
        )
    };
    Errno::result(result).map(drop)
}
