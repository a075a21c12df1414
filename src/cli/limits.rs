//! The flags of limits, which `run`, `create` and `update` share.

use super::words;
use crate::cgroup::place::Manager;
use crate::engine::create::limits::{LimitOptions, check};
use crate::engine::request::amount;
use crate::engine::request::group::{Cgroups, Parent, Strictness};
use crate::engine::request::limits as request;
use crate::error::refuse;
use anyhow::Result;
use oci_spec::runtime::LinuxResources;

/// Limits: what a container may use
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Processors, as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = amount::cpus, allow_hyphen_values = true,
        conflicts_with_all = ["cpu_quota", "cpu_period"])]
    cpus: Option<i64>,
    /// Weight against others, 2 to 262144; 1024 is usual
    #[arg(short = 'c', long, value_name = "NUMBER", value_parser = request::shares, allow_hyphen_values = true)]
    cpu_shares: Option<u64>,
    /// Weight against others as the kernel has it, 1 to 10000; 100 is usual
    #[arg(long, value_name = "NUMBER", value_parser = request::weight, allow_hyphen_values = true,
        conflicts_with = "cpu_shares")]
    cpu_weight: Option<u64>,
    /// Microseconds of processors in each period, -1 for any
    #[arg(long, value_name = "MICROSECONDS", value_parser = request::quota, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of the period in microseconds, 1000 to 1000000
    #[arg(long, value_name = "MICROSECONDS", value_parser = request::period, allow_hyphen_values = true)]
    cpu_period: Option<u64>,
    /// The processors to run on, as 0-2,5
    #[arg(long, value_name = "LIST", value_parser = request::set, allow_hyphen_values = true)]
    cpuset_cpus: Option<String>,
    /// The memory nodes to use, as 0-1
    #[arg(long, value_name = "LIST", value_parser = request::set, allow_hyphen_values = true)]
    cpuset_mems: Option<String>,

    /// Memory, as 512m
    #[arg(short, long, value_name = "BYTES", value_parser = amount::memory, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory and swap together, -1 for any swap; twice the memory if not
    /// said
    #[arg(long, value_name = "BYTES", value_parser = amount::limit_or_any, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Memory that is taken last when the machine runs short of it
    #[arg(long, value_name = "BYTES", value_parser = amount::limit, allow_hyphen_values = true)]
    memory_reservation: Option<u64>,
    /// Memory above which it is slowed down and has to give some back
    #[arg(long, value_name = "BYTES", value_parser = amount::limit, allow_hyphen_values = true)]
    memory_high: Option<u64>,
    /// Only for control groups of version 1
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Only for control groups of version 1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    oom_kill_disable: Option<bool>,

    /// Processes and threads, -1 for any number
    #[arg(long, value_name = "NUMBER", value_parser = amount::pids, allow_hyphen_values = true)]
    pids_limit: Option<i64>,

    /// Weight of its input and output, 10 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = request::blkio, allow_hyphen_values = true)]
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
pub struct GroupFlags {
    /// Who makes the control group: auto, systemd (a scope), cgroupfs (bryo)
    /// or disabled
    #[arg(long, value_name = "MANAGER", default_value = "auto",
        value_parser = words(Manager::WORDS, Manager::of))]
    cgroup_manager: Manager,
    /// Whether it has a control group: enabled, no-conmon, disabled, or split
    /// for one below the caller's
    #[arg(long, value_name = "MODE", default_value = "enabled",
        value_parser = words(Cgroups::WORDS, Cgroups::of))]
    cgroups: Cgroups,
    /// The slice that it is in, or a path of the hierarchy
    #[arg(long, value_name = "SLICE|PATH")]
    cgroup_parent: Option<Parent>,
    /// What to do about limits that cannot be had: required (an error) or
    /// best-effort (a warning)
    #[arg(long, value_name = "MODE", default_value = "required",
        value_parser = words(Strictness::WORDS, Strictness::of))]
    limits: Strictness,
}

impl Limits {
    /// What the flags say.
    ///
    /// # Errors
    /// Values that are none; flags that control groups of version 2 do not have.
    pub fn read(&self) -> Result<request::Limits> {
        if self.memory_swappiness.is_some_and(|n| n != -1) {
            refuse!(
                Invalid,
                "--memory-swappiness: control groups of version 2 have no such thing; \
                 --memory-swap says how much may be swapped out"
            );
        }
        if self.oom_kill_disable == Some(true) {
            refuse!(
                Invalid,
                "--oom-kill-disable: control groups of version 2 have no such thing; \
                 --memory-high slows down and kills nobody, --oom-score-adj says who goes first"
            );
        }
        let disks = |flag, texts: &[String], read: fn(&str) -> Result<u64>| {
            let all = texts.iter().map(|text| request::of_disk(flag, text, read));
            all.collect::<Result<Vec<_>>>()
        };
        let weights = self.blkio_weight_device.iter();
        let weights =
            weights.map(|text| request::of_disk("blkio-weight-device", text, request::blkio));
        let pages = self.hugetlb.iter().map(|text| request::hugetlb(text));
        let files = self.cgroup_conf.iter();
        let files = files.map(|text| request::cgroup_conf(text));
        Ok(request::Limits {
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpu_weight: self.cpu_weight,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            memory_high: self.memory_high,
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            blkio_weight_device: weights.collect::<Result<_>>()?,
            device_read_bps: disks("device-read-bps", &self.device_read_bps, amount::limit)?,
            device_write_bps: disks("device-write-bps", &self.device_write_bps, amount::limit)?,
            device_read_iops: disks(
                "device-read-iops",
                &self.device_read_iops,
                request::operations,
            )?,
            device_write_iops: disks(
                "device-write-iops",
                &self.device_write_iops,
                request::operations,
            )?,
            hugetlb: pages.collect::<Result<_>>()?,
            cgroup_conf: files.collect::<Result<_>>()?,
        })
    }
}

/// The flags as the engine takes them.
pub fn options(limits: &Limits, place: &GroupFlags) -> Result<LimitOptions> {
    let mut resources = LinuxResources::default();
    limits.read()?.apply(&mut resources)?;
    let asked = resources != LinuxResources::default();
    let manager = place.cgroups.manager(place.cgroup_manager);
    if asked {
        check(&resources)?;
        if manager == Manager::Disabled {
            refuse!(
                Invalid,
                "limits need a control group: leave out --cgroups disabled"
            );
        }
    }
    Ok(LimitOptions {
        resources: asked.then_some(resources),
        manager,
        parent: place.cgroup_parent.clone(),
        strictness: place.limits,
    })
}
