//! `bryo port`.

use super::{Context, output};
use crate::engine::view::port;
use anyhow::Result;

/// Show where a container's ports are published
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,

    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// Prints the ports, or where one of them is.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let container = context.containers()?.find(&args.container)?;
    match &args.port {
        Some(port) => port::places(&container, port)?
            .into_iter()
            .try_for_each(|place| Ok(output::line(place)?)),
        None => container
            .published()
            .iter()
            .try_for_each(|p| Ok(output::line(format!("{} -> {}", port::name(p), p.host))?)),
    }
}
