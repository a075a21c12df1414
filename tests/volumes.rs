//! Volumes and the other mounts that are asked for.

use crate::common::{Sandbox, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

fn volumes(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let list = sandbox.bryo(["volume", "ls", "-q"]).args(flags).stdout();
    list.lines().map(str::to_owned).collect()
}

fn data(sandbox: &Sandbox, name: &str) -> PathBuf {
    let format = "{{.Mountpoint}}";
    let inspect = sandbox.bryo(["volume", "inspect", "-f", format, name]);
    inspect.stdout().into()
}

fn shell(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    let run = sandbox
        .bryo(["run", "--rm", "--network", "none"])
        .args(flags);
    run.args(["busybox", "sh", "-c", script]).stdout()
}

/// An image `made` whose directory /data has a file of another owner, and is
/// a volume.
fn with_volume_image() -> Sandbox {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "--network", "none", "--name", "m", "busybox"]);
    let script = "mkdir /data; echo first >/data/f; chown 33:33 /data/f; \
                  ln -s f /data/l; chmod 711 /data; mkfifo /data/p";
    run.args(["sh", "-c", script]).output().expect(0);
    let export = sandbox.bryo(["export", "-o", "made.tar", "m"]);
    export.output().expect(0);
    let import = sandbox.bryo(["import", "-c", "VOLUME /data", "-c", "CMD sh"]);
    import.args(["made.tar", "made"]).output().expect(0);
    sandbox.bryo(["rm", "m"]).output().expect(0);
    sandbox
}

#[test]
fn volumes_are_made_listed_and_removed() {
    let sandbox = Sandbox::with_busybox();
    let create = |flags: &[&str]| sandbox.bryo(["volume", "create"]).args(flags).stdout();
    assert_eq!(create(&["-l", "team=x", "one"]), "one");
    // One that is there stays as it is.
    assert_eq!(create(&["one"]), "one");
    let random = create(&[]);
    assert_eq!(random.len(), 64);
    assert_eq!(volumes(&sandbox, &[]).len(), 2);
    assert_eq!(volumes(&sandbox, &["-f", "name=on"]), ["one"]);
    assert_eq!(volumes(&sandbox, &["-f", "label=team=x"]), ["one"]);
    assert_eq!(volumes(&sandbox, &["-f", "label=team=y"]), [""; 0]);
    let list = sandbox.bryo(["volume", "ls"]).stdout();
    assert!(
        list.starts_with("DRIVER   VOLUME NAME\nlocal    "),
        "{list}"
    );
    let inspect = sandbox.bryo(["volume", "inspect", "one"]).stdout();
    let inspect: Value = serde_json::from_str(&inspect).unwrap();
    assert_eq!(inspect[0]["Labels"]["team"], "x");
    assert_eq!(inspect[0]["Driver"], "local");
    for bad in ["a/b", ".x", "", "ä"] {
        let refused = sandbox.bryo(["volume", "create", bad]).output().expect(1);
        assert!(refused.stderr.contains("volume name"), "{refused}");
    }
    sandbox.bryo(["volume", "exists", "one"]).output().expect(0);
    sandbox.bryo(["volume", "exists", "two"]).output().expect(1);
    let missing = sandbox.bryo(["volume", "rm", "two"]).output().expect(1);
    assert!(
        missing.stderr.contains("get two: no such volume"),
        "{missing}"
    );
    sandbox
        .bryo(["volume", "rm", "-f", "two"])
        .output()
        .expect(0);
    sandbox
        .bryo(["volume", "rm", "one", &random])
        .output()
        .expect(0);
    assert_eq!(volumes(&sandbox, &[]), [""; 0]);
}

#[test]
fn named_ones_outlive_containers_and_are_guarded() {
    let sandbox = Sandbox::with_busybox();
    shell(&sandbox, &["-v", "keep:/x"], "echo kept >/x/f");
    assert_eq!(shell(&sandbox, &["-v", "keep:/y:ro,z"], "cat /y/f"), "kept");
    let refused = sandbox.bryo(["run", "--rm", "-v", "keep:/y:ro", "busybox"]);
    let refused = refused.args(["touch", "/y/f"]).output().expect(1);
    assert!(refused.stderr.contains("Read-only"), "{refused}");
    let mounted = shell(&sandbox, &["--mount", "src=keep,dst=/y"], "cat /y/f");
    assert_eq!(mounted, "kept");
    let create = sandbox.bryo(["create", "--name", "c", "-v", "keep:/x", "busybox", "true"]);
    create.output().expect(0);
    let refused = sandbox.bryo(["volume", "rm", "keep"]).output().expect(1);
    assert!(refused.stderr.contains("container c"), "{refused}");
    let mount = sandbox.inspect("c")["Mounts"][0].clone();
    assert_eq!(
        (mount["Type"].as_str(), mount["Name"].as_str()),
        (Some("volume"), Some("keep"))
    );
    assert_eq!(mount["Destination"], "/x");
    let named = sandbox
        .bryo(["ps", "-aq", "--filter", "volume=keep"])
        .stdout();
    assert_eq!(named.lines().count(), 1);
    // It is no anonymous one.
    sandbox.bryo(["rm", "-v", "c"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &["-f", "dangling=true"]), ["keep"]);
    sandbox.bryo(["volume", "prune", "-f"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]), ["keep"]);
    // Asked, and not answered.
    sandbox.bryo(["volume", "prune", "-a"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]), ["keep"]);
    let prune = sandbox
        .bryo(["volume", "prune", "-a"])
        .stdin("y\n")
        .stdout();
    assert_eq!(prune, "Deleted Volumes:\nkeep\n\nTotal reclaimed space: 5B");
    assert_eq!(volumes(&sandbox, &[]), [""; 0]);
}

#[test]
fn anonymous_ones_go_with_their_container() {
    let sandbox = with_volume_image();
    let image = |flags: &[&str], script: &str| {
        let run = sandbox.bryo(["run", "--network", "none"]).args(flags);
        run.args(["made", "sh", "-c", script]).stdout()
    };
    // What the image has in the place of its volume, with owners and modes.
    let found = image(
        &["--rm"],
        "cat /data/f; stat -c %a /data; readlink /data/l; ls -p /data/p",
    );
    assert_eq!(found, "first\n711\nf\n/data/p");
    assert_eq!(volumes(&sandbox, &[]), [""; 0]);
    image(
        &["--name", "c", "-v", "/two"],
        "echo changed >/data/f; echo 2 >/two/f",
    );
    let all = volumes(&sandbox, &[]);
    assert_eq!(all.len(), 2);
    assert_eq!(volumes(&sandbox, &["-f", "anonymous=true"]), all);
    // It is the same one when the container is started again.
    sandbox.bryo(["start", "-a", "c"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]), all);
    // Who shares it keeps it.
    let create = sandbox.bryo(["create", "--name", "d", "--volumes-from", "c:ro", "busybox"]);
    create
        .args(["sh", "-c", "cat /data/f; echo >/two/f"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "-v", "c"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]), all);
    let started = sandbox.bryo(["start", "-a", "d"]).output().expect(1);
    assert!(
        started.stdout.contains("changed") && started.stderr.contains("Read-only"),
        "{started}"
    );
    sandbox.bryo(["rm", "-v", "d"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]), [""; 0]);
    // Docker leaves them without -v.
    image(&["--name", "e"], "true");
    sandbox.bryo(["rm", "e"]).output().expect(0);
    assert_eq!(volumes(&sandbox, &[]).len(), 1);
    let pruned = sandbox.bryo(["volume", "prune", "-f"]).stdout();
    assert!(pruned.starts_with("Deleted Volumes:\n"), "{pruned}");
    for (kind, count) in [("tmpfs", "1"), ("ignore", "0")] {
        let script = "grep -c ' /data tmpfs' /proc/mounts || true";
        let mounts = image(&["--rm", "--image-volume", kind], script);
        assert_eq!(mounts, count, "{kind}");
    }
    assert_eq!(volumes(&sandbox, &[]), [""; 0]);
}

#[test]
fn a_new_volume_is_filled_once() {
    let sandbox = with_volume_image();
    let made = |volume: &str, script: &str| {
        let run = sandbox.bryo(["run", "--rm", "--network", "none", "-v", volume]);
        run.args(["made", "sh", "-c", script]).stdout()
    };
    assert_eq!(
        made("v:/data", "cat /data/f; rm /data/*; ls /data"),
        "first"
    );
    assert_eq!(made("v:/data", "ls /data"), "");
    assert_eq!(made("w:/data:nocopy", "ls /data"), "");
    // Not used, as far as copying goes.
    assert_eq!(made("w:/data", "ls /data"), "f\nl\np");
    sandbox.bryo(["volume", "create", "x"]).output().expect(0);
    assert_eq!(made("x:/data", "ls /data"), "f\nl\np");
    // Whose the file is: truly, or by its record.
    let file = data(&sandbox, "x").join("f");
    let owner = fs::metadata(&file).unwrap().uid();
    let record = bryo::sys::xattr::get(
        fs::File::open(&file).unwrap(),
        c"user.containers.override_stat",
    );
    match record.unwrap() {
        Some(record) => assert!(record.starts_with(b"33:33:"), "{record:?}"),
        None => assert_ne!(owner, nix::unistd::getuid().as_raw()),
    }
    let owner = made("x:/data", "stat -c %u /data/f");
    assert!(owner == "33" || owner == "0", "{owner}");
    sandbox.bryo(["volume", "rm", "-a"]).output().expect(0);
}

#[test]
fn owners_in_volumes_are_recorded_where_root_is_emulated() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["--userns", "single", "-v", "v:/v", "-v", ".:/host"];
    let script = "touch /v/f /host/f; chown 33:44 /v/f /host/f; ln -s f /v/l; chown -h 5 /v/l";
    shell(&sandbox, &flags, script);
    let record = |path: PathBuf| {
        let file = fs::File::open(path).unwrap();
        let value = bryo::sys::xattr::get(file, c"user.containers.override_stat");
        value.unwrap().map(|v| String::from_utf8(v).unwrap())
    };
    let volume = record(data(&sandbox, "v").join("f"));
    assert_eq!(volume.as_deref(), Some("33:44:0644:file"));
    // What is the host's is left alone.
    assert_eq!(record(sandbox.work().join("f")), None);
    sandbox.bryo(["volume", "rm", "v"]).output().expect(0);
}

#[test]
fn volumes_are_given_to_the_user_of_the_container() {
    let sandbox = Sandbox::with_busybox();
    let as_user = |flags: &[&str], script: &str| {
        let run = sandbox.bryo(["run", "--rm", "--network", "none", "-u", "33:33"]);
        run.args(flags)
            .args(["busybox", "sh", "-c", script])
            .stdout()
    };
    // A place that the image does not have.
    assert_eq!(
        as_user(&["-v", "new:/new"], "touch /new/f; stat -c %u /new/f"),
        "33"
    );
    shell(
        &sandbox,
        &["-v", "old:/old"],
        "mkdir /old/d; touch /old/d/f; chmod 700 /old/d",
    );
    let script = "cat /old/d/f; echo >/old/d/g; stat -c %u /old/d/f";
    assert_eq!(as_user(&["-v", "old:/old:U"], script), "33");
    sandbox.bryo(["volume", "rm", "-a"]).output().expect(0);
}

#[test]
fn images_are_mounted_read_only() {
    let sandbox = with_volume_image();
    let flags = ["--mount", "type=image,source=made,target=/other"];
    let found = shell(&sandbox, &flags, "cat /other/data/f; ls /data || true");
    assert!(found.starts_with("first"), "{found}");
    let run = sandbox.bryo(["run", "--rm"]).args(flags);
    let refused = run
        .args(["busybox", "touch", "/other/f"])
        .output()
        .expect(1);
    assert!(refused.stderr.contains("Read-only"), "{refused}");
    // Of several layers.
    let run = sandbox.bryo(["run", "--name", "l", "--network", "none", "made"]);
    let script = "rm -r /data /bin/ls; echo second >/second";
    run.args(["sh", "-c", script]).output().expect(0);
    sandbox.bryo(["commit", "l", "two"]).output().expect(0);
    sandbox.bryo(["rm", "-v", "l"]).output().expect(0);
    let two = ["--mount", "type=image,source=two,target=/other"];
    let found = shell(
        &sandbox,
        &two,
        "cat /other/second; test -e /other/bin/sh; ! test -e /other/bin/ls",
    );
    assert_eq!(found, "second");
    // A part of it: a directory of both layers, of one, a file.
    let part = |path: &str| format!("type=image,src=two,dst=/other,image-subpath={path}");
    let look = "cd /other; test -e sh; ! test -e ls; ls -d . | wc -l";
    assert_eq!(shell(&sandbox, &["--mount", &part("bin")], look), "1");
    let look = "cat /other";
    assert_eq!(
        shell(&sandbox, &["--mount", &part("second")], look),
        "second"
    );
    let refused = sandbox.run(&["--mount", &part("gone"), "busybox", "true"]);
    let refused = refused.expect(125);
    assert!(
        refused.stderr.contains("subpath gone is not in the image"),
        "{refused}"
    );
    // The image is in use while a container has it.
    let create = sandbox.bryo(["create", "--name", "c"]).args(flags);
    create.args(["busybox", "true"]).output().expect(0);
    let refused = sandbox.bryo(["rmi", "made"]).output().expect(1);
    assert!(refused.stderr.contains("container c"), "{refused}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let refused = sandbox.run(&["--mount", "type=image,src=none,dst=/x", "busybox"]);
    assert!(refused.expect(125).stderr.contains("mount image none"));
}

#[test]
fn a_part_of_a_volume_is_mounted_and_no_more() {
    let sandbox = Sandbox::with_busybox();
    let fill = "mkdir -p /v/a/b; echo in >/v/a/b/f; ln -s a/b /v/link; ln -s / /v/root
        ln -s ../../../../../../etc /v/up; ln -s /proc/self/root /v/magic; mkdir /v/etc";
    shell(&sandbox, &["-v", "vol:/v"], fill);
    let part = |path: &str| format!("src=vol,dst=/part,volume-subpath={path}");
    let see = |flag: &str| shell(&sandbox, &["--mount", flag], "ls /part | tr '\\n' ' '");
    assert_eq!(see(&part("a")), "b ");
    assert_eq!(see("source=vol,dest=/part,subpath=link"), "f ");
    assert_eq!(see(&part("a/b/f")), "/part ");
    // Links of the volume lead nowhere else.
    let all = "a etc link magic root up ";
    assert_eq!(see(&part("root")), all);
    assert_eq!(see(&part("up")), "");
    // What was made through it is in the volume.
    shell(
        &sandbox,
        &["-v", "vol:/part:subpath=a/b"],
        "echo new >/part/g",
    );
    assert_eq!(shell(&sandbox, &["-v", "vol:/v"], "cat /v/a/b/g"), "new");
    for (path, word) in [
        ("none", "subpath none is not in it"),
        ("magic/etc", "subpath magic/etc is not in it"),
        ("../x", "without '..'"),
        ("/a", "a relative path"),
    ] {
        let refused = sandbox.run(&["--mount", &part(path), "busybox", "true"]);
        let refused = refused.expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    let refused = sandbox.run(&["--mount", "src=new,dst=/x,subpath=y", "busybox", "true"]);
    refused.expect(125);
    assert_eq!(volumes(&sandbox, &[]), ["vol"]);
    // It is looked up anew at each start.
    let create = sandbox.bryo(["create", "--name", "c", "--network", "none"]);
    let create = create.args(["--mount", &part("a/b"), "busybox", "ls", "/part"]);
    create.output().expect(0);
    let swap = "rm -r /v/a; ln -s /../../.. /v/a";
    shell(&sandbox, &["-v", "vol:/v"], swap);
    let refused = sandbox.bryo(["start", "-a", "c"]).output().expect(1);
    assert!(refused.stderr.contains("subpath a/b"), "{refused}");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn what_cannot_be_mounted_is_refused_and_leaves_nothing() {
    let sandbox = Sandbox::with_busybox();
    for (flags, word) in [
        (&["-v", "/no/such/path:/x"][..], "make it first"),
        (&["-v", "v:/x", "-v", "w:/x"], "two mounts on /x"),
        (&["-v", "v:/"], "would hide the image"),
        (&["-v", "v:/a/.."], "would hide the image"),
        (&["-v", "v:/x", "-v", "w:/a/../x/"], "two mounts on /x"),
        (&["-v", "v:."], ". is not an absolute path"),
        (&["-v", "v:x"], "x is not an absolute path"),
        (&["-v", "v:/x:O"], "not supported yet"),
        (&["--volumes-from", "none"], "No such container: none"),
        (&["--volumes-from", "none:x"], "is none of ro, rw, z"),
        (&["-v", "/x", "--name", "-"], "name"),
    ] {
        let refused = sandbox.bryo(["run"]).args(flags).arg("busybox");
        let refused = refused.output().expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    assert_eq!(volumes(&sandbox, &["-f", "anonymous=true"]), [""; 0]);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn creations_that_were_killed_leave_no_volumes() {
    let sandbox = with_volume_image();
    for n in 0..20 {
        let create = sandbox.bryo(["run", "--rm", "--network", "none", "-v", "/x", "made"]);
        let mut create = create.arg("true").spawn();
        std::thread::sleep(std::time::Duration::from_millis(n));
        let _ = create.child.kill();
        create.wait();
    }
    wait_for("an empty store", || {
        sandbox.bryo(["ps", "-a"]).output().expect(0);
        let left = |name: &str| {
            let all = fs::read_dir(sandbox.root().join(name));
            let all = all.into_iter().flatten().flatten();
            all.filter(|entry| entry.file_name() != "lock").count()
        };
        (left("volumes") + left("containers") == 0).then_some(())
    });
}
