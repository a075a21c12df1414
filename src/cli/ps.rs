//! `bryo ps`.

use super::Context;
use super::output::{Format, Table, duration};
use crate::engine::cleaner::empty_trash_behind;
use crate::engine::containers::{Container, short};
use crate::engine::record::State;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

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
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the containers, the newest first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?.list()?;
    print(args, containers)?;
    // What a process that was killed had no time to delete.
    empty_trash_behind(&context.store()?)
}

fn print(args: &Args, mut containers: Vec<Container>) -> Result<()> {
    containers.retain(|c| args.all || matches!(c.state, State::Running { .. }));
    let id = |c: &Container| match args.no_trunc {
        true => c.record.id.clone(),
        false => short(&c.record.id).to_owned(),
    };
    if args.quiet {
        for container in &containers {
            println!("{}", id(container));
        }
        return Ok(());
    }
    if args.format == Format::Json {
        let list: Vec<_> = containers.iter().map(|c| describe(c, &id(c))).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    let mut table = Table::new(&[
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "NAMES",
    ]);
    for container in &containers {
        let record = &container.record;
        table.row(vec![
            id(container),
            record.image.clone(),
            command(container, args.no_trunc),
            ago(record.created),
            status(&container.state),
            record.name.clone(),
        ]);
    }
    Ok(table.print()?)
}

fn command(container: &Container, whole: bool) -> String {
    let command = container.record.command.join(" ");
    match command.char_indices().nth(19) {
        Some((at, _)) if !whole && command.chars().count() > 20 => {
            format!("\"{}…\"", &command[..at])
        }
        _ => format!("\"{command}\""),
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
fn status(state: &State) -> String {
    match state {
        State::Created => "Created".into(),
        State::Running { since, .. } => {
            format!("Up {}", since_then(*since))
        }
        State::Exited { code, at, .. } => format!("Exited ({code}) {}", ago(*at)),
    }
}

fn describe(container: &Container, id: &str) -> serde_json::Value {
    let record = &container.record;
    let pid = match &container.state {
        State::Running { process, .. } => Some(process.pid),
        _ => None,
    };
    let code = match &container.state {
        State::Exited { code, .. } => Some(*code),
        _ => None,
    };
    json!({
        "ID": id,
        "Names": record.name,
        "Image": record.image,
        "Command": record.command,
        "CreatedAt": record.created,
        "State": container.state.name(),
        "Status": status(&container.state),
        "Pid": pid,
        "ExitCode": code,
        "Labels": record.labels,
    })
}
