//! What `kill -9` of any process of bryo leaves: nothing that the next
//! command does not repair. And many containers at once.

use crate::common::{PATIENCE, Running, Sandbox, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Points in time after the start, spread over what a start takes.
const POINTS: u64 = 20;
const STEP: Duration = Duration::from_micros(1500);

/// Starts a container named `c` that does not end by itself.
fn start(sandbox: &Sandbox, flags: &[&str]) -> Running {
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
    run.args(flags).args(["busybox", "sleep", "4711"]).spawn()
}

/// The only child of a process, as soon as there is one; `None` if the
/// process ends first.
fn child_of(parent: &mut Running) -> Option<Pid> {
    let pid = parent.pid();
    let file = format!("/proc/{pid}/task/{pid}/children");
    let end = Instant::now() + PATIENCE;
    loop {
        let children = fs::read_to_string(&file).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return Some(Pid::from_raw(child.parse().unwrap()));
        }
        if parent.child.try_wait().unwrap().is_some() || Instant::now() > end {
            return None;
        }
    }
}

/// Proves that the container is removed, its name free, and the store as it
/// was.
fn repaired(sandbox: &Sandbox, what: &str) {
    let expect = |run: crate::common::Run| {
        let output = run.output();
        assert!(output.code == 0, "{what}: {output}");
        output
    };
    expect(sandbox.bryo(["ps", "-a"]));
    expect(sandbox.bryo(["rm", "-f", "c"]));
    let again = sandbox.bryo(["run", "--rm", "--name", "c", "--network", "none"]);
    let again = expect(again.args(["busybox", "echo", "again"]));
    assert_eq!(again.stdout, "again\n", "{what}");
}

/// Proves that nothing is left in the store but the image.
fn store_is_clean(sandbox: &Sandbox) {
    wait_for("an empty store", || {
        let list = sandbox.bryo(["ps", "-aq"]).stdout();
        assert_eq!(list, "");
        let empty = |name: &str| {
            let left = fs::read_dir(sandbox.root().join(name));
            left.into_iter().flatten().count() == 0
        };
        ["containers", "names", "trash"]
            .iter()
            .all(|n| empty(n))
            .then_some(())
    });
    assert_eq!(sandbox.settle(), [""; 0]);
}

#[test]
fn bryo_run_is_killed_at_any_time() {
    let sandbox = Sandbox::with_busybox();
    for flags in [&[][..], &["--rm"]] {
        for point in 0..POINTS {
            let running = start(&sandbox, flags);
            sleep(STEP * point as u32);
            running.signal(Signal::SIGKILL);
            running.wait().expect(128 + 9);
            repaired(&sandbox, &format!("{flags:?}, point {point}"));
        }
    }
    store_is_clean(&sandbox);
}

#[test]
fn the_supervisor_is_killed_at_any_time() {
    let sandbox = Sandbox::with_busybox();
    for flags in [&[][..], &["--rm"]] {
        for point in 0..POINTS {
            let mut running = start(&sandbox, flags);
            let supervisor = child_of(&mut running).expect("a supervisor");
            sleep(STEP * point as u32 / 2);
            kill(supervisor, Signal::SIGKILL).unwrap();
            let output = running.wait().expect(125);
            assert!(output.stderr.contains("supervisor was killed"), "{output}");
            repaired(&sandbox, &format!("{flags:?}, point {point}"));
        }
    }
    store_is_clean(&sandbox);
}

#[test]
fn both_are_killed_in_the_middle_of_a_run() {
    let sandbox = Sandbox::with_busybox();
    for supervisor_first in [false, true] {
        for flags in [&[][..], &["--init"], &["--pid=host"]] {
            let mut running = sandbox.start("c", flags);
            let pid = Pid::from_raw(sandbox.pid("c"));
            if supervisor_first {
                let supervisor = child_of(&mut running).unwrap();
                kill(supervisor, Signal::SIGKILL).unwrap();
                assert_eq!(running.child.wait().unwrap().code(), Some(125));
            } else {
                running.signal(Signal::SIGKILL);
                assert_eq!(running.child.wait().unwrap().signal(), Some(9));
            }
            wait_for("the end of the container", || kill(pid, None).err());
            wait_for("its exit code", || {
                let state = sandbox.inspect("c")["State"].clone();
                (state["Status"] == "exited").then(|| assert_eq!(state["ExitCode"], 137))
            });
            repaired(&sandbox, &format!("{flags:?}"));
        }
    }
    store_is_clean(&sandbox);
}

#[test]
fn a_container_that_outlives_its_supervisor_is_ended_by_the_next_command() {
    // The death signal that ties a process to its supervisor goes when it
    // changes its ids or asks for it: bryo must not rely on it.
    let sandbox = Sandbox::with_busybox();
    let tree = sandbox.busybox_tree("tree");
    let program = r#"#include <sys/prctl.h>
        #include <unistd.h>
        #include <stdio.h>
        int main() { prctl(PR_SET_PDEATHSIG, 0); puts("ready"); fflush(stdout); for (;;) pause(); }"#;
    let source = sandbox.write("stay.c", program);
    let gcc = sandbox.command("gcc").args(["-static", "-o"]);
    gcc.arg(tree.join("stay")).arg(source).output().expect(0);
    let image = format!("dir:{}", tree.display());
    let run = sandbox.bryo(["run", "--name", "c", &image, "/stay"]);
    let mut running = run.spawn();
    running.expect_line("ready");
    let pid = Pid::from_raw(sandbox.pid("c"));
    kill(child_of(&mut running).unwrap(), Signal::SIGKILL).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(125));
    let list = sandbox.bryo(["ps", "-a"]).stdout();
    assert!(list.contains("Exited (137)"), "{list}");
    wait_for("the end of the container", || kill(pid, None).err());
    repaired(&sandbox, "stay");
    store_is_clean(&sandbox);
}

#[test]
fn a_hundred_containers_at_once() {
    let sandbox = Sandbox::with_busybox();
    let all: Vec<_> = (0..100)
        .map(|n| {
            let run = sandbox.bryo(["run", "--rm", "--network", "none"]);
            let script = format!("echo {n} $$");
            run.args(["busybox", "sh", "-c", &script]).spawn()
        })
        .collect();
    for (n, running) in all.into_iter().enumerate() {
        let output = running.wait().expect(0);
        assert_eq!(output.stdout, format!("{n} 1\n"), "{output}");
        assert_eq!(output.stderr, "", "{output}");
    }
    store_is_clean(&sandbox);
}

#[test]
fn many_run_and_are_killed_at_once() {
    let sandbox = Sandbox::with_busybox();
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let all: Vec<_> = names
        .iter()
        .map(|name| {
            let run = sandbox.bryo(["run", "--name", name, "--network", "none"]);
            run.args(["busybox", "sleep", "4711"]).spawn()
        })
        .collect();
    wait_for("all to run", || {
        let list = sandbox.bryo(["ps", "-q"]).stdout();
        (list.lines().count() == names.len()).then_some(())
    });
    let kill = sandbox.bryo(["kill"]).args(&names).output().expect(0);
    assert_eq!(kill.stdout.lines().count(), names.len());
    for running in all {
        running.wait().expect(128 + 9);
    }
    sandbox.bryo(["rm"]).args(&names).output().expect(0);
    store_is_clean(&sandbox);
}
