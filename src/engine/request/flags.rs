//! The flags of `run`, `create`, `exec` and `update` that say what a container
//! is: what reads the value of each, and what it is called in settings files
//! (`docs/config.md`).

use super::user::{Groups, UserOption};
use super::{
    amount, capabilities, detach_keys, device, environment, group, health, hosts, limits, log,
    mounts, names, namespaces, network, pairs, process, publish, pull, restart, secret, security,
    signal, size, time_zone, ulimit, user_network, userns,
};
use crate::cgroup::units;
use crate::image::platform::Platform;
use anyhow::Result;

/// A flag that takes a value.
#[derive(Debug)]
pub struct Flag {
    /// Its long name.
    pub name: &'static str,
    /// What it is called in settings files, if it can be there.
    pub key: Option<&'static str>,
    /// Reads one value of it and says what is wrong.
    pub read: fn(&str) -> Result<()>,
}

const fn flag(name: &'static str, read: fn(&str) -> Result<()>) -> Flag {
    Flag {
        name,
        key: None,
        read,
    }
}

const fn keyed(name: &'static str, key: &'static str, read: fn(&str) -> Result<()>) -> Flag {
    Flag {
        name,
        key: Some(key),
        read,
    }
}

/// Words, paths and names that are looked up where they are used, and what the
/// command line itself reads: numbers and words of a list.
fn text(_: &str) -> Result<()> {
    Ok(())
}

fn list(text: &str) -> [String; 1] {
    [text.to_owned()]
}

/// All of them, by name.
pub const FLAGS: &[Flag] = &[
    flag("add-host", |t| hosts::add_host(t).map(drop)),
    flag("annotation", |t| {
        pairs::pairs("annotation", &list(t)).map(drop)
    }),
    flag("arch", text),
    flag("blkio-weight", |t| limits::blkio(t).map(drop)),
    flag("blkio-weight-device", |t| {
        limits::of_disk("blkio-weight-device", t, limits::blkio).map(drop)
    }),
    flag("cap-add", |t| capabilities::parse(t).map(drop)),
    flag("cap-drop", |t| capabilities::parse(t).map(drop)),
    flag("cgroup-conf", |t| limits::cgroup_conf(t).map(drop)),
    flag("cgroup-manager", text),
    flag("cgroup-parent", |t| t.parse::<group::Parent>().map(drop)),
    flag("cgroupns", |t| {
        namespaces::Sharing::read("cgroupns", t).map(drop)
    }),
    flag("cgroups", text),
    flag("cidfile", text),
    flag("cpu-period", |t| limits::period(t).map(drop)),
    flag("cpu-quota", |t| limits::quota(t).map(drop)),
    flag("cpu-shares", |t| limits::shares(t).map(drop)),
    flag("cpu-weight", |t| limits::weight(t).map(drop)),
    flag("cpus", |t| amount::cpus(t).map(drop)),
    flag("cpuset-cpus", |t| units::set(t).map(drop)),
    flag("cpuset-mems", |t| units::set(t).map(drop)),
    keyed("detach-keys", "run.detach-keys", |t| {
        detach_keys::parse(t).map(drop)
    }),
    flag("device", |t| device::parse(t).map(drop)),
    flag("device-read-bps", |t| {
        limits::of_disk("device-read-bps", t, amount::limit).map(drop)
    }),
    flag("device-read-iops", |t| {
        limits::of_disk("device-read-iops", t, limits::operations).map(drop)
    }),
    flag("device-write-bps", |t| {
        limits::of_disk("device-write-bps", t, amount::limit).map(drop)
    }),
    flag("device-write-iops", |t| {
        limits::of_disk("device-write-iops", t, limits::operations).map(drop)
    }),
    flag("dns", text),
    flag("dns-option", text),
    flag("dns-search", text),
    flag("domainname", text),
    flag("entrypoint", |t| process::entrypoint(t).map(drop)),
    flag("env", |t| environment::read(&[], &list(t)).map(drop)),
    flag("env-file", text),
    flag("env-merge", |t| environment::merge(t).map(drop)),
    flag("expose", |t| publish::exposed(t).map(drop)),
    flag("gidmap", |t| {
        userns::UserNs::parse("", &[], &list(t)).map(drop)
    }),
    flag("group-add", |t| Groups::read(&list(t)).map(drop)),
    flag("health-cmd", |t| {
        t.parse::<health::HealthCommand>().map(drop)
    }),
    flag("health-interval", |t| health::time("interval", t).map(drop)),
    flag("health-on-failure", text),
    flag("health-retries", text),
    flag("health-start-interval", |t| {
        health::time("start-interval", t).map(drop)
    }),
    flag("health-start-period", |t| {
        health::time("start-period", t).map(drop)
    }),
    flag("health-timeout", |t| health::time("timeout", t).map(drop)),
    flag("hostname", names::hostname),
    flag("http-proxy", text),
    flag("hugetlb", |t| limits::hugetlb(t).map(drop)),
    flag("image-volume", text),
    flag("ip", text),
    flag("ip6", text),
    flag("ipc", |t| namespaces::Sharing::read("ipc", t).map(drop)),
    flag("label", text),
    flag("label-file", text),
    flag("limits", text),
    keyed("log-driver", "run.log-driver", |t| {
        log::LogConfig::read(Some(t), &[]).map(drop)
    }),
    flag("log-opt", text),
    flag("mac-address", |t| {
        t.parse::<user_network::HardwareAddress>().map(drop)
    }),
    flag("memory", |t| amount::memory(t).map(drop)),
    flag("memory-high", |t| amount::limit(t).map(drop)),
    flag("memory-reservation", |t| amount::limit(t).map(drop)),
    flag("memory-swap", |t| amount::limit_or_any(t).map(drop)),
    flag("memory-swappiness", text),
    flag("mount", |t| mounts::parse_mount(t).map(drop)),
    flag("name", names::container),
    keyed("network", "run.network", |t| {
        network::read(&list(t), &[], [&None; 2], None).map(drop)
    }),
    flag("network-alias", text),
    flag("oom-kill-disable", text),
    flag("oom-score-adj", text),
    flag("os", text),
    flag("pid", |t| namespaces::Sharing::read("pid", t).map(drop)),
    flag("pidfile", text),
    flag("pids-limit", |t| amount::pids(t).map(drop)),
    flag("platform", |t| t.parse::<Platform>().map(drop)),
    flag("publish", |t| publish::parse(t).map(drop)),
    keyed("pull", "run.pull", |t| pull::policy(t).map(drop)),
    flag("read-only-tmpfs", text),
    flag("restart", |t| t.parse::<restart::Restart>().map(drop)),
    keyed("root-emulation", "run.root-emulation", text),
    flag("secret", |t| t.parse::<secret::SecretOption>().map(drop)),
    flag("security-opt", |t| {
        security::Security::read(&list(t)).map(drop)
    }),
    flag("share", text),
    keyed("shm-size", "run.shm-size", |t| size::bytes(t).map(drop)),
    flag("stop-signal", |t| t.parse::<signal::StopSignal>().map(drop)),
    flag("stop-timeout", text),
    flag("sysctl", |t| pairs::pairs("sysctl", &list(t)).map(drop)),
    flag("systemd", text),
    flag("time-offset", |t| process::time_offset(t).map(drop)),
    flag("timeout", text),
    flag("tmpfs", |t| mounts::parse_tmpfs(t).map(drop)),
    flag("tz", |t| time_zone::TimeZone::read(t).map(drop)),
    flag("uidmap", |t| {
        userns::UserNs::parse("", &list(t), &[]).map(drop)
    }),
    flag("ulimit", |t| ulimit::parse(t).map(drop)),
    flag("umask", |t| process::umask(t).map(drop)),
    flag("unsetenv", text),
    flag("user", |t| t.parse::<UserOption>().map(drop)),
    keyed("userns", "run.userns", |t| {
        userns::UserNs::parse(t, &[], &[]).map(drop)
    }),
    flag("uts", |t| namespaces::Sharing::read("uts", t).map(drop)),
    flag("variant", text),
    flag("volume", |t| mounts::parse_volume(t).map(drop)),
    flag("volumes-from", |t| mounts::parse_volumes_from(t).map(drop)),
    flag("workdir", text),
];

/// The flag that has this name in settings files.
pub fn of_key(key: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.key == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_value_is_survived(text in "[a-z0-9:=,/.~\\[ \\PC]{0,40}") {
            for flag in FLAGS {
                let _ = (flag.read)(&text);
            }
        }
    }

    #[test]
    fn rows_are_in_order_and_read_their_own_values() {
        assert!(FLAGS.is_sorted_by(|a, b| a.name < b.name));
        for (name, good, bad) in [
            ("add-host", "a:1.2.3.4", "a"),
            ("annotation", "a=b", "a"),
            ("cap-add", "chown", "fly"),
            ("cap-drop", "ALL", "fly"),
            ("cgroup-parent", "a.slice", "a:b"),
            ("cgroupns", "host", "container:x"),
            ("cpus", "1.5", "-1"),
            ("cpuset-cpus", "0-2,5", "2-0"),
            ("detach-keys", "ctrl-p,ctrl-q", "ctrl-1"),
            ("device", "/dev/null", "/dev/nosuch"),
            ("entrypoint", "[\"a\"]", "[a"),
            ("env", "A=1", "=1"),
            ("env-merge", "A=$B", "A"),
            ("expose", "80/udp", "80:80"),
            ("gidmap", "0:1:10", "0"),
            ("group-add", "keep-groups", "4294967295"),
            ("health-cmd", "true", "[a"),
            ("health-timeout", "3s", "3"),
            ("hugetlb", "2MB=1g", "2MB"),
            ("cpu-shares", "0", "1"),
            ("cgroup-conf", "memory.high=1", "x"),
            ("hostname", "web", &"a".repeat(65)),
            ("log-driver", "k8s-file", "syslog"),
            ("mac-address", "02:42:ac:11:00:02", "02:42"),
            ("memory", "512m", "1k"),
            ("mount", "type=tmpfs,dst=/x", "dst=x"),
            ("name", "web", "we b"),
            ("network", "web:ip=10.0.0.2", "user:mtu=1"),
            ("pids-limit", "-1", "-2"),
            ("platform", "linux/arm64", "/"),
            ("publish", "80:80", "80:"),
            ("pull", "newer", "now"),
            ("restart", "on-failure:3", "yes"),
            ("secret", "s,type=env", "s,type=x"),
            ("security-opt", "seccomp=unconfined", "x"),
            ("shm-size", "64m", "64x"),
            ("stop-signal", "SIGINT", "SIGX"),
            ("sysctl", "a=b", "a"),
            ("time-offset", "boottime=1", "real=1"),
            ("tmpfs", "/x:size=1m", "x"),
            ("tz", "Europe/Berlin", "/x"),
            ("uidmap", "0:1:10", "0"),
            ("ulimit", "nofile=1:2", "nofile=2:1"),
            ("umask", "022", "9"),
            ("user", "1:2", "4294967295"),
            ("userns", "keep-id:uid=7", "keep-id:x=7"),
            ("uts", "private", "ns:x"),
            ("volume", "v:/x", "v:x"),
            ("volumes-from", "c:ro", "c:nocopy"),
        ] {
            let flag = FLAGS.iter().find(|flag| flag.name == name).unwrap();
            assert!((flag.read)(good).is_ok(), "{name} {good}");
            assert!((flag.read)(bad).is_err(), "{name} {bad}");
        }
        assert_eq!(of_key("run.network").unwrap().name, "network");
        assert!(of_key("root").is_none());
    }
}
