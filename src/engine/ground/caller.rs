//! Who called: where a container's streams come from and go to, and whose
//! signals it gets.

use crate::process::fork_orphan;
use crate::sys::clone::{Forked, NewProcess, Parent, clone3};
use crate::sys::fd::{close_all_but, close_inherited, standard};
use crate::sys::signal::{self, SignalFd};
use crate::sys::{self, tty};
use anyhow::{Context, Result};
use nix::sys::termios::{Termios, tcgetattr};
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;

/// A caller of the engine.
#[derive(Debug)]
pub struct Caller<'a> {
    /// What the container reads.
    pub input: BorrowedFd<'a>,
    /// Where it goes what the container prints.
    pub output: BorrowedFd<'a>,
    /// Where it goes what the container prints as errors.
    pub errors: BorrowedFd<'a>,
    /// Signals that are passed on.
    pub signals: Option<SignalFd>,
    /// The process does other things when the container has ended: nothing of
    /// the engine's may be left to it to wait for.
    pub goes_on: bool,
}

impl Caller<'static> {
    /// This process, which is a command: its standard streams, and all of its
    /// signals, which are blocked from here on, so that none is lost or ends it
    /// alone.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn command() -> sys::Result<Caller<'static>> {
        let signals = SignalFd::new()?;
        let [input, output, errors] = [0, 1, 2].map(standard);
        Ok(Caller {
            input,
            output,
            errors,
            signals: Some(signals),
            goes_on: false,
        })
    }
}

impl<'a> Caller<'a> {
    /// A part of this process that has these descriptors for a container's input,
    /// output and errors. Nothing of the process is changed.
    pub fn with(streams: [BorrowedFd<'a>; 3]) -> Caller<'a> {
        let [input, output, errors] = streams;
        Caller {
            input,
            output,
            errors,
            signals: None,
            goes_on: true,
        }
    }

    /// The settings of his terminal, if his input is one.
    pub fn terminal(&self) -> Option<Termios> {
        match self.input.is_terminal() {
            true => tcgetattr(self.input).ok(),
            false => None,
        }
    }

    /// Rows and columns of his terminal, if his output is one.
    pub fn window_size(&self) -> Option<(u16, u16)> {
        window_size(self.output)
    }

    /// Makes a process that looks after something of his from here on: there
    /// it returns the proof of that, here nothing. Of a caller that goes on it
    /// is no child.
    ///
    /// # Errors
    /// There can be no more processes.
    pub fn make_process(&self) -> Result<Option<NewProcess>> {
        if self.goes_on {
            return fork_orphan();
        }
        Ok(match clone3(0, Parent::Caller)? {
            Forked::Child(process) => Some(process),
            Forked::Parent(_) => None,
        })
    }

    /// In a process that was made so, takes what it has of this caller's and its
    /// maker does not need: of one that goes on everything but `kept`, and what he
    /// does about signals; of a command the descriptors `inherited`, if it is to
    /// outlive him.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn leave(&self, process: &NewProcess, kept: &[i32], inherited: &[i32]) -> Result<()> {
        if self.goes_on {
            signal::reset()?;
            return close_all_but(process, kept).context("close descriptors");
        }
        close_inherited(process, inherited);
        Ok(())
    }

    /// The signals of a process that was made so.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn signals(self) -> sys::Result<SignalFd> {
        match self.signals {
            Some(signals) => Ok(signals),
            None => SignalFd::new(),
        }
    }
}

/// Rows and columns of a terminal; None for what is none.
pub fn window_size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tty::window_size(terminal).ok()?;
    Some((size.ws_row, size.ws_col))
}
