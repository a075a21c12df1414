//! `--init`: PID 1 of the container is a process of bryo that reaps orphans
//! and passes signals on to the command, its child (what tini and catatonit
//! do).

use super::seccomp;
use crate::sys::clone::{Forked, NewProcess, Parent, clone3, exit_now};
use crate::sys::cred::{Capabilities, set_capabilities};
use crate::sys::signal::SignalFd;
use crate::sys::wait;
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Splits the process: the child returns to become the command; the parent
/// stays as PID 1 and never returns.
pub fn split(process: NewProcess) -> Result<NewProcess> {
    // PID 1 keeps bryo's binary mapped. Nobody in the container may look at
    // it: the process belongs to the host's user namespace for such checks.
    nix::sys::prctl::set_dumpable(false).context("set dumpable")?;
    match clone3(0, Parent::Caller)? {
        Forked::Child(command) => {
            take_terminal();
            Ok(command)
        }
        Forked::Parent(child) => reap(&process, child.pid),
    }
}

/// Makes the command a process group of its own, in the foreground of the
/// terminal if there is one: the terminal's signals are for it alone.
fn take_terminal() {
    let this = Pid::this();
    let _ = nix::unistd::setpgid(this, this);
    // Who is not in the foreground is stopped for asking, unless the signal
    // is blocked. Without a terminal all this fails, which is as well.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let _ = stop.thread_block();
    let _ = nix::unistd::tcsetpgrp(std::io::stdin(), this);
    let _ = stop.thread_unblock();
}

/// Waits for the command and for every orphan; ends as the command ended.
fn reap(process: &NewProcess, command: Pid) -> ! {
    const CAP_KILL: u64 = 1 << 5;
    let only_kill = Capabilities {
        effective: CAP_KILL,
        permitted: CAP_KILL,
        ..Capabilities::default()
    };
    let _ = set_capabilities(&only_kill);
    let _ = crate::sys::fd::close_all_from(process, 0);
    crate::sys::title::set(c"bryo-init", "init");
    let Ok(signals) = SignalFd::new() else {
        exit_now(1)
    };
    // A kernel without filters: it has no other capability all the same.
    let _ = crate::sys::seccomp::confine(seccomp::WAITER, true);
    // It may have ended before its signal was kept: first looked, then waited.
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == command => exit_now(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                    exit_now(128 + signal as i32)
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        wait::readable(&signals, None);
        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD {
                let _ = crate::sys::signal::kill(command, signal);
            }
        }
    }
}
