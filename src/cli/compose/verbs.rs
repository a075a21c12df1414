//! Verbs of `bryo compose` on containers that there are.

use super::{Args, found, report};
use crate::cli::{Context, error, output};
use crate::compose::down::{levels, remove, stop};
use crate::compose::found::{containers, is_one_off, label, lock};
use crate::compose::labels;
use crate::engine::container::asking;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::control::Request;
use crate::engine::container::record::State;
use crate::engine::container::volumes::Volumes;
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::refuse;
use crate::sys::signals;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::fd::AsFd;

/// Services
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Named {
    /// The containers of these services alone
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Stop containers
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    of: Named,

    /// Seconds to wait before they are killed
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
}

/// Start containers that do not run
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    of: Named,
}

/// Stop containers and start them
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    stop: StopArgs,
}

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    #[command(flatten)]
    of: Named,

    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

/// Remove containers that do not run
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    #[command(flatten)]
    of: Named,

    /// Do not ask: bryo never does here
    #[arg(short, long)]
    force: bool,

    /// Stop them first
    #[arg(short, long)]
    stop: bool,

    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
}

/// Hold containers' processes
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    #[command(flatten)]
    of: Named,
}

/// Let held processes go on
#[derive(Debug, clap::Args)]
pub struct UnpauseArgs {
    #[command(flatten)]
    of: Named,
}

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Services
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
}

/// A project's containers, and the way to them.
pub struct Scope {
    /// All of the user's.
    pub containers: Containers,
    /// Those of the services that are meant, the eldest first.
    pub all: Vec<Container>,
    /// The project's name.
    pub project: String,
}

impl Scope {
    /// Finds them.
    ///
    /// # Errors
    /// A service that neither the files nor any container has.
    pub fn of(args: &Args, services: &[String], context: &Context) -> Result<Scope> {
        let (project, files) = found(args)?;
        let own = Containers::open(&context.store()?);
        let mut all = containers(&own, &project)?;
        all.retain(|container| !is_one_off(container));
        for name in services {
            let is_known = files
                .as_ref()
                .is_some_and(|files| files.known.contains(name));
            if !is_known && !all.iter().any(|c| label(c, labels::SERVICE) == name) {
                refuse!(
                    NotFound,
                    "there is no service {name:?} in project {project}"
                );
            }
        }
        let is_meant = |name: &str| services.is_empty() || services.iter().any(|own| own == name);
        all.retain(|container| is_meant(label(container, labels::SERVICE)));
        Ok(Scope {
            containers: own,
            all,
            project,
        })
    }

    /// One container of a service: that with this number, else the first.
    ///
    /// # Errors
    /// There is none.
    pub fn one(
        args: &Args,
        service: &str,
        index: Option<usize>,
        context: &Context,
    ) -> Result<(Containers, Container)> {
        let mut scope = Scope::of(args, &[service.to_owned()], context)?;
        let number = |container: &Container| {
            label(container, labels::NUMBER)
                .parse::<usize>()
                .unwrap_or(1)
        };
        scope.all.sort_by_key(number);
        let found = scope
            .all
            .into_iter()
            .find(|c| index.is_none_or(|index| index == number(c)));
        match found {
            Some(container) => Ok((scope.containers, container)),
            None => refuse!(
                NotFound,
                "service {service:?} has no such container: bryo compose up -d makes it"
            ),
        }
    }

    fn locked(&self, context: &Context) -> Result<impl Sized + use<>> {
        lock(&context.store()?, &self.project)
    }
}

/// Stops.
pub fn stop_all(args: &Args, own: &StopArgs, context: &Context) -> Result<()> {
    let scope = Scope::of(args, &own.of.services, context)?;
    let _alone = scope.locked(context)?;
    for level in levels(scope.all) {
        stop(&scope.containers, &level, own.timeout, &report)?;
    }
    Ok(())
}

/// Starts.
pub fn start(args: &Args, own: &StartArgs, context: &Context) -> Result<()> {
    let scope = Scope::of(args, &own.of.services, context)?;
    let _alone = scope.locked(context)?;
    if scope.all.is_empty() {
        refuse!(
            NotFound,
            "project {} has no such containers: bryo compose up -d makes them",
            scope.project
        );
    }
    begin(&scope.containers, scope.all)
}

/// Starts containers, those first that others depend on.
fn begin(containers: &Containers, all: Vec<Container>) -> Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("/dev/null")?;
    for container in levels(all).into_iter().rev().flatten() {
        let container = containers.find(&container.record.id)?;
        let name = container.record.name.clone();
        if container.state.is_active() {
            continue;
        }
        let caller = Caller::with([null.as_fd(); 3]);
        lifecycle::start(
            containers,
            container,
            &Launch::default(),
            caller,
            &error::warn,
        )?;
        report("Container", &name, "Started");
    }
    Ok(())
}

/// Stops and starts.
pub fn restart(args: &Args, own: &RestartArgs, context: &Context) -> Result<()> {
    let scope = Scope::of(args, &own.stop.of.services, context)?;
    let _alone = scope.locked(context)?;
    for level in levels(scope.all.clone()) {
        stop(&scope.containers, &level, own.stop.timeout, &report)?;
    }
    begin(&scope.containers, scope.all)
}

/// Sends a signal.
pub fn kill(args: &Args, own: &KillArgs, context: &Context) -> Result<()> {
    let signal = signals::parse(&own.signal)?;
    let scope = Scope::of(args, &own.of.services, context)?;
    for mut container in scope.all {
        if container.state.process().is_some() {
            lifecycle::kill(&scope.containers, &mut container, signal)?;
            report("Container", &container.record.name, "Killed");
        }
    }
    Ok(())
}

/// Removes what does not run.
pub fn rm(args: &Args, own: &RmArgs, context: &Context) -> Result<()> {
    let scope = Scope::of(args, &own.of.services, context)?;
    let _alone = scope.locked(context)?;
    let store = context.store()?;
    let volumes = Volumes::open(&store);
    for mut level in levels(scope.all) {
        match own.stop {
            true => stop(&scope.containers, &level, None, &report)?,
            false => level.retain(|container| !container.state.is_active()),
        }
        remove(
            &scope.containers,
            &level,
            own.volumes.then_some(&volumes),
            &report,
        )?;
    }
    empty_trash_behind(&store)
}

/// Holds processes.
pub fn pause(args: &Args, own: &PauseArgs, context: &Context) -> Result<()> {
    for container in Scope::of(args, &own.of.services, context)?.all {
        if matches!(container.state, State::Running { .. }) {
            asking::ask(&container, Request::Pause)?;
            report("Container", &container.record.name, "Paused");
        }
    }
    Ok(())
}

/// Lets them go on.
pub fn unpause(args: &Args, own: &UnpauseArgs, context: &Context) -> Result<()> {
    for container in Scope::of(args, &own.of.services, context)?.all {
        if matches!(container.state, State::Paused { .. }) {
            asking::ask(&container, Request::Resume)?;
            report("Container", &container.record.name, "Unpaused");
        }
    }
    Ok(())
}

/// Waits for ends; the last one's exit code is ours.
pub fn wait(args: &Args, own: &WaitArgs, context: &Context) -> Result<i32> {
    let scope = Scope::of(args, &own.services, context)?;
    let mut last = 0;
    for container in scope.all {
        let name = container.record.name.clone();
        last = lifecycle::wait(&scope.containers, container)?;
        output::line(format!("container {name:?} exited with status code {last}"))?;
    }
    Ok(last)
}
