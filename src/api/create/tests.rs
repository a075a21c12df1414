use super::*;
use crate::engine::request::health::HealthCommand;
use crate::engine::request::mounts::MountOption;
use crate::engine::request::security::SeccompOption;
use std::path::PathBuf;
use std::time::Duration;

fn drafted(description: &Value) -> Result<Draft> {
    let mut draft = read(description).or_kind(Kind::Invalid)?;
    networking::finish(&mut draft, &|name| Ok(name.to_owned()))?;
    Ok(draft)
}

#[test]
fn what_dockers_client_sends_for_nothing_asks_for_nothing() {
    // As docker's client 20.10 describes `docker create busybox`.
    let description = r#"{
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false,
        "AttachStdout": true, "AttachStderr": true, "Tty": false, "OpenStdin": false,
        "StdinOnce": false, "Env": [], "Cmd": null, "Image": "busybox", "Volumes": {},
        "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default", "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": false,
            "VolumeDriver": "", "VolumesFrom": null, "CapAdd": null, "CapDrop": null,
            "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [],
            "ExtraHosts": null, "GroupAdd": null, "IpcMode": "", "Cgroup": "", "Links": null,
            "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
            "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
            "ShmSize": 0, "ConsoleSize": [0, 0], "Isolation": "", "CpuShares": 0, "Memory": 0,
            "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null,
            "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null, "CpuPeriod": 0,
            "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "",
            "CpusetMems": "", "Devices": [], "DeviceCgroupRules": null,
            "DeviceRequests": null, "KernelMemory": 0, "KernelMemoryTCP": 0,
            "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
            "OomKillDisable": false, "PidsLimit": 0, "Ulimits": null, "CpuCount": 0,
            "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
            "MaskedPaths": null, "ReadonlyPaths": null
        },
        "NetworkingConfig": {"EndpointsConfig": {}}
    }"#;
    let description: Value = serde_json::from_str(description).unwrap();
    let draft = drafted(&description).unwrap();
    assert_eq!(draft.image, "busybox");
    assert!(draft.warnings.is_empty() && !draft.limits.any());
    assert_eq!(draft.unmasked, [false; 2]);
    let nothing = RunOptions::default();
    assert_eq!(format!("{:?}", draft.options), format!("{nothing:?}"));
}

#[test]
fn what_is_described_is_asked_for() {
    let description = json!({
        "image": "i", "Cmd": "one word", "Entrypoint": ["", "x"], "Tty": true,
        "Env": ["A=1", "B=", "C"], "User": "1:2", "Volumes": {"/v": {}}, "StopTimeout": -1,
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Labels": {"a": "b", "c": null},
        "Healthcheck": {"Test": ["CMD-SHELL", "x y"], "Interval": 2_000_000_000_i64, "Retries": 3},
        "Unheard": {"of": 1},
        "HostConfig": {
            "Binds": ["/etc:/e:ro"], "ConsoleSize": [33, 99], "Init": true,
            "PortBindings": {
                "80/tcp": [{"HostIp": "::1", "HostPort": "8080"}, {"HostPort": ""}],
                "53/udp": null,
            },
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "NanoCpus": 1_500_000_000_i64,
            "Memory": 67_108_864, "PidsLimit": -1, "MemorySwappiness": 60,
            "SecurityOpt": ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "no-new-privileges"],
            "Mounts": [
                {"Type": "bind", "Source": "/etc", "Target": "/x", "ReadOnly": true,
                 "BindOptions": {"Propagation": "rslave"}},
                {"Type": "volume", "Source": "data", "Target": "/d/", "VolumeOptions":
                 {"NoCopy": true, "Labels": {"l": "m"}, "DriverConfig": {"Name": "local"}}},
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448}},
            ],
            "Tmpfs": {"/run": "size=1m"}, "MaskedPaths": [], "ReadonlyPaths": [],
            "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}], "OomScoreAdj": 100,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        },
        "NetworkingConfig": {"EndpointsConfig": {
            "n1": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.9.0.5"}},
            "n0": {"MacAddress": "02:42:ac:11:00:02"},
        }},
    });
    let draft = drafted(&description).unwrap();
    let options = &draft.options;
    assert_eq!(options.command, ["one word"]);
    assert_eq!(options.entrypoint, Some(vec![String::new(), "x".into()]));
    let env = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        options.env,
        [env("A", Some("1")), env("B", Some("")), env("C", None)]
    );
    assert_eq!(options.labels["c"], "");
    assert_eq!(options.window_size, Some((33, 99)));
    assert_eq!(options.keeping.stop_timeout, Some(u32::MAX));
    assert_eq!(options.keeping.restart, Restart::OnFailure(Some(3)));
    assert_eq!(options.keeping.log.max_size, Some(1 << 20));
    assert_eq!(options.exposed.len(), 2);
    assert_eq!(draft.ports, ["[::1]:8080:80/tcp", ":80/tcp"]);
    assert_eq!(draft.binds, ["/etc:/e:ro"]);
    assert_eq!(
        (draft.unmasked, &*draft.volumes),
        ([true; 2], &["/v".to_owned()][..])
    );
    let line = HealthCommand::Shell("x y".into());
    assert_eq!(options.health.command, Some(line));
    assert_eq!(options.health.interval, Some(Duration::from_secs(2)));
    assert_eq!(
        (options.health.timeout, options.health.retries),
        (None, Some(3))
    );
    assert!(matches!(&options.seccomp, SeccompOption::Profile(text) if text.starts_with('{')));
    assert_eq!(options.no_new_privileges, Some(true));
    assert_eq!(draft.limits.cpus, Some(150_000));
    assert_eq!(
        (draft.limits.memory, draft.limits.pids_limit),
        (Some(64 << 20), Some(-1))
    );
    assert_eq!(draft.warnings.len(), 1, "{:?}", draft.warnings);
    assert_eq!(draft.labels.len(), 1);
    let [bind, volume, tmpfs, run] = &options.mounts[..] else {
        panic!("{:?}", options.mounts)
    };
    let MountOption::Bind {
        source,
        options: words,
        ..
    } = bind
    else {
        panic!("{bind:?}")
    };
    assert_eq!(source, &PathBuf::from("/etc"));
    assert!(words.contains(&"rro".into()) && words.contains(&"rslave".into()));
    let MountOption::Volume {
        name,
        fill,
        destination,
        ..
    } = volume
    else {
        panic!("{volume:?}")
    };
    assert_eq!((name.as_deref(), *fill), (Some("data"), false));
    assert_eq!(destination, &PathBuf::from("/d"));
    for (mount, word) in [(tmpfs, "mode=700"), (tmpfs, "size=4096"), (run, "size=1m")] {
        let MountOption::Tmpfs { options: words, .. } = mount else {
            panic!("{mount:?}")
        };
        assert!(words.contains(&word.into()), "{words:?}");
    }
    assert_eq!(options.network, Network::Named);
    let networks = &options.keeping.networks;
    let names: Vec<&str> = networks.iter().map(|a| a.network.as_str()).collect();
    assert_eq!(names, ["n0", "n1"]);
    assert_eq!(networks[1].aliases, ["web"]);
    assert!(networks[0].mac.is_some() && networks[1].mac.is_none());
}

#[test]
fn networks_are_modes_or_have_names() {
    let of = |mode: &str, endpoints: Value| {
        let networking = json!({"EndpointsConfig": endpoints});
        let host = json!({"NetworkMode": mode});
        let all = json!({"Image": "i", "HostConfig": host, "NetworkingConfig": networking});
        drafted(&all).map(|draft| {
            let networks = draft.options.keeping.networks.into_iter();
            let names: Vec<String> = networks.map(|attachment| attachment.network).collect();
            (draft.options.network, names.join(" "))
        })
    };
    let none = || json!({});
    for mode in ["", "default", "bridge"] {
        assert_eq!(of(mode, none()).unwrap(), (Network::Default, String::new()));
        assert_eq!(
            of(mode, json!({"n": null})).unwrap(),
            (Network::Named, "n".into())
        );
        assert_eq!(of(mode, json!({mode: {}})).unwrap().0, Network::Default);
    }
    assert_eq!(of("none", none()).unwrap().0, Network::None);
    assert_eq!(of("host", json!({"host": {}})).unwrap().0, Network::Host);
    let other = Network::Container("web".into());
    assert_eq!(of("container:web", none()).unwrap().0, other);
    assert_eq!(of("b", json!({"a": {}, "b": {}})).unwrap().1, "b a");
    assert!(of("host", json!({"n": {}})).is_err());
    assert!(of("n", json!({"n": {"Links": ["x"]}})).is_err());
    assert!(of("n", json!({"n": {"IPAMConfig": {"IPv4Address": "x"}}})).is_err());
}

#[test]
fn what_cannot_be_is_said_with_its_place() {
    let host = |key: &str, value: Value| json!({"Image": "i", "HostConfig": {key: value}});
    for (description, said) in [
        (json!({}), "Image: a container is made of an image"),
        (json!([]), "an object is wanted"),
        (json!({"Image": 3}), "Image: a text is wanted"),
        (
            json!({"Image": "i", "Env": ["=x"]}),
            "Env: invalid environment variable: =x",
        ),
        (json!({"Image": "i", "Cmd": [3]}), "Cmd: a text is wanted"),
        (
            json!({"Image": "i", "Healthcheck": {"Test": ["X"]}}),
            "Healthcheck: Test: there are",
        ),
        (
            json!({"Image": "i", "Healthcheck": {"Interval": 5}}),
            "Healthcheck: Interval: it cannot be less than 1ms",
        ),
        (
            host("Memory", json!("1g")),
            "HostConfig: Memory: a whole number is wanted",
        ),
        (
            host("Links", json!(["a:b"])),
            "HostConfig: Links: bryo does not do that",
        ),
        (
            host("DeviceRequests", json!([{"Count": -1}])),
            "HostConfig: DeviceRequests: bryo",
        ),
        (
            host("PidMode", json!("container:x")),
            "HostConfig: PidMode: --pid container:x",
        ),
        (
            host("Runtime", json!("kata")),
            "HostConfig: Runtime: unknown or invalid runtime",
        ),
        (
            host(
                "RestartPolicy",
                json!({"Name": "always", "MaximumRetryCount": 2}),
            ),
            "HostConfig: RestartPolicy: maximum retry count cannot be used",
        ),
        (
            host(
                "Mounts",
                json!([{"Type": "bind", "Source": "/nosuch/x", "Target": "/y"}]),
            ),
            "HostConfig: Mounts: invalid mount config for type \"bind\": bind source path does \
             not exist: /nosuch/x",
        ),
        (
            host("Mounts", json!([{"Type": "npipe", "Target": "/y"}])),
            "HostConfig: Mounts: mount type unknown",
        ),
        (
            host("SecurityOpt", json!(["label=type:x"])),
            "HostConfig: SecurityOpt: --security-opt",
        ),
        (
            host("MaskedPaths", json!(["/proc/x"])),
            "HostConfig: MaskedPaths: bryo does not",
        ),
    ] {
        let error = format!("{:#}", read(&description).unwrap_err());
        assert!(error.starts_with(said), "{error}\n{said}");
    }
    let both = json!({"Image": "i", "HostConfig":
        {"AutoRemove": true, "RestartPolicy": {"Name": "always"}}});
    assert!(read(&both).is_err());
}
