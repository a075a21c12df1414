//! Verbs and flags of podman's and docker's that are small: what they print and
//! their exit codes.

use crate::common::registry::Registry;
use crate::common::{Sandbox, wait_for};

fn lines(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let printed = sandbox.bryo(words).stdout();
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn a_health_check_is_run_when_it_is_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "-d", "--name", "c", "--health-interval", "1h"];
    let run = sandbox
        .bryo(run)
        .args(["--health-cmd", "test -e /well", "busybox"]);
    run.args(["sleep", "999"]).output().expect(0);
    let check = |flags: &[&str]| sandbox.bryo(["healthcheck", "run"]).args(flags).output();
    assert_eq!(check(&["c"]).expect(1).stdout.trim(), "unhealthy");
    check(&["--ignore-result", "c"]).expect(0);
    sandbox
        .bryo(["exec", "c", "touch", "/well"])
        .output()
        .expect(0);
    assert_eq!(check(&["c"]).expect(0).stdout, "");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    sandbox
        .bryo(["create", "--name", "d", "busybox", "true"])
        .output()
        .expect(0);
    let none = check(&["d"]).expect(1);
    assert!(none.stderr.contains("has no health check"), "{none}");
    sandbox.bryo(["rm", "d"]).output().expect(0);
}

#[test]
fn states_are_waited_for() {
    let sandbox = Sandbox::with_busybox();
    let create = [
        "create",
        "--name",
        "c",
        "busybox",
        "sh",
        "-c",
        "sleep 999; exit 3",
    ];
    sandbox.bryo(create).output().expect(0);
    let wait = |flags: &[&str]| {
        let wait = sandbox.bryo(["wait", "--interval", "5ms"]).args(flags);
        wait.output().expect(0).stdout.trim().to_owned()
    };
    assert_eq!(wait(&["--condition", "created", "c"]), "-1");
    sandbox.bryo(["start", "c"]).output().expect(0);
    assert_eq!(
        wait(&["--condition=running", "--condition=exited", "c"]),
        "-1"
    );
    assert_eq!(wait(&["--condition=running", "--latest"]), "-1");
    let mut exited = sandbox
        .bryo(["wait", "--condition", "stopped", "c"])
        .spawn();
    sandbox.bryo(["kill", "c"]).output().expect(0);
    exited.expect_line("137");
    exited.wait();
    assert_eq!(wait(&["--condition=exited", "c"]), "137");
    assert_eq!(wait(&["--ignore", "none"]), "");
    sandbox.bryo(["rm", "c"]).output().expect(0);
    sandbox
        .bryo(["wait", "--condition", "well", "c"])
        .output()
        .expect(125);
    let bad = sandbox.bryo(["wait", "--interval", "x", "c"]).output();
    assert!(bad.expect(1).stderr.contains("--interval x"));
}

#[test]
fn lists_have_an_order_and_may_have_no_heads() {
    let sandbox = Sandbox::with_busybox();
    for (name, image) in [("b", "busybox"), ("c", "other"), ("a", "busybox")] {
        if image == "other" {
            sandbox.bryo(["tag", "busybox", "other"]).output().expect(0);
        }
        let create = ["create", "--name", name, image, "true"];
        sandbox.bryo(create).output().expect(0);
    }
    let names = |order: &str| {
        lines(
            &sandbox,
            &["ps", "-a", "--sort", order, "--format={{.Names}}"],
        )
    };
    assert_eq!(names("created"), ["a", "c", "b"]);
    assert_eq!(names("runningfor"), ["b", "c", "a"]);
    assert_eq!(names("names"), ["a", "b", "c"]);
    assert_eq!(names("image"), ["a", "b", "c"]);
    assert_eq!(lines(&sandbox, &["ps", "-a", "--noheading"]).len(), 3);
    sandbox.bryo(["ps", "--sort", "color"]).output().expect(125);
    let mut watch = sandbox
        .bryo(["ps", "-a", "--noheading", "-w", "1", "--format={{.Names}}"])
        .spawn();
    for name in ["a", "c", "b", "a", "c", "b"] {
        watch.expect_line(name);
    }
    watch.signal(nix::sys::signal::Signal::SIGTERM);
    watch.wait();
    sandbox.bryo(["rm", "a", "b", "c"]).output().expect(0);

    let images = |order: &str| {
        let list = ["images", "--sort", order, "--format={{.Repository}}"];
        let list = lines(&sandbox, &list);
        list.iter()
            .map(|name| name.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(images("repository"), ["busybox", "other"]);
    assert_eq!(lines(&sandbox, &["images", "--noheading"]).len(), 2);
    assert_eq!(lines(&sandbox, &["images", "--sort=size", "-q"]).len(), 1);
}

#[test]
fn lines_of_logs_have_names_and_colors() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "--name", "c", "busybox", "echo", "hello"];
    sandbox.bryo(run).output().expect(0);
    assert_eq!(lines(&sandbox, &["logs", "--names", "c"]), ["c | hello"]);
    assert_eq!(
        lines(&sandbox, &["logs", "--color", "c"]),
        ["\x1b[36mc |\x1b[0m hello"]
    );
    assert_eq!(lines(&sandbox, &["logs", "c"]), ["hello"]);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn help_of_a_verb_is_its_own() {
    let sandbox = Sandbox::new();
    let help = sandbox.bryo(["help", "volume", "ls"]).output().expect(0);
    let flag = sandbox.bryo(["volume", "ls", "--help"]).output().expect(0);
    assert_eq!(help.stdout, flag.stdout);
    sandbox.bryo(["help", "nothing"]).output().expect(1);
}

#[test]
fn all_tags_are_pushed_and_digests_written() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    for tag in ["one", "two"] {
        let name = registry.name(&format!("all:{tag}"));
        sandbox.bryo(["tag", "busybox", &name]).output().expect(0);
    }
    let all = registry.name("all");
    let pushed = sandbox
        .bryo(["push", "--all-tags", &all])
        .output()
        .expect(0);
    assert_eq!(pushed.stdout.matches("Digest: ").count(), 2, "{pushed}");
    let one = registry.name("all:one");
    let path = sandbox.work().join("digest");
    let push = sandbox.bryo(["push", "-q", "--digestfile"]).arg(&path);
    push.arg(&one).output().expect(0);
    let digest = std::fs::read_to_string(path).unwrap();
    assert!(pushed.stdout.contains(&format!("Digest: {digest}\n")));
    let tagged = sandbox.bryo(["push", "-a", &one]).output().expect(1);
    assert!(tagged.stderr.contains("leave the tag out"), "{tagged}");
    let none = sandbox.bryo(["push", "-a", "nothing"]).output().expect(1);
    assert!(none.stderr.contains("No such image: nothing"), "{none}");
}

#[test]
fn a_reset_leaves_nothing() {
    let sandbox = Sandbox::with_busybox();
    sandbox.bryo(["network", "create", "n"]).output().expect(0);
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "-v",
        "v:/v",
        "--network",
        "n",
        "busybox",
    ];
    sandbox.bryo(run).args(["sleep", "999"]).output().expect(0);
    let secret = sandbox.bryo(["secret", "create", "s", "-"]).stdin("x");
    secret.output().expect(0);
    let asked = sandbox.bryo(["system", "reset"]).stdin("n\n").output();
    asked.expect(0);
    assert_eq!(lines(&sandbox, &["ps", "-q"]).len(), 1);
    sandbox
        .bryo(["system", "reset", "--force"])
        .output()
        .expect(0);
    for list in [
        &["ps", "-aq"][..],
        &["images", "-q"],
        &["volume", "ls", "-q"],
        &["network", "ls", "-q"],
        &["secret", "ls", "-q"],
    ] {
        assert_eq!(lines(&sandbox, list), [""; 0], "{list:?}");
    }
    wait_for("an empty trash", || {
        let trash = std::fs::read_dir(sandbox.root().join("trash"));
        trash
            .map_or(true, |mut all| all.next().is_none())
            .then_some(())
    });
}
