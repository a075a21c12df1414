//! Two builds on one machine, as after an update: commands of one and
//! containers, networks and records of the other, both ways.

use crate::common::{Sandbox, bryo, wait_for};
use std::path::{Path, PathBuf};

/// The build of the commit before.
fn before() -> PathBuf {
    let path = std::env::var_os("BRYO_BEFORE").map(PathBuf::from);
    path.expect(
        "BRYO_BEFORE has to name the build of the commit before: tests/run as root makes it",
    )
}

/// A sandbox with the image busybox and a network, both made by `program`.
fn made_by(program: &Path) -> Sandbox {
    let sandbox = Sandbox::new();
    let import = sandbox.command(program).arg("import");
    let import = import.arg(crate::common::busybox_tar()).arg("busybox");
    import.output().expect(0);
    let create = sandbox.command(program).args(["network", "create", "net"]);
    create.output().expect(0);
    sandbox
}

const STAY: &str = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done";

/// A container that `starter` started is looked at, used, changed, stopped,
/// started again and removed by `driver`.
fn driven(starter: &Path, driver: &Path) {
    let sandbox = made_by(starter);
    let start = |name: &str, flags: &[&str]| {
        let run = sandbox.command(starter).args(["run", "-d", "--name", name]);
        let run = run.args(flags).args(["busybox", "sh", "-c", STAY]);
        run.output().expect(0);
    };
    let by = |arguments: &[&str]| sandbox.command(driver).args(arguments).output().expect(0);
    let said = |arguments: &[&str]| by(arguments).stdout.trim_end().to_owned();
    let health = ["--health-cmd", "true", "--health-interval", "200ms"];
    start(
        "c",
        &[
            &["--network", "net", "-e", "A=b", "-l", "k=v"][..],
            &health[..],
        ]
        .concat(),
    );
    start(
        "tty",
        &["-t", "--network", "none", "--restart", "on-failure:2"],
    );

    let shown = "{{.State.Status}} {{.Config.Env}} {{.Config.Labels}} {{.HostConfig.NetworkMode}}";
    let shown = said(&["inspect", "c", "--format", shown]);
    assert!(shown.starts_with("running "), "{shown}");
    assert!(
        shown.contains("A=b") && shown.contains("map[k:v]"),
        "{shown}"
    );
    let list = said(&["ps", "--format", "{{.Names}}"]);
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    assert_eq!(list, ["c", "tty"]);
    wait_for("a healthy container", || {
        let status = said(&["inspect", "c", "--format", "{{.State.Health.Status}}"]);
        (status == "healthy").then_some(())
    });
    assert_eq!(
        said(&["exec", "c", "sh", "-c", "echo $A; cat /proc/1/comm"]),
        "b\nsh"
    );
    assert!(said(&["exec", "-t", "tty", "tty"]).starts_with("/dev/pts/"));
    by(&["exec", "-d", "c", "touch", "/made"]);
    wait_for("a file made beside", || {
        said(&["diff", "c"]).contains("A /made").then_some(())
    });
    assert!(said(&["top", "c"]).contains("sleep 1000"));
    assert!(said(&["stats", "--no-stream"]).contains(" c "));
    assert_eq!(said(&["logs", "c"]), "ready");
    sandbox.write("file", "content");
    by(&["cp", "file", "c:/file"]);
    assert_eq!(said(&["exec", "c", "cat", "/file"]), "content");
    by(&["rename", "c", "d"]);

    // The one's containers and the other's are on one network.
    let other = ["run", "--rm", "--network", "net", "busybox"];
    let other = [&other[..], &["nslookup", "-type=a", "d"]].concat();
    assert!(said(&other).contains("Name:\td"));
    by(&["network", "disconnect", "net", "d"]);
    by(&["network", "connect", "net", "d"]);
    assert!(said(&["exec", "d", "ip", "addr"]).contains("eth"));

    // It fails when it is asked to end, and would come again.
    by(&["update", "--restart", "no", "tty"]);
    by(&["kill", "-s", "TERM", "tty"]);
    assert_eq!(said(&["wait", "tty"]), "3");
    by(&["stop", "d"]);
    assert_eq!(said(&["logs", "d"]), "ready\nbye");
    assert_eq!(
        said(&["inspect", "d", "--format", "{{.State.ExitCode}}"]),
        "3"
    );
    by(&["start", "d"]);
    assert_eq!(said(&["exec", "d", "cat", "/file"]), "content");
    by(&["restart", "-t", "0", "d"]);
    by(&["commit", "d", "kept"]);
    by(&["rm", "-f", "d", "tty"]);
    assert_eq!(
        said(&["run", "--rm", "--network", "none", "kept", "cat", "/file"]),
        "content"
    );
    by(&["check"]);
    by(&["network", "rm", "net"]);
}

#[test]
fn what_the_build_before_started_is_driven_by_this_one() {
    driven(&before(), &bryo());
}

#[test]
fn what_this_build_started_is_driven_by_the_one_before() {
    driven(&bryo(), &before());
}

/// Attached to what the other build's supervisor holds.
#[test]
fn streams_of_the_build_before_are_attached_to() {
    for (starter, driver) in [(before(), bryo()), (bryo(), before())] {
        let sandbox = made_by(&starter);
        let run = [
            "run",
            "-d",
            "-i",
            "--name",
            "c",
            "--network",
            "none",
            "busybox",
        ];
        let run = [
            &run[..],
            &["sh", "-c", "read x; echo got $x; read y; exit 5"],
        ]
        .concat();
        sandbox.command(&starter).args(&run).output().expect(0);
        let attach = sandbox.command(&driver).args(["attach", "c"]);
        let output = attach.stdin("one\ntwo\n").output().expect(5);
        assert_eq!(output.stdout, "got one\n");
        sandbox
            .command(&driver)
            .args(["rm", "c"])
            .output()
            .expect(0);
    }
}
