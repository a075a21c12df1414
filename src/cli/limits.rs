//! The flags of limits, which `run`, `create` and `update` share.

use crate::cgroup::limits::check_name;
use crate::cgroup::place::Manager;
use crate::cgroup::units;
use crate::engine::limits::{LimitOptions, check};
use anyhow::{Context as _, Result, bail};
use nix::sys::stat::{SFlag, major, minor, stat};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPidsBuilder, LinuxResources,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

/// Limits: what a container may use
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Processors, as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = units::cpus, allow_hyphen_values = true,
        conflicts_with_all = ["cpu_quota", "cpu_period"])]
    cpus: Option<i64>,
    /// Weight against others, 2 to 262144; 1024 is usual
    #[arg(short = 'c', long, value_name = "NUMBER", value_parser = shares, allow_hyphen_values = true)]
    cpu_shares: Option<u64>,
    /// Weight against others as the kernel has it, 1 to 10000; 100 is usual
    #[arg(long, value_name = "NUMBER", value_parser = weight, allow_hyphen_values = true,
        conflicts_with = "cpu_shares")]
    cpu_weight: Option<u64>,
    /// Microseconds of processors in each period, -1 for any
    #[arg(long, value_name = "MICROSECONDS", value_parser = quota, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of the period in microseconds, 1000 to 1000000
    #[arg(long, value_name = "MICROSECONDS", value_parser = period, allow_hyphen_values = true)]
    cpu_period: Option<u64>,
    /// The processors to run on, as 0-2,5
    #[arg(long, value_name = "LIST", value_parser = set, allow_hyphen_values = true)]
    cpuset_cpus: Option<String>,
    /// The memory nodes to use, as 0-1
    #[arg(long, value_name = "LIST", value_parser = set, allow_hyphen_values = true)]
    cpuset_mems: Option<String>,

    /// Memory, as 512m
    #[arg(short, long, value_name = "BYTES", value_parser = units::memory, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory and swap together, -1 for any swap; twice the memory if not
    /// said
    #[arg(long, value_name = "BYTES", value_parser = units::bytes_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Memory that is taken last when the machine runs short of it
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    memory_reservation: Option<u64>,
    /// Memory above which it is slowed down and has to give some back
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    memory_high: Option<u64>,
    /// Only for control groups of version 1
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Only for control groups of version 1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    oom_kill_disable: Option<bool>,

    /// Processes and threads, -1 for any number
    #[arg(long, value_name = "NUMBER", value_parser = units::pids, allow_hyphen_values = true)]
    pids_limit: Option<i64>,

    /// Weight of its input and output, 10 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = blkio, allow_hyphen_values = true)]
    blkio_weight: Option<u16>,
    /// Weight for a device
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Bytes a second to read from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_read_bps: Vec<String>,
    /// Bytes a second to write to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_write_bps: Vec<String>,
    /// Operations a second to read from a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// Operations a second to write to a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
    /// Memory in huge pages of a size, as 2MB=1g
    #[arg(long, value_name = "SIZE=BYTES")]
    hugetlb: Vec<String>,
    /// Write a file of the control group, as memory.high=1073741824
    #[arg(long, value_name = "FILE=VALUE")]
    cgroup_conf: Vec<String>,
}

/// Where a container's control group is
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Limits")]
pub struct Place {
    /// Who makes the control group: auto, systemd (a scope), cgroupfs (bryo)
    /// or disabled
    #[arg(long, value_name = "MANAGER", default_value = "auto",
        value_parser = ["auto", "systemd", "cgroupfs", "disabled"])]
    cgroup_manager: String,
    /// Whether it has a control group: enabled, no-conmon, disabled, or split
    /// for one below the caller's
    #[arg(long, value_name = "MODE", default_value = "enabled",
        value_parser = ["enabled", "disabled", "no-conmon", "split"])]
    cgroups: String,
    /// The slice that it is in, or a path of the hierarchy
    #[arg(long, value_name = "SLICE|PATH")]
    cgroup_parent: Option<String>,
    /// What to do about limits that cannot be had: required (an error) or
    /// best-effort (a warning)
    #[arg(long, value_name = "MODE", default_value = "required",
        value_parser = ["required", "best-effort"])]
    limits: String,
}

/// Docker's 0 stands for not said.
fn shares(text: &str) -> Result<u64> {
    match text {
        "0" => Ok(0),
        _ => units::number(text, 2, 262_144),
    }
}

fn weight(text: &str) -> Result<u64> {
    units::number(text, 1, 10_000)
}

fn blkio(text: &str) -> Result<u16> {
    units::number(text, 10, 1000).map(|n| n as u16)
}

fn period(text: &str) -> Result<u64> {
    units::number(text, 1000, 1_000_000)
}

fn quota(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => units::number(text, 1000, 1 << 40).map(|n| n as i64),
    }
}

fn set(text: &str) -> Result<String> {
    units::set(text).map(|_| text.to_owned())
}

/// A device's number, and what is said of it.
fn device<'a>(flag: &str, text: &'a str) -> Result<((i64, i64), &'a str)> {
    let (path, value) = text
        .rsplit_once(':')
        .with_context(|| format!("--{flag} {text}: DEVICE:NUMBER is wanted, as /dev/sda:1m"))?;
    let what = || format!("--{flag} {text}: {path}");
    let stat = stat(path).with_context(what)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFBLK {
        bail!("{}: not a disk", what());
    }
    let number = (major(stat.st_rdev) as i64, minor(stat.st_rdev) as i64);
    Ok((number, value))
}

fn throttles(
    flag: &str,
    list: &[String],
    parse: impl Fn(&str) -> Result<u64>,
) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let one = |text: &String| {
        let ((major, minor), value) = device(flag, text)?;
        let rate = parse(value).with_context(|| format!("--{flag} {text}"))?;
        let device = LinuxThrottleDeviceBuilder::default();
        Ok(device.major(major).minor(minor).rate(rate).build()?)
    };
    let all = list.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok((!all.is_empty()).then_some(all))
}

impl Limits {
    /// Whether any was given.
    pub fn any(&self) -> bool {
        let mut resources = LinuxResources::default();
        self.apply(&mut resources).is_err() || resources != LinuxResources::default()
    }

    /// Adds what was asked for to what there is.
    pub fn apply(&self, resources: &mut LinuxResources) -> Result<()> {
        if self.memory_swappiness.is_some_and(|n| n != -1) {
            bail!(
                "--memory-swappiness: control groups of version 2 have no such thing; \
                 --memory-swap says how much may be swapped out"
            );
        }
        if self.oom_kill_disable == Some(true) {
            bail!(
                "--oom-kill-disable: control groups of version 2 have no such thing; \
                 --memory-high slows down and kills nobody, --oom-score-adj says who goes first"
            );
        }
        self.memory(resources)?;
        self.cpu(resources);
        if let Some(limit) = self.pids_limit {
            resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
        }
        self.block_io(resources)?;
        let mut pages = resources.hugepage_limits().clone().unwrap_or_default();
        for text in &self.hugetlb {
            let (size, limit) = text
                .split_once('=')
                .with_context(|| format!("--hugetlb {text}: SIZE=BYTES is wanted, as 2MB=1g"))?;
            let units = size.trim_start_matches(|c: char| c.is_ascii_digit());
            if !["KB", "MB", "GB"].contains(&units) || units == size {
                bail!("--hugetlb {text}: '{size}' is no size of pages: 2MB and 1GB are some");
            }
            let bytes = units::bytes(limit).with_context(|| format!("--hugetlb {text}"))?;
            let mut page = LinuxHugepageLimit::default();
            page.set_page_size(size.to_owned());
            page.set_limit(bytes as i64);
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
        for text in &self.cgroup_conf {
            let (file, value) = text
                .split_once('=')
                .with_context(|| format!("--cgroup-conf {text}: FILE=VALUE is wanted"))?;
            check_name(file).with_context(|| format!("--cgroup-conf {text}"))?;
            unified.insert(file.to_owned(), value.to_owned());
        }
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
                bail!("--memory-swap: it counts memory too, and is less than --memory");
            }
            memory.set_swap(Some(swap));
        }
        if let Some(bytes) = self.memory_reservation {
            let bytes = bytes as i64;
            if memory
                .limit()
                .is_some_and(|limit| limit > 0 && bytes > limit)
            {
                bail!("--memory-reservation: it is more than --memory");
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
        for text in &self.blkio_weight_device {
            let ((major, minor), value) = device("blkio-weight-device", text)?;
            let weight = blkio(value).with_context(|| format!("--blkio-weight-device {text}"))?;
            let device = LinuxWeightDeviceBuilder::default()
                .major(major)
                .minor(minor);
            weights.push(device.weight(weight).build()?);
        }
        if !weights.is_empty() {
            io.set_weight_device(Some(weights));
        }
        let count = |text: &str| units::number(text, 1, u64::MAX);
        if let Some(list) = throttles("device-read-bps", &self.device_read_bps, units::bytes)? {
            io.set_throttle_read_bps_device(Some(list));
        }
        if let Some(list) = throttles("device-write-bps", &self.device_write_bps, units::bytes)? {
            io.set_throttle_write_bps_device(Some(list));
        }
        if let Some(list) = throttles("device-read-iops", &self.device_read_iops, count)? {
            io.set_throttle_read_iops_device(Some(list));
        }
        if let Some(list) = throttles("device-write-iops", &self.device_write_iops, count)? {
            io.set_throttle_write_iops_device(Some(list));
        }
        resources.set_block_io((io != LinuxBlockIo::default()).then_some(io));
        Ok(())
    }
}

/// The flags as the engine takes them.
pub fn options(limits: &Limits, place: &Place) -> Result<LimitOptions> {
    let mut resources = LinuxResources::default();
    limits.apply(&mut resources)?;
    let asked = resources != LinuxResources::default();
    let manager = match (place.cgroups.as_str(), place.cgroup_manager.as_str()) {
        ("disabled", _) | (_, "disabled") => Manager::Disabled,
        ("split", _) | (_, "cgroupfs") => Manager::Cgroupfs,
        (_, "systemd") => Manager::Systemd,
        _ => Manager::Auto,
    };
    if asked {
        check(&resources)?;
        if manager == Manager::Disabled {
            bail!("limits need a control group: leave out --cgroups disabled");
        }
    }
    Ok(LimitOptions {
        resources: asked.then_some(resources),
        manager,
        parent: place.cgroup_parent.clone(),
        best_effort: place.limits == "best-effort",
    })
}
