//! Owners of what can carry no `user.` attributes (symbolic links, pipes,
//! sockets) in the changes of one container: a file beside them, to which a
//! line is added for every change.
//!
//! Names change while a container runs (package managers make a file under
//! another name, give it its owner, and rename it), so a line names its file
//! by inode number and time of birth, as the container's changes have it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open, readlink};
use nix::sys::stat::Mode;

use super::layer::About;
use super::record::{Stat, unescape};
use super::unpack::DIRECTORY;
use crate::sys::fd::open_in_root;
use crate::sys::fs::{Identity, identity, private, statx};
use crate::sys::replace::is_unwritable;

/// The directory beside the file that holds what the container changed.
const CHANGES: &str = "upper";

/// The owners that were recorded for one container.
#[derive(Debug)]
pub struct Owners {
    path: PathBuf,
    /// Most containers never need it: it is made for the first line.
    file: Option<File>,
    /// The directory of the container's changes, once it was looked for.
    changes: OnceCell<Option<OwnedFd>>,
    /// How far the file was read.
    read: u64,
    known: HashMap<Identity, Stat>,
}

impl Owners {
    /// Name of the file in the container's directory.
    pub const FILE: &str = "owners";

    /// What is recorded in the directory of a container.
    pub fn new(directory: &Path) -> Owners {
        Owners {
            path: directory.join(Self::FILE),
            file: None,
            changes: OnceCell::new(),
            read: 0,
            known: HashMap::new(),
        }
    }

    /// The same, opened at once, and made if it is missing: for a process that
    /// will not see the directory any more when it comes to the first line. On a
    /// full disk, nothing can be recorded, but read.
    pub fn open(directory: &Path) -> io::Result<Owners> {
        let mut owners = Owners::new(directory);
        owners.changes();
        match owners.file(true) {
            Err(error) if !is_unwritable(&error) => Err(error),
            _ => Ok(owners),
        }
    }

    /// The file; `None` if it is missing and not to be made.
    fn file(&mut self, make: bool) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            let mut options = private();
            options.read(true).append(true).create(make);
            match options.open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound && !make => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.file.as_ref())
    }

    /// Reads what has come since, from whomever.
    pub fn refresh(&mut self) -> io::Result<()> {
        let read = self.read;
        let Some(file) = self.file(false)? else {
            return Ok(());
        };
        let length = file.metadata()?.len();
        let mut bytes = vec![0; length.saturating_sub(read) as usize];
        file.read_exact_at(&mut bytes, read)?;
        // A line may not be whole yet.
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            if let Some((identity, stat)) = parse(line) {
                self.known.insert(identity, stat);
            }
        }
        self.read += whole as u64;
        Ok(())
    }

    /// Learns what is recorded beside the layers `lowers` (the topmost first) of
    /// their links and pipes, where the container has not changed it.
    pub fn learn(&mut self, lowers: &[PathBuf]) -> Result<()> {
        for tree in lowers {
            let records = About::records_beside(tree)?;
            if records.is_empty() {
                continue;
            }
            let root = File::open(tree).with_context(|| tree.display().to_string())?;
            for (path, record) in records {
                let Some(stat) = record.stat.and_then(|stat| stat.parse().ok()) else {
                    continue;
                };
                let path = PathBuf::from(OsString::from_vec(unescape(&path)));
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
                // Some are closed to who is not root, or damaged: `check` is for that.
                if let Ok(file) = open_in_root(root.as_fd(), &path, flags) {
                    self.known.entry(identity(&file)?).or_insert(stat);
                }
            }
        }
        Ok(())
    }

    /// What was recorded for a file of a layer or of the changes, as far as it
    /// was read.
    pub fn get(&self, file: Identity) -> Option<Stat> {
        self.known.get(&file).copied()
    }

    /// The same for a file that is open (`O_PATH` suffices) in the container's
    /// mounted root.
    pub fn of(&self, file: impl AsFd) -> nix::Result<Option<Stat>> {
        if self.known.is_empty() {
            return Ok(None);
        }
        if let Some(stat) = self.get(identity(&file)?) {
            return Ok(Some(stat));
        }
        let changed = self.changed(file)?;
        Ok(changed.and_then(|changed| self.get(changed)))
    }

    fn changes(&self) -> Option<&OwnedFd> {
        let path = self.path.with_file_name(CHANGES);
        let open = || open(&path, DIRECTORY, Mode::empty()).ok();
        self.changes.get_or_init(open).as_ref()
    }

    /// What the container's changes know a file as that is open in its mounted
    /// root; `None` if it is not theirs. As long as overlayfs remembers where it
    /// has copied a file from, it says the inode number that it had there
    /// (Documentation/filesystems/overlayfs.rst, "Inode properties"), and of
    /// what cannot have attributes it forgets that.
    fn changed(&self, file: impl AsFd) -> nix::Result<Option<Identity>> {
        let Some(changes) = self.changes() else {
            return Ok(None);
        };
        let itself = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let Ok(path) = readlink(itself.as_str()) else {
            return Ok(None);
        };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let Ok(found) = open_in_root(changes, Path::new(&path), flags) else {
            return Ok(None);
        };
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        let (seen, there) = (statx(&file, 0, mask)?, statx(&found, 0, mask)?);
        let about = |data: &libc::statx| {
            let times = [data.stx_btime, data.stx_ctime, data.stx_mtime];
            let times = times.map(|time| (time.tv_sec, time.tv_nsec));
            (data.stx_mode, data.stx_size, times)
        };
        match about(&seen) == about(&there) {
            true => Ok(Some(identity(&found)?)),
            // Another name leads there by now.
            false => Ok(None),
        }
    }

    /// Records what the file open as `file` (with `O_PATH`) in the container's
    /// mounted root, and a change of the container's, is to be.
    pub fn record(&mut self, file: impl AsFd, new: Stat) -> io::Result<()> {
        let identity = match self.changed(&file)? {
            Some(changed) => changed,
            None => identity(file)?,
        };
        self.refresh()?;
        let old = self.get(identity);
        if old == Some(new) || old.is_none() && (new.uid, new.gid) == (0, 0) {
            return Ok(());
        }
        let Identity { inode, born } = identity;
        let line = format!("{inode} {}.{:09} {new}\n", born.0, born.1);
        // At once, so that lines of several writers do not mix.
        match self.file(true)? {
            Some(mut file) => file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

fn parse(line: &str) -> Option<(Identity, Stat)> {
    let mut words = line.split(' ');
    let inode = words.next()?.parse().ok()?;
    let (seconds, nanos) = words.next()?.split_once('.')?;
    let born = (seconds.parse().ok()?, nanos.parse().ok()?);
    let stat = words.next()?.parse().ok()?;
    Some((Identity { inode, born }, stat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;

    #[test]
    fn records_follow_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("x", &link).unwrap();
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let fd = open(&link, flags, Mode::empty()).unwrap();
        let mut owners = Owners::new(dir.path());
        let mut other = Owners::new(dir.path());
        let stat = |text: &str| text.parse::<Stat>().unwrap();
        owners.record(&fd, stat("5:6:0777:symlink")).unwrap();
        other.refresh().unwrap();
        assert_eq!(other.of(&fd).unwrap(), Some(stat("5:6:0777:symlink")));
        other.record(&fd, stat("0:0:0777:symlink")).unwrap();
        std::fs::rename(&link, dir.path().join("renamed")).unwrap();
        owners.refresh().unwrap();
        let known = owners.get(identity(&fd).unwrap());
        assert_eq!(known, Some(stat("0:0:0777:symlink")));
        // The same number, but another file.
        std::fs::write(dir.path().join("file"), "").unwrap();
        let file = File::open(dir.path().join("file")).unwrap();
        assert_eq!(owners.get(identity(&file).unwrap()), None);
    }
}
