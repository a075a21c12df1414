//! The way to a directory of the tree, by links inside the layer.

use super::{DIRECTORY, Directory, Tree, is_whiteout};
use crate::error::demand;
use crate::image::entry::{join, show, split};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat, readlinkat};
use nix::sys::stat::{Mode, fstatat};
use std::rc::Rc;

/// Links expanded on one path before it counts as a loop, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Directories that stay open.
const KEPT: usize = 16;

impl Tree {
    /// The directory at `path`, by way of links inside the layer; what lacks
    /// is made.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<Directory>> {
        let leads_there = |known: &[u8]| {
            let rest = path.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        while self.last.pop_if(|(known, _)| !leads_there(known)).is_some() {}
        let (mut here, mut done) = match self.last.last() {
            Some((known, directory)) => (directory.clone(), known.len()),
            None => (self.root.clone(), 0),
        };
        while done < path.len() {
            let rest = &path[done + 1..];
            let end = match rest.iter().position(|byte| *byte == b'/') {
                Some(length) if self.last.len() < KEPT => done + 1 + length,
                _ => path.len(),
            };
            here = self
                .walk(here, &path[done..end], true)?
                .expect("a walk that makes directories arrives");
            self.keep(&path[..end], &here);
            done = end;
        }
        Ok(here)
    }

    /// Keeps a directory, where the one above is kept.
    pub(super) fn keep(&mut self, path: &[u8], directory: &Rc<Directory>) {
        let above = split(path).map_or(&b""[..], |(above, _)| above);
        let known = self.last.last().map_or(&b""[..], |(known, _)| known);
        if self.last.len() < KEPT && known == above {
            self.last.push((path.to_vec(), directory.clone()));
        }
    }

    /// Where `path` is, if the layer has it: its directory and true name. A
    /// whiteout is nothing.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<(Rc<Directory>, Vec<u8>)>> {
        let (parent, name) = split(path).context("a hard link to the root")?;
        let Some(parent) = self.walk(self.root.clone(), parent, false)? else {
            return Ok(None);
        };
        match fstatat(&parent.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => Ok(None),
            Ok(stat) => {
                demand!(
                    Invalid,
                    stat.st_mode & libc::S_IFMT != libc::S_IFDIR,
                    "a hard link to a directory"
                );
                Ok(Some((parent, name.to_vec())))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).context("look at the hard link's target"),
        }
    }

    /// Follows `path` from a directory of the tree.
    fn walk(
        &mut self,
        mut here: Rc<Directory>,
        path: &[u8],
        make: bool,
    ) -> Result<Option<Rc<Directory>>> {
        let mut pending = Vec::new();
        push_components(&mut pending, path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            self.spent.step(self.entries)?;
            if name == b".." {
                // Its true path holds no links, and nobody moves it meanwhile.
                here = match split(&here.path) {
                    None | Some((b"", _)) => self.root.clone(),
                    Some((above, _)) => Rc::new(Directory {
                        path: above.to_vec(),
                        fd: openat(&here.fd, c"..", DIRECTORY, Mode::empty()).context("go up")?,
                    }),
                };
                continue;
            }
            let fd = match openat(&here.fd, &*name, DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) if !make => return Ok(None),
                Err(Errno::ENOENT) => self.make_directory(&here, &name)?,
                Err(Errno::ENOTDIR | Errno::ELOOP) => match readlinkat(&here.fd, &*name) {
                    Ok(target) => {
                        links += 1;
                        demand!(
                            Invalid,
                            links <= MAX_LINKS,
                            "too many symbolic links on the way"
                        );
                        let target = std::os::unix::ffi::OsStringExt::into_vec(target);
                        if target.starts_with(b"/") {
                            here = self.root.clone();
                        }
                        push_components(&mut pending, &target);
                        continue;
                    }
                    Err(Errno::EINVAL) => {
                        let stat = fstatat(&here.fd, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                        if !make {
                            return Ok(None);
                        }
                        demand!(
                            Invalid,
                            is_whiteout(&stat),
                            "{} is not a directory",
                            show(&join(&here.path, &name))
                        );
                        self.make_directory(&here, &name)?
                    }
                    Err(errno) => return Err(errno).context("read a link on the way"),
                },
                Err(errno) => {
                    let path = join(&here.path, &name);
                    return Err(errno).with_context(|| format!("open {}", show(&path)));
                }
            };
            here = Rc::new(Directory {
                path: join(&here.path, &name),
                fd,
            });
        }
        Ok(Some(here))
    }
}

fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|byte| *byte == b'/');
    let real = components.filter(|name| !name.is_empty() && *name != b".");
    pending.extend(real.rev().map(<[u8]>::to_vec));
}
