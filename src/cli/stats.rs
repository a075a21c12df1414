//! `bryo stats`.

use super::format::{self, Form};
use super::output::{self, Table, size};
use super::{Context, error};
use crate::engine::containers::{Container, Containers, short};
use crate::engine::processes::{Census, Usage, total_memory, usage};
use crate::engine::usernet::translator;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

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
    #[arg(long, default_value = "table")]
    format: Form,
}

/// How long processors are watched before the first numbers.
const FIRST: Duration = Duration::from_millis(200);
/// Between two tables.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows tables until it is interrupted, or one.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    for name in &args.containers {
        containers.find(name)?;
    }
    let mut before = sample(&containers, args)?;
    let mut wait = FIRST;
    loop {
        std::thread::sleep(wait);
        let now = sample(&containers, args)?;
        let rows: Vec<Value> = now
            .list
            .iter()
            .map(|(container, usage)| {
                let earlier = before.list.iter();
                let earlier = earlier
                    .clone()
                    .find(|(c, _)| c.record.id == container.record.id);
                let spent = now.at.duration_since(before.at);
                row(
                    container,
                    *usage,
                    earlier.and_then(|(_, u)| *u),
                    spent,
                    args,
                )
            })
            .collect();
        print(args, &rows)?;
        if args.no_stream {
            return Ok(());
        }
        before = now;
        wait = PERIOD;
    }
}

struct Sample {
    at: Instant,
    list: Vec<(Container, Option<Usage>)>,
}

fn sample(containers: &Containers, args: &Args) -> Result<Sample> {
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
    let mut census = Census::default();
    let list = all.into_iter().map(|mut container| {
        let usage = usage(&mut container, &mut census).ok();
        (container, usage)
    });
    Ok(Sample {
        list: list.collect(),
        at: Instant::now(),
    })
}

fn row(
    container: &Container,
    now: Option<Usage>,
    before: Option<Usage>,
    spent: Duration,
    args: &Args,
) -> Value {
    let usage = now.unwrap_or_default();
    let busy = usage.cpu.saturating_sub(before.unwrap_or(usage).cpu);
    let percent = |part: f64| format!("{:.2}%", part * 100.0);
    let group = usage.group.unwrap_or_default();
    let limit = group.memory_limit.filter(|limit| *limit > 0);
    let total = limit.unwrap_or_else(total_memory);
    let waits = |part: Option<f64>| part.map_or_else(|| "--".to_owned(), |p| format!("{p:.2}%"));
    let rate = |now: u64, before: u64| {
        let bytes = now.saturating_sub(before) as f64 / spent.as_secs_f64().max(1e-6);
        format!("{}/s", size(bytes as u64))
    };
    let (earlier, blocks) = (before.unwrap_or(usage).blocks, usage.blocks);
    let read = rate(blocks.0, earlier.0);
    let written = rate(blocks.1, earlier.1);
    let id = match args.no_trunc {
        true => container.record.id.as_str(),
        false => short(&container.record.id),
    };
    let [received, sent] = usage.network;
    let flows = now.and_then(|_| translator::report(&translator::report_of(&container.dir)));
    let pair = |(a, b): (u64, u64)| format!("{} / {}", size(a), size(b));
    json!({
        "ID": id,
        "Container": id,
        "Name": container.record.name,
        "CPUPerc": percent(busy as f64 / spent.as_micros().max(1) as f64),
        "MemUsage": format!("{} / {}", binary(usage.memory), binary(total)),
        "MemPerc": percent(usage.memory as f64 / total.max(1) as f64),
        "NetIO": pair((received.bytes, sent.bytes)),
        "NetPackets": format!("{} / {}", received.packets, sent.packets),
        "NetLost": format!("{} / {}", received.lost, sent.lost),
        "NetFlows": flows.map_or_else(|| "--".to_owned(), |report| report.flows.to_string()),
        "BlockIO": pair(usage.blocks),
        "PIDs": usage.tasks,
        "BlockRate": format!("{read} / {written}"),
        "MemCache": binary(group.cache),
        "MemPeak": group.peak.map_or_else(|| "--".to_owned(), binary),
        "MemSwap": binary(group.swap),
        "PIDsPeak": group.tasks_peak,
        "PIDsLimit": group.tasks_limit,
        "CPUUsec": usage.cpu,
        "CPUThrottledUsec": group.throttled,
        "CPUPressure": waits(group.pressure[0]),
        "MemPressure": waits(group.pressure[1]),
        "IOPressure": waits(group.pressure[2]),
        "OOMKills": group.oom_kills,
        "Source": if usage.group.is_some() { "cgroup" } else { "proc" },
    })
}

/// A size in powers of 1024, as docker shows memory.
fn binary(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = match value {
        v if unit == 0 || v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    };
    text + units[unit]
}

fn print(args: &Args, rows: &[Value]) -> Result<()> {
    match &args.format {
        Form::Json => return rows.iter().try_for_each(|row| Ok(output::line(row)?)),
        Form::Template(template) => return format::by_template(template, rows, head),
        Form::Table => {}
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
