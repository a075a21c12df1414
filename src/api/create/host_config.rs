//! What of a container depends on the machine: docker's `HostConfig`. Pure, but for
//! looks that the engine's own readers of requests take.

use super::Take::{By, Nothing, Refused, Told};
use super::config::size;
use super::mounts;
use super::values::{
    amount, each, flag, list, member, number, object, pairs, says_something, some_text, text,
};
use super::{Draft, Key, for_each};
use crate::engine::log;
use crate::engine::request::dns::Words;
use crate::engine::request::limits::{Disk, of_disk};
use crate::engine::request::mounts::parse_volumes_from;
use crate::engine::request::namespaces::Sharing;
use crate::engine::request::security::{SeccompOption, Security};
use crate::engine::request::user::Groups;
use crate::engine::request::userns::UserNs;
use crate::engine::request::{amount as amounts, capabilities, device, hosts, limits, ulimit};
use crate::error::refuse;
use anyhow::{Context, Result};
use serde_json::Value;

/// All keys.
pub(super) const KEYS: &[Key] = &[
    (
        "Annotations",
        By(|d, v| {
            d.options.annotations = pairs(v)?;
            Ok(())
        }),
    ),
    (
        "AutoRemove",
        By(|d, v| {
            d.options.auto_remove = flag(v)?;
            Ok(())
        }),
    ),
    (
        "Binds",
        By(|d, v| {
            d.binds = each(v)?;
            Ok(())
        }),
    ),
    (
        "BlkioDeviceReadBps",
        By(|d, v| {
            d.limits.device_read_bps = disks(v, "Rate", amounts::limit)?;
            Ok(())
        }),
    ),
    (
        "BlkioDeviceReadIOps",
        By(|d, v| {
            d.limits.device_read_iops = disks(v, "Rate", limits::operations)?;
            Ok(())
        }),
    ),
    (
        "BlkioDeviceWriteBps",
        By(|d, v| {
            d.limits.device_write_bps = disks(v, "Rate", amounts::limit)?;
            Ok(())
        }),
    ),
    (
        "BlkioDeviceWriteIOps",
        By(|d, v| {
            d.limits.device_write_iops = disks(v, "Rate", limits::operations)?;
            Ok(())
        }),
    ),
    (
        "BlkioWeight",
        By(|d, v| {
            d.limits.blkio_weight = limit(v, limits::blkio)?;
            Ok(())
        }),
    ),
    (
        "BlkioWeightDevice",
        By(|d, v| {
            d.limits.blkio_weight_device = disks(v, "Weight", limits::blkio)?;
            Ok(())
        }),
    ),
    (
        "CapAdd",
        By(|d, v| {
            for_each(v, |name| {
                d.options.capabilities.add.push(capabilities::parse(name)?);
                Ok(())
            })
        }),
    ),
    (
        "CapDrop",
        By(|d, v| {
            for_each(v, |name| {
                d.options.capabilities.drop.push(capabilities::parse(name)?);
                Ok(())
            })
        }),
    ),
    (
        "Cgroup",
        Refused("a container has a control group of its own"),
    ),
    (
        "CgroupParent",
        By(|d, v| {
            d.parent = some_text(v)?.map(str::parse).transpose()?;
            Ok(())
        }),
    ),
    (
        "CgroupnsMode",
        By(|d, v| {
            d.options.cgroup = Sharing::read("cgroupns", text(v)?)?;
            Ok(())
        }),
    ),
    (
        "ConsoleSize",
        By(|d, v| {
            d.options.window_size = size(v)?;
            Ok(())
        }),
    ),
    // The client writes it.
    ("ContainerIDFile", Nothing),
    // Those of Windows.
    ("CpuCount", Nothing),
    ("CpuPercent", Nothing),
    (
        "CpuPeriod",
        By(|d, v| {
            d.limits.cpu_period = limit(v, limits::period)?;
            Ok(())
        }),
    ),
    (
        "CpuQuota",
        By(|d, v| {
            d.limits.cpu_quota = limit(v, limits::quota)?;
            Ok(())
        }),
    ),
    (
        "CpuRealtimePeriod",
        Refused("users have no realtime processors to give"),
    ),
    (
        "CpuRealtimeRuntime",
        Refused("users have no realtime processors to give"),
    ),
    (
        "CpuShares",
        By(|d, v| {
            d.limits.cpu_shares = limit(v, limits::shares)?;
            Ok(())
        }),
    ),
    (
        "CpusetCpus",
        By(|d, v| {
            d.limits.cpuset_cpus = some_text(v)?.map(limits::set).transpose()?;
            Ok(())
        }),
    ),
    (
        "CpusetMems",
        By(|d, v| {
            d.limits.cpuset_mems = some_text(v)?.map(limits::set).transpose()?;
            Ok(())
        }),
    ),
    (
        "DeviceCgroupRules",
        Refused("a device's own mode says who may use it"),
    ),
    ("DeviceRequests", Refused("Devices names device nodes")),
    ("Devices", By(devices)),
    (
        "Dns",
        By(|d, v| {
            d.options.dns.servers = each(v)?;
            Ok(())
        }),
    ),
    (
        "DnsOptions",
        By(|d, v| {
            d.options.dns.options = Words::read(&each(v)?);
            Ok(())
        }),
    ),
    (
        "DnsSearch",
        By(|d, v| {
            d.options.dns.search = Words::read(&each(v)?);
            Ok(())
        }),
    ),
    (
        "ExtraHosts",
        By(|d, v| {
            for_each(v, |entry| {
                d.options.add_hosts.extend(hosts::add_host(entry)?);
                Ok(())
            })
        }),
    ),
    (
        "GroupAdd",
        By(|d, v| {
            d.options.groups = Groups::read(&each(v)?)?;
            Ok(())
        }),
    ),
    ("IOMaximumBandwidth", Nothing),
    ("IOMaximumIOps", Nothing),
    (
        "Init",
        By(|d, v| {
            d.options.init = flag(v)?;
            Ok(())
        }),
    ),
    (
        "IpcMode",
        By(|d, v| {
            d.options.ipc = Sharing::read("ipc", text(v)?)?;
            Ok(())
        }),
    ),
    (
        "Isolation",
        By(|_, v| match text(v)? {
            "" | "default" => Ok(()),
            other => refuse!(Invalid, "invalid isolation '{other}' on linux"),
        }),
    ),
    (
        "KernelMemory",
        Told("Specifying a kernel memory limit is deprecated and changes nothing"),
    ),
    (
        "KernelMemoryTCP",
        Told("Kernel memory of TCP cannot be limited. Limitation discarded."),
    ),
    (
        "Links",
        Refused("containers on one network find each other by their names"),
    ),
    ("LogConfig", By(log_config)),
    ("MaskedPaths", By(|d, v| unmasked(d, v, 0))),
    (
        "Memory",
        By(|d, v| {
            d.limits.memory = limit(v, amounts::memory)?;
            Ok(())
        }),
    ),
    (
        "MemoryReservation",
        By(|d, v| {
            d.limits.memory_reservation = limit(v, amounts::limit)?;
            Ok(())
        }),
    ),
    (
        "MemorySwap",
        By(|d, v| {
            d.limits.memory_swap = limit(v, amounts::limit_or_any)?;
            Ok(())
        }),
    ),
    (
        "MemorySwappiness",
        Told(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. \
         Memory swappiness discarded.",
        ),
    ),
    ("Mounts", By(mounts::mounts)),
    (
        "NanoCpus",
        By(|d, v| {
            let parts = amount(v)?;
            let decimal = |n: u64| format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000);
            d.limits.cpus = parts.map(|n| amounts::cpus(&decimal(n))).transpose()?;
            Ok(())
        }),
    ),
    (
        "NetworkMode",
        By(|d, v| {
            d.networking.mode = text(v)?.to_owned();
            Ok(())
        }),
    ),
    (
        "OomKillDisable",
        Told("Your kernel does not support OomKillDisable. OomKillDisable discarded."),
    ),
    (
        "OomScoreAdj",
        By(|d, v| {
            let score = i32::try_from(number(v)?).ok();
            let Some(score) = score.filter(|score| (-1000..=1000).contains(score)) else {
                refuse!(Invalid, "the range is [-1000, 1000]");
            };
            d.options.oom_score_adj = (score != 0).then_some(score);
            Ok(())
        }),
    ),
    (
        "PidMode",
        By(|d, v| {
            d.options.pid = Sharing::read("pid", text(v)?)?;
            Ok(())
        }),
    ),
    (
        "PidsLimit",
        By(|d, v| {
            d.limits.pids_limit = limit(v, amounts::pids)?;
            Ok(())
        }),
    ),
    ("PortBindings", By(ports)),
    (
        "Privileged",
        By(|d, v| {
            d.options.privileged = flag(v)?;
            Ok(())
        }),
    ),
    (
        "PublishAllPorts",
        By(|d, v| {
            d.options.publish_all = flag(v)?;
            Ok(())
        }),
    ),
    ("ReadonlyPaths", By(|d, v| unmasked(d, v, 1))),
    (
        "ReadonlyRootfs",
        By(|d, v| {
            d.options.read_only = flag(v)?;
            Ok(())
        }),
    ),
    ("RestartPolicy", By(restart)),
    (
        "Runtime",
        By(|_, v| match text(v)? {
            "" | "bryo" | "runc" | "io.containerd.runc.v2" => Ok(()),
            other => refuse!(Invalid, "unknown or invalid runtime name: {other}"),
        }),
    ),
    ("SecurityOpt", By(security)),
    (
        "ShmSize",
        By(|d, v| {
            d.options.shm_size = amount(v)?;
            Ok(())
        }),
    ),
    (
        "StorageOpt",
        Refused("a container may use what its user may"),
    ),
    (
        "Sysctls",
        By(|d, v| {
            d.options.sysctls = pairs(v)?;
            Ok(())
        }),
    ),
    ("Tmpfs", By(mounts::tmpfs)),
    (
        "UTSMode",
        By(|d, v| {
            d.options.uts = Sharing::read("uts", text(v)?)?;
            Ok(())
        }),
    ),
    ("Ulimits", By(ulimits)),
    (
        "UsernsMode",
        By(|d, v| {
            d.options.userns = UserNs::parse(text(v)?, &[], &[])?;
            Ok(())
        }),
    ),
    (
        "VolumeDriver",
        By(|_, v| match text(v)? {
            "" | "local" => Ok(()),
            other => refuse!(Unsupported, "'{other}': there is the driver local"),
        }),
    ),
    (
        "VolumesFrom",
        By(|d, v| {
            for_each(v, |other| {
                d.options.volumes_from.push(parse_volumes_from(other)?);
                Ok(())
            })
        }),
    ),
];

/// A limit that is a number; 0 is none.
fn limit<T>(value: &Value, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    match number(value)? {
        0 => Ok(None),
        number => read(&number.to_string()).map(Some),
    }
}

/// Limits of disks, each with a `Path` and a number.
fn disks<T>(value: &Value, key: &str, read: fn(&str) -> Result<T>) -> Result<Vec<(Disk, T)>> {
    let all = list(value)?.iter().map(|item| {
        let path = text(member(item, "Path").unwrap_or(&Value::Null)).context("Path")?;
        let value =
            number(member(item, key).unwrap_or(&Value::Null)).with_context(|| key.to_owned())?;
        of_disk(key, &format!("{path}:{value}"), read)
    });
    all.collect()
}

fn devices(draft: &mut Draft, value: &Value) -> Result<()> {
    for item in list(value)? {
        let part = |key: &str| -> Result<&str> {
            let value = member(item, key).map(some_text).transpose()?;
            Ok(value.flatten().unwrap_or_default())
        };
        let (host, inside) = (part("PathOnHost")?, part("PathInContainer")?);
        let inside = if inside.is_empty() { host } else { inside };
        draft
            .options
            .devices
            .push(device::parse(&format!("{host}:{inside}"))?);
    }
    Ok(())
}

fn log_config(draft: &mut Draft, value: &Value) -> Result<()> {
    let driver = member(value, "Type").map(some_text).transpose()?.flatten();
    let options = pairs(member(value, "Config").unwrap_or(&Value::Null))?;
    let options = options
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let log = log::LogConfig::read(driver, &options.collect::<Vec<_>>())?;
    log::check(log.driver)?;
    draft.options.keeping.log = log;
    Ok(())
}

fn ports(draft: &mut Draft, value: &Value) -> Result<()> {
    for (port, bindings) in object(value)? {
        for binding in list(bindings).with_context(|| port.clone())? {
            let part = |key: &str| -> Result<&str> {
                let value = member(binding, key).map(text).transpose();
                Ok(value.with_context(|| key.to_owned())?.unwrap_or_default())
            };
            let address = match part("HostIp")? {
                "" => String::new(),
                ip if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]:"),
                ip => format!("{ip}:"),
            };
            draft
                .ports
                .push(format!("{address}{}:{port}", part("HostPort")?));
        }
    }
    Ok(())
}

fn restart(draft: &mut Draft, value: &Value) -> Result<()> {
    let name = member(value, "Name")
        .map(text)
        .transpose()?
        .unwrap_or_default();
    let times = member(value, "MaximumRetryCount")
        .map(number)
        .transpose()?
        .unwrap_or(0);
    let policy = match (name, times) {
        ("on-failure", 1..) => format!("on-failure:{times}"),
        (_, 0) | ("on-failure", _) => name.to_owned(),
        _ => refuse!(
            Invalid,
            "maximum retry count cannot be used with restart policy '{name}'"
        ),
    };
    draft.options.keeping.restart = policy.parse()?;
    Ok(())
}

/// The client sends a profile's text where people name a file.
fn security(draft: &mut Draft, value: &Value) -> Result<()> {
    let mut others = Vec::new();
    let mut profile = None;
    for option in each(value)? {
        match option
            .strip_prefix("seccomp=")
            .or(option.strip_prefix("seccomp:"))
        {
            Some(text) if text.trim_start().starts_with('{') => {
                profile = Some(SeccompOption::Profile(text.to_owned()));
            }
            _ => others.push(option),
        }
    }
    let security = Security::read(&others)?;
    draft.options.seccomp = profile.unwrap_or(security.seccomp);
    draft.options.no_new_privileges = security.no_new_privileges;
    draft.options.unmask = security.unmask;
    draft.options.writable_cgroups = security.writable_cgroups;
    Ok(())
}

fn ulimits(draft: &mut Draft, value: &Value) -> Result<()> {
    for item in list(value)? {
        let name = text(member(item, "Name").unwrap_or(&Value::Null)).context("Name")?;
        let part = |key: &str| -> Result<i64> {
            let value = member(item, key).map(number).transpose();
            Ok(value.with_context(|| key.to_owned())?.unwrap_or(0))
        };
        let (soft, hard) = (part("Soft")?, part("Hard")?);
        draft
            .options
            .ulimits
            .push(ulimit::parse(&format!("{name}={soft}:{hard}"))?);
    }
    Ok(())
}

/// Lists of paths: none at all, or what is so by itself.
fn unmasked(draft: &mut Draft, value: &Value, which: usize) -> Result<()> {
    if says_something(value) {
        refuse!(
            Unsupported,
            "bryo does not do that: the paths are those that it masks by itself (null), or none \
             (an empty list)"
        );
    }
    draft.unmasked[which] = true;
    Ok(())
}
