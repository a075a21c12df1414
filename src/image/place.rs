//! A tar put into a tree that is in use: the receiving half of `cp`.
//!
//! Where things go is resolved by the kernel for each directory, below a root
//! that no path leaves: in a container its own root, links included, on the
//! host the directory that was named, without a link. The last name of a path
//! is never followed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{refusal, refuse};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::budget::Budget;
use super::entry::{Entry, Fate, Kind, fate, is_roots, show, split};
use super::flavour;
use super::output;
use super::owners::Owners;
use super::record::{FileType, OVERRIDE_STAT, Stat};
use super::remove::remove;
use super::tarball::{Members, Stream, fill as fill_buffer};
use super::unpack::DIRECTORY;
use crate::sys::fd::{open_beneath, open_in_root};
use crate::sys::{self, xattr};

/// A tree that gets files.
pub struct Receiver<'a> {
    /// What no path leaves.
    pub root: &'a OwnedFd,
    /// Whether links are followed, with `root` as their `/`.
    pub links: bool,
    /// Whose the files will be.
    pub whose: Whose<'a>,
    /// Tells of what could not be made.
    pub warn: &'a dyn Fn(&str),
}

/// Whose new files are.
pub enum Whose<'a> {
    /// This process's user's.
    Mine,
    /// In a container whose files have true owners: root's, with `keep` those
    /// of the archive.
    True {
        /// Which ids are whose here.
        owners: &'a flavour::Owners,
        /// Owners of the archive count.
        keep: bool,
    },
    /// In a container with one id: with `keep` the owners are recorded.
    Recorded {
        /// For what cannot carry the record itself.
        owners: &'a mut Owners,
        /// Owners of the archive count.
        keep: bool,
    },
}

/// What is at the place that was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// Something else.
    File,
}

/// Where the first member of an archive goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// Into the directory that was named, under its own name.
    Into,
    /// To the place that was named.
    At,
}

/// Docker's rules of `cp`: `slash` says that the place was written with a
/// slash at its end, `contents` that the source was written with `/.`.
///
/// # Errors
/// A directory in the place of a file, a file where a directory should be.
pub fn land(found: Found, slash: bool, directory: bool, contents: bool) -> Result<Landing> {
    Ok(match (found, directory) {
        (Found::Directory, true) if contents => Landing::At,
        (Found::Directory, _) => Landing::Into,
        (Found::Nothing, true) => Landing::At,
        (Found::Nothing, false) if slash => refuse!(NotFound, "there is no such directory"),
        (Found::File, true) => refuse!(Conflict, "a directory cannot take the place of a file"),
        (Found::File, false) if slash => refuse!(Conflict, "it is not a directory"),
        (Found::Nothing | Found::File, false) => Landing::At,
    })
}

/// How paths of an archive become places.
#[derive(Debug, Clone)]
pub struct Target {
    /// The place that was named, from the root.
    pub path: PathBuf,
    /// What is there.
    pub found: Found,
    /// It was written with a slash at its end.
    pub slash: bool,
    /// The source was written with `/.`.
    pub contents: bool,
    /// The archive is somebody's own: its paths are meant as they are.
    pub archive: bool,
    /// How much it may ask for.
    pub budget: Budget,
}

impl Receiver<'_> {
    /// Puts all members of the archive `source` to where they belong.
    pub fn put(&mut self, source: impl Read, target: &Target) -> Result<()> {
        let mut members = Members::literal(Stream(source), target.budget);
        let Some(first) = members.next()? else {
            refuse!(Invalid, "the archive is empty");
        };
        let strip = match target.archive {
            true if target.found != Found::Directory => {
                refuse!(NotFound, "there is no such directory")
            }
            true => false,
            false => {
                let directory = first.kind == Kind::Directory;
                land(target.found, target.slash, directory, target.contents)? == Landing::At
            }
        };
        let top = placed(&first.path, &target.path, strip);
        let is_new = match (top.parent(), top.file_name()) {
            (Some(above), Some(name)) => {
                let above = self.open(above);
                above.is_ok_and(|fd| fstatat(&fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_err())
            }
            _ => false,
        };
        let done = self.put_all(first, members, target, strip);
        if done.is_err()
            && is_new
            && let (Some(above), Some(name)) = (top.parent(), top.file_name())
            && let Ok(above) = self.open(above)
        {
            // Nothing half-done stays.
            let _ = remove(&above, name);
        }
        done
    }

    fn put_all<R: Read>(
        &mut self,
        first: Entry,
        mut members: Members<Stream<R>>,
        target: &Target,
        strip: bool,
    ) -> Result<()> {
        let mut last = None;
        let mut next = Some(first);
        // Directories get their modes and times when all is in them.
        let mut directories: Vec<(PathBuf, u32, (i64, u32))> = Vec::new();
        while let Some(entry) = next {
            let path = placed(&entry.path, &target.path, strip);
            let context = || show(path.as_os_str().as_bytes());
            if entry.kind == Kind::Directory {
                let new = self.directory(&path, &entry).with_context(context)?;
                if new || self.keeps() {
                    directories.push((path.clone(), self.mode(&entry), entry.meta.mtime));
                }
            } else {
                let link = match &entry.kind {
                    Kind::Link(to) => Some(placed(to, &target.path, strip)),
                    _ => None,
                };
                self.entry(&path, &entry, link.as_deref(), &mut members, &mut last)
                    .with_context(context)?;
            }
            next = members.next()?;
        }
        if !members.ended_properly() && !target.archive {
            refuse!(Invalid, "it was cut off");
        }
        for (path, mode, time) in directories.into_iter().rev() {
            let context = || show(path.as_os_str().as_bytes());
            let directory = reopen(&self.open(&path)?)?;
            futimens(&directory, &TimeSpec::UTIME_OMIT, &spec(time)).with_context(context)?;
            fchmod(&directory, Mode::from_bits_truncate(mode)).with_context(context)?;
        }
        Ok(())
    }

    fn keeps(&self) -> bool {
        match &self.whose {
            Whose::Mine => false,
            Whose::True { keep, .. } | Whose::Recorded { keep, .. } => *keep,
        }
    }

    /// Opens a directory (`O_PATH`).
    fn open(&self, path: &Path) -> sys::Result<OwnedFd> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.links {
            true => open_in_root(self.root, path, flags),
            false => open_beneath(self.root, path, flags),
        }
    }

    /// The directory at `path`; what lacks is made.
    fn reach(&mut self, path: &Path) -> Result<OwnedFd> {
        match self.open(path) {
            Ok(fd) => return Ok(fd),
            Err(e) if e.errno == Errno::ENOENT => {}
            Err(e) if e.errno == Errno::ENOTDIR => {
                refuse!(Conflict, "{} is no directory", path.display())
            }
            Err(e) if e.errno == Errno::ELOOP && !self.links => {
                refuse!(
                    Conflict,
                    "{} is a link, which is not followed",
                    path.display()
                )
            }
            Err(e) => return Err(e.into()),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            refuse!(NotFound, "{}: no such directory", path.display());
        };
        let parent = self.reach(parent)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => self.own(&parent, name.as_bytes(), None)?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).context("create directory"),
        }
        Ok(self.open(path)?)
    }

    /// Makes a directory; one that is there stays as it is, unless owners are
    /// kept. Returns whether it is new.
    fn directory(&mut self, path: &Path, entry: &Entry) -> Result<bool> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        let parent = self.parent(parent, entry)?;
        let new = match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) => true,
            Err(Errno::EEXIST) => {
                let is_directory = self.open(path).is_ok();
                if !is_directory {
                    refuse!(Conflict, "a directory cannot take the place of a file");
                }
                false
            }
            Err(errno) => return Err(errno).context("create directory"),
        };
        if new || self.keeps() {
            let fd = self.open(path)?;
            let directory = reopen(&fd)?;
            self.own(&parent, name.as_bytes(), Some(entry))?;
            self.attributes(&directory, entry)?;
        }
        Ok(new)
    }

    /// The directory for an entry: that of the place that was named has to be
    /// there, what is below it is made.
    fn parent(&mut self, path: &Path, entry: &Entry) -> Result<OwnedFd> {
        match split(&entry.path) {
            Some((above, _)) if !above.is_empty() => self.reach(path),
            _ => self.open(path).map_err(|e| match e.errno {
                Errno::ENOENT | Errno::ENOTDIR => refusal!(NotFound, "there is no such directory"),
                _ => e.into(),
            }),
        }
    }

    fn entry<R: Read>(
        &mut self,
        path: &Path,
        entry: &Entry,
        link: Option<&Path>,
        data: &mut R,
        last: &mut Option<(PathBuf, OwnedFd)>,
    ) -> Result<()> {
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            refuse!(Invalid, "the root can only be a directory");
        };
        let name = name.as_bytes();
        // Most entries follow others of the same directory.
        let parent = match last.take() {
            Some((known, fd)) if known == parent_path => fd,
            _ => self.parent(parent_path, entry)?,
        };
        let done = self.other(&parent, name, entry, link, data);
        *last = Some((parent_path.to_owned(), parent));
        done
    }

    fn other<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        link: Option<&Path>,
        data: &mut R,
    ) -> Result<()> {
        let recorded = matches!(self.whose, Whose::True { .. } | Whose::Recorded { .. });
        match &entry.kind {
            Kind::File => return self.file(parent, name, entry, data),
            Kind::Device(_) if recorded => return self.file(parent, name, entry, &mut io::empty()),
            Kind::Device(_) => {
                (self.warn)(&format!("{}: a device, left out", show(&entry.path)));
                return Ok(());
            }
            Kind::Link(_) => {
                let to = link.context("a link to nothing")?;
                let (Some(above), Some(target)) = (to.parent(), to.file_name()) else {
                    refuse!(Invalid, "a hard link to the root");
                };
                let above = self.open(above)?;
                clear(parent, name)?;
                return linkat(&above, target, parent, name, AtFlags::empty()).context("link");
            }
            Kind::Symlink(target) => {
                clear(parent, name)?;
                symlinkat(&**target, parent, name).context("create link")?;
            }
            Kind::Fifo => {
                clear(parent, name)?;
                let mode = Mode::from_bits_truncate(entry.meta.mode & 0o777);
                mknodat(parent, name, SFlag::S_IFIFO, mode, 0).context("create pipe")?;
            }
            Kind::Directory | Kind::Whiteout | Kind::Opaque | Kind::Ignored => return Ok(()),
        }
        self.own(parent, name, Some(entry))?;
        let flags = UtimensatFlags::NoFollowSymlink;
        let time = spec(entry.meta.mtime);
        utimensat(parent, name, &TimeSpec::UTIME_OMIT, &time, flags).context("set time")
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        data: &mut R,
    ) -> Result<()> {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        // Nothing half-written has its name, and what had it is there till then.
        if let Some(mut file) = output::nameless(parent, mode).context("create")? {
            fill(&mut file, entry, data)?;
            self.own_file(&file, entry)?;
            self.finish(&file, entry)?;
            return output::put(&file, parent, name).map_err(|error| match error.kind() {
                io::ErrorKind::IsADirectory => {
                    refusal!(Conflict, "a file cannot take the place of a directory")
                }
                _ => anyhow!(error).context("create"),
            });
        }
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let new = flags | OFlag::O_CREAT | OFlag::O_EXCL;
        let fd = match clear(parent, name) {
            Ok(()) => openat(parent, name, new, mode).context("create")?,
            // Something is mounted there: it is written to.
            Err(e) if e.downcast_ref() == Some(&Errno::EBUSY) => {
                let fd = openat(parent, name, flags | OFlag::O_TRUNC, mode).context("write")?;
                if !is_file(&fstat(&fd)?) {
                    refuse!(Conflict, "something is mounted there that is no file");
                }
                let mut file = File::from(fd);
                return fill(&mut file, entry, data);
            }
            Err(e) => return Err(e),
        };
        let mut file = File::from(fd);
        let mut done = || {
            fill(&mut file, entry, data)?;
            self.own_file(&file, entry)?;
            self.finish(&file, entry)
        };
        done().inspect_err(|_| drop(clear(parent, name)))
    }

    /// Gives a new file to its owner, or root.
    fn own_file(&mut self, file: &File, entry: &Entry) -> Result<()> {
        let wanted = |keep| match keep {
            true => (entry.meta.uid, entry.meta.gid),
            false => (0, 0),
        };
        let recorded = |keep| {
            let (uid, gid) = wanted(keep);
            let stat = entry.stat();
            record(file, Stat { uid, gid, ..stat })
        };
        let device = matches!(entry.kind, Kind::Device(_));
        match &self.whose {
            Whose::Mine => Ok(()),
            Whose::True { owners, keep } => {
                let (uid, gid) = here(owners, wanted(*keep))?;
                fchown(file, Some(uid), Some(gid)).context("set owner")?;
                match device {
                    true => recorded(*keep),
                    false => Ok(()),
                }
            }
            Whose::Recorded { keep, .. } => match device || wanted(*keep) != (0, 0) {
                true => recorded(*keep),
                false => Ok(()),
            },
        }
    }

    /// Attributes, mode and time of a file that is complete.
    fn finish(&mut self, file: &File, entry: &Entry) -> Result<()> {
        self.attributes(file, entry)?;
        let mode = Mode::from_bits_truncate(self.mode(entry));
        fchmod(file, mode).context("set mode")?;
        futimens(file, &TimeSpec::UTIME_OMIT, &spec(entry.meta.mtime)).context("set time")
    }

    /// Nobody is to run a container's program with the rights of its user.
    fn mode(&self, entry: &Entry) -> u32 {
        match self.whose {
            Whose::Mine => entry.meta.mode & 0o1777,
            _ => entry.meta.mode,
        }
    }

    /// The same for what is no file, without following a link.
    fn own(&mut self, parent: &OwnedFd, name: &[u8], entry: Option<&Entry>) -> Result<()> {
        let wanted = |keep: bool| match entry.filter(|_| keep) {
            Some(entry) => (entry.meta.uid, entry.meta.gid),
            None => (0, 0),
        };
        match &mut self.whose {
            Whose::Mine => Ok(()),
            Whose::True { owners, keep } => {
                let (uid, gid) = here(owners, wanted(*keep))?;
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                fchownat(parent, name, Some(uid), Some(gid), flags).context("set owner")
            }
            Whose::Recorded { owners, keep } => {
                let (uid, gid) = wanted(*keep);
                let Some(entry) = entry.filter(|_| (uid, gid) != (0, 0)) else {
                    return Ok(());
                };
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(parent, name, flags, Mode::empty())?;
                match entry.kind {
                    Kind::Symlink(_) | Kind::Fifo => {
                        let recorded = owners.record(&file, entry.stat());
                        recorded.context("record owner")
                    }
                    _ => record(&file, entry.stat()),
                }
            }
        }
    }

    fn attributes(&self, file: &impl AsFd, entry: &Entry) -> Result<()> {
        let roots = matches!(self.whose, Whose::True { .. });
        for (name, value) in &entry.meta.xattrs {
            if fate(name) != Fate::Set && !(roots && is_roots(name)) {
                continue;
            }
            let Ok(key) = std::ffi::CString::new(name.as_slice()) else {
                continue;
            };
            match xattr::set(file, &key, value) {
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::ENOSPC) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("set attribute {}", show(name)));
                }
            }
        }
        Ok(())
    }
}

/// What an owner in the container is called here.
fn here(owners: &flavour::Owners, (uid, gid): (u32, u32)) -> Result<(Uid, Gid)> {
    let here = owners.here(uid, gid);
    let (uid, gid) = here.map_err(|(id, _)| {
        refusal!(
            Invalid,
            "the container has no id {id} that it could belong to"
        )
    })?;
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Records what a file or directory should be.
fn record(file: &impl AsRawFd, mut stat: Stat) -> Result<()> {
    if stat.kind == FileType::Socket {
        stat.kind = FileType::File;
    }
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    match xattr::set_path(&name, OVERRIDE_STAT, stat.to_string().as_bytes()) {
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno).context("record owner"),
    }
}

/// Where a path of the archive goes; with `strip` its first part is the place
/// that was named itself.
fn placed(path: &[u8], to: &Path, strip: bool) -> PathBuf {
    let rest = match strip {
        true => path
            .iter()
            .position(|b| *b == b'/')
            .map_or(&b""[..], |at| &path[at + 1..]),
        false => path,
    };
    match rest.is_empty() {
        true => to.to_owned(),
        false => to.join(std::ffi::OsStr::from_bytes(rest)),
    }
}

/// Takes away what has a name that a new file is to have.
fn clear(parent: &OwnedFd, name: &[u8]) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => refuse!(Conflict, "a file cannot take the place of a directory"),
        Err(errno) => Err(errno).context("replace"),
    }
}

fn is_file(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn fill<R: Read>(file: &mut File, entry: &Entry, data: &mut R) -> Result<()> {
    match &entry.pieces {
        None => {
            let copied = io::copy(&mut data.by_ref().take(entry.size), file).context("write")?;
            if copied < entry.size {
                refuse!(Invalid, "the archive is truncated");
            }
        }
        Some(pieces) => {
            let mut buffer = vec![0; 128 * 1024];
            for piece in pieces {
                let mut done = 0;
                while done < piece.length {
                    let most = (piece.length - done).min(buffer.len() as u64) as usize;
                    fill_buffer(data, &mut buffer[..most])?;
                    file.write_all_at(&buffer[..most], piece.offset + done)
                        .context("write")?;
                    done += most as u64;
                }
            }
            file.set_len(entry.size).context("set size")?;
        }
    }
    file.flush().context("write")
}

/// A directory that is open with `O_PATH`, opened for more.
fn reopen(directory: &OwnedFd) -> Result<OwnedFd> {
    Ok(openat(directory, c".", DIRECTORY, Mode::empty())?)
}

fn spec((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}

/// What is at `path` below `root`, links followed to the end; and the path
/// without a link as its last part, so that what is made there is made where
/// the link leads to.
pub fn find(root: &OwnedFd, path: &Path) -> Result<(PathBuf, Found)> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok((path, Found::Directory));
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let above = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        let above = match open_in_root(root, above, flags) {
            Ok(fd) => fd,
            Err(e) if e.errno == Errno::ENOENT => return Ok((path, Found::Nothing)),
            Err(e) => return Err(e.into()),
        };
        let stat = match fstatat(&above, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok((path, Found::Nothing)),
            Err(errno) => return Err(errno).with_context(|| path.display().to_string()),
        };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => {
                // One that names no file but a process's: never followed.
                if let Err(e) = open_in_root(root, &path, OFlag::O_PATH)
                    && e.errno == Errno::ELOOP
                {
                    return Err(e.into());
                }
                let target = nix::fcntl::readlinkat(&above, name)?;
                path = parent.join(target);
            }
            libc::S_IFDIR => return Ok((path, Found::Directory)),
            _ => return Ok((path, Found::File)),
        }
    }
    refuse!(Invalid, "{}: too many links", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Found::*;

    #[test]
    fn things_land_as_docker_says() {
        // Found, slash at the end, a directory, with /. and where it goes.
        for (found, slash, directory, contents, expected) in [
            (Nothing, false, false, false, Some(Landing::At)),
            (Nothing, true, false, false, None),
            (File, false, false, false, Some(Landing::At)),
            (File, true, false, false, None),
            (Directory, false, false, false, Some(Landing::Into)),
            (Nothing, true, true, false, Some(Landing::At)),
            (File, false, true, false, None),
            (Directory, false, true, false, Some(Landing::Into)),
            (Directory, true, true, true, Some(Landing::At)),
            (Nothing, false, true, true, Some(Landing::At)),
        ] {
            let landing = land(found, slash, directory, contents).ok();
            assert_eq!(
                landing, expected,
                "{found:?} {slash} {directory} {contents}"
            );
        }
        let to = Path::new("a/b");
        assert_eq!(placed(b"top/x/y", to, true), Path::new("a/b/x/y"));
        assert_eq!(placed(b"top", to, true), to);
        assert_eq!(placed(b"top/x", to, false), Path::new("a/b/top/x"));
        assert_eq!(placed(b"", to, false), to);
    }
}
