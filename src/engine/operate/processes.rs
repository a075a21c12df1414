//! The processes of a container, as `/proc` shows them.

use crate::cgroup::stat::{self, Detail};
use crate::engine::container::containers::Container;
use crate::engine::network::usernet::translator;
use anyhow::Result;
use jiff::Timestamp;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

/// A process (proc_pid_stat(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Who it runs as, on the host.
    pub uid: u32,
    /// Its terminal's device number; 0 is none.
    pub terminal: u32,
    /// Time on processors, in clock ticks.
    pub ticks: u64,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its threads.
    pub threads: u64,
    /// Memory in use, in pages.
    pub pages: u64,
    /// Its command line, or its name in brackets.
    pub command: String,
}

/// What a container uses: by its control group, else summed over its
/// processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Time on processors, in microseconds.
    pub cpu: u64,
    /// Memory in bytes; what processes share is counted for each.
    pub memory: u64,
    /// What its network namespace received and sent.
    pub network: [Traffic; 2],
    /// Bytes read from and written to devices.
    pub blocks: (u64, u64),
    /// Threads.
    pub tasks: u64,
    /// What its control group says, if that counts memory.
    pub group: Option<stat::Usage>,
}

/// What went one way over network interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets; those of a tap are up to 64 KiB long.
    pub packets: u64,
    /// Packets that were lost for want of room, or had an error.
    pub lost: u64,
}

/// Clock ticks a second: the kernel's USER_HZ, which is 100 everywhere.
pub const TICKS: u64 = 100;

fn namespace(pid: i32, kind: &str) -> Option<u64> {
    let meta = std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(meta.ino())
}

/// The processes of the machine by the namespaces that they are in, looked up
/// once for any number of containers.
#[derive(Debug, Default)]
pub struct Census {
    kinds: HashMap<&'static str, HashMap<u64, Vec<i32>>>,
}

impl Census {
    /// Those in the namespace `wanted` of a kind.
    fn in_namespace(&mut self, kind: &'static str, wanted: u64) -> &[i32] {
        let all = self.kinds.entry(kind).or_insert_with(|| {
            let mut all: HashMap<u64, Vec<i32>> = HashMap::new();
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| name.parse().ok());
                if let Some((pid, inode)) = pid.and_then(|pid| Some((pid, namespace(pid, kind)?))) {
                    all.entry(inode).or_default().push(pid);
                }
            }
            all
        });
        all.get(&wanted).map_or(&[], Vec::as_slice)
    }
}

/// The processes of a container that runs, in the order of their ids.
///
/// # Errors
/// It does not run.
pub fn processes(container: &mut Container, census: &mut Census) -> Result<Vec<Process>> {
    container.running_process()?;
    let first = container.state.process().map_or(0, |process| process.pid);
    let own_pids = container.record.namespaces & libc::CLONE_NEWPID as u64 != 0;
    let kind = if own_pids { "pid" } else { "user" };
    // Nobody may look into an init of bryo's, but its child is in the same.
    let wanted = namespace(first, kind).or_else(|| {
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let child = children.ok()?.split_whitespace().next()?.parse().ok()?;
        namespace(child, kind)
    });
    let mut all = vec![first];
    if let Some(wanted) = wanted {
        all.extend(census.in_namespace(kind, wanted));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all.into_iter().filter_map(read).collect())
}

fn read(pid: i32) -> Option<Process> {
    let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}"));
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let mut process = parse(&file("stat").ok()?)?;
    process.uid = uid;
    let line = file("cmdline").unwrap_or_default();
    let words: Vec<_> = line
        .split(|b| *b == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let line = words.join(" ").trim_end().to_owned();
    if !line.is_empty() {
        process.command = line;
    }
    Some(process)
}

fn parse(stat: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(stat);
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of these is field 3 of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        uid: 0,
        terminal: number(7).unwrap_or(0) as u32,
        ticks: number(14)? + number(15)?,
        threads: number(20)?,
        start: number(22)?,
        pages: number(24)?,
        command: format!("[{name}]"),
    })
}

/// What a container uses now; by the processes in `census`, where it has no
/// control group that counts.
///
/// # Errors
/// It does not run.
pub fn usage(container: &mut Container, census: &mut Census, detail: Detail) -> Result<Usage> {
    let placed = container.history.confinement.placed.as_ref();
    let group = placed.and_then(|placed| stat::usage(&placed.limits(), detail));
    if let Some(group) = group
        && let (Some(memory), Some(tasks)) = (group.memory, group.tasks)
    {
        container.running_process()?;
        let first = container.state.process().map_or(0, |process| process.pid);
        return Ok(Usage {
            cpu: group.cpu,
            memory,
            network: match detail {
                Detail::Spent => Default::default(),
                _ => network(container, first),
            },
            blocks: group.io.unwrap_or_default(),
            tasks,
            group: Some(group),
        });
    }
    let all = processes(container, census)?;
    let mut usage = Usage::default();
    for process in &all {
        usage.cpu += process.ticks * (1_000_000 / TICKS);
        usage.memory += process.pages * page_size();
        usage.tasks += process.threads;
        let io = std::fs::read_to_string(format!("/proc/{}/io", process.pid)).unwrap_or_default();
        let io: HashMap<&str, &str> = io.lines().filter_map(|l| l.split_once(": ")).collect();
        let bytes = |key| io.get(key).and_then(|n| n.parse().ok()).unwrap_or(0);
        usage.blocks.0 += bytes("read_bytes");
        usage.blocks.1 += bytes("write_bytes");
    }
    if let Some(first) = all.first() {
        usage.network = network(container, first.pid);
    }
    Ok(usage)
}

/// What went over a container's own network, by its first process and by who
/// connects it to the host's loopback.
pub fn network(container: &Container, first: i32) -> [Traffic; 2] {
    match container.record.namespaces & libc::CLONE_NEWNET as u64 {
        0 => Default::default(),
        _ => {
            let text = std::fs::read_to_string(format!("/proc/{first}/net/dev"));
            let [mut received, mut sent] = traffic(&text.unwrap_or_default());
            if let Some(report) = translator::report(&translator::report_of(&container.dir)) {
                received.bytes += report.relayed.inward;
                sent.bytes += report.relayed.outward;
            }
            [received, sent]
        }
    }
}

/// What all interfaces but the loopback received and sent (proc_pid_net(5)).
fn traffic(dev: &str) -> [Traffic; 2] {
    let mut sum = [Traffic::default(); 2];
    let lines = dev.lines().filter_map(|line| line.split_once(':'));
    for (_, numbers) in lines.filter(|(name, _)| name.trim() != "lo") {
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|n| n.parse().unwrap_or(0))
            .collect();
        for (way, numbers) in sum.iter_mut().zip(numbers.chunks(8)) {
            let at = |n: usize| numbers.get(n).copied().unwrap_or(0);
            way.bytes += at(0);
            way.packets += at(1);
            way.lost += at(2) + at(3);
        }
    }
    sum
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok()
        .flatten()
        .and_then(|size| size.try_into().ok())
        .unwrap_or(4096)
}

/// When a process started.
pub fn started(process: &Process) -> Option<Timestamp> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let seconds = boot.trim().parse::<i64>().ok()? + (process.start / TICKS) as i64;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let stat = b"7 (a) b) S 1 7 7 34816 -1 4194560 1 0 0 0 12 30 0 0 20 0 3 0 4711 0 250 9";
        let process = parse(stat).unwrap();
        let expected = Process {
            pid: 7,
            parent: 1,
            terminal: 34816,
            ticks: 42,
            threads: 3,
            start: 4711,
            pages: 250,
            command: "[a) b]".into(),
            ..Process::default()
        };
        assert_eq!(process, expected);
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n\
                   tap0: 100 1 1 2 0 0 0 0 200 2 0\n";
        let way = |bytes, packets, lost| Traffic {
            bytes,
            packets,
            lost,
        };
        assert_eq!(traffic(dev), [way(100, 1, 3), way(200, 2, 0)]);
    }
}
