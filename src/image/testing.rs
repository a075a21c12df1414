//! Writing tars for tests, hostile ones included.

use std::io::Write;

/// A tar that is being written.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// A member; the defaults are a regular file 0644 of root.
pub struct Member<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub link: &'a [u8],
    pub data: &'a [u8],
    pub device: (u32, u32),
}

impl Default for Member<'_> {
    fn default() -> Self {
        Member {
            name: b"",
            kind: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            link: b"",
            data: b"",
            device: (0, 0),
        }
    }
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    /// Adds a member as it is: nothing is checked or made longer.
    pub fn member(mut self, member: Member) -> Self {
        let mut header = tar::Header::new_gnu();
        {
            let old = header.as_old_mut();
            old.name[..member.name.len()].copy_from_slice(member.name);
            old.linkname[..member.link.len()].copy_from_slice(member.link);
            old.linkflag[0] = member.kind;
        }
        header.set_mode(member.mode);
        header.set_uid(member.uid);
        header.set_gid(member.gid);
        header.set_mtime(member.mtime);
        header.set_size(member.data.len() as u64);
        header.set_device_major(member.device.0).unwrap();
        header.set_device_minor(member.device.1).unwrap();
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.data(member.data)
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.member(Member {
            name: name.as_bytes(),
            data: data.as_bytes(),
            ..Member::default()
        })
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.member(Member {
            name: name.as_bytes(),
            kind: b'5',
            mode,
            ..Member::default()
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(Member {
            name: name.as_bytes(),
            kind: b'2',
            mode: 0o777,
            link: target.as_bytes(),
            ..Member::default()
        })
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.member(Member {
            name: name.as_bytes(),
            kind: b'1',
            link: target.as_bytes(),
            ..Member::default()
        })
    }

    /// A pax header for the next member.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extension(b'x', records)
    }

    /// A pax header for all members that follow.
    pub fn global(self, records: &[(&str, &[u8])]) -> Self {
        self.extension(b'g', records)
    }

    fn extension(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            write!(data, "{length} {key}=").unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.member(Member {
            name: b"pax",
            kind,
            data: &data,
            ..Member::default()
        })
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The archive with its end mark.
    pub fn finish(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }

    /// The archive cut off without an end mark.
    pub fn cut(self) -> Vec<u8> {
        self.bytes
    }
}
