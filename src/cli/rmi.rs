//! `bryo rmi`

use anyhow::Result;

use super::Context;
use super::output;
use crate::engine::container::events;
use crate::engine::create::images::users_of;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::store::{Image, Insist, Store};

/// Remove images
///
/// A name that is not the image's last is only taken away; with the last one
/// the image goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids or digests
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,

    /// Remove all images, whatever their names
    #[arg(short, long, conflicts_with = "images")]
    all: bool,

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
    let users = |image: &Image| users_of(&containers, image);
    let insist = match (args.force, args.all) {
        (true, _) => Insist::Force,
        (false, true) => Insist::Names,
        (false, false) => Insist::No,
    };
    let images = match args.all {
        true => all(&store)?,
        false => args.images.clone(),
    };
    let removed = super::each(&images, |name| {
        let removed = store.remove(name, insist, &users)?;
        events::emit_removal(&store, &removed);
        for name in &removed.untagged {
            output::line(format!("Untagged: {name}"))?;
        }
        for id in &removed.deleted {
            output::line(format!("Deleted: {id}"))?;
        }
        Ok(())
    });
    empty_trash_behind(&store)?;
    removed
}

/// Ids of all images, and names of those that cannot be read.
pub fn all(store: &Store) -> Result<Vec<String>> {
    let (images, damaged) = store.survey()?;
    let mut all = Vec::new();
    for id in images.iter().map(|image| image.id.to_string()) {
        // One for several platforms or manifests is there more than once.
        if !all.contains(&id) {
            all.push(id);
        }
    }
    all.extend(
        damaged
            .into_iter()
            .filter_map(|d| d.names.into_iter().next()),
    );
    Ok(all)
}
