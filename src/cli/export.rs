//! `bryo export`

use crate::error::demand;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Context;
use crate::engine::operate::export::export;
use crate::image::output::Output;

/// Write a container's root file system as a tar
///
/// The container may run. Owners, devices and attributes are those that root
/// emulation recorded; volumes and other mounts are left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,

    /// Write to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the tar.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let container = ctx.containers()?.find(&args.container)?;
    let Some(path) = args.output.as_deref().filter(|p| *p != Path::new("-")) else {
        let out = std::io::stdout();
        demand!(
            Invalid,
            !out.is_terminal(),
            "a tar is nothing for a terminal: use -o FILE or a pipe"
        );
        export(&container, BufWriter::with_capacity(1 << 18, out.lock()))?;
        return Ok(());
    };
    // Whole or not at all. A pipe or device is written to as it is.
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path);
        let file = file.with_context(|| format!("write {}", path.display()))?;
        export(&container, file).with_context(|| format!("write {}", path.display()))?;
        return Ok(());
    }
    let output = Output::new(path)?;
    let write = || -> Result<()> {
        Ok(export(&container, BufWriter::with_capacity(1 << 18, &output))?.flush()?)
    };
    write().with_context(|| format!("write {}", path.display()))?;
    output.finish()
}
