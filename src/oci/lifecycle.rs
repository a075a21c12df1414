//! `start`, `kill`, `delete` and `run`.

use super::bundle;
use super::create::{How, make};
use super::state::{Container, States, Status};
use super::terminal::Terminal;
use crate::error::{Kind, refuse};
use crate::process::exit_code;
use crate::runtime::gate::{Gate, Key};
use crate::runtime::hooks::Moment;
use crate::runtime::{self, Started};
use crate::sys::clone::Child;
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, wait};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::os::fd::AsFd;

/// Lets a container's process execute its command.
///
/// # Errors
/// It does not wait for that; the command cannot be executed.
pub fn start(states: &States, id: &str) -> Result<()> {
    let (container, _lock) = states.find_locked(id)?;
    release(&container)
}

fn release(container: &Container) -> Result<()> {
    let id = &container.record.id;
    match container.status()? {
        Status::Created => {}
        Status::Running => refuse!(Conflict, "cannot start an already running container: {id}"),
        Status::Paused => refuse!(Conflict, "cannot start a paused container: {id}"),
        Status::Stopped => refuse!(Conflict, "cannot start a container that has stopped: {id}"),
        Status::Creating => refuse!(Conflict, "container {id} was not created to the end"),
    }
    let plan = bundle::plan(&container.spec()?, &container.record.bundle, id)?;
    let pid = Pid::from_raw(container.record.process.pid);
    let stopped = "it has just ended";
    let child = Child {
        pid,
        pidfd: container.process()?.context(stopped)?,
    };
    let key = Key::at(&container.dir)?.context(stopped)?;
    runtime::release(&plan, &child, key)?;
    Gate::remove(&container.dir).context("remove the gate")
}

/// Sends a signal to a container's process, or with `all` to all of its
/// processes.
///
/// # Errors
/// It has ended.
pub fn kill(states: &States, id: &str, signal: i32, all: bool) -> Result<()> {
    let container = states.find(id)?;
    let Some(process) = container.process()? else {
        // With all, that there is nobody left is as well.
        match all {
            true => return Ok(()),
            false => refuse!(Conflict, "container not running: {id}"),
        }
    };
    if all {
        return kill_all(&container, signal);
    }
    match pidfd::kill(&process, signal) {
        Err(e) if e.errno == Errno::ESRCH => {
            refuse!(Conflict, "container not running: {id}")
        }
        sent => Ok(sent?),
    }
}

/// Sends a signal to all of its processes. Who joins meanwhile is not missed by
/// SIGKILL, which the kernel sends to a whole group.
fn kill_all(container: &Container, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL
        && let Some(group) = container.group()
        && group.kill().is_ok()
    {
        return Ok(());
    }
    for pid in container.processes()? {
        // Held, and then looked at again: the number may be another's by now.
        let Ok(process) = pidfd::open(Pid::from_raw(pid)) else {
            continue;
        };
        if container.processes()?.contains(&pid) {
            match pidfd::kill(&process, signal) {
                Err(e) if e.errno != Errno::ESRCH => return Err(e.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Removes a container that does not run; with `force` also one that does, and
/// that there is none is as well. `warn` hears of hooks that fail.
///
/// # Errors
/// It runs; it does not end.
pub fn delete(states: &States, id: &str, force: bool, warn: &dyn Fn(&str)) -> Result<()> {
    let (container, _lock) = loop {
        let error = match states.find_locked(id) {
            Ok(found) => break found,
            Err(error) => error,
        };
        match Kind::of(&error) {
            Some(Kind::NotFound) => {}
            _ if force && states.is_unreadable(id) => warn(&format!("{error:#}")),
            _ => return Err(error),
        }
        // What a killed command left goes anyway.
        if states.remove_leftover(id)? {
            return match force {
                true => Ok(()),
                false => Err(error),
            };
        }
    };
    let status = container.status()?;
    if matches!(status, Status::Running | Status::Paused) && !force {
        refuse!(
            Conflict,
            "cannot delete container {id} that is not stopped: {}",
            status.name()
        );
    }
    container.end()?;
    forget(&container, warn)
}

/// Runs the hooks of the end, and removes what is recorded.
fn forget(container: &Container, warn: &dyn Fn(&str)) -> Result<()> {
    // Without its specification it has none that can be run.
    let spec = container.spec().ok();
    let plan = spec
        .and_then(|spec| bundle::plan(&spec, &container.record.bundle, &container.record.id).ok());
    if let Some(plan) = plan
        && let Err(error) = plan.hooks.run(Moment::Poststop, None)
    {
        warn(&format!("{error:#}"));
    }
    container.remove()
}

/// Makes a container and starts it. In the foreground, waits for its end, passes
/// signals on, removes it unless it is to be `kept`, and returns its exit code.
///
/// # Errors
/// It cannot be made or started; nothing of it is left then.
pub fn run(
    states: &States,
    id: &str,
    how: &How,
    (detached, kept): (bool, bool),
    warn: &dyn Fn(&str),
) -> Result<i32> {
    // Before there is somebody to pass them on to: none is lost.
    let signals = match detached {
        true => None,
        false => Some(SignalFd::new()?),
    };
    let (container, started, lock) = make(states, id, how, !detached, warn)?;
    if let Err(error) = release(&container) {
        let _ = waitpid(started.child.pid, None);
        let _ = forget(&container, warn);
        return Err(error);
    }
    drop(lock);
    let Some(signals) = signals else {
        return Ok(0);
    };
    let code = attend(started, &signals)?;
    if !kept {
        forget(&container, warn)?;
    }
    Ok(code)
}

/// Waits for the end of a process, passes signals on to it, and what comes from its
/// terminal to the caller.
pub(super) fn attend(started: Started, signals: &SignalFd) -> Result<i32> {
    let Started { child, console, .. } = started;
    let mut terminal = console.map(Terminal::new).transpose()?;
    loop {
        let fds = [child.pidfd.as_fd(), signals.as_fd()].map(|fd| (fd, PollFlags::POLLIN));
        let of_terminal = terminal.as_ref().map(Terminal::watched);
        let watched = fds.into_iter().chain(of_terminal.into_iter().flatten());
        let seen = wait::wait(watched, None).context("poll")?;
        while let Some(signal) = signals.next() {
            match (&terminal, signal) {
                (_, libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG) => {}
                (Some(terminal), libc::SIGWINCH) => terminal.fit(),
                // It may have ended by now.
                _ => drop(pidfd::kill(&child.pidfd, signal)),
            }
        }
        let ended = !seen[0].is_empty();
        if let Some(terminal) = &mut terminal {
            terminal.carry()?;
        }
        if ended {
            return Ok(exit_code(waitpid(child.pid, None).context("wait")?));
        }
    }
}
