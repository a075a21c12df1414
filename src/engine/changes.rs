//! What a container changed: `diff`, and how much of it there is.

use super::containers::Container;
use super::export::{become_root, mount_points, trees};
use super::userns;
use crate::image::entry::join;
use crate::image::view::{Node, View};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
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
    let said = userns::in_process(|| {
        if userns::enter_owners(&spec)?.is_none() {
            // Else what is the user's has to do.
            let _ = become_root();
        }
        let mut said = Vec::new();
        let all: Vec<PathBuf> = [&upper].into_iter().chain(&lowers).cloned().collect();
        let points = mount_points(&spec, &all)?;
        for (change, path) in found_in(&upper, &lowers, &points)? {
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
fn found_in(
    upper: &Path,
    lowers: &[PathBuf],
    points: &HashSet<Vec<u8>>,
) -> Result<Vec<(Change, Vec<u8>)>> {
    let view = View::new(lowers)?;
    let mut found = Vec::new();
    let mut walk = Walk {
        view: &view,
        points,
        found: &mut found,
    };
    walk.directory(upper, b"")?;
    Ok(found)
}

/// The directory that holds what a container changed, and what it stands on.
pub fn layers(container: &Container) -> Result<(PathBuf, Vec<PathBuf>)> {
    let mut trees = trees(&container.spec()?, container)?;
    if trees.len() < 2 || !trees[0].ends_with("upper") {
        bail!(
            "container {}: its changes are not apart from what it stands on",
            container.record.name
        );
    }
    let upper = trees.remove(0);
    Ok((upper, trees))
}

struct Walk<'a> {
    view: &'a View,
    /// Where something is mounted.
    points: &'a HashSet<Vec<u8>>,
    found: &'a mut Vec<(Change, Vec<u8>)>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, path: &[u8]) -> Result<()> {
        let what = || directory.display().to_string();
        let mut entries = std::fs::read_dir(directory)
            .with_context(what)?
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(what)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let opaque = is_opaque(directory);
        if opaque {
            self.deleted_below(path, &entries)?;
        }
        for entry in entries {
            let name = entry.file_name();
            let here = join(path, name.as_bytes());
            let meta = entry.path().symlink_metadata().with_context(what)?;
            if self.points.contains(&here) && is_bare(&entry.path(), &meta) {
                continue;
            }
            let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
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
            if meta.is_dir() {
                self.directory(&entry.path(), &here)?;
            }
        }
        Ok(())
    }

    /// What an opaque directory hides.
    fn deleted_below(&mut self, path: &[u8], kept: &[std::fs::DirEntry]) -> Result<()> {
        let Some((_, Node::Directory(before))) = self.view.locate(path)? else {
            return Ok(());
        };
        for name in before.children()?.into_keys() {
            if !kept
                .iter()
                .any(|entry| entry.file_name().as_bytes() == name)
            {
                self.found.push((Change::Deleted, join(path, &name)));
            }
        }
        Ok(())
    }
}

/// Whether a file or directory holds nothing, as those that bryo makes for
/// mounts to stand on.
fn is_bare(path: &Path, meta: &std::fs::Metadata) -> bool {
    match meta.is_dir() {
        true => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
        false => meta.is_file() && meta.len() == 0,
    }
}

fn is_opaque(directory: &Path) -> bool {
    use crate::image::record::OPAQUE;
    let file = std::fs::File::open(directory);
    file.is_ok_and(|file| {
        crate::sys::xattr::get(&file, OPAQUE).is_ok_and(|value| value.as_deref() == Some(b"y"))
    })
}

/// How many bytes a container wrote, as far as its directory can be read.
pub fn written(container: &Container) -> u64 {
    sum(&container.dir.join("upper"))
}

/// Bytes of the files in a directory, as far as it can be read.
pub fn sum(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)))
        .map(|(path, meta)| match meta.is_dir() {
            true => sum(&path),
            false if meta.is_file() => meta.len(),
            false => 0,
        })
        .sum()
}
