use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::image::testing::{Member, Tar};

/// A directory with a canary beside the tree.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("fs")).unwrap();
        fs::write(dir.path().join("canary"), "alive").unwrap();
        Place { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("fs")
    }

    fn apply(&self, tar: Tar) -> Result<Unpacked> {
        let mut unpacked = unpack(&tar.finish()[..], &self.root(), None)?;
        unpacked.seal(&self.root())?;
        Ok(unpacked)
    }

    fn untouched(&self) -> bool {
        let names = fs::read_dir(self.dir.path()).unwrap().count();
        names == 2 && fs::read_to_string(self.dir.path().join("canary")).unwrap() == "alive"
    }
}

fn applied(tar: Tar) -> (Place, Unpacked) {
    let place = Place::new();
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
    assert_eq!(unpacked.links, [(b"far".to_vec(), b"not/here".to_vec())]);

    let place = Place::new();
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
        let place = Place::new();
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
        let place = Place::new();
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
