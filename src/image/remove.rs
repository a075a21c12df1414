//! Removing trees, whatever their modes.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How a directory is opened for listing: never through a link.
const OPEN: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Removes a file or a whole tree. What is not there counts as removed.
/// Directories without permissions are opened up first; links are removed, not
/// followed; another file system mounted inside is an error.
pub fn remove_tree(path: &Path) -> Result<()> {
    let context = || format!("remove {}", path.display());
    match remove(AT_FDCWD, path) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)).with_context(context),
    }
}

/// Removes what `name` is in the directory `parent`.
pub fn remove<P: ?Sized + nix::NixPath>(parent: impl AsFd, name: &P) -> nix::Result<()> {
    let parent = parent.as_fd();
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        other => return other,
    }
    let device = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_dev;
    empty(open_up(parent, name)?, device)?;
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// A directory on the way down, with what is still to be removed in it.
struct Level {
    fd: OwnedFd,
    /// Its name in the level above.
    name: Box<CStr>,
    subdirectories: Vec<Box<CStr>>,
}

/// Most levels that are open at once.
const MAX_LEVELS: usize = 200;

/// Empties a directory without recursion. Each level holds a descriptor; what
/// lies deeper than [`MAX_LEVELS`] is first moved up to the top.
fn empty(top: OwnedFd, device: nix::libc::dev_t) -> nix::Result<()> {
    let subdirectories = clear_files(&top, device)?;
    let mut levels = vec![Level {
        fd: top,
        name: c"".into(),
        subdirectories,
    }];
    let mut moved = 0;
    while let Some(level) = levels.last_mut() {
        match level.subdirectories.pop() {
            Some(name) => {
                let fd = open_up(level.fd.as_fd(), &*name)?;
                if levels.len() >= MAX_LEVELS {
                    move_up(&mut levels, &name, &mut moved)?;
                    continue;
                }
                let subdirectories = clear_files(&fd, device)?;
                levels.push(Level {
                    fd,
                    name,
                    subdirectories,
                });
            }
            None => {
                let done = levels.pop().expect("the loop's condition");
                if let Some(above) = levels.last() {
                    unlinkat(&above.fd, &*done.name, UnlinkatFlags::RemoveDir)?;
                }
            }
        }
    }
    Ok(())
}

/// Moves directory `name` of the lowest level to the top level. `moved` counts
/// the names that were tried there.
fn move_up(levels: &mut [Level], name: &CStr, moved: &mut u64) -> nix::Result<()> {
    let (top, rest) = levels.split_first_mut().expect("there is a lowest level");
    let from = &rest.last().expect("more than one level").fd;
    loop {
        let to = CString::new(format!("deep{moved}")).expect("no NUL in it");
        *moved += 1;
        if top.subdirectories.iter().any(|taken| **taken == *to) {
            continue;
        }
        // Of what else is there it replaces an empty directory at most
        // (rename(2)), and all of it is to go.
        match renameat(from, name, &top.fd, &*to) {
            Ok(()) => {
                top.subdirectories.push(to.into());
                return Ok(());
            }
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes everything in a directory but its subdirectories, which it returns.
fn clear_files(fd: &OwnedFd, device: nix::libc::dev_t) -> nix::Result<Vec<Box<CStr>>> {
    let stat: FileStat = fstat(fd)?;
    if stat.st_dev != device {
        return Err(Errno::EXDEV);
    }
    if stat.st_mode & 0o700 != 0o700 {
        fchmod(fd, Mode::S_IRWXU)?;
    }
    let mut subdirectories = Vec::new();
    let mut listing = Dir::from_fd(fd.try_clone().map_err(|_| Errno::last())?)?;
    for item in listing.iter() {
        let item = item?;
        let name = item.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_directory = match item.file_type() {
            Some(kind) => kind == nix::dir::Type::Directory,
            None => false,
        };
        if !is_directory {
            match unlinkat(fd, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        subdirectories.push(name.into());
    }
    Ok(subdirectories)
}

/// Opens a directory, giving its owner all permissions if that is what lacks.
fn open_up<P: ?Sized + nix::NixPath>(parent: BorrowedFd, name: &P) -> nix::Result<OwnedFd> {
    match openat(parent, name, OPEN, Mode::empty()) {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            openat(parent, name, OPEN, Mode::empty())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn depth_does_not_use_up_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("d/".repeat(1500))).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn closed_directories_go_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        for path in ["a/b/c", "a/b", "a"] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o0)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
        remove_tree(&tree).unwrap();
    }
}
