//! Control groups where no controllers can be had: pausing, killing, and the
//! truth about limits. What takes controllers and systemd is in `vm`.
//!
//! These tests need a subtree of the hierarchy of version 2 that is handed to
//! the user, as `tests/run` does.

use crate::common::{Sandbox, require_subtree, wait_for};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done";

fn detached(sandbox: &Sandbox, name: &str, flags: &[&str], script: &str) {
    let run = sandbox.bryo(["run", "-d", "--name", name]).args(flags);
    let run = run.args(["busybox", "sh", "-c", script]);
    run.output().expect(0);
}

fn last_line(sandbox: &Sandbox, name: &str) -> String {
    sandbox.bryo(["logs", "--tail", "1", name]).stdout()
}

fn group(sandbox: &Sandbox, name: &str) -> String {
    let format = "{{.CgroupPath}}";
    sandbox.bryo(["inspect", "-f", format, name]).stdout()
}

#[test]
fn paused_containers_stand_still() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &[], COUNT);
    wait_for("output", || {
        (!last_line(&sandbox, "c").is_empty()).then_some(())
    });
    sandbox.bryo(["pause", "c"]).output().expect(0);
    assert_eq!(sandbox.inspect("c")["State"]["Status"], "paused");
    let before = last_line(&sandbox, "c");
    sleep(Duration::from_millis(200));
    assert_eq!(last_line(&sandbox, "c"), before);

    for (arguments, says) in [
        (&["exec", "c", "true"][..], "paused"),
        (&["pause", "c"], "paused already"),
        (&["stop", "c"], "paused"),
        (&["start", "c"], "paused"),
    ] {
        let refused = sandbox.bryo(arguments).output().expect(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }

    sandbox.bryo(["unpause", "c"]).output().expect(0);
    wait_for("more output", || {
        (last_line(&sandbox, "c") != before).then_some(())
    });
    let refused = sandbox.bryo(["unpause", "c"]).output().expect(1);
    assert!(refused.stderr.contains("running already"), "{refused}");
    let events = sandbox.bryo(["events", "--no-stream"]).stdout();
    assert!(
        events.contains(" pause ") && events.contains(" unpause "),
        "{events}"
    );
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn paused_containers_can_be_killed() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    for end in ["kill", "rm"] {
        detached(&sandbox, "c", &[], COUNT);
        let group = group(&sandbox, "c");
        sandbox.bryo(["pause", "c"]).output().expect(0);
        match end {
            "kill" => sandbox.bryo(["kill", "c"]).output().expect(0),
            _ => sandbox.bryo(["rm", "-f", "c"]).output().expect(0),
        };
        if end == "kill" {
            assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "137");
            sandbox.bryo(["rm", "c"]).output().expect(0);
        }
        assert!(!Path::new(&group).exists(), "{group} is left");
    }
}

#[test]
fn a_kill_takes_all_processes() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    // Without a PID namespace no process goes with the first.
    let script = "for i in 1 2 3; do setsid sleep 1000 & done; echo ready; exec sleep 1000";
    detached(&sandbox, "c", &["--pid", "host"], script);
    wait_for("output", || {
        (last_line(&sandbox, "c") == "ready").then_some(())
    });
    let group = group(&sandbox, "c");
    let procs = Path::new(&group).join("cgroup.procs");
    assert_eq!(fs::read_to_string(procs).unwrap().lines().count(), 4);
    sandbox.bryo(["kill", "c"]).output().expect(0);
    assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "137");
    wait_for("the group to go", || {
        (!Path::new(&group).exists()).then_some(())
    });
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn a_container_sees_its_group_as_the_root() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    let script = "grep ^0:: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | wc -l; \
                  mkdir /sys/fs/cgroup/x 2>&1; true";
    let output = sandbox.run(&["busybox", "sh", "-c", script]).expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "0::/", "{output}");
    assert!(lines[2].contains("Read-only"), "{output}");
    // Who joins later sees the same.
    detached(&sandbox, "c", &[], "sleep 1000");
    let exec = sandbox.bryo(["exec", "c", "grep", "^0::", "/proc/self/cgroup"]);
    assert_eq!(exec.stdout(), "0::/");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);

    // Below it only where that was asked for.
    let script = "mkdir /sys/fs/cgroup/x && echo $$ >/sys/fs/cgroup/x/cgroup.procs && \
                  grep ^0:: /proc/self/cgroup; echo 1 >/sys/fs/cgroup/cgroup.max.descendants";
    for flag in [
        "--security-opt=writable-cgroups",
        "--security-opt=unmask=/sys/fs/cgroup",
    ] {
        let output = sandbox.run(&[flag, "busybox", "sh", "-c", script]);
        assert_eq!(output.stdout, "0::/x\n", "{output}");
    }
    // Who joins later is where the first process went.
    let script = "mkdir /sys/fs/cgroup/x && echo $$ >/sys/fs/cgroup/x/cgroup.procs && \
                  echo moved && exec sleep 1000";
    detached(&sandbox, "d", &["--security-opt=writable-cgroups"], script);
    wait_for("the move", || {
        (last_line(&sandbox, "d") == "moved").then_some(())
    });
    let exec = sandbox.bryo(["exec", "d", "grep", "^0::", "/proc/self/cgroup"]);
    assert_eq!(exec.stdout(), "0::/x");
    sandbox.bryo(["rm", "-f", "d"]).output().expect(0);
}

#[test]
fn nothing_is_left_when_the_supervisor_is_killed() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &[], "sleep 1000");
    let group = group(&sandbox, "c");
    assert!(Path::new(&group).exists());
    let pid = sandbox.pid("c");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    let parent = nix::unistd::Pid::from_raw(parent.unwrap().parse().unwrap());
    nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("the repair", || {
        sandbox.bryo(["ps", "-a"]).output().expect(0);
        (!Path::new(&group).exists()).then_some(())
    });
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn containers_without_a_group_say_so() {
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &["--cgroups", "disabled"], "sleep 1000");
    let refused = sandbox.bryo(["pause", "c"]).output().expect(1);
    assert!(refused.stderr.contains("--cgroups disabled"), "{refused}");
    let refused = sandbox.bryo(["update", "-m", "64m", "c"]).output();
    let refused = refused.expect(1);
    assert!(
        refused.stderr.contains("without a control group"),
        "{refused}"
    );
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    let refused = sandbox.run(&["--cgroups=disabled", "-m64m", "busybox", "true"]);
    let refused = refused.expect(125);
    assert!(
        refused.stderr.contains("limits need a control group"),
        "{refused}"
    );
}

#[test]
fn limits_that_cannot_be_had_are_errors() {
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    let file = "/sys/fs/cgroup/memory.max";
    let limited = ["--memory", "64m", "busybox", "cat", file];
    let tried = sandbox.run(&limited);
    if tried.code == 0 {
        // They can be had here, and must be in force.
        assert_eq!(tried.stdout, "67108864\n");
        return;
    }
    let refused = tried.expect(125);
    for says in [
        "memory",
        "not delegated",
        "hint:",
        "an administrator:",
        "best-effort",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused}");
    }
    let warned = sandbox.run(&["-m64m", "--limits=best-effort", "busybox", "echo", "on"]);
    let warned = warned.expect(0);
    assert_eq!(warned.stdout, "on\n");
    assert!(
        warned.stderr.contains("memory.max is not in force"),
        "{warned}"
    );
    // Nothing is left of the ones that were refused; the name is free to follow
    // the hint with.
    let named = |flags: &[&str]| {
        let run = sandbox
            .bryo(["run", "--name", "c", "-m", "64m"])
            .args(flags);
        run.args(["busybox", "true"]).output()
    };
    named(&[]).expect(125);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    named(&["--limits", "best-effort"]).expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn nonsense_is_refused_by_name() {
    let sandbox = Sandbox::with_busybox();
    for (flag, says) in [
        ("--memory=0", "'0' is nothing"),
        ("--memory=-5m", "negative"),
        ("--memory=4m", "6m is the least"),
        ("--memory=12x", "no amount of bytes"),
        ("--memory=9000t", "this machine has"),
        ("--memory-swap=64m", "say --memory"),
        ("--memory-reservation=x", "no amount of bytes"),
        ("--memory-swappiness=5", "version 2"),
        ("--oom-kill-disable", "version 2"),
        ("--cpus=0", "is nothing"),
        ("--cpus=-1", "negative"),
        ("--cpus=4096", "this machine has"),
        ("--cpus=much", "no number of processors"),
        ("--cpu-shares=1", "2 to 262144"),
        ("--cpu-weight=0", "1 to 10000"),
        ("--cpu-period=5", "1000 to 1000000"),
        ("--cpu-quota=5", "1000"),
        ("--cpuset-cpus=4000", "not among the processors"),
        ("--cpuset-cpus=b", "no list of numbers"),
        ("--cpuset-mems=70", "not among the memory nodes"),
        ("--pids-limit=-2", "no number"),
        ("--blkio-weight=5", "10 to 1000"),
        ("--device-read-bps=/dev/null:1m", "not a disk"),
        ("--device-write-bps=/nowhere:1m", "/nowhere"),
        ("--device-read-iops=1", "DEVICE:NUMBER"),
        ("--hugetlb=3XB=1m", "no size of pages"),
        ("--cgroup-conf=cgroup.procs=1", "bryo's own"),
        ("--cgroup-conf=../x.y=1", "no file of a control group"),
        ("--cgroup-conf=memory.high", "FILE=VALUE"),
    ] {
        let refused = sandbox.run(&[flag, "busybox", "true"]).expect(125);
        assert!(refused.stderr.contains(says), "{flag}: {refused}");
    }
    // Docker's word for not said: it takes no controller.
    let unset = sandbox.run(&["--cpu-shares=0", "busybox", "true"]);
    unset.expect(0);
    let refused = sandbox.run(&["--cpus=1", "--cpu-quota=5000", "busybox", "true"]);
    assert!(refused.expect(125).stderr.contains("cannot be used with"));
    let refused = sandbox.bryo(["update", "nobody"]).output().expect(1);
    assert!(refused.stderr.contains("nothing to change"), "{refused}");
}

#[test]
fn limits_are_kept_and_shown() {
    let sandbox = Sandbox::with_busybox();
    let create = [
        "create",
        "--name=c",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "9",
    ];
    let create = sandbox.bryo(create).args(["busybox", "true"]);
    create.output().expect(0);
    let shown = sandbox.inspect("c");
    assert_eq!(shown["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(shown["HostConfig"]["MemorySwap"], 128 << 20);
    assert_eq!(shown["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(shown["HostConfig"]["PidsLimit"], 9);
    let limits = shown["Limits"].as_array().unwrap();
    let max = limits
        .iter()
        .find(|limit| limit["File"] == "memory.max")
        .unwrap();
    assert_eq!(max["Asked"], (64 << 20).to_string());
    assert_eq!(max["Why"], "it does not run");
    // What is changed before it runs holds when it does.
    let update = sandbox.bryo(["update", "--memory", "32m", "c"]).output();
    update.expect(0);
    assert_eq!(sandbox.inspect("c")["HostConfig"]["Memory"], 32 << 20);
    assert_eq!(sandbox.inspect("c")["HostConfig"]["PidsLimit"], 9);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}
