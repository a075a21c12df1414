//! Copying trees: a stack of layers into one plain directory, for machines
//! where overlay cannot be mounted.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, linkat, lseek, mkfifoat, symlinkat};

use super::entry::{join, show};
use super::unpack::DIRECTORY;
use super::view::{Merged, Node, Other, View};
use crate::sys::{fs::clone_data, xattr};

/// Where files with more links were copied to, by device and inode.
type Links = HashMap<(u64, u64), Vec<u8>>;

/// Copies what `lowers` (the topmost first) show together into `dest`, which
/// is made. Modes, modification times, `user.` attributes, hard links and
/// holes are kept; data is shared where the file system can.
pub fn flatten(lowers: &[PathBuf], dest: &Path) -> Result<()> {
    let context = || format!("copy an image to {}", dest.display());
    let view = View::new(lowers)?;
    DirBuilder::new()
        .mode(0o700)
        .create(dest)
        .with_context(context)?;
    let root = OwnedFd::from(File::open(dest).with_context(context)?);
    let mut copying = Copying {
        root: root.try_clone()?,
        links: Links::new(),
    };
    copying
        .directory(&view.root(), &root, b"")
        .with_context(context)
}

struct Copying {
    root: OwnedFd,
    links: Links,
}

impl Copying {
    /// Copies all that a merged directory holds, and then its own attributes.
    fn directory(&mut self, from: &Merged, to: &OwnedFd, path: &[u8]) -> Result<()> {
        for (name, node) in from.children().with_context(|| show(path))? {
            let here = join(path, &name);
            let context = || show(&here);
            match node {
                Node::Directory(below) => {
                    mkdirat(to, &*name, Mode::S_IRWXU).with_context(context)?;
                    let made = openat(to, &*name, DIRECTORY, Mode::empty())?;
                    self.directory(&below, &made, &here)?;
                }
                Node::Other(other) => self.other(&other, to, &here).with_context(context)?,
            }
        }
        let stat = from.layers[0].stat()?;
        xattrs(&*from.layers[0], to)?;
        futimens(to, &TimeSpec::UTIME_OMIT, &mtime(&stat))?;
        fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
        Ok(())
    }

    /// Copies a file, or links it to the copy that was made of its inode.
    fn other(&mut self, other: &Other, to: &OwnedFd, path: &[u8]) -> Result<()> {
        if other.stat.st_nlink > 1 {
            let key = (other.stat.st_dev, other.stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                linkat(&self.root, &**first, to, &*other.name, AtFlags::empty())?;
                return Ok(());
            }
            self.links.insert(key, path.to_vec());
        }
        copy_file(&*other.parent, &other.name, to, &other.name)
    }
}

/// Copies one file that is no directory, with its attributes. Devices do not
/// occur in trees of an ordinary user.
pub(super) fn copy_file(
    from: impl AsFd,
    from_name: &[u8],
    to: impl AsFd,
    name: &[u8],
) -> Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let stat = fstatat(from, from_name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => return regular(&open_to_read(from, from_name, &stat)?, &stat, to, name),
        libc::S_IFLNK => {
            let target = readlinkat(from, from_name)?.into_vec();
            symlinkat(&*target, to, name)?;
        }
        libc::S_IFIFO => {
            let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
            mkfifoat(to, name, mode)?;
            fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        // Sockets have no meaning without their process.
        _ => return Ok(()),
    }
    let flags = UtimensatFlags::NoFollowSymlink;
    utimensat(to, name, &TimeSpec::UTIME_OMIT, &mtime(&stat), flags)?;
    Ok(())
}

/// Opens a file for reading, also one whose mode does not let its owner.
pub(super) fn open_to_read(from: impl AsFd, name: &[u8], stat: &FileStat) -> Result<File> {
    let from = from.as_fd();
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let open = || openat(from, name, flags, Mode::empty());
    let fd = match open() {
        Err(Errno::EACCES) => {
            let mode = |bits| Mode::from_bits_truncate(stat.st_mode & 0o7777 | bits);
            fchmodat(from, name, mode(0o400), FchmodatFlags::FollowSymlink)?;
            let fd = open();
            fchmodat(from, name, mode(0), FchmodatFlags::FollowSymlink)?;
            fd?
        }
        other => other?,
    };
    Ok(fd.into())
}

fn regular(from: &File, stat: &FileStat, to: impl AsFd, name: &[u8]) -> Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    if clone_data(from, &made).is_err() {
        data(from, &made, stat.st_size)?;
    }
    xattrs(from, &made)?;
    fchmod(&made, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    futimens(&made, &TimeSpec::UTIME_OMIT, &mtime(stat))?;
    Ok(())
}

/// Copies the data of a file and leaves its holes.
fn data(mut from: &File, mut to: &File, size: i64) -> Result<()> {
    let mut offset = 0;
    while offset < size {
        let start = match lseek(from, offset, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = lseek(from, start, Whence::SeekHole)?;
        lseek(from, start, Whence::SeekSet)?;
        lseek(to, start, Whence::SeekSet)?;
        // The standard library copies inside the kernel where it can.
        let mut piece = (&mut from).take((end - start) as u64);
        io::copy(&mut piece, &mut to)?;
        offset = end;
    }
    to.flush()?;
    to.set_len(size as u64)?;
    Ok(())
}

/// Copies `user.` attributes, but those by which overlay steers itself.
pub(super) fn xattrs(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    for name in xattr::list(from)? {
        let bytes = name.to_bytes();
        if !bytes.starts_with(b"user.") || bytes.starts_with(b"user.overlay.") {
            continue;
        }
        let Some(value) = xattr::get(from, &name)? else {
            continue;
        };
        match xattr::set(to, &name, &value) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno).with_context(|| format!("set {name:?}")),
        }
    }
    Ok(())
}

/// The names in an open directory.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<CString>> {
    let fd = openat(directory, c".", DIRECTORY, Mode::empty())?;
    let mut listing = Dir::from_fd(fd)?;
    let mut names = Vec::new();
    for item in listing.iter() {
        let name = item?.file_name().to_owned();
        if &*name != c"." && &*name != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn mtime(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}
