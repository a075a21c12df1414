//! `bryo system reset`.

use super::Context;
use super::confirm::confirm;
use super::{error, output};
use crate::build::{caches, digests};
use crate::engine::container::containers::Containers;
use crate::engine::container::events;
use crate::engine::container::secrets::Secrets;
use crate::engine::container::volumes::Volumes;
use crate::engine::create::images;
use crate::engine::network::Networks;
use crate::engine::operate::lifecycle;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::store::{Insist, Store};
use anyhow::{Context as _, Result};

/// Remove all containers, images, volumes, networks and secrets
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes all of it; goes on after an error.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let question = format!(
        "This removes all containers, also those that run, all images, volumes with what is in them, \
         networks, secrets and what builds left, of the store {}.",
        context.root.display()
    );
    if !args.force && !confirm(&question)? {
        return Ok(());
    }
    let store = context.store()?;
    let containers = context.containers()?;
    let steps: [fn(&Store, &Containers) -> Result<()>; 6] = [
        remove_containers,
        remove_networks,
        remove_volumes,
        remove_secrets,
        remove_builds,
        remove_images,
    ];
    let mut last = Ok(());
    for step in steps {
        if let Err(earlier) = std::mem::replace(&mut last, step(&store, &containers)) {
            error::report(&earlier);
            last = last.and(Err(earlier));
        }
    }
    empty_trash_behind(&store)?;
    last?;
    Ok(output::line(format!(
        "{}: nothing is left",
        context.root.display()
    ))?)
}

fn remove_containers(_: &Store, containers: &Containers) -> Result<()> {
    let mut all = containers.list()?;
    // All are told first, so that they end side by side.
    for container in &mut all {
        lifecycle::begin_remove(container, true)?;
    }
    let mut all = all.iter();
    all.try_for_each(|container| lifecycle::finish_remove(containers, container, true, true))
}

fn remove_networks(store: &Store, containers: &Containers) -> Result<()> {
    let networks = Networks::open(store.root());
    let all = networks.list()?;
    all.iter()
        .try_for_each(|one| networks.remove(one, containers))
}

fn remove_volumes(store: &Store, _: &Containers) -> Result<()> {
    let volumes = Volumes::open(store);
    volumes.sweep()?;
    for volume in volumes.list()? {
        volumes.remove(&volume.name, true)?;
    }
    Ok(())
}

fn remove_secrets(store: &Store, _: &Containers) -> Result<()> {
    let secrets = Secrets::open(store);
    let all = secrets.list()?;
    all.iter().try_for_each(|secret| secrets.remove(secret))
}

fn remove_builds(store: &Store, _: &Containers) -> Result<()> {
    store.forget_steps(&|_| true)?;
    caches::forget(store)?;
    digests::forget(store.root()).context("remove the digests of files")
}

fn remove_images(store: &Store, containers: &Containers) -> Result<()> {
    store.sweep()?;
    for name in super::rmi::all(store)? {
        let users = |image: &_| images::users_of(containers, image);
        let removed = store.remove(&name, Insist::Force, &users)?;
        events::emit_removal(store, &removed);
    }
    Ok(())
}
