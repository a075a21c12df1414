//! `bryo version`.

use super::format;
use super::output::{self, Format};
use crate::engine::view::info::Version;
use anyhow::Result;

/// Show bryo's version
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the version and what bryo was built for.
pub fn run(args: &Args) -> Result<()> {
    let version = Version::of_this();
    match args.format {
        Format::Table => output::line(format_args!(
            "bryo {} ({}, OCI runtime spec {})",
            version.version, version.os_arch, version.oci_runtime_spec
        ))?,
        Format::Json => output::line(format::value(version)?)?,
    }
    Ok(())
}
