//! Owners of what can carry no `user.` attributes (symbolic links, pipes,
//! sockets) in the changes of one container: a file beside them, to which a
//! line is added for every change.
//!
//! Names change while a container runs (package managers make a file under
//! another name, give it its owner, and rename it), so a line names its file
//! by inode number and time of birth.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::layer::About;
use super::record::{Stat, unescape};
use crate::sys::fd::open_in_root;
use crate::sys::fs::{Identity, identity, private};
use crate::sys::replace::is_unwritable;

/// The owners that were recorded for one container.
#[derive(Debug)]
pub struct Owners {
    path: PathBuf,
    /// Most containers never need it: it is made for the first line.
    file: Option<File>,
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
            read: 0,
            known: HashMap::new(),
        }
    }

    /// The same, opened at once, and made if it is missing: for a process that
    /// will not see the directory any more when it comes to the first line. On a
    /// full disk, nothing can be recorded, but read.
    pub fn open(directory: &Path) -> io::Result<Owners> {
        let mut owners = Owners::new(directory);
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

    /// What was recorded for a file, as far as it was read.
    pub fn get(&self, file: Identity) -> Option<Stat> {
        self.known.get(&file).copied()
    }

    /// Records what the file open as `file` (with `O_PATH`) is to be: what
    /// `change` makes of its record.
    pub fn record(
        &mut self,
        file: impl AsFd,
        change: impl FnOnce(Option<Stat>) -> Stat,
    ) -> io::Result<()> {
        let identity = identity(file)?;
        self.refresh()?;
        let old = self.get(identity);
        let new = change(old);
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
        owners
            .record(&fd, |old| {
                assert_eq!(old, None);
                stat("5:6:0777:symlink")
            })
            .unwrap();
        other
            .record(&fd, |old| {
                assert_eq!(old, Some(stat("5:6:0777:symlink")));
                stat("0:0:0777:symlink")
            })
            .unwrap();
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
