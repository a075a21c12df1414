//! `bryo pause` and `bryo unpause`.

use super::Context;
use super::chosen::Chosen;
use super::output;
use crate::engine::container::asking;
use crate::engine::container::containers::Container;
use crate::engine::container::control::Request;
use crate::engine::container::record::State;
use crate::error::refuse;
use anyhow::Result;

/// Let no process of the containers go on
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
}

/// Pauses each container, and prints what it was called by.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    each(args, context, Request::Pause)
}

/// Let paused containers go on
#[derive(Debug, clap::Args)]
pub struct UnpauseArgs {
    #[command(flatten)]
    of: Args,
}

/// Lets each container go on, and prints what it was called by.
pub fn unpause(args: &UnpauseArgs, context: &Context) -> Result<()> {
    each(&args.of, context, Request::Resume)
}

fn paused(container: &Container) -> bool {
    matches!(container.state, State::Paused { .. })
}

fn running(container: &Container) -> bool {
    matches!(container.state, State::Running { .. })
}

fn each(args: &Args, context: &Context, request: Request) -> Result<()> {
    let containers = context.containers()?;
    let names = match request {
        Request::Resume => args.chosen.names(context, paused)?,
        _ => args.chosen.names(context, running)?,
    };
    super::each(&names, |name| {
        let mut container = containers.find(name)?;
        container.running_process()?;
        if paused(&container) != (request == Request::Resume) {
            let state = container.state.name();
            refuse!(
                AlreadySo,
                "container {} is {state} already",
                container.record.name
            );
        }
        asking::ask(&container, request)?;
        Ok(output::line(name)?)
    })
}
