//! What a container's root cannot reach where he is not the user: the user's
//! directories may be closed to all others, and the user is nobody in the
//! container. So they are opened while the process is still the user's.

use super::options::Bind;
use super::plan::{MountSource, Overlay, Plan, RootMount};
use super::rootfs::clone_bind;
use crate::sys::mount;
use anyhow::{Context, Result};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setresgid, setresuid};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What was opened.
#[derive(Debug, Default)]
pub struct Outside {
    directories: BTreeMap<PathBuf, OwnedFd>,
    root: Option<OwnedFd>,
    /// Detached mounts of the plan's binds and devices, in its order.
    binds: VecDeque<OwnedFd>,
    devices: VecDeque<OwnedFd>,
}

impl Outside {
    /// Opens all that `plan` names.
    ///
    /// # Errors
    /// It is not there, or not the user's to see.
    pub fn open(plan: &Plan) -> Result<Outside> {
        let mut outside = Outside::default();
        outside.open_directory(&plan.root)?;
        match &plan.root_mount {
            Some(RootMount::Overlay(overlay)) => outside.open_overlay(overlay)?,
            Some(RootMount::Bind { source, options }) => {
                let recursive = options.bind != Some(Bind::Single);
                outside.root = Some(mount::clone_tree(AT_FDCWD, source, recursive)?);
            }
            None => {
                let root = outside.directory(&plan.root)?;
                outside.root = Some(mount::clone_tree(root, c"", true)?);
            }
        }
        for mount in &plan.mounts {
            let what = || format!("/{}", mount.destination.display());
            match &mount.source {
                MountSource::Bind(source) => {
                    let tree = clone_bind(source, &mount.options).with_context(what)?;
                    outside.binds.push_back(tree);
                }
                MountSource::Overlay(overlay) => {
                    outside.open_overlay(overlay).with_context(what)?
                }
                MountSource::New { fstype, .. } if fstype.as_c_str() == c"overlay" => {
                    for (name, value) in &mount.options.parameters {
                        if let (true, Some(path)) = (is_directory(name), value) {
                            outside.open_directory(path_of(path)).with_context(what)?;
                        }
                    }
                }
                MountSource::New { .. } => {}
            }
        }
        for device in &plan.devices {
            let tree = mount::clone_tree(AT_FDCWD, &device.source, false)
                .with_context(|| format!("device {}", device.source.to_string_lossy()))?;
            outside.devices.push_back(tree);
        }
        Ok(outside)
    }

    fn open_overlay(&mut self, overlay: &Overlay) -> Result<()> {
        // In memory both are made later; the first is like this one.
        let work = overlay.work.iter().filter(|_| !overlay.in_memory);
        let changes = overlay.upper.iter().chain(work);
        overlay
            .lower
            .iter()
            .chain(changes)
            .try_for_each(|path| self.open_directory(path))
    }

    fn open_directory(&mut self, path: &Path) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::open(path, flags, Mode::empty());
        self.add(path, directory.with_context(|| path.display().to_string())?);
        Ok(())
    }

    /// Adds a directory.
    pub fn add(&mut self, path: &Path, directory: OwnedFd) {
        self.directories.insert(path.to_owned(), directory);
    }

    /// A directory of the plan.
    pub fn directory(&self, path: &Path) -> Result<BorrowedFd<'_>> {
        let found = self.directories.get(path).map(AsFd::as_fd);
        found.with_context(|| format!("{} was not opened", path.display()))
    }

    /// The value of a mount option as it is to be said in `/proc/self/fd`.
    pub fn value(&self, name: &CStr, value: &CStr) -> CString {
        let directory = is_directory(name).then(|| self.directories.get(path_of(value)));
        let number = directory.flatten().map(|fd| fd.as_raw_fd().to_string());
        number
            .and_then(|number| CString::new(number).ok())
            .unwrap_or_else(|| value.to_owned())
    }

    /// The root, where it is a bind.
    pub fn take_root(&mut self) -> Option<OwnedFd> {
        self.root.take()
    }

    /// The next bind.
    pub fn take_bind(&mut self) -> Option<OwnedFd> {
        self.binds.pop_front()
    }

    /// The next device.
    pub fn take_device(&mut self) -> Option<OwnedFd> {
        self.devices.pop_front()
    }
}

/// Whether an option of an overlay names a directory.
fn is_directory(name: &CStr) -> bool {
    [c"lowerdir", c"upperdir", c"workdir"].contains(&name)
}

fn path_of(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// Makes this process the container's root, who has all capabilities there.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).context("become root's group")?;
    setresuid(uid, uid, uid).context("become the container's root")?;
    // Where what was opened has paths.
    nix::unistd::chdir("/proc/self/fd").context("/proc/self/fd")
}
