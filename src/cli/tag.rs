//! `bryo tag`

use anyhow::{Context as _, Result};

use super::Context;
use crate::image::reference::Reference;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id or digest of the image
    source: String,

    /// The new name
    #[arg(value_name = "NAME[:TAG]")]
    target: Reference,
}

/// Adds the name.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    let _lock = store.lock_shared()?;
    let image = store.find(&args.source)?;
    let image = image.with_context(|| format!("no such image: {}", args.source))?;
    store.tag(&image, &args.target.clone().or_latest())
}
