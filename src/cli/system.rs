//! `bryo system`: `df`, `prune`, and docker's other names of what has a verb
//! of its own.

use anyhow::Result;
use serde_json::{Value, json};

use super::format::{self, Form};
use super::{Context, check, events, info, output, prune};
use crate::engine::changes::written;
use crate::engine::images::users;
use crate::engine::machine::storage::bytes_below;
use crate::engine::view::words;
use crate::engine::volumes::Volumes;
use crate::image::digest;

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
    let store = context.store()?;
    let lock = store.lock_shared()?;
    let weights = store.weigh()?;
    drop(lock);
    let all = context.containers()?;
    let used = users(&all)?;
    let containers = all.list()?;
    let is_used = |id: &str| used.contains_key(id);
    if args.verbose {
        return verbose(&weights, &used, &containers);
    }
    let row = |kind: &str, total: usize, active: usize, size: u64, free: u64| {
        let share = (free * 100).checked_div(size).unwrap_or(0);
        json!({
            "Type": kind,
            "TotalCount": total,
            "Active": active,
            "Size": words::size(size),
            "Bytes": size,
            "Reclaimable": format!("{} ({share}%)", words::size(free)),
            "ReclaimableBytes": free,
        })
    };
    let active = |images: &[(crate::image::store::ImageSummary, _)]| {
        let active = images
            .iter()
            .filter(|(image, _)| is_used(image.id.as_ref()));
        active.count()
    };
    let sizes: Vec<(bool, u64)> = containers
        .iter()
        .map(|container| (container.state.is_active(), written(container)))
        .collect();
    let running = sizes.iter().filter(|(active, _)| *active).count();
    let total = |all: bool| -> u64 {
        let counted = sizes.iter().filter(|(active, _)| all || !active);
        counted.map(|(_, size)| size).sum()
    };
    let all = Volumes::open(&store);
    let users = all.users();
    let volumes = all.list()?.into_iter();
    let volumes: Vec<(bool, u64)> = volumes
        .map(|volume| {
            (
                users.contains_key(&volume.name),
                bytes_below(&all.data(&volume.name)),
            )
        })
        .collect();
    let left = store.leftovers();
    let unfinished = left.parts + left.trash + left.unfinished;
    let rows = [
        row(
            "Images",
            weights.images.len(),
            active(&weights.images),
            weights.total(),
            weights.reclaimable(|image| !is_used(image.id.as_ref())),
        ),
        row(
            "Containers",
            sizes.len(),
            running,
            total(true),
            total(false),
        ),
        row(
            "Local Volumes",
            volumes.len(),
            volumes.iter().filter(|(used, _)| *used).count(),
            volumes.iter().map(|(_, size)| size).sum(),
            volumes
                .iter()
                .filter(|(used, _)| !used)
                .map(|(_, size)| size)
                .sum(),
        ),
        row("Unfinished", 0, 0, unfinished, unfinished),
    ];
    match &args.format {
        Form::Json => Ok(output::line(serde_json::to_string_pretty(&rows)?)?),
        Form::Template(template) => format::by_template(template, &rows, format::head),
        Form::Table => {
            let heads = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
            let mut table = output::Table::new(&heads);
            for row in &rows {
                let keys = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
                let cell = |key: &str| match &row[key] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                table.row(keys.map(cell).to_vec());
            }
            Ok(table.print()?)
        }
    }
}

fn verbose(
    weights: &crate::image::store::Weights,
    used: &std::collections::HashMap<String, Vec<String>>,
    containers: &[crate::engine::containers::Container],
) -> Result<()> {
    let heads = ["IMAGE", "ID", "SIZE", "SHARED", "UNIQUE", "CONTAINERS"];
    let mut table = output::Table::new(&heads);
    for (image, _) in &weights.images {
        let (size, shared) = weights.of(image);
        let name = image.references.first();
        table.row(vec![
            name.map_or_else(|| "<none>".to_owned(), ToString::to_string),
            digest::short(&image.id).to_owned(),
            words::size(size),
            words::size(shared),
            words::size(size - shared),
            used.get(image.id.as_ref()).map_or(0, Vec::len).to_string(),
        ]);
    }
    table.print()?;
    output::line("")?;
    let mut table = output::Table::new(&["CONTAINER", "IMAGE", "SIZE", "STATUS"]);
    for container in containers {
        table.row(vec![
            container.record.name.clone(),
            container.record.image.clone(),
            words::size(written(container)),
            container.state.name().to_owned(),
        ]);
    }
    Ok(table.print()?)
}
