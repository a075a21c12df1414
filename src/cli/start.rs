//! `bryo start`.

use super::Context;
use super::error;
use super::output;
use super::streams::input_is_a_terminal;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::control::WantedStreams;
use crate::engine::container::record::State;
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::request::detach_keys;
use crate::engine::supervise::attach::End;
use crate::error::refuse;
use anyhow::Result;

/// Start containers that do not run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required_unless_present = "all")]
    containers: Vec<String>,

    /// Show what the container prints, and exit as it does
    #[arg(short, long)]
    attach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave a container with a terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: String,
    /// All containers whose restart policy says so: for after a reboot
    #[arg(long, conflicts_with_all = ["containers", "attach", "interactive"])]
    all: bool,
}

/// Starts each container, and prints what it was called by.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let containers = context.containers()?;
    let attach = args.attach || args.interactive;
    if attach && args.containers.len() != 1 {
        refuse!(Invalid, "only one container can be attached to");
    }
    let how = Launch {
        attach: attach.then_some(WantedStreams {
            input: args.interactive,
            ..WantedStreams::OUTPUTS
        }),
        detach_keys: detach_keys::parse(&args.detach_keys)?,
        inherited: context.inherited.clone(),
        sockets: context.sockets.clone(),
        ..Launch::default()
    };
    if let ([name], true) = (&args.containers[..], attach) {
        return start_attached(&containers, containers.find(name)?, &how);
    }
    let names = match args.all {
        true => due(containers.list()?),
        false => args.containers.clone(),
    };
    super::each(&names, |name| {
        let caller = Caller::command()?;
        lifecycle::start(
            &containers,
            containers.find(name)?,
            &how,
            caller,
            &error::warn,
        )?;
        Ok(output::line(name)?)
    })?;
    Ok(0)
}

fn start_attached(containers: &Containers, container: Container, how: &Launch) -> Result<i32> {
    if container.state.is_active() {
        refuse!(
            AlreadySo,
            "container {} is {}: bryo attach shows what it prints",
            container.record.name,
            container.state.name()
        );
    }
    let keeping = &container.record.keeping;
    if keeping.tty && keeping.interactive && how.attach.is_some_and(|wanted| wanted.input) {
        input_is_a_terminal()?;
    }
    let caller = Caller::command()?;
    match lifecycle::start(containers, container, how, caller, &error::warn)? {
        End::Exited(code) => Ok(code),
        End::Left => Ok(0),
    }
}

/// The names of the containers that come back by themselves.
fn due(containers: Vec<Container>) -> Vec<String> {
    let due = containers.into_iter().filter(|container| {
        let stopped = container.stop_was_asked();
        match container.state {
            State::Exited { code, .. } => container.restart_policy().comes_back(code, stopped),
            _ => false,
        }
    });
    // The eldest first.
    let mut names: Vec<String> = due.map(|c| c.record.name).collect();
    names.reverse();
    names
}
