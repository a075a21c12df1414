//! A command that is looked after by a process of its own, as a container is by
//! its supervisor: it has streams that one can attach to and leave, and a record
//! from which its exit code is known when nobody is connected any more.
//!
//! Not by the container's supervisor itself: one that answers for an emulated
//! root is in the container's user namespace for good, and can start nothing.

use super::{Prepared, prepare};
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::control::{self, Reply, Request, WantedStreams};
use crate::engine::container::events::{self, Action};
use crate::engine::container::execs::{Exec, ExecState};
use crate::engine::ground::caller::Caller;
use crate::engine::ground::names::short;
use crate::engine::log::Stream;
use crate::engine::request::exec::ExecRequest;
use crate::engine::supervise::attach::{self, Attachment, End};
use crate::engine::supervise::hub::{Asked, Hub};
use crate::engine::supervise::streams::{Read, Streams};
use crate::error::{refusal, refuse};
use crate::process::{ProcessId, Resident, Until, exit_code};
use crate::runtime::{StartError, Started, Stdio, Step, seccomp};
use crate::sys::channel::Channel;
use crate::sys::clone::{NewProcess, exit_now};
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, socket, wait};
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::poll::PollFlags;
use nix::sys::termios::{SetArg, Termios, tcsetattr};
use nix::sys::wait::waitpid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How a command is started.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// The caller stays for these; else what it prints is nobody's.
    pub attach: Option<WantedStreams>,
    /// The command is its caller's: it ends when he is killed.
    pub foreground: bool,
    /// Keys that end the attachment.
    pub detach_keys: Vec<u8>,
    /// Descriptors that the caller was given by his own, none of which a command
    /// that outlives him may keep.
    pub inherited: Vec<i32>,
}

/// Records a command that is to be run in `container`.
///
/// # Errors
/// The container does not run; the record cannot be written.
pub fn create(
    containers: &Containers,
    container: &mut Container,
    request: ExecRequest,
) -> Result<Exec> {
    container.running_process()?;
    let exec = Exec::create(container, request)?;
    let details = [("execID", exec.id.as_str())];
    events::emit(containers, Action::ExecCreate, container, &details);
    Ok(exec)
}

/// Starts `exec` in `container`. Returns once it has been executed, or, if the
/// caller stays attached, when it has ended or was left.
///
/// # Errors
/// The container does not run; it was started already; it cannot be started,
/// which its state says too.
pub fn start(
    containers: &Containers,
    mut container: Container,
    exec: Exec,
    how: &How,
    caller: Caller<'_>,
    warn: &dyn Fn(&str),
) -> Result<End> {
    if exec.state != ExecState::Created {
        let id = short(&exec.id);
        refuse!(Conflict, "exec instance {id} was started already");
    }
    let prepared = prepare(&mut container, &exec.request)?;
    let request = &exec.request;
    let input = how.attach.is_some_and(|w| w.input) && request.interactive;
    let terminal = match request.tty && input {
        true => caller.terminal(),
        false => None,
    };
    let tty = request.tty;
    let (ours, theirs) = Channel::pair()?;
    let (data, attached) = match how.attach {
        Some(wanted) => {
            let (ours, theirs) = socket::pair()?;
            (Some(ours), Some((theirs, wanted)))
        }
        None => (None, None),
    };
    let made = caller.make_process();
    match made.context("start who looks after the command")? {
        Some(process) => {
            drop((ours, data));
            let mut kept = vec![theirs.as_fd().as_raw_fd(), prepared.target.as_raw_fd()];
            kept.extend(attached.iter().map(|(fd, _)| fd.as_raw_fd()));
            let begun = (|| {
                let terminal = match terminal {
                    Some(settings) => Some((settings, caller.input.try_clone_to_owned()?)),
                    None => None,
                };
                kept.extend(terminal.iter().map(|(_, fd)| fd.as_raw_fd()));
                caller.leave(&process, &kept, &how.inherited)?;
                become_resident(&process, &exec.id)?;
                Ok((terminal, SignalFd::new()?))
            })();
            let attached = attached.map(|(fd, w)| (fd, w.input, w.output, w.errors));
            let mut keeper = Keeper {
                containers,
                container,
                exec,
                hub: Hub::new(theirs.into(), attached),
                foreground: how.foreground,
                terminal: None,
            };
            let run = begun.map_err(|e| StartError::new(Step::Supervise, &e));
            let run = run.and_then(|(terminal, signals)| {
                keeper.terminal = terminal.filter(|_| how.foreground);
                keeper.run(prepared, &signals)
            });
            keeper.end(run)
        }
        None => {
            drop((theirs, attached));
            let attachment = Attachment {
                caller,
                control: ours,
                data,
                pump: None,
                input,
                tty,
                terminal,
                detach_keys: how.detach_keys.clone(),
                keep_signals: false,
                stays: how.attach.is_some(),
                advice: None,
            };
            attach::follow(attachment, warn)
        }
    }
}

fn become_resident(process: &NewProcess, id: &str) -> Result<()> {
    let resident = Resident {
        name: c"bryo-exec",
        role: &format!("exec {}", short(id)),
        until: Until::Done,
        hidden: false,
        keeps: None,
    };
    resident.begin(process)
}

/// The process that looks after a command.
struct Keeper<'a> {
    containers: &'a Containers,
    container: Container,
    exec: Exec,
    hub: Hub,
    foreground: bool,
    /// The caller's terminal, and as it was: restored if he is killed.
    terminal: Option<(Termios, OwnedFd)>,
}

impl Keeper<'_> {
    /// Runs the command to its end; returns docker's exit code.
    fn run(&mut self, prepared: Prepared, signals: &SignalFd) -> Result<i32, StartError> {
        let failed = |e: anyhow::Error| StartError::new(Step::Supervise, &e);
        let request = &self.exec.request;
        let (pipes, stdio) = match request.tty {
            true => (None, Stdio::null().map_err(failed)?),
            false => {
                let (ours, theirs) = Streams::pipes(request.interactive).map_err(failed)?;
                (Some(ours), theirs)
            }
        };
        let mut started = prepared.start(&self.container, &stdio)?;
        // Our copies of its ends.
        drop((stdio, prepared));
        self.begin(&started).map_err(failed)?;
        let streams = match (pipes, started.console.take()) {
            (Some(pipes), _) => pipes,
            (None, Some(master)) => Streams::terminal(master).map_err(failed)?,
            (None, None) => Streams::default(),
        };
        for warning in started.warnings.drain(..) {
            self.hub.tell_caller(&Reply::Warning(warning));
        }
        // It starts nothing any more.
        let _ = crate::sys::seccomp::confine(seccomp::CARETAKER, true);
        self.hub.tell_caller(&Reply::Started);
        let mut attending = Attending {
            keeper: self,
            started: &started,
            streams,
            buffer: vec![0; 1 << 16],
        };
        attending.attend(signals).map_err(failed)
    }

    /// Records that it runs, and listens.
    fn begin(&mut self, started: &Started) -> Result<()> {
        let state = ExecState::Running {
            process: ProcessId::of(started.child.pid)?,
            since: Timestamp::now(),
        };
        self.exec.note(state)?;
        self.hub
            .listen(socket::listen(self.exec.dir(), control::SOCKET)?);
        self.emit(Action::ExecStart, &[]);
        Ok(())
    }

    /// Records and tells what became of it.
    fn end(mut self, run: Result<i32, StartError>) -> ! {
        let code = match &run {
            Ok(code) => *code,
            Err(error) => error.exit_code(),
        };
        // Its container may have been removed with it.
        let at = Timestamp::now();
        let _ = self.exec.note(ExecState::Exited { code, at });
        let _ = std::fs::remove_file(self.exec.dir().join(control::SOCKET));
        match run {
            Ok(code) => {
                self.emit(Action::ExecDie, &[("exitCode", &code.to_string())]);
                self.hub.tell_end(code);
            }
            Err(error) => self.hub.tell_caller(&Reply::Failed(error)),
        }
        self.hub.close();
        exit_now(0)
    }

    fn emit(&self, action: Action, details: &[(&str, &str)]) {
        let mut all = vec![("execID", self.exec.id.as_str())];
        all.extend(details);
        events::emit(self.containers, action, &self.container, &all);
    }
}

/// A command that runs.
struct Attending<'a, 'k> {
    keeper: &'a mut Keeper<'k>,
    started: &'a Started,
    streams: Streams,
    buffer: Vec<u8>,
}

/// What a descriptor that is ready stands for.
enum Source {
    Child,
    Signals,
    Output(Stream),
    Input,
    Client(Option<usize>),
}

impl Attending<'_, '_> {
    /// Waits for its end; returns docker's exit code for it.
    fn attend(&mut self, signals: &SignalFd) -> Result<i32> {
        loop {
            let mut ended = false;
            for (source, events) in self.wait(signals)? {
                match source {
                    Source::Child => ended = true,
                    Source::Signals => self.own_signals(signals),
                    Source::Output(stream) => drop(self.take_output(stream)),
                    Source::Input => self.streams.push(),
                    Source::Client(None) => self.keeper.hub.accept(),
                    Source::Client(Some(number)) => {
                        for asked in self.keeper.hub.serve(number, events) {
                            self.answer(asked);
                        }
                    }
                }
            }
            self.keeper.hub.sweep();
            if ended {
                let status = waitpid(self.started.child.pid, None).context("wait")?;
                for stream in [Stream::Stdout, Stream::Stderr] {
                    while self.take_output(stream) {}
                }
                return Ok(exit_code(status));
            }
        }
    }

    /// Waits until something happens.
    fn wait(&self, signals: &SignalFd) -> Result<Vec<(Source, PollFlags)>> {
        let hub = &self.keeper.hub;
        let input = self.streams.input_waiting();
        let mut sources = vec![Source::Child, Source::Signals];
        let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.started.child.pidfd.as_fd(), PollFlags::POLLIN),
            (signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut watch = |source, fd, events| {
            sources.push(source);
            fds.push((fd, events));
        };
        for (number, fd, events) in hub.watched(input.is_some()) {
            watch(Source::Client(number), fd, events);
        }
        if let Some(fd) = input {
            watch(Source::Input, fd, PollFlags::POLLOUT);
        }
        if !hub.congested() {
            for (stream, fd) in self.streams.outputs() {
                watch(Source::Output(stream), fd, PollFlags::POLLIN);
            }
        }
        let seen = wait::wait(fds, None).context("poll")?;
        let ready = sources.into_iter().zip(seen);
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    /// Signals that were sent to this process are for the command.
    fn own_signals(&self, signals: &SignalFd) {
        while let Some(signal) = signals.next() {
            if ![libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG].contains(&signal) {
                self.kill(signal);
            }
        }
    }

    fn kill(&self, signal: i32) {
        // It may have ended by now.
        let _ = pidfd::kill(&self.started.child.pidfd, signal);
    }

    fn take_output(&mut self, stream: Stream) -> bool {
        let Read::Bytes(count) = self.streams.read(stream, &mut self.buffer) else {
            return false;
        };
        let data = &self.buffer[..count];
        self.keeper.hub.broadcast(stream, data);
        true
    }

    fn answer(&mut self, asked: Asked) {
        let keeper = &mut *self.keeper;
        match asked {
            Asked::Request(_, Request::Signal(number)) => self.kill(number),
            Asked::Request(_, Request::Resize(rows, columns)) => {
                self.streams.resize(rows, columns);
            }
            Asked::Request(number, Request::Attach(..)) => keeper.hub.reply(number, &Reply::Done),
            Asked::Request(_, Request::Wait) => {}
            Asked::Request(_, Request::Release) => {
                keeper.foreground = false;
                keeper.terminal = None;
                keeper.hub.release_caller();
            }
            Asked::Request(number, _) => {
                let other = refusal!(
                    Unsupported,
                    "that is for a container, and this is a command in one"
                );
                keeper.hub.reply(number, &Reply::refused(&other));
            }
            Asked::Input(data) => self.streams.give(&data),
            Asked::InputEnd => self.streams.end_input(),
            // Whoever left a terminal may come back to it.
            Asked::InputGone if keeper.exec.request.tty => {}
            Asked::InputGone => self.streams.end_input(),
            Asked::CallerGone if keeper.foreground => {
                // Killed before he could say goodbye.
                if let Some((settings, fd)) = keeper.terminal.take() {
                    let _ = tcsetattr(fd.as_fd(), SetArg::TCSANOW, &settings);
                }
                self.kill(libc::SIGKILL);
            }
            Asked::CallerGone => {}
        }
    }
}
