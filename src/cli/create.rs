//! `bryo create`.

use super::{Context, output};
use anyhow::Result;

/// Create a container without starting it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[command(flatten)]
    container: super::run::Args,
}

/// Creates the container and prints its id.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let mut options = args.container.options()?;
    options.keeping.input_once = options.interactive;
    let store = context.store()?;
    let (container, ..) = args.container.create(&store, &options)?;
    Ok(output::line(&container.record.id)?)
}
