//! One member of a layer's tar: from header and extensions to what is to be
//! made of it.
//!
//! Pure: no files, no clock. Everything here reads bytes that an enemy may
//! have written, so every size is bounded and every name is checked before
//! anyone acts on it.
//!
//! Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU tar's long names and all
//! four of its sparse forms, v7. Whiteouts are those of the OCI image
//! specification (layer.md).

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::error::{demand, refuse};
use anyhow::{Context, Result};

use super::record::{self, FileType, Stat};

/// The size of a tar block, in bytes.
pub const BLOCK: usize = 512;

/// Longest path, in bytes, that is accepted: what the kernel takes in one call.
const MAX_PATH: usize = 4095;

/// Most pieces of a sparse file; GNU tar itself writes some thousands.
const MAX_PIECES: usize = 1 << 20;

/// What a member is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with the data that follows.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to these bytes, whatever they are.
    Symlink(Vec<u8>),
    /// A hard link to this cleaned path.
    Link(Vec<u8>),
    /// A character or block device (never made, only recorded).
    Device(FileType),
    /// A named pipe.
    Fifo,
    /// Hides `path` of the layers below.
    Whiteout,
    /// Hides all that layers below have in the directory `path`.
    Opaque,
    /// Nothing is made: sockets, bookkeeping of aufs and of GNU tar.
    Ignored,
}

/// A run of data in a sparse file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// What members of every kind have, read or to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes, in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A member with all extensions applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes: relative, without `.`, `..` or empty components; the
    /// root itself is empty.
    pub path: Vec<u8>,
    /// What it becomes.
    pub kind: Kind,
    /// Mode, owner, time, attributes.
    pub meta: Metadata,
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// Where the data of a sparse file lies; None if it is all there.
    pub pieces: Option<Vec<Piece>>,
}

impl Entry {
    /// Owner, mode and type, as far as one can be recorded.
    pub fn stat(&self) -> Stat {
        let kind = match &self.kind {
            Kind::Directory => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Fifo => FileType::Pipe,
            Kind::Device(device) => *device,
            _ => FileType::File,
        };
        Stat {
            uid: self.meta.uid,
            gid: self.meta.gid,
            mode: self.meta.mode,
            kind,
        }
    }
}

/// Extensions that precede a header: GNU long names and pax records.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// GNU `L`.
    pub long_name: Option<Vec<u8>>,
    /// GNU `K`.
    pub long_link: Option<Vec<u8>>,
    /// Pax records in order; a later one overrides an earlier one.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Those of the whole archive, which `pax` overrides.
    pub global: Rc<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Extensions {
    fn get(&self, key: &str) -> Option<&[u8]> {
        let own = self.pax.iter().rev().find(|(k, _)| k == key.as_bytes());
        let value = match own {
            Some((_, value)) => value,
            None => self.global.get(key.as_bytes())?,
        };
        // An empty value takes the record back.
        Some(value.as_slice()).filter(|v| !v.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        self.get(key).map(|value| decimal(key, value)).transpose()
    }
}

/// Reads the records of a pax header: `LENGTH KEY=VALUE\n`, again and again.
/// Values may hold any byte, NUL and newline included.
pub fn pax_records(mut bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        // GNU tar pads with NULs in some versions.
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
        let malformed = || "malformed pax record";
        let space = bytes
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .with_context(malformed)?;
        let length = decimal("pax record", &bytes[..space])?;
        let length = usize::try_from(length).with_context(malformed)?;
        demand!(
            Invalid,
            length > space + 1 && length <= bytes.len() && bytes[length - 1] == b'\n',
            "{}",
            malformed()
        );
        let record = &bytes[space + 1..length - 1];
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .with_context(malformed)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// A header block whose checksum holds.
#[derive(Clone)]
pub struct Header(tar::Header);

impl Header {
    /// Checks a block; `None` for a block of zeros, which ends an archive.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(block).clone();
        let wrong = "not a tar header (the checksum is wrong)";
        let stated = number("checksum", &header.as_old().cksum).context(wrong)?;
        // Some old writers added the bytes as signed ones.
        let field = 148..156;
        let bytes = || {
            block
                .iter()
                .enumerate()
                .map(|(i, byte)| if field.contains(&i) { b' ' } else { *byte })
        };
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
        demand!(Invalid, stated == unsigned || stated == signed, "{wrong}");
        Ok(Some(Header(header)))
    }

    /// The type byte.
    pub fn type_byte(&self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    /// Bytes of data that follow, by this header alone.
    pub fn size(&self) -> Result<u64> {
        let size = number("size", &self.0.as_old().size)?;
        u64::try_from(size).context("the size is negative")
    }

    /// Whether blocks with more sparse pieces follow this GNU sparse header.
    pub fn more_pieces(&self) -> bool {
        self.type_byte() == b'S' && self.0.as_gnu().is_some_and(|gnu| gnu.isextended[0] != 0)
    }

    /// The name as written, for messages.
    pub fn name(&self) -> Vec<u8> {
        self.0.path_bytes().into_owned()
    }
}

/// Sparse pieces of a GNU continuation block, and whether another one follows.
pub fn more_pieces(block: &[u8; BLOCK], pieces: &mut Vec<Piece>) -> Result<bool> {
    for slot in block[..504].chunks_exact(24) {
        gnu_piece(&slot[..12], &slot[12..], pieces)?;
    }
    Ok(block[504] != 0)
}

fn gnu_piece(offset: &[u8], length: &[u8], pieces: &mut Vec<Piece>) -> Result<()> {
    // An empty slot starts with NUL.
    if offset[0] == 0 {
        return Ok(());
    }
    demand!(Invalid, pieces.len() < MAX_PIECES, "too many sparse pieces");
    pieces.push(Piece {
        offset: u64::try_from(number("sparse offset", offset)?)?,
        length: u64::try_from(number("sparse length", length)?)?,
    });
    Ok(())
}

/// A member as far as it can be known before its data.
pub struct Member {
    /// What it becomes; for [`SparseMap::InData`] the pieces still lack.
    pub entry: Entry,
    /// Bytes of data in the archive, padding not counted.
    pub stored: u64,
    /// Where the map of a sparse file is.
    pub sparse: SparseMap,
}

/// Where to find the pieces of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparseMap {
    /// Not sparse, or the pieces are in the entry already.
    Known,
    /// At the start of the data, in lines of decimal numbers (pax form 1.0).
    InData,
}

/// Joins a header with what preceded it; `pieces` are those of GNU
/// continuation blocks. Errors do not name the member: the caller does.
pub fn member(header: &Header, ext: &Extensions, pieces: Vec<Piece>) -> Result<Member> {
    let old = header.0.as_old();
    let sparse_name = ext.get("GNU.sparse.name");
    let written = ext.get("path").map(<[u8]>::to_vec);
    let name = sparse_name
        .map(<[u8]>::to_vec)
        .or(written)
        .or_else(|| ext.long_name.clone())
        .unwrap_or_else(|| header.name());
    let link = || {
        ext.get("linkpath")
            .map(<[u8]>::to_vec)
            .or_else(|| ext.long_link.clone())
            .unwrap_or_else(|| header.0.link_name_bytes().unwrap_or_default().into_owned())
    };
    let stored = match ext.number("size")? {
        Some(size) => size,
        None => header.size()?,
    };
    let path = clean(&name)?;
    let kind = match header.type_byte() {
        // As in V7, which had no type for directories: GNU tar, and Go for docker and
        // podman, take them so too.
        b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::Link(clean(&link()).context("hard link target")?),
        b'2' => Kind::Symlink(link()),
        b'3' => Kind::Device(FileType::Char(device(header, 329)?, device(header, 337)?)),
        b'4' => Kind::Device(FileType::Block(device(header, 329)?, device(header, 337)?)),
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'V' | b's' => Kind::Ignored,
        other => refuse!(Invalid, "unknown type {:?}", char::from(other)),
    };
    let mut entry = Entry {
        path,
        kind,
        meta: Metadata {
            mode: (number("mode", &old.mode)? as u32) & 0o7777,
            uid: owner("uid", ext, &old.uid)?,
            gid: owner("gid", ext, &old.gid)?,
            mtime: match ext.get("mtime") {
                Some(text) => timestamp(text)?,
                None => (number("mtime", &old.mtime)?, 0),
            },
            xattrs: xattrs(ext),
        },
        size: stored,
        pieces: None,
    };
    let sparse = sparse_map(header, ext, pieces, &mut entry)?;
    if let Some(pieces) = &entry.pieces {
        check_pieces(pieces, entry.size, stored)?;
    }
    // Only files have data of their own; what others carry is passed over.
    if entry.kind != Kind::File {
        entry.size = 0;
        entry.pieces = None;
    }
    Ok(Member {
        entry,
        stored,
        sparse,
    })
}

/// Fills in the pieces of the sparse forms whose map precedes the data.
fn sparse_map(
    header: &Header,
    ext: &Extensions,
    mut continued: Vec<Piece>,
    entry: &mut Entry,
) -> Result<SparseMap> {
    if header.type_byte() == b'S' {
        let gnu = header.0.as_gnu().context("not a GNU sparse header")?;
        let mut pieces = Vec::new();
        for slot in &gnu.sparse {
            gnu_piece(&slot.offset, &slot.numbytes, &mut pieces)?;
        }
        pieces.append(&mut continued);
        entry.size = u64::try_from(number("real size", &gnu.realsize)?)?;
        entry.pieces = Some(pieces);
        return Ok(SparseMap::Known);
    }
    if ext.number("GNU.sparse.major")? == Some(1) {
        entry.size = ext
            .number("GNU.sparse.realsize")?
            .context("a sparse file without its size")?;
        return Ok(SparseMap::InData);
    }
    let pieces = if let Some(map) = ext.get("GNU.sparse.map") {
        let numbers = map
            .split(|byte| *byte == b',')
            .map(|text| decimal("GNU.sparse.map", text))
            .collect::<Result<Vec<u64>>>()?;
        pair_up(&numbers)?
    } else if ext.get("GNU.sparse.numblocks").is_some() {
        let mut numbers = Vec::new();
        for (key, value) in &ext.pax {
            if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
                numbers.push(decimal("GNU.sparse.offset", value)?);
            }
        }
        pair_up(&numbers)?
    } else {
        return Ok(SparseMap::Known);
    };
    entry.size = ext
        .number("GNU.sparse.size")?
        .context("a sparse file without its size")?;
    entry.pieces = Some(pieces);
    Ok(SparseMap::Known)
}

/// Makes pieces of offset, length, offset, length, …
pub fn pair_up(numbers: &[u64]) -> Result<Vec<Piece>> {
    demand!(
        Invalid,
        numbers.len().is_multiple_of(2) && numbers.len() / 2 <= MAX_PIECES,
        "malformed sparse map"
    );
    let pairs = numbers.chunks_exact(2);
    Ok(pairs
        .map(|pair| Piece {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

/// Fails unless the pieces follow each other inside the file and are just as
/// long as the data that is stored.
pub fn check_pieces(pieces: &[Piece], size: u64, stored: u64) -> Result<()> {
    let mut end = 0;
    let mut total = 0;
    for piece in pieces {
        demand!(Invalid, piece.offset >= end, "sparse pieces overlap");
        end = piece
            .offset
            .checked_add(piece.length)
            .filter(|end| *end <= size)
            .context("a sparse piece lies outside the file")?;
        total += piece.length;
    }
    demand!(
        Invalid,
        total == stored,
        "the sparse map does not fit the data"
    );
    Ok(())
}

/// Most numbers that a sparse map in the data may announce.
pub const MAX_MAP: u64 = MAX_PIECES as u64;

/// A name as a relative path without `.`, `..` and empty components, as docker
/// and podman take it: `a/../b` is `b` whatever `a` is. A leading slash is
/// dropped, as every tar does; a name that leaves the root is refused.
pub fn clean(name: &[u8]) -> Result<Vec<u8>> {
    demand!(Invalid, !name.is_empty(), "the name is empty");
    demand!(Invalid, !name.contains(&0), "the name holds a NUL byte");
    let mut path = Vec::with_capacity(name.len());
    let outside = "the name points outside, or at the root by way of \"..\"";
    let mut back = false;
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => {
                demand!(Invalid, !path.is_empty(), "{outside}");
                let parent = split(&path).map_or(0, |(parent, _)| parent.len());
                path.truncate(parent);
                back = true;
            }
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    demand!(Invalid, !back || !path.is_empty(), "{outside}");
    demand!(Invalid, path.len() <= MAX_PATH, "the name is too long");
    Ok(path)
}

/// Parent and last component of a cleaned path; the root has neither.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// A path and a component below it.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}

/// Makes a whiteout of an entry that is called like one, as layers have them.
pub fn read_whiteout(entry: &mut Entry) -> Result<()> {
    if let Some((kind, path)) = whiteout(&entry.path)? {
        (entry.kind, entry.path) = (kind, path);
        entry.size = 0;
        entry.pieces = None;
    }
    Ok(())
}

/// What a whiteout's name means, and the path it is about.
fn whiteout(path: &[u8]) -> Result<Option<(Kind, Vec<u8>)>> {
    let Some((parent, name)) = split(path) else {
        return Ok(None);
    };
    let Some(hidden) = name.strip_prefix(b".wh.") else {
        return Ok(None);
    };
    if hidden == b".wh..opq" {
        return Ok(Some((Kind::Opaque, parent.to_vec())));
    }
    if hidden.starts_with(b".wh.") {
        return Ok(Some((Kind::Ignored, path.to_vec())));
    }
    demand!(
        Invalid,
        !matches!(hidden, b"" | b"." | b".."),
        "a whiteout of {:?}",
        String::from_utf8_lossy(hidden)
    );
    Ok(Some((Kind::Whiteout, join(parent, hidden))))
}

/// What becomes of an extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is set on the file.
    Set,
    /// An ordinary user cannot set it; it is kept beside the tree.
    Record,
    /// It is left out.
    Drop,
}

/// Decides about an attribute. Those by which overlay and other container
/// tools steer themselves must not come from an image: they could hide files
/// or change owners. SELinux labels belong to the machine that wrote them.
pub fn fate(name: &[u8]) -> Fate {
    let steering: [&[u8]; 5] = [
        record::ATTRIBUTE_PREFIX,
        b"user.overlay.",
        b"user.containers.",
        b"user.fuseoverlayfs.",
        b"trusted.overlay.",
    ];
    if name.contains(&0)
        || name.is_empty()
        || name == b"security.selinux"
        || steering.iter().any(|prefix| name.starts_with(prefix))
        || name.len() > 255
    {
        Fate::Drop
    } else if name.starts_with(b"user.") {
        Fate::Set
    } else {
        Fate::Record
    }
}

/// Whether an attribute is one that root of a user namespace can set on files
/// that are his.
pub fn is_roots(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

fn xattrs(ext: &Extensions) -> Vec<(Vec<u8>, Vec<u8>)> {
    const PREFIX: &[u8] = b"SCHILY.xattr.";
    let global = ext.global.range(PREFIX.to_vec()..);
    let global = global.take_while(|(key, _)| key.starts_with(PREFIX));
    let own = ext.pax.iter().map(|(key, value)| (key, value));
    let all: Vec<(&Vec<u8>, &Vec<u8>)> = global.chain(own).collect();
    // The last of a name counts.
    let mut seen = HashSet::new();
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (key, value) in all.into_iter().rev() {
        if let Some(name) = key.strip_prefix(PREFIX)
            && seen.insert(name)
        {
            found.push((name.to_vec(), value.clone()));
        }
    }
    found.reverse();
    found
}

fn owner(key: &str, ext: &Extensions, field: &[u8]) -> Result<u32> {
    let id = match ext.number(key)? {
        Some(id) => id,
        None => u64::try_from(number(key, field)?).with_context(|| format!("{key} is negative"))?,
    };
    u32::try_from(id).with_context(|| format!("{key} {id} is too large"))
}

fn device(header: &Header, offset: usize) -> Result<u32> {
    let field = &header.0.as_bytes()[offset..offset + 8];
    u32::try_from(number("device number", field)?).context("the device number is too large")
}

/// A header number: octal digits, or binary where the first bit is set. An
/// empty field is zero.
fn number(what: &str, field: &[u8]) -> Result<i64> {
    if field[0] & 0x80 != 0 {
        // Two's complement over the whole field, less its first bit.
        let mut value: i128 = if field[0] & 0x40 != 0 { -1 } else { 0 };
        value = (value << 6) | i128::from(field[0] & 0x3f);
        for byte in &field[1..] {
            value = value
                .checked_mul(256)
                .with_context(|| format!("{what} is too large"))?
                | i128::from(*byte);
        }
        return i64::try_from(value).with_context(|| format!("{what} is too large"));
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii();
    let mut value = 0;
    for digit in text {
        demand!(
            Invalid,
            (b'0'..=b'7').contains(digit),
            "{what} is no octal number: {:?}",
            String::from_utf8_lossy(text)
        );
        value = value * 8 + i64::from(digit - b'0');
    }
    Ok(value)
}

fn decimal(what: &str, text: &[u8]) -> Result<u64> {
    let text = String::from_utf8_lossy(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    value.with_context(|| format!("{what} is no number: {text:?}"))
}

/// A pax time: seconds with an optional fraction, possibly before 1970.
fn timestamp(text: &[u8]) -> Result<(i64, u32)> {
    let text = String::from_utf8_lossy(text);
    let parse = || {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &*text),
        };
        let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        let seconds = i64::try_from(decimal("mtime", whole.as_bytes()).ok()?).ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
        Some(match (negative, nanos) {
            (false, _) => (seconds, nanos),
            (true, 0) => (-seconds, 0),
            (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
        })
    };
    parse().with_context(|| format!("mtime is no time: {text:?}"))
}

/// A path for messages: quoted, with odd bytes escaped.
pub fn show(path: &[u8]) -> String {
    format!("{:?}", record::escape(path))
}

#[cfg(test)]
mod tests;
