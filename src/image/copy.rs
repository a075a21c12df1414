//! Copying trees: a stack of layers into one plain directory, for machines
//! where overlay cannot be mounted.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::ops::Deref;
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
use nix::unistd::{Gid, Uid, Whence, fchownat, geteuid, linkat, lseek, mkfifoat, symlinkat};

use super::entry::{join, show};
use super::layer::About;
use super::owners::Owners;
use super::record::{Records, Stat, escape};
use super::unpack::DIRECTORY;
use super::view::{LayerDir, Merged, Node, Other, View};
use crate::sys::fs::{clone_data, open_shut};
use crate::sys::xattr;

/// Where files with more links were copied to, by device and inode.
type Links = HashMap<(u64, u64), Vec<u8>>;

/// Copies what `lowers` (the topmost first) show together into `dest`, which
/// is made. Modes, modification times, `user.` attributes, hard links and
/// holes are kept; data is shared where the file system can. Recorded owners of
/// links and pipes, which stand beside the layers, go to `owners`.
pub fn flatten(lowers: &[PathBuf], dest: &Path, owners: &mut Owners) -> Result<()> {
    let context = || format!("copy an image to {}", dest.display());
    let view = View::new(lowers)?;
    let records = lowers.iter().map(|tree| About::records_beside(tree));
    let records = records.collect::<Result<Vec<_>>>().with_context(context)?;
    copy(&view.root(), dest, Some((records, owners))).with_context(context)
}

/// Copies a directory to `dest`, which is made.
fn copy(from: &Merged, dest: &Path, owners: Option<Recorded>) -> Result<()> {
    DirBuilder::new().mode(0o700).create(dest)?;
    let root = OwnedFd::from(File::open(dest)?);
    let mut copying = Copying {
        root: root.try_clone()?,
        links: Links::new(),
        owners,
    };
    copying.directory(from, &root, b"")
}

/// Copies the directory that `lowers` (the topmost first) show at `path`, links
/// followed, to `dest`, which is made, as [`flatten`] does, but for owners that
/// stand beside the layers. False if there is no such directory.
pub fn copy_directory(lowers: &[PathBuf], path: &[u8], dest: &Path) -> Result<bool> {
    let context = || format!("copy {} of an image to {}", show(path), dest.display());
    let Some(Node::Directory(from)) = View::new(lowers)?.find(path).with_context(context)? else {
        return Ok(false);
    };
    copy(&from, dest, None).with_context(context)?;
    Ok(true)
}

/// Gives the empty directory `to` what the root of the tree `layer` has:
/// owner, `user.` attributes, time and mode.
pub fn copy_root(layer: &Path, to: &Path) -> Result<()> {
    let context = || format!("the root directory, {}", to.display());
    let view = View::new(&[layer.to_owned()])?;
    let to = OwnedFd::from(File::open(to).with_context(context)?);
    resemble(view.root().deciding(), &to).with_context(context)
}

/// Makes a copy of a directory what the original is.
fn resemble(from: &LayerDir, to: &OwnedFd) -> Result<()> {
    let stat = from.stat()?;
    own(to, None, &stat)?;
    xattrs(from, to)?;
    futimens(to, &TimeSpec::UTIME_OMIT, &mtime(&stat))?;
    fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    Ok(())
}

/// Gives a file or a whole tree to an owner; links are not followed.
pub fn chown_tree(path: &Path, uid: u32, gid: u32) -> Result<()> {
    fn below(directory: &OwnedFd, uid: Uid, gid: Gid) -> Result<()> {
        for name in names(directory)? {
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(directory, &*name, Some(uid), Some(gid), flags)?;
            if let Ok(inner) = openat(directory, &*name, DIRECTORY, Mode::empty()) {
                below(&inner, uid, gid).with_context(|| show(name.to_bytes()))?;
            }
        }
        Ok(())
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    match path.symlink_metadata()?.is_dir() {
        true => {
            let top = OwnedFd::from(File::open(path)?);
            below(&top, Uid::from_raw(uid), Gid::from_raw(gid))
        }
        false => Ok(()),
    }
}

/// What is recorded beside each layer, and where it is to be recorded anew.
type Recorded<'a> = (Vec<Records>, &'a mut Owners);

struct Copying<'a> {
    root: OwnedFd,
    links: Links,
    owners: Option<Recorded<'a>>,
}

impl Copying<'_> {
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
        resemble(from.deciding(), to)
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
        copy_file(&*other.parent, &other.name, to, &other.name)?;
        let Some((records, owners)) = &mut self.owners else {
            return Ok(());
        };
        let record = records[other.parent.layer].get(&escape(path));
        if let Some(stat) = record.and_then(|record| record.stat.as_ref()) {
            let stat: Stat = stat.parse()?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let made = openat(to, &*other.name, flags, Mode::empty())?;
            owners.record(made, stat).context("record the owner")?;
        }
        Ok(())
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
        libc::S_IFREG => {
            let source = Opened::new(from, from_name, &stat)?;
            return regular(&source, &stat, to, name);
        }
        libc::S_IFLNK => {
            let target = readlinkat(from, from_name)?.into_vec();
            symlinkat(&*target, to, name)?;
            own(to, Some(name), &stat)?;
        }
        libc::S_IFIFO => {
            let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
            mkfifoat(to, name, mode)?;
            own(to, Some(name), &stat)?;
            fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        // Sockets have no meaning without their process.
        _ => return Ok(()),
    }
    let flags = UtimensatFlags::NoFollowSymlink;
    utimensat(to, name, &TimeSpec::UTIME_OMIT, &mtime(&stat), flags)?;
    Ok(())
}

/// A file that is open for reading. One whose mode shuts out its owner is
/// opened up for as long as it is in use: its attributes are read by its mode
/// at that time, not by that when it was opened.
pub(super) struct Opened {
    file: File,
    shut: Option<Mode>,
}

impl Opened {
    /// Opens file `name`, which has the status `stat`; ESTALE if that is
    /// something else by now.
    pub fn new(from: impl AsFd, name: &[u8], stat: &FileStat) -> Result<Opened> {
        let (fd, shut) = open_shut(from, name, stat, Mode::S_IRUSR)?;
        let file = fd.into();
        Ok(Opened { file, shut })
    }
}

impl Deref for Opened {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(mode) = self.shut {
            let _ = fchmod(&self.file, mode);
        }
    }
}

fn regular(from: &File, stat: &FileStat, to: impl AsFd, name: &[u8]) -> Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    if clone_data(from, &made).is_err() {
        data(from, &made, stat.st_size)?;
    }
    own(&made, None, stat)?;
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

/// Gives a copy the owner of the original, where the kernel lets this process
/// give files away: as root of a user namespace whose files have true owners.
/// Before the mode is set, which a change of owner may cut.
pub(super) fn own(to: impl AsFd, name: Option<&[u8]>, stat: &FileStat) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    let name = name.unwrap_or_default();
    fchownat(to, name, Some(uid), Some(gid), flags).context("set owner")
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::budget::Budget;
    use super::super::export::export;
    use super::super::record::OVERRIDE_STAT;
    use super::super::tarball::{Members, Stream};
    use super::super::tarwrite::TarWriter;
    use super::super::testing::{Member, Tar};
    use super::super::unpack::unpack;
    use super::*;

    #[test]
    fn files_that_shut_out_their_owner_keep_mode_and_record() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("fs");
        fs::create_dir(&tree).unwrap();
        let tar = Tar::new().member(Member {
            name: b"shut",
            mode: 0,
            uid: 42,
            data: b"secret",
            ..Member::default()
        });
        let mut unpacked = unpack(&tar.finish()[..], &tree, None, Budget::default()).unwrap();
        unpacked.seal(&tree).unwrap();

        let copy = dir.path().join("copy");
        flatten(
            std::slice::from_ref(&tree),
            &copy,
            &mut Owners::new(dir.path()),
        )
        .unwrap();
        for file in [tree.join("shut"), copy.join("shut")] {
            let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(&file), 0, "{}", file.display());
            fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"secret");
            let record = xattr::get(File::open(&file).unwrap(), OVERRIDE_STAT).unwrap();
            assert_eq!(record.as_deref(), Some(&b"42:0:0000:file"[..]));
            fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
        }

        let bytes = export(&[copy], None, None, TarWriter::sparse(Vec::new())).unwrap();
        let mut members = Members::new(Stream(&bytes[..]), Budget::default());
        members.next().unwrap().unwrap();
        let shut = members.next().unwrap().unwrap();
        assert_eq!((shut.meta.uid, shut.meta.mode, shut.size), (42, 0, 6));
    }
}
