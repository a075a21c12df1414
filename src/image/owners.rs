//! Owners of what can carry no `user.` attributes (symbolic links, pipes,
//! sockets) in the changes of one container: a file beside them, to which a
//! line is added for every change.
//!
//! Names change while a container runs (package managers make a file under
//! another name, give it its owner, and rename it), so a line names its file
//! by inode number and time of birth.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::record::Stat;
use crate::sys::fs::{Identity, identity};

/// The owners that were recorded for one container.
#[derive(Debug)]
pub struct Owners {
    file: File,
    /// How far the file was read.
    read: u64,
    known: HashMap<Identity, Stat>,
}

impl Owners {
    /// Name of the file in the container's directory.
    pub const FILE: &str = "owners";

    /// Opens the file, which is made if it is missing.
    pub fn open(directory: &Path) -> io::Result<Owners> {
        let mut options = File::options();
        options.read(true).append(true).create(true);
        let file = options.open(directory.join(Self::FILE))?;
        Ok(Owners {
            file,
            read: 0,
            known: HashMap::new(),
        })
    }

    /// Reads what has come since, from whomever.
    pub fn refresh(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut bytes = vec![0; length.saturating_sub(self.read) as usize];
        self.file.read_exact_at(&mut bytes, self.read)?;
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
        (&self.file).write_all(line.as_bytes())
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
        let mut owners = Owners::open(dir.path()).unwrap();
        let mut other = Owners::open(dir.path()).unwrap();
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
