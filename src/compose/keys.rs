//! What becomes of each key of a service: one table, and what reads its values.

use super::labels;
use super::node::{Node, Result};
use super::service::{Draft, duration, each, said, shown, texts, truth, wrong};
use super::{mounted, networking};
use crate::engine::log::{self, LogConfig};
use crate::engine::request::capabilities;
use crate::engine::request::health::{HealthCommand, HealthOptions};
use crate::engine::request::namespaces::Sharing;
use crate::engine::request::restart::Restart;
use crate::engine::request::security::Security;
use crate::engine::request::user::Groups;
use crate::engine::request::userns::UserNs;
use crate::engine::request::{device, hosts, names, size, ulimit};

/// What a key is read with.
pub(super) type Read = fn(&mut Draft, &Node) -> Result<()>;

/// What becomes of a key.
pub(super) enum Take {
    /// It is done.
    By(Read),
    /// It is read with others, or where the project or its order is.
    Elsewhere,
    /// It is refused, for this reason.
    Refused(&'static str),
    /// It changes nothing here, which is said.
    Told(&'static str),
}

use Take::{By, Elsewhere, Refused, Told};

const WINDOWS: &str = "it is for Windows";
const REALTIME: &str = "real-time scheduling is nothing that an ordinary user can share out";

/// All keys of a service.
pub(super) const KEYS: &[(&str, Take)] = &[
    (
        "annotations",
        By(|d, n| put(&mut d.options.annotations, labels::given(Some(n)))),
    ),
    ("attach", By(|d, n| put(&mut d.attach, truth(n)))),
    ("blkio_config", Elsewhere),
    ("build", Elsewhere),
    (
        "cap_add",
        By(|d, n| {
            each(n, |t| {
                d.options.capabilities.add.push(capabilities::parse(t)?);
                Ok(())
            })
        }),
    ),
    (
        "cap_drop",
        By(|d, n| {
            each(n, |t| {
                d.options.capabilities.drop.push(capabilities::parse(t)?);
                Ok(())
            })
        }),
    ),
    (
        "cgroup",
        By(|d, n| {
            put(
                &mut d.options.cgroup,
                said(n, |t| Sharing::read("cgroupns", t))?,
            )
        }),
    ),
    (
        "cgroup_parent",
        By(|d, n| put(&mut d.options.limits.parent, Some(said(n, str::parse)?))),
    ),
    ("command", By(|d, n| put(&mut d.options.command, texts(n)))),
    ("configs", By(mounted::configs)),
    ("container_name", Elsewhere),
    ("cpu_count", Refused(WINDOWS)),
    ("cpu_percent", Refused(WINDOWS)),
    ("cpu_period", Elsewhere),
    ("cpu_quota", Elsewhere),
    ("cpu_rt_period", Refused(REALTIME)),
    ("cpu_rt_runtime", Refused(REALTIME)),
    ("cpu_shares", Elsewhere),
    ("cpus", Elsewhere),
    ("cpuset", Elsewhere),
    ("credential_spec", Refused(WINDOWS)),
    ("depends_on", Elsewhere),
    ("deploy", Elsewhere),
    ("develop", Elsewhere),
    (
        "device_cgroup_rules",
        Refused("an ordinary user cannot make device nodes: name the device in devices"),
    ),
    ("devices", By(devices)),
    ("dns", Elsewhere),
    ("dns_opt", Elsewhere),
    ("dns_search", Elsewhere),
    (
        "domainname",
        By(|d, n| put(&mut d.options.domainname, Some(shown(n)))),
    ),
    (
        "entrypoint",
        By(|d, n| put(&mut d.options.entrypoint, Some(texts(n)))),
    ),
    ("env_file", Elsewhere),
    ("environment", By(environment)),
    ("expose", By(networking::expose)),
    ("extends", Elsewhere),
    (
        "external_links",
        Refused("links are nothing that networks have here: put both on one network"),
    ),
    (
        "extra_hosts",
        By(|d, n| {
            each(n, |t| {
                d.options
                    .add_hosts
                    .extend(hosts::add_host(&t.replacen('=', ":", 1))?);
                Ok(())
            })
        }),
    ),
    (
        "gpus",
        Refused("devices by CDI are not given to containers yet: name the device in devices"),
    ),
    (
        "group_add",
        By(|d, n| {
            d.options.groups = Groups::read(&texts(n)).map_err(|e| wrong(n, &e))?;
            Ok(())
        }),
    ),
    ("healthcheck", By(healthcheck)),
    (
        "hostname",
        By(|d, n| {
            said(n, names::hostname)?;
            put(&mut d.options.hostname, Some(shown(n)))
        }),
    ),
    ("image", Elsewhere),
    ("init", By(|d, n| put(&mut d.options.init, truth(n)))),
    (
        "ipc",
        By(|d, n| put(&mut d.options.ipc, said(n, |t| Sharing::read("ipc", t))?)),
    ),
    (
        "isolation",
        By(|_, n| match n.as_text() {
            None | Some("default" | "") => Ok(()),
            _ => Err(n.fault(WINDOWS)),
        }),
    ),
    ("label_file", Elsewhere),
    ("labels", Elsewhere),
    ("links", Elsewhere),
    ("logging", By(logging)),
    (
        "mac_address",
        Refused("interfaces have the addresses that bryo gives them"),
    ),
    ("mem_limit", Elsewhere),
    ("mem_reservation", Elsewhere),
    (
        "mem_swappiness",
        Refused(
            "control groups of version 2 have no such thing: memswap_limit says how much may be swapped out",
        ),
    ),
    ("memswap_limit", Elsewhere),
    ("models", Refused("bryo runs no models")),
    ("network_mode", By(networking::mode)),
    ("networks", Elsewhere),
    (
        "oom_kill_disable",
        Refused(
            "control groups of version 2 have no such thing: oom_score_adj says who goes first",
        ),
    ),
    (
        "oom_score_adj",
        By(|d, n| {
            put(
                &mut d.options.oom_score_adj,
                Some(said(n, |t| Ok(t.parse()?))?),
            )
        }),
    ),
    (
        "pid",
        By(|d, n| put(&mut d.options.pid, said(n, |t| Sharing::read("pid", t))?)),
    ),
    ("pids_limit", Elsewhere),
    (
        "platform",
        By(|d, n| put(&mut d.platform, Some(said(n, str::parse)?))),
    ),
    ("ports", By(networking::ports)),
    (
        "post_start",
        Refused("commands beside a service's are not run yet: bryo compose exec runs them"),
    ),
    (
        "pre_start",
        Refused(
            "commands before a service's are not run yet: make a service of them, and depend on it with service_completed_successfully",
        ),
    ),
    (
        "pre_stop",
        Refused("commands beside a service's are not run yet: bryo compose exec runs them"),
    ),
    (
        "privileged",
        By(|d, n| put(&mut d.options.privileged, truth(n))),
    ),
    ("profiles", Elsewhere),
    (
        "provider",
        Refused("programs that provide services are not started"),
    ),
    ("pull_policy", Elsewhere),
    (
        "pull_refresh_after",
        Refused("images are fetched when they are missing, always or never"),
    ),
    (
        "read_only",
        By(|d, n| put(&mut d.options.read_only, truth(n))),
    ),
    (
        "restart",
        By(|d, n| put(&mut d.options.keeping.restart, said(n, str::parse)?)),
    ),
    ("runtime", Told("containers are run by bryo itself")),
    ("scale", Elsewhere),
    ("secrets", By(mounted::secrets)),
    ("security_opt", By(security)),
    (
        "shm_size",
        By(|d, n| put(&mut d.options.shm_size, Some(said(n, size::bytes)?))),
    ),
    (
        "stdin_open",
        By(|d, n| put(&mut d.options.interactive, truth(n))),
    ),
    (
        "stop_grace_period",
        By(|d, n| {
            let seconds = duration(n)?.as_millis().div_ceil(1000);
            put(
                &mut d.options.keeping.stop_timeout,
                Some(seconds.try_into().unwrap_or(u32::MAX)),
            )
        }),
    ),
    (
        "stop_signal",
        By(|d, n| put(&mut d.options.stop_signal, Some(said(n, str::parse)?))),
    ),
    (
        "storage_opt",
        Refused("the size of a container's files has no limit of its own"),
    ),
    (
        "sysctls",
        By(|d, n| put(&mut d.options.sysctls, labels::given(Some(n)))),
    ),
    ("tmpfs", By(mounted::tmpfs)),
    ("tty", By(|d, n| put(&mut d.options.tty, truth(n)))),
    ("ulimits", By(ulimits)),
    ("use_api_socket", Refused("there is no socket of an engine")),
    (
        "user",
        By(|d, n| put(&mut d.options.user, Some(said(n, str::parse)?))),
    ),
    (
        "userns_mode",
        By(|d, n| {
            put(
                &mut d.options.userns,
                said(n, |t| UserNs::parse(t, &[], &[]))?,
            )
        }),
    ),
    (
        "uts",
        By(|d, n| put(&mut d.options.uts, said(n, |t| Sharing::read("uts", t))?)),
    ),
    ("volumes", By(mounted::volumes)),
    ("volumes_from", By(mounted::volumes_from)),
    (
        "working_dir",
        By(|d, n| put(&mut d.options.workdir, Some(shown(n)))),
    ),
];

/// Gives something a value.
fn put<T>(place: &mut T, value: T) -> Result<()> {
    *place = value;
    Ok(())
}

fn environment(draft: &mut Draft, node: &Node) -> Result<()> {
    for (key, value) in node.entries() {
        draft
            .options
            .env
            .push((key.name.clone(), value.as_text().map(str::to_owned)));
    }
    Ok(())
}

fn devices(draft: &mut Draft, node: &Node) -> Result<()> {
    for item in node.items() {
        let part = |key: &str| item.text_of(key).unwrap_or_default();
        let mut text = part("source").to_owned();
        for more in [part("target"), part("permissions")] {
            if !more.is_empty() {
                text = format!("{text}:{more}");
            }
        }
        let read = device::parse(&text).map_err(|error| wrong(item, &error))?;
        draft.options.devices.push(read);
    }
    Ok(())
}

fn healthcheck(draft: &mut Draft, node: &Node) -> Result<()> {
    let mut health = HealthOptions::default();
    if let Some(test) = node.given("test") {
        let words = texts(test);
        match words.first().map(String::as_str) {
            Some("NONE") => health.off = true,
            Some("CMD") => health.command = Some(HealthCommand::Words(words[1..].to_vec())),
            Some("CMD-SHELL") => health.command = Some(HealthCommand::Shell(words[1..].join(" "))),
            _ => {}
        }
    }
    health.off |= node.get("disable").is_some_and(truth);
    let time = |key: &str| node.given(key).map(duration).transpose();
    health.interval = time("interval")?;
    health.timeout = time("timeout")?;
    health.start_period = time("start_period")?;
    health.start_interval = time("start_interval")?;
    let retries = node.given("retries");
    let retries = retries
        .map(|node| said(node, |text| Ok(text.parse()?)))
        .transpose();
    health.retries = retries?;
    draft.options.health = health;
    Ok(())
}

fn logging(draft: &mut Draft, node: &Node) -> Result<()> {
    let options = labels::given(node.get("options"));
    let options: Vec<String> = options
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let read = LogConfig::read(node.text_of("driver"), &options);
    let config = read.map_err(|error| wrong(node, &error))?;
    log::check(config.driver).map_err(|error| wrong(node, &error))?;
    draft.options.keeping.log = config;
    Ok(())
}

fn security(draft: &mut Draft, node: &Node) -> Result<()> {
    // Docker's older way to write it.
    let words: Vec<String> = texts(node)
        .iter()
        .map(|text| text.replacen(':', "=", 1))
        .collect();
    let security = Security::read(&words).map_err(|error| wrong(node, &error))?;
    draft.options.seccomp = security.seccomp;
    draft.options.no_new_privileges = security.no_new_privileges;
    draft.options.unmask = security.unmask;
    draft.options.writable_cgroups = security.writable_cgroups;
    Ok(())
}

fn ulimits(draft: &mut Draft, node: &Node) -> Result<()> {
    for (key, value) in node.entries() {
        let number = |key: &str| value.get(key).map(shown);
        let text = match (number("soft"), number("hard")) {
            (Some(soft), Some(hard)) => format!("{}={soft}:{hard}", key.name),
            _ => format!("{}={}", key.name, shown(value)),
        };
        let read = ulimit::parse(&text).map_err(|error| wrong(value, &error))?;
        draft.options.ulimits.push(read);
    }
    Ok(())
}

/// The restart policy that `deploy` says.
pub(super) fn restart(node: &Node) -> Result<Restart> {
    let times = node.given("max_attempts").map(shown);
    let word = match node.text_of("condition") {
        None | Some("any" | "") => "always".to_owned(),
        Some("none") => "no".to_owned(),
        Some("on-failure") => match times {
            Some(times) => format!("on-failure:{times}"),
            None => "on-failure".to_owned(),
        },
        Some(other) => other.to_owned(),
    };
    word.parse().map_err(|error| wrong(node, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::shape;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_of_a_service_is_done_or_refused() {
        let known: BTreeSet<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        assert_eq!(known.len(), KEYS.len());
        let all: BTreeSet<&str> = shape::SERVICE.keys().collect();
        assert_eq!(known, all);
    }
}
