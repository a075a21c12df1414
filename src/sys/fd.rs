//! Descriptors: marking them close-on-exec, and opening paths that stay
//! inside a root.

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Marks every descriptor from `first` up as close-on-exec: close_range(2)
/// with `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: closes nothing now, only sets a flag on descriptors.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(ret)
        .map(drop)
        .call("close_range", || format!("{first}.."))
}

/// Opens `path` as if `root` were the root directory: `..`, absolute paths
/// and symbolic links cannot leave it, magic links are refused
/// (openat2(2), `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`).
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&root, path, how).call("openat2", || path.display().to_string())
}

/// As [`open_in_root`] with `O_CREAT` and the given mode.
pub fn create_in_root(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_CREAT)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&root, path, how).call("openat2", || path.display().to_string())
}

/// Makes descriptor number `number` a duplicate of `fd` that is not
/// close-on-exec: dup2(2). What was open there is closed; this is for the
/// last steps before execve.
pub fn duplicate_to(fd: impl AsFd, number: i32) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    if fd == number {
        // SAFETY: plain integers; dup2 would leave the flag as it is.
        let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        return Errno::result(ret).map(drop).call("fcntl", || "F_SETFD");
    }
    // SAFETY: the caller starts a new program and owns no descriptor there.
    let ret = unsafe { libc::dup2(fd, number) };
    Errno::result(ret)
        .map(drop)
        .call("dup2", || number.to_string())
}

/// A close-on-exec duplicate of `fd` with a number of at least `lowest`.
pub fn duplicate_from(fd: impl AsFd, lowest: i32) -> Result<OwnedFd> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    let fd = Errno::result(ret).call("fcntl", || "F_DUPFD_CLOEXEC")?;
    // SAFETY: a new descriptor that is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` up, whoever owns it: for a process
/// that keeps nothing of what it was cloned from.
pub fn close_all_from(first: u32) -> Result<()> {
    // SAFETY: the caller uses no descriptor it had before.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    Errno::result(ret)
        .map(drop)
        .call("close_range", || format!("{first}.."))
}

/// Writes `data` to the existing file `path` with one write(2), as files of
/// `/proc` want it.
pub fn write_file(path: &str, data: &[u8]) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).call("open", || path)?;
    nix::unistd::write(&file, data)
        .map(drop)
        .call("write", || path)
}
