//! Where a prepared process waits until it is released: all is done for it but
//! execve(2). It is one page by then ([`trampoline`](crate::sys::trampoline)),
//! which reads a byte at its gate, executes the command, and tells at the other
//! place if that fails.
//!
//! Who holds the [`Key`] need not be who prepared it: where both places are in a
//! directory, another process opens them there, later.

use super::message::{Message, StartError, Step};
use crate::error::refusal;
use crate::sys::wait;
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The names of both places in a directory.
const PLACES: [&str; 2] = ["gate", "result"];

/// The side of the process that waits.
#[derive(Debug)]
pub struct Gate {
    pub(super) wait: OwnedFd,
    pub(super) report: OwnedFd,
}

/// The other side.
#[derive(Debug)]
pub struct Key {
    go: File,
    result: File,
}

impl Gate {
    /// A gate that only this process can open. What waits there ends if this
    /// process does. Who has made what waits drops his copy of the gate.
    ///
    /// # Errors
    /// There can be no more descriptors.
    pub fn pair() -> Result<(Gate, Key)> {
        let (wait, go) = std::io::pipe().context("pipe")?;
        let (result, report) = std::io::pipe().context("pipe")?;
        let gate = Gate {
            wait: wait.into(),
            report: report.into(),
        };
        let key = Key {
            go: OwnedFd::from(go).into(),
            result: OwnedFd::from(result).into(),
        };
        Ok((gate, key))
    }

    /// A gate in `directory`, which whoever may write there can open: its owner.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn make(directory: &Path) -> Result<Gate> {
        let make = |name: &str| -> Result<OwnedFd> {
            let path = directory.join(name);
            let what = || path.display().to_string();
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(what)?;
            // For both, or to open it would wait for somebody else; and so who
            // reads never sees an end.
            let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            open(&path, flags, Mode::empty()).with_context(what)
        };
        let [wait, report] = PLACES.map(make);
        Ok(Gate {
            wait: wait?,
            report: report?,
        })
    }

    /// Removes the gate in `directory`; that there is none is as well.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn remove(directory: &Path) -> std::io::Result<()> {
        for name in PLACES {
            match std::fs::remove_file(directory.join(name)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Key {
    /// That of the gate in `directory`; `None` if nobody waits there: it has been
    /// released, or has ended.
    ///
    /// # Errors
    /// There is no gate, or it is somebody else's.
    pub fn at(directory: &Path) -> Result<Option<Key>> {
        let open = |name: &str, way: OFlag| {
            let flags = way | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            open(&directory.join(name), flags, Mode::empty())
        };
        let what = |name: &str| directory.join(name).display().to_string();
        let [gate, result] = PLACES;
        // First, so that nothing that is said later is lost.
        let said = open(result, OFlag::O_RDONLY).with_context(|| what(result))?;
        match open(gate, OFlag::O_WRONLY) {
            Err(Errno::ENXIO) => Ok(None),
            go => Ok(Some(Key {
                go: go.with_context(|| what(gate))?.into(),
                result: said.into(),
            })),
        }
    }

    /// Lets the process execute its command, called `program`, and returns when
    /// it has. Of several who do so at once, all do.
    ///
    /// # Errors
    /// The kernel refuses to execute it. The process is gone.
    pub fn release(mut self, program: &str) -> Result<(), StartError> {
        let gone = |e: anyhow::Error| StartError::new(Step::Execute, &e);
        let sent = self.go.write_all(&[1]);
        sent.map_err(|e| gone(anyhow!(e).context("nobody waits to be released")))?;
        drop(self.go);
        let mut said = Vec::new();
        let mut buffer = [0; 4];
        loop {
            // The place closes when the command is executed, and is written to in
            // one piece when it cannot be.
            wait::readable(&self.result, None);
            match self.result.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => said.extend(&buffer[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(gone(anyhow!(e).context("release"))),
            }
        }
        match Message::decode(&said, program) {
            _ if said.is_empty() => Ok(()),
            Some(Message::Failed(error)) => Err(error),
            _ => Err(gone(refusal!(Internal, "the process said nonsense"))),
        }
    }
}
