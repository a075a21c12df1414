//! Files that are there when they are complete, or not at all: without a name
//! until then (`O_TMPFILE`, open(2)), they go with the process that writes
//! them, however it ends. Where the file system cannot do that, they have the
//! name of something unfinished, which a signal takes away.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

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
                    (File::create_new(meanwhile.path())?, Some(meanwhile))
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

    /// Puts it in its place, where it replaces what is there.
    ///
    /// # Errors
    /// A directory is there.
    pub fn finish(self) -> Result<()> {
        let put = || -> Result<()> {
            let last = self.path.file_name().context("it has no name")?;
            if let Some(meanwhile) = &self.named {
                return Ok(std::fs::rename(meanwhile.path(), &self.path)?);
            }
            match name(&self.file, &self.parent, last.as_bytes()) {
                Err(Errno::EEXIST) => {}
                other => return Ok(other?),
            }
            let meanwhile = partial(last.as_bytes());
            name(&self.file, &self.parent, meanwhile.as_bytes())?;
            renameat(&self.parent, &*meanwhile, &self.parent, last).map_err(|errno| {
                let _ = nix::unistd::unlinkat(
                    &self.parent,
                    &*meanwhile,
                    nix::unistd::UnlinkatFlags::NoRemoveDir,
                );
                anyhow!(errno)
            })
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
    fn where_it_must_have_a_name_it_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(partial(&[b'x'; 255]));
        let removed = RemovedBySignal::new(path.clone()).unwrap();
        fs::write(&path, "half").unwrap();
        drop(removed);
        assert!(!path.exists());
    }
}
