//! The caller's own terminal, for a process in the foreground that has one of the
//! container's: what is typed goes there, what it prints comes from there.

use crate::sys::fd::standard;
use crate::sys::{tty, wait};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The master side of a process's terminal, carried by this process.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// Somebody has its other side.
    open: bool,
    /// There is something to come from the caller.
    input: bool,
    /// What was typed and is not there yet.
    typed: Vec<u8>,
    /// How the caller's terminal was, if he has one.
    before: Option<Termios>,
}

impl Terminal {
    /// Carries `master` from now on; the caller's terminal passes on what is typed
    /// as it is, until this is dropped.
    ///
    /// # Errors
    /// The descriptor is none of a terminal.
    pub fn new(master: OwnedFd) -> Result<Terminal> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("terminal")?;
        let before = tcgetattr(standard(0)).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(standard(0), SetArg::TCSANOW, &raw).context("the caller's terminal")?;
        }
        let terminal = Terminal {
            master: master.into(),
            open: true,
            input: true,
            typed: Vec::new(),
            before,
        };
        terminal.fit();
        Ok(terminal)
    }

    /// Has it be as large as the caller's.
    pub fn fit(&self) {
        if let Ok(size) = tty::window_size(standard(0)) {
            // Of one that is gone.
            let _ = tty::set_window_size(&self.master, &size);
        }
    }

    /// What is to be waited for.
    pub fn watched(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut all = Vec::new();
        if self.open {
            let events = match self.typed.is_empty() {
                true => PollFlags::POLLIN,
                false => PollFlags::POLLIN | PollFlags::POLLOUT,
            };
            all.push((self.master.as_fd(), events));
        }
        if self.open && self.input && self.typed.is_empty() {
            all.push((standard(0), PollFlags::POLLIN));
        }
        all
    }

    /// Carries what there is, both ways, without waiting for more.
    ///
    /// # Errors
    /// The caller takes no output any more.
    pub fn carry(&mut self) -> Result<()> {
        let mut buffer = [0; 8192];
        while self.open {
            match self.master.read(&mut buffer) {
                Ok(count @ 1..) => {
                    let mut output = std::io::stdout().lock();
                    output.write_all(&buffer[..count]).context("write")?;
                    output.flush().context("write")?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // EIO: nobody has the other side.
                Ok(0) | Err(_) => self.open = false,
            }
        }
        if self.input && self.typed.is_empty() && wait::is_readable(standard(0)) {
            match nix::unistd::read(standard(0), &mut buffer) {
                Ok(0) | Err(_) => self.input = false,
                Ok(count) => self.typed.extend(&buffer[..count]),
            }
        }
        if self.open && !self.typed.is_empty() {
            match self.master.write(&self.typed) {
                Ok(count) => drop(self.typed.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.open = false,
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(standard(0), SetArg::TCSANOW, before);
        }
    }
}
