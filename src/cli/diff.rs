//! `bryo diff`.

use super::Context;
use super::output;
use crate::engine::operate::changes::changes;
use anyhow::Result;

/// Show what a container changed of its image
///
/// A is what it added, C what it changed, D what it deleted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,
}

/// Prints a line for each path.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let container = context.containers()?.find(&args.container)?;
    for (change, path) in changes(&container)? {
        let path = String::from_utf8_lossy(&path);
        output::line(format_args!("{} /{path}", change.letter()))?;
    }
    Ok(())
}
