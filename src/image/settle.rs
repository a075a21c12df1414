//! Finishing a layer that takes something from the layers below it.
//!
//! A tar entry is written as if all lower layers were already there. Where a
//! layer leans on that, its tree is completed for the stack at hand:
//!
//! - **A directory without an entry of its own** is there only as a way to
//!   something. The layer must not change it, so it gets the attributes of the
//!   directory below. If below there is a symbolic link to a directory, the
//!   contents go where it points: an entry `lib/x` on a system with
//!   `lib -> usr/lib` is `usr/lib/x`, and must not hide the link.
//! - **A hard link to a file below**: the file is copied into this layer, once
//!   for all links to it, with what was recorded of it beside its tree.
//! - **An opaque root** hides each name that the layers below have in the root.
//!
//! This is what docker's merged tree gives; tools that unpack each layer by
//! itself differ in these corners.

use crate::error::{Kind, demand, refuse};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::copy;
use super::entry::{join, show, split};
use super::layer::About;
use super::record::{OPAQUE, Record, Records, escape};
use super::remove;
use super::unpack::{Attributes, DIRECTORY, Unpacked, is_whiteout, take_below};
use super::view::{Merged, Node, View};
use crate::sys::xattr;

/// Completes `tree` and seals it; `below` are the trees under it, the topmost
/// first.
pub fn settle(tree: &Path, unpacked: &mut Unpacked, below: &[PathBuf]) -> Result<()> {
    if let (Some((path, target)), true) = (unpacked.links.first_key_value(), below.is_empty()) {
        refuse!(
            Invalid,
            "entry {}: there is no {} to make a hard link to",
            show(path),
            show(target)
        );
    }
    if !below.is_empty() {
        let file = File::open(tree).with_context(|| format!("open {}", tree.display()))?;
        let mut settling = Settling {
            root: file.into(),
            view: View::new(below)?,
            below: below.iter().map(|tree| (tree, OnceCell::new())).collect(),
            copies: HashMap::new(),
            directories: &mut unpacked.directories,
            records: &mut unpacked.records,
        };
        if unpacked.opaque_root {
            settling.hide_all().context("opaque root")?;
        }
        let implied = settling.directories.iter();
        let implied = implied.filter(|(path, known)| known.is_none() && !path.is_empty());
        // The deepest first: it may move away from under the others.
        let implied: Vec<Vec<u8>> = implied.map(|(path, _)| path.clone()).rev().collect();
        for path in implied {
            let context = || format!("directory {}", show(&path));
            settling.implied(&path).with_context(context)?;
        }
        for (path, target) in std::mem::take(&mut unpacked.links) {
            let context = || format!("entry {}: hard link to {}", show(&path), show(&target));
            settling.link(&path, &target).with_context(context)?;
        }
    }
    unpacked.seal(tree)
}

struct Settling<'a> {
    root: OwnedFd,
    /// What the layers below show.
    view: View,
    /// These layers, the topmost first, with what is known beside their trees.
    below: Vec<(&'a PathBuf, OnceCell<Records>)>,
    /// Where files below were copied to, by device and inode.
    copies: HashMap<(u64, u64), Vec<u8>>,
    /// What this layer's directories are to have in the end.
    directories: &'a mut BTreeMap<Vec<u8>, Option<Attributes>>,
    records: &'a mut Records,
}

impl Settling<'_> {
    /// Hides every name of the lower root: by a whiteout, or where this layer
    /// has a directory of that name, by making it opaque.
    fn hide_all(&self) -> Result<()> {
        for name in self.view.root().children()?.keys() {
            match mknodat(&self.root, &**name, SFlag::S_IFCHR, Mode::empty(), 0) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    if let Some(fd) = self.directory(name)? {
                        xattr::set(&fd, OPAQUE, b"y")?;
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Finishes a directory that the archive used without listing it.
    fn implied(&mut self, path: &[u8]) -> Result<()> {
        let Some(here) = self.directory(path)? else {
            // It went elsewhere together with its parent.
            return Ok(());
        };
        let Some((true_path, Node::Directory(below))) = self.view.locate_followed(path)? else {
            return Ok(());
        };
        if true_path == path {
            return self.resemble(path, &here, &below);
        }
        let there = self.make_way(&true_path)?;
        merge(&here, &there)?;
        let (parent, name) = split(path).context(Kind::Invalid.says("the root is no link"))?;
        let parent = self
            .directory(parent)?
            .context(Kind::Invalid.says("its parent is gone"))?;
        unlinkat(&parent, name, UnlinkatFlags::RemoveDir)?;
        self.moved(path, &true_path);
        Ok(())
    }

    /// Notes that what was below `from` is now below `to`.
    fn moved(&mut self, from: &[u8], to: &[u8]) {
        self.directories.remove(from);
        let below = join(from, b"");
        for (path, known) in take_below(self.directories, &below, Vec::as_slice) {
            let path = join(to, &path[below.len()..]);
            self.directories.entry(path).or_insert(known);
        }
        let below = escape(&below);
        for (path, record) in take_below(self.records, &below, String::as_bytes) {
            let path = format!("{}/{}", escape(to), &path[below.len()..]);
            self.records.entry(path).or_insert(record);
        }
    }

    /// Gives a directory of this layer the attributes of the one below.
    fn resemble(&mut self, path: &[u8], here: &OwnedFd, below: &Merged) -> Result<()> {
        let stat = below.layers[0].stat()?;
        copy::own(here, None, &stat)?;
        copy::xattrs(&*below.layers[0], here)?;
        let mtime = (stat.st_mtime, stat.st_mtime_nsec as u32);
        let attributes = Some((stat.st_mode & 0o7777, mtime));
        self.directories.insert(path.to_vec(), attributes);
        Ok(())
    }

    /// A file of a lower layer, copied to `path` in this one.
    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let Some((target, Node::Other(file))) = self.view.locate(target)? else {
            refuse!(Invalid, "there is no such file, in this layer or below");
        };
        let (parent, name) = split(path).context(Kind::Invalid.says("the root is no file"))?;
        // Its directory may have moved to where a link below points.
        let (parent, path) = match self.directory(parent)? {
            Some(parent) => (parent, path.to_vec()),
            None => match self.view.locate_followed(parent)? {
                Some((true_path, Node::Directory(_))) => {
                    (self.make_way(&true_path)?, join(&true_path, name))
                }
                _ => refuse!(Invalid, "its directory is gone"),
            },
        };
        let mut record = self.record(file.parent.layer, &target)?;
        let inode = (file.stat.st_dev, file.stat.st_ino);
        match self.copies.get(&inode) {
            Some(first) => {
                let (above, first) =
                    split(first).context(Kind::Invalid.says("the root is no file"))?;
                let above = self
                    .directory(above)?
                    .context(Kind::Invalid.says("its first name is gone"))?;
                linkat(&above, first, &parent, name, AtFlags::empty())?;
                // The first name has them: else a few bytes would become many.
                record.iter_mut().for_each(|record| record.xattrs.clear());
            }
            None => {
                copy::copy_file(&*file.parent, &file.name, &parent, name)?;
                self.copies.insert(inode, path.clone());
            }
        }
        if let Some(record) = record {
            self.records.insert(escape(&path), record);
        }
        Ok(())
    }

    /// What is known of a file beside the tree of a lower layer.
    fn record(&self, layer: usize, path: &[u8]) -> Result<Option<Record>> {
        let (tree, known) = &self.below[layer];
        let known = match known.get() {
            Some(known) => known,
            None => {
                let read = About::records_beside(tree)?;
                known.get_or_init(|| read)
            }
        };
        Ok(known.get(&escape(path)).cloned())
    }

    /// The directory `path` of this layer, made like the one below if need be.
    /// `path` is a true path of the view below.
    fn make_way(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let Some(found) = self.directory(path)? {
            return Ok(found);
        }
        let (parent, name) = split(path).context(Kind::Invalid.says("the root is there"))?;
        let parent = self.make_way(parent)?;
        match fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
            Ok(stat) => {
                demand!(
                    Invalid,
                    is_whiteout(&stat),
                    "{} is not a directory",
                    show(path)
                );
                unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)?;
            }
        }
        mkdirat(&parent, name, Mode::S_IRWXU)?;
        let made = openat(&parent, name, DIRECTORY, Mode::empty())?;
        if let Some((_, Node::Directory(below))) = self.view.locate(path)? {
            self.resemble(path, &made, &below)?;
        }
        Ok(made)
    }

    /// Opens a directory of the layer by its true path; None if there is none.
    fn directory(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let mut fd = self.root.try_clone()?;
        for name in path.split(|byte| *byte == b'/').filter(|n| !n.is_empty()) {
            fd = match openat(&fd, name, DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(Some(fd))
    }
}

/// Moves all that `from` holds to `to`. What `to` has already is newer in
/// meaning (the layer names its path outright) and stays; directories merge.
fn merge(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for name in copy::names(from)? {
        let name: &CStr = &name;
        match fstatat(to, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => renameat(from, name, to, name)?,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {
                let open = |parent| openat(parent, name, DIRECTORY, Mode::empty());
                if let (Ok(from), Ok(to)) = (open(from), open(to)) {
                    merge(&from, &to)?;
                }
                remove::remove(from, name)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
