//! Digests of what COPY and ADD take, by which a step is found again: as BuildKit has
//! them, of paths, types, modes, owners and content, and not of times or of the modes of
//! directories. The digest of a file is remembered by what the kernel says of it, so that
//! a context that did not change costs only looks.

use crate::image::digest::hex;
use crate::image::export::Sink;
use crate::image::tarwrite::{Kind, Member};
use crate::sys::fs::{make_private, write_private};
use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file by what stat(2) says of it: device, inode, size, modification and change time
/// in nanoseconds.
type Seen = [u64; 5];

/// A digest.
type Sum = [u8; 32];

/// Where they are remembered, in a store.
const DIRECTORY: &str = "digests";

/// Bytes of a remembered one.
const ENTRY: usize = 5 * 8 + 32;

/// Most that are remembered.
const MAX_ENTRIES: usize = 1 << 20;

/// A file that changed so short before it was read may change again and look the same, in
/// nanoseconds: some file systems have times of seconds.
const YOUNG: u64 = 2_000_000_000;

/// What is remembered of files.
#[derive(Debug, Default)]
pub struct Remembered {
    path: Option<PathBuf>,
    known: HashMap<Seen, Sum>,
    used: HashMap<Seen, Sum>,
    is_new: bool,
}

impl Remembered {
    /// Reads what a file says; one that cannot be read says nothing.
    pub fn read(path: PathBuf) -> Remembered {
        let mut known = HashMap::new();
        let most = (MAX_ENTRIES * ENTRY) as u64;
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        if read.is_ok() {
            for entry in bytes.chunks_exact(ENTRY) {
                let (seen, sum) = entry.split_at(5 * 8);
                let mut numbers = [0; 5];
                for (number, bytes) in numbers.iter_mut().zip(seen.chunks_exact(8)) {
                    *number = u64::from_le_bytes(bytes.try_into().expect("eight of them"));
                }
                known.insert(numbers, sum.try_into().expect("32 of them"));
            }
        }
        Remembered {
            path: Some(path),
            known,
            ..Remembered::default()
        }
    }

    /// Writes what was used. Where that cannot be, the next build reads files again.
    pub fn write(&self) {
        let Some(path) = self.path.as_ref().filter(|_| self.is_new) else {
            return;
        };
        let mut bytes = Vec::with_capacity(self.used.len() * ENTRY);
        for (seen, sum) in self.used.iter().take(MAX_ENTRIES) {
            seen.iter()
                .for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(sum);
        }
        let new = path.with_extension(format!("{}", std::process::id()));
        let written = write_private(&new, &bytes).and_then(|()| std::fs::rename(&new, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }

    fn sum(&mut self, mut file: &File) -> Result<(u64, Sum)> {
        let meta = file.metadata().context("stat")?;
        let nanos = |seconds: i64, nanos: i64| {
            (seconds as u64)
                .wrapping_mul(1_000_000_000)
                .wrapping_add(nanos as u64)
        };
        let changed = nanos(meta.ctime(), meta.ctime_nsec());
        let modified = nanos(meta.mtime(), meta.mtime_nsec());
        let seen = [meta.dev(), meta.ino(), meta.len(), modified, changed];
        if let Some(sum) = self
            .used
            .get(&seen)
            .or_else(|| self.known.get(&seen))
            .copied()
        {
            self.used.insert(seen, sum);
            return Ok((meta.len(), sum));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut hasher = Sha256::new();
        let length = io::copy(&mut file, &mut hasher).context("read")?;
        let sum: Sum = hasher.finalize().into();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if length == meta.len() && changed.saturating_add(YOUNG) < now {
            self.used.insert(seen, sum);
            self.is_new = true;
        }
        Ok((length, sum))
    }
}

/// Where the files of the directory `of` are remembered, in a store; what that takes is
/// made.
///
/// # Errors
/// The store cannot be written to, or the directory is gone.
pub fn place(store: &Path, of: &Path, stage: usize) -> io::Result<PathBuf> {
    let directory = store.join(DIRECTORY);
    make_private(&directory)?;
    let meta = of.metadata()?;
    Ok(directory.join(format!("{:x}-{:x}-{stage}", meta.dev(), meta.ino())))
}

/// Forgets all that is remembered in a store.
///
/// # Errors
/// It cannot be removed.
pub fn forget(store: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(store.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sums members up.
pub struct Summing<'a> {
    hasher: Sha256,
    remembered: &'a mut Remembered,
}

impl<'a> Summing<'a> {
    /// Nothing yet.
    pub fn new(remembered: &'a mut Remembered) -> Summing<'a> {
        Summing {
            hasher: Sha256::new(),
            remembered,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update((bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn about(&mut self, member: &Member, kind: &str) {
        let mode = match member.kind {
            Kind::Directory => 0,
            _ => member.meta.mode,
        };
        self.add(&member.path);
        let said = format!("{kind} {mode:o} {} {}", member.meta.uid, member.meta.gid);
        self.add(said.as_bytes());
        for (name, value) in &member.meta.xattrs {
            self.add(name);
            self.add(value);
        }
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.add(text.as_bytes());
    }

    /// The sum of all, in hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

impl Sink for Summing<'_> {
    fn header(&mut self, member: &Member) -> Result<()> {
        let (kind, target) = match &member.kind {
            Kind::Directory => ("d".to_owned(), None),
            Kind::Symlink(target) => ("l".to_owned(), Some(target)),
            Kind::Link(target) => ("h".to_owned(), Some(target)),
            other => (format!("{other:?}"), None),
        };
        self.about(member, &kind);
        if let Some(target) = target {
            self.add(&target.clone());
        }
        Ok(())
    }

    fn regular(&mut self, member: &mut Member, file: &File) -> Result<()> {
        let (length, sum) = self.remembered.sum(file)?;
        member.kind = Kind::File(length);
        self.about(member, "f");
        self.add(&sum);
        Ok(())
    }
}
