//! Which containers a verb is for, where they are not named: `--cidfile`,
//! `--filter`, `--latest`, `--ignore`; and the one that another replaces.

use crate::common::{Sandbox, require_subtree};

const STAY: [&str; 4] = [
    "busybox",
    "sh",
    "-c",
    "trap 'exit 0' TERM; sleep 1000 & wait",
];

fn run(sandbox: &Sandbox, name: &str, flags: &[&str]) -> String {
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", name]);
    run.args(flags).args(STAY).stdout().trim_end().to_owned()
}

fn lines(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let output = sandbox.bryo(arguments).output().expect(0);
    let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn in_state(sandbox: &Sandbox, state: &str) -> Vec<String> {
    let filter = format!("--filter=status={state}");
    lines(sandbox, &["ps", &filter, "--format={{.Names}}"])
}

#[test]
fn files_filters_and_the_latest_stand_for_names() {
    // What is paused has a control group.
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    let id = run(&sandbox, "a", &["--cidfile=a.id", "--label=tier=web"]);
    run(&sandbox, "b", &["--label=tier=db"]);
    run(&sandbox, "c", &["--label=tier=web"]);
    assert_eq!(
        lines(&sandbox, &["pause", "--filter=label=tier=web"]),
        ["a", "c"]
    );
    assert_eq!(in_state(&sandbox, "paused"), ["a", "c"]);
    // Those alone that it can be done to.
    assert_eq!(lines(&sandbox, &["pause", "--all"]), ["b"]);
    assert_eq!(lines(&sandbox, &["unpause", "--latest"]), ["c"]);
    assert_eq!(lines(&sandbox, &["unpause", "--cidfile=a.id"]), [&*id]);
    assert_eq!(lines(&sandbox, &["unpause", "-a"]), ["b"]);
    assert_eq!(lines(&sandbox, &["kill", "--filter=name=b"]), ["b"]);
    sandbox.bryo(["wait", "b"]).output().expect(0);
    assert_eq!(lines(&sandbox, &["stop", "-t9", "--cidfile=a.id"]), [&*id]);
    assert_eq!(in_state(&sandbox, "exited"), ["a", "b"]);
    assert_eq!(lines(&sandbox, &["restart", "-l"]), ["c"]);
    assert_eq!(
        lines(&sandbox, &["rm", "--filter=status=exited"]),
        ["a", "b"]
    );
    assert_eq!(lines(&sandbox, &["rm", "-f", "--latest"]), ["c"]);
    // None is left, which is no error of these.
    for verb in ["stop", "kill", "pause", "unpause", "restart", "rm"] {
        assert_eq!(lines(&sandbox, &[verb, "--all"]), [""; 0], "{verb}");
        assert_eq!(lines(&sandbox, &[verb, "--latest"]), [""; 0], "{verb}");
    }
}

#[test]
fn what_is_not_there_may_be_no_error() {
    let sandbox = Sandbox::with_busybox();
    let id = run(&sandbox, "a", &["--cidfile=a.id"]);
    let both = ["--ignore", "--cidfile=a.id", "--cidfile=no.id", "no"];
    let stopped = sandbox.bryo(["stop"]).args(both).output().expect(0);
    assert_eq!((stopped.stdout.trim_end(), &*stopped.stderr), (&*id, ""));
    let said = sandbox.bryo(["rm", "--cidfile=no.id"]).output().expect(1);
    assert!(said.stderr.contains("--cidfile no.id"), "{said}");
    let said = sandbox.bryo(["rm", "a", "no"]).output().expect(1);
    assert!(said.stderr.contains("No such container: no"), "{said}");
    for verb in ["stop", "kill", "pause", "unpause", "restart", "rm"] {
        assert_eq!(lines(&sandbox, &[verb, "-i", "a", "no"]), [""; 0], "{verb}");
        let said = sandbox.bryo([verb, "--all", "a"]).output();
        assert!(said.expect(125).stderr.contains("cannot be used"), "{verb}");
        sandbox.bryo([verb]).output().expect(1);
        let said = sandbox.bryo([verb, "--filter=odd=1"]).output().expect(1);
        assert!(said.stderr.contains("filter 'odd=1'"), "{said}");
    }
}

#[test]
fn a_container_replaces_another_of_its_name() {
    let sandbox = Sandbox::with_busybox();
    let first = run(&sandbox, "c", &["--replace"]);
    let taken = ["create", "--network=none", "--name=c", "busybox", "true"];
    sandbox.bryo(taken).output().expect(1);
    let second = run(&sandbox, "c", &["--replace"]);
    assert_ne!(first, second);
    assert_eq!(lines(&sandbox, &["ps", "-aq", "--no-trunc"]), [&*second]);
    // An id is no name.
    let other = run(&sandbox, &second[..12], &["--replace"]);
    assert_eq!(lines(&sandbox, &["ps", "-aq"]).len(), 2);
    let nameless = ["run", "--replace", "busybox", "true"];
    sandbox.bryo(nameless).output().expect(125);
    sandbox.bryo(["rm", "-f", &other, "c"]).output().expect(0);
}

#[test]
fn the_id_of_a_committed_image_is_in_a_file() {
    let sandbox = Sandbox::with_busybox();
    let create = ["create", "--network=none", "--name=c", "busybox", "true"];
    sandbox.bryo(create).output().expect(0);
    let commit = sandbox.bryo(["commit", "-q", "--iidfile=image.id", "c"]);
    let id = commit.stdout();
    let written = std::fs::read_to_string(sandbox.work().join("image.id")).unwrap();
    assert_eq!(written, id.trim_end());
    let odd = ["commit", "-q", "--iidfile=no/image.id", "c"];
    let said = sandbox.bryo(odd).output().expect(1);
    assert!(said.stderr.contains("--iidfile no/image.id"), "{said}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
}
