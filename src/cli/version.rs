//! `bryo version`.

use super::format::{self, Form};
use super::output;
use crate::engine::view::info::Version;
use anyhow::Result;

/// Show bryo's version
#[derive(Debug, clap::Args)]
pub struct Args {
    /// json, or a template as '{{.Client.Version}}'
    #[arg(short, long, default_value = "table")]
    format: Form,
}

/// Prints the version and what bryo was built for.
pub fn run(args: &Args) -> Result<()> {
    let version = Version::of_this();
    match &args.format {
        Form::Table => Ok(output::line(format_args!(
            "bryo {} ({}, OCI runtime spec {})",
            version.version, version.os_arch, version.oci_runtime_spec
        ))?),
        other => format::one(other, version),
    }
}
