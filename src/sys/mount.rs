//! The file-descriptor based mount API (Linux 5.2, mount_setattr 5.12), which
//! neither nix nor libc wraps, and pivot_root.

use super::error::{Context, Result};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Mount attributes, `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-id bits and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No access to device nodes.
    pub const NODEV: u64 = 0x4;
    /// No execution.
    pub const NOEXEC: u64 = 0x8;
    /// The bits of the access-time setting; clear them before setting one.
    pub const ATIME: u64 = 0x70;
    /// Update access times as relatime (the zero value of [`ATIME`]).
    pub const RELATIME: u64 = 0x0;
    /// Never update access times.
    pub const NOATIME: u64 = 0x10;
    /// Always update access times.
    pub const STRICTATIME: u64 = 0x20;
    /// Do not update access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Do not follow symbolic links.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set, [`attr`].
    pub set: u64,
    /// Attributes to clear, [`attr`].
    pub clear: u64,
    /// Propagation type (`MS_SHARED`, …), or zero to leave it.
    pub propagation: u64,
    /// Descriptor of a user namespace for an id-mapped mount.
    pub userns_fd: u64,
}

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const AT_RECURSIVE: u32 = 0x8000;

fn descriptor(ret: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(ret)?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A file system being configured: fsopen(2).
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    fstype: String,
}

impl FsContext {
    /// Starts to configure a new instance of `fstype`.
    pub fn open(fstype: &CStr) -> Result<Self> {
        // SAFETY: `fstype` is a NUL-terminated string.
        let ret = unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) };
        let name = fstype.to_string_lossy().into_owned();
        let fd = descriptor(ret).call("fsopen", || name.clone())?;
        Ok(FsContext { fd, fstype: name })
    }

    fn config(&self, cmd: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
        let key_ptr = key.map_or(std::ptr::null(), CStr::as_ptr);
        let value_ptr = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the pointers are null or NUL-terminated strings that
        // outlive the call.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                cmd,
                key_ptr,
                value_ptr,
                0,
            )
        };
        Errno::result(ret).map(drop).call("fsconfig", || {
            let show = |s: Option<&CStr>| s.map(|s| s.to_string_lossy().into_owned());
            match (show(key), show(value)) {
                (Some(k), Some(v)) => format!("{}, {k}={v}", self.fstype),
                (Some(k), None) => format!("{}, {k}", self.fstype),
                _ => self.fstype.clone(),
            }
        })
    }

    /// Sets a parameter; one without a value is a flag.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> Result<()> {
        let cmd = match value {
            Some(_) => FSCONFIG_SET_STRING,
            None => FSCONFIG_SET_FLAG,
        };
        self.config(cmd, Some(key), value)
    }

    /// Creates the file system and returns its root as a detached mount with
    /// `attributes` ([`attr`]).
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: plain integers.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.fd.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes,
            )
        };
        descriptor(ret).call("fsmount", || self.fstype.clone())
    }
}

/// Clones the mount at `path` (relative to `dir`; empty for `dir` itself) as
/// a detached mount, with all mounts below it if `recursive`: open_tree(2).
pub fn clone_tree(dir: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: `path` is NUL-terminated, the descriptor is borrowed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            dir.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    };
    descriptor(ret).call("open_tree", || path.to_string_lossy())
}

/// Attaches the detached mount `tree` on the file or directory `target`:
/// move_mount(2). `name` is how an error calls the target.
pub fn attach(tree: impl AsFd, target: impl AsFd, name: &str) -> Result<()> {
    // SAFETY: both descriptors are borrowed, both paths the empty string.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(ret).map(drop).call("move_mount", || name)
}

/// Changes attributes of the mount `fd`, and of all below it if `recursive`:
/// mount_setattr(2).
///
/// # Errors
/// ENOSYS before Linux 5.12; EPERM for an attribute that the kernel locked
/// when the mount came from a more privileged namespace.
pub fn set_attributes(fd: impl AsFd, attributes: &MountAttr, recursive: bool) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: `attributes` is a repr(C) struct valid for its size.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<MountAttr>(),
        )
    };
    Errno::result(ret).map(drop).call("mount_setattr", || {
        format!("set {:#x}, clear {:#x}", attributes.set, attributes.clear)
    })
}
