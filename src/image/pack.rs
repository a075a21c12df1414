//! A file or tree that is in use as a tar: the sending half of `cp`.
//!
//! Who owns the tree may change it meanwhile, and may mean harm. So every step
//! down is taken by descriptor, one name at a time, and no link is followed.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor};

use super::copy::names;
use super::entry::{Fate, Metadata, fate, is_roots, join, show};
use super::flavour;
use super::owners::Owners;
use super::record::{ATTRIBUTE_PREFIX, FileType, OVERRIDE_STAT, Stat};
use super::tarwrite::{Kind, Links, Member, TarWriter};
use super::unpack::DIRECTORY;
use crate::sys::xattr;

/// Whose files are said to be.
#[derive(Default)]
pub enum Whose<'a> {
    /// As the kernel says.
    #[default]
    Kernel,
    /// As in a container whose files have true owners.
    True(&'a flavour::Owners),
    /// As it was recorded; what has no record is root's.
    Recorded(&'a Owners),
}

/// Writes the file or tree that is open as `top` (`O_PATH` suffices) to an
/// archive in which it is called `name`. Sockets are left out, as is what
/// vanishes before its turn.
pub fn pack<W: Write>(top: &OwnedFd, name: &[u8], whose: &Whose, out: W) -> Result<W> {
    let mut packing = Packing {
        whose,
        links: Links::default(),
        out: TarWriter::sparse(out),
    };
    packing.any(top, name).with_context(|| show(name))?;
    packing.out.finish().context("write the archive")
}

struct Packing<'a, W> {
    whose: &'a Whose<'a>,
    links: Links,
    out: TarWriter<W>,
}

const PATH: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl<W: Write> Packing<'_, W> {
    fn any(&mut self, file: &OwnedFd, path: &[u8]) -> Result<()> {
        let stat = fstat(file)?;
        let kind = stat.st_mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            return self.directory(file, path, &stat);
        }
        if let Some(member) = self.links.again(&stat, path) {
            return self.out.header(&member).context("write the archive");
        }
        let written = match kind {
            libc::S_IFREG => self.regular(file, path, &stat)?,
            libc::S_IFSOCK => return Ok(()),
            _ => self.special(file, path, &stat)?,
        };
        self.links.note(&stat, written);
        Ok(())
    }

    fn directory(&mut self, file: &OwnedFd, path: &[u8], stat: &FileStat) -> Result<()> {
        // Of an `O_PATH` descriptor: the same directory, whatever its name is now.
        let directory = openat(file, c".", DIRECTORY, Mode::empty()).context("open")?;
        let recorded = match self.whose {
            Whose::Recorded(_) => recorded(&directory)?,
            _ => None,
        };
        let mut member = self.member(path, Kind::Directory, stat, recorded);
        member.meta.xattrs = self.attributes(&directory)?;
        self.out.header(&member).context("write the archive")?;
        let mut all: Vec<CString> = names(&directory)?;
        all.sort();
        for name in all {
            let here = join(path, name.to_bytes());
            match openat(&directory, &*name, PATH, Mode::empty()) {
                Ok(file) => self.any(&file, &here).with_context(|| show(&here))?,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno).with_context(|| show(&here)),
            }
        }
        Ok(())
    }

    fn regular(&mut self, file: &OwnedFd, path: &[u8], stat: &FileStat) -> Result<Member> {
        // Through our own /proc: the very file that was looked at.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = open(name.as_str(), flags, Mode::empty()).context("open")?;
        let opened = File::from(opened);
        let recorded = recorded(&opened)?.filter(|_| match self.whose {
            Whose::Kernel => false,
            Whose::True(owners) => owners.are_roots_alone(stat),
            Whose::Recorded(_) => true,
        });
        let kind = match recorded.map(|r| r.kind) {
            Some(device @ (FileType::Block(..) | FileType::Char(..))) => Kind::Special(device),
            _ => Kind::File(0),
        };
        let mut member = self.member(path, kind, stat, recorded);
        member.meta.xattrs = self.attributes(&opened)?;
        match member.kind {
            Kind::File(_) => self.out.regular(&mut member, &opened)?,
            _ => self.out.header(&member).context("write the archive")?,
        }
        Ok(member)
    }

    /// Links, pipes and devices.
    fn special(&mut self, file: &OwnedFd, path: &[u8], stat: &FileStat) -> Result<Member> {
        let device = || (major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32);
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => Kind::Symlink(readlinkat(file, c"").context("read link")?.into_vec()),
            libc::S_IFIFO => Kind::Special(FileType::Pipe),
            libc::S_IFBLK => Kind::Special(FileType::Block(device().0, device().1)),
            _ => Kind::Special(FileType::Char(device().0, device().1)),
        };
        let recorded = match self.whose {
            Whose::Recorded(owners) => owners.of(file)?,
            _ => None,
        };
        let member = self.member(path, kind, stat, recorded);
        self.out.header(&member).context("write the archive")?;
        Ok(member)
    }

    /// The extended attributes of an open file that another may have.
    fn attributes(&self, file: impl AsFd) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        for key in xattr::list(&file).context("list attributes")? {
            let bytes = key.to_bytes();
            let name = match bytes.strip_prefix(ATTRIBUTE_PREFIX) {
                Some(name) if matches!(self.whose, Whose::Recorded(_)) => name,
                None if fate(bytes) == Fate::Set || is_roots(bytes) => bytes,
                _ => continue,
            };
            if let Some(value) = xattr::get(&file, &key).context("read attribute")? {
                found.push((name.to_vec(), value));
            }
        }
        Ok(found)
    }

    fn member(&self, path: &[u8], kind: Kind, stat: &FileStat, recorded: Option<Stat>) -> Member {
        let (uid, gid) = match (self.whose, recorded) {
            (Whose::Kernel, _) => (stat.st_uid, stat.st_gid),
            (Whose::True(owners), _) => owners.in_image(stat),
            (Whose::Recorded(_), Some(recorded)) => (recorded.uid, recorded.gid),
            (Whose::Recorded(_), None) => (0, 0),
        };
        Member {
            path: path.to_vec(),
            kind,
            meta: Metadata {
                mode: stat.st_mode & 0o7777,
                uid,
                gid,
                mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
                xattrs: Vec::new(),
            },
        }
    }
}

fn recorded(file: impl AsFd) -> Result<Option<Stat>> {
    let text = xattr::get(&file, OVERRIDE_STAT).context("read the recorded owner")?;
    Ok(text.and_then(|text| String::from_utf8_lossy(&text).parse().ok()))
}
