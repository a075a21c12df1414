//! `bryo version`.

use super::output::{self, Format};
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
    let (version, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    match args.format {
        Format::Table => output::line(format_args!(
            "bryo {version} (linux/{arch}, OCI runtime spec 1.2.0)"
        ))?,
        Format::Json => {
            let value = serde_json::json!({
                "Version": version,
                "OsArch": format!("linux/{arch}"),
                "OciRuntimeSpec": "1.2.0",
            });
            output::line(value)?;
        }
    }
    Ok(())
}
