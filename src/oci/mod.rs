//! Containers as runc's command line has them: a bundle and an id, no image, no
//! network, no record in a store, and nobody beside them. Between two commands
//! there is the container's process and a directory ([`state`]).
//!
//! The door for other engines: podman, buildah, containerd and Slurm make bundles
//! and call a runtime.

pub mod bundle;
pub mod create;
mod document;
pub mod events;
pub mod example;
pub mod exec;
pub mod features;
pub mod group;
pub mod lifecycle;
pub mod state;
mod terminal;

use crate::error::refuse;
use crate::runtime::Stdio;
use crate::runtime::process::ProcessPlan;
use crate::sys::channel::send_to;
use crate::sys::fd::standard;
use anyhow::{Context, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;

/// The caller's own descriptors 0 to 2, which are those of the container here:
/// whoever calls a runtime has made them for it.
fn own_streams() -> Result<Stdio> {
    let [input, output, errors] = [0, 1, 2].map(|number| {
        let copy = standard(number).try_clone_to_owned();
        copy.map(Rc::new).context("copy a standard stream")
    });
    Ok(Stdio([input?, output?, errors?]))
}

/// Has the terminal of a process, if it has one, go to who listens at `socket`.
///
/// # Errors
/// Nobody does; there is no socket, and nobody `attends` to the process.
fn connect_console(plan: &mut ProcessPlan, socket: Option<&Path>, attends: bool) -> Result<()> {
    match (socket, plan.terminal) {
        (Some(path), Some(_)) => {
            let what = || format!("--console-socket {}", path.display());
            plan.console = Some(UnixStream::connect(path).with_context(what)?.into());
        }
        (Some(_), None) => refuse!(
            Invalid,
            "cannot use console socket: process.terminal of config.json is not true"
        ),
        (None, Some(_)) if !attends => refuse!(
            Invalid,
            "cannot allocate tty if runc will detach without setting console socket"
        ),
        (None, _) => {}
    }
    Ok(())
}

/// Connects to who is to get a descriptor of a process (pidfd_open(2)).
fn connect_pidfd(socket: Option<&Path>) -> Result<Option<UnixStream>> {
    let connect = |path: &Path| {
        let what = || format!("--pidfd-socket {}", path.display());
        UnixStream::connect(path).with_context(what)
    };
    socket.map(connect).transpose()
}

/// Hands over what [`connect_pidfd`] connected for.
fn send_pidfd(socket: Option<&UnixStream>, pidfd: &OwnedFd) -> Result<()> {
    match socket {
        // What is said with it nobody reads.
        Some(socket) => {
            Ok(send_to(socket, b"pidfd", Some(pidfd.as_fd())).context("--pidfd-socket")?)
        }
        None => Ok(()),
    }
}

/// Writes a process's id to a file, which is there as a whole or not at all.
fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let written = crate::sys::replace::replace(path, pid.to_string().as_bytes());
    written.with_context(|| format!("--pid-file {}", path.display()))
}
