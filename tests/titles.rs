//! What others see of bryo's processes: `ps`, `/proc`.

use crate::common::{Sandbox, process, wait_for};
use std::collections::BTreeSet;
use std::fs;

const SECRET: &str = "correct-horse-battery";

/// What everybody can read of a process, or its own user.
fn seen(pid: i32) -> String {
    let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned()
}

/// The processes of the sandbox that are bryo's own.
fn own(sandbox: &Sandbox) -> Vec<i32> {
    let all = sandbox.processes().into_keys().chain(sandbox.keeper());
    all.filter(|pid| process::name(*pid).starts_with("bryo"))
        .collect()
}

#[test]
fn what_stays_shows_neither_command_line_nor_environment() {
    let sandbox = Sandbox::with_busybox();
    sandbox.bryo(["network", "create", "n"]).output().expect(0);
    let secret = format!("PASSWORD={SECRET}");
    let bryo = |words: &[&str]| {
        let run = sandbox.bryo(words).env("PASSWORD_OUTSIDE", SECRET);
        run.output().expect(0)
    };
    let check = ["--health-cmd", "true", "--health-interval", "1s"];
    let base = ["run", "-d", "--init", "-e", &secret];
    let command = ["busybox", "sleep", "1000"];
    let on_network = ["--name", "net", "--network", "n", "-p", "127.0.0.1::80"];
    bryo(&[&base[..], &check, &on_network, &command].concat());
    let alone = ["--name", "user", "--restart", "always"];
    bryo(&[&base[..], &alone, &command].concat());
    bryo(&["exec", "-d", "-e", &secret, "user", "sleep", "1000"]);
    // In the foreground the caller is seen, who may know; not who stays.
    let script = "echo ready; exec sleep 1000";
    let line = [
        &base[..1],
        &base[2..],
        &["--rm", "--name", "fg", "busybox", "sh", "-c", script],
    ];
    let mut foreground = sandbox.bryo(line.concat()).env("OUTSIDE", SECRET).spawn();
    foreground.expect_line("ready");

    let expected = [
        "bryo-supervise",
        "bryo-net",
        "bryo-names",
        "bryo-network",
        "bryo-health",
        "bryo-init",
        "bryo-exec",
    ];
    let mut names: BTreeSet<String> = BTreeSet::new();
    wait_for("all processes", || {
        names = own(&sandbox).into_iter().map(process::name).collect();
        expected
            .iter()
            .all(|name| names.contains(*name))
            .then_some(())
    });
    for pid in own(&sandbox) {
        if pid == foreground.pid().as_raw() {
            continue;
        }
        let (name, seen) = (process::name(pid), seen(pid));
        assert!(seen.starts_with("bryo: "), "{name}: {seen:?}");
        let title = seen.trim_end_matches('\0');
        assert!(
            !title.contains('\0') && title.len() < 60,
            "{name}: {seen:?}"
        );
    }
    for name in ["net", "user", "fg"] {
        let shown = bryo(&["exec", name, "sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout;
        assert!(shown.contains("bryo: init"), "{name}: {shown:?}");
        assert!(!shown.contains(SECRET), "{name}: {shown:?}");
    }
    // What they need of their environment they still have.
    bryo(&["restart", "-t", "0", "user"]);
    bryo(&["rm", "-f", "net", "user", "fg"]);
    foreground.wait();
}
