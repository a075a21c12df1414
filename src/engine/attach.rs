//! The side of the caller: its terminal and its signals are the container's
//! until that ends.

use super::supervisor::Report;
use crate::runtime::StartError;
use crate::sys::channel::Channel;
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, tty};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcsetattr};
use nix::unistd::{read, write};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A container in the foreground.
#[derive(Debug)]
pub struct Foreground {
    /// The caller's signals, held since before the start: none may be lost
    /// or end the caller alone.
    pub signals: SignalFd,
    /// Its supervisor.
    pub supervisor: Channel,
    /// Whether standard input goes to it.
    pub interactive: bool,
    /// The caller's terminal as it was, if the container has one.
    pub terminal: Option<Termios>,
}

/// Waits for the container's end; returns its exit code.
///
/// # Errors
/// A [`StartError`] if it did not start; the death of its supervisor.
pub fn wait(foreground: Foreground, warn: &dyn Fn(&str)) -> Result<i32> {
    let signals = foreground.signals;
    let supervisor = &foreground.supervisor;
    let mut session = Session::new(foreground.interactive);
    loop {
        let events = session.poll(supervisor.as_fd(), &signals)?;
        for signal in pending(&signals) {
            if session.resized(signal) {
                continue;
            }
            supervisor.send(&signal.to_ne_bytes(), None)?;
        }
        session.copy(&events);
        if !events.told {
            continue;
        }
        let lost = "the container's supervisor was killed, and the container with it";
        let message = supervisor.receive()?.context(lost)?;
        match Report::decode(&message.data).context("the supervisor said nonsense")? {
            Report::Warning(text) => warn(&text),
            Report::Started => {
                if let Some(master) = message.fd {
                    session.open(master, foreground.terminal.as_ref())?;
                }
            }
            Report::Failed(error) => return Err(anyhow!(error)),
            Report::Exited(code) => {
                session.drain();
                return Ok(code);
            }
        }
    }
}

/// Waits for a process that this one started itself (`exec`) with the same
/// care for terminal and signals.
pub fn wait_for_child(
    started: crate::runtime::Started,
    signals: &SignalFd,
    interactive: bool,
    terminal: Option<&Termios>,
) -> Result<i32> {
    let mut session = Session::new(interactive);
    if let Some(master) = started.console {
        session.open(master, terminal)?;
    }
    let child = started.child;
    loop {
        let events = session.poll(child.pidfd.as_fd(), signals)?;
        for signal in pending(signals) {
            if !session.resized(signal) {
                // It may have ended by now.
                let _ = pidfd::kill(&child.pidfd, signal);
            }
        }
        session.copy(&events);
        if events.told {
            session.drain();
            let status = nix::sys::wait::waitpid(child.pid, None).context("wait")?;
            return Ok(super::supervisor::exit_code(status));
        }
    }
}

/// Signals to be passed on: not those about our own children and pipes.
fn pending(signals: &SignalFd) -> impl Iterator<Item = i32> + '_ {
    let ours = [libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG];
    std::iter::from_fn(|| signals.next()).filter(move |s| !ours.contains(s))
}

/// The caller's terminal while it is the container's.
struct Session {
    interactive: bool,
    master: Option<OwnedFd>,
    /// Settings to be restored.
    before: Option<Termios>,
    input_open: bool,
}

/// What has happened.
struct Events {
    told: bool,
    input: bool,
    output: bool,
}

impl Session {
    fn new(interactive: bool) -> Session {
        Session {
            interactive,
            master: None,
            before: None,
            input_open: false,
        }
    }

    /// Takes the container's terminal, and makes the caller's transparent.
    fn open(&mut self, master: OwnedFd, settings: Option<&Termios>) -> Result<()> {
        if let Some(settings) = settings {
            let mut raw = settings.clone();
            cfmakeraw(&mut raw);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).context("set terminal to raw")?;
            self.before = Some(settings.clone());
        }
        self.input_open = self.interactive;
        self.master = Some(master);
        // It may have changed since the container was asked for.
        self.copy_size();
        Ok(())
    }

    fn copy_size(&self) {
        if let (Some(master), Ok(size)) = (&self.master, tty::window_size(std::io::stdout())) {
            let _ = tty::set_window_size(master, &size);
        }
    }

    /// Whether the signal told of a new window size, which is passed on.
    fn resized(&self, signal: i32) -> bool {
        let resized = signal == libc::SIGWINCH;
        if resized {
            self.copy_size();
        }
        resized && self.master.is_some()
    }

    fn poll(&self, told: BorrowedFd<'_>, signals: &SignalFd) -> Result<Events> {
        let stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::new(told, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(master) = &self.master {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
            if self.input_open {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).context("poll"),
        }
        let ready = |n: usize| fds.get(n).and_then(|p| p.any()).unwrap_or(false);
        Ok(Events {
            told: ready(0),
            output: ready(2),
            input: ready(3),
        })
    }

    fn copy(&mut self, events: &Events) {
        let Some(master) = &self.master else { return };
        let mut buffer = [0; 16384];
        if events.input {
            match read(std::io::stdin(), &mut buffer) {
                Ok(0) | Err(_) => {
                    // The end of the input, typed into the terminal.
                    let _ = write(master, &[4]);
                    self.input_open = false;
                }
                Ok(n) => write_all(master.as_fd(), &buffer[..n]),
            }
        }
        if events.output {
            match read(master, &mut buffer) {
                Ok(n) if n > 0 => write_all(std::io::stdout().as_fd(), &buffer[..n]),
                // Nobody has the other side open any more.
                _ => self.master = None,
            }
        }
    }

    /// Prints what the container wrote before it ended.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) == 0 {
                return;
            }
            self.copy(&Events {
                told: false,
                input: false,
                output: true,
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut data: &[u8]) {
    while !data.is_empty() {
        match write(fd, data) {
            Ok(n) => data = &data[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The start error in `error`, if it is one.
pub fn start_error(error: &anyhow::Error) -> Option<&StartError> {
    error.chain().find_map(|e| e.downcast_ref())
}
