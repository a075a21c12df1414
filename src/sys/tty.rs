//! Pseudo-terminals: window sizes, peers and controlling terminals.

use super::error::{Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

pub use libc::winsize as WindowSize;

/// Size of the terminal `fd`.
///
/// # Errors
/// ENOTTY when it is none.
pub fn window_size(fd: impl AsFd) -> Result<WindowSize> {
    let mut size = WindowSize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel fills in a winsize.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(ret).call("ioctl", || "TIOCGWINSZ")?;
    Ok(size)
}

/// Sets the size of the terminal `fd`; its foreground group gets SIGWINCH.
pub fn set_window_size(fd: impl AsFd, size: &WindowSize) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads a winsize.
    let ret = unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
    Errno::result(ret).map(drop).call("ioctl", || "TIOCSWINSZ")
}

/// Unlocks the pseudo-terminal `master` and opens its other side without a
/// path (ioctl_tty(2) `TIOCGPTPEER`), so that no directory of the container
/// is trusted.
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let fd = master.as_fd().as_raw_fd();
    let unlock: libc::c_int = 0;
    // SAFETY: the kernel reads an int.
    let ret = unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlock) };
    Errno::result(ret).call("ioctl", || "TIOCSPTLCK")?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: plain integers; a success is a new descriptor that is ours.
    let ret = unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags) };
    let peer = Errno::result(ret).call("ioctl", || "TIOCGPTPEER")?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(peer) })
}

/// Makes `fd` the controlling terminal of the calling session leader.
pub fn set_controlling(fd: impl AsFd) -> Result<()> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(ret).map(drop).call("ioctl", || "TIOCSCTTY")
}
