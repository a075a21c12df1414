//! `bryo rm`.

use super::Context;
use super::error;
use super::output;
use crate::engine::container::containers::Container;
use crate::engine::operate::lifecycle;
use crate::engine::supervise::cleaner::empty_trash_behind;
use anyhow::Result;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required_unless_present = "all")]
    containers: Vec<String>,

    /// Kill containers that run; what is not there is no error
    #[arg(short, long)]
    force: bool,
    /// All containers
    #[arg(short, long, conflicts_with = "containers")]
    all: bool,
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
    let names = match args.all {
        true => containers
            .list()?
            .into_iter()
            .map(|c| c.record.id)
            .collect(),
        false => args.containers.clone(),
    };
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
