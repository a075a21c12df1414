//! `bryo exec`: a further process in a container that runs.

use crate::common::{Output, Sandbox, Terminal, field, require_tool, wait_for};
use nix::sys::signal::Signal;
use std::fs;

/// Runs `bryo exec` with these arguments to its end.
fn exec(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    sandbox.bryo(["exec"]).args(arguments).output()
}

fn shell(sandbox: &Sandbox, script: &str) -> String {
    let output = exec(sandbox, &["c", "sh", "-c", script]).expect(0);
    output.stdout.trim_end().to_owned()
}

/// Ends the container of a test.
fn end(sandbox: &Sandbox, running: crate::common::Running) {
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    running.wait();
}

#[test]
fn all_namespaces_are_joined() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let script = "for n in cgroup ipc mnt net pid time user uts; do
        a=$(readlink /proc/1/ns/$n) b=$(readlink /proc/self/ns/$n)
        [ -n \"$a\" ] && [ \"$a\" = \"$b\" ] && echo $n; done";
    let joined = shell(&sandbox, script);
    let all = "cgroup\nipc\nmnt\nnet\npid\ntime\nuser\nuts";
    assert_eq!(joined, all);
    let host = fs::read_link("/proc/self/ns/user").unwrap();
    assert_ne!(
        shell(&sandbox, "readlink /proc/self/ns/user"),
        host.to_str().unwrap()
    );
    // The same root, the same processes, its own id.
    assert_eq!(
        shell(&sandbox, "id -u; hostname; touch /made"),
        shell(&sandbox, "id -u; cat /etc/hostname; test -e /made")
    );
    assert!(shell(&sandbox, "ps").contains("sleep 1000"));
    end(&sandbox, running);
}

#[test]
fn it_is_as_confined_as_the_container() {
    let sandbox = Sandbox::with_busybox();
    for flags in [
        &[][..],
        &["--cap-drop=ALL", "--cap-add=NET_RAW"],
        &["--privileged"],
    ] {
        let running = sandbox.start("c", flags);
        let [first, further] = ["1", "self"].map(|process| {
            shell(
                &sandbox,
                &format!("grep -E '^(Cap|NoNew|Seccomp:|Uid|Gid)' /proc/{process}/status"),
            )
        });
        assert_eq!(first, further, "{flags:?}");
        end(&sandbox, running);
    }
    let running = sandbox.start("c", &["--cap-drop=ALL", "--root-emulation=off"]);
    let status = exec(&sandbox, &["--privileged", "c", "cat", "/proc/self/status"]).expect(0);
    assert_eq!(field(&status.stdout, "Seccomp"), "0");
    assert_eq!(field(&status.stdout, "NoNewPrivs"), "0");
    assert_ne!(field(&status.stdout, "CapEff"), "0000000000000000");
    end(&sandbox, running);
}

#[test]
fn variables_directory_and_user() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start(
        "c",
        &["-e", "A=container", "-e", "B=container", "-w", "/tmp"],
    );
    assert_eq!(
        shell(&sandbox, "echo $A $B; pwd"),
        "container container\n/tmp"
    );
    let flags = [
        "-e",
        "B=exec",
        "-w",
        "/made/here",
        "-u",
        "0:0",
        "c",
        "sh",
        "-c",
        "echo $A $B; pwd; id -u",
    ];
    assert_eq!(
        exec(&sandbox, &flags).expect(0).stdout,
        "container exec\n/made/here\n0\n"
    );
    // Behind a PID 1 of bryo's as well.
    end(&sandbox, running);
    let running = sandbox.start("c", &["--init"]);
    let flags = ["-u", "root", "c", "sh", "-c", "id -u; readlink /proc/2/exe"];
    assert_eq!(exec(&sandbox, &flags).expect(0).stdout, "0\n/bin/busybox\n");
    let other = exec(&sandbox, &["-u", "nosuch", "c", "true"]).expect(1);
    assert!(other.stderr.contains("'nosuch'"), "{other}");
    let file = exec(&sandbox, &["-w", "/etc/passwd", "c", "true"]).expect(1);
    assert!(file.stderr.contains("/etc/passwd"), "{file}");
    end(&sandbox, running);
    let running = sandbox.start("c", &["-u", "www-data"]);
    assert_eq!(
        shell(&sandbox, "id -u; whoami; echo $HOME"),
        "33\nwww-data\n/var/www"
    );
    let flags = ["-u", "www-data", "c", "id", "-u"];
    assert_eq!(exec(&sandbox, &flags).expect(0).stdout, "33\n");
    end(&sandbox, running);
}

#[test]
fn exit_codes() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    exec(&sandbox, &["c", "true"]).expect(0);
    exec(&sandbox, &["c", "sh", "-c", "exit 3"]).expect(3);
    exec(&sandbox, &["c", "sh", "-c", "kill -TERM $$"]).expect(128 + 15);
    exec(&sandbox, &["c", "no-such-command"]).expect(127);
    exec(&sandbox, &["c", "/etc/passwd"]).expect(126);
    exec(&sandbox, &["nobody", "true"]).expect(1);
    exec(&sandbox, &["c"]).expect(1);
    exec(&sandbox, &["--no-such-flag", "c", "true"]).expect(125);
    end(&sandbox, running);
}

#[test]
fn the_container_has_to_run() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "--name", "c", "busybox", "true"]);
    run.output().expect(0);
    let refused = exec(&sandbox, &["c", "true"]).expect(1);
    assert!(
        refused
            .stderr
            .contains("container c is not running: it is exited"),
        "{refused}"
    );
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let refused = exec(&sandbox, &["c", "true"]).expect(1);
    assert!(refused.stderr.contains("No such container: c"), "{refused}");
}

#[test]
fn input_output_and_signals() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let cat = sandbox.bryo(["exec", "-i", "c", "sh", "-c", "cat; echo err >&2"]);
    let output = cat.stdin("through").output().expect(0);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("through", "err\n")
    );
    let cat = sandbox.bryo(["exec", "c", "cat"]);
    assert_eq!(cat.stdin("through").stdout(), "");

    let script = "trap 'echo got; exit 9' TERM; echo ready; \
        while :; do sleep 1000 >/dev/null 2>&1 & wait; done";
    let mut inner = sandbox.bryo(["exec", "c", "sh", "-c", script]).spawn();
    inner.expect_line("ready");
    inner.signal(Signal::SIGTERM);
    assert_eq!(inner.wait().expect(9).stdout, "got\n");

    // It ends with the command that started it, and with the container.
    for by_container in [false, true] {
        let mut inner = sandbox
            .bryo(["exec", "c", "sh", "-c", "echo ready; exec sleep 4711"])
            .spawn();
        inner.expect_line("ready");
        if by_container {
            sandbox.bryo(["kill", "c"]).output().expect(0);
            inner.wait().expect(128 + 9);
        } else {
            inner.signal(Signal::SIGKILL);
            inner.wait().expect(128 + 9);
            wait_for("the end of the command", || {
                (!shell(&sandbox, "ps").contains("4711")).then_some(())
            });
        }
    }
    end(&sandbox, running);
}

#[test]
fn a_terminal() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let mut terminal = Terminal::start(sandbox.bryo(["exec", "-it", "c", "sh"]));
    terminal.send("tty; stty size; echo $TERM; cat /proc/1/comm\n");
    terminal.expect("/dev/pts/");
    terminal.expect("24 80");
    terminal.expect("xterm");
    terminal.resize(99, 33);
    terminal.send("until stty size | grep 99; do :; done\n");
    terminal.expect("33 99");
    terminal.send("exit 21\n");
    assert_eq!(terminal.wait(), 21);
    // Another one at the same time has another terminal.
    let mut first = Terminal::start(sandbox.bryo(["exec", "-it", "c", "sh"]));
    first.send("echo first: $(tty)\n");
    first.expect("first: /dev/pts/");
    let mut second = Terminal::start(sandbox.bryo(["exec", "-it", "c", "sh"]));
    second.send("ls /dev/pts | grep -c '^[0-9]'; exit\n");
    second.expect("2\r\n");
    second.wait();
    first.send("exit\n");
    assert_eq!(first.wait(), 0);
    let refused = exec(&sandbox, &["-it", "c", "true"]).expect(1);
    assert!(refused.stderr.contains("terminal"), "{refused}");
    end(&sandbox, running);
}

#[test]
fn a_terminal_can_be_left() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let execs = || sandbox.inspect("c")["ExecIDs"].clone();
    assert_eq!(execs(), serde_json::Value::Null);
    let flags = ["exec", "-it", "--detach-keys", "ctrl-a,d", "c"];
    let script = "echo ready; while ! test -e /go; do sleep 0.05; done; touch /went";
    let mut terminal = Terminal::start(sandbox.bryo(flags).args(["sh", "-c", script]));
    terminal.expect("ready");
    assert_eq!(execs().as_array().map(Vec::len), Some(1));
    terminal.send("\u{1}d");
    assert_eq!(terminal.wait(), 0);
    // It goes on.
    assert_eq!(execs().as_array().map(Vec::len), Some(1));
    shell(&sandbox, "touch /go");
    wait_for("the end of the command", || execs().is_null().then_some(()));
    assert_eq!(shell(&sandbox, "ls /went"), "/went");
    let events = sandbox.bryo(["events", "--until", "0s", "--format", "{{.Action}}"]);
    let events = events.stdout();
    let count = |action: &str| events.lines().filter(|line| *line == action).count();
    for action in ["exec_create", "exec_start", "exec_die"] {
        assert_eq!(count(action), 3, "{action}: {events}");
    }

    // Whoever is killed takes it with him.
    let script = "echo ready; exec sleep 4711";
    let exec = sandbox.bryo(["exec", "-t", "c", "sh", "-c", script]);
    let mut killed = exec.spawn();
    killed.expect_line("ready");
    killed.signal(Signal::SIGKILL);
    killed.wait().expect(128 + 9);
    wait_for("the end of the command", || execs().is_null().then_some(()));
    assert!(!shell(&sandbox, "ps").contains("4711"));
    end(&sandbox, running);
}

#[test]
fn the_program_bryo_is_not_seen() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("c", &[]);
    let script = "echo ready; while :; do
            for p in /proc/[0-9]*; do readlink $p/exe; cat $p/comm; done 2>/dev/null >> /seen
            sort -u -o /seen /seen
        done";
    let mut watch = sandbox.bryo(["exec", "c", "sh", "-c", script]).spawn();
    watch.expect_line("ready");
    for _ in 0..20 {
        exec(&sandbox, &["c", "true"]).expect(0);
    }
    watch.signal(Signal::SIGKILL);
    watch.wait().expect(128 + 9);
    let seen = shell(&sandbox, "sort -u /seen");
    assert!(seen.contains("/bin/busybox"), "{seen}");
    let binary = crate::common::bryo();
    let binary = binary.to_str().unwrap();
    assert!(!seen.lines().any(|line| line == binary), "{seen}");
    assert!(
        !seen.contains("/programs/") && !seen.contains("/debug/"),
        "{seen}"
    );
    end(&sandbox, running);
}

#[test]
fn many_at_once() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "-d", "--name", "c", "--network", "none", "busybox"]);
    run.args(["sleep", "1000"]).output().expect(0);
    let all: Vec<_> = (0..40)
        .map(|n| {
            let exec = sandbox.bryo(["exec", "-i", "c", "sh", "-c"]);
            let exec = exec.arg(format!("cat; exit {n}"));
            exec.stdin(format!("input {n}")).spawn()
        })
        .collect();
    for (n, running) in all.into_iter().enumerate() {
        let output = running.wait().expect(n as i32);
        assert_eq!(output.stdout, format!("input {n}"));
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// Ignores and blocks all signals that can be, the C library's own two among them, then
/// becomes its arguments.
const DEAF: &str = "import ctypes, os, platform, signal, sys
rt_sigaction = {'x86_64': 13, 'aarch64': 134}[platform.machine()]
for number in 32, 33:
    ctypes.CDLL(None).syscall(rt_sigaction, number, (ctypes.c_ulong * 4)(signal.SIG_IGN), None, 8)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execvp(sys.argv[1], sys.argv[1:])";

#[test]
fn commands_start_with_default_signals_whoever_starts_them() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::with_busybox();
    let bryo = |arguments: &[&str]| {
        let deaf = sandbox.command("python3").args(["-c", DEAF]);
        let deaf = deaf.arg(crate::common::bryo()).args(arguments);
        deaf.output().expect(0).stdout
    };
    let check = |how: &str, said: &str| {
        for field in ["SigIgn", "SigBlk"] {
            let line = said.lines().find(|line| line.starts_with(field));
            let value = line.unwrap_or_else(|| panic!("{how}: {said}"));
            assert_eq!(value.trim_end(), format!("{field}:\t{:016x}", 0), "{how}");
        }
    };
    let look = ["grep", "^Sig", "/proc/self/status"];
    for flags in [
        &[][..],
        &["-i"],
        &["-t"],
        &["--init"],
        &["--log-driver=none"],
    ] {
        let run = [&["run", "--rm"], flags, &["busybox"], &look].concat();
        check(&format!("run {flags:?}"), &bryo(&run));
    }
    // Without a shell, which has ideas of its own about signals.
    let healthy = r#"--health-cmd=["grep", "^Sig", "/proc/self/status"]"#;
    let flags = [
        "run",
        "-d",
        "--name",
        "c",
        "--health-interval=50ms",
        healthy,
    ];
    bryo(
        &[
            &flags[..],
            &["busybox", "sh", "-c"],
            &["cat /proc/self/status; exec sleep 1000"],
        ]
        .concat(),
    );
    check("run -d", &bryo(&["logs", "c"]));
    for flags in [&[][..], &["-t"]] {
        let exec = [&["exec"], flags, &["c"], &look].concat();
        check(&format!("exec {flags:?}"), &bryo(&exec));
    }
    bryo(&["exec", "-d", "c", "cp", "/proc/self/status", "/said"]);
    let said = wait_for("what it says", || {
        let said = exec(&sandbox, &["c", "cat", "/said"]);
        said.stdout.contains("SigCgt").then_some(said.stdout)
    });
    check("exec -d", &said);
    let said = wait_for("a health check", || {
        let log = sandbox.inspect("c")["State"]["Health"]["Log"].clone();
        Some(log.get(0)?["Output"].as_str()?.to_owned())
    });
    check("health", &said);
    // Checks leave no process behind that nobody waits for.
    let health = crate::networks::processes(&sandbox, "bryo-health");
    let below = |pid: &i32| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap_or_default().split_whitespace().count()
    };
    let mut begun = std::collections::BTreeSet::new();
    wait_for("twenty checks more", || {
        let log = sandbox.inspect("c")["State"]["Health"]["Log"].clone();
        let starts = log
            .as_array()?
            .iter()
            .map(|check| check["Start"].to_string());
        begun.extend(starts);
        (begun.len() > 20).then_some(())
    });
    assert!(health.iter().map(below).max() < Some(10), "{health:?}");
    bryo(&["restart", "-t", "0", "c"]);
    let all = bryo(&["logs", "c"]);
    check("restart", all.rsplit("Name:").next().unwrap());
    bryo(&["rm", "-f", "c"]);
}
