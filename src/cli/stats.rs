//! `bryo stats`.

use super::format::{self, Form};
use super::output::{self, Table};
use super::{Context, error};
use crate::cgroup::stat::Detail;
use crate::engine::containers::{Container, Containers};
use crate::engine::names::short;
use crate::engine::processes::{Census, Usage, usage};
use crate::engine::usernet::translator;
use crate::engine::view::words::size;
use crate::sys::host::total_memory;
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
    let detail = match args.format {
        Form::Table => Detail::Line,
        _ => Detail::All,
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
                Some(row(container, now.get(id)?, before.get(id), machine, args))
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

/// What a container used at a time; nothing if it did not run.
struct Sample {
    at: Instant,
    usage: Option<Usage>,
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

/// What they use now, by id.
fn sample(list: &mut [Container], detail: Detail) -> HashMap<String, Sample> {
    let mut census = Census::default();
    let all = list.iter_mut().map(|container| {
        let usage = usage(container, &mut census, detail).ok();
        let at = Instant::now();
        (container.record.id.clone(), Sample { at, usage })
    });
    all.collect()
}

fn row(
    container: &Container,
    now: &Sample,
    before: Option<&Sample>,
    machine: u64,
    args: &Args,
) -> Value {
    let usage = now.usage.unwrap_or_default();
    let earlier = before.and_then(|before| before.usage).unwrap_or(usage);
    let spent = before.map_or(PERIOD, |before| now.at.duration_since(before.at));
    let busy = usage.cpu.saturating_sub(earlier.cpu);
    let percent = |part: f64| format!("{:.2}%", part * 100.0);
    let group = usage.group.unwrap_or_default();
    let limit = group.memory_limit.filter(|limit| *limit > 0);
    let total = limit.unwrap_or(machine);
    let waits = |part: Option<f64>| part.map_or_else(|| "--".to_owned(), |p| format!("{p:.2}%"));
    let rate = |now: u64, before: u64| {
        let bytes = now.saturating_sub(before) as f64 / spent.as_secs_f64().max(1e-6);
        format!("{}/s", size(bytes as u64))
    };
    let (earlier, blocks) = (earlier.blocks, usage.blocks);
    let read = rate(blocks.0, earlier.0);
    let written = rate(blocks.1, earlier.1);
    let id = match args.no_trunc {
        true => container.record.id.as_str(),
        false => short(&container.record.id),
    };
    let [received, sent] = usage.network;
    let flows = now
        .usage
        .and_then(|_| translator::report(&translator::report_of(&container.dir)));
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
