//! The process that looks after one container: it starts the first process,
//! waits for its end, passes signals on, and records what became of it. The
//! container ends with it.

use super::containers::{Container, Containers, Lock};
use super::emulation::Emulator;
use super::record::{ProcessId, State, user_namespace};
use super::root;
use crate::image::owners::Owners;
use crate::image::remove::remove_tree;
use crate::runtime::{self, Plan, StartError, Started, Step};
use crate::sys::channel::Channel;
use crate::sys::clone::{Child, exit_now};
use crate::sys::pidfd;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, tcsetattr};
use nix::sys::wait::{WaitStatus, waitpid};
use oci_spec::runtime::Spec;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What a supervisor and the command that started it tell each other.
#[derive(Debug)]
pub enum Report {
    /// Something is less than asked for.
    Warning(String),
    /// The command has been executed; the terminal's master side comes along
    /// if it has one.
    Started,
    /// It could not be started.
    Failed(StartError),
    /// It has ended, with docker's exit code.
    Exited(i32),
}

impl Report {
    fn encode(&self) -> Vec<u8> {
        use runtime::message::Message;
        match self {
            Report::Started => b"started".to_vec(),
            Report::Exited(code) => [b"exited".as_slice(), &code.to_ne_bytes()].concat(),
            Report::Warning(text) => Message::Warning(text.clone()).encode(),
            Report::Failed(error) => Message::Failed(error.clone()).encode(),
        }
    }

    /// Reads a report; `None` for what no supervisor sends.
    pub fn decode(data: &[u8]) -> Option<Report> {
        use runtime::message::Message;
        if data == b"started" {
            return Some(Report::Started);
        }
        if let Some(code) = data.strip_prefix(b"exited") {
            return Some(Report::Exited(i32::from_ne_bytes(code.try_into().ok()?)));
        }
        match Message::decode(data, "")? {
            Message::Warning(text) => Some(Report::Warning(text)),
            Message::Failed(error) => Some(Report::Failed(error)),
            Message::Console | Message::Listener | Message::Ready => None,
        }
    }
}

/// What a supervisor is made for.
#[derive(Debug)]
pub struct Supervisor {
    /// All containers.
    pub containers: Containers,
    /// The container; its directory is locked by `lock`.
    pub container: Container,
    /// Held as long as the supervisor lives.
    pub lock: Lock,
    /// What it runs by.
    pub spec: Spec,
    /// The command that started it; when that dies, so does the container.
    pub caller: Channel,
    /// The caller's terminal as it was, restored if the caller dies.
    pub terminal: Option<Termios>,
}

impl Supervisor {
    /// Looks after the container from its start to its end. Runs in a process
    /// made for it.
    pub fn run(mut self) -> ! {
        let _ = nix::unistd::setsid();
        let _ = nix::sys::prctl::set_name(c"bryo-supervise");
        let trash = match self.supervise() {
            Ok(trash) => trash,
            Err(error) => {
                let error = StartError::new(Step::Supervise, &error);
                self.tell(&Report::Failed(error), None);
                exit_now(1)
            }
        };
        // The caller has heard the end and is gone; this is behind its back.
        if let Some(trash) = trash {
            let _ = remove_tree(&trash);
        }
        exit_now(0)
    }

    /// Returns what is to be deleted.
    fn supervise(&mut self) -> Result<Option<PathBuf>> {
        let mut started = match self.start() {
            Ok(started) => started,
            Err(error) => {
                let trash = self.finish(error.exit_code(), Some(error.to_string()))?;
                self.tell(&Report::Failed(error), None);
                return Ok(trash);
            }
        };
        let own_pids = self.container.record.namespaces & libc::CLONE_NEWPID as u64 != 0;
        let pid = started.child.pid;
        self.container.state = State::Running {
            user_namespace: (!own_pids).then(|| user_namespace(pid)).flatten(),
            process: ProcessId::of(started.child.pid)?,
            since: Timestamp::now(),
        };
        self.container.save_state()?;
        for warning in &started.warnings {
            self.tell(&Report::Warning(warning.clone()), None);
        }
        let console = started.console.as_ref().map(|c| c.as_fd());
        self.tell(&Report::Started, console);
        let terminal = match self.terminal {
            Some(_) => Some(std::io::stdin().as_fd().try_clone_to_owned()?),
            None => None,
        };
        release_stdio()?;

        let emulator = started.listener.take();
        let owners = emulator
            .as_ref()
            .and_then(|_| Owners::open(&self.container.dir).ok());
        let emulator = emulator.map(|listener| Emulator::new(listener, owners));
        if emulator.is_some() {
            // There this process may write attributes whatever a file's mode.
            // The command may have ended by now, and its namespace with it.
            // Nobody who has all capabilities in there may look into it.
            let _ = nix::sys::prctl::set_dumpable(false);
            let _ = nix::sched::setns(&started.child.pidfd, CloneFlags::CLONE_NEWUSER);
        }
        let code = self.wait(&started.child, terminal.as_ref(), emulator)?;
        let trash = self.finish(code, None)?;
        self.tell(&Report::Exited(code), None);
        Ok(trash)
    }

    /// Tells the caller, if it still lives.
    fn tell(&self, report: &Report, fd: Option<BorrowedFd<'_>>) {
        let _ = self.caller.send(&report.encode(), fd);
    }

    /// Starts the container; where the kernel refuses the overlay, with
    /// something else in its place.
    fn start(&mut self) -> Result<Started, StartError> {
        let plan_failed = |e: anyhow::Error| StartError::new(Step::Plan, &e);
        loop {
            let error = match self.attempt().map_err(plan_failed)? {
                Err(error) if overlay_refused(&error) => error,
                other => return other,
            };
            let substitute = root::substitute(&mut self.spec, &self.container);
            match substitute.map_err(plan_failed)? {
                Some(what) => self.tell(&Report::Warning(format!("{what} ({})", error.text)), None),
                None => return Err(error),
            }
        }
    }

    fn attempt(&self) -> Result<Result<Started, StartError>> {
        let plan = Plan::new(&self.spec, &self.container.dir)?;
        if plan.create & libc::CLONE_NEWPID as u64 == 0 {
            // Orphans of the container come to us and are ended with it.
            nix::sys::prctl::set_child_subreaper(true).context("become subreaper")?;
        }
        Ok(runtime::start(&plan))
    }

    /// Waits for the first process and returns docker's exit code for it.
    fn wait(
        &self,
        child: &Child,
        terminal: Option<&OwnedFd>,
        mut emulator: Option<Emulator>,
    ) -> Result<i32> {
        let mut caller_gone = false;
        loop {
            let null = [PollFlags::POLLIN, PollFlags::empty()];
            let mut fds = vec![
                PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.caller.as_fd(), null[usize::from(caller_gone)]),
            ];
            if let Some(emulator) = &emulator {
                fds.push(PollFd::new(emulator.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("poll"),
            }
            let ready = |n: usize| fds.get(n).and_then(|p| p.any()).unwrap_or(false);
            let (ended, spoken, asked) = (ready(0), ready(1) && !caller_gone, ready(2));
            if asked && let Some(emulator) = &mut emulator {
                emulator.serve();
            }
            if spoken {
                match self.caller.receive()? {
                    Some(message) => {
                        if let Ok(number) = <[u8; 4]>::try_from(&message.data[..]) {
                            let number = i32::from_ne_bytes(number);
                            let _ = pidfd::kill(&child.pidfd, number);
                        }
                    }
                    None => {
                        // Killed before it could say goodbye: in the
                        // foreground the container is its caller's.
                        caller_gone = true;
                        self.restore_terminal(terminal.map(|t| t.as_fd()));
                        let _ = pidfd::kill(&child.pidfd, libc::SIGKILL);
                    }
                }
            }
            if ended {
                let status = waitpid(child.pid, None).context("wait")?;
                end_orphans();
                return Ok(exit_code(status));
            }
        }
    }

    fn restore_terminal(&self, fd: Option<BorrowedFd<'_>>) {
        if let (Some(settings), Some(fd)) = (&self.terminal, fd) {
            let _ = tcsetattr(fd, SetArg::TCSANOW, settings);
        }
    }

    /// Records the end; returns what is to be deleted.
    fn finish(&mut self, code: i32, error: Option<String>) -> Result<Option<PathBuf>> {
        if self.container.record.auto_remove {
            return self
                .containers
                .remove(&self.container, &self.lock)
                .map(Some);
        }
        self.container.state = State::Exited {
            code,
            at: Timestamp::now(),
            error,
        };
        self.container.save_state()?;
        Ok(None)
    }
}

/// Whether the kernel does no overlay here, or not on this file system; other
/// errors would come again.
fn overlay_refused(error: &StartError) -> bool {
    use Errno::*;
    let refusals = [
        EPERM, EINVAL, ENODEV, EOPNOTSUPP, ENOSYS, ELOOP, EXDEV, ESTALE,
    ];
    error.step == Step::Overlay && error.errno.is_some_and(|e| refusals.contains(&e))
}

/// Points descriptors 0 to 2 at the null device, so that nobody waits for the
/// supervisor to close a pipe of the caller's.
pub fn release_stdio() -> Result<()> {
    let null = runtime::process::open_null()?;
    for number in 0..3 {
        crate::sys::fd::duplicate_to(&null, number)?;
    }
    Ok(())
}

/// Ends the processes that a container without a PID namespace left: they
/// have become children of this process.
fn end_orphans() {
    let path = format!("/proc/self/task/{}/children", nix::unistd::gettid());
    for _ in 0..1000 {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        let mut any = false;
        for pid in children
            .split_ascii_whitespace()
            .filter_map(|p| p.parse().ok())
        {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            any |= waitpid(pid, None).is_ok();
        }
        if !any {
            return;
        }
    }
}

/// Docker's exit code: the command's own, or 128 and the signal's number.
pub fn exit_code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => 125,
    }
}
