//! A process made for one task, for what has to be done as somebody else or
//! somewhere else while this process does its part.

use super::end::{Reported, code};
use crate::error::Fault;
use crate::sys::clone::{Child, Forked, Parent, clone3, exit_now};
use crate::sys::pidfd;
use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use std::io::{PipeReader, Read, Write};
use std::marker::PhantomData;

/// What a process can return to the one that made it.
pub trait Told {
    /// As bytes.
    fn tell(self) -> Vec<u8>;
    /// What was told.
    fn heard(bytes: Vec<u8>) -> Self;
}

impl Told for () {
    fn tell(self) -> Vec<u8> {
        Vec::new()
    }

    fn heard(_: Vec<u8>) {}
}

impl Told for Vec<u8> {
    fn tell(self) -> Vec<u8> {
        self
    }

    fn heard(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

/// A process at its task; it does not outlive this one.
#[derive(Debug)]
pub struct Beside<T = ()> {
    child: Child,
    said: PipeReader,
    value: PhantomData<T>,
}

impl<T: Told> Beside<T> {
    /// Starts `act` in a process of its own. The caller drops what is only the
    /// other's afterwards: its ends of pipes.
    ///
    /// # Errors
    /// No process can be made.
    pub fn start(act: impl FnOnce() -> Result<T>) -> Result<Beside<T>> {
        let (said, mut teller) = std::io::pipe().context("pipe")?;
        let child = match clone3(0, Parent::Caller).context("start a process")? {
            Forked::Parent(child) => child,
            Forked::Child(_) => {
                drop(said);
                let death = prctl::set_pdeathsig(Signal::SIGKILL);
                let done = death.map_err(Into::into).and_then(|()| act());
                let (bytes, code) = match done {
                    Ok(value) => (value.tell(), 0),
                    Err(error) => match error.downcast_ref() {
                        Some(Reported(code)) => (Vec::new(), *code),
                        None => (Fault::of(&error).encode(), 1),
                    },
                };
                let told = teller.write_all(&bytes);
                exit_now(if told.is_ok() { code } else { 1 })
            }
        };
        Ok(Beside {
            child,
            said,
            value: PhantomData,
        })
    }

    /// Ends it at once, whatever it was about to return.
    pub fn abandon(self) {
        // It may have ended by itself.
        let _ = pidfd::kill(&self.child.pidfd, Signal::SIGKILL as i32);
        let _ = waitpid(self.child.pid, None);
    }

    /// Waits for its end; what it returned is returned, or its error.
    pub fn finish(mut self) -> Result<T> {
        let mut said = Vec::new();
        let read = self.said.read_to_end(&mut said);
        let status = waitpid(self.child.pid, None).context("wait")?;
        read.context("read from a process of bryo's")?;
        match code(status)? {
            0 => Ok(T::heard(said)),
            code if said.is_empty() => Err(Reported(code).into()),
            _ => Err(Fault::decode(&said)),
        }
    }
}

/// Runs `act` in a process of its own, which may go where it cannot come back
/// from, and returns what it returns.
///
/// # Errors
/// Those of `act`; no process can be made.
pub fn in_process<T: Told>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    Beside::start(act)?.finish()
}

/// What was sent to another process: who does not read to the end knows why, and
/// says so.
pub fn unless_unread(sent: Result<()>) -> Result<()> {
    let unread = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    match sent {
        Err(error) if error.chain().any(|e| e.downcast_ref().is_some_and(unread)) => Ok(()),
        other => other,
    }
}
