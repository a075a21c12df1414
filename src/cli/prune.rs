//! `bryo image prune` and `bryo system prune`.

use anyhow::Result;
use jiff::Timestamp;

use super::Context;
use super::confirm::confirm;
use super::output;
use crate::engine::container::containers::Containers;
use crate::engine::container::events;
use crate::engine::container::volumes::Volumes;
use crate::engine::create::images::{self, Filters};
use crate::engine::operate::changes::written;
use crate::engine::operate::lifecycle;
use crate::engine::request::filter;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view::words;
use crate::error::Kind;
use crate::image::store::{Removed, Store};

/// Remove images that nothing needs
///
/// Those without a name, and with --all those that no container uses.
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Images with a name too
    #[arg(short, long)]
    all: bool,

    /// Only those that pass, as until=24h, label=KEY[=VALUE], label!=KEY,
    /// dangling=false
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes the images and prints them.
pub fn image(args: &ImageArgs, context: &Context) -> Result<()> {
    let what = match args.all {
        true => "all images that no container uses",
        false => "all images without a name",
    };
    if !args.force && !confirm(&format!("This removes {what}."))? {
        return Ok(());
    }
    let store = context.store()?;
    store.sweep()?;
    let removed = images_of(args, &store, &context.containers()?)?;
    report(&removed)?;
    total(removed.reclaimed)?;
    empty_trash_behind(&store)
}

fn images_of(args: &ImageArgs, store: &Store, containers: &Containers) -> Result<Removed> {
    let filters = Filters::parse(&args.filter, &store.list()?, Timestamp::now())?;
    let removed = images::prune(store, containers, args.all, &filters)?;
    events::emit_removal(store, &removed);
    Ok(removed)
}

fn report(removed: &Removed) -> Result<()> {
    for name in &removed.untagged {
        output::line(format!("Untagged: {name}"))?;
    }
    for id in &removed.deleted {
        output::line(format!("Deleted: {id}"))?;
    }
    Ok(())
}

fn total(bytes: u64) -> Result<()> {
    Ok(output::line(format!(
        "Total reclaimed space: {}",
        words::size(bytes)
    ))?)
}

/// Remove what nothing needs: containers that do not run, images without a
/// name, unfinished downloads, what builds left for later ones
#[derive(Debug, clap::Args)]
pub struct SystemArgs {
    #[command(flatten)]
    images: ImageArgs,

    /// Anonymous volumes that no container uses too
    #[arg(long)]
    volumes: bool,
}

/// Removes it and prints what went.
pub fn system(args: &SystemArgs, context: &Context) -> Result<()> {
    let (args, volumes) = (&args.images, args.volumes);
    let what = match args.all {
        true => "all containers that do not run and all images that none uses",
        false => "all containers that do not run and all images without a name",
    };
    if !args.force && !confirm(&format!("This removes {what}."))? {
        return Ok(());
    }
    let store = context.store()?;
    store.sweep()?;
    let containers = context.containers()?;
    let mut bytes = stopped(&args.filter, &containers)?;
    if volumes {
        for (name, size) in Volumes::open(&store).prune(|volume| volume.anonymous)? {
            output::line(format!("Deleted: volume {name}"))?;
            bytes += size;
        }
    }
    let removed = images_of(args, &store, &containers)?;
    report(&removed)?;
    bytes += removed.reclaimed + store.remove_parts()?;
    // What a build that goes on needs stays, as does what filters of images are about.
    if args.filter.is_empty() {
        match store.forget_steps(&|_| true) {
            Ok((_, removed)) => bytes += removed.reclaimed,
            Err(error) if Kind::said(&error) == Some(Kind::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    total(bytes)?;
    empty_trash_behind(&store)
}

/// Removes containers that do not run; returns how many bytes they had.
fn stopped(filters: &[String], containers: &Containers) -> Result<u64> {
    let filters = filter::Filters::read(filters, filter::OF_SYSTEM, Timestamp::now())?;
    let mut bytes = 0;
    for mut container in containers.list()? {
        let (labels, created) = (&container.record.labels, container.record.created);
        let meant = filters.all().all(|filter| filter.holds(labels, created));
        if container.state.is_active() || !meant {
            continue;
        }
        let size = written(&container);
        // One that is being started or removed elsewhere is in use.
        let remove = lifecycle::begin_remove(&mut container, false)
            .and_then(|()| lifecycle::finish_remove(containers, &container, false, false));
        if remove.is_ok() {
            bytes += size;
            output::line(format!("Deleted: {}", container.record.id))?;
        }
    }
    Ok(bytes)
}
