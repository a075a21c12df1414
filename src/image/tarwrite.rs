//! Writing a tar archive: POSIX.1-2001 pax, with extended headers only where
//! the plain ones cannot say it, so that the same tree gives the same bytes.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, ensure};
use tar::{EntryType, Header};

use super::entry::{BLOCK, Metadata, join};
use super::record::FileType;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes; its data follows.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// A hard link to an earlier member.
    Link(Vec<u8>),
    /// A device (or pipe, by its record).
    Special(FileType),
}

/// A member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path below the root; the root itself is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Mode, owner, time, attributes.
    pub meta: Metadata,
}

/// A tar archive that is being written.
pub struct TarWriter<W> {
    out: W,
}

/// Largest number in an octal field of eight bytes.
const MAX_ID: u32 = 0o7777777;
/// Largest number in an octal field of twelve bytes.
const MAX_SIZE: u64 = 0o777_7777_7777;

impl<W: Write> TarWriter<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        TarWriter { out }
    }

    /// Writes a member without data, or the header of one with data.
    pub fn header(&mut self, member: &Member) -> io::Result<()> {
        let extension = extension(member);
        if !extension.is_empty() {
            let mut header = Header::new_ustar();
            let text = join(b"PaxHeaders", last(&member.path));
            put(&mut header.as_old_mut().name, &text);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_entry_type(EntryType::XHeader);
            header.set_size(extension.len() as u64);
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&extension)?;
            self.pad(extension.len() as u64)?;
        }
        self.out.write_all(plain(member).as_bytes())
    }

    /// Writes a regular file: header, and data from `data`. A file that has
    /// become shorter is filled up with zeros, since its header is written;
    /// what it has grown by is left out.
    pub fn file(&mut self, member: &Member, size: u64, data: impl Read) -> io::Result<()> {
        self.header(member)?;
        let copied = io::copy(&mut data.take(size), &mut self.out)?;
        io::copy(&mut io::repeat(0).take(size - copied), &mut self.out)?;
        self.pad(size)
    }

    /// Writes a regular file whose `size` bytes `content` writes; an error if
    /// it does not write as many.
    pub fn file_by(
        &mut self,
        member: &Member,
        size: u64,
        content: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        self.header(member).context("write the archive")?;
        let mut counted = Counted {
            out: &mut self.out,
            count: 0,
        };
        content(&mut counted)?;
        let count = counted.count;
        ensure!(count == size, "{count} bytes came instead of {size}");
        self.pad(size).context("write the archive")
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

/// Counts what is written.
struct Counted<'a, W> {
    out: &'a mut W,
    count: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The name as it stands in the archive.
fn name(member: &Member) -> Vec<u8> {
    match (&member.kind, member.path.is_empty()) {
        (_, true) => b"./".to_vec(),
        (Kind::Directory, _) => join(&member.path, b""),
        _ => member.path.clone(),
    }
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// As much of `text` as fits.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn target(member: &Member) -> &[u8] {
    match &member.kind {
        Kind::Symlink(target) | Kind::Link(target) => target,
        _ => b"",
    }
}

fn size(member: &Member) -> u64 {
    match member.kind {
        Kind::File(size) => size,
        _ => 0,
    }
}

/// The ustar header, with what fits.
fn plain(member: &Member) -> Header {
    let mut header = Header::new_ustar();
    put(&mut header.as_old_mut().name, &name(member));
    put(&mut header.as_old_mut().linkname, target(member));
    header.set_mode(member.meta.mode & 0o7777);
    header.set_uid(member.meta.uid.min(MAX_ID).into());
    header.set_gid(member.meta.gid.min(MAX_ID).into());
    header.set_mtime(
        u64::try_from(member.meta.mtime.0)
            .unwrap_or(0)
            .min(MAX_SIZE),
    );
    header.set_size(size(member).min(MAX_SIZE));
    header.set_entry_type(match member.kind {
        Kind::File(_) => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::Link(_) => EntryType::Link,
        Kind::Special(FileType::Block(..)) => EntryType::Block,
        Kind::Special(FileType::Char(..)) => EntryType::Char,
        Kind::Special(_) => EntryType::Fifo,
    });
    if let (Kind::Special(FileType::Block(major, minor) | FileType::Char(major, minor)), Some(h)) =
        (&member.kind, header.as_ustar_mut())
    {
        h.set_device_major(*major);
        h.set_device_minor(*minor);
    }
    header.set_cksum();
    header
}

/// The records of what does not fit into the ustar header.
fn extension(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| record(&mut records, key, value);
    let name = name(member);
    if name.len() > 100 {
        add(b"path", &name);
    }
    if target(member).len() > 100 {
        add(b"linkpath", target(member));
    }
    if size(member) > MAX_SIZE {
        add(b"size", size(member).to_string().as_bytes());
    }
    for (key, id) in [("uid", member.meta.uid), ("gid", member.meta.gid)] {
        if id > MAX_ID {
            add(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    let (seconds, nanos) = member.meta.mtime;
    if seconds < 0 || nanos != 0 || seconds as u64 > MAX_SIZE {
        add(b"mtime", time(seconds, nanos).as_bytes());
    }
    for (name, value) in &member.meta.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// Seconds since 1970 as a decimal fraction, which counts away from zero.
fn time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (
        total.unsigned_abs() / 1_000_000_000,
        total.unsigned_abs() % 1_000_000_000,
    );
    match part {
        0 => format!("{sign}{whole}"),
        _ => {
            let text = format!("{sign}{whole}.{part:09}");
            text.trim_end_matches('0').to_owned()
        }
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::entry;
    use super::super::tarball::{Members, Stream};
    use super::*;

    fn member(path: &[u8], kind: Kind) -> Member {
        Member {
            path: path.to_vec(),
            kind,
            meta: Metadata {
                mode: 0o4751,
                uid: 33,
                gid: 44,
                mtime: (1_600_000_000, 0),
                xattrs: Vec::new(),
            },
        }
    }

    /// What is written is read again as it was.
    #[test]
    fn round_trip() {
        let long = [b"d/".repeat(100).as_slice(), b"\xff name"].concat();
        let mut all = vec![
            member(b"", Kind::Directory),
            member(b"dev/null", Kind::Special(FileType::Char(1, 3))),
            member(b"dev/sda", Kind::Special(FileType::Block(259, 70000))),
            member(b"dir", Kind::Directory),
            member(&long, Kind::File(5)),
            member(b"link", Kind::Link(long.clone())),
            member(b"pipe", Kind::Special(FileType::Pipe)),
            member(b"symlink", Kind::Symlink(b"../x/".repeat(50))),
        ];
        all[4].meta.mtime = (-2, 500_000_000);
        all[4].meta.xattrs = vec![(b"security.capability".to_vec(), b"a\0\n=b".to_vec())];
        (all[5].meta.uid, all[5].meta.gid) = (u32::MAX - 1, MAX_ID + 1);
        all[6].meta.mtime = (1_600_000_000, 120);
        let mut writer = TarWriter::new(Vec::new());
        for member in &all {
            match member.kind {
                // One byte short: filled up.
                Kind::File(size) => writer.file(member, size, &b"data"[..]).unwrap(),
                _ => writer.header(member).unwrap(),
            }
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut members = Members::new(Stream(&bytes[..]), Budget::default());
        for wanted in &all {
            let entry = members.next().unwrap().unwrap();
            let kind = match entry.kind.clone() {
                entry::Kind::File => Kind::File(entry.size),
                entry::Kind::Directory => Kind::Directory,
                entry::Kind::Symlink(target) => Kind::Symlink(target),
                entry::Kind::Link(target) => Kind::Link(target),
                entry::Kind::Device(device) => Kind::Special(device),
                entry::Kind::Fifo => Kind::Special(FileType::Pipe),
                other => panic!("{other:?}"),
            };
            let read = Member {
                path: entry.path,
                kind,
                meta: entry.meta,
            };
            assert_eq!(read, *wanted);
            if let Kind::File(_) = wanted.kind {
                let mut data = String::new();
                members.read_to_string(&mut data).unwrap();
                assert_eq!(data, "data\0");
            }
        }
        assert!(members.next().unwrap().is_none() && members.ended_properly());
    }
}
