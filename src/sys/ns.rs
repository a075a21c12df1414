//! Questions about namespaces: ioctl_nsfs(2).

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// Opens a namespace by its file, as `/proc/self/ns/user`.
pub fn open_file(path: &str) -> Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).call("open", || path)
}

/// The number of the machine's own user namespace (the kernel's
/// `PROC_USER_INIT_INO`).
const INITIAL_USER: u64 = 0xeffffffd;

/// Whether this process is in the machine's own user namespace. False where it
/// cannot be seen.
pub fn is_in_initial_user() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|file| file.ino() == INITIAL_USER)
}

/// The user namespace in which this one was made.
///
/// # Errors
/// EPERM when that is out of the caller's sight.
pub fn parent(user_namespace: impl AsFd) -> Result<OwnedFd> {
    let fd = user_namespace.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument.
    let ret = unsafe { libc::ioctl(fd, NS_GET_PARENT) };
    let fd = Errno::result(ret).call("ioctl", || "NS_GET_PARENT")?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What kind of namespace a descriptor is: one of `CLONE_NEW*`.
///
/// # Errors
/// ENOTTY for what is none.
pub fn kind(namespace: impl AsFd) -> Result<i32> {
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument.
    let ret = unsafe { libc::ioctl(fd, NS_GET_NSTYPE) };
    Errno::result(ret).call("ioctl", || "NS_GET_NSTYPE")
}

/// The user namespace that owns a namespace of another kind.
///
/// # Errors
/// EPERM when that is out of the caller's sight.
pub fn owning(namespace: impl AsFd) -> Result<OwnedFd> {
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument.
    let ret = unsafe { libc::ioctl(fd, NS_GET_USERNS) };
    let fd = Errno::result(ret).call("ioctl", || "NS_GET_USERNS")?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user id of who made this user namespace.
pub fn owner(user_namespace: impl AsFd) -> Result<u32> {
    let mut uid: libc::uid_t = u32::MAX;
    let fd = user_namespace.as_fd().as_raw_fd();
    // SAFETY: this request writes one uid_t to its argument.
    let ret = unsafe { libc::ioctl(fd, NS_GET_OWNER_UID, &raw mut uid) };
    Errno::result(ret).call("ioctl", || "NS_GET_OWNER_UID")?;
    Ok(uid)
}

/// Whether both are the same namespace.
pub fn same(a: impl AsFd, b: impl AsFd) -> Result<bool> {
    let identity = |fd: &dyn AsFd| {
        let stat = fstat(fd.as_fd()).call("fstat", || "namespace")?;
        Ok((stat.st_dev, stat.st_ino))
    };
    Ok(identity(&a)? == identity(&b)?)
}
