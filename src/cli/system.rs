//! `bryo system`: `df`, `prune`, and docker's other names of what has a verb
//! of its own.

use anyhow::Result;

use super::format::{self, Form};
use super::{Context, check, events, info, output, prune, reset};
use crate::engine::view::df::Usage;
use crate::engine::view::words::size;

/// Look after the store as a whole
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what takes how much of the disk
    Df(DfArgs),
    /// Remove what nothing needs
    Prune(prune::SystemArgs),
    /// Remove all containers, images, volumes, networks and secrets
    Reset(reset::Args),
    /// Look for damage in the store, and mend it
    Check(check::Args),
    /// Show what bryo has and what this machine offers
    Info(info::Args),
    /// Show what happens to containers
    Events(events::Args),
}

/// Does it.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    match &args.verb {
        Verb::Df(args) => df(args, context),
        Verb::Prune(args) => prune::system(args, context),
        Verb::Reset(args) => reset::run(args, context),
        Verb::Check(args) => return check::run(args, context),
        Verb::Info(args) => info::run(args, context),
        Verb::Events(args) => events::run(args, context),
    }?;
    Ok(0)
}

/// Show what takes how much of the disk
#[derive(Debug, clap::Args)]
struct DfArgs {
    /// Show each image and container
    #[arg(short, long)]
    verbose: bool,

    /// table, json, or a template as '{{.Type}} {{.Size}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

fn df(args: &DfArgs, context: &Context) -> Result<()> {
    let usage = Usage::look(&context.store()?)?;
    if args.verbose {
        return verbose(&usage);
    }
    let rows = usage.rows()?;
    match &args.format {
        Form::Table => {
            let heads = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
            let mut table = output::Table::new(&heads);
            for row in rows {
                table.row(vec![
                    row.kind.to_owned(),
                    row.total_count.to_string(),
                    row.active.to_string(),
                    row.size,
                    row.reclaimable,
                ]);
            }
            Ok(table.print()?)
        }
        other => format::list(other, rows, |field| match field {
            "TotalCount" => "TOTAL".to_owned(),
            other => format::head(other),
        }),
    }
}

fn verbose(usage: &Usage) -> Result<()> {
    let heads = ["IMAGE", "ID", "SIZE", "SHARED", "UNIQUE", "CONTAINERS"];
    let mut table = output::Table::new(&heads);
    for image in usage.images() {
        table.row(vec![
            image.name,
            image.id,
            size(image.size),
            size(image.shared_size),
            size(image.size - image.shared_size),
            image.containers.to_string(),
        ]);
    }
    table.print()?;
    output::line("")?;
    let mut table = output::Table::new(&["CONTAINER", "IMAGE", "SIZE", "STATUS"]);
    for (container, written) in usage.containers() {
        table.row(vec![
            container.record.name.clone(),
            container.record.image.clone(),
            size(written),
            container.state.name().to_owned(),
        ]);
    }
    Ok(table.print()?)
}
