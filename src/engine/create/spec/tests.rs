use super::*;
use crate::engine::request::capabilities::{CapabilityChanges, DEFAULT_CAPABILITIES};
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::process::Clock;
use crate::engine::request::systemd::SystemdMode;
use crate::engine::request::user_network::UserNetwork;
use crate::runtime::{Plan, fields};
use oci_spec::runtime::{Capability, PosixRlimitType};
use serde_json::{Value, json};

fn facts() -> Facts {
    Facts {
        id: "0123456789abcdef".repeat(4),
        devices: Vec::new(),
        directory: "/store/containers/c".into(),
        mount_point: "/store/rootfs".into(),
        mount_points: "/store/mountpoints".into(),
        uid_map: vec![IdMap::new(0, 1000, 1)],
        gid_map: vec![IdMap::new(0, 1000, 1)],
        owners: None,
        keep_groups: false,
        user: User {
            uid: 0,
            gid: 0,
            groups: vec![],
            home: "/root".into(),
            name: Some("root".into()),
        },
        capabilities: DEFAULT_CAPABILITIES
            .into_iter()
            .chain([Capability::SysAdmin])
            .collect(),
        seccomp: None,
        terminal: None,
    }
}

fn image() -> ImageDefaults {
    ImageDefaults {
        entrypoint: vec!["/entry".into()],
        command: vec!["serve".into()],
        env: vec![
            ("A".into(), "image".into()),
            ("PATH".into(), "/image/bin".into()),
        ],
        workdir: "/srv".into(),
        ..ImageDefaults::default()
    }
}

fn root() -> Root {
    Root {
        lowers: vec!["/store/layers/top".into(), "/store/layers/bottom".into()],
        ..Root::default()
    }
}

fn made(options: &RunOptions, facts: &Facts, asked: Vec<Mount>) -> Result<Spec> {
    build(options, &root(), &image(), facts, asked)
}

fn spec(options: &RunOptions) -> Spec {
    made(options, &facts(), Vec::new()).unwrap()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn args(options: &RunOptions) -> Vec<String> {
    let spec = spec(options);
    spec.process().as_ref().unwrap().args().clone().unwrap()
}

fn mount_on<'a>(spec: &'a Spec, place: &str) -> Option<&'a Mount> {
    let all = spec.mounts().as_ref().unwrap();
    let mut on = all.iter().filter(|m| m.destination() == Path::new(place));
    let first = on.next();
    assert!(on.next().is_none(), "two mounts on {place}");
    first
}

fn has_word(mount: &Mount, word: &str) -> bool {
    mount.options().iter().flatten().any(|w| w == word)
}

#[test]
fn a_command_is_of_the_image_and_of_the_user_as_with_docker() {
    let command = |entrypoint: Option<&[&str]>, command: &[&str]| {
        args(&RunOptions {
            entrypoint: entrypoint.map(words),
            command: words(command),
            ..RunOptions::default()
        })
    };
    assert_eq!(command(None, &[]), ["/entry", "serve"]);
    assert_eq!(command(None, &["x", "y"]), ["/entry", "x", "y"]);
    // Who has an entry point of his own does not get the image's command.
    assert_eq!(command(Some(&["/mine"]), &[]), ["/mine"]);
    assert_eq!(command(Some(&["/mine"]), &["x"]), ["/mine", "x"]);
    assert_eq!(command(Some(&[]), &["x"]), ["x"]);

    let nothing = RunOptions {
        entrypoint: Some(vec![]),
        ..RunOptions::default()
    };
    let said = made(&nothing, &facts(), Vec::new()).unwrap_err();
    assert!(said.to_string().starts_with("no command"), "{said}");
}

#[test]
fn variables_are_of_bryo_the_image_and_the_user_the_last_wins() {
    let options = RunOptions {
        env: vec![
            ("B".into(), Some("user".into())),
            ("HOME".into(), Some("/elsewhere".into())),
            ("A".into(), None),
        ],
        tty: true,
        hostname: Some("box".into()),
        ..RunOptions::default()
    };
    let made = spec(&options);
    let env = made.process().as_ref().unwrap().env().clone().unwrap();
    let wanted = [
        "PATH=/image/bin",
        "TERM=xterm",
        "HOSTNAME=box",
        "HOME=/elsewhere",
        "B=user",
    ];
    assert_eq!(env, wanted);

    let plain = build(
        &RunOptions::default(),
        &root(),
        &ImageDefaults {
            command: words(&["sh"]),
            ..ImageDefaults::default()
        },
        &facts(),
        Vec::new(),
    );
    let plain = plain.unwrap();
    let process = plain.process().as_ref().unwrap();
    let wanted = [
        format!("PATH={DEFAULT_PATH}"),
        "HOSTNAME=0123456789ab".to_owned(),
        "HOME=/root".to_owned(),
    ];
    assert_eq!(process.env().clone().unwrap(), wanted);
    assert_eq!(process.cwd(), Path::new("/"));
}

#[test]
fn a_relative_working_directory_starts_at_the_root() {
    let cwd = |workdir: Option<&str>| {
        let options = RunOptions {
            workdir: workdir.map(str::to_owned),
            ..RunOptions::default()
        };
        spec(&options).process().as_ref().unwrap().cwd().clone()
    };
    assert_eq!(cwd(None), Path::new("/srv"));
    assert_eq!(cwd(Some("tmp/x")), Path::new("/tmp/x"));
    assert_eq!(cwd(Some("/abs")), Path::new("/abs"));
}

#[test]
fn mounts_stand_below_those_they_are_in() {
    let asked = vec![
        bind(
            Path::new("/etc/deep/er"),
            Path::new("/h"),
            &words(&["rbind"]),
        )
        .unwrap(),
        tmpfs(Path::new("/etc"), &[]).unwrap(),
        bind(Path::new("/dev/shm"), Path::new("/h"), &words(&["rbind"])).unwrap(),
        bind(Path::new("/etc/hosts"), Path::new("/own"), &[]).unwrap(),
    ];
    let spec = made(&RunOptions::default(), &facts(), asked).unwrap();
    let all = spec.mounts().as_ref().unwrap();
    let at = |place: &str| {
        let found = all.iter().position(|m| m.destination() == Path::new(place));
        found.unwrap_or_else(|| panic!("nothing on {place}"))
    };
    assert_eq!(at("/"), 0);
    for (above, below) in [
        ("/etc", "/etc/hosts"),
        ("/etc", "/etc/hostname"),
        ("/etc", "/etc/deep/er"),
        ("/dev", "/dev/pts"),
        ("/dev", "/dev/shm"),
        ("/sys", "/sys/fs/cgroup"),
    ] {
        assert!(at(above) < at(below), "{below} before {above}");
    }
    // What was asked for is in the place of ours.
    let source = |place| mount_on(&spec, place).unwrap().source().clone().unwrap();
    assert_eq!(source("/dev/shm"), Path::new("/h"));
    assert_eq!(source("/etc/hosts"), Path::new("/own"));
    assert_eq!(source("/etc/hostname"), facts().directory.join("hostname"));
}

#[test]
fn a_root_is_an_overlay_of_its_layers_over_what_mounts_stand_on() {
    let lowers = |root: &Root| -> Vec<String> {
        let mount = root_mount(root, &facts()).unwrap();
        let all = mount.options().clone().unwrap().into_iter();
        all.filter_map(|word| word.strip_prefix("lowerdir=").map(str::to_owned))
            .collect()
    };
    let wanted = [
        "/store/layers/top",
        "/store/layers/bottom",
        "/store/mountpoints",
    ];
    assert_eq!(lowers(&root()), wanted);
    let full = Root {
        lowers: (0..MAX_LAYERS).map(|n| format!("/l{n}").into()).collect(),
        ..Root::default()
    };
    assert_eq!(lowers(&full).len(), MAX_LAYERS);

    let volatile = |volatile| {
        let root = Root { volatile, ..root() };
        has_word(&root_mount(&root, &facts()).unwrap(), "volatile")
    };
    assert!(volatile(true) && !volatile(false));
    let direct = Root {
        direct: Some("/a/root".into()),
        ..Root::default()
    };
    let mount = root_mount(&direct, &facts()).unwrap();
    assert_eq!(mount.typ().as_deref(), Some("bind"));
    assert_eq!(mount.source().as_deref(), Some(Path::new("/a/root")));
}

#[test]
fn one_layer_is_shown_as_it_is_and_several_as_one() {
    let at = Path::new("/data");
    let one = layers(at, &["/l".into()]).unwrap();
    assert_eq!(one.typ().as_deref(), Some("bind"));
    assert!(has_word(&one, "ro"));
    let two = layers(at, &["/b".into(), "/a".into()]).unwrap();
    let wanted = ["userxattr", "ro", "lowerdir=/b", "lowerdir=/a"];
    assert_eq!(two.options().as_deref().unwrap(), wanted);
}

#[test]
fn what_is_hidden_and_read_only() {
    let paths = |options: RunOptions| {
        let spec = spec(&options);
        let linux = spec.linux().as_ref().unwrap();
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        (list(linux.masked_paths()), list(linux.readonly_paths()))
    };
    let (masked, readonly) = paths(RunOptions::default());
    assert!(masked.contains(&"/proc/kcore".to_owned()), "{masked:?}");
    assert_eq!(readonly, READ_ONLY);
    let unmask = Unmask::Paths(vec!["/proc/kcore".into(), "/proc/sys".into()]);
    let (masked, readonly) = paths(RunOptions {
        unmask,
        ..RunOptions::default()
    });
    assert_eq!(masked.len(), MASKED.len() - 1);
    assert!(!masked.contains(&"/proc/kcore".to_owned()));
    assert!(!readonly.contains(&"/proc/sys".to_owned()));
    for options in [
        RunOptions {
            unmask: Unmask::Everything,
            ..RunOptions::default()
        },
        RunOptions {
            privileged: true,
            ..RunOptions::default()
        },
    ] {
        assert_eq!(paths(options), (vec![], vec![]));
    }
}

#[test]
fn privileges_are_those_asked_for() {
    let process = |options: &RunOptions, facts: &Facts| {
        let spec = made(options, facts, Vec::new()).unwrap();
        spec.process().clone().unwrap()
    };
    let held = |options: RunOptions| {
        let process = process(&options, &facts());
        let sets = process.capabilities().clone().unwrap();
        let of = |set: &Option<Capabilities>| set.clone().unwrap_or_default();
        assert_eq!(of(sets.bounding()), of(sets.effective()));
        assert_eq!(of(sets.bounding()), of(sets.permitted()));
        assert!(of(sets.inheritable()).is_empty() && of(sets.ambient()).is_empty());
        of(sets.bounding())
    };
    assert_eq!(
        held(RunOptions::default()).len(),
        DEFAULT_CAPABILITIES.len()
    );
    let none = CapabilityChanges {
        drop: vec![None],
        ..CapabilityChanges::default()
    };
    let dropped = RunOptions {
        capabilities: none,
        ..RunOptions::default()
    };
    assert!(held(dropped).is_empty());
    let privileged = RunOptions {
        privileged: true,
        ..RunOptions::default()
    };
    assert!(held(privileged.clone()).contains(&Capability::SysAdmin));

    // With one id nothing can be gained anyway; with several, su has to work.
    let several = Facts {
        owners: Some("auto"),
        ..facts()
    };
    let confined = |options: &RunOptions, facts: &Facts| {
        let process = process(options, facts);
        process.no_new_privileges().unwrap_or_default()
    };
    assert!(confined(&RunOptions::default(), &facts()));
    assert!(!confined(&RunOptions::default(), &several));
    assert!(!confined(&privileged, &facts()));
    let asked = RunOptions {
        no_new_privileges: Some(true),
        ..RunOptions::default()
    };
    assert!(confined(&asked, &several));
}

#[test]
fn annotations_say_what_oci_has_no_words_for() {
    let annotations = |options: &RunOptions, facts: &Facts| {
        let spec = made(options, facts, Vec::new()).unwrap();
        spec.annotations().clone().unwrap_or_default()
    };
    let plain = annotations(&RunOptions::default(), &facts());
    assert_eq!(plain[ANNOTATION_SECCOMP], "default");
    assert_eq!(plain[ANNOTATION_EMULATE_ROOT], "true");
    assert!(!plain.contains_key(ANNOTATION_INIT));
    assert!(!plain.contains_key(ANNOTATION_DEVICES));
    let with_devices = Facts {
        devices: vec!["/dev/fuse".into()],
        ..facts()
    };
    let asked_for = RunOptions {
        devices: vec![("/dev/null".into(), "/dev/x".into())],
        ..RunOptions::default()
    };
    let devices = annotations(&asked_for, &with_devices);
    assert_eq!(
        devices[ANNOTATION_DEVICES],
        "/dev/fuse:/dev/fuse,/dev/null:/dev/x"
    );
    // Where there are ids, nothing need be emulated.
    let several = Facts {
        owners: Some("auto"),
        ..facts()
    };
    let of_several = annotations(&RunOptions::default(), &several);
    assert!(!of_several.contains_key(ANNOTATION_EMULATE_ROOT));
    assert_eq!(of_several[ANNOTATION_OWNERS], "auto");
    for options in [
        RunOptions {
            privileged: true,
            ..RunOptions::default()
        },
        RunOptions {
            seccomp: SeccompOption::Unconfined,
            ..RunOptions::default()
        },
    ] {
        assert!(!annotations(&options, &facts()).contains_key(ANNOTATION_SECCOMP));
    }
}

#[test]
fn a_shared_namespace_is_not_made_and_shows_the_host() {
    let kinds = |spec: &Spec| -> Vec<LinuxNamespaceType> {
        let all = spec.linux().as_ref().unwrap().namespaces().iter().flatten();
        all.map(|n| n.typ()).collect()
    };
    let host = RunOptions {
        pid: Sharing::Host,
        ipc: Sharing::Host,
        uts: Sharing::Host,
        cgroup: Sharing::Host,
        network: Network::Host,
        ..RunOptions::default()
    };
    let spec = spec(&host);
    use LinuxNamespaceType::{Mount, Time, User};
    assert_eq!(kinds(&spec), [User, Mount, Time]);
    assert_eq!(spec.hostname(), &None);
    for place in ["/proc", "/sys"] {
        let mount = mount_on(&spec, place).unwrap();
        assert_eq!(mount.typ().as_deref(), Some("bind"), "{place}");
    }
    assert!(mount_on(&spec, "/sys/fs/cgroup").is_none());

    let own = self::spec(&RunOptions {
        network: Network::None,
        ..RunOptions::default()
    });
    assert_eq!(kinds(&own).len(), 8);
    assert_eq!(own.hostname().as_deref(), Some("0123456789ab"));
    let sys = mount_on(&own, "/sys").unwrap();
    assert_eq!(sys.typ().as_deref(), Some("sysfs"));
    assert!(has_word(sys, "ro"));

    let contradiction = RunOptions {
        hostname: Some("box".into()),
        ..host
    };
    let said = made(&contradiction, &facts(), Vec::new()).unwrap_err();
    assert!(said.to_string().contains("--hostname"), "{said}");
}

#[test]
fn names_of_a_shared_network_are_its_owners() {
    let options = RunOptions {
        network: Network::Container("other".into()),
        ..RunOptions::default()
    };
    let spec = spec(&options);
    let source = |place| mount_on(&spec, place).unwrap().source().clone().unwrap();
    let other = Path::new("/store/containers/other");
    assert_eq!(source("/etc/hosts"), other.join("hosts"));
    assert_eq!(source("/etc/resolv.conf"), other.join("resolv.conf"));
    assert_eq!(source("/etc/hostname"), facts().directory.join("hostname"));
}

/// Options that ask for all that there is.
fn all() -> RunOptions {
    RunOptions {
        tty: true,
        interactive: true,
        read_only: true,
        init: true,
        hostname: Some("box".into()),
        domainname: Some("example".into()),
        devices: vec![("/dev/fuse".into(), "/dev/fuse".into())],
        ulimits: vec![(PosixRlimitType::RlimitNofile, 64, 128)],
        sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
        time_offsets: vec![(Clock::Boottime, 7)],
        annotations: [("com.example.key".to_owned(), "x".to_owned())].into(),
        oom_score_adj: Some(100),
        umask: Some(0o077),
        root_emulation: EmulationOption::Full,
        systemd: SystemdMode::Always,
        writable_cgroups: true,
        network: Network::User(UserNetwork::default()),
        shm_size: Some(1 << 20),
        ..RunOptions::default()
    }
}

#[test]
fn whatever_is_built_is_done() {
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]
    });
    let resources = json!({
        "memory": {"limit": 1 << 30, "swap": 1 << 31, "reservation": 1 << 20},
        "cpu": {"quota": 1000, "period": 10000, "shares": 2, "cpus": "0"},
        "pids": {"limit": 9}, "blockIO": {"weight": 100}, "unified": {"memory.high": "1"}
    });
    let mut limited = all();
    limited.limits.resources = Some(serde_json::from_value(resources).unwrap());
    let profiled = || Facts {
        seccomp: Some(serde_json::from_value(seccomp.clone()).unwrap()),
        terminal: Some((80, 24)),
        keep_groups: true,
        ..facts()
    };
    let several = || Facts {
        owners: Some("auto"),
        uid_map: vec![IdMap::new(0, 1000, 1), IdMap::new(1, 100_000, 65536)],
        gid_map: vec![IdMap::new(0, 1000, 1), IdMap::new(1, 100_000, 65536)],
        ..facts()
    };
    let host = RunOptions {
        pid: Sharing::Host,
        ipc: Sharing::Host,
        uts: Sharing::Host,
        cgroup: Sharing::Host,
        network: Network::Host,
        privileged: true,
        ..RunOptions::default()
    };
    let asked = vec![
        bind(
            Path::new("/d"),
            Path::new("/h"),
            &words(&["rbind", "rshared", "rro"]),
        )
        .unwrap(),
        tmpfs(Path::new("/t"), &words(&["size=1m", "tmpcopyup"])).unwrap(),
        layers(Path::new("/i"), &["/b".into(), "/a".into()]).unwrap(),
    ];
    for options in [RunOptions::default(), all(), limited, host] {
        for facts in [facts(), profiled(), several()] {
            let spec = made(&options, &facts, asked.clone()).unwrap();
            Plan::new(&spec, &facts.directory).unwrap();
            let text: Value = serde_json::to_value(&spec).unwrap();
            assert_eq!(fields::unheeded(&text).unwrap(), [], "{text}");
        }
    }
}
