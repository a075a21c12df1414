//! `bryo rmi`

use anyhow::{Result, bail};

use super::{Context, output};
use crate::engine::cleaner::empty_trash_behind;
use crate::engine::events;
use crate::engine::images::users;
use crate::image::store::Image;

/// Remove images
///
/// A name that is not the image's last is only taken away; with the last one
/// the image goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids or digests
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Remove an image that has several names or is used by a container
    #[arg(short, long)]
    force: bool,
}

/// Removes the images; goes on after an error.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    store.sweep()?;
    let containers = ctx.containers()?;
    // Asked under the store's lock, so that none is added meanwhile.
    let users = |image: &Image| {
        let users = users(&containers).unwrap_or_default();
        users.get(image.id.as_ref()).cloned().unwrap_or_default()
    };
    let mut failed = Vec::new();
    for name in &args.images {
        match store.remove(name, args.force, &users) {
            Ok(removed) => {
                events::emit_removal(&store, &removed);
                for name in &removed.untagged {
                    output::line(format!("Untagged: {name}"))?;
                }
                for id in &removed.deleted {
                    output::line(format!("Deleted: {id}"))?;
                }
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    empty_trash_behind(&store)?;
    if !failed.is_empty() {
        bail!("{}", failed.join("\nerror: "));
    }
    Ok(())
}
