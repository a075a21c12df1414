//! `bryo rename`.

use super::Context;
use crate::engine::operate::lifecycle;
use anyhow::Result;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,
    /// The new name
    name: String,
}

/// Renames the container.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let mut container = containers.find(&args.container)?;
    lifecycle::rename(&containers, &mut container, &args.name)
}
