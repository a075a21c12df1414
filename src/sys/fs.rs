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

/// Tells a file from all others of its file system, also from those that had
/// its inode number before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Inode number.
    pub inode: u64,
    /// Time of birth, seconds and nanoseconds; 0 where it is not known.
    pub born: (i64, u32),
}

/// The identity of an open file (`O_PATH` suffices): statx(2).
pub fn identity(file: impl AsFd) -> nix::Result<Identity> {
    // SAFETY: plain numbers, for which all zeros are a value.
    let mut data: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL, and the kernel fills in a struct statx.
    let result = unsafe {
        libc::statx(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_INO | libc::STATX_BTIME,
            &raw mut data,
        )
    };
    Errno::result(result)?;
    let born = match data.stx_mask & libc::STATX_BTIME {
        0 => (0, 0),
        _ => (data.stx_btime.tv_sec, data.stx_btime.tv_nsec),
    };
    Ok(Identity {
        inode: data.stx_ino,
        born,
    })
}
