//! Making processes: directly, and by a helper.

use crate::error::{Fault, refusal, refuse};
use crate::sys::channel::Channel;
use crate::sys::clone::{Child, CloneFlags, Forked, NewProcess, Parent, clone3, exit_now};
use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

/// Why there is no process.
#[derive(Debug)]
pub enum Refused {
    /// What the helper said.
    Said(Vec<u8>),
    /// There was no helper, or it has not said anything.
    Lost(Error),
}

/// Starts the message that tells of the process that was made.
const PID: &[u8] = b"pid: ";

/// Has a process made by one that ends at once: `make` runs in that helper,
/// may move it to where it cannot come back from, and clones; `act` runs in the
/// clone. It is a child of the caller's where `make` clones with
/// [`Parent::Grandparent`], and nobody's otherwise, so that nobody has to wait
/// for it. An error of `make` is a message of a channel.
pub fn through(
    make: impl FnOnce() -> Result<Forked, Vec<u8>>,
    act: impl FnOnce(NewProcess),
) -> Result<Child, Refused> {
    let lost = |error: crate::sys::Error| Refused::Lost(error.into());
    let (ours, theirs) = Channel::pair().map_err(lost)?;
    let helper = match clone3(0, Parent::Caller).map_err(lost)? {
        Forked::Parent(helper) => helper,
        Forked::Child(_) => match make() {
            Ok(Forked::Child(process)) => {
                drop((ours, theirs));
                act(process);
                exit_now(1)
            }
            Ok(Forked::Parent(child)) => {
                let pid = child.pid.as_raw().to_ne_bytes();
                let _ = theirs.send(&[PID, &pid[..]].concat(), Some(child.pidfd.as_fd()));
                exit_now(0)
            }
            Err(said) => {
                let _ = theirs.send(&said, None);
                exit_now(1)
            }
        },
    };
    drop(theirs);
    let received = ours.receive().map_err(lost)?;
    let _ = waitpid(helper.pid, None);
    let killed = || Refused::Lost(refusal!(Internal, "the process that makes it was killed"));
    let received = received.ok_or_else(killed)?;
    let pid = received.data.strip_prefix(PID);
    let pid = pid.and_then(|p| <[u8; 4]>::try_from(p).ok());
    match (pid, received.fd) {
        // As the helper sees it.
        (Some(pid), Some(pidfd)) => Ok(Child {
            pid: Pid::from_raw(i32::from_ne_bytes(pid)),
            pidfd,
        }),
        _ => Err(Refused::Said(received.data)),
    }
}

/// Makes a process that runs `act` and ends.
///
/// # Errors
/// There can be no more processes.
pub fn spawn(act: impl FnOnce(&NewProcess) -> Result<()>) -> Result<Child> {
    match clone3(0, Parent::Caller).context("start a process")? {
        Forked::Parent(child) => Ok(child),
        Forked::Child(process) => exit_now(act(&process).is_err().into()),
    }
}

/// Makes a process in new namespaces that is nobody's child, and runs `act`
/// there.
///
/// # Errors
/// The namespaces cannot be made.
pub fn orphan(namespaces: CloneFlags, act: impl FnOnce(NewProcess)) -> Result<Child> {
    let make = || {
        let made = clone3(namespaces, Parent::Caller);
        made.map_err(|error| Fault::of(&error.into()).message())
    };
    through(make, act)
        .map_err(|refused| match refused {
            Refused::Said(said) => Fault::decode(&said),
            Refused::Lost(error) => error,
        })
        .context("start a process")
}

/// Makes a process that is nobody's child: there it returns the proof of that,
/// here nothing.
///
/// # Errors
/// There can be no more processes.
pub fn fork_orphan() -> Result<Option<NewProcess>> {
    let what = "start a process";
    match clone3(0, Parent::Caller).context(what)? {
        Forked::Child(_) => match clone3(0, Parent::Caller) {
            Ok(Forked::Child(process)) => Ok(Some(process)),
            Ok(Forked::Parent(_)) => exit_now(0),
            Err(error) => exit_now(error.errno as i32),
        },
        Forked::Parent(maker) => match waitpid(maker.pid, None).context("wait")? {
            WaitStatus::Exited(_, 0) => Ok(None),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)).context(what),
            _ => refuse!(Internal, "the process that makes it was killed"),
        },
    }
}
