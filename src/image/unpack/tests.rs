use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::image::testing::{Member, Tar};

/// A directory with a canary beside the tree.
struct Directory {
    dir: tempfile::TempDir,
}

impl Directory {
    fn new() -> Directory {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("fs")).unwrap();
        fs::write(dir.path().join("canary"), "alive").unwrap();
        Directory { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("fs")
    }

    fn apply(&self, tar: Tar) -> Result<Unpacked> {
        self.apply_within(tar, Budget::default())
    }

    fn apply_within(&self, tar: Tar, budget: Budget) -> Result<Unpacked> {
        let mut unpacked = unpack(&tar.finish()[..], &self.root(), None, budget)?;
        unpacked.seal(&self.root())?;
        Ok(unpacked)
    }

    fn untouched(&self) -> bool {
        let names = fs::read_dir(self.dir.path()).unwrap().count();
        names == 2 && fs::read_to_string(self.dir.path().join("canary")).unwrap() == "alive"
    }
}

fn applied(tar: Tar) -> (Directory, Unpacked) {
    let place = Directory::new();
    let unpacked = place.apply(tar).unwrap();
    (place, unpacked)
}

fn mode(path: PathBuf) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn attribute(path: PathBuf, name: &std::ffi::CStr) -> Option<String> {
    let value = xattr::get(File::open(path).unwrap(), name).unwrap()?;
    Some(String::from_utf8(value).unwrap())
}

#[test]
fn modes_times_and_owners_are_kept() {
    let (place, unpacked) = applied(
        Tar::new()
            .dir("./", 0o755)
            .dir("tmp", 0o1777)
            .dir("closed", 0)
            .member(Member {
                name: b"su",
                mode: 0o4755,
                data: b"x",
                ..Member::default()
            })
            .member(Member {
                name: b"tmp/theirs",
                mode: 0o440,
                uid: 33,
                gid: 44,
                data: b"x",
                ..Member::default()
            })
            .file("closed/inside", "x")
            .member(Member {
                name: b"link",
                kind: b'2',
                link: b"nowhere",
                uid: 7,
                mode: 0o777,
                ..Member::default()
            })
            .member(Member {
                name: b"pipe",
                kind: b'6',
                mode: 0o622,
                gid: 5,
                ..Member::default()
            })
            .member(Member {
                name: b"null",
                kind: b'3',
                mode: 0o666,
                device: (1, 3),
                ..Member::default()
            }),
    );
    let root = place.root();
    assert!(unpacked.stands_alone() && unpacked.ended_properly);
    assert_eq!(mode(root.join("su")), 0o4755);
    assert_eq!(mode(root.join("tmp")), 0o1777);
    assert_eq!(mode(root.join("closed")), 0);
    assert_eq!(mode(root.join("pipe")), 0o622);
    assert_eq!(
        fs::metadata(root.join("tmp")).unwrap().mtime(),
        1_000_000_000
    );
    let link = fs::symlink_metadata(root.join("link")).unwrap();
    assert_eq!(link.mtime(), 1_000_000_000);
    let owner = |name: &str| attribute(root.join(name), OVERRIDE_STAT);
    assert_eq!(owner("tmp/theirs").as_deref(), Some("33:44:0440:file"));
    assert_eq!(owner("su"), None);
    assert_eq!(owner("null").as_deref(), Some("0:0:0666:char-1-3"));
    let stat = |name: &str| unpacked.records[name].stat.as_deref();
    assert_eq!(stat("link"), Some("7:0:0777:symlink"));
    assert_eq!(stat("pipe"), Some("0:5:0622:pipe"));
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(root.join("closed/inside").exists());
}

#[test]
fn attributes_are_set_recorded_or_dropped() {
    let (place, unpacked) = applied(
        Tar::new()
            .pax(&[
                ("SCHILY.xattr.user.kept", b"v"),
                ("SCHILY.xattr.user.overlay.opaque", b"y"),
                ("SCHILY.xattr.user.containers.override_stat", b"0:0:0:file"),
                ("SCHILY.xattr.security.capability", b"\x01\xff"),
            ])
            .member(Member {
                name: b"a",
                mode: 0o444,
                ..Member::default()
            }),
    );
    let path = place.root().join("a");
    assert_eq!(attribute(path.clone(), c"user.kept").as_deref(), Some("v"));
    assert_eq!(attribute(path.clone(), OPAQUE), None);
    assert_eq!(attribute(path.clone(), OVERRIDE_STAT), None);
    assert_eq!(unpacked.records["a"].xattrs["security.capability"], "01ff");
    assert_eq!(mode(path), 0o444);
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let (place, unpacked) = applied(
        Tar::new()
            .file("a", "first")
            .file("a", "second")
            .dir("d", 0o755)
            .symlink("d/link", "x")
            .file("d/f", "x")
            .file("d", "a file now")
            .file("e", "x")
            .dir("e", 0o755)
            .dir("twice", 0o700)
            .file("twice/kept", "x")
            .dir("twice", 0o750),
    );
    let root = place.root();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "second");
    assert_eq!(fs::read_to_string(root.join("d")).unwrap(), "a file now");
    assert!(root.join("e").is_dir() && root.join("twice/kept").exists());
    assert_eq!(attribute(root.join("e"), OPAQUE).as_deref(), Some("y"));
    assert_eq!(mode(root.join("twice")), 0o750);
    assert!(unpacked.stands_alone());
}

#[test]
fn whiteouts_speak_of_lower_layers_only() {
    let (place, _) = applied(
        Tar::new()
            .file(".wh.gone", "")
            .file("kept", "x")
            .file(".wh.kept", "")
            .dir("d", 0o755)
            .file("d/f", "x")
            .file(".wh.d", "")
            .file(".wh.e", "")
            .dir("e", 0o755)
            .file("e/f", "x")
            .dir("o", 0o755)
            .file("o/before", "x")
            .file("o/.wh..wh..opq", "")
            .file("o/after", "x"),
    );
    let root = place.root();
    let gone = fs::symlink_metadata(root.join("gone")).unwrap();
    assert_eq!(
        (gone.mode() & libc::S_IFMT, gone.rdev()),
        (libc::S_IFCHR, 0)
    );
    for path in ["kept", "d/f", "e/f", "o/before", "o/after"] {
        assert!(root.join(path).is_file(), "{path}");
    }
    for path in ["d", "e", "o"] {
        assert_eq!(
            attribute(root.join(path), OPAQUE).as_deref(),
            Some("y"),
            "{path}"
        );
    }
    assert!(!root.join("o/.wh..wh..opq").exists());
}

#[test]
fn links_on_the_way_are_followed_inside() {
    let (place, unpacked) = applied(
        Tar::new()
            .dir("var", 0o755)
            .symlink("var/run", "/run")
            .file("var/run/pid", "x")
            .dir("a", 0o755)
            .symlink("a/up", "../../../../etc")
            .file("a/up/passwd", "theirs")
            .symlink("escape", "/tmp/../../../../..")
            .file("escape/root-file", "x"),
    );
    let root = place.root();
    assert_eq!(fs::read_to_string(root.join("run/pid")).unwrap(), "x");
    assert_eq!(
        fs::read_to_string(root.join("etc/passwd")).unwrap(),
        "theirs"
    );
    assert!(root.join("root-file").exists());
    assert!(place.untouched());
    let implied: Vec<_> = unpacked.directories.keys().cloned().collect();
    assert!(implied.is_empty(), "sealing takes them all: {implied:?}");
}

#[test]
fn hard_links_stay_inside() {
    let (place, unpacked) = applied(
        Tar::new()
            .file("a", "x")
            .link("b", "a")
            .link("b", "/a")
            .link("a", "a")
            .symlink("s", "/etc/passwd")
            .link("t", "s")
            .link("far", "not/here"),
    );
    let root = place.root();
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("s"), inode("t"));
    assert_eq!(
        unpacked.links,
        [(b"far".to_vec(), b"not/here".to_vec())].into()
    );

    let place = Directory::new();
    let error = place
        .apply(Tar::new().dir("d", 0o755).link("x", "d"))
        .unwrap_err();
    assert!(format!("{error:#}").contains("entry \"x\""), "{error:#}");
}

#[test]
fn nothing_hostile_leaves_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let deep = "../".repeat(20) + &target[1..];
    let attacks: Vec<(&str, Tar)> = vec![
        (
            "link then file",
            Tar::new().symlink("x", target).file("x/evil", "x"),
        ),
        (
            "deep link",
            Tar::new().symlink("x", &deep).file("x/evil", "x"),
        ),
        (
            "link over directory",
            Tar::new()
                .dir("x", 0o755)
                .file("x/a", "")
                .symlink("x", target)
                .file("x/evil", "x"),
        ),
        (
            "link to link",
            Tar::new()
                .symlink("x", "y")
                .symlink("y", target)
                .file("x/evil", "x"),
        ),
        (
            "directory over link",
            Tar::new()
                .symlink("x", target)
                .dir("x", 0)
                .file("x/evil", ""),
        ),
        (
            "file over link",
            Tar::new()
                .symlink("evil", &format!("{target}/evil"))
                .file("evil", "x"),
        ),
        (
            "hard link to link",
            Tar::new()
                .symlink("s", &format!("{target}/evil"))
                .link("h", "s")
                .file("h", "x"),
        ),
        (
            "whiteout by link",
            Tar::new().symlink("x", target).file("x/.wh.kept", ""),
        ),
        (
            "opaque by link",
            Tar::new().symlink("x", target).file("x/.wh..wh..opq", ""),
        ),
        ("loop", Tar::new().symlink("x", "x").file("x/evil", "x")),
        (
            "file as directory",
            Tar::new().file("x", "").file("x/evil", "x"),
        ),
        ("dots", Tar::new().file("../evil", "x")),
        (
            "dots in link",
            Tar::new().link("x", "../canary").file("x", "overwritten"),
        ),
    ];
    fs::write(outside.path().join("kept"), "x").unwrap();
    for (name, tar) in attacks {
        let place = Directory::new();
        let _ = place.apply(tar);
        let names: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{name}: {names:?}");
        assert!(place.untouched(), "{name}");
    }
}

#[test]
fn sparse_files_have_holes() {
    let size = 64 << 20;
    let map = format!("{},4", size - 4);
    let (place, _) = applied(
        Tar::new()
            .pax(&[
                ("GNU.sparse.size", size.to_string().as_bytes()),
                ("GNU.sparse.map", map.as_bytes()),
            ])
            .file("sparse", "tail"),
    );
    let metadata = fs::metadata(place.root().join("sparse")).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20);
}

#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    path: String,
    target: String,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = proptest::sample::select(vec!["a", "b", "c", ".wh.a", ".wh..wh..opq", "..", "."]);
    let path = proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let target = proptest::sample::select(vec![
        "a",
        "/b",
        "../c",
        "../../..",
        "/",
        ".",
        "a/b",
        "../canary",
        "/../../canary",
    ]);
    let kind = proptest::sample::select(b"0000511122236".to_vec());
    let step = (kind, path, target).prop_map(|(kind, path, target)| Step {
        kind,
        path,
        target: target.to_owned(),
    });
    proptest::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the entries are, nothing outside the tree changes, and what
    /// was made can be removed again.
    #[test]
    fn any_entries_stay_inside(steps in steps()) {
        let place = Directory::new();
        let mut tar = Tar::new();
        for step in &steps {
            tar = tar.member(Member {
                name: step.path.as_bytes(),
                kind: step.kind,
                mode: 0o100,
                link: step.target.as_bytes(),
                data: if step.kind == b'0' { b"overwritten" } else { b"" },
                ..Member::default()
            });
        }
        let _ = place.apply(tar);
        prop_assert!(place.untouched());
        remove::remove_tree(&place.root()).unwrap();
        prop_assert!(!place.root().exists());
    }
}

/// What an archive is refused for.
fn refusal(tar: Tar) -> String {
    let place = Directory::new();
    let error = place.apply(tar).unwrap_err();
    assert!(place.untouched());
    format!("{error:#}")
}

/// So many attributes, as pax has them.
fn attributes(prefix: &str, count: usize) -> Vec<(String, Vec<u8>)> {
    let attribute = |n| (format!("SCHILY.xattr.{prefix}{n}"), b"v".to_vec());
    (0..count).map(attribute).collect()
}

fn records(owned: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    owned
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_slice()))
        .collect()
}

#[test]
fn attributes_for_all_files_are_bounded() {
    let many = attributes("user.a", 28_000);
    let mut tar = Tar::new().global(&records(&many));
    for n in 0..40 {
        tar = tar.file(&format!("f{n}"), "");
    }
    let text = refusal(tar);
    assert!(
        text.contains("more than 1000 extended attributes"),
        "{text}"
    );
    assert!(
        text.contains("\"f0\"") && text.contains("--unlimited"),
        "{text}"
    );

    // What the files cannot carry is kept in memory.
    let many = attributes("trusted.a", 90);
    let mut tar = Tar::new().global(&records(&many));
    for n in 0..40 {
        tar = tar.file(&format!("f{n}"), "");
    }
    let bytes = tar.cut();
    let budget = Budget {
        metadata: 200_000,
        ..Budget::default()
    };
    let apply = |budget| Directory::new().apply_within(Tar::new().raw(&bytes), budget);
    let text = format!("{:#}", apply(budget).unwrap_err());
    assert!(
        text.contains("200000 bytes of names and of attributes"),
        "{text}"
    );
    assert_eq!(apply(Budget::default()).unwrap().records.len(), 40);

    // A few are what they were, and a file's own go before.
    let few = [
        ("SCHILY.xattr.user.a", &b"all"[..]),
        ("SCHILY.xattr.user.b", b"all"),
    ];
    let (place, _) = applied(
        Tar::new()
            .global(&few)
            .global(&[("comment", b"x"), ("SCHILY.xattr.user.b", b"later")])
            .file("f", "")
            .pax(&[
                ("SCHILY.xattr.user.a", b"own"),
                ("SCHILY.xattr.user.a", b"last"),
            ])
            .file("g", ""),
    );
    let of = |file: &str, name| attribute(place.root().join(file), name).unwrap();
    assert_eq!([of("f", c"user.a"), of("f", c"user.b")], ["all", "later"]);
    assert_eq!([of("g", c"user.a"), of("g", c"user.b")], ["last", "later"]);
}

#[test]
fn depth_is_bounded() {
    let deep = "d/".repeat(1300);
    let long = [("path", deep.as_bytes())];
    let text = refusal(Tar::new().pax(&long).dir("x", 0o755));
    assert!(text.contains("256 directories inside each other"), "{text}");
    // By way of links no path of the archive is too deep.
    let mut tar = Tar::new()
        .pax(&[("path", "d/".repeat(200).as_bytes())])
        .dir("x", 0o755);
    tar = tar
        .pax(&[("linkpath", "d/".repeat(200).as_bytes())])
        .symlink("l", "x");
    let text = refusal(
        tar.pax(&[("path", format!("l/{}", "e/".repeat(100)).as_bytes())])
            .dir("x", 0o755),
    );
    assert!(text.contains("256 directories inside each other"), "{text}");
}

#[test]
fn long_ways_are_bounded() {
    // Each of the links leads down 250 directories and up again.
    let down = "d/".repeat(250);
    let round = format!("{down}{}", "../".repeat(250));
    let mut tar = Tar::new().pax(&[("path", down.as_bytes())]).dir("x", 0o755);
    for n in 1..38 {
        let target = format!("{round}l{}", n - 1);
        let target = if n == 1 { round.clone() } else { target };
        tar = tar
            .pax(&[("linkpath", target.as_bytes())])
            .symlink(&format!("l{n}"), "x");
    }
    let once = tar.file("l37/d/f", "content");
    let place = Directory::new();
    let bytes = once.cut();
    place.apply(Tar::new().raw(&bytes)).unwrap();
    assert_eq!(
        fs::read_to_string(place.root().join("d/f")).unwrap(),
        "content"
    );

    let mut tar = Tar::new().raw(&bytes);
    for n in 0..100 {
        tar = tar
            .file(&format!("l37/d/f{n}"), "")
            .file(&format!("f{n}"), "");
    }
    let text = refusal(tar);
    assert!(text.contains("walk through"), "{text}");
}

#[test]
fn a_file_of_holes_has_its_size_and_no_more_than_there_may_be() {
    let sparse = |size: u64| {
        let size = size.to_string();
        let map = format!("0,0,{size},0");
        Tar::new()
            .pax(&[
                ("GNU.sparse.map", map.as_bytes()),
                ("GNU.sparse.size", size.as_bytes()),
            ])
            .file("holes", "")
    };
    let text = refusal(sparse(17_000_000_000_000));
    assert!(
        text.contains("holes included") && text.contains("--max-layer-size"),
        "{text}"
    );
    let (place, unpacked) = applied(sparse(1 << 40));
    let metadata = fs::metadata(place.root().join("holes")).unwrap();
    assert_eq!((metadata.len(), unpacked.size), (1 << 40, 1 << 40));
    assert_eq!(metadata.blocks(), 0);
}

#[test]
fn what_is_replaced_again_and_again_is_forgotten() {
    let mut tar = Tar::new();
    for n in 0..2000 {
        tar = tar
            .symlink("x", "y")
            .member(Member {
                name: b"x/deep/er",
                kind: b'5',
                ..Member::default()
            })
            .link(&format!("pending{}", n % 10), "below")
            .file("x", "");
        // The way through a link is no way once it is a directory.
        tar = tar.dir("y", 0o755);
    }
    let (place, unpacked) = applied(tar.file("pending3", "here"));
    assert_eq!(unpacked.links.len(), 9);
    assert_eq!(
        fs::read_to_string(place.root().join("pending3")).unwrap(),
        "here"
    );
}

#[test]
fn directories_get_their_modes_whatever_their_order() {
    let names = [
        "a", "a-", "a/b", "a/b/c", "a/b-c", "a/b/c/d", "a0", "ab", "ab/c",
    ];
    let mut tar = Tar::new();
    for name in names {
        tar = tar.dir(name, 0o100 + name.len() as u32);
    }
    let (place, _) = applied(tar);
    for name in names {
        assert_eq!(
            mode(place.root().join(name)),
            0o100 + name.len() as u32,
            "{name}"
        );
    }
}
