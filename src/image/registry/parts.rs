//! Blobs on their way in: what is here of them outlives the command, so that
//! the next pull goes on where one was cut off.
//!
//! ```text
//! parts/ALGORITHM-HEX.part    its first bytes; whoever adds to it holds its lock
//! parts/ALGORITHM-HEX.done    all of it, verified, on the disk; never written again
//! ```
//!
//! Two pulls of one blob at once fetch it once: the second waits for the lock,
//! and then finds that it is done.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sys::fs::private;
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::image::digest::Digest;
use crate::image::session::private_dir;

/// What nobody has touched for so long is removed.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directory of them.
#[derive(Clone, Debug)]
pub struct Parts {
    directory: PathBuf,
}

/// What is here of a blob.
#[derive(Debug)]
pub enum Held {
    /// All of it.
    Done(File),
    /// Something, perhaps nothing; nobody else adds to it.
    Part(Part),
}

/// The beginning of a blob, locked.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    /// The bytes that are here.
    pub file: Flock<File>,
}

impl Parts {
    /// The parts in the store `root`.
    pub fn new(root: &Path) -> Parts {
        Parts {
            directory: root.join("parts"),
        }
    }

    /// Makes the directory, and removes what was given up long ago.
    pub fn prepare(&self) -> Result<()> {
        private_dir(&self.directory)?;
        let context = || format!("list {}", self.directory.display());
        for entry in fs::read_dir(&self.directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.map(|time| SystemTime::now().duration_since(time));
            if matches!(age, Ok(Ok(age)) if age > MAX_AGE) {
                remove_unused(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes all that nobody is fetching.
    pub fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.directory).into_iter().flatten() {
            remove_unused(&entry?.path())?;
        }
        Ok(())
    }

    fn path(&self, digest: &Digest, suffix: &str) -> PathBuf {
        let name = format!("{}-{}.{suffix}", digest.algorithm(), digest.digest());
        self.directory.join(name)
    }

    /// Where the blob is when it is done.
    pub fn done(&self, digest: &Digest) -> PathBuf {
        self.path(digest, "done")
    }

    /// Takes the blob; waits while somebody else is fetching it.
    pub fn take(&self, digest: &Digest) -> Result<Held> {
        let done = self.done(digest);
        let path = self.path(digest, "part");
        let context = || format!("open {}", path.display());
        loop {
            match File::open(&done) {
                Ok(file) => return Ok(Held::Done(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(context),
            }
            let mut options = private();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).with_context(context)?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| errno)
                .with_context(context)?;
            // Whoever had it may have finished or removed it meanwhile.
            if is_at(&file, &path) {
                return Ok(Held::Part(Part { path, file }));
            }
        }
    }

    /// Removes what is here of a blob, unless somebody is fetching it.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        let done = self.done(digest);
        match fs::remove_file(&done) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", done.display()))
            }
            _ => remove_unused(&self.path(digest, "part")),
        }
    }
}

impl Part {
    /// All is here and verified: forces it to the disk and says so.
    pub fn finish(self, parts: &Parts, digest: &Digest) -> Result<()> {
        let finish = || {
            self.file.sync_data()?;
            fs::rename(&self.path, parts.done(digest))
        };
        finish().with_context(|| format!("write {}", self.path.display()))
    }

    /// Removes it if there is nothing in it.
    pub fn leave(self) -> Result<()> {
        let context = || format!("remove {}", self.path.display());
        match self.file.metadata().with_context(context)?.len() {
            0 => fs::remove_file(&self.path).with_context(context),
            _ => Ok(()),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: io::Result<fs::Metadata>| metadata.map(|m| (m.dev(), m.ino())).ok();
    id(file.metadata()) == id(fs::metadata(path))
}

/// Removes a file that nobody has locked.
fn remove_unused(path: &Path) -> Result<()> {
    let context = || format!("remove {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(context)?,
    };
    // Who waits for this lock sees that the file is gone, and makes another.
    if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        && is_at(&lock, path)
    {
        fs::remove_file(path).with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::image::digest;

    #[test]
    fn a_part_is_continued_and_then_done() {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::new(dir.path());
        parts.prepare().unwrap();
        let digest = digest::sha256(b"abc");
        let Held::Part(part) = parts.take(&digest).unwrap() else {
            panic!("it is not done");
        };
        part.file.write_all_at(b"ab", 0).unwrap();
        // Somebody works on it: it stays.
        parts.discard(&digest).unwrap();
        part.leave().unwrap();
        let Held::Part(part) = parts.take(&digest).unwrap() else {
            panic!("it is not done");
        };
        assert_eq!(part.file.metadata().unwrap().len(), 2);
        part.finish(&parts, &digest).unwrap();
        assert!(matches!(parts.take(&digest).unwrap(), Held::Done(_)));
        parts.discard(&digest).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("parts")).unwrap().count(), 0);
    }

    #[test]
    fn what_was_given_up_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::new(dir.path());
        parts.prepare().unwrap();
        let old = dir.path().join("parts/sha256-x.part");
        let file = File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - 2 * MAX_AGE).unwrap();
        fs::write(dir.path().join("parts/sha256-y.part"), "").unwrap();
        parts.prepare().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("parts")).unwrap().count(), 1);
        assert!(!old.exists());
    }
}
