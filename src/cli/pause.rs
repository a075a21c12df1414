//! `bryo pause` and `bryo unpause`.

use super::Context;
use super::output;
use crate::engine::container::asking;
use crate::engine::container::control::Request;
use crate::engine::container::record::State;
use crate::error::refuse;
use anyhow::Result;

/// Let no process of the containers go on
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
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

fn each(args: &Args, context: &Context, request: Request) -> Result<()> {
    let containers = context.containers()?;
    super::each(&args.containers, |name| {
        let mut container = containers.find(name)?;
        container.running_process()?;
        let paused = matches!(container.state, State::Paused { .. });
        if paused != (request == Request::Resume) {
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
