//! Whether two trees of a layer are the same, file by file.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat};
use nix::unistd::{Whence, lseek};

use super::copy::{Opened, names};
use super::entry::{join, show};
use crate::sys::fs::open_shut;
use crate::sys::xattr;

/// The first difference between two trees, for people: which path, and what of
/// it. None if there is none. Times of directories do not count: those that
/// the archive did not list have that of the unpacking.
pub fn difference(one: &Path, other: &Path) -> Result<Option<String>> {
    let open = |path: &Path| -> Result<Directory> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Directory {
            fd: file.into(),
            shut: None,
        })
    };
    directories(&open(one)?, &open(other)?, b"")
}

/// An open directory, opened up for as long as it is in use if its mode shuts
/// out its owner.
struct Directory {
    fd: OwnedFd,
    shut: Option<Mode>,
}

impl Directory {
    fn open(parent: &Directory, name: &CStr, stat: &FileStat) -> Result<Directory> {
        let wanted = Mode::S_IRUSR | Mode::S_IXUSR;
        let (fd, shut) = open_shut(&parent.fd, name.to_bytes(), stat, wanted)?;
        Ok(Directory { fd, shut })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(mode) = self.shut {
            let _ = fchmod(&self.fd, mode);
        }
    }
}

fn directories(one: &Directory, other: &Directory, path: &[u8]) -> Result<Option<String>> {
    let differs = |what: &str| {
        let path = if path.is_empty() { b"." } else { path };
        Ok(Some(format!("{}: {what}", show(path))))
    };
    if attributes(&one.fd)? != attributes(&other.fd)? {
        return differs("its attributes");
    }
    let mine: BTreeSet<CString> = names(&one.fd)?.into_iter().collect();
    let theirs: BTreeSet<CString> = names(&other.fd)?.into_iter().collect();
    if let Some(name) = mine.symmetric_difference(&theirs).next() {
        let what = match mine.contains(name) {
            true => "it should not be there",
            false => "it is missing",
        };
        return Ok(Some(format!(
            "{}: {what}",
            show(&join(path, name.to_bytes()))
        )));
    }
    for name in &mine {
        let here = join(path, name.to_bytes());
        let found = entries(one, other, name, &here).with_context(|| show(&here))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn entries(one: &Directory, other: &Directory, name: &CStr, path: &[u8]) -> Result<Option<String>> {
    let stat = |directory: &Directory| fstatat(&directory.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    let (mine, theirs) = (stat(one)?, stat(other)?);
    let kind = mine.st_mode & libc::S_IFMT;
    let differs = |what: &str| Ok(Some(format!("{}: {what}", show(path))));
    if mine.st_mode != theirs.st_mode {
        return differs("its mode or kind");
    }
    if (mine.st_uid, mine.st_gid) != (theirs.st_uid, theirs.st_gid) {
        return differs("its owner");
    }
    if kind == libc::S_IFDIR {
        let below = Directory::open(one, name, &mine)?;
        return directories(&below, &Directory::open(other, name, &theirs)?, path);
    }
    if mine.st_nlink != theirs.st_nlink {
        return differs("its hard links");
    }
    let time = |stat: &FileStat| (stat.st_mtime, stat.st_mtime_nsec);
    match kind {
        libc::S_IFREG => {
            if mine.st_size != theirs.st_size {
                return differs("its size");
            }
            if time(&mine) != time(&theirs) {
                return differs("its time");
            }
            let size = u64::try_from(mine.st_size)?;
            let mine = Opened::new(&one.fd, name.to_bytes(), &mine)?;
            let theirs = Opened::new(&other.fd, name.to_bytes(), &theirs)?;
            if attributes(&*mine)? != attributes(&*theirs)? {
                return differs("its attributes");
            }
            if !same_content(&mine, &theirs, size)? {
                return differs("its content");
            }
        }
        libc::S_IFLNK if readlinkat(&one.fd, name)? != readlinkat(&other.fd, name)? => {
            return differs("its target");
        }
        libc::S_IFCHR | libc::S_IFBLK if mine.st_rdev != theirs.st_rdev => {
            return differs("its device number");
        }
        _ => {}
    }
    Ok(None)
}

/// Whether two files of `size` bytes hold the same. Where both have holes
/// nothing is read.
fn same_content(one: &File, other: &File, size: u64) -> Result<bool> {
    let (mut a, mut b) = (vec![0; 1 << 17], vec![0; 1 << 17]);
    let mut offset = 0;
    while offset < size {
        let start = data_from(one, offset, size)?.min(data_from(other, offset, size)?);
        let n = usize::try_from(size - start).map_or(a.len(), |left| left.min(a.len()));
        for (file, piece) in [(one, &mut a), (other, &mut b)] {
            file.read_exact_at(&mut piece[..n], start)?;
        }
        if a[..n] != b[..n] {
            return Ok(false);
        }
        offset = start + n as u64;
    }
    Ok(true)
}

/// Where a file of `size` bytes has data next; `size` if there is none. Where
/// the file system knows of no holes, all is data.
fn data_from(file: &File, offset: u64, size: u64) -> Result<u64> {
    match lseek(file, i64::try_from(offset)?, Whence::SeekData) {
        Ok(start) => Ok(u64::try_from(start)?),
        Err(Errno::ENXIO) => Ok(size),
        Err(Errno::EINVAL) => Ok(offset),
        Err(errno) => Err(errno).context("look for data"),
    }
}

/// Extended attributes that a layer can set.
fn attributes(file: impl AsFd) -> Result<Vec<(CString, Vec<u8>)>> {
    let mut found = Vec::new();
    let list = match xattr::list(&file) {
        Err(Errno::EOPNOTSUPP) => return Ok(found),
        other => other?,
    };
    for name in list {
        // What the machine's own policies set is no part of a layer.
        if name.to_bytes().starts_with(b"security.selinux") {
            continue;
        }
        if let Some(value) = xattr::get(&file, &name)? {
            found.push((name, value));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn every_difference_is_found() {
        let make = || {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("d")).unwrap();
            let file = dir.path().join("d/f");
            fs::write(&file, "text").unwrap();
            let time = std::time::UNIX_EPOCH;
            File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(time)
                .unwrap();
            symlink("f", dir.path().join("d/l")).unwrap();
            fs::write(dir.path().join("shut"), "x").unwrap();
            let shut = File::options().write(true).open(dir.path().join("shut"));
            shut.unwrap().set_modified(time).unwrap();
            let mode = |path: &str, mode| {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(dir.path().join(path), mode).unwrap();
            };
            mode("shut", 0);
            mode("d", 0o500);
            dir
        };
        let good = make();
        let other = make();
        assert_eq!(difference(good.path(), other.path()).unwrap(), None);
        type Damage = fn(&Path);
        let damages: [(Damage, &str); 5] = [
            (
                |d| fs::write(d.join("d/new"), "").unwrap(),
                "d/new: it should not",
            ),
            (
                |d| fs::remove_file(d.join("d/l")).unwrap(),
                "d/l: it is missing",
            ),
            (
                |d| fs::write(d.join("d/f"), "longer").unwrap(),
                "d/f: its size",
            ),
            (
                |d| {
                    fs::write(d.join("d/f"), "texT").unwrap();
                    let file = File::options().write(true).open(d.join("d/f")).unwrap();
                    file.set_modified(std::time::UNIX_EPOCH).unwrap();
                },
                "d/f: its content",
            ),
            (
                |d| {
                    let mode = fs::Permissions::from_mode(0o644);
                    fs::set_permissions(d.join("shut"), mode).unwrap();
                },
                "shut: its mode",
            ),
        ];
        for (damage, expected) in damages {
            let bad = make();
            let open = fs::Permissions::from_mode(0o700);
            fs::set_permissions(bad.path().join("d"), open).unwrap();
            damage(bad.path());
            let shut = fs::Permissions::from_mode(0o500);
            fs::set_permissions(bad.path().join("d"), shut).unwrap();
            let found = difference(bad.path(), good.path()).unwrap().unwrap();
            let expected = expected.replacen(':', "\":", 1);
            assert!(found.starts_with(&format!("\"{expected}")), "{found}");
        }
    }

    #[test]
    fn holes_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, at: &[(u64, &str)]| {
            let mut file = File::options();
            let file = file.read(true).write(true).create_new(true);
            let file = file.open(dir.path().join(name)).unwrap();
            file.set_len(1 << 40).unwrap();
            for (offset, text) in at {
                file.write_all_at(text.as_bytes(), *offset).unwrap();
            }
            file
        };
        let end = (1 << 40) - 3;
        let one = make("one", &[(5 << 30, "abc"), (end, "end")]);
        // A terabyte: to read it would take minutes.
        for (name, at, same) in [
            ("same", vec![(5 << 30, "abc"), (end, "end")], true),
            (
                "zeros",
                vec![(7, "\0\0"), (5 << 30, "abc"), (end, "end")],
                true,
            ),
            ("less", vec![(end, "end")], false),
            (
                "more",
                vec![(5 << 30, "abc"), (end - 9, "x"), (end, "end")],
                false,
            ),
            ("end", vec![(5 << 30, "abc"), (end, "enD")], false),
        ] {
            let other = make(name, &at);
            assert_eq!(same_content(&one, &other, 1 << 40).unwrap(), same, "{name}");
            assert_eq!(same_content(&other, &one, 1 << 40).unwrap(), same, "{name}");
        }
    }
}
