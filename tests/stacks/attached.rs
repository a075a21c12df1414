//! `bryo compose up` that stays.

use super::Stack;
use crate::common::Terminal;
use nix::sys::signal::Signal;

/// Three that print: one ends, one goes on, one cannot be stopped but by killing it.
const TALKERS: &str = "
services:
  ends: {image: busybox, command: [sh, -c, 'echo one; echo wrong >&2; exit 3'], depends_on: [on]}
  on: {image: busybox, command: [sh, -c, 'trap \"echo bye; exit 0\" TERM; echo two; while :; do sleep 0.1; done']}
  deaf: {image: busybox, command: [sh, -c, 'trap \"\" TERM; echo three; while :; do sleep 1000; done'], stop_grace_period: 10m}
";

fn state(stack: &Stack, name: &str) -> String {
    let ps = stack.ps();
    let field = |key: &str| ps[name][key].to_string();
    format!("{} {}", field("State").trim_matches('"'), field("ExitCode"))
}

#[test]
fn lines_are_shown_until_a_signal_stops_all() {
    let stack = Stack::new(TALKERS);
    let mut up = stack.run(&["up", "on", "ends"]).spawn();
    assert_eq!(up.expect_line("Attaching"), "Attaching to ends-1, on-1");
    up.expect_line("ends-1 exited with code 3");
    assert_eq!(state(&stack, "p-on-1"), "running 0");
    up.signal(Signal::SIGINT);
    assert_eq!(up.expect_line("bye"), "on-1    | bye");
    let up = up.wait().expect(130);
    for line in [
        "ends-1  | wrong",
        " Container p-on-1  Stopped",
        "Gracefully stopping: Ctrl-C again kills",
    ] {
        assert!(up.stderr.lines().any(|own| own == line), "{line}: {up}");
    }
    assert!(up.stdout.contains("on-1 exited with code 0"), "{up}");
    assert_eq!(state(&stack, "p-on-1"), "exited 0");

    // What was shown is not shown again, and lines can be without names.
    let mut up = stack
        .run(&["up", "--no-log-prefix", "--no-attach", "ends", "on", "ends"])
        .spawn();
    assert_eq!(up.expect_line("Attaching"), "Attaching to on-1");
    assert_eq!(up.expect_line("two"), "two");
    up.signal(Signal::SIGTERM);
    let up = up.wait().expect(130);
    assert!(!up.stdout.contains("one"), "{up}");
    stack.compose(&["down", "-t", "0"]);
    stack.is_gone();
}

#[test]
fn ctrl_c_twice_kills() {
    let stack = Stack::new(TALKERS);
    let mut terminal = Terminal::start(stack.run(&["up", "deaf"]).env("TERM", "xterm"));
    // The name has a colour.
    terminal.expect("deaf-1  |\u{1b}[0m three");
    terminal.send("\u{3}");
    terminal.expect("Gracefully stopping");
    assert_eq!(state(&stack, "p-deaf-1"), "running 0");
    terminal.send("\u{3}");
    terminal.expect("deaf-1 exited with code 137");
    assert_eq!(terminal.wait(), 130);
    assert_eq!(state(&stack, "p-deaf-1"), "exited 137");
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn what_is_waited_for_ends_with_ctrl_c() {
    let stack = Stack::new(
        "
services:
  last: {image: busybox, command: sleep 1000, depends_on: {ill: {condition: service_healthy}}}
  ill:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    healthcheck: {test: 'false', interval: 1s, retries: 1000}
",
    );
    let mut terminal = Terminal::start(stack.run(&["up"]));
    terminal.expect("p-ill-1  Waiting");
    terminal.send("\u{3}");
    assert_eq!(terminal.wait(), 130);
    assert_eq!(state(&stack, "p-last-1"), "created 0");
    assert!(state(&stack, "p-ill-1").starts_with("exited"));
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn the_end_of_one_may_be_that_of_all() {
    let stack = Stack::new(TALKERS);
    let up = stack
        .run(&["up", "--abort-on-container-exit", "on", "ends"])
        .output()
        .expect(3);
    assert!(up.stdout.contains("Aborting on container exit..."), "{up}");
    assert_eq!(state(&stack, "p-on-1"), "exited 0");
    let words = ["up", "--exit-code-from", "on", "on", "ends"];
    stack.run(&words).output().expect(0);
    let words = ["up", "--abort-on-container-failure", "on", "ends"];
    stack.run(&words).output().expect(3);

    // An end with 0 is no failure, and all have ended then.
    stack.write("services: {a: {image: busybox, command: echo one}, b: {image: busybox, command: echo two, attach: false}}");
    let words = ["up", "--remove-orphans", "--abort-on-container-failure"];
    let up = stack.run(&words).output().expect(0);
    assert_eq!(
        up.stdout,
        "Attaching to a-1\na-1  | one\na-1 exited with code 0\n"
    );
    for (words, said) in [
        (["up", "--attach", "c"], "there is no service \"c\""),
        (["up", "--exit-code-from", "c"], "there is no service \"c\""),
        (["up", "--no-color", "--watch"], "--watch is not done"),
    ] {
        let failed = stack.run(&words).output().expect(1);
        assert!(failed.stderr.contains(said), "{failed}");
    }
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn a_killed_up_leaves_what_runs() {
    let stack = Stack::new(TALKERS);
    let mut up = stack.run(&["up", "on"]).spawn();
    up.expect_line("two");
    let ids = stack.ids();
    up.signal(Signal::SIGKILL);
    up.wait();
    assert_eq!(state(&stack, "p-on-1"), "running 0");
    // Another one takes it over, and ends with it.
    let mut up = stack.run(&["up", "on"]).spawn();
    up.expect_line("Attaching to on-1");
    assert_eq!(stack.ids(), ids);
    stack.compose(&["stop", "on"]);
    let up = up.wait().expect(0);
    assert_eq!(up.stdout, "on-1  | bye\non-1 exited with code 0\n");
    stack.compose(&["down"]);
    stack.is_gone();
}
