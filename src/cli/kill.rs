//! `bryo kill`.

use super::Context;
use super::chosen::Chosen;
use crate::engine::operate::lifecycle;
use crate::sys::signals;
use anyhow::Result;

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,

    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

/// Sends the signal to each container's first process.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let signal = signals::parse(&args.signal)?;
    let names = args
        .chosen
        .names(context, |c| c.state.process().is_some())?;
    super::each(&names, |name| {
        let containers = context.containers()?;
        let mut container = containers.find(name)?;
        lifecycle::kill(&containers, &mut container, signal)?;
        Ok(super::output::line(name)?)
    })
}
