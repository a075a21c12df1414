//! What a container's root cannot reach where he is not the user: the user's
//! directories may be closed to all others, and the user is nobody in the
//! container. So they are opened while the process is still the user's.

use super::options::Bind;
use super::plan::{MountSource, Overlay, Plan, RootMount};
use super::rootfs::clone_bind;
use crate::sys::mount;
use anyhow::{Context, Result};
use nix::errno::Errno;
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
    /// Detached mounts of the plan's binds and devices, in its order; none where
    /// a source is gone that may be.
    binds: VecDeque<Option<OwnedFd>>,
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
            // What is gone is found out again, and passed over, when it is mounted.
            let may_be_gone = |error: &anyhow::Error| {
                mount.options.nofail && crate::error::errno(error) == Some(Errno::ENOENT)
            };
            match &mount.source {
                MountSource::Bind(source) => {
                    let tree = match clone_bind(source, &mount.options) {
                        Err(error) if may_be_gone(&error) => None,
                        tree => Some(tree.with_context(what)?),
                    };
                    outside.binds.push_back(tree);
                }
                MountSource::Overlay(overlay) => {
                    outside.open_overlay(overlay).with_context(what)?
                }
                MountSource::New { fstype, .. } if fstype.as_c_str() == c"overlay" => {
                    for (name, value) in &mount.options.parameters {
                        if let (true, Some(path)) = (is_directory(name), value) {
                            match outside.open_directory(path_of(path)) {
                                Err(error) if may_be_gone(&error) => {}
                                opened => opened.with_context(what)?,
                            }
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
        self.binds.pop_front().flatten()
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use nix::sched::{CloneFlags, unshare};
    use serde_json::json;

    #[test]
    fn what_may_be_gone_is_passed_over() {
        let bundle = tempfile::tempdir().unwrap();
        for name in ["rootfs", "upper", "work"] {
            std::fs::create_dir(bundle.path().join(name)).unwrap();
        }
        let at = |name: &str| bundle.path().join(name).display().to_string();
        let open = |word: &str, kind: &str| {
            let options = match kind {
                "bind" => vec!["bind".to_owned(), word.to_owned()],
                _ => vec![
                    format!("lowerdir={}", at("gone")),
                    format!("upperdir={}", at("upper")),
                    format!("workdir={}", at("work")),
                    word.to_owned(),
                ],
            };
            let spec = json!({
                "ociVersion": "1.0.2",
                "root": {"path": "rootfs"},
                "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}},
                "mounts": [{
                    "destination": "/x", "type": kind, "source": at("gone"), "options": options,
                }],
                "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]},
            });
            let spec = serde_json::from_value(spec).unwrap();
            let plan = Plan::new(&spec, bundle.path()).unwrap();
            Outside::open(&plan).map(drop)
        };
        // To clone a mount takes a namespace of one's own.
        let opened = crate::process::in_process(|| {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            for kind in ["bind", "overlay"] {
                open("nofail", kind)?;
                let said = format!("{:#}", open("ro", kind).err().context("no error")?);
                ensure!(said.contains("/gone"), "{said}");
            }
            Ok(())
        });
        opened.unwrap();
    }
}
