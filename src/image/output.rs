//! Files that are there when they are complete, or not at all: without a name
//! until then (`O_TMPFILE`, open(2)), they go with the process that writes
//! them, however it ends. Where the file system cannot do that, they have the
//! name of something unfinished, which a signal takes away.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::holes::{self, Holes};
use super::session::unique;
use crate::sys::signal::RemovedBySignal;

/// A new file without a name in the directory `parent`; None where that cannot
/// be.
pub fn nameless(parent: impl AsFd, mode: Mode) -> nix::Result<Option<File>> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match openat(parent, c".", flags, mode) {
        Ok(fd) => Ok(Some(fd.into())),
        // A file system, or a kernel, that does not know it.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives a file without a name one that is free.
pub fn name(file: &File, parent: impl AsFd, name: &[u8]) -> nix::Result<()> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = AtFlags::AT_SYMLINK_FOLLOW;
    linkat(AT_FDCWD, link.as_str(), parent, name, flags)
}

/// Gives a file without a name one, where it replaces what has it. A file that
/// something is mounted on cannot be replaced and gets the content.
///
/// # Errors
/// EISDIR if a directory has the name, EBUSY if something other than a file is
/// mounted there; all is as it was.
pub fn put(file: &File, parent: impl AsFd, last: &[u8]) -> io::Result<()> {
    match name(file, &parent, last) {
        Err(Errno::EEXIST) => {}
        other => return Ok(other?),
    }
    let meanwhile = partial(last);
    name(file, &parent, meanwhile.as_bytes())?;
    let moved = renameat(&parent, &*meanwhile, &parent, last);
    if moved.is_err() {
        let _ = unlinkat(&parent, &*meanwhile, UnlinkatFlags::NoRemoveDir);
    }
    match moved {
        Err(Errno::EBUSY) => write_into(file, parent, last),
        other => Ok(other?),
    }
}

/// Writes all that `content` has into the file `last`, which cannot be replaced
/// since something is mounted there. There is room for it before anything is
/// written, where the file system can say so.
///
/// # Errors
/// EBUSY if that is no file.
pub fn write_into(mut content: &File, parent: impl AsFd, last: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let target = File::from(openat(parent, last, flags, Mode::empty())?);
    if !target.metadata()?.is_file() {
        return Err(Errno::EBUSY.into());
    }
    let meta = content.metadata()?;
    let size = meta.len();
    content.rewind()?;
    if meta.blocks() * 512 < size {
        target.set_len(0)?;
        let mut out = Holes::new(&target);
        let mut buffer = vec![0; 4 * holes::RUN];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                n => out.write_all(&buffer[..n])?,
            }
        }
        return out.finish().map(drop);
    }
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    if let Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) = fallocate(
        &target,
        keep,
        0,
        i64::try_from(size).unwrap_or(i64::MAX).max(1),
    ) {
        return Err(errno.into());
    }
    io::copy(&mut content, &mut &target)?;
    target.set_len(size)
}

/// Has `fill` make a directory and put something there. If that fails, what was
/// not there before is gone again.
///
/// # Errors
/// That of `fill`.
pub fn directory<T>(path: &Path, fill: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_new = path.symlink_metadata().is_err();
    fill().inspect_err(|_| {
        if is_new {
            let _ = std::fs::remove_dir_all(path);
        }
    })
}

/// A file on its way.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    parent: OwnedFd,
    /// What it is called meanwhile, where it must have a name.
    named: Option<RemovedBySignal>,
}

impl Output {
    /// Starts what is to become `path`.
    ///
    /// # Errors
    /// The directory is not there or cannot be written to.
    pub fn new(path: &Path) -> Result<Output> {
        let start = || -> Result<Output> {
            let last = path.file_name().context("it has no name")?;
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let parent = OwnedFd::from(File::open(directory)?);
            let (file, named) = match nameless(&parent, Mode::from_bits_truncate(0o666))? {
                Some(file) => (file, None),
                None => {
                    let meanwhile = RemovedBySignal::new(directory.join(partial(last.as_bytes())))?;
                    let mut options = File::options();
                    let options = options.read(true).write(true).create_new(true);
                    (options.open(meanwhile.path())?, Some(meanwhile))
                }
            };
            Ok(Output {
                file,
                path: path.to_owned(),
                parent,
                named,
            })
        };
        start().with_context(|| format!("write {}", path.display()))
    }

    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts it in its place, where it replaces what is there; a file that is
    /// mounted there gets the content.
    ///
    /// # Errors
    /// A directory is there.
    pub fn finish(self) -> Result<()> {
        let put = || -> Result<()> {
            let last = self.path.file_name().context("it has no name")?;
            let Some(meanwhile) = &self.named else {
                return Ok(self::put(&self.file, &self.parent, last.as_bytes())?);
            };
            match std::fs::rename(meanwhile.path(), &self.path) {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    Ok(write_into(&self.file, &self.parent, last.as_bytes())?)
                }
                other => Ok(other?),
            }
        };
        put().with_context(|| format!("write {}", self.path.display()))
    }
}

/// What something unfinished is called.
fn partial(last: &[u8]) -> OsString {
    // A name of 255 bytes is the longest there may be.
    let last = &last[..last.len().min(180)];
    OsString::from_vec([b".", last, b".", unique().as_bytes(), b".partial"].concat())
}

impl Write for &Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let output = Output::new(&path).unwrap();
        (&output).write_all(b"half").unwrap();
        drop(output);
        assert_eq!(names(), 0);
        for text in ["first", "second"] {
            let output = Output::new(&path).unwrap();
            (&output).write_all(text.as_bytes()).unwrap();
            output.finish().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(), 1);
        }
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let output = Output::new(&taken).unwrap();
        assert!(output.finish().is_err());
        assert_eq!(names(), 2);
    }

    #[test]
    fn what_cannot_be_replaced_gets_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let parent = File::open(dir.path()).unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "a longer content").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let content = tempfile::tempfile().unwrap();
        (&content).write_all(b"short").unwrap();
        write_into(&content, &parent, b"file").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        content.set_len(1 << 30).unwrap();
        write_into(&content, &parent, b"file").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.ino()), (1 << 30, inode));
        assert!(meta.blocks() < 1 << 10, "{} blocks", meta.blocks());
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(write_into(&content, &parent, b"link").is_err());
    }

    #[test]
    fn where_it_must_have_a_name_it_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(partial(&[b'x'; 255]));
        let removed = RemovedBySignal::new(path.clone()).unwrap();
        fs::write(&path, "half").unwrap();
        drop(removed);
        assert!(!path.exists());
    }
}
