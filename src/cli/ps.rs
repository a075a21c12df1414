//! `bryo ps`.

use super::format::{self, Form};
use super::output::Table;
use super::{Context, output};
use crate::engine::changes::written;
use crate::engine::cleaner::empty_trash_behind;
use crate::engine::containers::Container;
use crate::engine::filter::Filters;
use crate::engine::names::short;
use crate::engine::publish;
use crate::engine::record::State;
use crate::engine::view::words::{duration, ellipsis, quote, size};
use crate::image::store::Store;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

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
    /// id, ancestor, exited, before, since, health, network, volume
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
    let id = |c: &Container| match args.no_trunc {
        true => c.record.id.clone(),
        false => short(&c.record.id).to_owned(),
    };
    if args.quiet {
        return containers.iter().try_for_each(|c| Ok(output::line(id(c))?));
    }
    if let Form::Table = args.format {
        return table(args, &containers, id);
    }
    let rows = containers.iter().map(|c| describe(c, &id(c), args));
    let rows: Vec<Value> = rows.collect();
    match &args.format {
        Form::Template(template) => format::by_template(template, &rows, head),
        _ => Ok(output::line(serde_json::to_string_pretty(&rows)?)?),
    }
}

fn table(args: &Args, containers: &[Container], id: impl Fn(&Container) -> String) -> Result<()> {
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
    for container in containers {
        let record = &container.record;
        let mut row = vec![
            id(container),
            record.image.clone(),
            command(container, args.no_trunc),
            ago(record.created),
            status(container),
            publish::show(container.published()),
            record.name.clone(),
        ];
        if args.size {
            row.push(size(written(container)));
        }
        table.row(row);
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

/// The command as docker shows it: arguments with blanks in quotes of their
/// own, and all on one line.
fn command(container: &Container, whole: bool) -> String {
    let mut words = container.record.command.iter();
    let mut line = words.next().cloned().unwrap_or_default();
    for word in words {
        match word.contains(' ') {
            true => line.push_str(&format!(" '{word}'")),
            false => line.push_str(&format!(" {word}")),
        }
    }
    match whole {
        true => quote(&line),
        false => quote(&ellipsis(&line, 20)),
    }
}

fn since_then(time: Timestamp) -> String {
    duration(
        Timestamp::now()
            .as_second()
            .saturating_sub(time.as_second()),
    )
}

fn ago(time: Timestamp) -> String {
    since_then(time) + " ago"
}

/// A state as docker words it: `Up 2 minutes`, `Exited (0) 3 hours ago`.
fn status(container: &Container) -> String {
    let health = container.history.health.as_ref();
    match &container.state {
        State::Created => "Created".into(),
        State::Running { since, .. } => {
            let up = format!("Up {}", since_then(*since));
            match health {
                Some(health) => format!("{up} ({})", health.words()),
                None => up,
            }
        }
        State::Paused { since, .. } => format!("Up {} (Paused)", since_then(*since)),
        State::Restarting { code, at } => format!("Restarting ({code}) {}", ago(*at)),
        State::Dead { .. } => "Dead".into(),
        State::Exited { code, at, .. } => format!("Exited ({code}) {}", ago(*at)),
    }
}

fn describe(container: &Container, id: &str, args: &Args) -> Value {
    let record = &container.record;
    let pid = container.state.process().map(|process| process.pid);
    let code = match &container.state {
        State::Exited { code, .. } => Some(*code),
        _ => None,
    };
    let labels = record.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut row = json!({
        "ID": id,
        "Names": record.name,
        "Image": record.image,
        "Command": command(container, args.no_trunc),
        "CreatedAt": record.created,
        "RunningFor": ago(record.created),
        "State": container.state.name(),
        "Status": status(container),
        "Ports": publish::show(container.published()),
        "Pid": pid,
        "ExitCode": code,
        "Labels": labels.join(","),
        "Restarts": container.history.restarts,
    });
    // Docker has the field always; to measure it takes time.
    if let (true, Value::Object(fields)) = (args.size, &mut row) {
        fields.insert("Size".into(), size(written(container)).into());
    }
    row
}
