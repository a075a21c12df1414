//! `bryo ps`.

use super::Context;
use super::format::{self, Form};
use super::output;
use super::output::Table;
use crate::engine::container::containers::Container;
use crate::engine::container::volumes::Volumes;
use crate::engine::create::filter::Filters;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view::ps::{Row, Summary};
use crate::image::store::Store;
use anyhow::Result;
use jiff::Timestamp;

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show those that have ended too
    #[arg(short, long)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only those that pass, as name=web, status=exited, label=KEY[=VALUE],
    /// id, ancestor, exited, before, since, until, health, network, volume,
    /// publish, expose, restart-policy, command; label!=KEY those without
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// The newest so many, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// The newest one, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Show what they wrote
    #[arg(short, long)]
    size: bool,
    /// table, json, or a template as '{{.ID}} {{.Names}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

/// Prints the containers, the newest first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?.list()?;
    let store = context.store()?;
    print(args, containers, &store)?;
    // What a process that was killed had no time to delete.
    empty_trash_behind(&store)
}

fn print(args: &Args, mut containers: Vec<Container>, store: &Store) -> Result<()> {
    let filters = Filters::parse(&args.filter, &containers, store)?;
    let newest = if args.latest { Some(1) } else { args.last };
    if let Some(count) = newest {
        containers.truncate(count);
    }
    let any = args.all || newest.is_some() || filters.name_a_state();
    containers.retain(|c| (any || c.state.is_active()) && filters.pass(c));
    let (now, volumes) = (Timestamp::now(), Volumes::open(store));
    // As docker has it, a template that shows it asks for it.
    let shown = matches!(&args.format, Form::Template(text) if text.contains(".Size"));
    let size = (args.size || shown) && !args.quiet;
    let rows = containers.iter().map(|container| {
        let summary = Summary::of(container, &volumes, now, size);
        Row::of(summary, now, args.no_trunc)
    });
    if args.quiet {
        return rows
            .into_iter()
            .try_for_each(|row| Ok(output::line(row.id)?));
    }
    match &args.format {
        Form::Table => table(args, rows),
        other => format::list(other, rows, head),
    }
}

fn table(args: &Args, rows: impl Iterator<Item = Row>) -> Result<()> {
    let mut heads = vec![
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ];
    if args.size {
        heads.push("SIZE");
    }
    let mut table = Table::new(&heads);
    for row in rows {
        let mut cells = vec![
            row.id,
            row.image,
            row.command,
            row.running_for,
            row.status,
            row.ports,
            row.names,
        ];
        if args.size {
            cells.push(row.size);
        }
        table.row(cells);
    }
    Ok(table.print()?)
}

/// The heads of columns that docker does not call by their fields.
fn head(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "RunningFor" => "CREATED".into(),
        other => format::head(other),
    }
}
