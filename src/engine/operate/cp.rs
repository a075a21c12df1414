//! `cp`: files and trees between containers and the host, as tars through
//! pipes.
//!
//! What belongs to a container is read and written by a process that was made
//! for it and resolves each path below the container's root; no code and no
//! link of the container's has a say in that (CVE-2018-15664,
//! CVE-2019-14271).

use crate::engine::ground::confine::{limit, write_only_to};
use crate::engine::operate::visit::{Files, Visit};
use crate::error::{refusal, refuse};
use crate::image::budget::Budget;
use crate::image::layer::Earning;
use crate::image::pack::{self, pack};
use crate::image::place::{self, Found, Receiver, Target};
use crate::process::{Beside, unless_unread};
use crate::sys::fd::open_in_root;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// How things are copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// `-a`: owners are kept.
    pub archive: bool,
    /// `-L`: a link as the source stands for what it leads to.
    pub follow: bool,
    /// How much a tar at standard input may ask for.
    pub budget: Budget,
}

/// One side of a copy.
#[derive(Debug)]
pub enum Side {
    /// `-`: a tar at standard input or output.
    Stream,
    /// A path of the host.
    Host(String),
    /// A path of a container.
    Container(Rc<Visit>, String),
}

/// A path as it was written, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    /// Without `.`, `..` and slashes that say nothing.
    path: PathBuf,
    /// It ended with a slash, so a directory is meant.
    slash: bool,
    /// It ended with `/.`: what is in the directory is meant.
    contents: bool,
}

impl Written {
    /// A path of the host.
    fn of_host(text: &str) -> Written {
        let last = text.rsplit('/').next().unwrap_or_default();
        Written {
            path: PathBuf::from(text),
            slash: last.is_empty() || last == ".",
            contents: last == ".",
        }
    }

    /// A path of a container, relative to its root; as docker does, `..` is
    /// taken away before links are looked at.
    fn of_container(text: &str) -> Written {
        let mut path = PathBuf::new();
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        Written {
            path,
            ..Written::of_host(text)
        }
    }

    /// What the top of the archive is called.
    fn base(&self) -> Vec<u8> {
        match self.path.file_name() {
            Some(name) => name.as_bytes().to_vec(),
            None => b"root".to_vec(),
        }
    }
}

/// Copies from one side to the other.
///
/// # Errors
/// Both are on the host; what docker's rules forbid, see [`place::land`].
pub fn copy(from: Side, to: Side, options: CopyOptions, warn: &dyn Fn(&str)) -> Result<()> {
    let keep = options.archive;
    match (from, to) {
        (Side::Stream, Side::Container(visit, path)) => {
            let target = (Written::of_container(&path), false);
            let put = || {
                let tar = std::io::stdin().lock();
                into_container(&visit, target, (options.budget, true), true, tar)
            };
            Beside::start(put)?
                .finish()
                .with_context(|| told(&visit, &path))
        }
        (Side::Host(source), Side::Container(visit, path)) => {
            let source = Written::of_host(&source);
            let what = || source.path.display().to_string();
            let top = open_host(&source, options.follow).with_context(what)?;
            let (reader, writer) = std::io::pipe().context("pipe")?;
            let target = (Written::of_container(&path), source.contents);
            let writer = Cell::new(Some(writer));
            let receiver = Beside::start(|| {
                drop(writer.take());
                into_container(&visit, target, (options.budget, false), keep, reader)
            })?;
            let out = BufWriter::with_capacity(1 << 18, writer.take().context("pipe")?);
            let sent = pack(&top, &source.base(), &pack::Whose::Kernel, out);
            // Who reads no further has a reason.
            receiver.finish().with_context(|| told(&visit, &path))?;
            unless_unread(sent.map(drop)).with_context(what)
        }
        (Side::Container(visit, path), Side::Stream) => {
            let source = Written::of_container(&path);
            let out = std::io::stdout().as_fd().try_clone_to_owned();
            let out = File::from(out.context("standard output")?);
            let send = || from_container(&visit, &source, options, true, out);
            Beside::start(send)?
                .finish()
                .with_context(|| told(&visit, &path))
        }
        (Side::Container(visit, path), Side::Host(to)) => {
            let source = Written::of_container(&path);
            let (sender, reader) = sending(&visit, &source, options)?;
            let written = Written::of_host(&to);
            let received = into_host(&written, source.contents, reader, warn);
            // It ends early if it is not read any more.
            sender.finish().with_context(|| told(&visit, &path))?;
            received.with_context(|| to.clone())
        }
        // Its files can be mounted but once at a time.
        (Side::Container(visit, path), Side::Container(other, to))
            if Rc::ptr_eq(&visit, &other) && !visit.is_running() =>
        {
            let source = Written::of_container(&path);
            let target = (Written::of_container(&to), source.contents);
            let mut spool = visit.spool()?;
            let out = spool.try_clone()?;
            let out = Cell::new(Some(out));
            Beside::start(|| {
                let out = out.take().context("spool")?;
                from_container(&visit, &source, options, false, out)
            })?
            .finish()
            .with_context(|| told(&visit, &path))?;
            spool.rewind()?;
            let put = || into_container(&visit, target, (options.budget, false), keep, &spool);
            Beside::start(put)?
                .finish()
                .with_context(|| told(&visit, &to))
        }
        (Side::Container(visit, path), Side::Container(other, to)) => {
            let source = Written::of_container(&path);
            let (sender, reader) = sending(&visit, &source, options)?;
            let target = (Written::of_container(&to), source.contents);
            let put = || into_container(&other, target, (options.budget, false), keep, reader);
            let receiver = Beside::start(put)?;
            let received = receiver.finish().with_context(|| told(&other, &to));
            sender.finish().with_context(|| told(&visit, &path))?;
            received
        }
        (Side::Host(_) | Side::Stream, _) => {
            refuse!(
                Invalid,
                "one of the two is a path of a container, as NAME:PATH"
            )
        }
    }
}

fn told(visit: &Visit, path: &str) -> String {
    format!("{}:{path}", visit.container().record.name)
}

/// Starts to send a path of a container.
fn sending(visit: &Visit, source: &Written, options: CopyOptions) -> Result<(Beside, PipeReader)> {
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let reader = Cell::new(Some(reader));
    let sender = Beside::start(|| {
        drop(reader.take());
        from_container(visit, source, options, false, writer)
    })?;
    Ok((sender, reader.take().context("pipe")?))
}

/// Opens what a path of the host is (`O_PATH`).
fn open_host(source: &Written, follow: bool) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let end = match follow || source.slash {
        true => OFlag::empty(),
        false => OFlag::O_NOFOLLOW,
    };
    let directory = match source.slash {
        true => OFlag::O_DIRECTORY,
        false => OFlag::empty(),
    };
    let flags = flags | end | directory;
    nix::fcntl::openat(AT_FDCWD, &source.path, flags, Mode::empty()).map_err(said)
}

/// The errors of a path in the words of docker.
fn said(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::ENOENT => refusal!(NotFound, "no such file or directory"),
        Errno::ENOTDIR => refusal!(Invalid, "not a directory"),
        errno => errno.into(),
    }
}

/// Sends a path of a container. Runs in a process made for it.
fn from_container(
    visit: &Visit,
    source: &Written,
    options: CopyOptions,
    stream: bool,
    out: impl Write,
) -> Result<()> {
    let CopyOptions { follow, budget, .. } = options;
    let mut files = visit.enter(false)?;
    files
        .recorded
        .refresh()
        .context("read the recorded owners")?;
    let mut flags = OFlag::O_PATH;
    if !(follow || source.slash) {
        flags |= OFlag::O_NOFOLLOW;
    }
    if source.slash {
        flags |= OFlag::O_DIRECTORY;
    }
    let path = match source.path.as_os_str().is_empty() {
        true => Path::new("."),
        false => &source.path,
    };
    limit(&budget)?;
    write_only_to(&[])?;
    let top = open_in_root(&files.root, path, flags).map_err(|e| match e.errno {
        Errno::ELOOP => anyhow::Error::from(e).context("a link that leads out, or in circles"),
        errno @ (Errno::ENOENT | Errno::ENOTDIR) => said(errno),
        _ => e.into(),
    })?;
    let whose = match &files.true_owners {
        Some(owners) => pack::Whose::True(owners),
        None => pack::Whose::Recorded(&files.recorded),
    };
    // Others get the name in any case: they may take it away.
    let base = match stream && (source.contents || source.path.file_name().is_none()) {
        true => Vec::new(),
        false => source.base(),
    };
    let out = BufWriter::with_capacity(1 << 18, Earning::new(out, budget));
    let sent = pack(&top, &base, &whose, out).and_then(|mut out| Ok(out.flush()?));
    unless_unread(sent)
}

/// Receives a tar into a container: one of ours, or, if it is an `archive`,
/// somebody's own within the budget. Runs in a process made for it.
fn into_container(
    visit: &Visit,
    (to, contents): (Written, bool),
    (budget, archive): (Budget, bool),
    keep: bool,
    source: impl Read,
) -> Result<()> {
    let Files {
        root,
        true_owners,
        mut recorded,
    } = visit.enter(true)?;
    let records = File::open(&visit.container().dir).context("the container's directory")?;
    limit(&budget)?;
    write_only_to(&[root.as_fd(), records.as_fd()])?;
    let (path, found) = place::find(&root, &to.path)?;
    let whose = match &true_owners {
        Some(owners) => place::Whose::True { owners, keep },
        None => place::Whose::Recorded {
            owners: &mut recorded,
            keep,
        },
    };
    let mut place = Receiver {
        root: &root,
        links: true,
        whose,
        warn: &|_| (),
    };
    let target = Target {
        path,
        found,
        slash: to.slash,
        contents,
        archive,
        budget: if archive { budget } else { Budget::UNLIMITED },
    };
    let source = Earning::new(source, budget);
    place.put(BufReader::with_capacity(1 << 18, source), &target)
}

/// Receives a tar on the host. This process may do nothing else from there on.
fn into_host(to: &Written, contents: bool, source: impl Read, warn: &dyn Fn(&str)) -> Result<()> {
    // Links that the user wrote are followed, those below are not.
    let path = match to.path.canonicalize() {
        Ok(path) => path,
        Err(_) => match (to.path.parent(), to.path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = match parent.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => parent,
                };
                let parent = parent.canonicalize().map_err(|_| said(Errno::ENOENT))?;
                match parent.is_dir() {
                    true => parent.join(name),
                    false => return Err(said(Errno::ENOTDIR)),
                }
            }
            _ => refuse!(NotFound, "no such file or directory"),
        },
    };
    let found = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Found::Directory,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    };
    let (root, path) = match (found, path.parent(), path.file_name()) {
        (Found::Directory, ..) | (_, None, _) | (_, _, None) => (path.as_path(), OsStr::new("")),
        (_, Some(parent), Some(name)) => (parent, name),
    };
    let root = File::open(root).with_context(|| root.display().to_string())?;
    write_only_to(&[root.as_fd()])?;
    let mut place = Receiver {
        root: &root.into(),
        links: false,
        whose: place::Whose::Mine,
        warn,
    };
    let target = Target {
        path: path.into(),
        found,
        slash: to.slash,
        contents,
        archive: false,
        budget: Budget::UNLIMITED,
    };
    place.put(BufReader::with_capacity(1 << 18, source), &target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_containers_stay_below_their_root() {
        for (text, path, slash, contents) in [
            ("/etc/passwd", "etc/passwd", false, false),
            ("etc/../../x/", "x", true, false),
            ("/../..", "", false, false),
            ("/a/.", "a", true, true),
            (".", "", true, true),
            ("/", "", true, false),
        ] {
            let written = Written::of_container(text);
            assert_eq!(written.path, Path::new(path), "{text}");
            assert_eq!(
                (written.slash, written.contents),
                (slash, contents),
                "{text}"
            );
        }
        assert_eq!(Written::of_container("/a/b/.").base(), b"b");
        assert_eq!(Written::of_host(".").base(), b"root");
    }
}
