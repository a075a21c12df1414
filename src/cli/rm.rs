//! `bryo rm`.

use super::Context;
use super::chosen::Chosen;
use super::error;
use super::output;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::operate::lifecycle;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::store::Store;
use anyhow::Result;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,

    /// Kill containers that run; what is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Remove the volumes that were made for them alone too
    #[arg(short, long)]
    volumes: bool,
}

/// Removes each container, and prints what it was called by.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let mut found: Vec<(String, Container)> = Vec::new();
    let mut find = |name: &str| {
        let mut container = match containers.find(name) {
            Err(e) if args.force && error::is_not_found(&e) => {
                return Ok(());
            }
            other => other?,
        };
        // All are told first, so that they end side by side.
        lifecycle::begin_remove(&mut container, args.force)?;
        found.push((name.to_owned(), container));
        Ok(())
    };
    let names = args.chosen.names(context, |_| true)?;
    let told = super::each(&names, &mut find);
    let mut found = found.into_iter();
    let names: Vec<String> = found.clone().map(|(name, _)| name).collect();
    let removed = super::each(&names, |name| {
        if let Some((_, container)) = found.next() {
            lifecycle::finish_remove(&containers, &container, args.force, args.volumes)?;
        }
        Ok(output::line(name)?)
    });
    empty_trash_behind(&context.store()?)?;
    told.and(removed)
}

/// Removes the container of this name for another one that is to have it,
/// running or not; one that only has an id that begins so stays.
pub fn replaced(name: &str, store: &Store) -> Result<()> {
    let containers = Containers::open(store);
    let mut container = match containers.find(name) {
        Ok(container) if container.record.name == name => container,
        Ok(_) => return Ok(()),
        Err(e) if error::is_not_found(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    lifecycle::begin_remove(&mut container, true)?;
    lifecycle::finish_remove(&containers, &container, true, false)?;
    empty_trash_behind(store)
}
