//! What comes out of containers and images is what is in them: owners of all
//! names of a file, files that are not as long as they say, holes.

use crate::common::archive::{Layer, busybox_layer, image};
use crate::common::{Podman, Sandbox, granted, wait_for};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use tar::EntryType;

/// Names of two files and a link, made before and after they got their owners.
const NAMES: &str = "
    mkdir /d; echo x >/d/m; chown 33:44 /d/m; chmod 6755 /d/m; ln /d/m /d/z; ln /d/m /d/a
    echo y >/d/f; ln /d/f /d/e; ln /d/f /d/g; chown 7:8 /d/g; chmod 4711 /d/e
    ln -s x /d/s; ln /d/s /d/t; chown -h 5:6 /d/t; ln /d/t /d/r
";

/// Mode, owner and group of all members of a tar whose directory is `d`.
fn members(tar: &[u8]) -> BTreeMap<String, (u32, u64, u64)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_end_matches('/').to_owned();
        let ids = (header.uid().unwrap(), header.gid().unwrap());
        (path, (header.mode().unwrap(), ids.0, ids.1))
    });
    entries
        .filter(|(path, _)| path.starts_with("d/") && path.len() == 3)
        .collect()
}

/// The topmost layer of a docker-archive.
fn top_layer(archive: &[u8]) -> Vec<u8> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        files.insert(path, data);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    files[layers.last().unwrap().as_str().unwrap()].clone()
}

#[test]
fn all_names_of_a_file_have_its_owner() {
    let sandbox = Sandbox::with_busybox();
    let mut wanted = BTreeMap::new();
    for (names, what) in [
        ("amz", (0o6755, 33, 44)),
        ("efg", (0o4711, 7, 8)),
        ("rst", (0o777, 5, 6)),
    ] {
        wanted.extend(names.chars().map(|name| (format!("d/{name}"), what)));
    }
    let bytes = |arguments: &[&str], file: &str| {
        sandbox.bryo(arguments).output().expect(0);
        fs::read(sandbox.work().join(file)).unwrap()
    };
    let range = granted("/etc/subuid").is_some();
    for userns in ["auto", "single"] {
        let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
        let run = run.args(["--userns", userns, "busybox", "sh", "-c", NAMES]);
        run.output().expect(0);
        let tar = bytes(&["export", "-o", "c.tar", "c"], "c.tar");
        assert_eq!(members(&tar), wanted, "export ({userns})");
        let copy = format!("{} cp c:/d - >cp.tar", crate::common::bryo().display());
        sandbox.command("sh").args(["-c", &copy]).output().expect(0);
        let tar = fs::read(sandbox.work().join("cp.tar")).unwrap();
        assert_eq!(members(&tar), wanted, "cp ({userns})");
        // From one container to another, and from there on.
        sandbox
            .bryo([
                "create", "--name", "e", "--userns", userns, "busybox", "true",
            ])
            .output()
            .expect(0);
        sandbox.bryo(["cp", "-a", "c:/d", "e:/"]).output().expect(0);
        let tar = bytes(&["export", "-o", "e.tar", "e"], "e.tar");
        assert_eq!(members(&tar), wanted, "cp to a container ({userns})");
        for squash in [None, Some("-s")] {
            let commit = sandbox.bryo(["commit"]).args(squash);
            commit.args(["c", "localhost/made"]).output().expect(0);
            let archive = bytes(&["save", "-o", "made.tar", "localhost/made"], "made.tar");
            assert_eq!(
                members(&top_layer(&archive)),
                wanted,
                "commit ({userns}, {squash:?})"
            );
            // A container of it says the same.
            let create = [
                "create",
                "--name",
                "f",
                "--userns",
                userns,
                "localhost/made",
                "true",
            ];
            sandbox.bryo(create).output().expect(0);
            let tar = bytes(&["export", "-o", "f.tar", "f"], "f.tar");
            assert_eq!(members(&tar), wanted, "of the image ({userns}, {squash:?})");
            sandbox.bryo(["rm", "f"]).output().expect(0);
            // Who has only one id cannot have these owners in podman.
            if range && squash.is_none() {
                let podman = Podman::new(&sandbox);
                podman
                    .command(&["load", "-i", "made.tar"])
                    .output()
                    .expect(0);
                let run = podman.command(&["run", "--rm", "--network", "none", "localhost/made"]);
                let list = "cd /d; stat -c '%n %a %u %g' *; find / -xdev -perm -4000 -user 0";
                let seen = run.args(["sh", "-c", list]).output().expect(0).stdout;
                let line = |(path, (mode, uid, gid)): (&String, &(u32, u64, u64))| {
                    format!("{} {mode:o} {uid} {gid}\n", &path[2..])
                };
                assert_eq!(seen, wanted.iter().map(line).collect::<String>());
                podman
                    .command(&["rmi", "localhost/made"])
                    .output()
                    .expect(0);
            }
            sandbox.bryo(["rmi", "localhost/made"]).output().expect(0);
        }
        sandbox.bryo(["rm", "c", "e"]).output().expect(0);
    }
}

/// Links and pipes of an image, also where a layer has more names for them.
#[test]
fn owners_of_an_images_links_stay() {
    let sandbox = Sandbox::new();
    let below = Layer::new()
        .directory("d/")
        .entry(EntryType::Symlink, "d/s", "x", 0o777, (5, 6))
        .entry(EntryType::Fifo, "d/p", "", 0o640, (7, 8));
    let above = Layer::new()
        .entry(EntryType::Link, "d/t", "d/s", 0o777, (0, 0))
        .entry(EntryType::Link, "d/u", "d/s", 0o777, (0, 0))
        .entry(EntryType::Link, "d/q", "d/p", 0o640, (0, 0));
    let layers = [busybox_layer(), below.tar(), above.tar()];
    let archive = image(&sandbox, "links", &layers, serde_json::json!({}));
    let mut wanted = BTreeMap::new();
    for (names, what) in [("stu", (0o777, 5, 6)), ("pq", (0o640, 7, 8))] {
        wanted.extend(names.chars().map(|name| (format!("d/{name}"), what)));
    }
    for userns in ["auto", "single"] {
        let load = sandbox.bryo(["load", "-q", "--userns", userns, "-i", &archive]);
        load.output().expect(0);
        for (name, image) in [("c", "links"), ("e", "links")] {
            let create = sandbox.bryo(["create", "--name", name, "--userns", userns, image]);
            create.args(["true"]).output().expect(0);
        }
        let tar = |script: &str| {
            let script = script.replace("bryo", &crate::common::bryo().display().to_string());
            let run = sandbox
                .command("sh")
                .args(["-c", &format!("{script} >out.tar")]);
            run.output().expect(0);
            members(&fs::read(sandbox.work().join("out.tar")).unwrap())
        };
        assert_eq!(tar("bryo export c"), wanted, "export ({userns})");
        assert_eq!(tar("bryo cp c:/d -"), wanted, "cp ({userns})");
        sandbox
            .bryo(["cp", "-a", "c:/d/.", "e:/d"])
            .output()
            .expect(0);
        assert_eq!(tar("bryo export e"), wanted, "cp to a container ({userns})");
        // Said by a container of what its image has.
        let run = sandbox.bryo([
            "run",
            "--name",
            "f",
            "--network",
            "none",
            "--userns",
            userns,
        ]);
        let chown = ["links", "chown", "-h", "9:9", "/d/s"];
        run.args(chown).output().expect(0);
        assert_eq!(tar("bryo export f")["d/s"], (0o777, 9, 9), "{userns}");
        sandbox.bryo(["rm", "c", "e", "f"]).output().expect(0);
        sandbox.bryo(["rmi", "-a"]).output().expect(0);
    }
}

/// What a container says of files that its image has, and where the image keeps
/// what they are: on them, or beside.
#[test]
fn what_is_said_of_an_images_files_is_a_change() {
    let sandbox = Sandbox::new();
    let below = Layer::new()
        .directory("d/")
        .entry(EntryType::Symlink, "d/s", "x", 0o777, (5, 6))
        .entry(EntryType::Symlink, "d/t", "x", 0o777, (5, 6))
        .entry(EntryType::Symlink, "d/u", "x", 0o777, (5, 6))
        .entry(EntryType::Symlink, "d/v", "x", 0o777, (0, 0))
        .entry(EntryType::Symlink, "d/w", "x", 0o777, (0, 0))
        .entry(EntryType::Symlink, "d/x", "x", 0o777, (5, 6))
        .entry(EntryType::Link, "d/y", "d/x", 0o777, (5, 6))
        .entry(EntryType::Fifo, "d/p", "", 0o640, (7, 8))
        .entry(EntryType::Fifo, "d/q", "", 0o640, (7, 8))
        .entry(EntryType::Char, "d/c", "", 0o666, (0, 5))
        .entry(EntryType::Char, "d/b", "", 0o666, (0, 5))
        .entry(EntryType::Directory, "d/e/", "", 0o755, (3, 4))
        .entry(EntryType::Regular, "d/f", "f", 0o644, (3, 4))
        .entry(EntryType::Link, "d/g", "d/f", 0o644, (3, 4))
        .entry(EntryType::Regular, "d/m", "m", 0o4755, (3, 4))
        .entry(EntryType::Regular, "d/n", "n", 0o644, (3, 4));
    let layers = [busybox_layer(), below.tar()];
    let archive = image(&sandbox, "said", &layers, serde_json::json!({}));
    let script = "cd /d; chown -h 9:9 s; chown -h 9:9 t; mv t o; chown -h 0:0 u; mv v z; chown -h 9:9 z
        touch -h w; chown -h 9:9 w; chown -h 9:6 x; chown 7:9 p; chmod 600 p; chown 9:9 c; chmod 600 b
        chown 9:9 e; chown 9:9 f; chown 9:9 m; chmod 700 n; ln s a; ln q r; chown 9:9 r";
    let wanted: BTreeMap<_, _> = [
        ("s", (0o777, 9, 9)),
        ("a", (0o777, 9, 9)),
        ("o", (0o777, 9, 9)),
        ("u", (0o777, 0, 0)),
        ("z", (0o777, 9, 9)),
        ("w", (0o777, 9, 9)),
        ("x", (0o777, 9, 6)),
        ("y", (0o777, 5, 6)),
        ("p", (0o600, 7, 9)),
        ("q", (0o640, 9, 9)),
        ("r", (0o640, 9, 9)),
        ("c", (0o666, 9, 9)),
        ("b", (0o600, 0, 5)),
        ("e", (0o755, 9, 9)),
        ("f", (0o644, 9, 9)),
        ("g", (0o644, 3, 4)),
        ("m", (0o755, 9, 9)),
        ("n", (0o700, 3, 4)),
    ]
    .map(|(name, what)| (format!("d/{name}"), what))
    .into();
    for userns in ["auto", "single"] {
        let load = sandbox.bryo(["load", "-q", "--userns", userns, "-i", &archive]);
        load.output().expect(0);
        let run = sandbox.bryo(["run", "-d", "--network", "none", "--userns", userns]);
        let run = run.args(["--name", "c", "said", "sh", "-c"]);
        run.arg(format!("{script}; echo said; exec sleep 1000"))
            .output()
            .expect(0);
        sandbox
            .bryo(["logs", "-f", "c"])
            .spawn()
            .expect_line("said");
        let tar = |script: &str| {
            let script = script.replace("bryo", &crate::common::bryo().display().to_string());
            let run = sandbox
                .command("sh")
                .args(["-c", &format!("{script} >out.tar")]);
            run.output().expect(0);
            members(&fs::read(sandbox.work().join("out.tar")).unwrap())
        };
        let of_image = |name: &str| {
            let create = ["create", "--name", "f", "--userns", userns, name, "true"];
            sandbox.bryo(create).output().expect(0);
            let found = tar("bryo export f");
            sandbox.bryo(["rm", "f"]).output().expect(0);
            sandbox.bryo(["rmi", name]).output().expect(0);
            found
        };
        for running in [true, false] {
            let what = format!("{userns}, running: {running}");
            assert_eq!(tar("bryo export c"), wanted, "export ({what})");
            assert_eq!(tar("bryo cp c:/d -"), wanted, "cp ({what})");
            for squash in [None, Some("-s")] {
                let commit = sandbox.bryo(["commit", "-q"]).args(squash);
                commit.args(["c", "made"]).output().expect(0);
                assert_eq!(of_image("made"), wanted, "commit ({what}, {squash:?})");
            }
            let diff = sandbox.bryo(["diff", "c"]).stdout();
            let kinds = "suwxpqcbefmn".chars().map(|name| (name, 'C'));
            let kinds = kinds.chain("aozr".chars().map(|name| (name, 'A')));
            for (name, kind) in kinds.chain("tv".chars().map(|name| (name, 'D'))) {
                let line = format!("{kind} /d/{name}");
                assert!(diff.lines().any(|l| l == line), "{line} ({what}):\n{diff}");
            }
            if running {
                sandbox.bryo(["stop", "-t", "0", "c"]).output().expect(0);
            }
        }
        // A copy is root's, a device too, unless all is to be kept.
        let create = ["create", "--name", "e", "--userns", userns, "said", "true"];
        sandbox.bryo(create).output().expect(0);
        for (flags, name) in [(&[][..], "e:/d/k"), (&["-a"], "e:/d/l")] {
            let cp = sandbox.bryo(["cp"]).args(flags);
            cp.args(["c:/d/c", name]).output().expect(0);
        }
        let found = tar("bryo export e");
        let wanted = [(0o666, 0, 0), (0o666, 9, 9)];
        assert_eq!([found["d/k"], found["d/l"]], wanted, "{userns}");
        sandbox.bryo(["rm", "c", "e"]).output().expect(0);
        if userns == "single" {
            // Who asks is told what the image says, and what was said since.
            let flags = ["--userns", "single", "--root-emulation", "full"];
            let script = "cd /d; stat -c %u:%g s p; chown -h :9 s; chown 9 p; stat -c %u:%g s p c";
            let seen = sandbox.shell_of("said", &flags, script);
            assert_eq!(seen, "5:6\n7:8\n5:9\n9:8\n0:5");
        }
        sandbox.bryo(["rmi", "-a"]).output().expect(0);
    }
}

#[test]
fn files_that_lie_about_their_size_are_copied_as_they_read() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", "c", "busybox"]);
    run.args(["sleep", "1000"]).output().expect(0);
    for path in ["/proc/version", "/sys/class/net/lo/mtu"] {
        let text = fs::read_to_string(path).unwrap();
        sandbox.bryo(["cp", "-L", path, "c:/in"]).output().expect(0);
        let read = sandbox.bryo(["exec", "c", "cat", "/in"]).output().expect(0);
        assert_eq!(read.stdout, text, "{path} into a container");
        sandbox
            .bryo(["cp", "-L", &format!("c:{path}"), "out"])
            .output()
            .expect(0);
        let inside = sandbox.bryo(["exec", "c", "cat", path]).output().expect(0);
        let out = fs::read_to_string(sandbox.work().join("out")).unwrap();
        assert!(
            !out.is_empty() && out == inside.stdout,
            "{path} out of a container"
        );
    }
    let script = format!(
        "{} cp c:/proc/version - | tar -xO",
        crate::common::bryo().display()
    );
    let tar = sandbox.command("sh").args(["-c", &script]).stdout();
    assert_eq!(tar, fs::read_to_string("/proc/version").unwrap().trim_end());
    // Never half of a file, whatever is written to it meanwhile.
    let flip = "while :; do head -c 8000000 /dev/zero >/t; head -c 90000 /dev/zero >/t; done";
    let exec = sandbox.bryo(["exec", "-d", "c", "sh", "-c", flip]);
    exec.output().expect(0);
    for _ in 0..20 {
        let output = sandbox.bryo(["cp", "c:/t", "t"]).output();
        match output.code {
            0 => {}
            _ => assert!(
                output.stderr.contains("\"t\": it became shorter")
                    || output.stderr.contains("no such"),
                "{output}"
            ),
        }
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// Fails unless the size and number of blocks of the file below are true.
#[track_caller]
fn holed(size_and_blocks: &str) {
    let (size, blocks) = size_and_blocks.split_once(' ').unwrap();
    assert_eq!(size, (300 << 20).to_string());
    assert!(blocks.parse::<u64>().unwrap() * 512 < 1 << 20, "{blocks}");
}

#[test]
fn holes_stay_holes() {
    let sandbox = Sandbox::with_busybox();
    let make = "truncate -s 200M /hole; echo end >>/hole; truncate -s 300M /hole";
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none", "busybox"]);
    run.args(["sh", "-c", make]).output().expect(0);
    sandbox.bryo(["cp", "c:/hole", "hole"]).output().expect(0);
    sandbox
        .bryo(["export", "-o", "c.tar", "c"])
        .output()
        .expect(0);
    let place = sandbox.work();
    fs::create_dir(place.join("x")).unwrap();
    sandbox
        .command("tar")
        .args(["-C", "x", "-xf", "c.tar", "hole"])
        .output()
        .expect(0);
    for (file, size) in [("hole", 300 << 20), ("x/hole", 300 << 20)] {
        let meta = fs::metadata(place.join(file)).unwrap();
        assert_eq!(meta.len(), size, "{file}");
        assert!(
            meta.blocks() * 512 < 1 << 20,
            "{file}: {} blocks",
            meta.blocks()
        );
        let mut bytes = [0; 4];
        use std::os::unix::fs::FileExt;
        let opened = File::open(place.join(file)).unwrap();
        opened.read_exact_at(&mut bytes, 200 << 20).unwrap();
        assert_eq!(&bytes, b"end\n");
    }
    assert!(fs::metadata(place.join("c.tar")).unwrap().len() < 10 << 20);
    // Into another one, and through an image: its layers are written out, since
    // podman and docker cannot write those with holes again.
    sandbox
        .bryo([
            "create", "--name", "d", "busybox", "stat", "-c", "%s %b", "/copy",
        ])
        .output()
        .expect(0);
    sandbox.bryo(["cp", "hole", "d:/copy"]).output().expect(0);
    let copy = sandbox.bryo(["start", "-a", "d"]).stdout();
    holed(&copy);
    sandbox
        .bryo(["commit", "c", "localhost/made"])
        .output()
        .expect(0);
    sandbox
        .bryo(["save", "-o", "made.tar", "localhost/made"])
        .output()
        .expect(0);
    let saved = fs::metadata(place.join("made.tar")).unwrap();
    assert!(
        saved.len() > 300 << 20 && saved.blocks() * 512 < 20 << 20,
        "{}",
        saved.blocks()
    );
    holed(&sandbox.shell_of("localhost/made", &[], "stat -c '%s %b' /hole"));
    let podman = Podman::new(&sandbox);
    podman
        .command(&["load", "-i", "made.tar"])
        .output()
        .expect(0);
    podman
        .command(&["save", "-o", "again.tar", "localhost/made"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "c", "d"]).output().expect(0);
}

/// What was never started is its image: the same in every store, whoever's.
#[test]
fn an_image_is_exported_the_same_from_every_store() {
    let tars = ["auto", "single"].map(|userns| {
        let sandbox = Sandbox::new();
        let make = "mkdir -p tree/d/e; cd tree; truncate -s 3M d/hole; echo x >>d/hole; \
                    truncate -s 5M d/hole; ln d/hole d/a; ln -s hole d/l; mkfifo d/p; \
                    chmod 7622 d/p; touch -d @1000000000 d/e d/hole; touch -h -d @1000000000 d/l; touch -d @1000000000 d/p d . ; \
                    tar --owner=3 --group=4 --sort=name -cf ../tree.tar d";
        sandbox.command("sh").args(["-c", make]).output().expect(0);
        // Another time for all that is made with it.
        let made = |name: &str| fs::metadata(sandbox.work().join(name)).unwrap().mtime_nsec();
        wait_for("another time", || {
            sandbox.write("now", "");
            (made("now") != made("tree.tar")).then_some(())
        });
        let import = sandbox.bryo(["import", "--userns", userns, "tree.tar", "tree"]);
        import.output().expect(0);
        let volume = sandbox.work().join("volume");
        fs::create_dir(&volume).unwrap();
        let volume = format!("{}:/vol", volume.display());
        let create = sandbox.bryo(["create", "--name", "c", "--userns", userns, "-v", &volume]);
        create.args(["tree", "x"]).output().expect(0);
        sandbox.bryo(["export", "-o", "c.tar", "c"]).output().expect(0);
        let list = sandbox.command("tar").args(["-tf", "c.tar"]).stdout();
        assert_eq!(
            list.lines().collect::<Vec<_>>(),
            ["./", "d/", "d/a", "d/e/", "d/hole", "d/l", "d/p"]
        );
        sandbox.bryo(["rm", "c"]).output().expect(0);
        fs::read(sandbox.work().join("c.tar")).unwrap()
    });
    assert!(tars[0].len() < 1 << 20, "{}", tars[0].len());
    assert!(tars[0] == tars[1]);
}
