//! `bryo save`

use crate::error::refuse;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use super::progress;
use crate::engine::operate::save::parcels;
use crate::image::save::{self, Form};

/// Write images to an archive
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids or digests; only the names given are in the archive
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Write this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// docker-archive, oci-archive, or oci-dir: a directory
    #[arg(long, default_value = "docker-archive", value_parser = form)]
    format: Form,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

fn form(text: &str) -> Result<Form> {
    Ok(match text {
        "docker-archive" | "docker" => Form::DockerArchive,
        "oci-archive" | "oci" => Form::OciArchive,
        "oci-dir" => Form::OciDir,
        _ => refuse!(Invalid, "there are docker-archive, oci-archive and oci-dir"),
    })
}

/// Writes the archive.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.output.is_none() && stdout().is_terminal() {
        refuse!(
            Invalid,
            "standard output is a terminal: name a file with --output"
        );
    }
    let store = context.store()?;
    let _lock = store.lock_shared()?;
    let parcels = parcels(&store, &args.images, args.format)?;
    let session = store.session_if_needed();
    let progress = progress::new(args.quiet);
    let output = args.output.as_deref();
    save::save(parcels, args.format, output, None, &session, &*progress)
        .with_context(|| format!("save {}", args.images.join(", ")))
}
