//! Temporary places of one process, and the cleaning up after dead ones.
//!
//! Whatever is not finished lies in `tmp/<unique>/`, a directory whose lock
//! its process holds until it ends. What belongs into the store is moved there
//! by `rename` in the end. A directory that nobody locks is left from a
//! process that died: [`sweep`] removes it. Since such a process may also have
//! died between moving blobs and naming them in the index, its directory is
//! the sign that a collection of garbage is due.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::remove::remove_tree;
use crate::sys::fs::{make_private, private, spread};
use crate::sys::replace::is_unwritable;

/// A locked temporary directory, removed with all it holds when dropped.
#[derive(Debug)]
pub struct Session {
    tmp: PathBuf,
    place: OnceLock<Locked>,
    making: Mutex<()>,
    next: AtomicU32,
}

/// It, and its lock.
#[derive(Debug)]
struct Locked {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Session {
    /// Makes a new directory in `tmp`.
    pub fn new(tmp: &Path) -> Result<Session> {
        let session = Session::if_needed(tmp);
        session.place()?;
        Ok(session)
    }

    /// The same when it is first asked for a path: who may need none needs no
    /// room either.
    pub fn if_needed(tmp: &Path) -> Session {
        Session {
            tmp: tmp.to_owned(),
            place: OnceLock::new(),
            making: Mutex::new(()),
            next: AtomicU32::new(0),
        }
    }

    fn place(&self) -> Result<&Locked> {
        let _making = self.making.lock().expect("no thread panics");
        if self.place.get().is_none() {
            let _ = self.place.set(Locked::new(&self.tmp)?);
        }
        self.place.get().context("it was just made")
    }

    /// A path in the directory that was not given out before.
    pub fn path(&self, what: &str) -> Result<PathBuf> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(self.place()?.directory.join(format!("{what}-{n}")))
    }
}

impl Locked {
    fn new(tmp: &Path) -> Result<Locked> {
        private_dir(tmp)?;
        loop {
            let directory = tmp.join(unique());
            let context = || format!("create {}", directory.display());
            DirBuilder::new()
                .mode(0o700)
                .create(&directory)
                .with_context(context)?;
            let locked = lock(&directory).inspect_err(|_| drop(fs::remove_dir(&directory)));
            // A sweep may take the directory before it is locked.
            if let Some(lock) = locked.with_context(context)? {
                // Where this cannot be had, trees are as slow as elsewhere.
                let _ = File::open(&directory).map(|file| spread(&file));
                return Ok(Locked {
                    directory,
                    _lock: lock,
                });
            }
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What cannot be removed now, the next sweep removes.
        let _ = remove_tree(&self.directory);
    }
}

/// Gives the directories of dead processes in `tmp` to `remove`. If there are
/// any, `collect` is called before, and nothing is removed if it says false.
pub fn sweep(
    tmp: &Path,
    collect: impl FnOnce() -> Result<bool>,
    remove: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let entries = match fs::read_dir(tmp) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", tmp.display())),
    };
    let mut dead = Vec::new();
    for entry in entries {
        let path = entry?.path();
        match lock(&path) {
            Ok(Some(lock)) => dead.push((path, lock)),
            Ok(None) => {}
            // It has no lock, and there is no room for one: left for later.
            Err(error) if is_unwritable(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
    if dead.is_empty() || !collect()? {
        return Ok(());
    }
    for (path, _lock) in &dead {
        remove(path)?;
    }
    Ok(())
}

/// Locks a directory without waiting, by a file in it: directories themselves
/// cannot be locked on NFS. None if somebody else has the lock, or the
/// directory is gone.
fn lock(directory: &Path) -> io::Result<Option<Flock<File>>> {
    let path = directory.join("lock");
    let file = match private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let same = match fs::metadata(&path) {
        Ok(now) => now.ino() == lock.metadata()?.ino(),
        Err(_) => false,
    };
    Ok(same.then_some(lock))
}

/// A name that no other process or moment has.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |time| time.as_nanos());
    format!("{}-{nanos:x}-{count}", std::process::id())
}

/// Makes a directory that only its owner may enter, and those above it.
pub fn private_dir(path: &Path) -> Result<()> {
    make_private(path).with_context(|| format!("create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let tmp = dir.path().join("tmp");
        let unneeded = Session::if_needed(&tmp);
        drop(unneeded);
        assert!(!tmp.exists());
        let session = Session::new(&tmp).unwrap();
        let directory = session.place().unwrap().directory.clone();
        fs::write(session.path("x").unwrap(), "x").unwrap();
        let mut collected = false;
        let mut collect = || {
            collected = true;
            Ok(true)
        };
        sweep(&tmp, &mut collect, remove_tree).unwrap();
        assert!(!collected && directory.exists());

        let left = tmp.join("1-2-3");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("x"), "x").unwrap();
        sweep(&tmp, || Ok(false), remove_tree).unwrap();
        assert!(left.exists());
        let collect = || {
            collected = true;
            Ok(true)
        };
        sweep(&tmp, collect, remove_tree).unwrap();
        assert!(collected && !left.exists() && directory.exists());

        drop(session);
        assert!(!directory.exists());
    }
}
