//! `events`: what a container uses, in runc's shape, and that the kernel had to kill
//! for want of memory.

use super::state::Container;
use crate::cgroup::events::MemoryEvents;
use crate::cgroup::stat::{Detail, Usage, usage};
use crate::cgroup::v2::Group;
use crate::sys::wait;
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use serde_json::{Map, Value, json};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What runc says where there is no limit.
const UNLIMITED: u64 = u64::MAX;

/// Tells `told` once what a container uses.
///
/// # Errors
/// It has ended, or has no control group.
pub fn once(container: &Container, told: impl FnOnce(&Value) -> Result<()>) -> Result<()> {
    let group = container.own_group("measured")?;
    told(&stats(&container.record.id, &group)?)
}

/// Tells `told` every `interval`, and when memory was short, until the container
/// ends.
///
/// # Errors
/// As of [`once`]; those of `told`.
pub fn follow(
    container: &Container,
    interval: Duration,
    mut told: impl FnMut(&Value) -> Result<()>,
) -> Result<()> {
    let group = container.own_group("measured")?;
    let id = &container.record.id;
    let mut memory = MemoryEvents::open(&group).ok();
    let mut kills = memory.as_mut().map_or(0, MemoryEvents::kills);
    let mut next = Instant::now() + interval;
    while let Some(process) = container.process()? {
        let mut watched = vec![(process.as_fd(), PollFlags::POLLIN)];
        watched.extend(memory.as_ref().map(|m| (m.as_fd(), PollFlags::POLLPRI)));
        let seen = wait::wait(watched, Some(next)).context("poll")?;
        let now = memory.as_mut().map_or(0, MemoryEvents::kills);
        if now > std::mem::replace(&mut kills, now) {
            told(&json!({"type": "oom", "id": id}))?;
        }
        if !seen[0].is_empty() {
            break;
        }
        if Instant::now() >= next {
            told(&stats(id, &group)?)?;
            next = Instant::now() + interval;
        }
    }
    Ok(())
}

fn stats(id: &str, group: &Group) -> Result<Value> {
    let usage = usage(group, Detail::All).context("its control group is gone")?;
    Ok(json!({"type": "stats", "id": id, "data": data(group, &usage)}))
}

fn data(group: &Group, usage: &Usage) -> Value {
    let of = |file: &str, key: &str| group.value(file, key).unwrap_or(0);
    // Microseconds there, nanoseconds here.
    let time = |key: &str| of("cpu.stat", key).saturating_mul(1000);
    let number = |file: &str| group.read(file).ok()?.parse::<u64>().ok();
    let amount = |current: &str, max: &str, most: Option<u64>, failed: u64| {
        json!({
            "limit": number(max).unwrap_or(UNLIMITED),
            "usage": number(current).unwrap_or(0),
            "max": most.unwrap_or(0),
            "failcnt": failed,
        })
    };
    let raw = group.read("memory.stat").unwrap_or_default();
    let raw = raw.lines().filter_map(|line| line.split_once(' '));
    let raw =
        raw.filter_map(|(key, value)| Some((key.to_owned(), value.parse::<u64>().ok()?.into())));
    let raw: Map<String, Value> = raw.collect();
    json!({
        "cpu": {
            "usage": {
                "total": time("usage_usec"),
                "kernel": time("system_usec"),
                "user": time("user_usec"),
            },
            "throttling": {
                "periods": of("cpu.stat", "nr_periods"),
                "throttledPeriods": of("cpu.stat", "nr_throttled"),
                "throttledTime": time("throttled_usec"),
            },
        },
        "memory": {
            "cache": of("memory.stat", "file"),
            "usage": amount("memory.current", "memory.max", usage.peak, of("memory.events", "max")),
            "swap": amount("memory.swap.current", "memory.swap.max", None, of("memory.swap.events", "max")),
            "raw": raw,
        },
        "pids": {
            "current": usage.tasks.unwrap_or(0),
            "limit": usage.tasks_limit.unwrap_or(0),
        },
        "blkio": blkio(&group.read("io.stat").unwrap_or_default()),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// The bytes and the operations of each device.
fn blkio(text: &str) -> Value {
    let (mut bytes, mut count) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|device| device.split_once(':'));
        let number = |text: &str| text.parse::<u64>().ok();
        let Some((major, minor)) = device.and_then(|(a, b)| Some((number(a)?, number(b)?))) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (to, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut count, "Read"),
                "wios" => (&mut count, "Write"),
                _ => continue,
            };
            let value = number(value).unwrap_or(0);
            to.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
        }
    }
    json!({"ioServiceBytesRecursive": bytes, "ioServicedRecursive": count})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_their_bytes() {
        let said = blkio("8:0 rbytes=10 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\nx\n");
        let bytes = json!([{"major": 8, "minor": 0, "op": "Read", "value": 10},
            {"major": 8, "minor": 0, "op": "Write", "value": 1}]);
        assert_eq!(said["ioServiceBytesRecursive"], bytes);
        assert_eq!(said["ioServicedRecursive"][1]["value"], 3);
    }

    #[test]
    fn a_group_without_controllers_says_what_it_knows() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        file("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
        file("memory.current", "70\n");
        file("memory.max", "max\n");
        file("memory.stat", "anon 7\nfile 9\n");
        let said = stats("c", &Group::at(place.path())).unwrap();
        assert_eq!((&said["type"], &said["id"]), (&json!("stats"), &json!("c")));
        let data = &said["data"];
        assert_eq!(data["cpu"]["usage"]["total"], 5000);
        assert_eq!(data["memory"]["usage"]["usage"], 70);
        assert_eq!(data["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(data["memory"]["raw"]["anon"], 7);
    }
}
