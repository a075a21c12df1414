use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::image::budget::Budget;
use crate::image::owners::Owners;
use crate::image::record::OVERRIDE_STAT;
use crate::image::testing::{Member, Tar};
use crate::image::unpack::unpack;

/// Layers that are unpacked one on top of the other.
struct Stack {
    dir: tempfile::TempDir,
    /// The topmost first.
    layers: Vec<PathBuf>,
}

impl Stack {
    fn new() -> Stack {
        let dir = tempfile::tempdir().unwrap();
        let layers = Vec::new();
        Stack { dir, layers }
    }

    fn push(&mut self, tar: Tar) -> Result<Unpacked> {
        let path = self.dir.path().join(self.layers.len().to_string());
        fs::create_dir(&path).unwrap();
        let mut unpacked = unpack(&tar.finish()[..], &path, None, Budget::default())?;
        settle(&path, &mut unpacked, &self.layers)?;
        self.layers.insert(0, path);
        Ok(unpacked)
    }

    fn top(&self, path: &str) -> PathBuf {
        self.layers[0].join(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        let view = View::new(&self.layers).unwrap();
        let bytes = view.read(path, 1000).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }
}

#[test]
fn unlisted_directories_keep_what_is_below() {
    let mut stack = Stack::new();
    stack
        .push(
            Tar::new()
                .dir("tmp", 0o1777)
                .dir("closed", 0o500)
                .member(Member {
                    name: b"www",
                    kind: b'5',
                    mode: 0o750,
                    uid: 33,
                    ..Member::default()
                }),
        )
        .unwrap();
    let files = ["tmp/f", "www/f", "new/f", "closed/a/f"];
    let tar = files
        .iter()
        .fold(Tar::new(), |tar, name| tar.file(name, "x"));
    let unpacked = stack.push(tar).unwrap();
    let mode = |path: &str| fs::metadata(stack.top(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(mode("www"), 0o750);
    assert_eq!(mode("new"), 0o755);
    assert_eq!(mode("closed"), 0o500);
    let www = File::open(stack.top("www")).unwrap();
    assert_eq!(
        xattr::get(&www, OVERRIDE_STAT).unwrap().unwrap(),
        b"33:0:0750:dir"
    );
    assert_eq!(www.metadata().unwrap().mtime(), 1_000_000_000);
    assert!(unpacked.directories.is_empty());
}

#[test]
fn links_to_directories_below_are_not_hidden() {
    let mut stack = Stack::new();
    stack
        .push(
            Tar::new()
                .dir("usr", 0o755)
                .dir("usr/lib", 0o555)
                .file("usr/lib/libc", "c")
                .symlink("lib", "usr/lib")
                .dir("var", 0o755)
                .symlink("var/run", "/run"),
        )
        .unwrap();
    let unpacked = stack
        .push(
            Tar::new()
                .file("lib/mod/m1", "m")
                .dir("usr/lib/mod", 0o700)
                .file("usr/lib/mod/m2", "m")
                .file("var/run/pid", "p")
                .member(Member {
                    name: b"lib/mod/link",
                    kind: b'2',
                    uid: 5,
                    link: b"m1",
                    ..Member::default()
                }),
        )
        .unwrap();
    assert!(!stack.top("lib").exists());
    assert_eq!(stack.read("lib/libc").as_deref(), Some("c"));
    assert_eq!(stack.read("usr/lib/mod/m1").as_deref(), Some("m"));
    assert_eq!(stack.read("usr/lib/mod/m2").as_deref(), Some("m"));
    // What the link points to is not there below, so there is nothing to follow.
    assert_eq!(stack.read("var/run/pid").as_deref(), Some("p"));
    let mode = |path: &str| fs::metadata(stack.top(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("usr/lib"), 0o555);
    assert_eq!(mode("usr/lib/mod"), 0o700);
    assert!(unpacked.records.contains_key("usr/lib/mod/link"));
}

#[test]
fn hard_links_reach_into_lower_layers() {
    let mut stack = Stack::new();
    stack
        .push(Tar::new().dir("bin", 0o755).member(Member {
            name: b"bin/tool",
            mode: 0o4711,
            uid: 9,
            data: b"tool",
            ..Member::default()
        }))
        .unwrap();
    stack
        .push(Tar::new().dir("bin", 0o755).link("bin/alias", "bin/tool"))
        .unwrap();
    assert_eq!(stack.read("bin/alias").as_deref(), Some("tool"));
    let alias = File::open(stack.top("bin/alias")).unwrap();
    assert_eq!(alias.metadata().unwrap().mode() & 0o7777, 0o4711);
    assert_eq!(
        xattr::get(&alias, OVERRIDE_STAT).unwrap().unwrap(),
        b"9:0:4711:file"
    );

    let error = stack.push(Tar::new().link("x", "nowhere")).unwrap_err();
    assert!(format!("{error:#}").contains("\"x\""), "{error:#}");
    let error = Stack::new()
        .push(Tar::new().link("x", "nowhere"))
        .unwrap_err();
    assert!(format!("{error:#}").contains("\"x\""), "{error:#}");
}

#[test]
fn what_is_known_of_a_link_below_goes_with_it() {
    use crate::image::layer::About;
    let dir = tempfile::tempdir().unwrap();
    let special = |name, kind, uid, link| Member {
        name,
        kind,
        uid,
        link,
        ..Member::default()
    };
    let tars = [
        Tar::new()
            .dir("usr", 0o755)
            .symlink("alias", "usr")
            .member(special(b"usr/s", b'2', 5, b"x"))
            .member(special(b"usr/p", b'6', 7, b"")),
        Tar::new()
            .link("one", "usr/s")
            .link("two", "alias/s")
            .link("alias/three", "usr/p"),
    ];
    let mut layers: Vec<PathBuf> = Vec::new();
    for tar in tars {
        let tree = dir.path().join(layers.len().to_string()).join("fs");
        fs::create_dir_all(&tree).unwrap();
        let mut unpacked = unpack(&tar.finish()[..], &tree, None, Budget::default()).unwrap();
        settle(&tree, &mut unpacked, &layers).unwrap();
        let about = About {
            records: unpacked.records,
            ..About::default()
        };
        about.write(tree.parent().unwrap()).unwrap();
        layers.insert(0, tree);
    }
    let records = About::records_beside(&layers[0]).unwrap();
    let stat = |path: &str| records[path].stat.as_deref().unwrap();
    assert_eq!(stat("one"), "5:0:0644:symlink");
    assert_eq!(stat("two"), "5:0:0644:symlink");
    assert!(stat("usr/three").starts_with("7:0:") && stat("usr/three").ends_with(":pipe"));
    let inode = |path: &str| fs::symlink_metadata(layers[0].join(path)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
    // In a copy of the whole it is by inode.
    let mut owners = Owners::new(dir.path());
    let copy = dir.path().join("copy");
    copy::flatten(&layers, &copy, &mut owners).unwrap();
    owners.refresh().unwrap();
    for (path, uid) in [("usr/s", 5), ("one", 5), ("two", 5), ("usr/three", 7)] {
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_NOFOLLOW;
        let file = nix::fcntl::open(&copy.join(path), flags, Mode::empty()).unwrap();
        let known = owners.get(crate::sys::fs::identity(&file).unwrap());
        assert_eq!(known.map(|stat| stat.uid), Some(uid), "{path}");
    }
}

#[test]
fn an_opaque_root_hides_all_below() {
    let mut stack = Stack::new();
    stack
        .push(
            Tar::new()
                .file("old", "x")
                .dir("both", 0o755)
                .file("both/old", "x"),
        )
        .unwrap();
    stack
        .push(
            Tar::new()
                .file(".wh..wh..opq", "")
                .dir("both", 0o755)
                .file("both/new", "x")
                .file("new", "x"),
        )
        .unwrap();
    let view = View::new(&stack.layers).unwrap();
    let names: Vec<_> = view.root().children().unwrap().into_keys().collect();
    assert_eq!(names, [b"both".to_vec(), b"new".to_vec()]);
    assert_eq!(stack.read("both/old"), None);
    assert_eq!(stack.read("both/new").as_deref(), Some("x"));
}

#[test]
fn a_stack_is_copied_as_it_looks() {
    let mut stack = Stack::new();
    stack
        .push(
            Tar::new()
                .dir("a", 0o750)
                .file("a/low", "low")
                .file("a/over", "low")
                .file("gone", "x")
                .file("one", "linked")
                .link("two", "one")
                .symlink("s", "a/low")
                .dir("shut", 0)
                .member(Member {
                    name: b"secret",
                    mode: 0,
                    data: b"s",
                    ..Member::default()
                }),
        )
        .unwrap();
    stack
        .push(
            Tar::new()
                .dir("a", 0o711)
                .file("a/over", "top")
                .file(".wh.gone", ""),
        )
        .unwrap();
    let dest = stack.dir.path().join("copy");
    let mut owners = Owners::new(stack.dir.path());
    copy::flatten(&stack.layers, &dest, &mut owners).unwrap();
    let read = |path: &str| fs::read_to_string(dest.join(path)).unwrap();
    assert_eq!(read("a/low"), "low");
    assert_eq!(read("a/over"), "top");
    assert_eq!(read("s"), "low");
    assert!(!dest.join("gone").exists());
    let stat = |path: &str| fs::symlink_metadata(dest.join(path)).unwrap();
    assert_eq!(stat("one").ino(), stat("two").ino());
    assert_eq!(stat("a").mode() & 0o7777, 0o711);
    assert_eq!(stat("shut").mode() & 0o7777, 0);
    assert_eq!(stat("secret").mode() & 0o7777, 0);
    assert_eq!(stat("a/low").mtime(), 1_000_000_000);
}
