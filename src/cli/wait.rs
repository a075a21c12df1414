//! `bryo wait`.

use super::Context;
use super::output;
use crate::engine::operate::lifecycle;
use anyhow::Result;

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Waits for one container after the other.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    super::each(&args.containers, |name| {
        let code = lifecycle::wait(&containers, containers.find(name)?)?;
        Ok(output::line(code)?)
    })
}
