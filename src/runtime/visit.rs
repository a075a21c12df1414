//! A container's file system without the container.

use super::plan::Plan;
use super::rootfs;
use anyhow::Result;
use std::os::fd::OwnedFd;

/// Mounts the root file system of `plan` and what else it has in this process,
/// which must be root in a user and a mount namespace of its own. Returns the
/// root, which nothing is taken out of sight for: paths have to be resolved
/// below it.
pub fn mount(plan: &Plan, warn: &mut dyn FnMut(String)) -> Result<OwnedFd> {
    rootfs::isolate(plan.root_propagation)?;
    let root = rootfs::mount_root(plan, &mut None)?;
    let (mounts, _) = rootfs::gather(plan, &mut None, warn)?;
    rootfs::attach_all(&root, &mounts, false)?;
    if plan.root_readonly {
        rootfs::make_root_readonly(&root)?;
    }
    Ok(root)
}
