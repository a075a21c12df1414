//! From the limits of an OCI runtime spec, which are those of control groups
//! of version 1, to files and values of version 2 (runtime-spec,
//! config-linux.md, "Control groups"; converted as crun(1) does, "CGROUP v2").
//! Pure.

use super::units;
use crate::error::refuse;
use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice, Spec};
use std::path::Path;

/// A value for a file of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller that the file is of: the file's first word.
    pub controller: String,
    /// The file.
    pub file: String,
    /// What is written.
    pub value: String,
    /// The same for a kernel that does not have this file.
    pub instead: Option<(String, String)>,
}

/// What a machine has, as far as limits are checked against it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine<'a> {
    /// Bytes of memory; 0 if unknown.
    pub memory: u64,
    /// The processors that may be used; empty if unknown.
    pub processors: &'a [u32],
    /// The memory nodes; empty if unknown.
    pub nodes: &'a [u32],
}

/// Version 1's `cpu.shares`, 2 to 262144, as `cpu.weight`, 1 to 10000: on the
/// curve through least, usual (1024 is 100) and most that runc has taken since
/// 1.3.2 and crun since 1.23. The straight line of those before gave the usual
/// 1024 less than half of what a group without a weight has.
pub fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    // 126/612 is the 7/34 of theirs; one division keeps whole exponents whole.
    let exponent = (log * log + 125.0 * log - 126.0) / 612.0;
    10f64.powf(exponent).ceil() as u64
}

/// Version 1's `blkio.weight`, 10 to 1000, as `io.weight`, 1 to 10000.
pub fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn max(value: i64) -> String {
    match value {
        n if n < 0 => "max".to_owned(),
        n => n.to_string(),
    }
}

/// The settings that `resources` stand for, in the order in which they are
/// written.
///
/// # Errors
/// What version 2 has no counterpart of, and values that contradict each
/// other.
pub fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut all: Vec<Setting> = Vec::new();
    let mut set = |file: &str, value: String| {
        all.push(Setting {
            controller: controller(file).to_owned(),
            file: file.to_owned(),
            value,
            instead: None,
        });
    };
    if let Some(memory) = resources.memory() {
        if memory.kernel().is_some() || memory.kernel_tcp().is_some() {
            refuse!(
                Unsupported,
                "memory.kernel: control groups of version 2 count it as memory"
            );
        }
        if memory.swappiness().is_some() {
            refuse!(
                Unsupported,
                "memory.swappiness: only control groups of version 1 have it"
            );
        }
        if memory.disable_oom_killer() == Some(true) {
            refuse!(
                Unsupported,
                "memory.disableOOMKiller: only control groups of version 1 have it"
            );
        }
        // Of swap first: memory that is to shrink may have to go there.
        if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
            let limit = memory.limit().unwrap_or(0);
            if swap > 0 && swap < limit {
                refuse!(
                    Invalid,
                    "memory.swap: it counts memory too, and is less than memory alone"
                );
            }
            if swap > 0 && limit <= 0 {
                refuse!(Invalid, "memory.swap: it needs a limit of memory");
            }
            let swap = if swap < 0 { -1 } else { swap - limit };
            set("memory.swap.max", max(swap));
        }
        if let Some(limit) = memory.limit() {
            set("memory.max", max(limit));
        }
        if let Some(reservation) = memory.reservation() {
            set("memory.low", max(reservation));
        }
    }
    if let Some(cpu) = resources.cpu() {
        if cpu.realtime_runtime().is_some_and(|n| n != 0) || cpu.realtime_period().is_some() {
            refuse!(
                Unsupported,
                "cpu.realtimeRuntime: only control groups of version 1 have it"
            );
        }
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            set("cpu.weight", weight_of_shares(shares).to_string());
        }
        if cpu.quota().is_some() || cpu.period().is_some() {
            let quota = cpu.quota().filter(|quota| *quota > 0).unwrap_or(-1);
            let period = cpu.period().unwrap_or(units::PERIOD);
            set("cpu.max", format!("{} {period}", max(quota)));
        }
        if let Some(burst) = cpu.burst() {
            set("cpu.max.burst", burst.to_string());
        }
        if let Some(idle) = cpu.idle() {
            set("cpu.idle", idle.to_string());
        }
        let sets = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
        for (file, list) in sets {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                set(file, list.clone());
            }
        }
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        set("pids.max", max(if limit == 0 { -1 } else { limit }));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", limit.page_size());
        set(&file, max(limit.limit()));
    }
    if let Some(io) = resources.block_io() {
        let throttles = [
            ("rbps", io.throttle_read_bps_device()),
            ("wbps", io.throttle_write_bps_device()),
            ("riops", io.throttle_read_iops_device()),
            ("wiops", io.throttle_write_iops_device()),
        ];
        for (word, devices) in throttles {
            for device in devices.iter().flatten() {
                set("io.max", throttle(word, device));
            }
        }
        if io.leaf_weight().is_some() {
            refuse!(
                Unsupported,
                "blockIO.leafWeight: only control groups of version 1 have it"
            );
        }
        // That for all devices first: BFQ forgets those of single ones with it.
        if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
            all.push(io_weight(weight, ""));
        }
        for device in io.weight_device().iter().flatten() {
            if device.leaf_weight().is_some() {
                refuse!(
                    Unsupported,
                    "blockIO.weightDevice.leafWeight: only control groups of version 1 have it"
                );
            }
            let weight = device.weight().context("blockIO.weightDevice: no weight")?;
            let number = format!("{}:{}", device.major(), device.minor());
            all.push(io_weight(weight, &format!("{number} ")));
        }
    }
    if let Some(network) = resources.network() {
        let priorities = network.priorities().iter().flatten();
        if network.class_id().is_some_and(|id| id != 0) || priorities.count() > 0 {
            refuse!(
                Unsupported,
                "network: only control groups of version 1 mark packets"
            );
        }
    }
    if resources.rdma().as_ref().is_some_and(|all| !all.is_empty()) {
        refuse!(
            Unsupported,
            "rdma: not supported yet; unified with rdma.max is"
        );
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        check_name(file)?;
        // What is said by its own name goes before what was converted.
        all.retain(|setting| setting.file != *file);
        all.push(Setting {
            controller: controller(file).to_owned(),
            file: file.clone(),
            value: value.clone(),
            instead: None,
        });
    }
    Ok(all)
}

fn throttle(word: &str, device: &LinuxThrottleDevice) -> String {
    format!(
        "{}:{} {word}={}",
        device.major(),
        device.minor(),
        max_rate(device.rate())
    )
}

fn max_rate(rate: u64) -> String {
    match rate {
        0 => "max".to_owned(),
        rate => rate.to_string(),
    }
}

/// A kernel whose scheduler of devices is BFQ weighs there (crun).
fn io_weight(weight: u16, device: &str) -> Setting {
    let own = match device {
        "" => "default ",
        device => device,
    };
    Setting {
        controller: "io".to_owned(),
        file: "io.bfq.weight".to_owned(),
        value: format!("{device}{weight}"),
        instead: Some((
            "io.weight".to_owned(),
            format!("{own}{}", weight_of_blkio(weight)),
        )),
    }
}

/// The controller of a file by its name.
pub fn controller(file: &str) -> &str {
    file.split('.').next().unwrap_or(file)
}

/// The controllers that it takes for these.
pub fn controllers(settings: &[Setting]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for setting in settings.iter().filter(|s| s.controller != "cgroup") {
        if !all.contains(&setting.controller) {
            all.push(setting.controller.clone());
        }
    }
    all
}

/// Controllers by what they limit, for people.
pub fn names(controllers: &[String]) -> String {
    let word = |name: &String| match name.as_str() {
        "cpu" => "processors".to_owned(),
        "io" => "devices".to_owned(),
        "pids" => "processes".to_owned(),
        other => other.to_owned(),
    };
    controllers.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Whether processes of the container may make groups below its own.
pub fn are_writable(spec: &Spec) -> bool {
    let mounts = spec.mounts().iter().flatten();
    let mut mounts = mounts.filter(|m| m.destination() == Path::new("/sys/fs/cgroup"));
    mounts.any(|m| {
        let options = m.options().iter().flatten();
        m.typ().as_deref() == Some("cgroup") && !options.clone().any(|o| o == "ro" || o == "rro")
    })
}

/// Whether `file` may be written by name: a file of a controller, or one of
/// the two that limit groups below.
///
/// # Errors
/// Other files of the group: they would take it out of bryo's hands.
pub fn check_name(file: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let dotted = file.split('.').count() > 1 && file.split('.').all(|part| !part.is_empty());
    if !dotted || !file.chars().all(plain) {
        refuse!(
            Invalid,
            "'{file}' is no file of a control group: memory.high is one"
        );
    }
    let own = ["cgroup.max.depth", "cgroup.max.descendants"];
    if controller(file) == "cgroup" && !own.contains(&file) {
        refuse!(Forbidden, "'{file}' is bryo's own to write");
    }
    Ok(())
}

/// Checks limits against the machine.
///
/// # Errors
/// More than the machine has, or processors that it does not have.
pub fn check(resources: &LinuxResources, machine: &Machine<'_>) -> Result<()> {
    if let Some(limit) = resources.memory().as_ref().and_then(|m| m.limit()) {
        let has = machine.memory;
        if has > 0 && limit > 0 && limit as u64 > has {
            refuse!(
                Invalid,
                "--memory {}: this machine has {}; leave the flag out for no limit",
                units::show(limit as u64),
                units::show(has)
            );
        }
    }
    if let Some(cpu) = resources.cpu() {
        let count = machine.processors.len() as u64;
        if let Some(quota) = cpu.quota().and_then(|quota| u64::try_from(quota).ok()) {
            let period = cpu.period().unwrap_or(units::PERIOD).max(1);
            if count > 0 && quota > count * period {
                refuse!(
                    Invalid,
                    "{:.2} processors: this machine has {count}; leave the flag out for no limit",
                    quota as f64 / period as f64
                );
            }
        }
        let sets = [
            (
                "--cpuset-cpus",
                "processors",
                cpu.cpus(),
                machine.processors,
            ),
            ("--cpuset-mems", "memory nodes", cpu.mems(), machine.nodes),
        ];
        for (flag, what, list, has) in sets {
            let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else {
                continue;
            };
            let wanted = units::set(list).with_context(|| flag.to_owned())?;
            let lacks = wanted.iter().find(|n| !has.contains(n));
            if let (Some(lacks), false) = (lacks, has.is_empty()) {
                refuse!(
                    Invalid,
                    "{flag} {list}: {lacks} is not among the {what} here, {}",
                    show_set(has)
                );
            }
        }
    }
    settings(resources).map(drop)
}

/// Numbers as `0-2,5`.
pub fn show_set(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for n in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *n => *last = *n,
            _ => parts.push((*n, *n)),
        }
    }
    let parts = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Whether what a file says is what was written to it. The kernel rounds
/// memory to pages, and says more of a device than it was told.
pub fn in_force(setting: &Setting, file: &str) -> bool {
    let wanted = setting.value.trim();
    let says = file.trim();
    if wanted == says {
        return true;
    }
    if let (Ok(wanted), Ok(says)) = (wanted.parse::<u64>(), says.parse::<u64>()) {
        return controller(&setting.file) == "memory" && wanted.abs_diff(says) < 1 << 16;
    }
    let Some((device, wanted)) = wanted.split_once(' ') else {
        // "max" of a quota stands before its period, a weight after "default".
        return says.split_whitespace().any(|word| word == wanted);
    };
    let mut lines = says.lines();
    let line = lines.find(|line| line.split(' ').next() == Some(device));
    line.is_some_and(|line| line.split(' ').skip(1).any(|word| word == wanted))
        || wanted.ends_with("=max")
            && !says
                .lines()
                .any(|line| line.starts_with(&format!("{device} ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn of(json: Value) -> Result<Vec<(String, String)>> {
        let resources = serde_json::from_value(json).unwrap();
        let all = settings(&resources)?;
        Ok(all.into_iter().map(|s| (s.file, s.value)).collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        owned.collect()
    }

    #[test]
    fn numbers_of_version_1() {
        // Computed with forty digits: no other value comes nearer to a whole
        // number than 2e-6, so that no rounding matters.
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (3, 2),
            (256, 35),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (65_536, 3023),
            (131_072, 5478),
            (196_608, 7783),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let all: Vec<u64> = (2..=262_144).map(weight_of_shares).collect();
        assert!(all.is_sorted());
        assert_eq!(all.iter().sum::<u64>(), 1_405_378_460);
        assert_eq!((weight_of_blkio(10), weight_of_blkio(1000)), (1, 10_000));
        assert_eq!(weight_of_blkio(500), 4950);
    }

    #[test]
    fn a_bit_of_everything() {
        let all = of(json!({
            "memory": {"limit": 419430400, "swap": 524288000, "reservation": 1048576},
            "cpu": {"shares": 512, "quota": 50000, "cpus": "0-1", "burst": 5},
            "pids": {"limit": 20},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "blockIO": {
                "weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 1024}],
            },
            "unified": {"memory.high": "1000"}
        }));
        let expected = pairs(&[
            ("memory.swap.max", "104857600"),
            ("memory.max", "419430400"),
            ("memory.low", "1048576"),
            ("cpu.weight", "59"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "5"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "20"),
            ("hugetlb.2MB.max", "4194304"),
            ("io.max", "8:16 rbps=1024"),
            ("io.bfq.weight", "100"),
            ("io.bfq.weight", "8:0 200"),
            ("memory.high", "1000"),
        ]);
        assert_eq!(all.unwrap(), expected);
    }

    #[test]
    fn unlimited_and_contradicting() {
        let swap = of(json!({"memory": {"limit": 1000, "swap": -1}})).unwrap();
        assert_eq!(
            swap,
            pairs(&[("memory.swap.max", "max"), ("memory.max", "1000")])
        );
        let none = of(json!({"memory": {"limit": 1000, "swap": 1000}})).unwrap();
        assert_eq!(none[0].1, "0");
        assert_eq!(of(json!({"pids": {"limit": 0}})).unwrap()[0].1, "max");
        assert_eq!(
            of(json!({"cpu": {"quota": -1}})).unwrap()[0].1,
            "max 100000"
        );
        for bad in [
            json!({"memory": {"limit": 1000, "swap": 999}}),
            json!({"memory": {"swap": 999}}),
            json!({"memory": {"swappiness": 1}}),
            json!({"memory": {"disableOOMKiller": true}}),
            json!({"memory": {"kernel": 1}}),
            json!({"memory": {"kernelTCP": 1}}),
            json!({"cpu": {"realtimeRuntime": 1}}),
            json!({"cpu": {"realtimePeriod": 1}}),
            json!({"blockIO": {"leafWeight": 10}}),
            json!({"blockIO": {"weightDevice": [
                {"major": 8, "minor": 0, "weight": 10, "leafWeight": 10}
            ]}}),
            json!({"network": {"classID": 1}}),
            json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}),
            json!({"rdma": {"mlx5_1": {"hcaHandles": 1}}}),
            json!({"unified": {"cgroup.procs": "1"}}),
            json!({"unified": {"../x.y": "1"}}),
        ] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(of(json!({"cpu": {"shares": 0}})).unwrap(), []);
        assert_eq!(of(json!({"network": {}, "rdma": {}})).unwrap(), []);
        let named = json!({"cpu": {"shares": 512}, "unified": {"cpu.weight": "300"}});
        assert_eq!(of(named).unwrap(), pairs(&[("cpu.weight", "300")]));
    }

    #[test]
    fn more_than_the_machine_has() {
        let machine = Machine {
            memory: 1 << 30,
            processors: &[0, 1, 2, 5],
            nodes: &[0],
        };
        let error = |json| {
            let resources = serde_json::from_value(json).unwrap();
            let checked = check(&resources, &machine);
            checked.err().map(|e| format!("{e:#}")).unwrap_or_default()
        };
        assert!(error(json!({"memory": {"limit": 2147483648i64}})).contains("1 GiB"));
        assert!(error(json!({"cpu": {"quota": 500000}})).contains("has 4"));
        assert!(
            error(json!({"cpu": {"cpus": "0,3"}}))
                .contains("3 is not among the processors here, 0-2,5")
        );
        assert!(error(json!({"cpu": {"mems": "1"}})).contains("memory nodes"));
        assert_eq!(error(json!({"cpu": {"cpus": "0-2", "quota": 400000}})), "");
    }

    #[test]
    fn what_the_kernel_says_back() {
        let is = |file: &str, value: &str, says: &str| {
            let setting = Setting {
                controller: controller(file).to_owned(),
                file: file.to_owned(),
                value: value.to_owned(),
                instead: None,
            };
            in_force(&setting, says)
        };
        assert!(is("memory.max", "10000000", "9998336\n"));
        assert!(!is("memory.max", "10000000", "max\n"));
        assert!(is("cpu.max", "max 100000", "max 100000\n"));
        assert!(is("cpu.weight", "20", "20\n") && !is("cpu.weight", "20", "21\n"));
        let says = "8:16 rbps=1024 wbps=max riops=max wiops=max\n";
        assert!(is("io.max", "8:16 rbps=1024", says) && !is("io.max", "8:0 rbps=1024", says));
        assert!(is("io.max", "8:0 rbps=max", says));
        assert!(is("io.weight", "default 50", "default 50\n"));
        assert!(is("io.bfq.weight", "50", "default 50\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_numbers_are_survived(
            limit in any::<i64>(), swap in any::<i64>(), shares in any::<u64>(), quota in any::<i64>(),
            period in any::<u64>(), weight in any::<u16>(), cpus in "[0-9,-]{0,6}", file in "[a-z./]{0,12}",
        ) {
            let resources: LinuxResources = serde_json::from_value(json!({
                "memory": {"limit": limit, "swap": swap},
                "cpu": {"shares": shares, "quota": quota, "period": period, "cpus": cpus},
                "blockIO": {"weight": weight},
                "unified": {file: "1"},
            })).unwrap();
            let machine = Machine { memory: 1 << 30, processors: &[0], nodes: &[0] };
            let _ = check(&resources, &machine);
            for setting in settings(&resources).into_iter().flatten() {
                prop_assert!(!setting.file.contains('/'));
                in_force(&setting, "max\n");
            }
        }
    }
}
