//! Mount attributes without mount_setattr(2), where a sandbox hides it: by
//! remounting what is attached already, one mount after
//! the other, with the flags that each has.

use super::options::MountOptions;
use crate::sys::fd::open_in_root;
use crate::sys::mount::attr;
use crate::sys::mountinfo;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Applies the attributes of `options` to the mount `tree` at `destination`
/// below `root`, and what goes for all mounts below it to those.
///
/// # Errors
/// No proc file system is mounted in the container, or the kernel refuses.
pub fn apply(
    root: &OwnedFd,
    tree: &OwnedFd,
    destination: &Path,
    options: &MountOptions,
) -> Result<()> {
    let (all, own) = (options.all, options.own);
    add(tree.as_fd(), all.set | own.set, all.clear | own.clear)?;
    if let Some((kind, recursive)) = options.propagation {
        let mut flags = MsFlags::from_bits_truncate(kind);
        flags.set(MsFlags::MS_REC, recursive);
        mount(tree.as_fd(), flags).context("propagation")?;
    }
    if all.is_empty() {
        return Ok(());
    }
    for point in points_below(destination)? {
        let what = || format!("/{}", point.display());
        let below = match open_in_root(root, &point, OFlag::O_PATH) {
            // Another mount lies over it: nobody gets there.
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => continue,
            other => other.with_context(what)?,
        };
        add(below.as_fd(), all.set, all.clear).with_context(what)?;
    }
    Ok(())
}

/// Adds and removes attributes of one attached mount ([`attr`]).
pub fn add(mounted: BorrowedFd<'_>, set: u64, clear: u64) -> Result<()> {
    let now = fstatvfs(mounted).context("statvfs")?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    for (attribute, has, flag) in [
        (attr::RDONLY, FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (attr::NOSUID, FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (attr::NODEV, FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (attr::NOEXEC, FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (attr::NOATIME, FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (
            attr::NODIRATIME,
            FsFlags::ST_NODIRATIME,
            MsFlags::MS_NODIRATIME,
        ),
    ] {
        let kept = now.contains(has) && clear & attribute == 0;
        flags.set(flag, kept || set & attribute != 0);
    }
    // Without any of them the setting stays.
    let atime = set & attr::STRICTATIME != 0;
    flags.set(MsFlags::MS_STRICTATIME, atime);
    let relative = clear & attr::ATIME != 0 && set & attr::ATIME == 0;
    flags.set(MsFlags::MS_RELATIME, relative);
    if set & attr::NOSYMFOLLOW != 0 {
        flags |= MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
    }
    mount(mounted, flags).context("remount")
}

fn mount(mounted: BorrowedFd<'_>, flags: MsFlags) -> Result<()> {
    let path = format!("/proc/self/fd/{}", mounted.as_raw_fd());
    nix::mount::mount(
        None::<&str>,
        path.as_str(),
        None::<&str>,
        flags,
        None::<&str>,
    )
    .with_context(|| path.clone())
}

/// Where an attached mount is, relative to the root.
pub fn path_of(mounted: BorrowedFd<'_>) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", mounted.as_raw_fd());
    let path = std::fs::read_link(&link).context(link)?;
    Ok(path.strip_prefix("/").map(PathBuf::from).unwrap_or(path))
}

/// Mount points below `destination`, relative to the root, from
/// proc_pid_mountinfo(5).
fn points_below(destination: &Path) -> Result<Vec<PathBuf>> {
    let file = std::fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let points = mountinfo::parse(&file).into_iter().map(|mount| mount.point);
    let points = points.map(|p| p.strip_prefix("/").map(PathBuf::from).unwrap_or(p));
    let below = points.filter(|p| p != destination && p.starts_with(destination));
    Ok(below.collect())
}
