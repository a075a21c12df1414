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
use std::io::IsTerminal;
use std::time::Duration;

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
    /// Order: created (the newest first), command, id, image, names, runningfor, size, status
    #[arg(long, value_name = "FIELD", value_parser = Order::WORDS)]
    sort: Option<String>,
    /// Leave the heads of columns out
    #[arg(long)]
    noheading: bool,
    /// Show it again and again, with so many seconds between
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
    /// table, json, or a template as '{{.ID}} {{.Names}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

/// In which order they are shown.
struct Order;

impl Order {
    const WORDS: [&'static str; 8] = [
        "command",
        "created",
        "id",
        "image",
        "names",
        "runningfor",
        "size",
        "status",
    ];

    /// Sorts by a field; as they come, they are in the order of `created`.
    fn sort(field: &str, rows: &mut [Summary]) {
        match field {
            "command" => rows.sort_by(|a, b| a.command.cmp(&b.command)),
            "id" => rows.sort_by(|a, b| a.id.cmp(&b.id)),
            "image" => rows.sort_by(|a, b| a.image.cmp(&b.image)),
            "names" => rows.sort_by(|a, b| a.names.cmp(&b.names)),
            "runningfor" => rows.sort_by_key(|row| row.created),
            "size" => rows.sort_by_key(|row| row.size_rw),
            "status" => rows.sort_by(|a, b| a.status.cmp(&b.status)),
            _ => {}
        }
    }
}

/// Prints the containers, the newest first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    let list = || context.containers()?.list();
    print(args, list()?, &store)?;
    while let Some(seconds) = args.watch {
        std::thread::sleep(Duration::from_secs(seconds.into()));
        if std::io::stdout().is_terminal() {
            // The screen anew, from its top (ECMA-48).
            output::line(format!("\x1b[2J\x1b[3J\x1b[HEvery {seconds} s: bryo ps"))?;
        }
        print(args, list()?, &store)?;
    }
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
    let by_size = args.sort.as_deref() == Some("size");
    let size = (args.size || shown || by_size) && !args.quiet;
    let mut summaries: Vec<Summary> = (containers.iter())
        .map(|container| Summary::of(container, &volumes, now, size))
        .collect();
    if let Some(field) = &args.sort {
        Order::sort(field, &mut summaries);
    }
    let rows = summaries.into_iter();
    let rows = rows.map(|summary| Row::of(summary, now, args.no_trunc));
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
    let mut table = match args.noheading {
        true => Table::without_heads(),
        false => Table::new(&heads),
    };
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
