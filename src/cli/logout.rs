//! `bryo logout`

use crate::error::refuse;
use std::path::PathBuf;

use anyhow::Result;

use super::output;
use crate::image::registry::credentials::{forget, registry_of};

/// Forget who you are to a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry, with its port
    #[arg(default_value = "docker.io")]
    registry: String,

    /// Forget all registries
    #[arg(short, long)]
    all: bool,

    /// File with credentials [default: podman's auth.json, docker's
    /// config.json]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

/// Removes the credentials.
pub fn run(args: &Args) -> Result<()> {
    let domain = registry_of(&args.registry)?;
    let which = (!args.all).then_some(domain.as_str());
    if !forget(args.authfile.as_deref(), which)? && !args.all {
        refuse!(NotFound, "not logged in to {domain}");
    }
    match which {
        Some(domain) => output::line(format!("Removed login credentials for {domain}"))?,
        None => output::line("Removed login credentials for all registries")?,
    }
    Ok(())
}
