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
    terminal.expect("sleep 4711\r\n");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.send("bg\n");
    terminal.expect("&");
    terminal.send("kill %1; wait; jobs; echo no''ne\n");
    terminal.expect("Terminated");
    terminal.expect("none\r\n");
    // ^C ends the foreground job alone.
    terminal.send("echo go; cat; echo status $?\n");
    terminal.expect("go\r\n");
    terminal.send("x\n");
    terminal.expect("x\r\nx\r\n");
    terminal.send("\x03");
    terminal.expect("^C");
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
    terminal.send("cat\n\x04echo end''ed\n");
    terminal.expect("ended");
    terminal.send("\x04");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_size_follows_the_window() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal = shell(&sandbox, &["--rm"]);
    terminal.send("stty size\n");
    terminal.expect("24 80");
    terminal.send("trap 'echo win''ch $(stty size)' WINCH; echo se''t\n");
    terminal.expect("set\r\n");
    terminal.resize(132, 50);
    // The shell notices while it waits or at its next command.
    terminal.send("until stty size | grep -q 132; do :; done; echo\n");
    terminal.expect("winch 50 132");
    terminal.send("exit\n");
    assert_eq!(terminal.wait(), 0);
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

/// Runs a shell, does something to it, and proves that the terminal is as it
/// was before.
fn restored(end: impl FnOnce(&Sandbox, &mut Terminal)) {
    let sandbox = Sandbox::with_busybox();
    let sleep = Terminal::start(sandbox.command("true"));
    let before = sleep.settings();
    drop(sleep);
    let mut terminal = shell(&sandbox, &[]);
    assert!(is_raw(&terminal.settings()));
    end(&sandbox, &mut terminal);
    wait_for("the terminal to be as before", || {
        (terminal.settings() == before).then_some(())
    });
    remove(&sandbox);
}

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
    restored(|_, terminal| {
        terminal.send("stty raw -echo; exit 3\n");
        assert_eq!(terminal.wait(), 3);
    });
}

#[test]
fn the_terminal_is_restored_when_the_container_is_killed() {
    restored(|sandbox, terminal| {
        sandbox.bryo(["kill", "c"]).output().expect(0);
        assert_eq!(terminal.wait(), 128 + 9);
    });
}

#[test]
fn the_terminal_is_restored_when_bryo_is_asked_to_end() {
    restored(|_, terminal| {
        // A shell that is interactive ignores SIGTERM; SIGHUP it does not.
        terminal.send("trap 'exit 12' TERM; echo s''et\n");
        terminal.expect("set\r\n");
        kill(bryo_run(terminal), Signal::SIGTERM).unwrap();
        assert_eq!(terminal.wait(), 12);
    });
}

#[test]
fn the_terminal_is_restored_when_bryo_is_killed() {
    restored(|sandbox, terminal| {
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
    restored(|sandbox, terminal| {
        let pid = sandbox.pid("c");
        let stat = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = crate::common::field(&stat, "PPid").parse().unwrap();
        kill(Pid::from_raw(parent), Signal::SIGKILL).unwrap();
        assert_eq!(terminal.wait(), 125);
        terminal.expect("supervisor was killed");
    });
}
