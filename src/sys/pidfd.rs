//! Processes held by descriptor: pidfd_open(2), pidfd_send_signal(2).

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Opens a descriptor of the process `pid`.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(ret).call("pidfd_open", || pid.to_string())?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends signal number `signal` (real-time ones too) to the process.
///
/// # Errors
/// ESRCH when the process has ended.
pub fn kill(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo asks the kernel to fill one in.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(ret)
        .map(drop)
        .call("pidfd_send_signal", || signal.to_string())
}

/// Kills the process; one that has ended already is as good.
///
/// # Errors
/// EPERM for somebody else's; a sandbox that hides the call.
pub fn end(pidfd: impl AsFd) -> Result<()> {
    match kill(pidfd, libc::SIGKILL) {
        Err(e) if e.errno == Errno::ESRCH => Ok(()),
        other => other,
    }
}
