//! What containers use: `stats`.

use super::words::{binary, size};
use crate::cgroup::stat::Detail;
use crate::engine::container::containers::Container;
use crate::engine::ground::names::short;
use crate::engine::network::usernet::translator;
use crate::engine::operate::processes::{Census, Usage, usage};
use serde::Serialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a container uses, with docker's names of columns and a few more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// The container's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The same.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Time on processors since it was looked at before, of one processor's.
    #[serde(rename = "CPUPerc")]
    pub cpu_perc: String,
    /// Memory, and how much there may be.
    pub mem_usage: String,
    /// The same as a part.
    pub mem_perc: String,
    /// Bytes received and sent.
    #[serde(rename = "NetIO")]
    pub net_io: String,
    /// Packets received and sent.
    pub net_packets: String,
    /// Packets lost on either way.
    pub net_lost: String,
    /// Flows that its translator has.
    pub net_flows: String,
    /// Bytes read from devices and written.
    #[serde(rename = "BlockIO")]
    pub block_io: String,
    /// Threads.
    #[serde(rename = "PIDs")]
    pub pids: u64,
    /// Bytes read and written a second.
    pub block_rate: String,
    /// Memory that is only cached.
    pub mem_cache: String,
    /// The most memory that it ever used.
    pub mem_peak: String,
    /// Swap.
    pub mem_swap: String,
    /// The most threads that there ever were.
    #[serde(rename = "PIDsPeak")]
    pub pids_peak: Option<u64>,
    /// How many there may be.
    #[serde(rename = "PIDsLimit")]
    pub pids_limit: Option<u64>,
    /// Time on processors, in microseconds.
    #[serde(rename = "CPUUsec")]
    pub cpu_usec: u64,
    /// How long its quota kept it from them, in microseconds.
    #[serde(rename = "CPUThrottledUsec")]
    pub cpu_throttled_usec: u64,
    /// Share of time in which something waited for a processor.
    #[serde(rename = "CPUPressure")]
    pub cpu_pressure: String,
    /// Or for memory.
    pub mem_pressure: String,
    /// Or for devices.
    #[serde(rename = "IOPressure")]
    pub io_pressure: String,
    /// Processes that were killed for want of memory.
    #[serde(rename = "OOMKills")]
    pub oom_kills: u64,
    /// Who says so: its control group, or the processes.
    pub source: &'static str,
}

/// What a container used at a time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// What; nothing if it did not run.
    pub usage: Option<Usage>,
}

/// What containers use now, by their ids.
pub fn sample(list: &mut [Container], detail: Detail) -> HashMap<String, Sample> {
    let mut census = Census::default();
    let all = list.iter_mut().map(|container| {
        let usage = usage(container, &mut census, detail).ok();
        let at = Instant::now();
        (container.record.id.clone(), Sample { at, usage })
    });
    all.collect()
}

/// What cannot be known.
const UNKNOWN: &str = "--";

impl Row {
    /// How a container's use is shown: `now`, and since `before`, where it was
    /// looked at. `machine` is the machine's memory in bytes; ids are short
    /// unless the `whole` is wanted.
    pub fn of(
        container: &Container,
        now: &Sample,
        before: Option<&Sample>,
        machine: u64,
        whole: bool,
    ) -> Row {
        let id = match whole {
            true => container.record.id.as_str(),
            false => short(&container.record.id),
        };
        let report = now
            .usage
            .and_then(|_| translator::report(&translator::report_of(&container.dir)));
        let since = before.map(|before| (before.usage, now.at.duration_since(before.at)));
        Row {
            net_flows: report.map_or_else(|| UNKNOWN.to_owned(), |r| r.flows.to_string()),
            ..Row::made(id, &container.record.name, now.usage, since, machine)
        }
    }

    /// The same but for the flows.
    fn made(
        id: &str,
        name: &str,
        now: Option<Usage>,
        since: Option<(Option<Usage>, Duration)>,
        machine: u64,
    ) -> Row {
        let usage = now.unwrap_or_default();
        let earlier = since.and_then(|(earlier, _)| earlier).unwrap_or(usage);
        let spent = since.map_or(Duration::from_secs(1), |(_, spent)| spent);
        let busy = usage.cpu.saturating_sub(earlier.cpu);
        let percent = |part: f64| format!("{:.2}%", part * 100.0);
        let group = usage.group.unwrap_or_default();
        let limit = group.memory_limit.filter(|limit| *limit > 0);
        let total = limit.unwrap_or(machine);
        let unknown = || UNKNOWN.to_owned();
        let waits = |part: Option<f64>| part.map_or_else(unknown, |p| format!("{p:.2}%"));
        let rate = |now: u64, before: u64| {
            let bytes = now.saturating_sub(before) as f64 / spent.as_secs_f64().max(1e-6);
            format!("{}/s", size(bytes as u64))
        };
        let read = rate(usage.blocks.0, earlier.blocks.0);
        let written = rate(usage.blocks.1, earlier.blocks.1);
        let [received, sent] = usage.network;
        let pair = |(a, b): (u64, u64)| format!("{} / {}", size(a), size(b));
        Row {
            id: id.to_owned(),
            container: id.to_owned(),
            name: name.to_owned(),
            cpu_perc: percent(busy as f64 / spent.as_micros().max(1) as f64),
            mem_usage: format!("{} / {}", binary(usage.memory), binary(total)),
            mem_perc: percent(usage.memory as f64 / total.max(1) as f64),
            net_io: pair((received.bytes, sent.bytes)),
            net_packets: format!("{} / {}", received.packets, sent.packets),
            net_lost: format!("{} / {}", received.lost, sent.lost),
            net_flows: unknown(),
            block_io: pair(usage.blocks),
            pids: usage.tasks,
            block_rate: format!("{read} / {written}"),
            mem_cache: binary(group.cache),
            mem_peak: group.peak.map_or_else(unknown, binary),
            mem_swap: binary(group.swap),
            pids_peak: group.tasks_peak,
            pids_limit: group.tasks_limit,
            cpu_usec: usage.cpu,
            cpu_throttled_usec: group.throttled,
            cpu_pressure: waits(group.pressure[0]),
            mem_pressure: waits(group.pressure[1]),
            io_pressure: waits(group.pressure[2]),
            oom_kills: group.oom_kills,
            source: match usage.group {
                Some(_) => "cgroup",
                None => "proc",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stat;
    use crate::engine::operate::processes::Traffic;
    use serde_json::json;

    #[test]
    fn use_is_shown_as_docker_does() {
        let before = Usage {
            cpu: 1_000_000,
            blocks: (0, 1_000),
            ..Usage::default()
        };
        let way = |bytes, packets, lost| Traffic {
            bytes,
            packets,
            lost,
        };
        let now = Usage {
            cpu: 2_000_000,
            memory: 64 << 20,
            network: [way(1_500, 3, 0), way(20, 1, 2)],
            blocks: (4_000_000, 3_000),
            tasks: 5,
            group: Some(stat::Usage {
                throttled: 9,
                cache: 1536,
                peak: Some(128 << 20),
                memory_limit: Some(256 << 20),
                tasks_limit: Some(100),
                pressure: [Some(1.5), None, Some(0.0)],
                oom_kills: 1,
                ..stat::Usage::default()
            }),
        };
        let since = Some((Some(before), Duration::from_secs(2)));
        let row = Row::made("ab", "web", Some(now), since, 1 << 30);
        assert_eq!(
            serde_json::to_value(row).unwrap(),
            json!({
                "ID": "ab",
                "Container": "ab",
                "Name": "web",
                "CPUPerc": "50.00%",
                "MemUsage": "64.00MiB / 256MiB",
                "MemPerc": "25.00%",
                "NetIO": "1.5kB / 20B",
                "NetPackets": "3 / 1",
                "NetLost": "0 / 2",
                "NetFlows": "--",
                "BlockIO": "4MB / 3kB",
                "PIDs": 5,
                "BlockRate": "2MB/s / 1kB/s",
                "MemCache": "1.50KiB",
                "MemPeak": "128MiB",
                "MemSwap": "0B",
                "PIDsPeak": null,
                "PIDsLimit": 100,
                "CPUUsec": 2_000_000,
                "CPUThrottledUsec": 9,
                "CPUPressure": "1.50%",
                "MemPressure": "--",
                "IOPressure": "0.00%",
                "OOMKills": 1,
                "Source": "cgroup",
            })
        );
        let idle = Row::made("ab", "web", None, None, 1 << 30);
        assert_eq!(
            (&*idle.cpu_perc, &*idle.mem_usage, idle.source),
            ("0.00%", "0B / 1.00GiB", "proc")
        );
    }
}
