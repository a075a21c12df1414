//! A process made for one task, for what has to be done as somebody else or
//! somewhere else while this process does its part.

use crate::sys::clone::{Child, Forked, Parent, clone3, exit_now};
use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use std::io::{PipeReader, Read, Write};

/// A process at its task; it does not outlive this one.
#[derive(Debug)]
pub struct Beside {
    child: Child,
    errors: PipeReader,
}

impl Beside {
    /// Starts `act` in a process of its own. The caller must have one thread,
    /// and drops what is only the other's afterwards: its ends of pipes.
    pub fn start(act: impl FnOnce() -> Result<()>) -> Result<Beside> {
        let (errors, mut teller) = std::io::pipe().context("pipe")?;
        let child = match clone3(0, Parent::Caller).context("start a process")? {
            Forked::Parent(child) => child,
            Forked::Child => {
                drop(errors);
                let death = prctl::set_pdeathsig(Signal::SIGKILL);
                let done = death.map_err(Into::into).and_then(|()| act());
                if let Err(error) = &done {
                    let _ = teller.write_all(format!("{error:#}").as_bytes());
                }
                exit_now(i32::from(done.is_err()))
            }
        };
        Ok(Beside { child, errors })
    }

    /// Waits for its end; its error is returned.
    pub fn finish(mut self) -> Result<()> {
        let mut text = String::new();
        let read = self.errors.read_to_string(&mut text);
        let status = waitpid(self.child.pid, None).context("wait")?;
        read.context("read from a process of bryo's")?;
        match status {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(..) => bail!("{text}"),
            other => bail!("a process of bryo's was killed ({other:?})"),
        }
    }
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
