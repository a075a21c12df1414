//! Images of what containers changed.

use crate::common::{Podman, Sandbox, require_tool, tool};
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes files of all kinds, and takes some away.
const CHANGES: &str = "
    echo new >/new; chmod 4755 /new; ln /new /hard; ln -s new /soft; mkfifo /pipe
    chown 33:44 /new; chown -h 5:6 /soft; chmod 1777 /var; chown 7 /var
    mkdir -p /deep/er; echo x >/deep/er/f; echo changed >>/etc/passwd
    rm /bin/ls; rm -r /home; rm -r /usr; mkdir /usr; echo u >/usr/only
    touch -d '2001-02-03 04:05:06' /deep/er/f; echo >/.wh.odd; ln -s nowhere /dangling
";

fn changed(sandbox: &Sandbox, flags: &[&str]) {
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
    let run = run.args(flags);
    run.args(["busybox", "sh", "-c", CHANGES])
        .output()
        .expect(0);
}

/// All files of a container, as tar lists them.
fn files(sandbox: &Sandbox, container: &str) -> BTreeMap<String, String> {
    let archive = format!("{container}.tar");
    sandbox
        .bryo(["export", "-o", &archive, container])
        .output()
        .expect(0);
    let flags = ["--numeric-owner", "--full-time", "-tvf", &archive];
    let list = sandbox.command("tar").args(flags).stdout();
    let mut files = BTreeMap::new();
    for line in list.lines() {
        // Mode, owner, size, date, time, name.
        let mut fields = line.splitn(6, ' ').map(str::to_owned);
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let name = words[5..].join(" ");
        let directory = fields.next().unwrap().starts_with('d');
        // Directories get their times from what is made in them.
        let what = match directory {
            true => words[..2].join(" "),
            false => words[..5].join(" "),
        };
        files.insert(name, what);
    }
    files
}

#[test]
fn all_that_was_changed_is_in_the_image() {
    let sandbox = Sandbox::with_busybox();
    for userns in ["auto", "single"] {
        changed(&sandbox, &["--userns", userns]);
        let before = files(&sandbox, "c");
        for squash in [false, true] {
            let commit = sandbox.bryo(["commit"]).args(squash.then_some("-s"));
            let id = commit.args(["c", "made"]).stdout();
            assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
            let create = sandbox.bryo(["create", "--name", "d", "--userns", userns, "made"]);
            create.output().expect(0);
            let mut wanted = before.clone();
            // No layer can have it.
            wanted.remove(".wh.odd");
            let after = files(&sandbox, "d");
            for (name, what) in &wanted {
                // What stands below all containers is no change of any.
                let place = [
                    "dev/",
                    "etc/hostname",
                    "etc/hosts",
                    "etc/resolv.conf",
                    "proc/",
                    "sys/",
                ];
                if !place.contains(&name.as_str()) {
                    assert_eq!(after.get(name), Some(what), "{name} ({userns}, {squash})");
                }
            }
            for name in after.keys() {
                assert!(
                    wanted.contains_key(name),
                    "{name} is too much ({userns}, {squash})"
                );
            }
            sandbox.bryo(["rm", "d"]).output().expect(0);
            sandbox.bryo(["rmi", "made"]).output().expect(0);
        }
        sandbox.bryo(["rm", "c"]).output().expect(0);
    }
}

#[test]
fn the_configuration_is_the_containers_and_the_changes() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo([
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "-e",
        "A=1",
        "-w",
        "/tmp",
    ]);
    let run = run.args(["-u", "33", "-l", "x=y", "--entrypoint", "/bin/sh"]);
    run.args(["busybox", "-c", "true"]).output().expect(0);
    let flags = ["-a", "Me <me@example>", "-m", "a message"];
    let commit = sandbox.bryo(["commit"]).args(flags);
    commit.args(["c", "made:1"]).output().expect(0);
    let inspect = |name: &str| -> Value {
        let text = sandbox.bryo(["inspect", "--type=image", name]).stdout();
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    };
    let made = inspect("made:1");
    let config = &made["Config"];
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["/bin/sh"]),
        "{made}"
    );
    assert_eq!(config["Cmd"], serde_json::json!(["-c", "true"]));
    assert_eq!(config["WorkingDir"], "/tmp");
    assert_eq!(config["User"], "33");
    assert_eq!(config["Labels"]["x"], "y");
    let env = config["Env"].to_string();
    assert!(env.contains("A=1") && !env.contains("HOSTNAME"), "{env}");
    // It runs as the container did.
    sandbox.run(&["--network", "none", "made:1"]).expect(0);
    let changes = [
        "-c",
        "CMD [\"echo\", \"hi\"]",
        "-c",
        "ENTRYPOINT []",
        "-c",
        "ENV B=2",
        "-c",
        "USER 0",
    ];
    let commit = sandbox.bryo(["commit"]).args(changes);
    commit.args(["c", "made:2"]).output().expect(0);
    assert_eq!(
        sandbox
            .run(&["--network", "none", "made:2"])
            .expect(0)
            .stdout,
        "hi\n"
    );
    let changes = [
        "ENV B=$A-${A:+b} C=${D:-d}",
        "LABEL said=\"$A is one\"",
        "EXPOSE 80$A",
        "WORKDIR sub$A",
        "STOPSIGNAL SIGQUIT",
        "HEALTHCHECK --interval=7s CMD test -e /$A",
        "ONBUILD RUN true",
        "USER=0",
    ];
    let changes = changes.iter().flat_map(|change| ["-c", change]);
    let commit = sandbox.bryo(["commit"]).args(changes);
    commit.args(["c", "made:3"]).output().expect(0);
    let config = &inspect("made:3")["Config"];
    let env = config["Env"].to_string();
    assert!(
        env.contains("\"B=1-b\"") && env.contains("\"C=d\""),
        "{env}"
    );
    assert_eq!(config["Labels"]["said"], "1 is one");
    assert!(config["ExposedPorts"].get("801/tcp").is_some(), "{config}");
    assert_eq!(config["WorkingDir"], "/tmp/sub1");
    assert_eq!(config["StopSignal"], "SIGQUIT");
    assert_eq!(config["User"], "0");
    let create = sandbox.bryo(["create", "--name", "h", "made:3", "true"]);
    create.output().expect(0);
    let check = &sandbox.inspect("h")["Config"]["Healthcheck"];
    assert_eq!(
        check["Test"],
        serde_json::json!(["CMD-SHELL", "test -e /$A"])
    );
    assert_eq!(check["Interval"], 7_000_000_000u64);
    sandbox.bryo(["rm", "h"]).output().expect(0);
    for (change, why) in [
        ("STOPSIGNAL SIGFOO", "signal 'SIGFOO'"),
        ("STOPSIGNAL $A$A$A", "signal '111'"),
        ("EXPOSE http", "\"http\" is no port"),
        ("HEALTHCHECK --interval=x CMD y", "--interval=x"),
        ("ENV ${X:?say}=1", "X: say"),
    ] {
        let refused = sandbox.bryo(["commit", "-c", change, "c"]).output();
        // What holds whatever variables are is wrong for the flag already.
        let refused = refused.expect(if change.contains('$') { 1 } else { 125 });
        assert!(refused.stderr.contains(why), "{refused}");
        assert!(refused.stderr.contains(change), "{refused}");
    }
    let events = ["events", "--no-stream", "--filter", "event=commit"];
    assert_eq!(sandbox.bryo(events).stdout().lines().count(), 3);
    // A name is not needed; one that cannot be is refused.
    let id = sandbox.bryo(["commit", "-q", "c"]).stdout();
    sandbox.bryo(["rmi", &id]).output().expect(0);
    sandbox.bryo(["commit", "c", "NO"]).output().expect(1);
    let refused = sandbox
        .bryo(["commit", "-c", "RUN x", "c"])
        .output()
        .expect(125);
    assert!(refused.stderr.contains("RUN"), "{refused}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn other_programs_take_the_image() {
    let sandbox = Sandbox::with_busybox();
    // Without other owners, which podman cannot have for every user.
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none", "busybox"]);
    let script = CHANGES.replace("chown", ": chown");
    run.args(["sh", "-c", &script]).output().expect(0);
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let skopeo = require_tool("skopeo", "skopeo");
    let store = format!(
        "oci:{}:docker.io/library/made:latest",
        sandbox.root().join("images").display()
    );
    // It checks every digest on its way.
    let layout = format!("oci:{}:made", sandbox.work().join("layout").display());
    tool(&skopeo, &["copy", "--quiet", &store, &layout]);
    let archive = format!(
        "oci-archive:{}:made:latest",
        sandbox.work().join("made.tar").display()
    );
    tool(&skopeo, &["copy", "--quiet", &store, &archive]);
    let podman = Podman::new(&sandbox);
    podman
        .command(&["load", "-i", "made.tar"])
        .output()
        .expect(0);
    let run = podman.command(&["run", "--rm", "--network", "none", "localhost/made"]);
    let script = "cat /new /usr/only; test ! -e /home; test ! -e /usr/bin; test ! -e /bin/ls; readlink /soft";
    let output = run.args(["sh", "-c", script]).output().expect(0);
    assert_eq!(output.stdout, "new\nu\nnew\n");
}

#[test]
fn running_containers_and_those_without_an_image() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", "c", "busybox"]);
    let script = "echo made >/made; echo ready; exec sleep 1000";
    run.args(["sh", "-c", script]).output().expect(0);
    sandbox
        .bryo(["logs", "-f", "c"])
        .spawn()
        .expect_line("ready");
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    let cat = sandbox.run(&["--network", "none", "made", "cat", "/made"]);
    assert_eq!(cat.expect(0).stdout, "made\n");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    let tree = sandbox.busybox_tree("tree");
    let create = sandbox.bryo(["create", "--name", "d"]);
    let create = create.arg(format!("dir:{}", tree.display()));
    create.arg("true").output().expect(0);
    let refused = sandbox.bryo(["commit", "d", "x"]).output().expect(1);
    assert!(refused.stderr.contains("bryo export"), "{refused}");
    sandbox.bryo(["rm", "d"]).output().expect(0);
}
