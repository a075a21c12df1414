//! Which ids containers have, and that files belong to them. Users without
//! subordinate ids are refused what needs them, and have the rest.

use crate::common::registry::Registry;
use crate::common::{Sandbox, bryo, busybox_tar, debian_tar, idmap_helper, require_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getgid, getuid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The first subordinate users and groups of who runs the tests, and how many
/// there are; None for who has none, which bryo then has to say.
pub fn granted(sandbox: &Sandbox) -> Option<(u32, u32, u32)> {
    let user = std::env::var("USER").unwrap();
    let first = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| {
            let mut fields = line.strip_prefix(&user)?.strip_prefix(':')?.split(':');
            let mut next = || fields.next()?.parse::<u32>().ok();
            Some((next()?, next()?))
        })
    };
    if let (Some((uid, count)), Some((gid, _))) = (first("/etc/subuid"), first("/etc/subgid")) {
        // Who is there to map them.
        idmap_helper();
        return Some((uid, gid, count));
    }
    let refused = sandbox.run(&["--userns", "range", "busybox", "true"]);
    let refused = refused.expect(125);
    let expected = "you have no subordinate ids, or nobody can map them; bryo doctor";
    assert!(refused.stderr.contains(expected), "{refused}");
    None
}

/// The lines of a process's map as the host sees them.
fn map(pid: i32, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

#[test]
fn one_id_is_always_possible() {
    let sandbox = Sandbox::with_busybox();
    let (uid, gid) = (getuid(), getgid());
    let ids = "id -u; id -g; cat /proc/self/uid_map | tr -s ' '";
    let single = sandbox.shell(&["--userns", "single"], ids);
    assert_eq!(single, format!("0\n0\n 0 {uid} 1"));
    let other = sandbox.shell(&["--userns", "single", "--user", "33:44"], ids);
    assert_eq!(other, format!("33\n44\n 33 {uid} 1"));
    for (mode, word) in [
        ("keep-id:uid=x", "uid=x"),
        ("keep-id:uid=4294967295", "uid=4294967295"),
        ("keep-id:name=x", "name=x"),
        ("single:uid=1", "uid=1"),
        ("foo", "there are auto, host"),
    ] {
        let refused = sandbox.run(&["--userns", mode, "busybox", "true"]);
        let refused = refused.expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    for (lines, word) in [
        (&["0"][..], "CONTAINER:RANGE"),
        (&["0:0:0"], "empty"),
        (&["0:0:1", "0:1:1"], "another line"),
        (&["4294967290:0:10"], "beyond the last id"),
        (&["0:0:4000000000"], "there is no id"),
    ] {
        let flags = lines.iter().flat_map(|line| ["--uidmap", line]);
        let run = sandbox.bryo(["run", "--rm"]).args(flags);
        let refused = run.args(["busybox", "true"]).output().expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    // What is mounted is his own, whoever he is inside.
    let mount = format!("{}:/mnt", sandbox.work().display());
    let script = "id -u; id -g; touch /mnt/file; stat -c '%u %g' /mnt/file";
    let kept = sandbox.shell(&["--userns", "keep-id", "-v", &mount], script);
    assert_eq!(kept, format!("{uid}\n{gid}\n{uid} {gid}"));
    let file = sandbox.work().join("file");
    let owner = |file: &Path| {
        (
            file.metadata().unwrap().uid(),
            file.metadata().unwrap().gid(),
        )
    };
    assert_eq!(owner(&file), (uid.as_raw(), gid.as_raw()));
    fs::remove_file(&file).unwrap();
    let kept = sandbox.shell(&["--userns", "keep-id:uid=5,gid=6", "-v", &mount], script);
    assert_eq!(kept, "5\n6\n5 6");
    assert_eq!(owner(&file), (uid.as_raw(), gid.as_raw()));
}

#[test]
fn a_range_has_true_owners() {
    let sandbox = Sandbox::with_busybox();
    let Some((uids, gids, count)) = granted(&sandbox) else {
        return;
    };
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let mut running = sandbox.start("web", &["--userns", "range"]);
    let pid = sandbox.pid("web");
    let lines = |own, first| vec![format!("0 {own} 1"), format!("1 {first} {count}")];
    assert_eq!(map(pid, "uid_map"), lines(uid, uids));
    assert_eq!(map(pid, "gid_map"), lines(gid, gids));
    let exec = |script: &str| sandbox.bryo(["exec", "web", "sh", "-ec", script]).stdout();
    exec("cd /root; touch f; chown 5:6 f; ln -s f l; chown -h 7:8 l; mkdir -m 700 d; chown 9 d");
    assert_eq!(exec("cd /root; stat -c '%u %g' f l d"), "5 6\n7 8\n9 0");
    let upper = PathBuf::from(format!("/proc/{pid}/root/root"));
    let file = upper.join("f").symlink_metadata().unwrap();
    assert_eq!((file.uid(), file.gid()), (uids + 4, gids + 5));
    // Nothing of it is emulated, and other users are others.
    assert_eq!(
        exec("mknod /root/n c 1 3 2>&1 || echo no"),
        "mknod: /root/n: Operation not permitted\nno"
    );
    let user = sandbox.bryo([
        "exec",
        "-u",
        "9",
        "web",
        "sh",
        "-c",
        "id -u; cd /root/d && touch x; ls /root 2>&1",
    ]);
    assert!(user.output().stdout.starts_with("9\n"));
    let archive = sandbox.work().join("a.tar");
    sandbox
        .bryo(["export", "-o"])
        .arg(&archive)
        .arg("web")
        .output()
        .expect(0);
    let tar = sandbox
        .command("tar")
        .args(["--numeric-owner", "-tvf"])
        .arg(&archive)
        .stdout();
    for (name, owner) in [
        (" root/f", " 5/6 "),
        (" root/l ->", " 7/8 "),
        (" root/d/", " 9/0 "),
    ] {
        let line = tar.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|line| line.contains(owner)),
            "{name} in\n{tar}"
        );
    }
    running.signal(Signal::SIGTERM);
    running.child.wait().unwrap();
    // What comes in again has the same owners on the disk.
    sandbox
        .bryo(["import"])
        .arg(&archive)
        .arg("again")
        .output()
        .expect(0);
    let run = |mode| {
        let run = sandbox.bryo([
            "run",
            "--rm",
            "--network",
            "none",
            "--userns",
            mode,
            "again",
        ]);
        run.args(["sh", "-c", "cd /root; stat -c '%u %g' f l d"])
            .stdout()
    };
    assert_eq!(run("range"), "5 6\n7 8\n9 0");
    assert_eq!(run("single"), "0 0\n0 0\n0 0");
    // Files of subordinate ids go with it.
    sandbox.bryo(["rm", "web"]).output().expect(0);
    sandbox.bryo(["rmi", "again"]).output().expect(0);
    assert_eq!(sandbox.settle(), [""; 0]);
}

#[test]
fn ids_beyond_the_range_are_refused() {
    let sandbox = Sandbox::with_busybox();
    let Some((_, _, count)) = granted(&sandbox) else {
        return;
    };
    let beyond = count + 1;
    let user = beyond.to_string();
    let run = |flags: &[&str]| sandbox.run(&[flags, &["busybox", "true"]].concat());
    let refused = run(&["--user", &user]).expect(125);
    let said =
        format!("user {beyond} is not among the {beyond} ids of the container (/etc/subuid)");
    assert!(refused.stderr.contains(&said), "{refused}");
    let refused = run(&["--userns", "range", "--user", &format!("1:{beyond}")]).expect(125);
    assert!(refused.stderr.contains("/etc/subgid"), "{refused}");
    let refused = run(&["--uidmap", &format!("0:0:{}", beyond + 1)]).expect(125);
    assert!(
        refused
            .stderr
            .contains(&format!("there is no id {beyond} ")),
        "{refused}"
    );
    // A file of an image.
    let tree = sandbox.busybox_tree("tree");
    let tar = sandbox.work().join("far.tar");
    let mut make = sandbox.command("tar").arg("-cf").arg(&tar);
    make = make.arg("--owner").arg(&user).arg("-C").arg(&tree);
    make.args(["--transform", "s,^,x/,", "bin"])
        .output()
        .expect(0);
    let refused = sandbox
        .bryo(["import"])
        .arg(&tar)
        .arg("far")
        .output()
        .expect(1);
    for word in [
        "entry \"x/bin\"",
        &format!("user {beyond}"),
        "/etc/subuid",
        &format!(" 0 to {count} "),
    ] {
        assert!(refused.stderr.contains(word), "{word}: {refused}");
    }
    assert_eq!(sandbox.bryo(["images", "-q", "far"]).stdout(), "");
    // The last id that is granted.
    let last = sandbox.shell(
        &["--user", &count.to_string()],
        "touch /tmp/f; stat -c %u /tmp/f",
    );
    assert_eq!(last, count.to_string());
    // What the advice says is possible where images come in.
    let single = ["--userns", "single"];
    let import = sandbox.bryo(["import"]).args(single).arg(&tar);
    import.arg("far").output().expect(0);
    let saved = sandbox.work().join("saved.tar");
    let save = sandbox.bryo(["save", "-o"]).arg(&saved).arg("far");
    save.output().expect(0);
    sandbox.bryo(["rmi", "far"]).output().expect(0);
    sandbox.bryo(["load", "-i"]).arg(&saved).output().expect(1);
    let load = sandbox.bryo(["load", "-i"]).arg(&saved).args(single);
    load.output().expect(0);
    let registry = Registry::start(&sandbox);
    let there = registry.name("far:1");
    let push = sandbox.bryo(["push", "--tls-verify=false", "far", &there]);
    push.output().expect(0);
    sandbox.bryo(["rmi", "far"]).output().expect(0);
    let from = format!("docker://{there}");
    let copy = ["copy", "--tls-verify=false", &from, "far"];
    for verb in [&["pull", "--tls-verify=false", &there][..], &copy] {
        let refused = sandbox.bryo(verb).output().expect(1);
        assert!(refused.stderr.contains("--userns single"), "{refused}");
        sandbox.bryo(verb).args(single).output().expect(0);
        sandbox.bryo(["image", "prune", "-af"]).output().expect(0);
    }
    let place = format!("docker-archive:{}", saved.display());
    sandbox.bryo(["copy", &place, "far"]).output().expect(1);
    let copy = sandbox.bryo(["copy", &place, "far"]).args(single);
    copy.output().expect(0);
    // And a container of it becomes an image again.
    let run = sandbox.bryo(["create", "--name", "c", "--userns", "single", "far", "x"]);
    run.output().expect(0);
    sandbox
        .bryo(["commit", "-s", "c", "squashed"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn you_stay_who_you_are() {
    let sandbox = Sandbox::with_busybox();
    let Some((uids, _, count)) = granted(&sandbox) else {
        return;
    };
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let running = sandbox.start("me", &["--userns", "keep-id"]);
    let pid = sandbox.pid("me");
    assert_eq!(
        map(pid, "uid_map"),
        [
            format!("0 {} 1", uids + uid - 1),
            format!("1 {uids} {}", uid - 1),
            format!("{uid} {uid} 1"),
            format!("{} {} {}", uid + 1, uids + uid, count - uid),
        ]
    );
    let exec = |flags: &[&str], script: &str| {
        let exec = sandbox.bryo(["exec"]).args(flags);
        exec.args(["me", "sh", "-ec", script]).stdout()
    };
    assert_eq!(exec(&[], "id -u; id -g"), format!("{uid}\n{gid}"));
    // The image's files are root's, who is another one.
    assert_eq!(
        exec(
            &[],
            "touch /new 2>/dev/null || touch /tmp/new; stat -c %u /bin/busybox /tmp/new"
        ),
        format!("0\n{uid}")
    );
    assert_eq!(
        exec(&["-u", "0"], "id -u; touch /tmp/r; stat -c %u /tmp/r"),
        "0\n0"
    );
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    // They are on the disk once more for this map.
    let layers = fs::read_dir(sandbox.root().join("layers")).unwrap();
    assert_eq!(layers.count(), 2);
    sandbox.bryo(["rm", "me"]).output().expect(0);
    let other = sandbox.shell(&["--userns", "keep-id:uid=200000,gid=7"], "id -u; id -g");
    assert_eq!(other, "200000\n7");
    // Root is the last id here: nobody but bryo removes such files.
    sandbox.bryo(["rmi", "busybox"]).output().expect(0);
}

#[test]
fn maps_line_by_line() {
    let sandbox = Sandbox::with_busybox();
    let uid = getuid();
    let script = "id -u; tr -s ' ' </proc/self/uid_map; stat -c %u /bin/busybox /";
    let alone = sandbox.shell(&["--uidmap", "70:0"], script);
    assert_eq!(alone, format!("70\n 70 {uid} 1\n70\n70"));
    let Some((uids, _, _)) = granted(&sandbox) else {
        return;
    };
    let flags = ["--uidmap", "0:1:10", "--uidmap", "1000:0:1"];
    let mapped = sandbox.shell(
        &flags,
        "id -u; stat -c %u /bin/busybox / /etc/hosts; touch /f; chown 3 /f; stat -c %u /f",
    );
    assert_eq!(mapped, "0\n0\n0\n0\n3");
    let running = sandbox.start("lines", &flags);
    let lines = map(sandbox.pid("lines"), "uid_map");
    assert_eq!(lines, [format!("0 {uids} 10"), format!("1000 {uid} 1")]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    sandbox.bryo(["rm", "lines"]).output().expect(0);
    let missing = sandbox.run(&["--uidmap", "0:1:70000000", "busybox", "true"]);
    assert!(missing.expect(125).stderr.contains("no id"), "{lines:?}");
}

/// Without the user among the ids, nothing that is his is in reach by path.
#[test]
fn a_range_without_you() {
    let sandbox = Sandbox::with_busybox();
    let Some((_, _, count)) = granted(&sandbox) else {
        let refused = sandbox.run(&["--userns", "nomap", "busybox", "true"]);
        let refused = refused.expect(125);
        assert!(refused.stderr.contains("no subordinate ids"), "{refused}");
        return;
    };
    sandbox.write("mine", "of the user\n");
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(sandbox.path(), closed).unwrap();
    let script = "id -u; tr -s ' ' </proc/self/uid_map; stat -c %u / /bin/busybox /dev /dev/shm \
                  /host /host/mine; cat /host/mine; echo x >/f && chown 5 /f && stat -c %u /f; \
                  echo x 2>&- >/host/new || echo refused; echo $$";
    for flags in [&[][..], &["--read-only"], &["--tmpfs", "/f.d", "-t"]] {
        let common = ["--userns", "nomap", "-v", ".:/host"];
        let flags = [&common[..], flags].concat();
        let said = sandbox.shell(&flags, script).replace('\r', "");
        let head = format!("0\n 0 1 {count}\n0\n0\n0\n0\n65534\n65534\nof the user\n");
        assert!(said.starts_with(&head), "{said}");
        assert!(said.ends_with("refused\n1"), "{said}");
        assert_eq!(
            said.contains("\n5\n"),
            !flags.contains(&"--read-only"),
            "{said}"
        );
    }
    // What goes on in it can be reached like in any other.
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--userns",
        "nomap",
        "-p",
        "127.0.0.1::80",
        "busybox",
    ];
    let run = sandbox.bryo(run).args([
        "sh",
        "-c",
        "echo x >/f; mkdir -m 0 /closed; touch /closed/f; exec sleep 1000",
    ]);
    run.output().expect(0);
    let exec = sandbox.bryo(["exec", "-u", "www-data", "c", "sh", "-c", "id -u; cat /f"]);
    assert_eq!(exec.stdout(), "33\nx");
    sandbox.bryo(["cp", "mine", "c:/etc/"]).output().expect(0);
    let owner = sandbox.bryo(["exec", "c", "stat", "-c", "%u", "/etc/mine"]);
    assert_eq!(owner.stdout(), "0");
    sandbox.bryo(["stop", "-t", "0", "c"]).output().expect(0);
    sandbox.bryo(["cp", "c:/f", "out"]).output().expect(0);
    assert_eq!(
        fs::read_to_string(sandbox.work().join("out")).unwrap(),
        "x\n"
    );
    let changes = sandbox.bryo(["diff", "c"]).stdout();
    assert!(
        changes.contains("A /f\n") || changes.ends_with("A /f"),
        "{changes}"
    );
    assert!(changes.contains("A /closed/f"), "{changes}");
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    let again = sandbox.shell_of("made", &["--userns", "nomap"], "cat /f /etc/mine");
    assert_eq!(again, "x\nof the user");
    sandbox.bryo(["rm", "c"]).output().expect(0);
    // The root of the machine in memory, and a volume.
    let flags = ["--userns", "nomap", "-w", "/", "-v", "v:/v"];
    let host = sandbox.shell_of(
        "host",
        &flags,
        "id -u; touch /v/f /new && stat -c %u /v/f /new",
    );
    assert_eq!(host, "0\n0\n0");
}

#[test]
fn supplementary_groups() {
    let sandbox = Sandbox::with_busybox();
    let both = sandbox.run(&[
        "--group-add",
        "keep-groups",
        "--group-add",
        "5",
        "busybox",
        "true",
    ]);
    assert!(
        both.expect(125)
            .stderr
            .contains("keep-groups goes with no other")
    );
    let one = ["--userns", "single", "--group-add", "5", "busybox", "true"];
    assert!(sandbox.run(&one).expect(125).stderr.contains("with one id"));
    if granted(&sandbox).is_none() {
        return;
    }
    assert_eq!(
        sandbox.shell(&["--group-add", "5", "--group-add", "17"], "id -G"),
        "0 5 17"
    );
    // Of who is in group 5 of a namespace, and may read what is that group's.
    let file = sandbox.write("file", "for the group\n");
    let script =
        "chown 0:5 file; chmod 040 file; exec setpriv --reuid 0 --regid 0 --groups 5 \"$@\"";
    let run = |flags: &[&str]| {
        let unshare = sandbox.command("unshare");
        let unshare = unshare.args([
            "--user",
            "--map-root-user",
            "--map-auto",
            "sh",
            "-ec",
            script,
            "-",
        ]);
        let mount = format!("{}:/mnt:ro", file.display());
        let unshare = unshare.arg(bryo()).args(["run", "--rm", "-v", &mount]);
        let unshare = unshare.args(["--user", "33:33"]).args(flags);
        unshare
            .args(["busybox", "sh", "-c", "id -G; cat /mnt"])
            .output()
    };
    let kept = run(&["--group-add", "keep-groups"]).expect(0);
    assert_eq!(kept.stdout, "33 5\nfor the group\n");
    let dropped = run(&[]).expect(1);
    assert_eq!(dropped.stdout, "33\n");
}

#[test]
fn one_keeper_for_all() {
    let sandbox = Sandbox::with_busybox();
    let Some(_) = granted(&sandbox) else {
        assert_eq!(sandbox.keeper(), None);
        return;
    };
    let first = sandbox.keeper().expect("import starts one");
    sandbox.shell(&[], "true");
    assert_eq!(sandbox.keeper(), Some(first));
    // Replaced when it is killed; what runs goes on.
    let running = sandbox.start("web", &[]);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    sandbox.bryo(["exec", "web", "true"]).output().expect(0);
    // By one, however many need it.
    let runs: Vec<_> = (0..6)
        .map(|_| {
            sandbox
                .bryo(["run", "--rm", "--network", "none", "busybox", "id", "-u"])
                .spawn()
        })
        .collect();
    for run in runs {
        assert_eq!(run.wait().expect(0).stdout, "0\n");
    }
    let second = sandbox.keeper().expect("it is replaced");
    assert_ne!(second, first);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    sandbox.bryo(["rm", "web"]).output().expect(0);
    // Files that are not what they should be are replaced too.
    let file = sandbox.runtime().join("bryo/keeper");
    for content in [
        "",
        "{}",
        "{\"pid\":1,\"start_time\":1,\"uids\":[],\"gids\":[]}",
    ] {
        fs::write(&file, content).unwrap();
        sandbox.shell(&[], "true");
    }
    fs::remove_file(&file).unwrap();
    symlink("/etc/passwd", &file).unwrap();
    sandbox.shell(&[], "true");
    // It has neither locks nor anything else of who started it.
    let keeper = sandbox.keeper().unwrap();
    let entries = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap();
    let open: Vec<PathBuf> = entries
        .map(|e| fs::read_link(e.unwrap().path()).unwrap())
        .collect();
    let known = |p: &PathBuf| {
        p == Path::new("/dev/null") || *p == file || p.ends_with("anon_inode:inotify")
    };
    assert!(open.iter().all(known), "{open:?}");
    // And it ends when nobody needs it.
    let begin = Instant::now();
    wait_for("the end of the keeper", || {
        sandbox.keeper().is_none().then_some(())
    });
    assert!(begin.elapsed() > Duration::from_secs(5), "it hardly waits");
    assert!(!file.exists());
}

#[test]
fn what_a_crash_leaves_is_removed_whosever_it_is() {
    let sandbox = Sandbox::with_busybox();
    if granted(&sandbox).is_none() {
        return;
    }
    let script = "mkdir -m 700 /d; touch /d/f; chown -R 5:5 /d";
    let run = sandbox.bryo([
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    run.output().expect(0);
    // As if an import had been killed in the middle of it.
    let list = sandbox.bryo(["inspect", "c"]).stdout();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list[0]["Id"].as_str().or(list[0]["id"].as_str()).unwrap();
    let upper = sandbox.root().join("containers").join(id).join("upper");
    let dead = sandbox.root().join("tmp/1-2-3");
    fs::create_dir_all(&dead).unwrap();
    fs::rename(&upper, dead.join("fs")).unwrap();
    fs::create_dir(&upper).unwrap();
    sandbox.bryo(["rm", "c"]).output().expect(0);
    sandbox.bryo(["rmi", "busybox"]).output().expect(0);
    assert!(!dead.exists());
    assert_eq!(sandbox.settle(), [""; 0]);
    assert_eq!(
        fs::read_dir(sandbox.root().join("layers"))
            .unwrap()
            .flatten()
            .map(|flavour| fs::read_dir(flavour.path()).unwrap().count())
            .sum::<usize>(),
        0
    );
}

#[test]
fn ranges_and_single_ids_inside_each_other() {
    let sandbox = Sandbox::with_busybox();
    let program = format!("{}:/usr/bin/bryo:ro", bryo().display());
    let tar = format!("{}:/busybox.tar:ro", busybox_tar().display());
    let script = |inner: &str| {
        format!(
            "bryo import /busybox.tar bb >/dev/null
            bryo run --rm --network none --userns {inner} bb sh -c \
                'id -u; touch /f; chown 5:6 /f 2>/dev/null; stat -c \"%u %g\" /f; wc -l </proc/self/uid_map'"
        )
    };
    let inside = |outer: &str, inner: &str| {
        let run = sandbox.bryo([
            "run",
            "--rm",
            "--privileged",
            "--network",
            "none",
            "--userns",
            outer,
        ]);
        let run = run.args(["-v", &program, "-v", &tar, "-e", "BRYO_ROOT=/store"]);
        let run = run.args([
            "--tmpfs",
            "/store:exec",
            "busybox",
            "sh",
            "-ec",
            &script(inner),
        ]);
        run.output().expect(0).stdout
    };
    assert_eq!(inside("single", "single"), "0\n0 0\n1\n");
    // Nor does root of one id have a range.
    assert_eq!(inside("single", "auto"), "0\n0 0\n1\n");
    let store = sandbox.work().join("store");
    let in_namespace = |sandbox: &Sandbox, tool: &[&str], inner: &str| {
        let run = sandbox
            .command(tool[0])
            .args(&tool[1..])
            .args(["sh", "-ec"]);
        let script = script(inner)
            .replace("bryo ", "\"$0\" ")
            .replace("/busybox.tar", "\"$1\"");
        let run = run.arg(script).arg(bryo()).arg(busybox_tar());
        run.env("BRYO_ROOT", &store).output().expect(0).stdout
    };
    let unshare = ["unshare", "--user", "--map-root-user"];
    assert_eq!(in_namespace(&sandbox, &unshare, "auto"), "0\n0 0\n1\n");
    if granted(&sandbox).is_none() {
        return;
    }
    assert_eq!(inside("range", "range"), "0\n5 6\n2\n");
    assert_eq!(inside("range", "single"), "0\n0 0\n1\n");
    // Podman's namespace has the same ids, and so the same layers.
    require_tool("podman", "podman");
    fs::remove_dir_all(store.join("layers")).unwrap();
    fs::remove_dir_all(&store).unwrap();
    let podman = ["podman", "unshare"];
    assert_eq!(in_namespace(&sandbox, &podman, "auto"), "0\n5 6\n2\n");
    let run = sandbox.bryo(["run", "--rm", "--network", "none", "bb", "true"]);
    run.env("BRYO_ROOT", &store).output().expect(0);
    assert_eq!(fs::read_dir(store.join("layers")).unwrap().count(), 1);
    // It keeps a process of its own.
    for (pid, _) in sandbox
        .processes()
        .iter()
        .filter(|p| p.1.starts_with("podman"))
    {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    sandbox
        .bryo(["rmi", "bb"])
        .env("BRYO_ROOT", &store)
        .output()
        .expect(0);
}

/// Installs packages that add users, chown, and set capabilities, with a map
/// that `writer` writes; the other one is out of reach.
fn install_with(writer: &str) {
    let sandbox = Sandbox::new();
    let import = sandbox.bryo(["import"]).arg(busybox_tar());
    import.arg("busybox").output().expect(0);
    if granted(&sandbox).is_none() {
        return;
    }
    // Its keeper was made by whoever it was.
    fs::remove_file(sandbox.runtime().join("bryo/keeper")).unwrap();
    let (program, path) = match writer {
        // Beside it, and nothing in PATH.
        "bryo-idmap" => (bryo(), "/nowhere".to_owned()),
        _ => {
            let copy = sandbox.work().join("bryo");
            fs::copy(bryo(), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            (copy, std::env::var("PATH").unwrap())
        }
    };
    let command = |arguments: &[&str]| {
        let run = sandbox.command(&program).args(arguments);
        run.env("PATH", &path)
    };
    let info = command(&["info"]).stdout();
    let line = info
        .lines()
        .find(|line| line.contains("id mapping"))
        .unwrap();
    assert!(line.contains("range: ") && line.ends_with(writer), "{line}");

    command(&["import"])
        .arg(debian_tar())
        .arg("debian")
        .output()
        .expect(0);
    let authorities = "/etc/ssl/certs/ca-certificates.crt:/mnt/authorities:ro";
    let script = "cp -r /mnt/apt/. /etc/apt/ || true
        options='-o Acquire::https::CAInfo=/mnt/authorities -o Dpkg::Options::=--force-unsafe-io'
        apt-get $options update
        apt-get $options install -y nginx openssh-client postgresql
        chmod 755 /root
        su postgres -c \"PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
            initdb -D /tmp/db >/dev/null
            pg_ctl -D /tmp/db -l /tmp/log -o '-k /tmp -h \\\"\\\"' -w start >/dev/null
            psql -h /tmp -d postgres -Atc 'select current_user'
            pg_ctl -D /tmp/db -w stop >/dev/null\" >/tmp/said";
    let flags = [
        "run",
        "--name",
        "c",
        "-e",
        "DEBIAN_FRONTEND=noninteractive",
        "--network",
        "host",
    ];
    let run = command(&flags).args(["-v", "/etc/apt:/mnt/apt:ro", "-v", authorities]);
    let done = run
        .args(["debian", "sh", "-ec", script])
        .output_within(Duration::from_secs(600));
    let done = done.expect(0);
    for fault in ["Operation not permitted", "Invalid argument"] {
        assert!(
            !done.stderr.contains(fault) && !done.stdout.contains(fault),
            "{done}"
        );
    }
    let archive = sandbox.work().join("c.tar");
    command(&["export", "c", "-o"])
        .arg(&archive)
        .output()
        .expect(0);
    let tar = |flags: &[&str]| sandbox.command("tar").args(flags).arg(&archive);
    let said = tar(&["-xO", "tmp/said", "-f"]).stdout();
    assert_eq!(said, "postgres");
    let list = tar(&["-tvf"]).arg("--numeric-owner").stdout();
    let passwd = tar(&["-xO", "etc/passwd", "-f"]).stdout();
    let id = |name: &str| {
        let line = passwd.lines().find(|l| l.starts_with(&format!("{name}:")));
        let fields: Vec<&str> = line
            .unwrap_or_else(|| panic!("no {name}"))
            .split(':')
            .collect();
        format!(" {}/{} ", fields[2], fields[3])
    };
    for (name, owner) in [
        (" var/lib/postgresql/", id("postgres")),
        (" tmp/db/PG_VERSION", id("postgres")),
        (
            " var/log/nginx/access.log",
            id("www-data").replace("/33 ", "/4 "),
        ),
        (" usr/bin/ssh-agent", "-rwxr-sr-x 0/".to_owned()),
    ] {
        let line = list.lines().find(|line| line.ends_with(name));
        assert!(
            line.is_some_and(|line| line.contains(&owner)),
            "{name}{owner}"
        );
    }
}

#[test]
fn packages_install_with_bryo_idmap_alone() {
    install_with("bryo-idmap");
}

#[test]
fn packages_install_with_newuidmap_alone() {
    install_with("newuidmap");
}

/// What a tool of another system's packages makes of users, owners, setuid
/// bits and capabilities.
#[test]
fn packages_of_rpm_install_with_dnf() {
    let sandbox = Sandbox::with_busybox();
    let ranges = granted(&sandbox).is_some();
    sandbox
        .bryo(["import"])
        .arg(debian_tar())
        .arg("debian")
        .output()
        .expect(0);
    let authorities = "/etc/ssl/certs/ca-certificates.crt:/mnt/authorities:ro";
    let script = r#"cp -r /mnt/apt/. /etc/apt/ || true
        options='-o Acquire::https::CAInfo=/mnt/authorities -o Dpkg::Options::=--force-unsafe-io'
        apt-get $options update
        apt-get $options install -y --no-install-recommends rpm dnf createrepo-c
        mkdir -p /repository /build
        about='Version: 1
Release: 1
Summary: x
License: x
BuildArch: noarch'
        printf '%s\n' 'Name: base' "$about" 'Provides: /bin/sh' %description x %files >/build/base.spec
        printf '%s\n' 'Name: served' "$about" %description x %pre \
            'useradd --system --uid 870 --user-group served' %install \
            'mkdir -p %{buildroot}/srv/served %{buildroot}/usr/bin' \
            'echo data >%{buildroot}/srv/served/data; echo run >%{buildroot}/usr/bin/served' %files \
            '%dir %attr(0750, served, served) /srv/served' \
            '%attr(0640, served, served) /srv/served/data' \
            '%attr(4755, root, root) %caps(cap_net_bind_service=ep) /usr/bin/served' >/build/served.spec
        for name in base served; do
            rpmbuild -bb --define '_topdir /build' --define '_rpmdir /repository' /build/$name.spec
        done
        createrepo_c -q /repository
        dnf -q -y --repofrompath=local,/repository --repo=local --nogpgcheck \
            --setopt=module_platform_id=platform:f40 install served
        rpm -q served
        if [ -n "$RANGES" ]; then rpm -V served; fi"#;
    let flags = [
        "run",
        "--name",
        "c",
        "--network",
        "host",
        "-e",
        "DEBIAN_FRONTEND=noninteractive",
    ];
    let run = sandbox
        .bryo(flags)
        .args(["-v", "/etc/apt:/mnt/apt:ro", "-v", authorities]);
    let run = run.args(["-e", if ranges { "RANGES=1" } else { "RANGES=" }]);
    let done = run.args(["debian", "sh", "-ec", script]);
    let done = done.output_within(Duration::from_secs(600)).expect(0);
    assert!(done.stdout.ends_with("served-1-1.noarch\n"), "{done}");
    let archive = sandbox.work().join("c.tar");
    sandbox
        .bryo(["export", "c", "-o"])
        .arg(&archive)
        .output()
        .expect(0);
    let tar =
        sandbox
            .command("tar")
            .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-tvvf"]);
    let list = tar.arg(&archive).stdout();
    for (name, mode, owner) in [
        (" srv/served/", "drwxr-x---", " 870/870 "),
        (" srv/served/data", "-rw-r-----", " 870/870 "),
        (" usr/bin/served", "-rwsr-xr-x", " 0/0 "),
    ] {
        let line = list.lines().find(|line| line.ends_with(name));
        let fits = |line: &&str| line.starts_with(mode) && line.contains(owner);
        assert!(line.as_ref().is_some_and(fits), "{name}: {line:?}");
    }
    let capability = list
        .lines()
        .skip_while(|line| !line.ends_with(" usr/bin/served"))
        .nth(1);
    assert!(
        capability.is_some_and(|line| line.contains("security.capability")),
        "{capability:?}"
    );
}
