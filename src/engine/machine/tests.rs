use super::diagnosis::{Diagnosis, Finding, Grade};
use super::groups::{Cgroups, Delegation, WANTED};
use super::ids::{Ids, Unfit, Writer};
use super::storage::{Backing, Storage};
use super::text::CgroupLayout;
use super::trial::{Kind, Trial};
use super::*;
use crate::idmap::IdMap;
use crate::idmap::subid::{Malformed, Range};

/// A machine that has everything.
fn machine() -> Machine {
    let works = Tried::Works;
    let range = vec![Range {
        start: 100_000,
        count: 65536,
    }];
    Machine {
        system: System {
            host_name: "box".into(),
            operating_system: "Debian".into(),
            kernel: "6.12.0".into(),
            kernel_version: Some((6, 12)),
            architecture: "x86_64",
            processors: 4,
            memory: Some(1 << 30),
            inside: None,
            openat2: works,
            seccomp: true,
            seccomp_notify: true,
        },
        ids: Ids {
            uid: 1000,
            gid: 1000,
            name: Some("ann".into()),
            uid_map: vec![IdMap {
                inside: 0,
                outside: 0,
                count: u32::MAX,
            }],
            users: range.clone(),
            groups: range,
            malformed: Vec::new(),
            service: None,
            writers: vec![Writer::Helper("/usr/bin/bryo-idmap".into())],
            unfit: Vec::new(),
            no_new_privileges: false,
        },
        limits: NamespaceLimits {
            max: [("user", 1000)].into(),
            program: "/usr/bin/bryo".into(),
            ..NamespaceLimits::default()
        },
        trial: Trial {
            user_namespace: works,
            namespaces: ["mnt", "pid", "net"]
                .map(|name| Kind { name, tried: works })
                .into(),
            map: works,
            mount: works,
            proc: works,
            sysfs: works,
            cgroup2: works,
            mount_setattr: works,
            overlay: works,
            overlay_write: works,
            overlay_layers: works,
        },
        storage: Storage {
            root: "/home/ann/.local/share/bryo".into(),
            error: None,
            file_system: Some("ext4".into()),
            place: Backing::Local,
            free: Some(1 << 30),
            attributes: works,
        },
        cgroups: Cgroups {
            layout: CgroupLayout::V2,
            path: Some("/user.slice".into()),
            delegation: Some(delegated(&WANTED)),
        },
        session: Session {
            systemd: true,
            user_manager: true,
            linger: true,
            runtime_dir: Some("/run/user/1000/bryo".into()),
            runtime_error: None,
            runtime_substitute: false,
        },
        tun: works,
        fuse: works,
        network: Network {
            ping_groups: Some((0, 1 << 30)),
            ping: true,
            first_port: Some(80),
        },
    }
}

fn delegated(controllers: &[&str]) -> Delegation {
    Delegation {
        directory: "/sys/fs/cgroup/user.slice/user@1000.service".into(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        inside: true,
    }
}

/// What is said of `subject` once the machine is changed; all else stays good
/// unless it is one of `also`.
fn changed(change: impl FnOnce(&mut Machine), subject: &str, also: &[&str]) -> (bool, Finding) {
    let mut machine = machine();
    change(&mut machine);
    let Diagnosis {
        containers,
        findings,
    } = machine.diagnose();
    for other in &findings {
        let expected = other.subject == subject || also.contains(&other.subject);
        assert_eq!(other.grade != Grade::Good, expected, "{other:?}");
    }
    let found = findings.into_iter().find(|f| f.subject == subject);
    (containers, found.unwrap())
}

fn administrator(finding: &Finding) -> String {
    let lines = finding.advice.iter();
    lines.filter_map(|a| a.administrator.clone()).collect()
}

#[test]
fn everything_is_good() {
    let diagnosis = machine().diagnose();
    assert!(diagnosis.containers);
    for finding in diagnosis.findings {
        assert_eq!(finding.grade, Grade::Good, "{finding:?}");
        assert!(finding.advice.is_empty(), "{finding:?}");
    }
}

#[test]
fn apparmor_forbids_after_the_clone() {
    let refuse = |machine: &mut Machine| {
        machine.limits.apparmor_restricts = Some(true);
        machine.trial = Trial {
            user_namespace: Tried::Works,
            namespaces: machine.trial.namespaces.clone(),
            map: Tried::Works,
            mount: Tried::Refused(Errno::EACCES),
            ..Trial::default()
        };
    };
    let (containers, finding) = changed(refuse, "user namespaces", &[]);
    assert!(!containers);
    assert_eq!(finding.grade, Grade::Missing);
    assert!(administrator(&finding).contains("profile bryo /usr/bin/bryo"));
}

#[test]
fn a_killed_trial_is_no_machine_for_containers() {
    let mut machine = machine();
    machine.trial = Trial::default();
    assert!(!machine.diagnose().containers);
}

#[test]
fn a_network_home_needs_copies() {
    let nfs = |machine: &mut Machine| {
        machine.storage.file_system = Some("nfs4".into());
        machine.storage.place = Backing::Network;
        machine.storage.attributes = Tried::Refused(Errno::EOPNOTSUPP);
        machine.trial.overlay = Tried::Refused(Errno::EINVAL);
        machine.trial.overlay_write = Tried::Unknown;
    };
    let (containers, finding) = changed(nfs, "overlay", &["file attributes"]);
    assert!(containers);
    assert_eq!(finding.grade, Grade::Degraded);
    assert!(finding.state.contains("EINVAL"));
    assert!(finding.advice[1].hint().contains("nfs4"));
}

#[test]
fn controllers_that_are_not_delegated() {
    let less = |machine: &mut Machine| {
        machine.cgroups.delegation = Some(delegated(&["memory", "pids"]));
    };
    let (containers, finding) = changed(less, "control groups", &[]);
    assert!(containers);
    assert_eq!(finding.grade, Grade::Degraded);
    assert!(finding.advice[0].cause.ends_with("cpu, cpuset, io"));
    assert!(administrator(&finding).contains("[Service]\nDelegate=cpu cpuset io memory pids"));

    let none = |machine: &mut Machine| machine.cgroups.delegation = None;
    assert_eq!(changed(none, "control groups", &[]).1.grade, Grade::Missing);

    let by_hand = |machine: &mut Machine| {
        machine.cgroups.delegation = Some(delegated(&[]));
        machine.session.systemd = false;
    };
    let (_, finding) = changed(by_hand, "control groups", &[]);
    let text = administrator(&finding);
    assert!(text.contains("\"+cpu +cpuset"), "{text}");
    assert!(text.contains("/sys/fs/cgroup/user.slice/cgroup.subtree_control"));

    let hybrid = |machine: &mut Machine| {
        machine.cgroups.layout = CgroupLayout::Hybrid;
        machine.cgroups.delegation = Some(delegated(&["hugetlb"]));
    };
    let (_, finding) = changed(hybrid, "control groups", &[]);
    assert!(administrator(&finding).contains("unified_cgroup_hierarchy=1"));
}

#[test]
fn ids_that_nobody_can_map() {
    let no_writer = |machine: &mut Machine| {
        machine.ids.writers.clear();
        machine.ids.unfit = vec![Unfit {
            program: "/usr/bin/newuidmap".into(),
            why: "its file system is mounted nosuid",
        }];
        machine.ids.malformed = vec![(
            "/etc/subuid",
            Malformed {
                line: 3,
                text: "ann:1".into(),
                why: "it is not owner:start:count",
            },
        )];
    };
    let (containers, finding) = changed(no_writer, "subordinate ids", &[]);
    assert!(containers);
    assert_eq!(finding.grade, Grade::Degraded);
    let causes: Vec<&str> = finding.advice.iter().map(|a| a.cause.as_str()).collect();
    assert!(causes[1].contains("nosuid"), "{causes:?}");
    assert!(causes[2].contains("/etc/subuid, line 3"), "{causes:?}");

    let none = |machine: &mut Machine| machine.ids.users.clear();
    let (_, finding) = changed(none, "subordinate ids", &[]);
    assert_eq!(finding.grade, Grade::Missing);
    assert!(administrator(&finding).contains("usermod") && finding.state.contains("subuid"));

    let nested = |machine: &mut Machine| machine.ids.uid_map[0].count = 1;
    let (_, finding) = changed(nested, "subordinate ids", &[]);
    assert_eq!(finding.grade, Grade::Missing);
}

#[test]
fn what_is_less_on_old_and_odd_machines() {
    let old = |machine: &mut Machine| {
        machine.system.kernel_version = Some((5, 10));
        machine.trial.mount_setattr = Tried::Refused(Errno::ENOSYS);
    };
    let (containers, finding) = changed(old, "kernel", &[]);
    assert!(containers);
    assert!(finding.advice[0].cause.contains("5.12"), "{finding:?}");
    let older = |machine: &mut Machine| machine.system.openat2 = Tried::Refused(Errno::ENOSYS);
    assert!(!changed(older, "kernel", &[]).0);

    let masked = |machine: &mut Machine| machine.trial.proc = Tried::Refused(Errno::EPERM);
    let (_, finding) = changed(masked, "proc and sysfs", &[]);
    assert!(finding.advice[0].cause.contains("proc"));

    let logout = |machine: &mut Machine| machine.session.linger = false;
    let (_, finding) = changed(logout, "session", &[]);
    assert_eq!(administrator(&finding), "loginctl enable-linger ann");

    let foreign = |machine: &mut Machine| {
        machine.session.runtime_dir = None;
        machine.session.runtime_error = Some("/tmp/bryo-1000 belongs to user 7".into());
    };
    let (_, finding) = changed(foreign, "runtime directory", &[]);
    assert_eq!(finding.grade, Grade::Missing);
    assert!(finding.advice[0].cause.contains("user 7"));

    let closed = |machine: &mut Machine| machine.tun = Tried::Refused(Errno::EACCES);
    let (_, finding) = changed(closed, "/dev/net/tun", &[]);
    assert_eq!(administrator(&finding), "chmod 0666 /dev/net/tun");

    let full = |machine: &mut Machine| machine.storage.error = Some("create /x: EROFS".into());
    let (containers, _) = changed(full, "store", &[]);
    assert!(!containers);
}

#[test]
fn paths_are_shown_whatever_their_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || PathBuf::from(std::ffi::OsString::from_vec(b"/odd\xff".to_vec()));
    let mut machine = machine();
    machine.storage.root = odd();
    machine.limits.program = odd();
    machine.session.runtime_dir = Some(odd());
    machine.ids.writers = vec![Writer::Helper(odd()), Writer::Shadow(odd(), odd())];
    machine.cgroups.path = Some(odd());
    machine.cgroups.delegation = Some(Delegation {
        directory: odd(),
        controllers: Vec::new(),
        inside: true,
    });
    let shown = serde_json::to_value(machine).unwrap();
    let odd = "/odd\u{fffd}";
    assert_eq!(shown["Storage"]["Root"], odd);
    assert_eq!(shown["Limits"]["Program"], odd);
    assert_eq!(shown["Session"]["RuntimeDir"], odd);
    assert_eq!(shown["Ids"]["Writers"][1]["Shadow"][1], odd);
    assert_eq!(shown["Cgroups"]["Path"], odd);
    assert_eq!(shown["Cgroups"]["Delegation"]["Directory"], odd);
}
