//! `bryo builder`.

use super::Context;
use super::confirm::confirm;
use super::output;
use crate::build::{caches, digests};
use crate::engine::request::filter::{self, Filters};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view::words;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Manage what builds left for later ones
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Forget steps of builds, and remove layers that nothing else needs
    Prune(Prune),
}

/// Forget steps of builds, and remove layers that nothing else needs
#[derive(Debug, clap::Args)]
struct Prune {
    /// All steps, as without it
    #[arg(short, long)]
    all: bool,

    /// Only steps that were not used since, as until=24h
    #[arg(long, value_name = "until=TIME")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs a verb of `builder`.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let Verb::Prune(args) = &args.verb;
    let filters = Filters::read(&args.filter, filter::OF_STEPS, Timestamp::now())?;
    if !args.force && !confirm("This forgets the steps of all builds: later ones take them again.")?
    {
        return Ok(());
    }
    let store = context.store()?;
    store.sweep()?;
    let (gone, removed) = store.forget_steps(&|step| {
        let used = Timestamp::try_from(step.used).unwrap_or(Timestamp::MAX);
        filters
            .all()
            .all(|filter| filter.holds(&BTreeMap::new(), used))
    })?;
    if args.filter.is_empty() {
        caches::forget(&store)?;
        digests::forget(store.root()).context("remove the digests of files")?;
    }
    for key in &gone {
        output::line(format!("Deleted: {key}"))?;
    }
    let size = words::size(removed.reclaimed);
    output::line(format!("Total reclaimed space: {size}"))?;
    empty_trash_behind(&store)
}
