//! `bryo port`.

use super::{Context, output};
use crate::engine::request::publish::transport;
use anyhow::{Context as _, Result, bail};

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
    let all = container.published();
    let Some(text) = &args.port else {
        for port in all {
            output::line(format!(
                "{}/{} -> {}",
                port.container, port.transport, port.host
            ))?;
        }
        return Ok(());
    };
    let (number, transport) = transport(text)?;
    let number: u16 = number
        .parse()
        .ok()
        .with_context(|| format!("'{text}' is no port"))?;
    let mut found = false;
    for port in all
        .iter()
        .filter(|p| (p.container, p.transport) == (number, transport))
    {
        found = true;
        output::line(port.host)?;
    }
    if !found {
        bail!(
            "container {}: port {number}/{transport} is not published",
            container.record.name
        );
    }
    Ok(())
}
