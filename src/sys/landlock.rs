//! Landlock: file systems rights that a thread gives up, landlock(7).

use super::error::{Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Rights over files and directories (`LANDLOCK_ACCESS_FS_*`).
pub type Rights = u64;

/// To execute a file.
pub const EXECUTE: Rights = 1;
/// To write to files.
const WRITE_FILE: Rights = 1 << 1;
/// To read files and list directories.
pub const READ: Rights = 0b11 << 2;
/// To remove and to make whatever there is in directories.
const CHANGE: Rights = 0x1ff << 4;
/// To link and rename from one directory to another (version 2).
const REFER: Rights = 1 << 13;
/// To cut files (version 3).
const TRUNCATE: Rights = 1 << 14;
/// All that changes files and directories.
pub const WRITE: Rights = WRITE_FILE | CHANGE | REFER | TRUNCATE;

const RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// Rights that are given up but for certain directories.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    handled: Rights,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The version of the kernel's interface; None without it.
pub fn version() -> Option<u32> {
    let null = std::ptr::null::<u64>();
    // SAFETY: with this flag the kernel reads nothing.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, null, 0, RULESET_VERSION) };
    u32::try_from(ret).ok()
}

impl Ruleset {
    /// Gives `rights` up; None where the kernel cannot. Its first version
    /// would refuse all links from one directory to another, and is left
    /// alone.
    ///
    /// # Errors
    /// Of memory and descriptors only.
    pub fn new(rights: Rights) -> Result<Option<Ruleset>> {
        let handled = match version() {
            None | Some(1) => return Ok(None),
            Some(2) => rights & !TRUNCATE,
            Some(_) => rights,
        };
        // SAFETY: the kernel reads one u64, the first member of its struct.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const handled,
                size_of::<u64>(),
                0,
            )
        };
        let fd = Errno::result(ret).call("landlock_create_ruleset", || format!("{handled:#x}"))?;
        // SAFETY: the kernel returned a new descriptor that is ours.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Some(Ruleset { fd, handled }))
    }

    /// Leaves those rights over `directory` and all below it.
    ///
    /// # Errors
    /// EBADFD for a file system that only the kernel uses.
    pub fn allow(&self, directory: impl AsFd, rights: Rights) -> Result<()> {
        let parent = directory.as_fd();
        let rule = PathBeneath {
            allowed_access: rights & self.handled,
            parent_fd: parent.as_raw_fd(),
        };
        // SAFETY: the kernel reads a landlock_path_beneath_attr.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        let what = || format!("{:#x}", rights & self.handled);
        Errno::result(ret).map(drop).call("landlock_add_rule", what)
    }

    /// From here on it is in force for the calling thread, and for what that
    /// starts. The thread must have no_new_privs, or CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// EPERM without either; E2BIG with 16 of them in force.
    pub fn enforce(self) -> Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: two plain numbers.
        let ret = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, 0) };
        Errno::result(ret)
            .map(drop)
            .call("landlock_restrict_self", || "a ruleset")
    }
}
