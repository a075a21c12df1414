//! Images as many producers make them: each starts, and each value is the
//! image's.

use crate::common::archive::{Layer, busybox_layer, image, load};
use crate::common::{Podman, Sandbox, require_tool};
use nix::unistd::{getgid, getuid};
use serde_json::json;
use std::fs;
use tar::EntryType;

/// Names of a tar's members with mode, owner and time, as GNU tar lists them.
fn listing(sandbox: &Sandbox, archive: &str) -> Vec<String> {
    let flags = ["--numeric-owner", "--utc", "--full-time", "-tvf", archive];
    let list = sandbox.command("tar").args(flags).stdout();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    list.lines().map(words).collect()
}

#[test]
fn a_layer_may_come_twice() {
    let sandbox = Sandbox::new();
    let empty = || Layer::new().tar();
    let a = Layer::new()
        .directory("d/")
        .file("d/one", "a")
        .file("d/two", "a")
        .directory("o/")
        .file("o/.wh..wh..opq", "")
        .file("o/a", "a")
        .file("kept", "a")
        .tar();
    let b = Layer::new()
        .directory("d/")
        .file("d/.wh.one", "")
        .file("d/two", "b")
        .file("d/three", "b")
        .directory("o/")
        .file("o/b", "b")
        .file(".wh.kept", "")
        .tar();
    let base = busybox_layer();
    let cases = [
        (
            "empty",
            vec![base.clone(), empty(), empty(), a.clone(), empty()],
        ),
        ("twice", vec![base.clone(), a.clone(), b.clone(), a.clone()]),
        (
            "deleted",
            vec![base.clone(), a.clone(), b.clone(), a.clone(), b.clone()],
        ),
        (
            "again",
            vec![base.clone(), b.clone(), a.clone(), base.clone()],
        ),
    ];
    let script = "cat /d/one /d/two /d/three /kept 2>/dev/null; ls /o; echo .; \
                  grep -c ' / / .* - overlay ' /proc/self/mountinfo";
    for (name, layers) in &cases {
        load(&sandbox, name, layers, json!({"Cmd": ["sh"]}));
        let wanted = match *name {
            "empty" => "aaaa\n.\n1",
            "deleted" => "bba\nb\n.\n1",
            _ => "aabaa\n.\n1",
        };
        let run = sandbox.run(&["--network", "none", name, "sh", "-c", script]);
        let run = run.expect(0);
        assert_eq!(run.stdout.trim_end(), wanted, "{name}");
        // No word of a copy, and none was made.
        assert_eq!(run.stderr, "", "{name}");
        let change = sandbox.bryo(["run", "--network", "none", "--name", "c", name]);
        let change = change.args(["sh", "-c", "echo new >/d/two; rm -f /kept; echo x >/x"]);
        change.output().expect(0);
        let diff = sandbox.bryo(["diff", "c"]).stdout();
        assert!(diff.contains("C /d/two") && diff.contains("A /x"), "{diff}");
        sandbox.bryo(["commit", "c", "made"]).output().expect(0);
        let flags = [
            "--network",
            "none",
            "made",
            "sh",
            "-c",
            "cat /d/two /x; test ! -e /kept",
        ];
        assert_eq!(sandbox.run(&flags).expect(0).stdout, "new\nx\n", "{name}");
        let export = sandbox.bryo(["export", "-o", "c.tar", "c"]);
        export.output().expect(0);
        let list = listing(&sandbox, "c.tar");
        let there = |path: &str| list.iter().any(|line| line.ends_with(&format!(" {path}")));
        assert!(there("d/two") && there("x") && !there("kept"), "{list:#?}");
        let history = sandbox.bryo(["history", "-q", "made"]).stdout();
        assert_eq!(history.lines().count(), layers.len() + 1, "{history}");
        // Whoever takes the image has all its layers again.
        let save = sandbox.bryo(["save", "-o", "saved.tar", "made"]);
        save.output().expect(0);
        for command in [
            &["rm", "c"][..],
            &["rmi", "made"],
            &["load", "-q", "-i", "saved.tar"],
        ] {
            sandbox.bryo(command).output().expect(0);
        }
        assert_eq!(sandbox.run(&flags).expect(0).stdout, "new\nx\n", "{name}");
        sandbox.bryo(["rmi", "made"]).output().expect(0);
    }
    let check = sandbox.bryo(["check"]).output().expect(0);
    assert!(!check.stdout.contains("damaged"), "{check}");
}

/// A root of its own: mode, owner, time, an attribute.
fn with_root() -> Vec<Vec<u8>> {
    let root = Layer::new().attribute("user.tag", "it");
    let root = root.entry(EntryType::Directory, "./", "", 0o555, (10, 11));
    // The topmost layer does not list it.
    vec![
        busybox_layer(),
        root.tar(),
        Layer::new().file("top", "").tar(),
    ]
}

#[test]
fn the_root_directory_is_the_images() {
    let sandbox = Sandbox::new();
    load(&sandbox, "rooted", &with_root(), json!({"Cmd": ["sh"]}));
    let root_of = |container: &str| {
        let export = sandbox.bryo(["export", "-o", "r.tar", container]);
        export.output().expect(0);
        listing(&sandbox, "r.tar").remove(0)
    };
    let image = "dr-xr-xr-x 10/11 0 2009-02-13 23:31:30 ./";
    for userns in ["auto", "single"] {
        let create = sandbox.bryo(["create", "--name", "c", "--userns", userns, "rooted"]);
        create.output().expect(0);
        assert_eq!(root_of("c"), image, "{userns}");
        let tar = fs::read(sandbox.work().join("r.tar")).unwrap();
        let attribute = b"SCHILY.xattr.user.tag=it";
        assert!(tar.windows(attribute.len()).any(|w| w == attribute));
        sandbox.bryo(["rm", "c"]).output().expect(0);
        let script = "stat -c '%a %Y' /";
        let seen = sandbox.shell_of("rooted", &["--userns", userns], script);
        assert_eq!(seen, "555 1234567890", "{userns}");
        // What the container makes of it stays.
        let run = sandbox.bryo([
            "run",
            "--name",
            "c",
            "--network",
            "none",
            "--userns",
            userns,
        ]);
        let script = "stat -c %a /; chmod 1711 /; chown 5:6 /; touch -d @1000000000 /";
        let run = run.args(["rooted", "sh", "-c", script]).output().expect(0);
        assert_eq!(run.stdout, "555\n");
        let changed = "drwx--x--t 5/6 0 2001-09-09 01:46:40 ./";
        assert_eq!(root_of("c"), changed, "{userns}");
        for squash in [false, true] {
            let commit = sandbox.bryo(["commit", "-q"]).args(squash.then_some("-s"));
            commit.args(["c", "made"]).output().expect(0);
            let create = sandbox.bryo(["create", "--name", "d", "--userns", userns, "made"]);
            create.output().expect(0);
            assert_eq!(root_of("d"), changed, "{userns} {squash}");
            sandbox.bryo(["rm", "d"]).output().expect(0);
            sandbox.bryo(["rmi", "made"]).output().expect(0);
        }
        let start = sandbox.bryo(["start", "-a", "c"]).output().expect(0);
        assert!(start.stdout.ends_with("1711\n"), "{start}");
        sandbox.bryo(["rm", "c"]).output().expect(0);
    }
}

#[test]
fn a_closed_root_directory_is_no_obstacle() {
    let sandbox = Sandbox::new();
    for mode in [0o700, 0o111, 0] {
        let root = Layer::new().entry(EntryType::Directory, "./", "", mode, (0, 0));
        let layers = [busybox_layer(), root.tar()];
        load(&sandbox, "closed", &layers, json!({"Cmd": ["sh"]}));
        for userns in ["auto", "single"] {
            let flags = ["--userns", userns, "-v", "/new/place"];
            let seen = sandbox.shell_of("closed", &flags, "stat -c %a /; id -u");
            assert_eq!(seen, format!("{mode:o}\n0"), "{userns}");
            let create = sandbox.bryo(["create", "--name", "c", "--userns", userns, "closed"]);
            create.output().expect(0);
            let export = sandbox.bryo(["export", "-o", "c.tar", "c"]);
            export.output().expect(0);
            sandbox.bryo(["diff", "c"]).output().expect(0);
            sandbox.bryo(["rm", "c"]).output().expect(0);
        }
        sandbox.bryo(["rmi", "closed"]).output().expect(0);
    }
}

#[test]
fn mounts_stand_on_what_links_name() {
    let sandbox = Sandbox::new();
    let links = Layer::new()
        .link("etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
        .link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
        .link("etc/hosts", "/run/hosts")
        .link("etc/hostname", "chain")
        .link("etc/chain", "../over/../names/here")
        .link("data", "/mnt/gone/deep")
        .link("vol", "mnt/volume")
        .link("out", "../../../../../tmp/clamped")
        .link("dev2", "run/devices")
        .tar();
    let config = json!({"Cmd": ["sh"], "Volumes": {"/vol": {}}});
    load(&sandbox, "linked", &[busybox_layer(), links], config);
    sandbox.write("zone", "zone\n");
    sandbox.write("dir/file", "in\n");
    let zone = format!("{}:/etc/localtime", sandbox.work().join("zone").display());
    let directory = sandbox.work().join("dir");
    let bind = format!("type=bind,src={},dst=/data", directory.display());
    let image = "type=image,src=linked,dst=/out/image";
    let script = "set -e; cat /etc/localtime /usr/share/zoneinfo/Europe/Berlin /mnt/gone/deep/file; \
                  grep -q localhost /run/hosts; grep -q box /names/here; \
                  test -e /run/systemd/resolve/stub-resolv.conf; cat /etc/resolv.conf >/dev/null; \
                  echo v >/mnt/volume/v; cat /vol/v; test -L /tmp/clamped/image/data; \
                  test -c /run/devices/null; echo t >/mnt/tmpfs/t; \
                  for p in /mnt/volume /mnt/gone/deep /mnt/tmpfs /tmp/clamped/image; do \
                  grep -q \" $p \" /proc/self/mountinfo; done; echo ok";
    let common = [
        "-v",
        &zone,
        "--mount",
        &bind,
        "--mount",
        image,
        "--tmpfs",
        "/mnt/tmpfs",
        "--device",
        "/dev/null:/dev2/null",
        "--hostname",
        "box",
    ];
    for more in [
        &[][..],
        &["--read-only", "--tmpfs", "/names"],
        &["--tmpfs", "/run"],
    ] {
        let flags: Vec<&str> = common.iter().chain(more).copied().collect();
        let printed = sandbox.shell_of("linked", &flags, script);
        assert_eq!(printed, "zone\nzone\nin\nv\nok", "{more:?}");
    }
    // What was made for it is the container's, as with docker and podman.
    let run = sandbox
        .bryo(["run", "--name", "c", "--network", "none"])
        .args(common);
    run.args(["linked", "sh", "-c", script]).output().expect(0);
    let diff = sandbox.bryo(["diff", "c"]).stdout();
    for place in [
        "stub-resolv.conf",
        "/run/hosts",
        "/names/here",
        "/Europe/Berlin",
        "/mnt/gone/deep",
        "/mnt/volume",
        "/clamped/image",
    ] {
        let listed = |line: &str| line.starts_with("A ") && line.ends_with(place);
        assert!(diff.lines().any(listed), "{place} in\n{diff}");
    }
    let export = sandbox.bryo(["export", "-o", "c.tar", "c"]);
    export.output().expect(0);
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    sandbox
        .bryo(["create", "--name", "d", "made"])
        .output()
        .expect(0);
    let export = sandbox.bryo(["export", "-o", "d.tar", "d"]);
    export.output().expect(0);
    let names = |archive: &str| {
        let list = sandbox.command("tar").args(["-tf", archive]).stdout();
        // What stands below all containers is no change of any.
        let own = ["dev/", "proc/", "sys/"];
        let list = list.lines().filter(|name| !own.contains(name));
        list.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("c.tar"), names("d.tar"));
    sandbox.bryo(["rm", "-v", "c", "d"]).output().expect(0);
    // A loop has no target.
    let loops = Layer::new().link("a", "b").link("b", "a").tar();
    load(&sandbox, "loops", &[busybox_layer(), loops], json!({}));
    let refused = sandbox.run(&["--tmpfs", "/a", "loops", "true"]).expect(125);
    assert!(refused.stderr.contains("round in circles"), "{refused}");
}

#[test]
fn roots_of_all_kinds_start() {
    let sandbox = Sandbox::new();
    let base = || vec![busybox_layer()];
    let without = |path: &str| Layer::new().file(&format!(".wh.{path}"), "");
    let user = json!({"Cmd": ["sh"], "User": "33"});
    let plain = json!({"Cmd": ["sh"]});
    let at = |directory: &str| json!({"Cmd": ["sh"], "WorkingDir": directory});
    for (name, layer, config) in [
        ("no-etc", without("etc"), plain.clone()),
        ("no-sys", without("sys"), plain.clone()),
        ("no-dev", without("dev"), plain.clone()),
        ("no-proc", without("proc"), plain.clone()),
        (
            "no-places",
            without("sys").file(".wh.proc", "").file(".wh.dev", ""),
            plain.clone(),
        ),
        (
            "tmp-link",
            without("tmp").link("tmp", "var/tmp"),
            plain.clone(),
        ),
        (
            "etc-link",
            without("etc").link("etc", "usr/etc"),
            plain.clone(),
        ),
        (
            "dev-link",
            without("dev").link("dev", "/run/dev"),
            plain.clone(),
        ),
        ("work-missing", Layer::new(), at("/not/there")),
        (
            "work-link",
            Layer::new().link("w", "srv/work"),
            at("/w/below"),
        ),
        (
            "work-dangles",
            Layer::new().link("w", "/gone/there"),
            at("/w"),
        ),
        ("numbered", Layer::new(), user),
        (
            "entry-link",
            Layer::new().link("opt/sh", "../bin/sh"),
            json!({"Entrypoint": ["/opt/sh"]}),
        ),
        (
            "run-link",
            Layer::new().file(".wh.run", "").link("run", "var/lib/run"),
            plain.clone(),
        ),
    ] {
        let mut layers = base();
        layers.push(layer.tar());
        load(&sandbox, name, &layers, config);
        let script = "grep -q Pid /proc/self/status; test -c /dev/null; test -d /sys/kernel; \
                      test -s /etc/hosts; pwd";
        let run = sandbox.bryo(["run", "--rm", "--network", "none", name]);
        let run = match name {
            "entry-link" => run.args(["-ec", script]),
            _ => run.args(["sh", "-ec", script]),
        };
        let run = run.output().expect(0);
        let wanted = match name {
            "work-missing" => "/not/there",
            "work-link" => "/srv/work/below",
            "work-dangles" => "/gone/there",
            _ => "/",
        };
        assert_eq!(run.stdout.trim_end(), wanted, "{name}");
    }
    // What is not a directory is an error that says so.
    for (name, layer, config, word) in [
        (
            "dev-file",
            without("dev").file("dev", ""),
            plain.clone(),
            "/dev: a directory is needed",
        ),
        (
            "proc-file",
            without("proc").file("proc", ""),
            plain.clone(),
            "/proc: a directory is",
        ),
        ("work-file", Layer::new().file("w", ""), at("/w"), "/w"),
        (
            "hosts-dir",
            Layer::new().directory("etc/hosts/"),
            plain.clone(),
            "has a directory",
        ),
        (
            "nobody",
            Layer::new(),
            json!({"Cmd": ["sh"], "User": "joe"}),
            "user 'joe'",
        ),
    ] {
        let mut layers = base();
        layers.push(layer.tar());
        load(&sandbox, name, &layers, config);
        let refused = sandbox.run(&["--network", "none", name, "true"]);
        assert!((125..=126).contains(&refused.code), "{name}: {refused}");
        assert!(refused.stderr.contains(word), "{name}: {refused}");
    }
}

/// An image whose user tu is 1000 and has a home, a volume and a group.
fn with_user() -> (Vec<Vec<u8>>, serde_json::Value) {
    let own = (1000, 1000);
    let directory = EntryType::Directory;
    let layer = Layer::new()
        .file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\ntu:x:1000:1000::/home/tu:/bin/sh\n",
        )
        .file("etc/group", "root:x:0:\ntu:x:1000:\nwork:x:77:tu\n")
        .entry(directory, "home/tu/", "", 0o755, own)
        .entry(EntryType::Regular, "home/tu/f", "f", 0o600, own)
        .entry(directory, "vol/", "", 0o755, own)
        .entry(EntryType::Regular, "vol/v", "v", 0o644, own)
        .entry(EntryType::Regular, "daemon", "", 0o644, (33, 33));
    let root = Layer::new().entry(directory, "./", "", 0o755, (0, 0));
    let config = json!({"Cmd": ["sh"], "User": "tu", "Volumes": {"/vol": {}},
                        "Env": ["PATH=/bin"]});
    (vec![busybox_layer(), root.tar(), layer.tar()], config)
}

#[test]
fn keep_id_leaves_files_to_their_owners() {
    let sandbox = Sandbox::new();
    let (layers, config) = with_user();
    let archive = image(&sandbox, "owned", &layers, config);
    let load = sandbox.bryo(["load", "-q", "-i", &archive]);
    load.output().expect(0);
    let script = "id -u; id -g; id -G; stat -c '%u:%g %n' / /bin /bin/busybox /home/tu /home/tu/f \
                  /daemon /etc/passwd /vol /vol/v";
    let command = ["owned", "sh", "-c", script];
    let run = |userns: &str| {
        let run = sandbox.bryo(["run", "--rm", "--network", "none", "--userns", userns]);
        run.args(command).stdout()
    };
    let user = std::env::var("USER").unwrap();
    let ranged = fs::read_to_string("/etc/subuid").unwrap_or_default();
    if !ranged
        .lines()
        .any(|line| line.starts_with(&format!("{user}:")))
    {
        // There is one id, and all files have it.
        let seen = run("keep-id:uid=1000,gid=1000");
        assert!(seen.starts_with("1000\n1000\n"), "{seen}");
        assert!(
            seen.lines()
                .skip(3)
                .all(|line| line.starts_with("1000:1000 ")),
            "{seen}"
        );
        return;
    }
    require_tool("newuidmap", "uidmap");
    let podman = Podman::new(&sandbox);
    podman
        .command(&["load", "-q", "-i", &archive])
        .output()
        .expect(0);
    // Who is not the image's user stays himself, where podman makes him that.
    for (userns, skipped) in [("keep-id:uid=1000,gid=1000", 0), ("keep-id", 3)] {
        let flags = ["run", "--rm", "--network", "none", "--userns", userns];
        let theirs = podman.command(&flags).args(command).stdout();
        let lines = |text: &str| {
            text.lines()
                .skip(skipped)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&run(userns)), lines(&theirs), "{userns}");
    }
    let seen = run("keep-id:uid=1000,gid=1000");
    for line in [
        "0:0 /bin",
        "1000:1000 /home/tu",
        "33:33 /daemon",
        "1000:1000 /vol/v",
    ] {
        assert!(seen.lines().any(|l| l == line), "{line} in\n{seen}");
    }
    // The group that the user has outside stays his beside those of the image's user.
    let flags = [
        "run",
        "--rm",
        "--network",
        "none",
        "--userns",
        "keep-id:uid=1000,gid=7",
    ];
    let groups = |text: String| {
        let groups = text.lines().nth(2).unwrap().split(' ').map(str::to_owned);
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    let ours = groups(sandbox.bryo(flags).args(command).stdout());
    assert_eq!(ours, groups(podman.command(&flags).args(command).stdout()));
    assert!(ours.contains("7") && ours.contains("77"), "{ours:?}");
    // What he makes is the user's own outside.
    let mount = format!("{}:/mnt", sandbox.work().display());
    let flags = ["--userns", "keep-id:uid=1000,gid=1000", "-v", &mount];
    sandbox.shell_of(
        "owned",
        &flags,
        "echo >/mnt/made; echo >/home/tu/new; ! echo >/new",
    );
    let made = sandbox.work().join("made");
    use std::os::unix::fs::MetadataExt;
    let made = made.metadata().unwrap();
    assert_eq!(
        (made.uid(), made.gid()),
        (getuid().as_raw(), getgid().as_raw())
    );
    // What is made of such a container is the image's again.
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
    let run = run.args(["--userns", "keep-id:uid=1000,gid=1000", "owned"]);
    run.args(["sh", "-c", "echo >/home/tu/new"])
        .output()
        .expect(0);
    sandbox
        .bryo(["commit", "-q", "c", "made"])
        .output()
        .expect(0);
    sandbox
        .bryo(["export", "-o", "c.tar", "c"])
        .output()
        .expect(0);
    let list = listing(&sandbox, "c.tar");
    let owner = |path: &str| {
        let line = list.iter().find(|line| line.ends_with(&format!(" {path}")));
        line.map(|line| line.split(' ').nth(1).unwrap().to_owned())
    };
    assert_eq!(owner("home/tu/new").as_deref(), Some("1000/1000"));
    assert_eq!(owner("bin/busybox").as_deref(), Some("0/0"));
    sandbox.bryo(["rm", "-v", "c"]).output().expect(0);
    let seen = sandbox.shell_of(
        "made",
        &["--userns", "range"],
        "stat -c %u /home/tu/new /bin",
    );
    assert_eq!(seen, "1000\n0");
}
