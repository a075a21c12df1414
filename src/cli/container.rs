//! `bryo container`: docker's group of the verbs about containers, and two
//! that have no other name.

use super::confirm::confirm;
use super::*;
use crate::engine::container::containers::Container;
use crate::engine::operate::changes::written;
use crate::engine::operate::lifecycle;
use crate::engine::request::filter::{BY_AGE, Filters};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view::words::size;
use jiff::Timestamp;

/// Manage containers
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Connect to the standard streams of a container that runs
    Attach(attach::Args),
    /// Make an image of what a container changed
    Commit(commit::Args),
    /// Copy files between a container and the host
    Cp(cp::Args),
    /// Create a container without starting it
    Create(Box<create::Args>),
    /// Show what a container changed of its image
    Diff(diff::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Tell by the exit code whether a container exists: 0 or 1
    Exists(Exists),
    /// Write a container's root file system as a tar
    Export(export::Args),
    /// Show all that is known of containers
    Inspect(inspect::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Show what containers printed
    Logs(logs::Args),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    /// Let no process of the containers go on
    Pause(pause::Args),
    /// Show what ports a container publishes
    Port(port::Args),
    /// Remove containers that do not run
    Prune(Prune),
    /// Give a container another name
    Rename(rename::Args),
    /// Restart containers
    Restart(stop::RestartArgs),
    /// Remove containers
    Rm(rm::Args),
    /// Create and run a container from an image
    Run(Box<run::RunArgs>),
    /// Start containers that do not run
    Start(start::Args),
    /// Show what containers use
    Stats(stats::Args),
    /// Stop containers: ask them to end, and kill those that do not
    Stop(stop::Args),
    /// Show the processes of a container
    Top(top::Args),
    /// Let paused containers go on
    Unpause(pause::UnpauseArgs),
    /// Change how containers are looked after
    Update(Box<update::Args>),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Args),
}

#[derive(Debug, clap::Args)]
struct Exists {
    /// Name or id
    container: String,
}

#[derive(Debug, clap::Args)]
struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that pass: until=TIME or how long ago (created before),
    /// label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Args {
    /// The verb that it is a longer name of; itself for others.
    pub fn command(self) -> Command {
        match self.verb {
            Verb::Attach(args) => Command::Attach(args),
            Verb::Commit(args) => Command::Commit(args),
            Verb::Cp(args) => Command::Cp(args),
            Verb::Create(args) => Command::Create(args),
            Verb::Diff(args) => Command::Diff(args),
            Verb::Exec(args) => Command::Exec(args),
            Verb::Export(args) => Command::Export(args),
            Verb::Inspect(args) => Command::Inspect(args.of_containers()),
            Verb::Kill(args) => Command::Kill(args),
            Verb::Logs(args) => Command::Logs(args),
            Verb::Ls(args) => Command::Ps(args),
            Verb::Pause(args) => Command::Pause(args),
            Verb::Port(args) => Command::Port(args),
            Verb::Rename(args) => Command::Rename(args),
            Verb::Restart(args) => Command::Restart(args),
            Verb::Rm(args) => Command::Rm(args),
            Verb::Run(args) => Command::Run(args),
            Verb::Start(args) => Command::Start(args),
            Verb::Stats(args) => Command::Stats(args),
            Verb::Stop(args) => Command::Stop(args),
            Verb::Top(args) => Command::Top(args),
            Verb::Unpause(args) => Command::Unpause(args),
            Verb::Update(args) => Command::Update(args),
            Verb::Wait(args) => Command::Wait(args),
            verb @ (Verb::Exists(_) | Verb::Prune(_)) => Command::Container(Args { verb }),
        }
    }
}

/// Runs the verbs that have no other name.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    match &args.verb {
        Verb::Exists(args) => match context.containers()?.find(&args.container) {
            Err(e) if error::is_not_found(&e) => Ok(1),
            other => other.map(|_| 0),
        },
        Verb::Prune(args) => prune(args, context).map(|()| 0),
        _ => Ok(0),
    }
}

fn prune(args: &Prune, context: &Context) -> Result<()> {
    let filters = Filters::read(&args.filter, BY_AGE, Timestamp::now())?;
    let question = "This removes all containers that do not run.";
    if !args.force && !confirm(question)? {
        return Ok(());
    }
    let containers = context.containers()?;
    let mut gone = Vec::new();
    let mut total = 0;
    let all = containers.list()?.into_iter();
    let mut idle: Vec<Container> = all.filter(|c| !c.state.is_active()).collect();
    idle.retain(|c| {
        let (labels, created) = (&c.record.labels, c.record.created);
        filters.all().all(|filter| filter.holds(labels, created))
    });
    for container in &idle {
        let size = written(container);
        // Somebody may have started or removed it by now.
        if lifecycle::finish_remove(&containers, container, false, false).is_ok() {
            gone.push(container.record.id.clone());
            total += size;
        }
    }
    if !gone.is_empty() {
        output::line("Deleted Containers:")?;
        for id in gone {
            output::line(id)?;
        }
        output::line("")?;
    }
    output::line(format!("Total reclaimed space: {}", size(total)))?;
    empty_trash_behind(&context.store()?)
}
