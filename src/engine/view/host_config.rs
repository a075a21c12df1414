//! What was asked of the machine for a container: the `HostConfig` of
//! `inspect`.

use super::container::{LogConfig, RestartPolicy};
use super::network;
use super::port::Binding;
use crate::cgroup::place::Manager;
use crate::engine::container::containers;
use crate::engine::create::limits;
use crate::engine::request::mounts::Kind;
use crate::runtime::plan::ANNOTATION_SECCOMP;
use oci_spec::runtime::{
    LinuxNamespaceType, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice, PosixRlimit, Spec,
};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What was asked of the machine, by docker's and podman's names; 0 is for what
/// was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct HostConfig {
    /// Bind mounts and volumes, as `-v` has them.
    pub binds: Option<Vec<String>>,
    pub network_mode: String,
    /// The ports to be published, as they were asked for.
    pub port_bindings: BTreeMap<String, Vec<Binding>>,
    pub publish_all_ports: bool,
    pub auto_remove: bool,
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    pub log_config: LogConfig,
    pub restart_policy: RestartPolicy,
    pub volumes_from: Option<Vec<String>>,
    pub volume_driver: &'static str,
    pub readonly_rootfs: bool,
    pub privileged: bool,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub extra_hosts: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    pub ipc_mode: &'static str,
    pub pid_mode: &'static str,
    #[serde(rename = "UTSMode")]
    pub uts_mode: &'static str,
    pub userns_mode: String,
    pub cgroupns_mode: &'static str,
    /// What was asked for, or is so by itself, in the words of
    /// `--security-opt`.
    pub security_opt: Vec<&'static str>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub shm_size: u64,
    pub tmpfs: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Option<Vec<Ulimit>>,
    pub devices: Vec<Device>,
    pub device_requests: Option<Vec<String>>,
    pub device_cgroup_rules: Option<Vec<String>>,
    pub init: Option<bool>,
    pub runtime: &'static str,
    pub isolation: &'static str,
    pub links: Option<Vec<String>>,
    pub cgroup_manager: Manager,
    pub cgroup_parent: String,
    pub memory: i64,
    pub memory_swap: i64,
    pub memory_reservation: i64,
    pub memory_swappiness: Option<u64>,
    pub oom_kill_disable: Option<bool>,
    pub cpu_shares: u64,
    pub cpu_quota: i64,
    pub cpu_period: u64,
    /// Thousand-millionths of a processor.
    pub nano_cpus: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub pids_limit: i64,
    pub blkio_weight: u16,
    pub blkio_weight_device: Option<Vec<LinuxWeightDevice>>,
    pub blkio_device_read_bps: Option<Vec<LinuxThrottleDevice>>,
    pub blkio_device_write_bps: Option<Vec<LinuxThrottleDevice>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<LinuxThrottleDevice>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<LinuxThrottleDevice>>,
    pub cgroup_conf: Option<HashMap<String, String>>,
    pub oom_score_adj: i32,
}

/// A limit of `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    /// Which, as `nofile`.
    pub name: String,
    /// What it cannot be raised beyond.
    pub hard: u64,
    /// What it is.
    pub soft: u64,
}

/// A device of `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    /// On the host.
    pub path_on_host: String,
    /// In the container.
    pub path_in_container: String,
    /// What may be done with it: what the host allows.
    pub cgroup_permissions: &'static str,
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Docker has none in place of an empty list there.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

impl HostConfig {
    /// Of a container with this specification.
    pub fn of(container: &containers::Container, spec: &Spec) -> HostConfig {
        let record = &container.record;
        let said = &record.asked;
        let none = LinuxResources::default();
        let asked = limits::resources(spec).unwrap_or(&none);
        let memory = asked.memory().unwrap_or_default();
        let cpu = asked.cpu().clone().unwrap_or_default();
        let io = asked.block_io().clone().unwrap_or_default();
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        let linux = spec.linux().as_ref();
        let process = spec.process().as_ref();
        let shares = |kind| is_hosts(spec, kind);
        let groups = process.and_then(|p| p.user().additional_gids().clone());
        let groups: Vec<String> = groups.iter().flatten().map(u32::to_string).collect();
        let limits = process.and_then(|p| p.rlimits().clone());
        let limits: Vec<Ulimit> = limits.iter().flatten().map(Ulimit::of).collect();
        let devices = said.devices.iter().map(|(host, inside)| Device {
            path_on_host: host.clone(),
            path_in_container: inside.clone(),
            cgroup_permissions: "rwm",
        });
        let sysctls = linux.and_then(|l| l.sysctl().clone()).unwrap_or_default();
        HostConfig {
            binds: some(&binds(container)),
            network_mode: network::mode(container),
            port_bindings: port_bindings(container),
            publish_all_ports: said.publish_all,
            auto_remove: record.auto_remove,
            container_id_file: (record.keeping.cidfile.as_deref().map(path)).unwrap_or_default(),
            log_config: LogConfig::of(&record.keeping.log),
            restart_policy: RestartPolicy::of(container.restart_policy()),
            volumes_from: some(&said.volumes_from),
            volume_driver: "",
            readonly_rootfs: (spec.root().as_ref().and_then(|r| r.readonly())).unwrap_or(false),
            privileged: said.privileged,
            cap_add: some(&said.cap_add),
            cap_drop: some(&said.cap_drop),
            dns: said.dns.clone(),
            dns_options: said.dns_options.clone(),
            dns_search: said.dns_search.clone(),
            extra_hosts: some(&said.extra_hosts),
            group_add: some(&groups),
            ipc_mode: match shares(LinuxNamespaceType::Ipc) {
                true => "host",
                false => "private",
            },
            pid_mode: match shares(LinuxNamespaceType::Pid) {
                true => "host",
                false => "",
            },
            uts_mode: match shares(LinuxNamespaceType::Uts) {
                true => "host",
                false => "",
            },
            userns_mode: said.userns.clone(),
            cgroupns_mode: match shares(LinuxNamespaceType::Cgroup) {
                true => "host",
                false => "private",
            },
            security_opt: security_options(spec),
            masked_paths: (linux.and_then(|l| l.masked_paths().clone())).unwrap_or_default(),
            readonly_paths: (linux.and_then(|l| l.readonly_paths().clone())).unwrap_or_default(),
            shm_size: shm_size(spec),
            tmpfs: tmpfs(container),
            sysctls: sysctls.into_iter().collect(),
            ulimits: some(&limits),
            devices: devices.collect(),
            device_requests: None,
            device_cgroup_rules: None,
            init: said.init.then_some(true),
            runtime: "bryo",
            isolation: "",
            links: None,
            cgroup_manager: limits::manager(spec),
            cgroup_parent: (linux.and_then(|l| l.cgroups_path().as_deref()))
                .map(path)
                .unwrap_or_default(),
            memory: memory.limit().unwrap_or(0),
            memory_swap: memory.swap().unwrap_or(0),
            memory_reservation: memory.reservation().unwrap_or(0),
            memory_swappiness: memory.swappiness(),
            oom_kill_disable: memory.disable_oom_killer(),
            cpu_shares: cpu.shares().unwrap_or(0),
            cpu_quota: quota,
            cpu_period: period,
            nano_cpus: nano_cpus(quota, period),
            cpuset_cpus: cpu.cpus().clone().unwrap_or_default(),
            cpuset_mems: cpu.mems().clone().unwrap_or_default(),
            pids_limit: asked.pids().as_ref().map_or(0, |p| p.limit()),
            blkio_weight: io.weight().unwrap_or(0),
            blkio_weight_device: io.weight_device().clone(),
            blkio_device_read_bps: io.throttle_read_bps_device().clone(),
            blkio_device_write_bps: io.throttle_write_bps_device().clone(),
            blkio_device_read_iops: io.throttle_read_iops_device().clone(),
            blkio_device_write_iops: io.throttle_write_iops_device().clone(),
            cgroup_conf: asked.unified().clone(),
            oom_score_adj: process.and_then(|p| p.oom_score_adj()).unwrap_or(0),
        }
    }
}

impl Ulimit {
    fn of(limit: &PosixRlimit) -> Ulimit {
        let name = limit.typ().to_string().to_lowercase();
        Ulimit {
            name: name.trim_start_matches("rlimit_").to_owned(),
            hard: limit.hard(),
            soft: limit.soft(),
        }
    }
}

/// Whether a namespace of that kind is not the container's own.
fn is_hosts(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    !all.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == kind))
}

/// As `-v` has them; volumes that nobody named are none of these.
fn binds(container: &containers::Container) -> Vec<String> {
    let anonymous = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mounts = container.record.mounts.iter();
    let bound = mounts.filter(|mount| match mount.kind {
        Kind::Bind => true,
        Kind::Volume => !anonymous(&mount.source),
        Kind::Tmpfs | Kind::Image => false,
    });
    let text = bound.map(|mount| {
        let places = format!("{}:{}", mount.source, path(&mount.destination));
        // What is so by itself is none of `-v`'s words.
        let said = mount.options.iter().filter_map(|word| match word.as_str() {
            "rbind" | "rprivate" => None,
            "rro" => Some("ro"),
            word => Some(word),
        });
        match said.collect::<Vec<_>>().join(",").as_str() {
            "" => places,
            options => format!("{places}:{options}"),
        }
    });
    text.collect()
}

fn tmpfs(container: &containers::Container) -> BTreeMap<String, String> {
    let mounts = container.record.mounts.iter();
    let mounts = mounts.filter(|mount| mount.kind == Kind::Tmpfs);
    mounts
        .map(|mount| (path(&mount.destination), mount.options.join(",")))
        .collect()
}

fn port_bindings(container: &containers::Container) -> BTreeMap<String, Vec<Binding>> {
    let mut all: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for port in &container.record.ports {
        let name = format!("{}/{}", port.container, port.transport);
        all.entry(name).or_default().push(Binding {
            host_ip: port.address.map_or(String::new(), |ip| ip.to_string()),
            host_port: match port.host {
                (0, 0) => String::new(),
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            },
        });
    }
    all
}

/// The size of `/dev/shm`, if the container has its own; else 0.
fn shm_size(spec: &Spec) -> u64 {
    let mut mounts = spec.mounts().iter().flatten();
    let shm = mounts.find(|mount| mount.destination() == Path::new("/dev/shm"));
    let options = shm.and_then(|mount| mount.options().as_ref());
    let mut options = options.into_iter().flatten();
    let size = options.find_map(|option| option.strip_prefix("size="));
    size.and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// A quota of microseconds in each period of so many, in thousand-millionths of
/// a processor.
fn nano_cpus(quota: i64, period: u64) -> i64 {
    match period {
        0 => 0,
        period => quota.max(0) * 1_000_000_000 / i64::try_from(period).unwrap_or(i64::MAX),
    }
}

fn security_options(spec: &Spec) -> Vec<&'static str> {
    let process = spec.process().as_ref();
    let bit = process.and_then(|p| p.no_new_privileges()).unwrap_or(false);
    let annotations = spec.annotations().as_ref();
    let default = annotations.is_some_and(|all| all.contains_key(ANNOTATION_SECCOMP));
    let profile = spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some());
    let mut options = Vec::new();
    if bit {
        options.push("no-new-privileges");
    }
    if !default && !profile {
        options.push("seccomp=unconfined");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        assert_eq!(nano_cpus(150_000, 100_000), 1_500_000_000);
        assert_eq!(nano_cpus(-1, 100_000), 0);
        assert_eq!(nano_cpus(1, 0), 0);
    }
}
