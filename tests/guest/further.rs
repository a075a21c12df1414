//! What takes more than the controllers that systemd hands on, or none of
//! them.

use super::*;

/// The disk's scheduler is another until this goes.
struct Scheduler(String);

impl Scheduler {
    fn set(disk: &str, name: &str) -> Scheduler {
        let file = format!("/sys/block/{disk}/queue/scheduler");
        let all = fs::read_to_string(&file).unwrap();
        let before = all.split(['[', ']']).nth(1).unwrap();
        let scheduler = Scheduler(format!("echo {before} >{file}"));
        administrator(&format!("modprobe {name} && echo {name} >{file}"));
        scheduler
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        administrator(&self.0);
    }
}

#[test]
fn devices_are_weighed_where_their_scheduler_does() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let disk = disk();
    let number = number_of(&disk);
    let scheduler = Scheduler::set(disk.trim_start_matches("/dev/"), "bfq");
    let device = format!("{disk}:200");
    let flags = ["--blkio-weight", "500", "--blkio-weight-device", &device];
    detached(&sandbox, "c", &flags, &["sleep", "1000"]);
    let group = group(&sandbox, "c");
    let weighs = format!("default 500\n{number} 200");
    assert_eq!(file(&group, "io.bfq.weight"), weighs);
    // It counts beside other containers.
    let scope = group.parent().unwrap();
    assert_eq!(file(scope, "io.bfq.weight"), weighs);
    let shown = sandbox.inspect("c");
    assert_eq!(shown["HostConfig"]["BlkioWeight"], 500);
    for limit in shown["Limits"].as_array().unwrap() {
        assert!(limit["Why"].is_null(), "{limit}");
    }
    let update = sandbox.bryo(["update", "--blkio-weight", "300", "c"]);
    update.output().expect(0);
    let weighs = format!("default 300\n{number} 200");
    assert_eq!(file(&group, "io.bfq.weight"), weighs);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);

    // Another scheduler weighs no device by itself.
    drop(scheduler);
    let refused = sandbox.run(&["--blkio-weight-device", &device, "busybox", "true"]);
    let refused = refused.expect(125);
    assert!(refused.stderr.contains("scheduler"), "{refused}");
}

/// A directory of the hierarchy that an administrator gave away; it goes with
/// this.
struct Given(&'static str);

impl Given {
    fn with(controllers: &str, dir: &'static str) -> Given {
        let user = nix::unistd::geteuid();
        administrator(&format!(
            "echo '{controllers}' >/sys/fs/cgroup/cgroup.subtree_control && \
             mkdir -p {dir}/caller && chown -R {user} {dir}"
        ));
        Given(dir)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let dir = self.0;
        administrator(&format!("find {dir} -depth -type d -exec rmdir {{}} \\;"));
    }
}

#[test]
fn huge_pages_in_what_an_administrator_gave() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let limited = ["--hugetlb", "2MB=4m"];
    let refused = sandbox.run(&[&limited[..], &["busybox", "true"]].concat());
    let refused = refused.expect(125);
    for says in [
        "hugetlb cannot be limited",
        "hugetlb is not delegated",
        "systemd hands on cpu, cpuset, io, memory, pids alone",
        "an administrator:",
        "best-effort",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused}");
    }

    let given = Given::with("+hugetlb +memory +pids", "/sys/fs/cgroup/bryo-given");
    let run = |flags: &[&str], script: &str| {
        let start = "echo ready; read -r go; exec \"$@\"";
        let start = sandbox.command("sh").args(["-c", start, "sh"]);
        let start = start.arg(crate::common::bryo()).args(["run", "--rm"]);
        let start = start.args(flags).args(["busybox", "sh", "-c", script]);
        let mut start = start.open_stdin().spawn();
        start.expect_line("ready");
        let pid = start.pid();
        administrator(&format!("echo {pid} >{}/caller/cgroup.procs", given.0));
        start.write("go\n");
        start.wait()
    };
    let script = "cat /sys/fs/cgroup/hugetlb.2MB.max /sys/fs/cgroup/memory.max";
    let done = run(&["--hugetlb", "2MB=4m", "-m", "64m"], script);
    assert_eq!(done.expect(0).stdout, "4194304\n67108864\n");
    let refused = run(&["--hugetlb", "64KB=1m"], "true").expect(125);
    assert!(
        refused.stderr.contains("no huge pages of that size"),
        "{refused}"
    );
    drop(given);
}

#[test]
fn who_dies_first_for_want_of_memory() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let flags = ["--oom-score-adj", "700", "-m", "64m"];
    detached(&sandbox, "c", &flags, &["sleep", "1000"]);
    let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(sandbox.pid("c")), "700\n");
    assert_eq!(inspect(&sandbox, "c", "{{.HostConfig.OomScoreAdj}}"), "700");
    let script = ["exec", "c", "cat", "/proc/self/oom_score_adj"];
    assert_eq!(sandbox.bryo(script).stdout(), "700");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    // Not with what it takes to be spared.
    let refused = sandbox.run(&["--oom-score-adj", "-1000", "busybox", "true"]);
    let refused = refused.expect(125);
    assert!(refused.stderr.contains("oom_score_adj -1000"), "{refused}");
}

/// A file under another name until this goes.
struct Away(PathBuf);

impl Away {
    fn put(path: PathBuf) -> Away {
        fs::rename(&path, path.with_extension("away")).unwrap();
        Away(path)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        fs::rename(self.0.with_extension("away"), &self.0).unwrap();
    }
}

#[test]
fn over_the_bus_where_systemd_has_no_socket() {
    let manager = require_systemd(&CONTROLLERS);
    let bus = format!("{}/bus", runtime());
    assert!(Path::new(&bus).exists(), "no bus at {bus}");
    let away = Away::put(format!("{}/systemd/private", runtime()).into());
    let sandbox = Sandbox::with_busybox();
    let flags = ["--cpu-weight", "300", "-m", "64m"];
    detached(&sandbox, "c", &flags, &["sleep", "1000"]);
    let group = group(&sandbox, "c");
    assert!(group.starts_with(manager.join("bryo.slice")));
    assert_eq!(file(&group, "memory.max"), "67108864");
    assert_eq!(sandbox.bryo(["exec", "c", "echo", "in"]).stdout(), "in");
    let update = sandbox.bryo(["update", "--cpu-weight", "50", "c"]);
    update.output().expect(0);
    sandbox.bryo(["restart", "-t0", "c"]).output().expect(0);
    sandbox.bryo(["kill", "c"]).output().expect(0);
    sandbox.bryo(["start", "c"]).output().expect(0);
    assert_eq!(file(group.parent().unwrap(), "cpu.weight"), "50");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    drop(away);
    // Which systemd was told of too.
    wait_for("the scope to go", || bryo_units().is_empty().then_some(()));
}
