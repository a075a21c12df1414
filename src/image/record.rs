//! What a file should be, where the file system of an ordinary user cannot
//! say it: owner, mode, device number.
//!
//! The text form is that of containers/storage (`idtools`), so that other
//! tools understand it: `uid:gid:mode:type`, where the mode is octal and the
//! type is `file`, `dir`, `symlink`, `pipe`, `socket`, `block-MAJOR-MINOR` or
//! `char-MAJOR-MINOR`. It stands in the extended attribute
//! [`OVERRIDE_STAT`] of the file, or, since symbolic links and pipes can have
//! no `user.` attribute, in a [`Record`] beside the tree.

use crate::error::{refusal, refuse};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The attribute that carries a [`Stat`].
pub const OVERRIDE_STAT: &CStr = c"user.containers.override_stat";

/// Stands before the name of an attribute that only root of the machine can
/// set (`security.capability`), where it is recorded on the file itself.
pub const ATTRIBUTE_PREFIX: &[u8] = b"user.bryo.";

/// `security.capability` behind [`ATTRIBUTE_PREFIX`].
pub const CAPABILITY: &CStr = c"user.bryo.security.capability";

/// The attribute by which overlay (mounted with `userxattr`) knows a directory
/// that hides all below it.
pub const OPAQUE: &CStr = c"user.overlay.opaque";

/// Kinds of files that a [`Stat`] can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A character device with its major and minor number.
    Char(u32, u32),
}

/// The true owner, mode and type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// What the file is.
    pub kind: FileType,
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stat { uid, gid, mode, .. } = self;
        write!(f, "{uid}:{gid}:{mode:04o}:")?;
        match self.kind {
            FileType::File => f.write_str("file"),
            FileType::Directory => f.write_str("dir"),
            FileType::Symlink => f.write_str("symlink"),
            FileType::Pipe => f.write_str("pipe"),
            FileType::Socket => f.write_str("socket"),
            FileType::Block(major, minor) => write!(f, "block-{major}-{minor}"),
            FileType::Char(major, minor) => write!(f, "char-{major}-{minor}"),
        }
    }
}

impl FromStr for Stat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Stat> {
        let parse = || {
            let mut parts = text.splitn(4, ':');
            let mut part = || parts.next().context("a part is missing");
            let uid = part()?.parse()?;
            let gid = part()?.parse()?;
            let mode = u32::from_str_radix(part()?, 8)?;
            // Older writers leave the type away for what the file itself shows.
            let kind = parse_kind(part().unwrap_or("file"))?;
            Ok(Stat {
                uid,
                gid,
                mode: mode & 0o7777,
                kind,
            })
        };
        parse().map_err(|why: anyhow::Error| refusal!(Invalid, "owner record {text:?}: {why}"))
    }
}

fn parse_kind(text: &str) -> Result<FileType> {
    let device = |numbers: &str| -> Result<(u32, u32)> {
        let (major, minor) = numbers.split_once('-').context("no device number")?;
        Ok((major.parse()?, minor.parse()?))
    };
    Ok(match text {
        "file" => FileType::File,
        "dir" => FileType::Directory,
        "symlink" => FileType::Symlink,
        "pipe" => FileType::Pipe,
        "socket" => FileType::Socket,
        _ => {
            if let Some(numbers) = text.strip_prefix("block-") {
                let (major, minor) = device(numbers)?;
                FileType::Block(major, minor)
            } else if let Some(numbers) = text.strip_prefix("char-") {
                let (major, minor) = device(numbers)?;
                FileType::Char(major, minor)
            } else {
                refuse!(Invalid, "unknown type {text:?}")
            }
        }
    })
}

/// What is known of one file of a layer and could not be put on the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// A [`Stat`] in its text form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<String>,
    /// Extended attributes; the values are hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl Record {
    /// How many bytes it takes in memory, about.
    pub fn weight(&self) -> usize {
        let xattrs = self.xattrs.iter();
        let xattrs: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        xattrs + self.stat.as_ref().map_or(0, String::len)
    }
}

/// Records by path below the layer's root; see [`escape`].
pub type Records = BTreeMap<String, Record>;

/// A path as text: bytes that are no part of a UTF-8 character, and the
/// percent sign, become `%XX`.
pub fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Undoes [`escape`].
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        (rest, _) = match (first, byte) {
            (b'%', Some(byte)) => (&after[2..], bytes.push(byte)),
            _ => (after, bytes.push(*first)),
        };
    }
    bytes
}

/// What the root of a tree has whose archive does not list it. No archive of
/// a real file system has that time.
pub const UNLISTED: (u32, (i64, u32)) = (0o755, (0, 1));

/// Whether the root of a tree with this status was not in its archive, so that
/// a layer below decides what the root directory of the image is like. In an
/// overlay it would be the topmost one, whatever it is.
pub fn says_nothing(root: &nix::sys::stat::FileStat) -> bool {
    let (mode, (seconds, nanos)) = UNLISTED;
    (root.st_mode & 0o7777, root.st_mtime, root.st_mtime_nsec) == (mode, seconds, i64::from(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_written_as_other_tools_write_them() {
        for text in [
            "1000:1011:0644:file",
            "1001:1012:0755:dir",
            "1002:1013:0777:symlink",
            "1003:1014:0666:pipe",
            "1004:1015:0700:socket",
            "1005:1016:0600:block-8-0",
            "0:5:0620:char-136-1",
            "0:0:4755:file",
        ] {
            assert_eq!(text.parse::<Stat>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1:2",
            "a:1:0:file",
            "1:1:9:file",
            "1:1:0:char-1",
            "1:1:0:x",
        ] {
            assert!(text.parse::<Stat>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn escaped_paths_are_text_and_distinct() {
        assert_eq!(escape("usr/é".as_bytes()), "usr/é");
        assert_eq!(escape(b"a\xffb%"), "a%FFb%25");
        for path in ["usr/é".as_bytes(), b"a\xffb%", b"%25%", b"%\xff2"] {
            assert_eq!(unescape(&escape(path)), path);
        }
    }
}
