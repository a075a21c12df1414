//! The process that looks after one container: it starts the first process,
//! keeps what it prints, passes signals on, waits for its end, starts it
//! again if that was asked for, and records what became of it. The container
//! ends with it.

pub mod checker;
mod groups;
mod network;
mod run;

use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::control::{self, Reply, Request, WantedStreams};
use crate::engine::container::events::{self, Action};
use crate::engine::container::health::Health;
use crate::engine::container::record::{State, user_namespace};
use crate::engine::create::root;
use crate::engine::create::secrets;
use crate::engine::create::sharing::{self, SharedNetwork};
use crate::engine::emulation::Emulator;
use crate::engine::ground::activation::Sockets;
use crate::engine::ground::names::short;
use crate::engine::ground::policy::{RAN_WELL, back_off};
use crate::engine::ids::keeper::Maps;
use crate::engine::ids::userns;
use crate::engine::log::{Logger, Origin};
use crate::engine::network::usernet::translator::{self, Translator};
use crate::engine::network::{holder, publish};
use crate::engine::request::network::Network;
use crate::engine::request::restart::Restart;
use crate::engine::supervise::hub::{Asked, Hub};
use crate::engine::supervise::streams::Streams;
use crate::error::{refusal, refuse};
use crate::image::remove::remove_tree;
use crate::net::worker::Listener;
use crate::process::{ProcessId, release_stdio};
use crate::runtime::fields::Unsupported;
use crate::runtime::{self, Plan, StartError, Started, Stdio, Step, seccomp};
use crate::sys::channel::Channel;
use crate::sys::clone::{Child, NewProcess, exit_now};
use crate::sys::signal::SignalFd;
use crate::sys::wait::wait;
use crate::sys::{socket, title};
use anyhow::{Context, Result};
use jiff::Timestamp;
use network::Memberships;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::termios::Termios;
use nix::sys::wait::{WaitPidFlag, waitpid};
use oci_spec::runtime::Spec;
use run::Run;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a supervisor is made for.
#[derive(Debug)]
pub struct Supervisor {
    /// It runs in this process, made for it.
    pub process: NewProcess,
    /// All containers.
    pub containers: Containers,
    /// The container; its directory is locked by `lock`.
    pub container: Container,
    /// Held as long as the supervisor lives.
    pub lock: Lock,
    /// What it runs by.
    pub spec: Spec,
    /// The command that started it.
    pub caller: Channel,
    /// A connection that the container's streams go over, and which do.
    pub attached: Option<(OwnedFd, WantedStreams)>,
    /// The container's ends of pipes that the caller carries its streams by, for
    /// its only run.
    pub carried: Option<Stdio>,
    /// The container ends when the caller is killed.
    pub foreground: bool,
    /// Sockets that the container gets.
    pub sockets: Sockets,
    /// The caller's terminal, and as it was: restored if the caller dies.
    pub terminal: Option<(Termios, OwnedFd)>,
    /// This process's signals.
    pub signals: SignalFd,
}

/// How long what serves a network must have lived to be started again.
const WORTH_IT: Duration = Duration::from_millis(200);

/// How one run of a container's command went.
enum Outcome {
    Ended(i32),
    NotStarted(StartError),
}

impl Supervisor {
    /// Looks after the container from its start to its end.
    pub fn run(self) -> ! {
        let _ = nix::unistd::setsid();
        let Supervisor {
            process,
            containers,
            container,
            lock,
            spec,
            caller,
            attached,
            carried,
            foreground,
            sockets,
            terminal,
            signals,
        } = self;
        let role = format!("supervisor {}", short(&container.record.id));
        title::set(c"bryo-supervise", &role);
        let attached = attached.map(|(fd, w)| (fd, w.input, w.output, w.errors));
        let mut life = Life {
            containers,
            container,
            lock,
            spec: Some(spec),
            hub: Hub::new(caller.into(), attached),
            direct: carried.is_some(),
            carried,
            foreground,
            sockets,
            terminal,
            signals,
            logger: None,
            told: false,
            entered: false,
            ending: false,
            maps: None,
            again: false,
            places: Memberships::default(),
            translator: None,
            listeners: Vec::new(),
            confined: false,
            filtered: false,
        };
        let trash = match life.live(&process) {
            Ok(trash) => trash,
            Err(error) => {
                let error = StartError::new(Step::Supervise, &error);
                life.hub.tell_caller(&Reply::Failed(error));
                life.hub.close();
                exit_now(1)
            }
        };
        // Who is attached may take its time to read; the record is written.
        let Life {
            hub,
            lock,
            translator,
            ..
        } = life;
        drop(lock);
        hub.close();
        if let Some(translator) = translator {
            translator.finish();
        }
        // The caller has heard the end and is gone; this is behind its back.
        for trash in trash {
            let _ = remove_tree(&trash);
        }
        exit_now(0)
    }
}

/// The supervisor at work.
struct Life {
    containers: Containers,
    container: Container,
    lock: Lock,
    /// Read anew for each restart.
    spec: Option<Spec>,
    hub: Hub,
    /// The caller carries the container's streams itself.
    direct: bool,
    carried: Option<Stdio>,
    foreground: bool,
    sockets: Sockets,
    terminal: Option<(Termios, OwnedFd)>,
    signals: SignalFd,
    logger: Option<Logger>,
    /// The caller knows that the command runs.
    told: bool,
    /// This process is in the container's user namespace for good: it cannot
    /// start anything outside.
    entered: bool,
    /// It is not started again, whatever the policy says.
    ending: bool,
    /// Once this process is where it may write the container's maps: those of
    /// the spec, as their ids are called there, if it is anything else.
    maps: Option<Option<Maps>>,
    /// It is started again, whatever the policy says.
    again: bool,
    /// Its places on named networks.
    places: Memberships,
    /// What serves its network, if that is user-mode.
    translator: Option<Translator>,
    /// Its published ports.
    listeners: Vec<Listener>,
    /// The container's control groups are made, and this process is where it
    /// may use them.
    confined: bool,
    /// A filter of system calls is in force.
    filtered: bool,
}

impl Life {
    /// Returns what is to be deleted.
    fn live(&mut self, process: &NewProcess) -> Result<Vec<PathBuf>> {
        // Nothing of the caller's is kept busy.
        release_stdio(process)?;
        if !self.foreground {
            let _ = std::env::set_current_dir("/");
        }
        let mut quick = 0;
        loop {
            let begin = Instant::now();
            let (code, failure) = match self.once()? {
                Outcome::Ended(code) => (code, None),
                Outcome::NotStarted(error) => (error.exit_code(), Some(error)),
            };
            let stopped = self.ending || self.container.stop_was_asked();
            let restarts = self.container.history.restarts;
            let policy = match self.entered {
                true => Restart::No,
                false => self.container.restart_policy(),
            };
            let again = std::mem::take(&mut self.again) && !stopped;
            if !self.told || !(again || policy.again(code, restarts, stopped)) {
                let text = failure.as_ref().map(ToString::to_string);
                let text = text.or_else(|| self.out_of_memory(code));
                if let (Some(text), None) = (&text, &failure) {
                    self.hub.tell_caller(&Reply::Warning(text.clone()));
                }
                let trash = self.finish(code, text)?;
                match failure {
                    Some(error) if !self.told => self.hub.tell_caller(&Reply::Failed(error)),
                    _ => self.hub.tell_end(code),
                }
                return Ok(trash);
            }
            if begin.elapsed() >= RAN_WELL {
                quick = 0;
            }
            self.container.state = State::Restarting {
                code,
                at: Timestamp::now(),
            };
            self.container.history.finished = Some(Timestamp::now());
            let _ = self.container.note_state();
            if !self.pause_before_restart(back_off(quick))? {
                let trash = self.finish(code, None)?;
                self.hub.tell_end(code);
                return Ok(trash);
            }
            quick += 1;
            self.container.history.restarts += 1;
        }
    }

    /// Waits before a restart; false if it was asked not to come.
    fn pause_before_restart(&mut self, pause: Duration) -> Result<bool> {
        let end = Instant::now() + pause;
        loop {
            if Instant::now() >= end {
                return Ok(!self.container.stop_was_asked());
            }
            let watched: Vec<_> = self.hub.watched(false).collect();
            let fds = watched.iter().map(|(_, fd, events)| (*fd, *events));
            let signals = [(self.signals.as_fd(), PollFlags::POLLIN)];
            let seen = wait(fds.chain(signals), Some(end)).context("poll")?;
            let clients = watched.iter().map(|(number, ..)| *number);
            let ready: Vec<_> = clients
                .zip(seen)
                .filter(|(_, events)| !events.is_empty())
                .collect();
            let mut end = std::iter::from_fn(|| self.signals.next()).any(|s| s == libc::SIGTERM);
            for (number, events) in ready {
                let Some(number) = number else {
                    self.hub.accept();
                    continue;
                };
                for asked in self.hub.serve(number, events) {
                    match asked {
                        Asked::Request(_, Request::End) => {
                            self.hub.reply(number, &Reply::Done);
                            end = true;
                        }
                        Asked::Request(_, Request::Release) => self.release(),
                        Asked::Request(_, Request::Wait | Request::Attach(..)) => {}
                        // It joins anew.
                        Asked::Request(number, Request::Networks) => {
                            self.places = Memberships::default();
                            self.hub.reply(number, &Reply::Done);
                        }
                        Asked::Request(number, _) => {
                            let restarting =
                                refusal!(Conflict, "container {} is restarting", self.name());
                            self.hub.reply(number, &Reply::refused(&restarting));
                        }
                        Asked::CallerGone => end |= self.foreground,
                        Asked::Input(_) | Asked::InputEnd | Asked::InputGone => {}
                    }
                }
            }
            self.hub.sweep();
            if end {
                return Ok(false);
            }
        }
    }

    fn name(&self) -> String {
        self.container.record.name.clone()
    }

    /// The container is its caller's no more.
    fn release(&mut self) {
        self.foreground = false;
        self.terminal = None;
        self.hub.release_caller();
        let _ = std::env::set_current_dir("/");
    }

    /// Runs the command once.
    fn once(&mut self) -> Result<Outcome> {
        let keeping = self.container.record.keeping.clone();
        let (pipes, stdio) = match self.carried.take() {
            Some(carried) => (None, carried),
            None if keeping.tty => (None, Stdio::null()?),
            None => {
                let (ours, theirs) = Streams::pipes(keeping.interactive)?;
                (Some(ours), theirs)
            }
        };
        if !self.direct && self.logger.is_none() {
            let record = &self.container.record;
            let origin = Origin {
                id: record.id.clone(),
                name: record.name.clone(),
                details: self.container.log_details(),
            };
            self.logger = Some(Logger::open(&self.container.dir, &keeping.log, origin)?);
        }
        let mut started = match self.start(&stdio) {
            Ok(started) => started,
            Err(error) => return Ok(Outcome::NotStarted(error)),
        };
        // Our copies of the container's ends.
        drop(stdio);
        let streams = match (pipes, started.console.take()) {
            (Some(pipes), _) => Some(pipes),
            (None, Some(master)) => Some(Streams::terminal(master)?),
            (None, None) => None,
        };
        self.running(&started)?;
        self.places.running(started.child.pid);
        self.translate(&mut started)?;
        for warning in &started.warnings {
            self.hub.tell_caller(&Reply::Warning(warning.clone()));
        }
        if !self.told {
            let listener = socket::listen(&self.container.dir, control::SOCKET);
            self.hub.listen(listener?);
            self.hub.tell_caller(&Reply::Started);
            self.told = true;
        }
        events::emit(&self.containers, Action::Start, &self.container, &[]);
        // From outside of the container's user namespace.
        let check = self.container.record.keeping.health.clone();
        let checker = check.map(|check| checker::start(&self.container, &check));
        let checker = checker.transpose()?;
        let emulator = self.emulate(&mut started);
        match self.entered {
            // It cannot start the container again.
            true => drop(crate::sys::seccomp::confine(seccomp::CARETAKER, true)),
            // One is enough for all its runs.
            false if !std::mem::replace(&mut self.filtered, true) => {
                confine_starter(&self.container);
            }
            false => {}
        }
        // What was needed for the start is not needed while it runs.
        self.spec = None;
        let run = Run::new(self, &started.child, streams, emulator, checker);
        let code = run.attend()?;
        if let Some(logger) = &mut self.logger {
            logger.finish();
        }
        let code_text = code.to_string();
        let details = [("exitCode", code_text.as_str())];
        events::emit(&self.containers, Action::Die, &self.container, &details);
        Ok(Outcome::Ended(code))
    }

    /// Starts what serves its network.
    fn translate(&mut self, started: &mut Started) -> Result<()> {
        let Some(tap) = started.tap.take() else {
            return Ok(());
        };
        // That of the command's last run has done its work.
        self.translator = None;
        self.translator = Some(self.translator(tap)?);
        Ok(())
    }

    fn translator(&self, tap: OwnedFd) -> Result<Translator> {
        match &self.container.record.network {
            Network::User(user) => {
                let empty = self.containers.mount_point();
                let report = translator::report_of(&self.container.dir);
                Translator::start(user, tap, &self.listeners, &empty, &report)
            }
            other => refuse!(Internal, "network {other}: it has no tap"),
        }
    }

    /// What served its network was killed: another does, unless it would be
    /// killed over and over. Connections end with it.
    fn translate_again(&mut self) {
        let Some(dead) = self.translator.take() else {
            return;
        };
        let again = match dead.lived() < WORTH_IT {
            true => Err(refusal!(Internal, "it ended as soon as it was started")),
            false => self.translator(dead.into_tap()),
        };
        match again {
            Ok(translator) => self.translator = Some(translator),
            Err(error) => {
                let text = format!("the network is gone: its process was killed, and {error:#}");
                self.hub.tell_caller(&Reply::Warning(text));
            }
        }
    }

    /// Records that the command runs.
    fn running(&mut self, started: &Started) -> Result<()> {
        let own_pids = self.container.record.namespaces & libc::CLONE_NEWPID as u64 != 0;
        let pid = started.child.pid;
        let now = Timestamp::now();
        self.container.state = State::Running {
            user_namespace: (!own_pids).then(|| user_namespace(pid)).flatten(),
            process: ProcessId::of(pid)?,
            since: now,
        };
        self.container.history.started = Some(now);
        let checked = self.container.record.keeping.health.is_some();
        self.container.history.health = checked.then(Health::default);
        if let Some(path) = &self.container.record.keeping.pidfile {
            let text = pid.to_string();
            let written = std::fs::write(path, text).inspect_err(|_| {
                let _ = std::fs::remove_file(path);
            });
            written.with_context(|| format!("write {}", path.display()))?;
        }
        self.container.save_state()
    }

    /// What answers for the emulated root. If the container may be started
    /// again, a process of its own does: this one enters the container's user
    /// namespace for it, and there is no way back. So it is where there are
    /// networks to look after.
    fn emulate(&mut self, started: &mut Started) -> Option<Emulator> {
        let listener = started.listener.take()?;
        let emulator = Emulator::new(listener, &self.container.dir);
        if self.container.may_come_again() || !self.places.is_empty() {
            let _ = emulator.serve_beside(&started.child.pidfd);
            return None;
        }
        // There this process may write attributes whatever a file's mode.
        // The command may have ended by now, and its namespace with it.
        // Nobody who has all capabilities in there may look into it.
        let _ = nix::sys::prctl::set_dumpable(false);
        let _ = nix::sched::setns(&started.child.pidfd, CloneFlags::CLONE_NEWUSER);
        self.entered = true;
        Some(emulator)
    }

    /// Starts the container; where the kernel refuses the overlay, with
    /// something else in its place.
    fn start(&mut self, stdio: &Stdio) -> Result<Started, StartError> {
        if self.listeners.is_empty() && !self.container.record.ports.is_empty() {
            let made = publish::listen(&self.container.record.ports);
            let made = made.map_err(|e| StartError::new(Step::Network, &e))?;
            (self.listeners, self.container.history.published) = made;
        }
        let plan_failed = |e: anyhow::Error| StartError::new(Step::Plan, &e);
        let mut spec = match self.spec.take() {
            Some(spec) => spec,
            None => self.container.spec().map_err(plan_failed)?,
        };
        let map_failed = |e: anyhow::Error| StartError::new(Step::Map, &e);
        let network = &self.container.record.network;
        let shared = sharing::place(&self.containers, network, &mut spec);
        let shared = shared.map_err(|e| StartError::new(Step::Network, &e))?;
        // Before this process has a control group of its own, in which neither
        // the keeper nor a network's process must be.
        let joined = self.join_networks();
        joined.map_err(|e| StartError::new(Step::Network, &e))?;
        let elsewhere = matches!(shared, Some(SharedNetwork::Owned(..))) || !self.places.is_empty();
        let keeper = match self.maps.is_some() || elsewhere {
            true => None,
            false => userns::keeper_for(&spec).map_err(map_failed)?,
        };
        self.confine(&spec)?;
        let entered = match &shared {
            Some(SharedNetwork::Owned(_, owner)) => holder::enter(owner),
            _ => self.enter_networks().map(drop),
        };
        entered.map_err(|e| StartError::new(Step::Network, &e))?;
        let maps = match (self.maps.take(), keeper) {
            (Some(maps), _) => Ok(maps),
            (None, _) if elsewhere => userns::renamed_here(&spec).map(Some),
            (None, Some((keeper, maps))) => keeper.join().map(|()| Some(maps)),
            (None, None) => Ok(None),
        };
        let maps = maps.map_err(|e| StartError::new(Step::Map, &e))?;
        self.maps = Some(maps.clone());
        loop {
            let attempt = self.attempt(&spec, stdio, maps.as_ref());
            let error = match attempt.map_err(plan_failed)? {
                Err(error) if overlay_refused(&error) => error,
                other => return other,
            };
            let substitute = root::substitute(&mut spec, &self.container);
            match substitute.map_err(plan_failed)? {
                Some(what) => {
                    let text = format!("{what} ({})", error.text);
                    self.hub.tell_caller(&Reply::Warning(text));
                    // It is what it runs by from now on.
                    self.container.save_spec(&spec).map_err(plan_failed)?;
                }
                None => return Err(error),
            }
        }
    }

    fn attempt(
        &self,
        spec: &Spec,
        stdio: &Stdio,
        maps: Option<&Maps>,
    ) -> Result<Result<Started, StartError>> {
        let with_secrets = secrets::with_variables(spec, &self.container)?;
        let spec = with_secrets.as_ref().unwrap_or(spec);
        let mut plan = Plan::new(spec, &self.container.dir)?;
        if let Some(field) = plan.hooks.first() {
            let why = "hooks are run for containers of bryo oci alone";
            return Err(Unsupported::new(field, why).into());
        }
        if let Some(placed) = &self.container.history.confinement.placed {
            plan.group = Some(placed.payload().open()?);
        }
        let names = self.sockets.names.as_ref();
        let names = names.map(|names| format!("LISTEN_FDNAMES={names}"));
        let names = names.map(CString::new).transpose()?;
        plan.process.sockets = (self.sockets.count, names);
        if let Some(maps) = maps {
            (plan.uid_map, plan.gid_map) = (maps.uids.clone(), maps.gids.clone());
        }
        if plan.create & libc::CLONE_NEWPID as u64 == 0 {
            // Orphans of the container come to us and are ended with it.
            nix::sys::prctl::set_child_subreaper(true).context("become subreaper")?;
        }
        let id = &self.container.record.id;
        let connect = |child: &Child| self.places.connect(id, child.pid);
        let during: Option<&runtime::start::During> = match self.places.is_empty() {
            true => None,
            false => Some(&connect),
        };
        Ok(runtime::start(&plan, stdio, during))
    }

    /// Records the end; returns what is to be deleted.
    fn finish(&mut self, code: i32, error: Option<String>) -> Result<Vec<PathBuf>> {
        let _ = std::fs::remove_file(self.container.dir.join(control::SOCKET));
        // Who hears of the end may publish the same ports at once.
        if !std::mem::take(&mut self.listeners).is_empty() {
            self.translator.iter().for_each(Translator::close_ports);
            self.places.close_ports();
        }
        self.container.remove_groups();
        if self.container.record.auto_remove {
            let mut trash = self.containers.release_volumes(&self.container)?;
            trash.push(self.containers.remove(&self.container, &self.lock)?);
            return Ok(trash);
        }
        let now = Timestamp::now();
        self.container.state = State::Exited {
            code,
            at: now,
            error,
        };
        self.container.history.finished = Some(now);
        if let Err(error) = self.container.note_state() {
            // Who waits is told the code all the same.
            let text = format!("its end could not be recorded: {error:#}");
            self.hub.tell_caller(&Reply::Warning(text));
        }
        Ok(Vec::new())
    }
}

/// Takes from a process that starts what runs in `container` what none of that
/// can use. All of it inherits the filter, and no_new_privs, without which the
/// kernel takes a filter from root of a user namespace alone: so that a
/// container's programs can become more than who starts them, another process
/// goes without.
pub(in crate::engine) fn confine_starter(container: &Container) {
    if crate::sys::seccomp::confine(seccomp::STARTER, false).is_ok() {
        return;
    }
    let spec = container.spec().ok();
    let process = spec.as_ref().and_then(|spec| spec.process().as_ref());
    if process.and_then(|process| process.no_new_privileges()) == Some(true) {
        let _ = crate::sys::seccomp::confine(seccomp::STARTER, true);
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

/// Ends the processes that a container without a PID namespace left, and
/// those that served it: they are children of this process.
fn end_orphans(spared: Option<nix::unistd::Pid>) {
    let path = format!("/proc/self/task/{}/children", nix::unistd::gettid());
    for _ in 0..1000 {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        let mut any = false;
        for pid in children
            .split_ascii_whitespace()
            .filter_map(|p| p.parse().ok())
        {
            let pid = nix::unistd::Pid::from_raw(pid);
            if spared == Some(pid) {
                continue;
            }
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            any |= waitpid(pid, None).is_ok();
        }
        if !any {
            return;
        }
    }
}

/// Reaps children other than the container's first process.
fn reap_others(first: nix::unistd::Pid) {
    use nix::sys::wait::{Id, waitid};
    while let Ok(status) = waitid(
        Id::All,
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT,
    ) {
        match status.pid() {
            Some(pid) if pid != first => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))),
            _ => return,
        }
    }
}
