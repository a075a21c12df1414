//! `bryo compose up` that stays: shows what the containers print until they end, and stops them
//! when it is asked to.

use super::inside::short_name;
use super::report;
use crate::cli::logs::{self, Names, Show, Source};
use crate::cli::{error, output};
use crate::compose::down::{levels, stop};
use crate::compose::found::lock;
use crate::compose::up::{Made, Up};
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::record::State;
use crate::engine::ground::watch::Watch;
use crate::engine::operate::lifecycle;
use crate::sys::signal::SignalFd;
use crate::sys::wait;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, raise};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

/// The exit code of who was interrupted, as docker compose has it.
const INTERRUPTED: i32 = 130;

/// When the end of one container is that of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// Never.
    Never,
    /// When one ends with another code than 0.
    Failure,
    /// When one ends.
    Exit,
}

/// What is shown of which services, and until when.
#[derive(Debug)]
pub struct Attached {
    /// Services whose lines are shown.
    pub shown: BTreeSet<String>,
    /// Services whose containers are waited for.
    pub awaited: BTreeSet<String>,
    /// When all are stopped.
    pub abort: Abort,
    /// The service whose exit code is ours.
    pub code_from: Option<String>,
    /// What stands before lines.
    pub names: Names,
    /// Lines have times.
    pub timestamps: bool,
}

/// What a thread of ours does.
enum Work<'scope> {
    Nothing,
    Start(Job<'scope>),
    Stop(Job<'scope>),
}

/// A thread, and a pipe that is at its end when the thread is.
struct Job<'scope> {
    thread: ScopedJoinHandle<'scope, Result<()>>,
    pipe: PipeReader,
}

impl<'scope> Job<'scope> {
    fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        work: impl FnOnce() -> Result<()> + Send + 'scope,
    ) -> Result<Job<'scope>> {
        let (pipe, end) = io::pipe().context("pipe")?;
        let thread = scope.spawn(move || {
            let done = work();
            drop(end);
            done
        });
        Ok(Job { thread, pipe })
    }

    fn is_over(&self) -> bool {
        wait::is_readable(&self.pipe)
    }

    fn finish(self) -> Result<()> {
        self.thread.join().expect("no thread panics")
    }
}

/// A container that is waited for.
struct Awaited {
    container: Container,
    /// When the end was that is known of.
    end: Option<Timestamp>,
}

/// The end of a container.
#[derive(Debug)]
struct End {
    name: String,
    code: i32,
    restarts: bool,
}

/// Why all are stopped.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// A signal came.
    Interrupted,
    /// One has ended with this code.
    Aborted(i32),
}

/// Starts what is made, shows what it prints, and stays until it has ended. `alone`, the project's
/// lock, goes when all is started. Returns the exit code.
///
/// # Errors
/// What could not be started or stopped.
pub fn run(up: &Up, made: &Made, how: &Attached, alone: impl Send) -> Result<i32> {
    // Before there are threads: they block what this one does.
    let signals = SignalFd::new()?;
    let mut view = View::new(up, made, how)?;
    view.announce()?;
    thread::scope(|scope| {
        let start = move || {
            let started = up.start(made);
            drop(alone);
            started
        };
        let mut work = Work::Start(Job::begin(scope, start)?);
        let mut reason = None;
        let mut asked = 0;
        loop {
            let ends = view.ends();
            let shown = view.show(&ends);
            let aborts = |end: &&End| match how.abort {
                Abort::Never => false,
                Abort::Failure => !end.restarts && end.code != 0,
                Abort::Exit => !end.restarts,
            };
            if let (None, Some(end)) = (reason, ends.iter().find(aborts)) {
                let _ = writeln!(view.out, "Aborting on container exit...");
                reason = Some(Reason::Aborted(end.code));
            }
            let mut leaves = None;
            for signal in std::iter::from_fn(|| signals.next()) {
                match signal {
                    libc::SIGINT | libc::SIGTERM => {
                        asked += 1;
                        reason = Some(Reason::Interrupted);
                        match asked {
                            1 => {
                                let _ = writeln!(
                                    view.errors,
                                    "Gracefully stopping: Ctrl-C again kills"
                                );
                            }
                            2 => kill(&view.containers, made),
                            _ => {}
                        }
                    }
                    libc::SIGTSTP => drop(raise(Signal::SIGSTOP)),
                    libc::SIGHUP | libc::SIGQUIT => leaves = Some(128 + signal),
                    _ => {}
                }
            }
            if reason.is_some() || leaves.is_some() || shown.is_err() {
                up.given_up.store(true, Ordering::Relaxed);
            }
            if let Some(code) = leaves {
                return Ok(code);
            }
            // Where nobody reads any more the containers go on, unless they are to end.
            if reason.is_none() && shown.is_err() {
                output::closed_is_fine(shown)?;
                return Ok(0);
            }
            work = match (work, reason) {
                (Work::Start(job), _) if job.is_over() => {
                    job.finish()?;
                    Work::Nothing
                }
                (Work::Nothing, Some(_)) => {
                    Work::Stop(Job::begin(scope, move || stop_all(up, made))?)
                }
                (Work::Stop(job), Some(reason)) if job.is_over() => {
                    job.finish()?;
                    let ends = view.ends();
                    let _ = view.show(&ends);
                    return match reason {
                        Reason::Interrupted => Ok(INTERRUPTED),
                        Reason::Aborted(code) => code_from(&view.containers, made, how, code),
                    };
                }
                (Work::Nothing, None) if view.all_ended() => {
                    let ends = view.ends();
                    output::closed_is_fine(view.show(&ends))?;
                    return Ok(0);
                }
                (other, _) => {
                    pause(&view.watch, &signals, &other)?;
                    other
                }
            };
        }
    })
}

/// Waits until there is something to look at, for a second at most: that a process was killed
/// changes no file.
fn pause(watch: &Watch, signals: &SignalFd, work: &Work) -> Result<()> {
    let mut fds = vec![watch.as_fd(), signals.as_fd()];
    if let Work::Start(job) | Work::Stop(job) = work {
        fds.push(job.pipe.as_fd());
    }
    let fds = fds.into_iter().map(|fd| (fd, PollFlags::POLLIN));
    wait::wait(fds, wait::within(Duration::from_secs(1))).context("poll")?;
    watch.forget();
    Ok(())
}

/// The exit code where all were stopped because one ended with `first`.
fn code_from(containers: &Containers, made: &Made, how: &Attached, first: i32) -> Result<i32> {
    let ids = how.code_from.as_ref().and_then(|name| made.ids.get(name));
    let Some(id) = ids.and_then(|ids| ids.first()) else {
        return Ok(first);
    };
    lifecycle::wait(containers, containers.find(id)?)
}

/// The containers that there are still.
fn all(containers: &Containers, made: &Made) -> Vec<Container> {
    let ids = made.ids.values().flatten();
    ids.filter_map(|id| containers.find(id).ok()).collect()
}

fn stop_all(up: &Up, made: &Made) -> Result<()> {
    let containers = Containers::open(up.store);
    let _alone = lock(up.store, &up.project.name)?;
    for level in levels(all(&containers, made)) {
        stop(&containers, &level, up.patience, up.report)?;
    }
    Ok(())
}

fn kill(containers: &Containers, made: &Made) {
    for mut container in all(containers, made) {
        if container.state.process().is_none() {
            continue;
        }
        match lifecycle::kill(containers, &mut container, libc::SIGKILL) {
            Ok(()) => report("Container", &container.record.name, "Killed"),
            // It may have ended by now.
            Err(error) => error::warn(&format!("{error:#}")),
        }
    }
}

/// What is seen of the containers.
struct View {
    containers: Containers,
    watch: Watch,
    show: Show,
    sources: Vec<Source>,
    /// The names of those of which lines are shown.
    names: Vec<String>,
    awaited: Vec<Awaited>,
    project: String,
    // Not the standard library's streams: a process that another thread makes would have their
    // locks as they are just then.
    out: File,
    errors: File,
}

impl View {
    fn new(up: &Up, made: &Made, how: &Attached) -> Result<View> {
        let containers = Containers::open(up.store);
        let watch = Watch::new()?;
        let project = up.project.name.clone();
        let (mut shown, mut names, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
        for (service, ids) in &made.ids {
            for id in ids {
                let container = containers.find(id)?;
                let name = short_name(&container, &project).to_owned();
                let is_awaited = how.awaited.contains(service);
                let is_shown = how.shown.contains(service);
                if is_awaited || is_shown {
                    watch.add(&container.dir)?;
                }
                if is_awaited {
                    awaited.push(Awaited {
                        end: end(&container.state).map(|(at, ..)| at),
                        container: container.clone(),
                    });
                }
                if is_shown && container.record.keeping.log.file().is_none() {
                    error::warn(&format!(
                        "services.{service}: its logging keeps nothing, so nothing is shown of {name}"
                    ));
                } else if is_shown {
                    shown.push(container);
                    names.push(name);
                }
            }
        }
        let shown = logs::named(shown, &names, how.names, "  |");
        // From here on: what they printed earlier was shown earlier.
        let sources = shown
            .into_iter()
            .map(|(container, prefix)| Source::open(container, prefix, Some(0)));
        let copy = |fd: BorrowedFd| fd.try_clone_to_owned().map(File::from);
        Ok(View {
            sources: sources.collect::<Result<_>>()?,
            show: Show {
                timestamps: how.timestamps,
                ..Show::default()
            },
            out: copy(io::stdout().as_fd()).context("standard output")?,
            errors: copy(io::stderr().as_fd()).context("standard error")?,
            containers,
            watch,
            names,
            awaited,
            project,
        })
    }

    fn announce(&mut self) -> Result<()> {
        let text = format!("Attaching to {}\n", self.names.join(", "));
        Ok(output::closed_is_fine(self.out.write_all(text.as_bytes()))?)
    }

    /// The ends that were not known of, in the order in which they were.
    fn ends(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        for own in &mut self.awaited {
            // One that somebody has removed stays as it was seen last, but for its process.
            if let Ok(container) = self.containers.find(&own.container.record.id) {
                own.container = container;
            } else if own.container.state.is_active() {
                own.container.state = State::Created;
            }
            let Some((at, code, restarts)) = end(&own.container.state) else {
                continue;
            };
            if own.end != Some(at) {
                own.end = Some(at);
                let name = short_name(&own.container, &self.project).to_owned();
                let end = End {
                    name,
                    code,
                    restarts,
                };
                ends.push((at, end));
            }
        }
        ends.sort_by_key(|(at, _)| *at);
        ends.into_iter().map(|(_, end)| end).collect()
    }

    fn all_ended(&self) -> bool {
        let mut states = self.awaited.iter().map(|own| &own.container.state);
        states.all(|state| !state.is_active())
    }

    /// Prints what containers have printed, and then these ends: they were seen before.
    fn show(&mut self, ends: &[End]) -> io::Result<()> {
        let mut out = BufWriter::new(&self.out);
        let mut errors = BufWriter::new(&self.errors);
        self.show
            .what_is_there(&mut self.sources, &mut out, &mut errors)?;
        for End {
            name,
            code,
            restarts,
        } in ends
        {
            let more = if *restarts { " (restarting)" } else { "" };
            writeln!(out, "{name} exited with code {code}{more}")?;
        }
        errors.flush()?;
        out.flush()
    }
}

/// When a container ended, with which code, and whether it is started again.
fn end(state: &State) -> Option<(Timestamp, i32, bool)> {
    match state {
        State::Exited { code, at, .. } => Some((*at, *code, false)),
        State::Restarting { code, at } => Some((*at, *code, true)),
        _ => None,
    }
}
