//! The mounts of a process by its `mountinfo` (proc_pid_mountinfo(5)). Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// The number of the mount that it is on.
    pub parent: u64,
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Type of the file system, as `ext4` or `fuse.sshfs`.
    pub fstype: String,
    /// What is mounted, as `/dev/sda1`; each file system has words of its own.
    pub source: String,
    /// Options of the file system, separated by commas.
    pub options: String,
}

/// All mounts, in the kernel's order. Lines that are none are left out.
pub fn parse(file: &[u8]) -> Vec<Mount> {
    file.split(|byte| *byte == b'\n')
        .filter_map(mount)
        .collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let _device = fields.next()?;
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    // Optional fields end with a dash.
    fields.by_ref().find(|field| *field == b"-")?;
    Some(Mount {
        id,
        parent,
        root,
        point,
        fstype: text(fields.next()?),
        source: text(fields.next()?),
        options: text(fields.next().unwrap_or_default()),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Replaces `\ooo` by the byte with that octal number.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let octal = match tail.first_chunk::<3>() {
            Some(digits) if *first == b'\\' => octal(digits),
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        if octal.is_some() {
            rest = &tail[3..];
        }
    }
    bytes
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0u8, |number, digit| {
        let digit = matches!(digit, b'0'..=b'7').then(|| digit - b'0')?;
        number.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_and_escapes() {
        let file = b"36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 shared:2 - ext3 /dev/r rw,x\n\
                     37 36 0:5 / /c\\134040 rw - nfs4 srv:/ rw\n";
        let mounts = parse(file);
        assert_eq!((mounts[0].id, mounts[0].parent), (36, 35));
        assert_eq!(mounts[0].point, PathBuf::from("/a b"));
        assert_eq!(mounts[0].root, PathBuf::from("/mnt1"));
        assert_eq!(mounts[0].fstype, "ext3");
        assert_eq!(mounts[0].options, "rw,x");
        assert_eq!(mounts[1].point, PathBuf::from("/c\\040"));
        assert_eq!(mounts[1].source, "srv:/");
    }

    #[test]
    fn broken_lines_are_left_out() {
        let file = b"\nx\n1 2 3\n1 2 3 / / rw ext4 a b\n1 2 3 / / rw -\n1 2 3 / / rw - t s\n";
        assert_eq!(parse(file).len(), 1);
        assert_eq!(unescape(b"\\"), b"\\");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\777\\089"), b"\\777\\089");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&file);
        }
    }
}
