//! The flags of limits that `run`, `create` and `update` share, and the part of
//! an OCI spec that they make. Pure, but for a look at which disk a path is.

use super::amount;
use crate::cgroup::limits::check_name;
use crate::cgroup::units;
use crate::error::refuse;
use anyhow::{Context, Result};
use nix::sys::stat::{SFlag, major, minor, stat};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPidsBuilder, LinuxResources,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

/// The flags of limits; each is nothing where it was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// `--cpus`: microseconds of processors in each [`PERIOD`](units::PERIOD).
    pub cpus: Option<i64>,
    /// `--cpu-shares`: weight as docker has it.
    pub cpu_shares: Option<u64>,
    /// `--cpu-weight`: weight as the kernel has it.
    pub cpu_weight: Option<u64>,
    /// `--cpu-quota`: microseconds in each period, -1 for any.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period`: microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpuset-cpus`: processors.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`: memory nodes.
    pub cpuset_mems: Option<String>,
    /// `--memory`: bytes.
    pub memory: Option<i64>,
    /// `--memory-swap`: bytes of memory and swap, -1 for any.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`: bytes.
    pub memory_reservation: Option<u64>,
    /// `--memory-high`: bytes.
    pub memory_high: Option<u64>,
    /// `--pids-limit`: processes, -1 for any number.
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`: weight of input and output.
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device`.
    pub blkio_weight_device: Vec<(Disk, u16)>,
    /// `--device-read-bps`: bytes a second.
    pub device_read_bps: Vec<(Disk, u64)>,
    /// `--device-write-bps`: bytes a second.
    pub device_write_bps: Vec<(Disk, u64)>,
    /// `--device-read-iops`: operations a second.
    pub device_read_iops: Vec<(Disk, u64)>,
    /// `--device-write-iops`: operations a second.
    pub device_write_iops: Vec<(Disk, u64)>,
    /// `--hugetlb`: sizes of pages, and bytes.
    pub hugetlb: Vec<(String, u64)>,
    /// `--cgroup-conf`: files of the control group, and what is written.
    pub cgroup_conf: Vec<(String, String)>,
}

impl Limits {
    /// Whether any was given.
    pub fn any(&self) -> bool {
        let mut resources = LinuxResources::default();
        self.apply(&mut resources).is_err() || resources != LinuxResources::default()
    }

    /// Adds what was asked for to what there is.
    pub fn apply(&self, resources: &mut LinuxResources) -> Result<()> {
        self.memory(resources)?;
        self.cpu(resources);
        if let Some(limit) = self.pids_limit {
            resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
        }
        self.block_io(resources)?;
        let mut pages = resources.hugepage_limits().clone().unwrap_or_default();
        for (size, bytes) in &self.hugetlb {
            let mut page = LinuxHugepageLimit::default();
            page.set_page_size(size.clone());
            page.set_limit(*bytes as i64);
            pages.retain(|p| p.page_size() != size);
            pages.push(page);
        }
        resources.set_hugepage_limits((!pages.is_empty()).then_some(pages));
        let mut unified = resources.unified().clone().unwrap_or_default();
        let weight = self.cpu_weight.map(|n| ("cpu.weight", n));
        let high = self.memory_high.map(|n| ("memory.high", n));
        for (file, value) in weight.into_iter().chain(high) {
            unified.insert(file.to_owned(), value.to_string());
        }
        if self.shares().is_some() {
            unified.remove("cpu.weight");
        }
        unified.extend(self.cgroup_conf.iter().cloned());
        resources.set_unified((!unified.is_empty()).then_some(unified));
        Ok(())
    }

    fn memory(&self, resources: &mut LinuxResources) -> Result<()> {
        let mut memory = resources.memory().unwrap_or_default();
        if let Some(limit) = self.memory {
            memory.set_limit(Some(limit));
            if self.memory_swap.is_none() {
                // Docker's and podman's: as much swap as memory.
                memory.set_swap(Some(limit.saturating_mul(2)));
            }
        }
        if let Some(swap) = self.memory_swap {
            let limit = memory.limit().filter(|limit| *limit > 0);
            let limit = limit.context("--memory-swap: it counts memory too, so say --memory")?;
            if swap > 0 && swap < limit {
                refuse!(
                    Invalid,
                    "--memory-swap: it counts memory too, and is less than --memory"
                );
            }
            memory.set_swap(Some(swap));
        }
        if let Some(bytes) = self.memory_reservation {
            let bytes = bytes as i64;
            if memory
                .limit()
                .is_some_and(|limit| limit > 0 && bytes > limit)
            {
                refuse!(Invalid, "--memory-reservation: it is more than --memory");
            }
            memory.set_reservation(Some(bytes));
        }
        resources.set_memory((memory != LinuxMemory::default()).then_some(memory));
        Ok(())
    }

    fn shares(&self) -> Option<u64> {
        self.cpu_shares.filter(|shares| *shares != 0)
    }

    fn cpu(&self, resources: &mut LinuxResources) {
        let mut cpu = resources.cpu().clone().unwrap_or_default();
        if let Some(shares) = self.shares() {
            cpu.set_shares(Some(shares));
        }
        if self.cpu_weight.is_some() {
            cpu.set_shares(None);
        }
        if let Some(quota) = self.cpus {
            cpu.set_quota(Some(quota));
            cpu.set_period(Some(units::PERIOD));
        }
        if let Some(quota) = self.cpu_quota {
            cpu.set_quota(Some(quota));
        }
        if let Some(period) = self.cpu_period {
            cpu.set_period(Some(period));
        }
        if let Some(list) = &self.cpuset_cpus {
            cpu.set_cpus(Some(list.clone()));
        }
        if let Some(list) = &self.cpuset_mems {
            cpu.set_mems(Some(list.clone()));
        }
        resources.set_cpu((cpu != LinuxCpu::default()).then_some(cpu));
    }

    fn block_io(&self, resources: &mut LinuxResources) -> Result<()> {
        let mut io = resources.block_io().clone().unwrap_or_default();
        if let Some(weight) = self.blkio_weight {
            io.set_weight(Some(weight));
        }
        let mut weights = Vec::new();
        for (disk, weight) in &self.blkio_weight_device {
            let device = LinuxWeightDeviceBuilder::default()
                .major(disk.major)
                .minor(disk.minor);
            weights.push(device.weight(*weight).build()?);
        }
        if !weights.is_empty() {
            io.set_weight_device(Some(weights));
        }
        if let Some(list) = throttles(&self.device_read_bps)? {
            io.set_throttle_read_bps_device(Some(list));
        }
        if let Some(list) = throttles(&self.device_write_bps)? {
            io.set_throttle_write_bps_device(Some(list));
        }
        if let Some(list) = throttles(&self.device_read_iops)? {
            io.set_throttle_read_iops_device(Some(list));
        }
        if let Some(list) = throttles(&self.device_write_iops)? {
            io.set_throttle_write_iops_device(Some(list));
        }
        resources.set_block_io((io != LinuxBlockIo::default()).then_some(io));
        Ok(())
    }
}

fn throttles(list: &[(Disk, u64)]) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let one = |(disk, rate): &(Disk, u64)| {
        let device = LinuxThrottleDeviceBuilder::default();
        let device = device.major(disk.major).minor(disk.minor);
        Ok(device.rate(*rate).build()?)
    };
    let all = list.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// `--cpu-shares`: docker's 0 stands for not said.
pub fn shares(text: &str) -> Result<u64> {
    match text {
        "0" => Ok(0),
        _ => amount::number(text, 2, 262_144),
    }
}

/// `--cpu-weight`.
pub fn weight(text: &str) -> Result<u64> {
    amount::number(text, 1, 10_000)
}

/// `--blkio-weight`.
pub fn blkio(text: &str) -> Result<u16> {
    amount::number(text, 10, 1000).map(|n| n as u16)
}

/// `--cpu-period`, in microseconds.
pub fn period(text: &str) -> Result<u64> {
    amount::number(text, 1000, 1_000_000)
}

/// `--cpu-quota`, in microseconds; -1 for any.
pub fn quota(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => amount::number(text, 1000, 1 << 40).map(|n| n as i64),
    }
}

/// `--cpuset-cpus` and `--cpuset-mems`.
pub fn set(text: &str) -> Result<String> {
    units::set(text).map(|_| text.to_owned())
}

/// A disk, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    major: i64,
    minor: i64,
}

/// Reads what the flag that is named says of a disk of the host.
///
/// # Errors
/// There is no such disk; what `read` says of the value.
pub fn of_disk<T>(flag: &str, text: &str, read: impl Fn(&str) -> Result<T>) -> Result<(Disk, T)> {
    let (path, value) = text
        .rsplit_once(':')
        .with_context(|| format!("--{flag} {text}: DEVICE:NUMBER is wanted, as /dev/sda:1m"))?;
    let what = || format!("--{flag} {text}: {path}");
    let stat = stat(path).with_context(what)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFBLK {
        refuse!(Invalid, "{}: not a disk", what());
    }
    let disk = Disk {
        major: major(stat.st_rdev) as i64,
        minor: minor(stat.st_rdev) as i64,
    };
    let value = read(value).with_context(|| format!("--{flag} {text}"))?;
    Ok((disk, value))
}

/// How many operations a second.
pub fn operations(text: &str) -> Result<u64> {
    amount::number(text, 1, u64::MAX)
}

/// Reads a `--hugetlb`: the size of pages, and the bytes in pages of it.
///
/// # Errors
/// What is no size of pages or no amount.
pub fn hugetlb(text: &str) -> Result<(String, u64)> {
    let (size, limit) = text
        .split_once('=')
        .with_context(|| format!("--hugetlb {text}: SIZE=BYTES is wanted, as 2MB=1g"))?;
    let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
    if !["KB", "MB", "GB"].contains(&unit) || unit == size {
        refuse!(
            Invalid,
            "--hugetlb {text}: '{size}' is no size of pages: 2MB and 1GB are some"
        );
    }
    let bytes = amount::limit(limit).with_context(|| format!("--hugetlb {text}"))?;
    Ok((size.to_owned(), bytes))
}

/// Reads a `--cgroup-conf`: a file of the control group, and what is written.
///
/// # Errors
/// A file that cannot be one.
pub fn cgroup_conf(text: &str) -> Result<(String, String)> {
    let (file, value) = text
        .split_once('=')
        .with_context(|| format!("--cgroup-conf {text}: FILE=VALUE is wanted"))?;
    check_name(file).with_context(|| format!("--cgroup-conf {text}"))?;
    Ok((file.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        assert_eq!((shares("0").unwrap(), shares("1024").unwrap()), (0, 1024));
        assert_eq!((quota("-1").unwrap(), quota("1000").unwrap()), (-1, 1000));
        assert_eq!((weight("1").unwrap(), blkio("10").unwrap()), (1, 10));
        assert_eq!(
            (period("1000").unwrap(), set("0-1").unwrap()),
            (1000, "0-1".into())
        );
        assert!(shares("1").is_err() && quota("-2").is_err() && weight("0").is_err());
        assert!(blkio("9").is_err() && period("999").is_err() && set("1-0").is_err());
        assert!(operations("0").is_err() && operations("1").is_ok());
        assert_eq!(hugetlb("2MB=1g").unwrap(), ("2MB".into(), 1 << 30));
        let conf = cgroup_conf("memory.high=1=2").unwrap();
        assert_eq!(conf, ("memory.high".into(), "1=2".into()));
        let disk = |text: &str| of_disk("device-read-bps", text, amount::limit).unwrap_err();
        for (error, said) in [
            (
                hugetlb("2MB"),
                "--hugetlb 2MB: SIZE=BYTES is wanted, as 2MB=1g",
            ),
            (
                hugetlb("MB=1"),
                "--hugetlb MB=1: 'MB' is no size of pages: 2MB and 1GB are some",
            ),
            (hugetlb("2MB=x"), "--hugetlb 2MB=x"),
            (
                cgroup_conf("x").map(|(file, _)| (file, 0)),
                "--cgroup-conf x: FILE=VALUE is wanted",
            ),
            (
                Err(disk("x")),
                "--device-read-bps x: DEVICE:NUMBER is wanted, as /dev/sda:1m",
            ),
            (
                Err(disk("/dev/null:1m")),
                "--device-read-bps /dev/null:1m: /dev/null: not a disk",
            ),
            (
                Err(disk("/nowhere:1m")),
                "--device-read-bps /nowhere:1m: /nowhere",
            ),
        ] {
            assert_eq!(error.unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn limits_are_added_to_what_there_is() {
        let mut resources = LinuxResources::default();
        let disk = Disk { major: 8, minor: 1 };
        let limits = Limits {
            memory: Some(64 << 20),
            cpus: Some(150_000),
            cpu_weight: Some(7),
            device_read_bps: vec![(disk, 9)],
            hugetlb: vec![("2MB".into(), 4 << 20)],
            ..Limits::default()
        };
        assert!(limits.any() && !Limits::default().any());
        let unsaid = Limits {
            cpu_shares: Some(0),
            ..Limits::default()
        };
        assert!(!unsaid.any());
        limits.apply(&mut resources).unwrap();
        let memory = resources.memory().unwrap();
        assert_eq!(
            (memory.limit(), memory.swap()),
            (Some(64 << 20), Some(128 << 20))
        );
        let cpu = resources.cpu().clone().unwrap();
        assert_eq!(
            (cpu.quota(), cpu.period()),
            (Some(150_000), Some(units::PERIOD))
        );
        let more = Limits {
            cpu_shares: Some(1024),
            hugetlb: vec![("2MB".into(), 2 << 20)],
            ..Limits::default()
        };
        more.apply(&mut resources).unwrap();
        assert!(resources.unified().is_none());
        let pages = resources.hugepage_limits().clone().unwrap();
        assert_eq!((pages.len(), pages[0].limit()), (1, 2 << 20));
        let io = resources.block_io().clone().unwrap();
        assert_eq!(
            io.throttle_read_bps_device().as_ref().map(Vec::len),
            Some(1)
        );
        let swap = Limits {
            memory_swap: Some(1),
            ..Limits::default()
        };
        let error = swap.apply(&mut resources).unwrap_err().to_string();
        assert_eq!(
            error,
            "--memory-swap: it counts memory too, and is less than --memory"
        );
    }
}
