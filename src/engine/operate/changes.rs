//! What a container changed: `diff`, and how much of it there is.

use crate::engine::container::containers::Container;
use crate::engine::ids::userns;
use crate::engine::operate::export::{become_root, trees};
use crate::error::refuse;
use crate::image::entry::{join, show};
use crate::image::record::OPAQUE;
use crate::image::unpack::{DIRECTORY, is_whiteout};
use crate::image::view::{Node, View};
use crate::process::in_process;
use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, open, openat};
use nix::sys::stat::{Mode, fstatat};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It, or something in it, is another.
    Changed,
    /// It is gone.
    Deleted,
}

impl Change {
    const ALL: [Change; 3] = [Change::Added, Change::Changed, Change::Deleted];

    /// Docker's letter for it.
    pub fn letter(self) -> char {
        match self {
            Change::Added => 'A',
            Change::Changed => 'C',
            Change::Deleted => 'D',
        }
    }
}

/// What a container changed, in the order of paths.
///
/// # Errors
/// Its changes are not in a directory of their own.
pub fn changes(container: &Container) -> Result<Vec<(Change, Vec<u8>)>> {
    let (upper, lowers) = layers(container)?;
    let spec = container.spec()?;
    // Some of it may be closed to the user.
    let said = in_process(|| {
        if userns::enter_owners(&spec)?.is_none() {
            // Else what is the user's has to do.
            let _ = become_root();
        }
        let mut said = Vec::new();
        for (change, path) in found_in(&upper, &lowers)? {
            said.push(change.letter() as u8);
            said.extend(path);
            said.push(0);
        }
        Ok(said)
    });
    let said = said.with_context(|| format!("changes of container {}", container.record.name))?;
    let change = |line: &[u8]| {
        let (letter, path) = line.split_first()?;
        let change = Change::ALL
            .into_iter()
            .find(|c| c.letter() as u8 == *letter);
        Some((change?, path.to_vec()))
    };
    Ok(said.split(|byte| *byte == 0).filter_map(change).collect())
}

/// What is in `upper` beside what `lowers` have.
fn found_in(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<(Change, Vec<u8>)>> {
    let view = View::new(lowers)?;
    let mut found = Vec::new();
    let mut walk = Walk {
        view: &view,
        found: &mut found,
    };
    let top = open(upper, DIRECTORY, Mode::empty());
    let top = top.with_context(|| format!("open {}", upper.display()))?;
    walk.directory(&top, b"")?;
    Ok(found)
}

/// The directory that holds what a container changed, and what it stands on.
pub fn layers(container: &Container) -> Result<(PathBuf, Vec<PathBuf>)> {
    let mut trees = trees(&container.spec()?, container)?;
    if trees.len() < 2 || !trees[0].ends_with("upper") {
        refuse!(
            Conflict,
            "container {}: its changes are not apart from what it stands on",
            container.record.name
        );
    }
    let upper = trees.remove(0);
    Ok((upper, trees))
}

struct Walk<'a> {
    view: &'a View,
    found: &'a mut Vec<(Change, Vec<u8>)>,
}

impl Walk<'_> {
    /// A running container may put something else in the place of any name
    /// while it is looked at: all goes by descriptors, and what is gone is gone.
    fn directory(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        let names = names(directory)?;
        let opaque = is_opaque(directory);
        if opaque {
            self.deleted_below(path, &names)?;
        }
        for name in names {
            let here = join(path, &name);
            let stat = match fstatat(directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => continue,
                stat => stat?,
            };
            let kind = stat.st_mode & libc::S_IFMT;
            let below = match kind == libc::S_IFDIR {
                true => match openat(directory, &*name, DIRECTORY, Mode::empty()) {
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                    below => Some(below?),
                },
                false => None,
            };
            let whiteout = is_whiteout(&stat);
            let before = match opaque {
                true => None,
                false => self.view.locate(&here)?,
            };
            let change = match (&before, whiteout) {
                (None, true) => continue,
                (Some(_), true) => Change::Deleted,
                (Some(_), false) => Change::Changed,
                (None, false) => Change::Added,
            };
            self.found.push((change, here.clone()));
            if let Some(below) = below {
                let context = || show(&here);
                self.directory(&below, &here).with_context(context)?;
            }
        }
        Ok(())
    }

    /// What an opaque directory hides.
    fn deleted_below(&mut self, path: &[u8], kept: &[Vec<u8>]) -> Result<()> {
        let Some((_, Node::Directory(before))) = self.view.locate(path)? else {
            return Ok(());
        };
        for name in before.children()?.into_keys() {
            if kept.binary_search(&name).is_err() {
                self.found.push((Change::Deleted, join(path, &name)));
            }
        }
        Ok(())
    }
}

/// What a directory holds, sorted.
fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let here = openat(directory, c".", DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(here)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let value = crate::sys::xattr::get(directory, OPAQUE);
    value.is_ok_and(|value| value.as_deref() == Some(b"y"))
}

/// How many bytes a container wrote, as far as its directory can be read.
pub fn written(container: &Container) -> u64 {
    crate::engine::machine::storage::bytes_below(&container.dir.join("upper"))
}
