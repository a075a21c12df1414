//! What the processes of a group use, by its files. Pure but for the reading.

use super::v2::Group;

/// What a group uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Time on processors, in microseconds.
    pub cpu: u64,
    /// Of that, in the kernel.
    pub system: u64,
    /// How long it was kept from processors by its quota, in microseconds.
    pub throttled: u64,
    /// Bytes of memory without what is only cached; nothing without the
    /// controller.
    pub memory: Option<u64>,
    /// Bytes of files that are cached for it and can be dropped.
    pub cache: u64,
    /// The most memory that it ever used, with cache, in bytes (Linux 5.19).
    pub peak: Option<u64>,
    /// Its limit of memory in bytes.
    pub memory_limit: Option<u64>,
    /// Bytes of swap.
    pub swap: u64,
    /// Bytes read from devices and written to them.
    pub io: Option<(u64, u64)>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// The most that there ever were (Linux 6.1).
    pub tasks_peak: Option<u64>,
    /// Their limit.
    pub tasks_limit: Option<u64>,
    /// Shares of the last ten seconds in which something waited for
    /// processors, memory, devices; in percent.
    pub pressure: [Option<f64>; 3],
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// The values of `keys` in a file of `key value` lines; 0 for what is missing.
fn values<const N: usize>(text: &str, keys: [&str; N]) -> [u64; N] {
    let mut found = [0; N];
    for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Some(at) = keys.iter().position(|k| *k == key) {
            found[at] = value.trim().parse().unwrap_or(0);
        }
    }
    found
}

/// Sums over devices of `io.stat`.
fn io(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_ascii_whitespace();
        let values = words.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// The average over ten seconds in the first line of a file of pressure.
fn pressure(text: &str) -> Option<f64> {
    let mut words = text.lines().next()?.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

/// How much is to be read; what is not is as if it were not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// What only grows: time and bytes. Memory is with cache.
    Spent,
    /// And what a line for eyes has: memory, its limit, tasks.
    Line,
    /// All of it.
    All,
}

/// Reads what a group uses now; `None` if it is gone.
pub fn usage(group: &Group, detail: Detail) -> Option<Usage> {
    let cpu = group.read("cpu.stat").ok()?;
    let [time, system, throttled] = values(&cpu, ["usage_usec", "system_usec", "throttled_usec"]);
    let number = |file: &str| group.read(file).ok()?.parse::<u64>().ok();
    let mut usage = Usage {
        cpu: time,
        system,
        throttled,
        memory: number("memory.current"),
        io: group.read("io.stat").ok().map(|text| io(&text)),
        tasks: number("pids.current"),
        ..Usage::default()
    };
    if detail >= Detail::Line && usage.memory.is_some() {
        let stat = group.read("memory.stat").unwrap_or_default();
        [usage.cache] = values(&stat, ["inactive_file"]);
        usage.memory = usage.memory.map(|all| all.saturating_sub(usage.cache));
        usage.memory_limit = number("memory.max");
    }
    if detail == Detail::All {
        let pressed = |file: &str| pressure(&group.read(file).ok()?);
        usage.peak = number("memory.peak");
        usage.swap = number("memory.swap.current").unwrap_or(0);
        usage.tasks_peak = number("pids.peak");
        usage.tasks_limit = number("pids.max");
        usage.pressure = ["cpu.pressure", "memory.pressure", "io.pressure"].map(pressed);
        usage.oom_kills = group.value("memory.events", "oom_kill").unwrap_or(0);
    }
    Some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel() {
        let text = "usage_usec 5\nuser_usec 3\nsystem_usec 2\n";
        assert_eq!(values(text, ["usage_usec", "throttled_usec"]), [5, 0]);
        let text = "8:0 rbytes=10 wbytes=1 rios=9\n8:16 rbytes=5 wbytes=2 rios=9\n";
        assert_eq!(io(text), (15, 3));
        assert_eq!(io(""), (0, 0));
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00\n";
        assert_eq!(pressure(text), Some(1.5));
        assert_eq!(pressure(""), None);
    }
}
