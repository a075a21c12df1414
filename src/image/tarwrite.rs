//! Writing a tar archive: POSIX.1-2001 pax, with extended headers only where
//! the plain ones cannot say it, so that the same tree gives the same bytes.

use crate::error::{demand, refusal, refuse};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::{Whence, lseek};
use tar::{EntryType, Header};

use super::entry::{BLOCK, MAX_MAP, Metadata, Piece, join, split};
use super::holes::{RUN, is_zero};
use super::record::FileType;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes; its data follows.
    File(u64),
    /// A regular file with holes, in the form 1.0 that GNU tar, libarchive and
    /// Go read (GNU tar's manual, "PAX Format, Version 1.0").
    Sparse {
        /// Its bytes with the holes.
        size: u64,
        /// Its bytes in the archive: where the data belongs, and the data.
        stored: u64,
    },
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

/// Files with several names that stand in an archive already. Each further name
/// says the same of the file as the first: who unpacks hard links with their
/// headers' owners and modes (docker, podman) goes by the last.
#[derive(Debug, Default)]
pub struct Links(HashMap<(u64, u64), Member>);

impl Links {
    /// `path` as a further name of the file that has the status `stat`; `None`
    /// if it is its first.
    pub fn again(&self, stat: &FileStat, path: &[u8]) -> Option<Member> {
        let first = self.0.get(&(stat.st_dev, stat.st_ino))?;
        Some(Member {
            path: path.to_vec(),
            kind: Kind::Link(first.path.clone()),
            meta: first.meta.clone(),
        })
    }

    /// Notes the first name of a file, if it has more.
    pub fn note(&mut self, stat: &FileStat, first: Member) {
        if stat.st_nlink > 1 {
            self.0.insert((stat.st_dev, stat.st_ino), first);
        }
    }
}

/// A tar archive that is being written.
pub struct TarWriter<W> {
    out: W,
    /// Holes of files are told.
    sparse: bool,
}

/// Largest number in an octal field of eight bytes.
const MAX_ID: u32 = 0o7777777;
/// Largest number in an octal field of twelve bytes.
const MAX_SIZE: u64 = 0o777_7777_7777;

/// Files up to this size are read before their header is written, in bytes: what
/// the kernel makes up while it is read is longer or shorter than it says, by a
/// page at most where it says anything (proc(5), sysfs(5)).
const SMALL: u64 = 64 * 1024;
/// As much is kept in memory of a file that is longer than it says, in bytes.
const UNTOLD: u64 = 16 << 20;

impl<W: Write> TarWriter<W> {
    /// Starts an archive in which files have no holes. That is how layers of
    /// images are written: podman and docker read those with holes, but cannot
    /// write them again.
    pub fn new(out: W) -> Self {
        TarWriter { out, sparse: false }
    }

    /// Starts an archive in which files keep their holes.
    pub fn sparse(out: W) -> Self {
        TarWriter { out, sparse: true }
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

    /// Writes a regular file, which is open as `file`: header and data. Its
    /// kind in `member` is made here.
    ///
    /// The size of a small one is what comes, whatever its status says. A larger
    /// one may grow meanwhile: it is as it was when it was looked at.
    ///
    /// # Errors
    /// A larger one becomes shorter, or its size is not true.
    pub fn regular(&mut self, member: &mut Member, file: &File) -> Result<()> {
        let told = file.metadata()?;
        let size = told.len();
        if size <= SMALL {
            let data = read_small(file, size)?;
            member.kind = Kind::File(data.len() as u64);
            self.header(member).context("write the archive")?;
            self.out.write_all(&data).context("write the archive")?;
            return self.pad(data.len() as u64).context("write the archive");
        }
        if let Some(pieces) = self
            .sparse
            .then(|| pieces(file, size))
            .transpose()?
            .flatten()
        {
            return self.holed(member, size, &pieces, file);
        }
        member.kind = Kind::File(size);
        self.header(member).context("write the archive")?;
        self.copy(file, size)?;
        let more = (&mut &*file).read(&mut [0]).context("read")?;
        let grown = file.metadata()?.len() > size;
        demand!(
            Unsupported,
            more == 0 || grown,
            "it says that it has {size} bytes, and has more: it cannot be told how many"
        );
        self.pad(size).context("write the archive")
    }

    /// A regular file of which only `pieces` are data.
    fn holed(
        &mut self,
        member: &mut Member,
        size: u64,
        pieces: &[Piece],
        mut file: &File,
    ) -> Result<()> {
        let mut map = format!("{}\n", pieces.len());
        for piece in pieces {
            map.push_str(&format!("{}\n{}\n", piece.offset, piece.length));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let data: u64 = pieces.iter().map(|piece| piece.length).sum();
        let stored = map.len() as u64 + data;
        member.kind = Kind::Sparse { size, stored };
        self.header(member).context("write the archive")?;
        self.out.write_all(&map).context("write the archive")?;
        for piece in pieces {
            file.seek(SeekFrom::Start(piece.offset))?;
            self.copy(file, piece.length)?;
        }
        self.pad(stored).context("write the archive")
    }

    /// Copies `length` bytes from where `file` stands.
    fn copy(&mut self, file: &File, length: u64) -> Result<()> {
        match io::copy(&mut file.take(length), &mut self.out).context("copy")? {
            copied if copied == length => Ok(()),
            _ => Err(shorter(io::ErrorKind::UnexpectedEof.into())),
        }
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
        demand!(
            Conflict,
            count == size,
            "{count} bytes came instead of {size}"
        );
        self.pad(size).context("write the archive")
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// What it is written to.
    pub fn inner(&mut self) -> &mut W {
        &mut self.out
    }

    /// Fills the last block of a member of `size` bytes.
    pub fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

/// All of a file that says that it has `size` bytes.
fn read_small(mut file: &File, size: u64) -> Result<Vec<u8>> {
    // As much as it says at once: then it is true, and the end not looked for.
    let mut data = vec![0; size as usize + 1];
    let first = loop {
        match file.read(&mut data) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other.context("read")?,
        }
    };
    data.truncate(first);
    if size == 0 || first as u64 != size {
        let most = UNTOLD - first as u64;
        let read = file.take(most).read_to_end(&mut data).context("read")?;
        if read as u64 == most {
            refuse!(
                Unsupported,
                "it says that it has {size} bytes, and has more than {UNTOLD}"
            );
        }
    }
    Ok(data)
}

/// Where the data of a file is, if it has holes: in multiples of [`RUN`], and by
/// its content, so that the same file is the same archive on every file system.
/// A hole at the end is followed by a piece of nothing, by which GNU tar knows
/// where the file ends.
fn pieces(file: &File, size: u64) -> Result<Option<Vec<Piece>>> {
    match lseek(file, 0, Whence::SeekHole) {
        Ok(hole) if (hole as u64) < size => {}
        Ok(_) | Err(Errno::EINVAL | Errno::ENXIO) => {
            lseek(file, 0, Whence::SeekSet)?;
            return Ok(None);
        }
        Err(errno) => return Err(errno).context("look for a hole"),
    }
    let run = RUN as u64;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut buffer = vec![0; RUN];
    let mut at = 0;
    while at < size {
        let length = run.min(size - at);
        let bytes = &mut buffer[..length as usize];
        file.read_exact_at(bytes, at).map_err(shorter)?;
        if !is_zero(bytes) {
            match pieces.last_mut() {
                Some(last) if last.offset + last.length == at => last.length += length,
                _ => pieces.push(Piece { offset: at, length }),
            }
            at += length;
            continue;
        }
        at = match lseek(file, (at + length) as i64, Whence::SeekData) {
            Ok(data) => (data as u64 / run * run).max(at + length),
            Err(Errno::ENXIO) => size,
            Err(errno) => return Err(errno).context("look for data"),
        };
    }
    lseek(file, 0, Whence::SeekSet)?;
    let end = pieces.last().map_or(0, |last| last.offset + last.length);
    if end < size {
        pieces.push(Piece {
            offset: size,
            length: 0,
        });
    }
    let data: u64 = pieces.iter().map(|piece| piece.length).sum();
    // No more than its readers take.
    Ok((data < size && (pieces.len() as u64) < MAX_MAP).then_some(pieces))
}

fn shorter(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            refusal!(
                Conflict,
                "it became shorter while it was read: try again, or stop who writes it"
            )
        }
        _ => anyhow::Error::from(error).context("read"),
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
        // For who does not know of holes.
        (Kind::Sparse { .. }, _) => {
            let (parent, name) = split(&member.path).unwrap_or_default();
            join(&join(parent, b"GNUSparseFile.0"), name)
        }
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
        Kind::File(size) | Kind::Sparse { stored: size, .. } => size,
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
        Kind::File(_) | Kind::Sparse { .. } => EntryType::Regular,
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
    if let Kind::Sparse { size, .. } = member.kind {
        add(b"GNU.sparse.major", b"1");
        add(b"GNU.sparse.minor", b"0");
        add(b"GNU.sparse.name", &member.path);
        add(b"GNU.sparse.realsize", size.to_string().as_bytes());
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
                Kind::File(size) => writer
                    .file_by(member, size, |out| Ok(out.write_all(b"data!")?))
                    .unwrap(),
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
                assert_eq!(data, "data!");
            }
        }
        assert!(members.next().unwrap().is_none() && members.ended_properly());
    }

    fn written(mut file: &File, sparse: bool) -> Result<Vec<u8>> {
        let _ = file.rewind();
        let mut writer = match sparse {
            true => TarWriter::sparse(Vec::new()),
            false => TarWriter::new(Vec::new()),
        };
        writer.regular(&mut member(b"d/file", Kind::File(0)), file)?;
        Ok(writer.finish()?)
    }

    fn data(tar: &[u8]) -> (entry::Entry, Vec<u8>) {
        let mut members = Members::new(Stream(tar), Budget::default());
        let entry = members.next().unwrap().unwrap();
        let mut data = Vec::new();
        members.read_to_end(&mut data).unwrap();
        assert!(members.next().unwrap().is_none() && members.ended_properly());
        (entry, data)
    }

    /// The kernel makes up files that are longer or shorter than it says.
    #[test]
    fn files_whose_size_lies_are_written_as_they_read() {
        for path in ["/proc/version", "/sys/class/net/lo/mtu"] {
            let text = std::fs::read(path).unwrap();
            let file = File::open(path).unwrap();
            assert_ne!(file.metadata().unwrap().len(), text.len() as u64);
            let (entry, read) = data(&written(&file, true).unwrap());
            assert_eq!((entry.size, read), (text.len() as u64, text), "{path}");
        }
        let endless = File::open("/dev/zero").unwrap();
        let error = format!("{:#}", written(&endless, true).unwrap_err());
        assert!(error.contains("has more than"), "{error}");
    }

    /// What is cut while it is read is an error, what grows is as it was.
    #[test]
    fn files_that_change_while_they_are_read() {
        struct Changing<'a>(&'a File, u64, Vec<u8>);
        impl Write for Changing<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.set_len(self.1)?;
                self.2.extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let size = 3 * SMALL;
        for (later, fine) in [(SMALL, false), (2 * size, true)] {
            let file = tempfile::tempfile().unwrap();
            (&file).write_all(&vec![7; size as usize]).unwrap();
            (&file).rewind().unwrap();
            let mut writer = TarWriter::sparse(Changing(&file, later, Vec::new()));
            let done = writer.regular(&mut member(b"log", Kind::File(0)), &file);
            assert_eq!(done.is_ok(), fine, "{later}");
            if let Err(error) = done {
                let text = format!("{error:#}");
                assert!(text.contains("became shorter"), "{text}");
                continue;
            }
            let tar = writer.finish().unwrap().2;
            assert_eq!(data(&tar).1, vec![7; size as usize]);
        }
    }

    #[test]
    fn holes_are_kept_but_in_layers() {
        let size = 3 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"middle", 1 << 20).unwrap();
        let tar = written(&file, true).unwrap();
        assert!(tar.len() < 100_000, "{}", tar.len());
        let (entry, stored) = data(&tar);
        assert_eq!((&entry.path[..], entry.size), (&b"d/file"[..], size));
        let pieces = entry.pieces.unwrap();
        assert_eq!(pieces[0].offset, 1 << 20);
        assert_eq!(pieces[0].length, RUN as u64);
        assert_eq!(pieces.last().unwrap().offset, size);
        assert!(stored.starts_with(b"middle"));
        let (entry, whole) = data(&written(&file, false).unwrap());
        assert_eq!((entry.pieces, whole.len() as u64), (None, size));
        assert!(whole[1 << 20..].starts_with(b"middle"));
    }
}
