//! What `inspect` and the lists say, by docker's and podman's names, and what
//! their filters mean.

use crate::common::Sandbox;
use serde_json::{Value, json};

/// Lists that the tests compare, a word a line.
fn words(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let output = sandbox.bryo(arguments).output().expect(0);
    let mut words: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    words.sort();
    words
}

fn remove(sandbox: &Sandbox) {
    sandbox.bryo(["rm", "-f", "-a"]).output().expect(0);
}

#[test]
fn what_was_asked_for_is_in_the_inspect() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write("shown/file", "x");
    let shown = sandbox.work().join("shown");
    let bind = format!("{}:/shown:ro", shown.display());
    let other = ["create", "--network=none", "--name=other", "-v/anon"];
    let other = sandbox.bryo(other);
    other.args(["busybox", "true"]).output().expect(0);
    let flags = [
        "--name=c",
        "--init",
        "--cap-add=sys_ptrace",
        "--cap-drop=ALL",
        "--dns=9.9.9.9",
        "--dns-search=a.test",
        "--dns-opt=ndots:2",
        "--add-host=db:10.1.2.3",
        "--ulimit=nofile=100:200",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=7",
        "--shm-size=1m",
        "--tmpfs=/scratch:size=64k",
        "-vkept:/kept",
        "-v/nameless",
        "--volumes-from=other",
        "--security-opt=seccomp=unconfined",
        "--security-opt=no-new-privileges",
        "--expose=81/udp",
        "--cgroupns=private",
        "--userns=keep-id:uid=7",
        "--network=none",
        "--device=/dev/null:/dev/nothing",
        "--log-driver=json-file",
        "--log-opt=max-size=10k",
        "--domainname=d.test",
    ];
    let create = sandbox.bryo(["create", "-v", &bind]).args(flags);
    create.args(["busybox", "true"]).output().expect(0);
    let of = sandbox.inspect("c");
    let host = &of["HostConfig"];
    let expected = json!({
        "Binds": [bind, "kept:/kept"],
        "Privileged": false,
        "PublishAllPorts": false,
        "CapAdd": ["CAP_SYS_PTRACE"],
        "CapDrop": ["ALL"],
        "Dns": ["9.9.9.9"],
        "DnsSearch": ["a.test"],
        "DnsOptions": ["ndots:2"],
        "ExtraHosts": ["db:10.1.2.3"],
        "GroupAdd": null,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "keep-id:uid=7",
        "CgroupnsMode": "private",
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "ShmSize": 1 << 20,
        "Ulimits": [{"Name": "nofile", "Hard": 200, "Soft": 100}],
        "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "7"},
        "Init": true,
        "VolumesFrom": ["other"],
        "NetworkMode": "none",
        "Devices": [{
            "PathOnHost": "/dev/null",
            "PathInContainer": "/dev/nothing",
            "CgroupPermissions": "rwm",
        }],
        "DeviceRequests": null,
        "Runtime": "bryo",
        "ContainerIDFile": "",
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10240"}},
        "PortBindings": {},
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&host[key], value, "{key}");
    }
    let tmpfs = host["Tmpfs"]["/scratch"].as_str().unwrap();
    assert!(tmpfs.contains("size=64k"), "{tmpfs}");
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        assert!(host[key].as_array().unwrap().len() > 3, "{key}");
    }
    let config = &of["Config"];
    assert_eq!(config["ExposedPorts"], json!({"81/udp": {}}));
    assert_eq!(config["Domainname"], "d.test");
    assert_eq!(config["AttachStdout"], true);
    assert_eq!(of["Platform"], "linux");
    assert_eq!(of["GraphDriver"]["Name"], of["Driver"]);
    for key in ["ResolvConfPath", "HostnamePath", "HostsPath"] {
        assert!(of[key].as_str().unwrap().contains("/containers/"), "{of}");
    }
    assert_eq!(of["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(of["EffectiveCaps"], json!(["CAP_SYS_PTRACE"]));
    assert_eq!(of["BoundingCaps"], json!(["CAP_SYS_PTRACE"]));
    let line = of["CreateCommand"].as_array().unwrap();
    assert!(line.contains(&json!("--cap-drop=ALL")) && line[1] == "create");
    let image = sandbox.inspect("busybox");
    assert_eq!(of["ImageDigest"], image["Digest"]);
    assert_eq!(image["Comment"], "Imported from busybox.tar");
    assert_eq!(image["GraphDriver"]["Name"], "overlay");
    let top = image["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap();
    assert!(std::path::Path::new(top).join("bin").is_dir(), "{top}");
    remove(&sandbox);
}

#[test]
fn what_is_empty_is_said_as_docker_says_it() {
    let sandbox = Sandbox::with_busybox();
    let create = ["create", "--network=none", "--name=c", "busybox", "true"];
    sandbox.bryo(create).output().expect(0);
    for (template, said) in [
        ("{{.HostConfig.Binds}}", "[]"),
        ("{{.HostConfig.CapAdd}}", "[]"),
        ("{{json .HostConfig.CapAdd}}", "null"),
        ("{{json .HostConfig.Ulimits}}", "null"),
        ("{{json .HostConfig.Dns}}", "[]"),
        ("{{.HostConfig.PortBindings}}", "map[]"),
        ("{{json .Config.Volumes}}", "null"),
        ("{{.Config.StopSignal}}|", "|"),
        ("{{.Config.OnBuild}}", "[]"),
        ("{{.HostConfig.Init}}", "<nil>"),
        ("{{.HostConfig.ContainerIDFile}}|", "|"),
        ("{{.NetworkSettings.SandboxKey}}|", "|"),
        ("{{.State.FinishedAt}}", "0001-01-01T00:00:00Z"),
        ("{{.AppArmorProfile}}|", "|"),
    ] {
        let shown = sandbox.bryo(["inspect", "-f", template, "c"]).stdout();
        assert_eq!(shown.trim_end(), said, "{template}");
    }
    let sizes = "{{.SizeRw}} {{.SizeRootFs}}";
    let shown = sandbox.bryo(["inspect", "-s", "-f", sizes, "c"]).stdout();
    let (wrote, all) = shown.trim_end().split_once(' ').unwrap();
    assert!(all.parse::<u64>().unwrap() > wrote.parse().unwrap());
    remove(&sandbox);
}

#[test]
fn lists_have_dockers_columns() {
    let sandbox = Sandbox::with_busybox();
    let create = ["create", "--network=none", "--name=c", "-vdata:/d", "-v/e"];
    let create = sandbox.bryo(create);
    create.args(["busybox", "true"]).output().expect(0);
    let row = |arguments: &[&str]| -> Value {
        let text = sandbox.bryo(arguments).stdout();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    let of = row(&["ps", "-a", "--format", "json"]);
    let (mounts, id) = (of["Mounts"].as_str().unwrap(), &of["ImageID"]);
    assert!(mounts.split(',').any(|name| name == "data"), "{of}");
    assert!(id.as_str().unwrap().starts_with("sha256:"), "{of}");
    assert_eq!(of["LocalVolumes"], "2");
    assert_eq!(of["Networks"], "none");
    assert_eq!(of["Size"], "0B");
    assert_eq!(of["Platform"], "linux");
    assert_eq!((&of["Exited"], &of["ExitCode"]), (&json!(false), &json!(0)));
    let of = row(&["images", "--format", "json"]);
    assert_eq!(of["Containers"], "1");
    assert_eq!(of["SharedSize"], "0B");
    assert_ne!(of["UniqueSize"], "N/A");
    assert_eq!(of["ReadOnly"], false);
    let of = row(&["volume", "ls", "--filter=name=data", "--format=json"]);
    for key in ["Availability", "Group", "Links", "Size", "Status"] {
        assert_eq!(of[key], "N/A", "{key}");
    }
    assert_eq!((&of["Labels"], &of["Scope"]), (&json!(""), &json!("local")));
    remove(&sandbox);
}

#[test]
fn filters_of_ps_mean_what_dockers_do() {
    let sandbox = Sandbox::with_busybox();
    for (name, flags) in [
        ("a", &["--label=tier=web", "--restart=on-failure:3"][..]),
        ("b", &["--expose=80", "--expose=90-91/udp"]),
    ] {
        let create = sandbox.bryo(["create", "--network=none", "--name", name]);
        create
            .args(flags)
            .args(["busybox", "sleep", "9"])
            .output()
            .expect(0);
    }
    let create = sandbox.bryo(["create", "--name=u", "busybox", "true"]);
    create.output().expect(0);
    for (filter, names) in [
        ("label!=tier", &["b", "u"][..]),
        ("label!=tier=db", &["a", "b", "u"]),
        ("restart-policy=on-failure", &["a"]),
        ("command=sleep", &["a", "b"]),
        ("expose=80", &["b"]),
        ("expose=91/udp", &["b"]),
        ("expose=91", &[]),
        ("publish=80", &[]),
        ("until=2h", &[]),
        ("until=0s", &["a", "b", "u"]),
        ("network=none", &["a", "b"]),
        ("network=user", &["u"]),
    ] {
        let filter = format!("--filter={filter}");
        let found = words(&sandbox, &["ps", "-a", &filter, "--format={{.Names}}"]);
        assert_eq!(found, names, "{filter}");
    }
    let mode = ["inspect", "-f", "{{.HostConfig.NetworkMode}}", "u"];
    assert_eq!(words(&sandbox, &mode), ["user"]);
    let refused = sandbox.bryo(["ps", "--filter=expose=x"]).output();
    assert!(refused.expect(1).stderr.contains("expose=x"));
    remove(&sandbox);
}

#[test]
fn filters_of_volumes_networks_and_events() {
    let sandbox = Sandbox::with_busybox();
    for arguments in [
        &["volume", "create", "--label=k=v", "one"][..],
        &["volume", "create", "two"],
        &["network", "create", "--label=k=v", "n1"],
        &["network", "create", "n2"],
    ] {
        sandbox.bryo(arguments).output().expect(0);
    }
    for (kind, filter, names) in [
        ("volume", "label!=k", &["two"][..]),
        ("volume", "scope=local", &["one", "two"]),
        ("volume", "scope=global", &[]),
        ("volume", "until=1h", &[]),
        ("volume", "since=1h", &["one", "two"]),
        ("network", "label!=k", &["n2"]),
        ("network", "scope=local", &["n1", "n2"]),
        ("network", "type=custom", &["n1", "n2"]),
        ("network", "type=builtin", &[]),
        ("network", "until=1h", &[]),
    ] {
        let filter = format!("--filter={filter}");
        let found = words(&sandbox, &[kind, "ls", &filter, "--format={{.Name}}"]);
        assert_eq!(found, names, "{kind} {filter}");
    }
    let refused = ["network", "ls", "--filter=type=odd"];
    let refused = sandbox.bryo(refused).output().expect(1);
    assert!(refused.stderr.contains("custom or builtin"), "{refused}");
    let events = |filter: &str| {
        let shown = "--format={{.Type}} {{.Action}} {{.Actor.ID}}";
        words(
            &sandbox,
            &["events", "--no-stream", "--filter", filter, shown],
        )
    };
    assert_eq!(events("volume=one"), ["volume create one"]);
    assert_eq!(events("scope=swarm"), [""; 0]);
    let old = ["prune", "-f", "--filter=until=1h"];
    for kind in ["volume", "network"] {
        sandbox.bryo([kind]).args(old).output().expect(0);
        let left = words(&sandbox, &[kind, "ls", "--format={{.Name}}"]);
        assert_eq!(left.len(), 2, "{kind}");
    }
    let prune = [
        "volume",
        "prune",
        "-f",
        "--filter=all=1",
        "--filter=label=k",
    ];
    sandbox.bryo(prune).output().expect(0);
    assert_eq!(words(&sandbox, &["volume", "ls", "-q"]), ["two"]);
}
