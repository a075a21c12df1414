//! `bryo tag`

use anyhow::Result;

use super::Context;
use crate::engine::container::events;
use crate::engine::create::images;
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
    let image = images::find(&store, &args.source)?;
    let target = args.target.clone().or_latest();
    store.tag(&image, &target)?;
    events::emit_of_image(&store, "tag", &image.id, &target.to_string());
    Ok(())
}
