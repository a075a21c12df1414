//! `bryo stats`.

use super::Context;
use super::error;
use super::format::{self, Form};
use super::output::{self, Table};
use super::template::Template;
use crate::cgroup::stat::Detail;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::view::stats::{Row, Sample, sample};
use crate::sys::machine::total_memory;
use anyhow::Result;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Show what containers use
///
/// The numbers are those of the containers' control groups; without one they
/// are sums over the processes, from /proc. Memory is without what is only
/// cached. --format json has more: peaks, rates, swap, packets, lost ones and
/// flows, the shares of time in which processes waited (pressure).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids; all that run if there are none
    containers: Vec<String>,

    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// table, json (an object a line) or a template
    #[arg(short, long, default_value = "table")]
    format: Form,
}

/// How long processors are watched before the first numbers, by control groups,
/// which know of microseconds though they may not hear of them for 4 ms.
const FIRST: Duration = Duration::from_millis(100);
/// And by processes, which count hundredths of a second.
const FIRST_BY_TICKS: Duration = Duration::from_millis(200);
/// Between two tables.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows tables until it is interrupted, or one.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    for name in &args.containers {
        containers.find(name)?;
    }
    let (detail, template) = match &args.format {
        Form::Table => (Detail::Line, None),
        Form::Json => (Detail::All, None),
        Form::Template(text) => (Detail::All, Some(Template::parse(text)?)),
    };
    let mut list = look(&containers, args)?;
    let mut before = sample(&mut list, Detail::Spent);
    let by_ticks = |sample: &Sample| sample.usage.is_some_and(|usage| usage.group.is_none());
    let mut wait = match before.values().any(by_ticks) {
        true => FIRST_BY_TICKS,
        false => FIRST,
    };
    loop {
        let since = before.values().map(|sample| sample.at).min();
        std::thread::sleep(since.map_or(wait, |at| wait.saturating_sub(at.elapsed())));
        if wait == PERIOD {
            list = look(&containers, args)?;
        }
        let now = sample(&mut list, detail);
        let machine = total_memory();
        let rows: Vec<Value> = list
            .iter()
            .filter_map(|container| {
                let id = &container.record.id;
                let (now, before) = (now.get(id)?, before.get(id));
                Some(Row::of(container, now, before, machine, args.no_trunc))
            })
            .map(format::value)
            .collect::<Result<_>>()?;
        print(args, template.as_ref(), &rows)?;
        if args.no_stream {
            return Ok(());
        }
        before = now;
        wait = PERIOD;
    }
}

/// The containers that are to be shown.
fn look(containers: &Containers, args: &Args) -> Result<Vec<Container>> {
    let mut all = match args.containers.is_empty() {
        true => containers.list()?,
        false => {
            let found = args.containers.iter().map(|name| containers.find(name));
            let found = found
                .filter_map(|found| found.inspect_err(|e| error::warn(&format!("{e:#}"))).ok());
            found.collect()
        }
    };
    all.retain(|c| args.all || !args.containers.is_empty() || c.state.process().is_some());
    Ok(all)
}

fn print(args: &Args, template: Option<&Template>, rows: &[Value]) -> Result<()> {
    if let Some(template) = template {
        return format::by_template(template, rows, head);
    }
    if let Form::Json = args.format {
        return rows.iter().try_for_each(|row| Ok(output::line(row)?));
    }
    let fields = [
        "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
    ];
    let heads = fields.map(head);
    let mut table = Table::new(&heads.each_ref().map(String::as_str));
    for row in rows {
        let cell = |field: &str| match &row[field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.row(fields.map(cell).to_vec());
    }
    let mut out = std::io::stdout().lock();
    if !args.no_stream && out.is_terminal() {
        // Home, and nothing of the table before.
        output::closed_is_fine(out.write_all(b"\x1b[H\x1b[J"))?;
    }
    Ok(output::closed_is_fine(table.write(&mut out))?)
}

fn head(field: &str) -> String {
    let known = HashMap::from([
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ]);
    known
        .get(field)
        .map_or_else(|| format::head(field), |head| (*head).to_owned())
}
