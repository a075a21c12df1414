use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::image::budget::Budget;
use crate::image::tarball::{Members, Stream};
use crate::image::testing::{Member, Tar};

/// Each member with its data.
fn list(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut members = Members::new(Stream(bytes), Budget::default());
    let mut found = Vec::new();
    while let Some(entry) = members.next()? {
        let mut data = Vec::new();
        members.read_to_end(&mut data)?;
        found.push((entry, data));
    }
    Ok(found)
}

fn one(tar: Tar) -> Entry {
    let mut all = list(&tar.finish()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0).0
}

fn refused(tar: Tar) -> String {
    format!("{:#}", list(&tar.finish()).unwrap_err())
}

#[test]
fn names_are_cleaned_or_refused() {
    for (name, path) in [
        ("./", ""),
        (".", ""),
        ("/", ""),
        ("./a//b/./c/", "a/b/c"),
        ("/etc/passwd", "etc/passwd"),
        ("..a/b..", "..a/b.."),
        ("a/../b", "b"),
        ("a/b/../c/./..", "a"),
    ] {
        assert_eq!(clean(name.as_bytes()).unwrap(), path.as_bytes(), "{name}");
    }
    for name in ["", "..", "/..", "a/../../b", "a\0b", &"x/".repeat(3000)] {
        assert!(clean(name.as_bytes()).is_err(), "{name:?}");
    }
}

#[test]
fn errors_name_the_entry() {
    let error = refused(Tar::new().file("good", "").file("../../etc/passwd", "x"));
    assert!(error.contains("../../etc/passwd"), "{error}");
    let error = refused(Tar::new().link("innocent", "../secret"));
    assert!(
        error.contains("innocent") && error.contains("hard link"),
        "{error}"
    );
    let error = refused(Tar::new().member(Member {
        name: b"odd\xff",
        kind: b'?',
        ..Member::default()
    }));
    assert!(error.contains("odd%FF") && error.contains("'?'"), "{error}");
}

#[test]
fn whiteouts_are_told_apart() {
    let kind = |name: &str| {
        let entry = one(Tar::new().file(name, ""));
        (entry.kind, String::from_utf8(entry.path).unwrap())
    };
    assert_eq!(kind("a/.wh.b"), (Kind::Whiteout, "a/b".to_owned()));
    assert_eq!(kind(".wh.b"), (Kind::Whiteout, "b".to_owned()));
    assert_eq!(kind("a/.wh..wh..opq"), (Kind::Opaque, "a".to_owned()));
    assert_eq!(kind(".wh..wh..opq"), (Kind::Opaque, String::new()));
    assert_eq!(kind("a/.wh..wh.plnk").0, Kind::Ignored);
    assert_eq!(kind("a/b.wh.c").0, Kind::File);
    for name in ["a/.wh.", "a/.wh..", "a/.wh..."] {
        assert!(
            refused(Tar::new().file(name, "")).contains("whiteout"),
            "{name}"
        );
    }
}

#[test]
fn long_names_come_from_either_extension() {
    let long = "d/".repeat(90) + "end";
    let gnu = |kind| Member {
        name: b"././@LongLink",
        kind,
        data: long.as_bytes(),
        ..Member::default()
    };
    let entry = one(Tar::new()
        .member(gnu(b'L'))
        .member(gnu(b'K'))
        .symlink("x", "y"));
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.kind, Kind::Symlink(long.clone().into_bytes()));
    let pax = [("path", long.as_bytes()), ("linkpath", b"to \xff\nthere")];
    let entry = one(Tar::new().pax(&pax).symlink("x", "y"));
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.kind, Kind::Symlink(b"to \xff\nthere".to_vec()));
}

#[test]
fn pax_values_win_and_may_hold_any_byte() {
    let entry = one(Tar::new()
        .pax(&[
            ("uid", b"4000000000"),
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.user.a", b"x\n=\0y"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
        ])
        .file("a", "b"));
    assert_eq!(entry.meta.uid, 4_000_000_000);
    assert_eq!(entry.meta.mtime, (-2, 750_000_000));
    assert_eq!(
        entry.meta.xattrs[0],
        (b"user.a".to_vec(), b"x\n=\0y".to_vec())
    );
    assert_eq!(entry.meta.xattrs[1].0, b"security.capability");
    assert!(refused(Tar::new().pax(&[("uid", b"4294967296")]).file("a", "")).contains("uid"));
    assert!(refused(Tar::new().pax(&[("size", b"-1")]).file("a", "")).contains("size"));
}

#[test]
fn steering_attributes_are_left_out() {
    for name in [
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "user.containers.override_stat",
        "trusted.overlay.redirect",
        "security.selinux",
        "",
    ] {
        assert_eq!(fate(name.as_bytes()), Fate::Drop, "{name}");
    }
    assert_eq!(fate(b"user.mime_type"), Fate::Set);
    assert_eq!(fate(b"security.capability"), Fate::Record);
}

#[test]
fn binary_numbers_and_odd_headers_are_read() {
    let mut block = *tar::Header::new_gnu().as_bytes();
    block[0] = b'a';
    block[156] = b'0';
    // Before 1970, in base 256; an empty mode.
    block[136..148].copy_from_slice(&[0xff; 12]);
    block[100..108].fill(0);
    let mut header = tar::Header::from_byte_slice(&block).clone();
    header.set_cksum();
    let entry = one(Tar::new().raw(header.as_bytes()));
    assert_eq!(entry.meta.mtime, (-1, 0));
    assert_eq!(entry.meta.mode, 0);
    let entry = one(Tar::new().member(Member {
        name: b"dev/null",
        kind: b'3',
        device: (1, 3),
        ..Member::default()
    }));
    assert_eq!(entry.kind, Kind::Device(FileType::Char(1, 3)));
    // Version 7 marks a directory by a slash only.
    assert_eq!(one(Tar::new().file("dir/", "")).kind, Kind::Directory);
}

#[test]
fn damage_is_noticed() {
    let mut bytes = Tar::new().file("a", "data").finish();
    bytes[3] ^= 1;
    assert!(list(&bytes).unwrap_err().to_string().contains("at byte 0"));
    let whole = Tar::new().file("a", &"x".repeat(2000)).file("b", "").cut();
    for length in [100, 512, 600, 2559, 2570] {
        let result = list(&whole[..length]);
        assert!(result.is_err(), "cut at {length}");
    }
    assert_eq!(list(&whole).unwrap().len(), 2);
}

/// The four ways of writing a file that is `..ab....cd..` (dots are holes).
#[test]
fn sparse_files_of_all_forms_are_understood() {
    let pieces = vec![
        Piece {
            offset: 2,
            length: 2,
        },
        Piece {
            offset: 8,
            length: 2,
        },
    ];
    let check = |tar: Tar, form: &str| {
        let (entry, data) = list(&tar.finish()).unwrap().remove(0);
        assert_eq!(entry.size, 12, "{form}");
        assert_eq!(entry.pieces.as_ref(), Some(&pieces), "{form}");
        assert_eq!(data, b"abcd", "{form}");
        assert_eq!(entry.path, b"sparse", "{form}");
    };
    let stored = |data| Member {
        name: b"GNUSparseFile.0/sparse",
        data,
        ..Member::default()
    };
    check(
        Tar::new()
            .pax(&[
                ("GNU.sparse.size", b"12"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"2"),
                ("GNU.sparse.numbytes", b"2"),
                ("GNU.sparse.offset", b"8"),
                ("GNU.sparse.numbytes", b"2"),
                ("path", b"sparse"),
            ])
            .member(stored(b"abcd")),
        "0.0",
    );
    check(
        Tar::new()
            .pax(&[
                ("GNU.sparse.size", b"12"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.map", b"2,2,8,2"),
            ])
            .member(stored(b"abcd")),
        "0.1",
    );
    let mut map = b"2\n2\n2\n8\n2\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcd");
    check(
        Tar::new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"12"),
            ])
            .member(stored(&map)),
        "1.0",
    );
    // The old GNU form, with its second piece in a continuation block.
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..6].copy_from_slice(b"sparse");
    header.as_old_mut().linkflag[0] = b'S';
    header.set_size(4);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(12);
    gnu.set_is_extended(true);
    gnu.sparse[0].set_offset(2);
    gnu.sparse[0].set_length(2);
    header.set_cksum();
    let mut more = tar::GnuExtSparseHeader::new();
    more.sparse_mut()[0].set_offset(8);
    more.sparse_mut()[0].set_length(2);
    let mut data = b"abcd".to_vec();
    data.resize(512, 0);
    check(
        Tar::new()
            .raw(header.as_bytes())
            .raw(more.as_bytes())
            .raw(&data),
        "old GNU",
    );

    for map in ["2,2,3,2", "2,2,11,2", "2,2", "2,2,8", "2,2,8,3", "x"] {
        let records = [
            ("GNU.sparse.size", &b"12"[..]),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        let tar = Tar::new().pax(&records).member(stored(b"abcd"));
        assert!(list(&tar.finish()).is_err(), "{map}");
    }
}

#[test]
fn endless_headers_are_refused() {
    let huge = Member {
        name: b"x",
        kind: b'L',
        ..Member::default()
    };
    let mut bytes = Tar::new().member(huge).cut();
    let mut header = tar::Header::from_byte_slice(&bytes).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    assert!(format!("{:#}", list(&bytes).unwrap_err()).contains("too long"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = list(&bytes);
        let _ = pax_records(&bytes);
    }

    /// A header with any content but a right checksum.
    #[test]
    fn any_header_is_read_or_refused(
        mut block in proptest::collection::vec(any::<u8>(), 512),
        kind in proptest::sample::select(b"0123456SLKxgDV".to_vec()),
        magic in proptest::sample::select(vec![*b"ustar\x0000", *b"ustar  \0", [0; 8]]),
    ) {
        block[156] = kind;
        block[257..265].copy_from_slice(&magic);
        let mut header = tar::Header::from_byte_slice(&block).clone();
        header.set_cksum();
        let _ = list(&Tar::new().raw(header.as_bytes()).finish());
    }

    #[test]
    fn pax_records_read_back(
        records in proptest::collection::vec(("[a-zA-Z.]{1,12}", proptest::collection::vec(any::<u8>(), 0..120)), 0..5)
    ) {
        let borrowed: Vec<(&str, &[u8])> = records.iter().map(|(k, v)| (k.as_str(), &v[..])).collect();
        let bytes = Tar::new().pax(&borrowed).cut();
        let data = &bytes[512..];
        let read = pax_records(data).unwrap();
        let wanted: Vec<(Vec<u8>, Vec<u8>)> =
            records.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn cleaned_names_stay_inside(name in proptest::collection::vec(proptest::sample::select(b"./a\0\xff".to_vec()), 0..12)) {
        if let Ok(path) = clean(&name) {
            prop_assert!(!path.starts_with(b"/"));
            prop_assert!(path.split(|byte| *byte == b'/').all(|c| c != b".." && c != b"."));
            prop_assert_eq!(clean(if path.is_empty() { b"." } else { &path }).unwrap(), path);
        }
    }
}
