//! `bryo run -it`, driven through a pseudo-terminal.

use crate::common::{Sandbox, Terminal, debian_tar, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios};
use nix::unistd::Pid;
use std::fs;

/// A container named `c` with a shell in a terminal, ready for input.
fn shell(sandbox: &Sandbox, flags: &[&str]) -> Terminal {
    let run = sandbox.bryo(["run", "-it", "--name", "c"]).args(flags);
    let mut terminal = Terminal::start(run.args(["busybox", "sh"]));
    terminal.send("echo re''ady\n");
    terminal.expect("ready\r\n");
    terminal
}

fn remove(sandbox: &Sandbox) {
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// Waits until the command with this line is in the foreground of its
/// terminal.
#[track_caller]
fn foreground(sandbox: &Sandbox, line: &str) {
    wait_for("a process in the foreground", || {
        let all = sandbox.processes();
        let (pid, _) = all.iter().find(|(_, command)| command.trim() == line)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc_pid_stat(5): process group, session, terminal, its foreground.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        (fields[2] == fields[5]).then_some(())
    });
}

fn is_raw(settings: &Termios) -> bool {
    !settings
        .local_flags
        .intersects(LocalFlags::ICANON | LocalFlags::ECHO)
}

#[test]
fn a_shell_with_job_control() {
    let sandbox = Sandbox::new();
    let import = sandbox.bryo(["import"]).arg(debian_tar());
    import.arg("deb").output().expect(0);
    let mut terminal =
        Terminal::start(sandbox.bryo(["run", "-it", "--rm", "deb", "bash", "--norc"]));
    terminal.send("PS1='> '; echo re''ady\n");
    terminal.expect("ready\r\n");
    terminal.send("sleep 4711 & jobs\n");
    terminal.expect("Running");
    terminal.send("fg\n");
    foreground(&sandbox, "sleep 4711");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.send("bg\n");
    terminal.expect("&");
    terminal.send("kill %1; wait %1; echo status $?\n");
    terminal.expect("status 143\r\n");
    // ^C ends the foreground job alone.
    terminal.send("cat\n");
    foreground(&sandbox, "cat");
    terminal.send("x\n");
    terminal.expect("x\r\nx\r\n");
    terminal.send("\x03");
    // What is typed before the next prompt goes with the interrupt.
    terminal.expect("^C");
    terminal.expect("> ");
    terminal.send("echo status $?\n");
    terminal.expect("status 130");
    terminal.send("exit 5\n");
    assert_eq!(terminal.wait(), 5);
}

#[test]
fn the_terminal_is_the_containers_own() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal = shell(&sandbox, &["--rm"]);
    terminal
        .send("tty; ls -l /dev/console; ls /dev/pts; ls -l /proc/1/fd | grep -v pts; echo $TERM\n");
    terminal.expect("/dev/pts/0\r\n");
    terminal.expect("/dev/console\r\n");
    terminal.expect("xterm");
    terminal.send("echo con''sole > /dev/console; echo t''ty > /dev/tty\n");
    terminal.expect("console\r\n");
    terminal.expect("tty\r\n");
    terminal.send("test -t 0 && test -t 1 && test -t 2 && echo al''l\n");
    terminal.expect("all\r\n");
    terminal.send("cat\n");
    foreground(&sandbox, "cat");
    terminal.send("\x04");
    terminal.send("echo end''ed\n");
    terminal.expect("ended\r\n");
    terminal.send("exit\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_size_follows_the_window() {
    let sandbox = Sandbox::with_busybox();
    let script = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); \
        while :; do sleep 1000 & wait; done";
    let run = sandbox.bryo(["run", "--rm", "-it", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::start(run);
    terminal.expect("first 24 80");
    for (columns, rows) in [(132, 50), (10, 5)] {
        terminal.resize(columns, rows);
        terminal.expect(&format!("now {rows} {columns}\r\n"));
    }
    terminal.send("\x03");
    assert_eq!(terminal.wait(), 128 + 2);
}

#[test]
fn all_output_arrives() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo([
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "seq 20000; echo the end",
    ]);
    let mut terminal = Terminal::start(run);
    let shown = terminal.expect("the end\r\n");
    assert_eq!(shown.lines().count(), 20000);
    assert_eq!(terminal.wait(), 0);
    // Without -i, and without a terminal of the caller's.
    let output = sandbox.run(&["-t", "busybox", "sh", "-c", "tty; seq 20000"]);
    let output = output.expect(0);
    assert!(output.stdout.starts_with("/dev/pts/0\r\n"), "{output}");
    assert_eq!(output.stdout.lines().count(), 20001);
}

#[test]
fn minus_t_needs_a_terminal_as_input() {
    let sandbox = Sandbox::with_busybox();
    let refused = sandbox.run(&["-it", "busybox", "true"]).expect(125);
    assert!(refused.stderr.contains("-t"), "{refused}");
    let terminal = Terminal::start(sandbox.bryo(["run", "--rm", "-i", "busybox", "tty"]));
    let mut terminal = terminal;
    assert_eq!(terminal.wait(), 1);
    terminal.expect("not a tty");
}

/// Runs a command in a terminal, does something to it, and proves that the
/// terminal is as it was before.
fn restored(script: &str, end: impl FnOnce(&Sandbox, &mut Terminal)) {
    let sandbox = Sandbox::with_busybox();
    let fresh = Terminal::start(sandbox.command("true"));
    let before = fresh.settings();
    drop(fresh);
    let run = sandbox.bryo(["run", "-it", "--name", "c", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::start(run);
    terminal.expect("ready\r\n");
    assert!(is_raw(&terminal.settings()));
    end(&sandbox, &mut terminal);
    wait_for("the terminal to be as before", || {
        (terminal.settings() == before).then_some(())
    });
    remove(&sandbox);
}

const FOREVER: &str = "echo ready; while :; do sleep 1000; done";

/// The process of `bryo run` in the terminal: setsid(1) waits for it, if it
/// did not become it.
fn bryo_run(terminal: &Terminal) -> Pid {
    let own = terminal.child.id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let is_bryo = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        exe == fs::canonicalize(crate::common::bryo()).unwrap()
    };
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let pid = std::iter::once(own).chain(children).find(is_bryo).unwrap();
    Pid::from_raw(pid as i32)
}

#[test]
fn the_terminal_is_restored_at_the_end() {
    restored(
        "stty raw -echo; echo; printf 'ready\\r\\n'; read a; exit 3",
        |_, terminal| {
            terminal.send("\n");
            assert_eq!(terminal.wait(), 3);
        },
    );
}

#[test]
fn the_terminal_is_restored_when_the_container_is_killed() {
    restored(FOREVER, |sandbox, terminal| {
        sandbox.bryo(["kill", "c"]).output().expect(0);
        assert_eq!(terminal.wait(), 128 + 9);
    });
}

#[test]
fn the_terminal_is_restored_when_bryo_is_asked_to_end() {
    let script = "trap 'exit 12' TERM; echo ready; while :; do sleep 1000 & wait; done";
    restored(script, |_, terminal| {
        kill(bryo_run(terminal), Signal::SIGTERM).unwrap();
        assert_eq!(terminal.wait(), 12);
    });
}

#[test]
fn the_terminal_is_restored_when_bryo_is_killed() {
    restored(FOREVER, |sandbox, terminal| {
        let pid = sandbox.pid("c");
        kill(bryo_run(terminal), Signal::SIGKILL).unwrap();
        assert_eq!(terminal.wait(), 128 + 9);
        wait_for("the end of the container", || {
            (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(())
        });
    });
}

#[test]
fn the_terminal_is_restored_when_the_supervisor_is_killed() {
    restored(FOREVER, |sandbox, terminal| {
        let pid = sandbox.pid("c");
        let stat = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = crate::common::field(&stat, "PPid").parse().unwrap();
        kill(Pid::from_raw(parent), Signal::SIGKILL).unwrap();
        assert_eq!(terminal.wait(), 125);
        terminal.expect("supervisor was killed");
    });
}

#[test]
fn interrupts_end_what_does_not_listen_to_them() {
    let sandbox = Sandbox::with_busybox();
    let script = "echo ready; exec sleep 4711";
    let run = sandbox.bryo(["run", "--name", "c", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::start(run);
    terminal.expect("ready");
    terminal.send("\u{3}");
    terminal.expect("goes on: twice more ends it at once, bryo stop c ends it too");
    wait_for("the end", || {
        terminal.send("\u{3}");
        terminal.child.try_wait().unwrap()
    });
    assert_eq!(terminal.wait(), 128 + 9);
    // Who listens ends by the first, and nothing is said.
    let script = "trap 'echo got it; exit 3' INT; echo ready; while :; do sleep 0.1; done";
    let run = sandbox.bryo(["run", "--rm", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::start(run);
    terminal.expect("ready");
    terminal.send("\u{3}");
    terminal.expect("got it");
    assert_eq!(terminal.wait(), 3);
}
