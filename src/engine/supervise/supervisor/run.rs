//! One run of the command: from its start to its end.

use super::Life;
use super::checker::Checker;
use super::end_orphans;
use super::reap_others;
use crate::cgroup::events::MemoryEvents;
use crate::engine::container::control::{Reply, Request};
use crate::engine::container::events::{self, Action};
use crate::engine::container::health::Status;
use crate::engine::emulation::Emulator;
use crate::engine::log::{Logger, Stream};
use crate::engine::network::usernet::translator::Translator;
use crate::engine::request::health::OnFailure;
use crate::engine::supervise::hub::Asked;
use crate::engine::supervise::streams::{Read, Streams};
use crate::error::refusal;
use crate::process::exit_code;
use crate::sys::clone::Child;
use crate::sys::{pidfd, socket, wait};
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::termios::{SetArg, tcsetattr};
use nix::sys::wait::waitpid;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Looks after one run of the command.
pub struct Run<'a> {
    life: &'a mut Life,
    child: &'a Child,
    streams: Option<Streams>,
    emulator: Option<Emulator>,
    checker: Option<Checker>,
    /// Tells of processes that are killed for want of memory.
    memory: Option<MemoryEvents>,
    since: Instant,
    /// When it is killed if it has not ended by itself: its time is over, or
    /// it was asked to stop.
    deadline: Option<Instant>,
    /// It was asked to stop.
    stopping: bool,
    /// Memory was given back since something last happened.
    trimmed: bool,
}

/// What a descriptor that is ready stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Child,
    Signals,
    Emulator,
    Checker,
    Network(usize),
    Translator,
    Questions,
    Memory,
    Output(Stream),
    Input,
    Listener,
    Client(usize),
}

/// How long nothing may happen before memory is given back.
const QUIET: Duration = Duration::from_secs(1);

impl<'a> Run<'a> {
    pub fn new(
        life: &'a mut Life,
        child: &'a Child,
        streams: Option<Streams>,
        emulator: Option<Emulator>,
        checker: Option<Checker>,
    ) -> Run<'a> {
        let placed = life.container.history.confinement.placed.as_ref();
        let memory = placed.and_then(|placed| MemoryEvents::open(&placed.limits()).ok());
        let since = Instant::now();
        let timeout = life.container.record.keeping.timeout;
        Run {
            life,
            child,
            streams,
            emulator,
            checker,
            memory,
            since,
            deadline: timeout.map(|seconds| since + Duration::from_secs(seconds.into())),
            stopping: false,
            trimmed: false,
        }
    }

    /// Waits for the end of the process; returns docker's exit code for it.
    pub fn attend(mut self) -> Result<i32> {
        let mut buffer = Vec::new();
        loop {
            let ready = self.wait()?;
            if ready.is_empty() {
                if self.deadline.is_some_and(|end| end <= Instant::now()) {
                    self.deadline = None;
                    self.kill(libc::SIGKILL);
                } else if !self.trimmed {
                    self.trimmed = true;
                    buffer = Vec::new();
                    self.life.logger.iter_mut().for_each(Logger::trim);
                }
                continue;
            }
            self.trimmed = false;
            let mut ended = false;
            for (source, events) in ready {
                match source {
                    Source::Child => ended = true,
                    Source::Signals => self.own_signals(),
                    // Nobody is left to ask; it would only be told so again.
                    Source::Emulator if !events.contains(PollFlags::POLLIN) => {
                        self.emulator = None;
                    }
                    Source::Emulator => {
                        if let Some(emulator) = &mut self.emulator {
                            emulator.serve();
                        }
                    }
                    Source::Checker => self.take_finding(),
                    Source::Network(at) => self.life.rejoin_network(at),
                    Source::Translator => self.life.translate_again(),
                    Source::Questions => self.life.translator.iter().for_each(Translator::answer),
                    Source::Memory => self.count_kills(),
                    Source::Output(stream) => {
                        buffer.resize(1 << 16, 0);
                        self.take_output(stream, &mut buffer);
                    }
                    Source::Input => self.streams.as_mut().into_iter().for_each(Streams::push),
                    Source::Listener => self.life.hub.accept(),
                    Source::Client(number) => {
                        for asked in self.life.hub.serve(number, events) {
                            self.answer(asked);
                        }
                    }
                }
            }
            self.life.hub.sweep();
            if ended {
                let status = waitpid(self.child.pid, None).context("wait")?;
                let translator = self.life.translator.as_ref();
                end_orphans(translator.map(|translator| translator.process.pid));
                self.count_kills();
                self.drain(&mut buffer);
                return Ok(exit_code(status));
            }
        }
    }

    /// Waits until something happens; nothing does when it is time to give
    /// memory back or to kill.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let input_waits = self.streams.as_ref().and_then(Streams::input_waiting);
        let mut sources = vec![Source::Child, Source::Signals];
        let mut fds = vec![
            (self.child.pidfd.as_fd(), PollFlags::POLLIN),
            (self.life.signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut watch = |source, fd, events| {
            sources.push(source);
            fds.push((fd, events));
        };
        if let Some(emulator) = &self.emulator {
            watch(Source::Emulator, emulator.as_fd(), PollFlags::POLLIN);
        }
        if let Some(translator) = &self.life.translator {
            watch(
                Source::Translator,
                translator.process.pidfd.as_fd(),
                PollFlags::POLLIN,
            );
            watch(
                Source::Questions,
                translator.control().as_fd(),
                PollFlags::POLLIN,
            );
        }
        if let Some(checker) = &self.checker {
            watch(Source::Checker, checker.findings.as_fd(), PollFlags::POLLIN);
        }
        for (at, joined) in self.life.places.watched().enumerate() {
            watch(Source::Network(at), joined.as_fd(), PollFlags::POLLIN);
        }
        if let Some(memory) = &self.memory {
            watch(Source::Memory, memory.as_fd(), PollFlags::POLLPRI);
        }
        if let Some(streams) = &self.streams {
            let outputs = streams.outputs();
            for (stream, fd) in outputs.filter(|_| !self.life.hub.congested()) {
                watch(Source::Output(stream), fd, PollFlags::POLLIN);
            }
        }
        if let Some(fd) = input_waits {
            watch(Source::Input, fd, PollFlags::POLLOUT);
        }
        for (number, fd, events) in self.life.hub.watched(input_waits.is_some()) {
            let source = number.map_or(Source::Listener, Source::Client);
            watch(source, fd, events);
        }
        let quiet = || Instant::now() + QUIET;
        let seen = match (self.deadline, self.trimmed) {
            (Some(end), true) => wait::wait(fds, Some(end)),
            (Some(end), false) => wait::wait(fds, Some(end.min(quiet()))),
            (None, false) => wait::wait(fds, Some(quiet())),
            (None, true) => wait::wait_at_rest(fds),
        };
        let ready = sources.into_iter().zip(seen.context("poll")?);
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    /// The machine goes down, or somebody wants this process to end: it ends
    /// when the container has.
    fn own_signals(&mut self) {
        let mut ends = false;
        while let Some(signal) = self.life.signals.next() {
            ends |= signal == libc::SIGTERM;
            if signal == libc::SIGCHLD {
                reap_others(self.child.pid);
            }
        }
        if ends {
            self.stop();
        }
    }

    /// Asks the container to end for good, and sees to it.
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.life.ending = true;
            self.kill(self.life.container.stop_signal());
            let patience = self.life.container.record.keeping.patience();
            let end = Instant::now() + Duration::from_secs(patience.into());
            self.deadline = Some(self.deadline.map_or(end, |before| before.min(end)));
        }
    }

    /// Takes what a health check found.
    fn take_finding(&mut self) {
        let Some(checker) = &self.checker else {
            return;
        };
        let mut buffer = vec![0; 1 << 16];
        let finding = match socket::try_receive(&checker.findings, &mut buffer) {
            Ok(0) => {
                self.checker = None;
                return;
            }
            Ok(count) => serde_json::from_slice(&buffer[..count]),
            Err(_) => return,
        };
        let container = &mut self.life.container;
        let (Ok(finding), Some(check)) = (finding, container.record.keeping.health.clone()) else {
            return;
        };
        let grace = self.since.elapsed() < check.start_period;
        let health = container.history.health.get_or_insert_default();
        let changed = health.take(finding, check.retries, grace);
        let _ = container.note_state();
        if let Some(status) = changed {
            let details = [("health_status", status.name())];
            events::emit(
                &self.life.containers,
                Action::HealthStatus,
                container,
                &details,
            );
        }
        if changed == Some(Status::Unhealthy) {
            match check.on_failure {
                OnFailure::None => {}
                OnFailure::Kill => self.kill(libc::SIGKILL),
                OnFailure::Restart => {
                    self.life.again = true;
                    self.kill(libc::SIGKILL);
                }
                OnFailure::Stop => self.stop(),
            }
        }
    }

    /// Takes note of processes that were killed for want of memory.
    fn count_kills(&mut self) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        let kills = memory.kills();
        let life = &mut *self.life;
        if kills > life.container.history.oom_kills {
            life.container.history.oom_kills = kills;
            let _ = life.container.note_state();
            events::emit(&life.containers, Action::Oom, &life.container, &[]);
        }
    }

    /// All processes of the container end by `SIGKILL`, the first of them gets
    /// any other signal.
    fn kill(&self, signal: i32) {
        if signal == libc::SIGKILL && self.life.container.kill_all() {
            return;
        }
        let _ = pidfd::kill(&self.child.pidfd, signal);
    }

    fn take_output(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let Some(streams) = &mut self.streams else {
            return false;
        };
        let Read::Bytes(count) = streams.read(stream, buffer) else {
            return false;
        };
        if let Some(logger) = &mut self.life.logger {
            logger.write(stream, &buffer[..count]);
        }
        self.life.hub.broadcast(stream, &buffer[..count]);
        true
    }

    /// What it printed before it ended.
    fn drain(&mut self, buffer: &mut Vec<u8>) {
        buffer.resize(1 << 16, 0);
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.take_output(stream, buffer) {}
        }
    }

    fn answer(&mut self, asked: Asked) {
        let life = &mut *self.life;
        match asked {
            Asked::Request(_, Request::Signal(number)) => self.kill(number),
            Asked::Request(_, Request::Resize(rows, columns)) => {
                if let Some(streams) = &self.streams {
                    streams.resize(rows, columns);
                }
            }
            Asked::Request(number, Request::Attach(..)) => match (life.direct, &self.streams) {
                (false, Some(_)) => life.hub.reply(number, &Reply::Done),
                _ => {
                    let taken = refusal!(
                        Conflict,
                        "its input and output are with the command that started it"
                    );
                    life.hub.reply(number, &Reply::refused(&taken));
                }
            },
            Asked::Request(_, Request::Wait) => {}
            Asked::Request(number, Request::Networks) => {
                let reply = match life.change_networks() {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::refused(&error),
                };
                life.hub.reply(number, &reply);
            }
            Asked::Request(number, Request::End) => {
                life.ending = true;
                life.hub.reply(number, &Reply::Done);
            }
            Asked::Request(number, request @ (Request::Pause | Request::Resume)) => {
                let reply = match life.freeze(request == Request::Pause) {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::refused(&error),
                };
                life.hub.reply(number, &reply);
            }
            Asked::Request(_, Request::Release) => life.release(),
            Asked::Input(data) => {
                if let Some(streams) = &mut self.streams {
                    streams.give(&data);
                }
            }
            Asked::InputEnd => self.end_input(),
            // Whoever left a terminal may come back to it.
            Asked::InputGone if life.container.record.keeping.tty => {}
            Asked::InputGone => self.end_input(),
            Asked::CallerGone if life.foreground => {
                // Killed before it could say goodbye: in the foreground the
                // container is its caller's.
                life.foreground = false;
                life.ending = true;
                if let Some((settings, fd)) = life.terminal.take() {
                    let _ = tcsetattr(fd.as_fd(), SetArg::TCSANOW, &settings);
                }
                self.kill(libc::SIGKILL);
            }
            Asked::CallerGone => {}
        }
    }

    /// Ends the container's input, if it was to last as long as who was
    /// attached first.
    fn end_input(&mut self) {
        if self.life.container.record.keeping.input_once
            && let Some(streams) = &mut self.streams
        {
            streams.end_input();
        }
    }
}
