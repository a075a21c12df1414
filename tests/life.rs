//! A container's life: created, started, detached, stopped, started again,
//! left, renamed, removed.

use crate::common::{Sandbox, Terminal, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};

/// A script that ends well when it is asked to.
const STAY: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done";

fn detached(sandbox: &Sandbox, name: &str, flags: &[&str], script: &str) -> String {
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", name]);
    let run = run.args(flags);
    run.args(["busybox", "sh", "-c", script]).stdout()
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    let state = sandbox.inspect(name)["State"]["Status"].clone();
    state.as_str().unwrap().to_owned()
}

fn log(sandbox: &Sandbox, name: &str) -> String {
    sandbox.bryo(["logs", name]).stdout()
}

fn remove(sandbox: &Sandbox, names: &[&str]) {
    sandbox.bryo(["rm", "-f"]).args(names).output().expect(0);
}

#[test]
fn detached_it_outlives_its_caller_and_its_terminal() {
    let sandbox = Sandbox::with_busybox();
    // A descriptor of the caller's own must not be kept open either.
    let bryo = crate::common::bryo();
    let script = format!(
        "{} run -d --network none --name c busybox sh -c \"{STAY}\" 5>fifo.open",
        bryo.display()
    );
    let mut terminal = Terminal::start(sandbox.command("sh").args(["-c", &script]));
    assert!(terminal.child.wait().unwrap().success());
    drop(terminal);
    let pid = sandbox.pid("c");
    // proc_pid_stat(5): the parent is the supervisor.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let supervisor = fields[1];
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(fields[3], supervisor, "a session of its own: {stat}");
    assert_eq!(fields[4], "0", "no terminal: {stat}");
    assert_eq!(status(&sandbox, "c"), "running");
    sandbox.bryo(["stop", "c"]).output().expect(0);
    assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 0);
    remove(&sandbox, &["c"]);
}

#[test]
fn detached_it_keeps_nothing_of_its_callers_open() {
    let sandbox = Sandbox::with_busybox();
    // The pipes of `output` end, and so does the one at descriptor 7.
    let bryo = crate::common::bryo();
    let script = format!(
        "( {} run -d --network none --name c busybox sleep 1000 7>&1 >/dev/null 2>&1 ) | cat; echo over",
        bryo.display()
    );
    let output = sandbox
        .command("sh")
        .args(["-c", &script])
        .output()
        .expect(0);
    assert_eq!(output.stdout, "over\n");
    remove(&sandbox, &["c"]);
}

#[test]
fn run_d_tells_whether_the_command_could_be_executed() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "-d", "--name", "c", "busybox", "/none"]);
    let output = run.output().expect(127);
    assert!(output.stderr.contains("/none"), "{output}");
    assert_eq!(output.stdout, "");
    assert_eq!(status(&sandbox, "c"), "exited");
    let id = detached(&sandbox, "d", &[], STAY);
    assert_eq!(id.len(), 64);
    assert_eq!(sandbox.inspect("d")["Id"], id.as_str());
    remove(&sandbox, &["c", "d"]);
}

#[test]
fn created_started_stopped_restarted() {
    let sandbox = Sandbox::with_busybox();
    let create = sandbox.bryo(["create", "--network=none", "--name=c", "--cidfile=id"]);
    let id = create.args(["busybox", "sh", "-c", STAY]).stdout();
    assert_eq!(fs::read_to_string(sandbox.work().join("id")).unwrap(), id);
    assert_eq!(status(&sandbox, "c"), "created");
    assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "0");
    sandbox.bryo(["exec", "c", "true"]).output().expect(1);
    assert_eq!(sandbox.bryo(["start", "c"]).stdout(), "c");
    let first = sandbox.pid("c");
    // Running already: no error, and the same process.
    sandbox.bryo(["start", "c"]).output().expect(0);
    assert_eq!(sandbox.pid("c"), first);
    sandbox
        .bryo(["exec", "c", "touch", "/kept"])
        .output()
        .expect(0);
    sandbox.bryo(["restart", "-t", "5", "c"]).output().expect(0);
    assert_ne!(sandbox.pid("c"), first);
    sandbox
        .bryo(["exec", "c", "ls", "/kept"])
        .output()
        .expect(0);
    sandbox.bryo(["stop", "c"]).output().expect(0);
    assert_eq!(status(&sandbox, "c"), "exited");
    // As docker has it: what is stopped can be stopped.
    sandbox.bryo(["stop", "c"]).output().expect(0);
    let refused = sandbox.bryo(["kill", "c"]).output().expect(1);
    assert!(refused.stderr.contains("it is exited"), "{refused}");
    remove(&sandbox, &["c"]);
    // The file of the id is there already.
    let again = sandbox.bryo(["create", "--cidfile=id", "busybox"]);
    again.output().expect(1);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn stop_signals_and_timeouts() {
    let sandbox = Sandbox::with_busybox();
    let script =
        "trap 'exit 5' USR1; trap '' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let flags = ["--stop-signal=USR1", "--stop-timeout=60"];
    // A signal before the traps are set would have another end.
    let ready = |runs: usize| {
        wait_for("its traps", || {
            (log(&sandbox, "c").matches("ready").count() == runs).then_some(())
        });
    };
    detached(&sandbox, "c", &flags, script);
    ready(1);
    sandbox.bryo(["stop", "c"]).output().expect(0);
    assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 5);
    sandbox.bryo(["start", "c"]).output().expect(0);
    ready(2);
    // Deaf to this one: killed when the time is over.
    let stop = sandbox.bryo(["stop", "--signal=TERM", "-t", "0", "c"]);
    stop.output().expect(0);
    assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 137);
    sandbox.bryo(["start", "c"]).output().expect(0);
    ready(3);
    let waiting = sandbox.bryo(["wait", "c"]).spawn();
    sandbox.bryo(["kill", "-s", "USR1", "c"]).output().expect(0);
    assert_eq!(waiting.wait().expect(0).stdout, "5\n");
    remove(&sandbox, &["c"]);
}

#[test]
fn restart_policies() {
    let sandbox = Sandbox::with_busybox();
    // Every run adds a line.
    let script = "echo run >>/runs; exit 3";
    detached(&sandbox, "c", &["--restart=on-failure:2"], script);
    let state = wait_for("the last failure", || {
        let state = sandbox.inspect("c");
        (state["State"]["Status"] == "exited").then_some(state)
    });
    assert_eq!(state["State"]["ExitCode"], 3);
    assert_eq!(state["RestartCount"], 2);
    detached(&sandbox, "d", &["--restart=always"], "exit 0");
    wait_for("a second run", || {
        (sandbox.inspect("d")["RestartCount"].as_u64() > Some(1)).then_some(())
    });
    // Stopped by its user it stays so, whichever of its states it was in.
    sandbox.bryo(["stop", "d"]).output().expect(0);
    assert_eq!(status(&sandbox, "d"), "exited");
    detached(&sandbox, "e", &["--restart=unless-stopped"], STAY);
    sandbox.bryo(["kill", "e"]).output().expect(0);
    sandbox.bryo(["wait", "e"]).output().expect(0);
    assert_eq!(status(&sandbox, "e"), "exited");
    // Killed by somebody else it comes back.
    sandbox.bryo(["start", "e"]).output().expect(0);
    let pid = sandbox.pid("e");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for("its return", || {
        let state = sandbox.inspect("e");
        let now = state["State"]["Pid"].as_i64().unwrap() as i32;
        (now != pid && now != 0).then_some(())
    });
    let refused = sandbox.bryo(["run", "--rm", "--restart=always", "busybox"]);
    refused.output().expect(125);
    sandbox
        .bryo(["update", "--restart=no", "e"])
        .output()
        .expect(0);
    kill(Pid::from_raw(sandbox.pid("e")), Signal::SIGKILL).unwrap();
    sandbox.bryo(["wait", "e"]).output().expect(0);
    assert_eq!(status(&sandbox, "e"), "exited");
    remove(&sandbox, &["c", "d", "e"]);
}

#[test]
fn after_a_reboot_the_policies_say_who_comes_back() {
    let sandbox = Sandbox::with_busybox();
    for policy in ["no", "always", "unless-stopped", "on-failure"] {
        detached(&sandbox, policy, &["--restart", policy], STAY);
    }
    detached(&sandbox, "stopped", &["--restart=unless-stopped"], STAY);
    sandbox.bryo(["stop", "stopped"]).output().expect(0);
    // As the machine leaves it: all are gone at once, and the records speak
    // of processes of another boot.
    for container in fs::read_dir(sandbox.root().join("containers")).unwrap() {
        let path = container.unwrap().path().join("state.json");
        let mut state: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if let Some(pid) = state["pid"].as_i64() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
            let parent = Pid::from_raw(parent.unwrap().parse().unwrap());
            kill(parent, Signal::SIGKILL).unwrap();
            wait_for("the end", || kill(Pid::from_raw(pid as i32), None).err());
            // The number belongs to somebody else now.
            state["pid"] = std::process::id().into();
            state["boot"] = 1.into();
            fs::write(&path, state.to_string()).unwrap();
        }
    }
    let state = sandbox.inspect("no")["State"].clone();
    assert_eq!(state["ExitCode"], 255);
    assert_eq!(state["Error"], "the machine was restarted");
    let started = sandbox.bryo(["start", "--all"]).stdout();
    let mut started: Vec<&str> = started.lines().collect();
    started.sort_unstable();
    assert_eq!(started, ["always", "on-failure", "unless-stopped"]);
    for name in started {
        assert_eq!(status(&sandbox, name), "running", "{name}");
    }
    sandbox.bryo(["rm", "-f", "-a"]).output().expect(0);
}

#[test]
fn half_written_records_are_told_and_removed() {
    let sandbox = Sandbox::with_busybox();
    let id = detached(&sandbox, "c", &[], "exit 4");
    sandbox.bryo(["wait", "c"]).output().expect(0);
    let directory = sandbox.root().join("containers").join(&id);
    fs::write(directory.join("state.json"), "{\"status\":\"ex").unwrap();
    let state = sandbox.inspect("c")["State"].clone();
    assert_eq!(state["ExitCode"], 255);
    assert!(
        state["Error"].as_str().unwrap().contains("was lost"),
        "{state}"
    );
    sandbox.bryo(["start", "c"]).output().expect(0);
    sandbox.bryo(["wait", "c"]).output().expect(0);
    assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 4);
    fs::write(directory.join("record.json"), "{\"id\":").unwrap();
    let list = sandbox.bryo(["ps", "-a"]).stdout();
    assert!(list.contains("Dead"), "{list}");
    let refused = sandbox.bryo(["start", &id]).output().expect(1);
    assert!(refused.stderr.contains("is dead"), "{refused}");
    remove(&sandbox, &[&id]);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn a_number_that_another_process_has_now_is_left_alone() {
    let sandbox = Sandbox::with_busybox();
    let id = detached(&sandbox, "c", &[], STAY);
    let pid = sandbox.pid("c");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    let parent = Pid::from_raw(parent.unwrap().parse().unwrap());
    kill(parent, Signal::SIGKILL).unwrap();
    wait_for("the end", || kill(Pid::from_raw(pid), None).err());
    // Of the same boot: only the time of its start tells it apart.
    let mut other = sandbox.command("sleep").arg("600").spawn();
    let path = sandbox
        .root()
        .join("containers")
        .join(&id)
        .join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["pid"] = other.child.id().into();
    fs::write(&path, state.to_string()).unwrap();
    assert_eq!(status(&sandbox, "c"), "exited");
    sandbox.bryo(["exec", "c", "true"]).output().expect(1);
    sandbox.bryo(["kill", "c"]).output().expect(1);
    remove(&sandbox, &["c"]);
    assert!(other.child.try_wait().unwrap().is_none(), "it was killed");
    other.child.kill().unwrap();
    other.wait();
}

#[test]
fn a_runtime_directory_that_is_wiped_at_logout_is_not_missed() {
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &["-v", "v:/v", "--restart=always"], STAY);
    let pid = sandbox.pid("c");
    // As logind does; who holds the namespaces is not killed by it.
    for entry in fs::read_dir(sandbox.runtime()).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
    }
    assert_eq!(status(&sandbox, "c"), "running");
    assert_eq!(sandbox.pid("c"), pid);
    assert_eq!(sandbox.bryo(["exec", "c", "echo", "in"]).stdout(), "in");
    assert_eq!(log(&sandbox, "c"), "ready");
    sandbox.write("f", "copied");
    sandbox.bryo(["cp", "f", "c:/v/f"]).output().expect(0);
    sandbox.bryo(["restart", "c"]).output().expect(0);
    assert_eq!(
        sandbox.bryo(["exec", "c", "cat", "/v/f"]).stdout(),
        "copied"
    );
    detached(&sandbox, "d", &[], STAY);
    sandbox.bryo(["stop", "c", "d"]).output().expect(0);
    sandbox.bryo(["rm", "c", "d"]).output().expect(0);
    sandbox.bryo(["volume", "rm", "v"]).output().expect(0);
}

#[test]
fn attached_and_left() {
    let sandbox = Sandbox::with_busybox();
    detached(
        &sandbox,
        "c",
        &["-i"],
        "while read line; do echo got $line; done",
    );
    let mut attached = sandbox.bryo(["attach", "c"]).open_stdin().spawn();
    attached.write("one\n");
    attached.expect_line("got one");
    attached.close_stdin();
    let other = sandbox.bryo(["attach", "--no-stdin", "c"]).spawn();
    wait_for("both to be attached", || {
        let attached = ["events", "--no-stream", "--filter", "event=attach"];
        (sandbox.bryo(attached).stdout().lines().count() == 2).then_some(())
    });
    sandbox.bryo(["kill", "c"]).output().expect(0);
    other.wait().expect(137);
    attached.wait().expect(137);
    // In a terminal, by keys; it lives on although its run is over.
    let run = sandbox.bryo(["run", "-it", "--network", "none", "--name", "t"]);
    let mut terminal = Terminal::start(run.args(["busybox", "sh"]));
    terminal.send("echo re''ady\n");
    terminal.expect("ready\r\n");
    terminal.send("\x10\x11");
    assert!(terminal.child.wait().unwrap().success());
    drop(terminal);
    assert_eq!(status(&sandbox, "t"), "running");
    let mut terminal = Terminal::start(sandbox.bryo(["attach", "t"]));
    terminal.send("echo a''gain\n");
    terminal.expect("again\r\n");
    terminal.send("exit 6\n");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(6));
    remove(&sandbox, &["c", "t"]);
}

#[test]
fn started_attached() {
    let sandbox = Sandbox::with_busybox();
    let create = sandbox.bryo(["create", "-i", "--network", "none", "--name", "c"]);
    let script = "cat; echo error >&2; exit 9";
    create
        .args(["busybox", "sh", "-c", script])
        .output()
        .expect(0);
    for input in ["first", "second"] {
        let start = sandbox.bryo(["start", "-ai", "c"]).stdin(input);
        let output = start.output().expect(9);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            (input, "error\n")
        );
    }
    remove(&sandbox, &["c"]);
}

#[test]
fn renamed() {
    let sandbox = Sandbox::with_busybox();
    // Names that are not the start of an id.
    detached(&sandbox, "one", &[], STAY);
    detached(&sandbox, "two", &[], STAY);
    let refused = sandbox.bryo(["rename", "one", "two"]).output().expect(1);
    assert!(refused.stderr.contains("taken"), "{refused}");
    sandbox.bryo(["rename", "one", "new"]).output().expect(0);
    assert_eq!(sandbox.inspect("new")["Name"], "new");
    sandbox.bryo(["inspect", "one"]).output().expect(1);
    sandbox.bryo(["stop", "new"]).output().expect(0);
    // The old name is free, the new one goes with the container.
    detached(&sandbox, "one", &[], STAY);
    remove(&sandbox, &["one", "two", "new"]);
    let names = fs::read_dir(sandbox.root().join("names")).unwrap();
    assert_eq!(names.count(), 0);
}

#[test]
fn many_at_once() {
    let sandbox = Sandbox::with_busybox();
    let all: Vec<_> = (0..30)
        .map(|n| {
            let name = format!("c{n}");
            let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", &name]);
            run.args(["busybox", "sleep", "1000"]).spawn()
        })
        .collect();
    for running in all {
        running.wait().expect(0);
    }
    assert_eq!(sandbox.bryo(["ps", "-q"]).stdout().lines().count(), 30);
    let begin = Instant::now();
    sandbox.bryo(["stop", "-t", "1", "-a"]).output().expect(0);
    // Side by side, not one second each.
    assert!(begin.elapsed() < Duration::from_secs(25));
    sandbox.bryo(["rm", "-a"]).output().expect(0);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn killed_supervisors_are_told_of() {
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &["--restart=always"], STAY);
    let pid = sandbox.pid("c");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    let parent = Pid::from_raw(parent.unwrap().parse().unwrap());
    kill(parent, Signal::SIGKILL).unwrap();
    wait_for("the end of the container", || {
        kill(Pid::from_raw(pid), None).err()
    });
    let state = sandbox.inspect("c")["State"].clone();
    assert_eq!(state["ExitCode"], 137);
    assert_eq!(state["Error"], "its supervisor was killed");
    assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "137");
    sandbox.bryo(["start", "--all"]).output().expect(0);
    assert_eq!(status(&sandbox, "c"), "running");
    // A polite end of the supervisor is that of the container.
    let pid = sandbox.pid("c");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    kill(
        Pid::from_raw(parent.unwrap().parse().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "0");
    remove(&sandbox, &["c"]);
}

#[test]
fn what_is_printed_is_kept() {
    let sandbox = Sandbox::with_busybox();
    for driver in ["json-file", "k8s-file"] {
        detached(
            &sandbox,
            "c",
            &["--log-driver", driver],
            "echo out; echo err >&2",
        );
        sandbox.bryo(["wait", "c"]).output().expect(0);
        let logs = sandbox.bryo(["logs", "c"]).output().expect(0);
        assert_eq!(
            (logs.stdout.as_str(), logs.stderr.as_str()),
            ("out\n", "err\n")
        );
        remove(&sandbox, &["c"]);
    }
    // In the foreground too.
    let run = sandbox.bryo(["run", "--network", "none", "--name", "f", "busybox"]);
    let output = run
        .args(["sh", "-c", "echo seen; exit 2"])
        .output()
        .expect(2);
    assert_eq!(output.stdout, "seen\n");
    assert_eq!(log(&sandbox, "f"), "seen");
    remove(&sandbox, &["f"]);
}

/// The next of a row of numbers that look random (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn in_chaos_nothing_is_left_behind() {
    let sandbox = Sandbox::with_busybox();
    // For more than the suite has time for: seconds, processes, containers.
    let wanted = std::env::var("BRYO_CHAOS").unwrap_or_else(|_| "10 6 12".to_owned());
    let wanted: Vec<u64> = wanted.split(' ').map(|n| n.parse().unwrap()).collect();
    let [seconds, processes, names] = wanted[..] else {
        panic!("BRYO_CHAOS: {wanted:?}")
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    sandbox.write("f", "copied");
    let bryo = crate::common::bryo();
    let act = |seed: u64| {
        let mut state = seed;
        while Instant::now() < end {
            let name = format!("c{}", next(&mut state) % names);
            let other = format!("c{}", next(&mut state) % names);
            let path = format!("{other}:/v/f");
            let (name, other) = (name.as_str(), other.as_str());
            let run = ["run", "-d", "--network", "none", "--name", name];
            let stay = ["busybox", "sleep", "1000"];
            let verb = match next(&mut state) % 14 {
                0 | 1 => [&run[..], &stay].concat(),
                2 => [&run[..], &["--restart=always", "busybox", "true"]].concat(),
                3 => [&run[..], &["--rm", "-v", "v:/v", "-v", "/own"], &stay].concat(),
                4 => vec!["start", name],
                5 => vec!["stop", "-t", "0", name],
                6 => vec!["restart", "-t", "0", name],
                7 => vec!["kill", name],
                8 => vec!["rm", "-f", name],
                9 => vec!["exec", name, "true"],
                10 => vec!["rename", name, other],
                11 => vec!["cp", "f", &path],
                12 => vec!["volume", "prune", "-f"],
                _ => vec!["ps", "-a"],
            };
            let output = sandbox.bryo(verb).output();
            assert!(!output.stderr.contains("panicked"), "{output}");
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..=processes {
            scope.spawn(move || act(seed * 0x1234_5678_9abc));
        }
        let mut state = 4711;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            let program = bryo.to_string_lossy();
            let all = sandbox.processes();
            let ours: Vec<i32> = all
                .iter()
                .filter(|(_, command)| command.starts_with(&*program))
                .map(|(pid, _)| *pid)
                .collect();
            if let Some(pid) = ours.get(next(&mut state) as usize % ours.len().max(1)) {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
    });
    // Whatever happened, the next commands tell the truth and clean up.
    wait_for("an empty store", || {
        sandbox.bryo(["rm", "-f", "-v", "-a"]).output();
        sandbox.bryo(["volume", "prune", "-f", "-a"]).output();
        let list = sandbox.bryo(["ps", "-aq"]).output().expect(0);
        let empty = |name: &str| {
            let left = fs::read_dir(sandbox.root().join(name));
            left.into_iter().flatten().count() == 0
        };
        let store = ["containers", "names", "trash"].iter().all(|n| empty(n));
        let volumes = fs::read_dir(sandbox.root().join("volumes"));
        let mut volumes = volumes.into_iter().flatten().flatten();
        let store = store && volumes.all(|entry| entry.file_name() == "lock");
        (list.stdout.is_empty() && store).then_some(())
    });
    assert_eq!(sandbox.settle(), [""; 0]);
}

#[test]
fn the_group_has_the_same_verbs_and_prunes() {
    let sandbox = Sandbox::with_busybox();
    let container = |arguments: &[&str]| sandbox.bryo(["container"]).args(arguments);
    let run = container(&["run", "-d", "--network", "none", "--name", "up", "busybox"]);
    run.args(["sleep", "1000"]).output().expect(0);
    for (name, label) in [("a", "team=x"), ("b", "team=y")] {
        let create = container(&["create", "-l", label, "--name", name, "busybox", "true"]);
        create.output().expect(0);
    }
    assert_eq!(container(&["ls", "-aq"]).stdout().lines().count(), 3);
    container(&["exists", "up"]).output().expect(0);
    container(&["exists", "none"]).output().expect(1);
    container(&["inspect", "busybox"]).output().expect(1);
    // Not without an answer.
    container(&["prune"]).output().expect(0);
    let pruned = container(&["prune", "-f", "--filter", "label=team=x"]).stdout();
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
    container(&["prune", "-f", "--filter", "until=1h"])
        .output()
        .expect(0);
    container(&["prune", "-f", "--filter", "colour=red"])
        .output()
        .expect(1);
    container(&["exists", "b"]).output().expect(0);
    let pruned = container(&["prune"]).stdin("y\n").stdout();
    assert!(pruned.ends_with("\nTotal reclaimed space: 0B"), "{pruned}");
    let left = sandbox
        .bryo(["ps", "-a", "--format", "{{.Names}}"])
        .stdout();
    assert_eq!(left, "up");
    remove(&sandbox, &["up"]);
    let help = sandbox.bryo(["--help"]).stdout();
    assert!(help.contains("Management Commands:\n"), "{help}");
}
