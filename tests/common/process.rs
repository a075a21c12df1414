//! What /proc says of processes.

use super::{field, wait_for};
use std::fs;
use std::time::Duration;

/// What a process calls itself; nothing if it is gone.
pub fn name(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.trim().to_owned()
}

/// The process that it is a child of.
pub fn parent(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    field(&text, "PPid").parse().unwrap()
}

/// Its children.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|p| p.parse().unwrap())
        .collect()
}

/// Waits until a process has lived for so long: what serves a network is started
/// again only if it did for a second.
#[track_caller]
pub fn wait_until_lived(pid: i32, time: Duration) {
    wait_for("a process to have lived", || {
        // proc_pid_stat(5): its start, in ticks since the machine's.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let field = stat.rsplit(')').next().unwrap().split_whitespace().nth(19);
        let start = field.unwrap().parse::<f64>().unwrap() / ticks_a_second();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let now = uptime
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap();
        (now - start >= time.as_secs_f64()).then_some(())
    });
}

fn ticks_a_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks.unwrap().unwrap() as f64
}
