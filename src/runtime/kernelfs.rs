//! On what of the kernel's own file systems something may be mounted.
//!
//! In `/proc` a mount takes from the container's programs, and from who looks
//! after them, what the kernel says of processes, and a link in an image may
//! lead there. So the place itself is looked at, once it is open.

use super::rootfs::is_directory;
use crate::error::{demand, refuse};
use crate::sys::fd::open_in_root;
use crate::sys::fs::is_same;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Files below `/proc` that say how the machine is: who shows a container
/// another machine (lxcfs) mounts on these. The list is runc's.
const FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// `SYSFS_MAGIC` (`linux/magic.h`).
const SYSFS: FsType = FsType(0x6265_6572);
/// The inode of a proc file system's root (`PROC_ROOT_INO`).
const PROC_ROOT: u64 = 1;

/// Refuses to mount `tree` on the open `target` inside `root`, which
/// `destination` led to, if it is a place where nothing belongs.
pub fn check(root: &OwnedFd, target: &OwnedFd, destination: &Path, tree: impl AsFd) -> Result<()> {
    let kind = fstatfs(target).context("statfs")?.filesystem_type();
    if kind == SYSFS && !destination.starts_with("sys") {
        refuse!(
            Invalid,
            "a link leads from there into /sys: name the place itself as the target"
        );
    }
    let place = fstat(target).context("fstat")?;
    let is_root = kind == PROC_SUPER_MAGIC && place.st_ino == PROC_ROOT && is_directory(target)?;
    // Where the user mounts there, nothing was mounted before.
    if is_root || destination == Path::new("proc") {
        let tree = fstatfs(&tree).context("statfs")?.filesystem_type();
        demand!(
            Invalid,
            tree == PROC_SUPER_MAGIC,
            "nothing but a proc file system may be mounted on /proc itself"
        );
        return Ok(());
    }
    if kind != PROC_SUPER_MAGIC {
        return Ok(());
    }
    for file in FILES {
        let path = Path::new("proc").join(file);
        if let Ok(allowed) = open_in_root(root, &path, OFlag::O_PATH)
            && is_same(&allowed, &place)?
        {
            return Ok(());
        }
    }
    refuse!(Invalid, "{}", refusal())
}

/// Whether what is at `target` is shown by the kernel, and no data of the
/// image's that could be copied.
pub fn is_shown(target: &OwnedFd) -> Result<bool> {
    let kind = fstatfs(target).context("statfs")?.filesystem_type();
    Ok(kind == SYSFS || kind == PROC_SUPER_MAGIC)
}

/// What to say of a place that cannot be made: `why`, unless it would be in
/// `/proc`.
pub fn explain(root: &OwnedFd, destination: &Path, why: anyhow::Error) -> anyhow::Error {
    let flags = OFlag::O_PATH;
    let mut above = destination.ancestors().skip(1);
    let there = above.find_map(|path| open_in_root(root, path, flags).ok());
    let kind = there.and_then(|fd| fstatfs(&fd).ok().map(|fs| fs.filesystem_type()));
    match kind {
        Some(PROC_SUPER_MAGIC) => why.context(refusal()),
        Some(SYSFS) => why.context("there is no such place in /sys, and none can be made"),
        _ => why,
    }
}

fn refusal() -> String {
    format!(
        "it is in /proc, where nothing may be mounted but on {}",
        FILES.join(", ")
    )
}
