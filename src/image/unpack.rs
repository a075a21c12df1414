//! Applying a layer's tar to an empty directory of its own.
//!
//! The directory becomes one layer of an overlay mounted with `userxattr`:
//! whiteouts become character devices 0/0 and opaque directories get the
//! attribute `user.overlay.opaque`.
//!
//! **Nothing leaves the directory.** Each path is walked from the layer's root
//! one component at a time, by descriptor, with `O_NOFOLLOW`. A symbolic link
//! that is found on the way is expanded here, with the layer's root as `/`,
//! which `..` cannot leave. Nobody else writes to the directory meanwhile.
//!
//! **Order inside a layer.** The last entry of a name wins; a directory over a
//! directory keeps what it holds. Whiteouts speak of lower layers only, wherever
//! they stand in the archive: a name that the layer also has itself is kept,
//! and if it is a directory it becomes opaque.
//!
//! **Ownership.** With one id all files belong to the user. What differs is
//! recorded (see [`super::record`]), on the file where it can carry attributes,
//! else beside the tree. With true owners ([`super::flavour`]) files are given
//! to them. Devices are empty files with a record, always.
//!
//! **What a layer takes from those below it.** A layer is unpacked without
//! looking at others, so that layers can be unpacked in parallel and shared
//! between images. Three things would need to look: a directory that is needed
//! for an entry but has no entry itself, a hard link to a file that is not in
//! the layer, and an opaque root. They are left open here and reported in
//! [`Unpacked`]; `settle` finishes them.

use crate::error::{self, refusal};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens,
    mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, mkfifoat, symlinkat};

use super::budget::{Budget, Tally};
use super::digest::hex;
use super::entry::{self, Entry, Fate, Kind, join, show, split};
use super::flavour::{Owners, ranges};
use super::holes::Holes;
use super::record::{OPAQUE, OVERRIDE_STAT, Record, escape};
use super::remove;
use super::tarball::{self, Members, Stream};
use crate::sys::xattr;

pub(super) use outcome::take_below;
pub use outcome::{Attributes, Unpacked};

/// How a directory of the tree is opened.
pub const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

const BUFFER: usize = 128 * 1024;

/// Applies the tar archive that `source` yields to `root`, an existing empty
/// directory. Errors name the entry. The tree is not finished before
/// [`Unpacked::seal`]. With `owners` the process is root of a user namespace
/// that has their ids, and files are given to them.
pub fn unpack(
    source: impl Read,
    root: &Path,
    owners: Option<&Owners>,
    budget: Budget,
) -> Result<Unpacked> {
    Unpacking::new(root, owners, budget)?.run(source)
}

/// An archive that is about to be applied, as [`unpack`] does.
pub struct Unpacking {
    tree: Tree,
    budget: Budget,
    /// Whiteouts are files like others.
    pub is_literal: bool,
}

impl Unpacking {
    /// Opens all that is needed beside the archive and the directory.
    pub fn new(root: &Path, owners: Option<&Owners>, budget: Budget) -> Result<Unpacking> {
        let mut tree = Tree::open(root, budget)?;
        tree.owners = owners.cloned();
        Ok(Unpacking {
            tree,
            budget,
            is_literal: false,
        })
    }

    /// Applies the archive.
    pub fn run(self, source: impl Read) -> Result<Unpacked> {
        let mut tree = self.tree;
        tree.own(&tree.root.fd, None, 0, 0)?;
        let mut members = match self.is_literal {
            true => Members::literal(Stream(source), self.budget),
            false => Members::new(Stream(source), self.budget),
        };
        let mut entries = 0;
        while let Some(entry) = members.next()? {
            entries += 1;
            tree.entries = members.count();
            tree.apply(&entry, &mut members)
                .with_context(|| format!("entry {}", show(&entry.path)))?;
        }
        let mut unpacked = tree.unpacked;
        unpacked.entries = entries;
        unpacked.ended_properly = members.ended_properly();
        Ok(unpacked)
    }
}

/// Opens the directory that a layer is unpacked to.
fn open_root(root: &Path) -> Result<OwnedFd> {
    let file = File::open(root).with_context(|| format!("open {}", root.display()))?;
    Ok(file.into())
}

/// An open directory and its true path (no links in it).
struct Directory {
    path: Vec<u8>,
    fd: OwnedFd,
}

struct Tree {
    root: Rc<Directory>,
    /// File mode bits that the kernel takes away on creation.
    umask: u32,
    /// The directories on the way to the one used last, [`KEPT`] at most, by the
    /// path as written. Most entries follow others of the same directory, or of
    /// one beside or above.
    last: Vec<(Vec<u8>, Rc<Directory>)>,
    /// Whose files are, if not the user's.
    owners: Option<Owners>,
    unpacked: Unpacked,
    /// Headers of the archive so far, and what was spent for them.
    entries: u64,
    spent: Tally,
    buffer: Vec<u8>,
}

impl Tree {
    fn open(root: &Path, budget: Budget) -> Result<Tree> {
        let fd = open_root(root)?;
        Ok(Tree {
            root: Rc::new(Directory {
                path: Vec::new(),
                fd,
            }),
            umask: umask(),
            last: Vec::new(),
            owners: None,
            unpacked: Unpacked {
                directories: BTreeMap::from([(Vec::new(), None)]),
                ..Unpacked::default()
            },
            entries: 0,
            spent: Tally::new(budget),
            buffer: vec![0; BUFFER],
        })
    }

    fn apply<R: Read>(&mut self, entry: &Entry, data: &mut R) -> Result<()> {
        match &entry.kind {
            Kind::Directory => return self.directory_entry(entry),
            Kind::Opaque => return self.opaque(&entry.path),
            Kind::Ignored => return Ok(()),
            _ => {}
        }
        let (parent, name) = split(&entry.path)
            .context(error::Kind::Invalid.says("the root can only be a directory"))?;
        let parent = self.directory(parent)?;
        match &entry.kind {
            Kind::File => self.file(&parent, name, entry, data),
            Kind::Device(_) => self.device(&parent, name, entry),
            Kind::Symlink(target) => self.symlink(&parent, name, entry, target),
            Kind::Link(target) => self.link(&parent, name, target),
            Kind::Fifo => self.fifo(&parent, name, entry),
            Kind::Whiteout => self.whiteout(&parent, name),
            Kind::Directory | Kind::Opaque | Kind::Ignored => Ok(()),
        }
    }

    fn file<R: Read>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        data: &mut R,
    ) -> Result<()> {
        let file = self.create(parent, name, entry)?;
        match &entry.pieces {
            None => {
                let mut holes = Holes::new(&file);
                self.copy(entry.size, data, |bytes, _| holes.write_all(bytes))?;
                holes.finish().context("set size")?;
            }
            Some(pieces) => {
                for piece in pieces {
                    self.copy(piece.length, data, |bytes, done| {
                        file.write_all_at(bytes, piece.offset + done)
                    })?;
                }
                file.set_len(entry.size).context("set size")?;
            }
        }
        self.unpacked.size += entry.size;
        self.attributes(&file, &join(&parent.path, name), entry, false)?;
        let made = self.made(entry);
        self.mode_and_time(&file, made, entry)
    }

    fn device(&mut self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<()> {
        let file = self.create(parent, name, entry)?;
        self.attributes(&file, &join(&parent.path, name), entry, true)?;
        self.mode_and_time(&file, self.made(entry), entry)
    }

    /// The mode of a file that was created for `entry`.
    fn made(&self, entry: &Entry) -> u32 {
        (entry.meta.mode & 0o777 | 0o200) & !self.umask
    }

    /// A new, empty file that its owner may write, in place of whatever has
    /// the name.
    fn create(&mut self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // The setuid bits come last: writing would clear them.
        let mode = Mode::from_bits_truncate(entry.meta.mode & 0o777 | 0o200);
        let fd = self.make(parent, name, || openat(&parent.fd, name, flags, mode))?;
        Ok(fd.into())
    }

    fn symlink(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        target: &[u8],
    ) -> Result<()> {
        self.make(parent, name, || symlinkat(target, &parent.fd, name))?;
        self.named_attributes(parent, name, entry)
    }

    fn fifo(&mut self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<()> {
        let mode = Mode::from_bits_truncate(entry.meta.mode & 0o777);
        self.make(parent, name, || mkfifoat(&parent.fd, name, mode))?;
        self.named_attributes(parent, name, entry)?;
        // Just made here, so it is no link that could be followed. A change of
        // owner takes setuid and setgid.
        let mode = Mode::from_bits_truncate(entry.meta.mode);
        fchmodat(&parent.fd, name, mode, FchmodatFlags::FollowSymlink).context("set mode")
    }

    fn link(&mut self, parent: &Directory, name: &[u8], target: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        let Some((source, source_name)) = self.find(target)? else {
            self.spent.keep(path.len() + target.len())?;
            self.unpacked.links.insert(path, target.to_vec());
            return Ok(());
        };
        let source_path = join(&source.path, &source_name);
        if source_path == path {
            return Ok(());
        }
        self.make(parent, name, || {
            linkat(
                &source.fd,
                &*source_name,
                &parent.fd,
                name,
                AtFlags::empty(),
            )
        })?;
        let records = &mut self.unpacked.records;
        if let Some(record) = records.get(&escape(&source_path)).cloned() {
            self.spent.keep(path.len() + record.weight())?;
            records.insert(escape(&path), record);
        }
        Ok(())
    }

    fn whiteout(&mut self, parent: &Directory, name: &[u8]) -> Result<()> {
        match mknodat(&parent.fd, name, SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => {
                let stat = fstatat(&parent.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                    let fd = openat(&parent.fd, name, DIRECTORY, Mode::empty())?;
                    self.set_opaque(&fd, &join(&parent.path, name))?;
                }
                Ok(())
            }
            Err(errno) => Err(errno).context("make a whiteout (device 0/0)"),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        let directory = self.directory(path)?;
        self.set_opaque(&directory.fd, &directory.path)
    }

    fn set_opaque(&mut self, fd: &OwnedFd, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            self.unpacked.opaque_root = true;
            return Ok(());
        }
        xattr::set(fd, OPAQUE, b"y").context("mark an opaque directory (user.overlay.opaque)")
    }

    fn directory_entry(&mut self, entry: &Entry) -> Result<()> {
        let directory = match split(&entry.path) {
            None => self.root.clone(),
            Some((parent, name)) => {
                let parent = self.directory(parent)?;
                let made = Rc::new(Directory {
                    path: join(&parent.path, name),
                    fd: self.make_directory(&parent, name)?,
                });
                self.keep(&entry.path, &made);
                made
            }
        };
        let Directory { path, fd } = &*directory;
        self.unpacked.records.remove(&escape(path));
        let known = self.unpacked.directories.entry(path.clone()).or_default();
        let again = known.replace((entry.meta.mode, entry.meta.mtime));
        // A second entry of the same directory may take a record back.
        self.attributes(fd, path, entry, again.is_some())
    }

    /// Opens directory `name`, made if need be. One that takes the place of
    /// something else in this layer, a whiteout included, is opaque.
    fn make_directory(&mut self, parent: &Directory, name: &[u8]) -> Result<OwnedFd> {
        let mkdir = || mkdirat(&parent.fd, name, Mode::from_bits_truncate(0o755));
        let mut replaces = false;
        match mkdir() {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                match openat(&parent.fd, name, DIRECTORY, Mode::empty()) {
                    Ok(fd) => return Ok(fd),
                    Err(Errno::ENOTDIR | Errno::ELOOP) => {}
                    Err(errno) => return Err(errno).context("open directory"),
                }
                self.displace(parent, name)?;
                mkdir().context("make directory")?;
                replaces = true;
            }
            Err(errno) => return Err(errno).context("make directory"),
        }
        let fd = openat(&parent.fd, name, DIRECTORY, Mode::empty()).context("open directory")?;
        if self.umask & 0o700 != 0 {
            fchmod(&fd, Mode::S_IRWXU)?;
        }
        let path = join(&parent.path, name);
        self.own(&fd, None, 0, 0)?;
        if replaces {
            self.set_opaque(&fd, &path)?;
        }
        self.spent.entry()?;
        self.spent.depth(&path)?;
        self.spent.keep(path.len())?;
        self.unpacked.directories.entry(path).or_default();
        Ok(fd)
    }

    /// Runs `make`; if the name is taken, removes what has it and runs again.
    fn make<T>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        mut make: impl FnMut() -> nix::Result<T>,
    ) -> Result<T> {
        if !self.unpacked.links.is_empty() {
            self.unpacked.links.remove(&join(&parent.path, name));
        }
        match make() {
            Err(Errno::EEXIST) => {
                self.displace(parent, name)?;
                make().context("create")
            }
            other => other.context("create"),
        }
    }

    /// Removes what an earlier entry made, and all that is known of it.
    fn displace(&mut self, parent: &Directory, name: &[u8]) -> Result<()> {
        remove::remove(&parent.fd, name).context("replace")?;
        let path = join(&parent.path, name);
        self.last.clear();
        let known = &mut self.unpacked;
        known.records.remove(&escape(&path));
        known.links.remove(&path);
        if known.directories.remove(&path).is_some() {
            let below = join(&path, b"");
            take_below(&mut known.directories, &below, Vec::as_slice);
            take_below(&mut known.links, &below, Vec::as_slice);
            take_below(&mut known.records, &escape(&below), String::as_bytes);
        }
        Ok(())
    }

    /// Owner record and extended attributes of an open file or directory.
    fn attributes(
        &mut self,
        file: impl AsFd,
        path: &[u8],
        entry: &Entry,
        always: bool,
    ) -> Result<()> {
        let file = file.as_fd();
        // First: a change of owner takes the file's capabilities.
        self.own(file, None, entry.meta.uid, entry.meta.gid)?;
        let mapped = self.owners.is_some();
        for (name, value) in &entry.meta.xattrs {
            match entry::fate(name) {
                Fate::Drop => {}
                Fate::Record if !mapped || !entry::is_roots(name) => {
                    self.record_xattr(path, name, value)?;
                }
                Fate::Set | Fate::Record => {
                    let key = CString::new(name.as_slice()).expect("names with NUL are dropped");
                    match xattr::set(file, &key, value) {
                        Ok(()) => {}
                        Err(Errno::EOPNOTSUPP | Errno::E2BIG | Errno::ENOSPC | Errno::ERANGE) => {
                            self.record_xattr(path, name, value)?;
                        }
                        Err(errno) => {
                            return Err(errno)
                                .with_context(|| format!("set attribute {}", show(name)));
                        }
                    }
                }
            }
        }
        let special = matches!(entry.kind, Kind::Device(_));
        if always && !mapped || special || !mapped && (entry.meta.uid, entry.meta.gid) != (0, 0) {
            self.record_owner(file, path, entry)?;
        }
        Ok(())
    }

    /// Gives a file (`name` in the directory `file`, or that itself) to an
    /// owner of the image, if owners are true. New files are root's here.
    fn own(&self, file: impl AsFd, name: Option<&[u8]>, uid: u32, gid: u32) -> Result<()> {
        let Some(owners) = &self.owners else {
            return Ok(());
        };
        let (uid, gid) = owners.here(uid, gid).map_err(|(id, group)| {
            let (what, file) = match group {
                false => ("user", "/etc/subuid"),
                true => ("group", "/etc/subgid"),
            };
            refusal!(
                Invalid,
                "it belongs to {what} {id}, and containers have the ids {} only ({file}): \
                 --userns single records owners instead",
                ranges(if group { &owners.gids } else { &owners.uids })
            )
        })?;
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
        let name = name.unwrap_or_default();
        // To look costs a tenth of a change that changes nothing.
        let stat = fstatat(&file, name, flags).context("look at the owner")?;
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fchownat(file, name, Some(uid), Some(gid), flags).context("set owner")
    }

    fn record_owner(&mut self, file: BorrowedFd, path: &[u8], entry: &Entry) -> Result<()> {
        let stat = entry.stat().to_string();
        match xattr::set(file, OVERRIDE_STAT, stat.as_bytes()) {
            Ok(()) => Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOSPC) => {
                self.record(path)?.stat = Some(stat);
                Ok(())
            }
            Err(errno) => Err(errno).context("record the owner (user.containers.override_stat)"),
        }
    }

    /// The same for what cannot carry attributes itself, and its time.
    fn named_attributes(&mut self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<()> {
        let path = join(&parent.path, name);
        for (key, value) in &entry.meta.xattrs {
            if entry::fate(key) != Fate::Drop {
                self.record_xattr(&path, key, value)?;
            }
        }
        self.own(&parent.fd, Some(name), entry.meta.uid, entry.meta.gid)?;
        if self.owners.is_none() && (entry.meta.uid, entry.meta.gid) != (0, 0) {
            self.record(&path)?.stat = Some(entry.stat().to_string());
        }
        utimensat(
            &parent.fd,
            name,
            &OMIT,
            &time(entry.meta.mtime),
            UtimensatFlags::NoFollowSymlink,
        )
        .context("set time")
    }

    fn record(&mut self, path: &[u8]) -> Result<&mut Record> {
        self.spent.keep(path.len())?;
        Ok(self.unpacked.records.entry(escape(path)).or_default())
    }

    fn record_xattr(&mut self, path: &[u8], name: &[u8], value: &[u8]) -> Result<()> {
        self.spent.keep(name.len() + 2 * value.len())?;
        let record = self.record(path)?;
        record.xattrs.insert(escape(name), hex(value));
        Ok(())
    }

    /// Sets the mode of a new file, if `made` differs from it, and its time.
    fn mode_and_time(&mut self, file: &File, made: u32, entry: &Entry) -> Result<()> {
        if made != entry.meta.mode {
            fchmod(file, Mode::from_bits_truncate(entry.meta.mode)).context("set mode")?;
            // The kernel drops setgid where the user is not in the file's
            // group (a setgid directory above the store can cause that).
            if entry.meta.mode & 0o2000 != 0
                && self.owners.is_none()
                && (entry.meta.uid, entry.meta.gid) == (0, 0)
                && fstat(file)?.st_mode & 0o2000 == 0
            {
                self.record_lost_mode(file, entry)?;
            }
        }
        futimens(file, &OMIT, &time(entry.meta.mtime)).context("set time")
    }

    fn record_lost_mode(&mut self, file: &File, entry: &Entry) -> Result<()> {
        let path = entry.path.clone();
        self.record_owner(file.as_fd(), &path, entry)
    }

    /// Copies `length` bytes from `data` to `put(bytes, bytes put before)`.
    fn copy<R: Read>(
        &mut self,
        length: u64,
        data: &mut R,
        mut put: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < length {
            let wanted = usize::try_from(length - done).map_or(BUFFER, |left| left.min(BUFFER));
            let bytes = &mut self.buffer[..wanted];
            tarball::fill(data, bytes)?;
            put(bytes, done).context("write")?;
            done += wanted as u64;
        }
        Ok(())
    }
}

/// The access time is left as it is: nobody reads it, and tar has none.
const OMIT: TimeSpec = TimeSpec::UTIME_OMIT;

fn time((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}

/// Whether this is how overlay marks a removed name.
pub fn is_whiteout(stat: &nix::sys::stat::FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

/// The umask of this process. Read from /proc, since the system call can only
/// be asked by changing it, under the feet of other threads.
fn umask() -> u32 {
    let parse = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    };
    // Without /proc every mode is set explicitly.
    parse().unwrap_or(0o777)
}

mod outcome;
#[cfg(test)]
mod tests;
mod walk;
