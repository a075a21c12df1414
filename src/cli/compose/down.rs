//! `bryo compose down`.

use super::{Args, found, report};
use crate::cli::{Context, error};
use crate::compose::down::Down;
use crate::compose::found::lock;
use crate::engine::container::containers::Containers;
use crate::engine::container::events;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::store::{Image, Insist};
use anyhow::Result;
use std::collections::BTreeSet;

/// Stop and remove containers and networks
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// The containers of these services alone
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Remove containers of services that the files do not have
    #[arg(long)]
    remove_orphans: bool,

    /// Remove images too: all, or local for those without a name of their own
    #[arg(long, value_name = "WHICH", value_parser = ["all", "local"])]
    rmi: Option<String>,

    /// Seconds to wait before containers are killed
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,

    /// Remove the project's volumes, and the anonymous ones of its containers
    #[arg(short, long)]
    volumes: bool,
}

/// Removes what there is of the project.
pub fn run(args: &Args, own: &DownArgs, context: &Context) -> Result<()> {
    let (name, project) = found(args)?;
    let store = context.store()?;
    let _alone = lock(&store, &name)?;
    let down = Down {
        store: &store,
        project: &name,
        known: project.as_ref().map(|project| &project.known),
        only: &own.services,
        volumes: own.volumes,
        remove_orphans: own.remove_orphans,
        patience: own.timeout,
        report: &report,
        warn: &error::warn,
    };
    let mut images = down.run()?;
    if let Some(which) = &own.rmi {
        let mut built = BTreeSet::new();
        for (service, node) in project.iter().flat_map(|project| project.services()) {
            match node.text_of("image") {
                Some(image) if which == "all" => drop(images.insert(image.to_owned())),
                Some(_) => {}
                None => drop(built.insert(format!("{name}-{service}"))),
            }
        }
        match which.as_str() {
            "all" => images.extend(built),
            _ => images = built,
        }
        let containers = Containers::open(&store);
        let users = |image: &Image| {
            let all = containers.list().unwrap_or_default().into_iter();
            let all = all.filter(|c| c.record.uses_image(image.id.as_ref()));
            all.map(|c| c.record.name).collect::<Vec<_>>()
        };
        for image in images {
            match store.remove(&image, Insist::No, &users) {
                Ok(removed) => {
                    events::emit_removal(&store, &removed);
                    report("Image", &image, "Removed");
                }
                Err(error) if error::is_not_found(&error) => {}
                Err(error) => error::warn(&format!("{error:#}")),
            }
        }
    }
    empty_trash_behind(&store)
}
