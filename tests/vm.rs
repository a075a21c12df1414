//! What takes systemd and all controllers: run by tests/vm in a virtual
//! machine, or here where this machine has them.

use crate::common::{Sandbox, require_tool, tool, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn runtime() -> String {
    format!("/run/user/{}", nix::unistd::geteuid())
}

/// The user's systemd has these controllers of version 2, or the test fails
/// and names where it runs.
#[track_caller]
fn require_systemd(controllers: &[&str]) -> PathBuf {
    let uid = nix::unistd::geteuid();
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    let has = fs::read_to_string(format!("{manager}/cgroup.controllers"));
    let has = has.unwrap_or_default();
    let lacks = controllers
        .iter()
        .find(|c| !has.split_whitespace().any(|h| h == **c));
    assert!(
        lacks.is_none() && !has.is_empty(),
        "this test needs the user's systemd with the controller {lacks:?}: run tests/vm test"
    );
    manager.into()
}

fn user_systemctl(arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    command
        .arg("--user")
        .args(arguments)
        .env("XDG_RUNTIME_DIR", runtime());
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn detached(sandbox: &Sandbox, name: &str, flags: &[&str], command: &[&str]) {
    let run = sandbox.bryo(["run", "-d", "--name", name]).args(flags);
    run.arg("busybox").args(command).output().expect(0);
}

fn inspect(sandbox: &Sandbox, name: &str, format: &str) -> String {
    sandbox.bryo(["inspect", "-f", format, name]).stdout()
}

fn group(sandbox: &Sandbox, name: &str) -> PathBuf {
    inspect(sandbox, name, "{{.CgroupPath}}").into()
}

fn file(group: &Path, name: &str) -> String {
    let path = group.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim_end().to_owned()
}

/// The disk that the tests write to.
fn disk() -> String {
    let df = tool(Path::new("/usr/bin/df"), &["--output=source", "/home"]);
    df.lines().last().unwrap().to_owned()
}

/// Does as root what an administrator would: in the virtual machine root has no
/// password.
#[track_caller]
fn administrator(script: &str) {
    let su = Command::new("su").args(["-c", script, "root"]).output();
    let su = su.unwrap_or_else(|error| panic!("run su: {error}"));
    assert!(
        su.status.success(),
        "as root: {script}\n{}",
        String::from_utf8_lossy(&su.stderr)
    );
}

fn bryo_units() -> String {
    user_systemctl(&["list-units", "--all", "--plain", "--no-legend", "bryo-*"])
}

#[test]
fn a_scope_for_each_container() {
    let manager = require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &[], &["sleep", "1000"]);
    let id = inspect(&sandbox, "c", "{{.Id}}");
    let unit = inspect(&sandbox, "c", "{{.CgroupUnit}}");
    assert_eq!(unit, format!("bryo-{id}.scope"));
    let group = group(&sandbox, "c");
    assert_eq!(
        group,
        manager.join("bryo.slice").join(&unit).join("container")
    );
    let properties = user_systemctl(&["show", "-p", "Slice,Delegate,Description,SubState", &unit]);
    for line in [
        "Slice=bryo.slice",
        "Delegate=yes",
        "Description=bryo container c",
        "SubState=running",
    ] {
        assert!(properties.lines().any(|l| l == line), "{properties}");
    }
    // The first process alone is in it; the supervisor is beside it.
    assert_eq!(file(&group, "cgroup.procs"), sandbox.pid("c").to_string());
    let beside = file(&group.with_file_name("supervisor"), "cgroup.procs");
    assert!(!beside.is_empty());

    // Started again at once, while the scope of before goes away.
    for _ in 0..3 {
        sandbox.bryo(["restart", "-t0", "c"]).output().expect(0);
    }
    sandbox.bryo(["kill", "c"]).output().expect(0);
    sandbox.bryo(["start", "c"]).output().expect(0);
    assert!(group.exists());
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    wait_for("the scope to go", || bryo_units().is_empty().then_some(()));
    assert!(!group.parent().unwrap().exists());
}

#[test]
fn a_slice_of_ones_own() {
    let manager = require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    detached(
        &sandbox,
        "c",
        &["--cgroup-parent", "work.slice"],
        &["sleep", "1000"],
    );
    assert!(group(&sandbox, "c").starts_with(manager.join("work.slice")));
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    let refused = sandbox.run(&[
        "--cgroup-manager=systemd",
        "--cgroup-parent=/a",
        "busybox",
        "true",
    ]);
    assert!(refused.expect(125).stderr.contains("slice"));
    let refused = sandbox
        .run(&["--cgroup-manager=cgroupfs", "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains("not yours to divide"), "{refused}");
}

#[test]
fn weights_count_beside_other_containers() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let command = ["sleep", "1000"];
    let weights = ["--cpu-weight", "300", "--blkio-weight", "300"];
    detached(&sandbox, "c", &weights, &command);
    let group = group(&sandbox, "c");
    let scope = group.parent().unwrap();
    assert_eq!(file(&group, "cpu.weight"), "300");
    assert_eq!(file(scope, "cpu.weight"), "300");
    user_systemctl(&["daemon-reload"]);
    assert_eq!(file(scope, "cpu.weight"), "300");
    let devices = || match scope.join("io.bfq.weight").exists() {
        true => file(scope, "io.bfq.weight"),
        false => file(scope, "io.weight"),
    };
    let before = devices();
    assert!(
        ["default 300", "default 2930"].contains(&&*before),
        "{before}"
    );
    // systemd writes all that it knows of the scope's.
    let unit = inspect(&sandbox, "c", "{{.CgroupUnit}}");
    user_systemctl(&["set-property", "--runtime", &unit, "MemoryMax=1G"]);
    assert_eq!(file(scope, "memory.max"), "1073741824");
    assert_eq!(devices(), before);
    assert_eq!(file(scope, "cpu.weight"), "300");
    let update = sandbox.bryo(["update", "--cpu-weight", "50", "c"]);
    update.output().expect(0);
    user_systemctl(&["daemon-reload"]);
    assert_eq!(file(scope, "cpu.weight"), "50");
    sandbox.bryo(["restart", "-t0", "c"]).output().expect(0);
    assert_eq!(file(scope, "cpu.weight"), "50");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// Every flag, the file that it becomes, and the content.
fn flags(disk: &str, number: &str) -> Vec<(Vec<String>, &'static str, String)> {
    let all: &[(&[&str], &'static str, &str)] = &[
        (&["--cpus", "0.5"], "cpu.max", "50000 100000"),
        (
            &["--cpu-quota", "20000", "--cpu-period", "50000"],
            "cpu.max",
            "20000 50000",
        ),
        (&["--cpu-shares", "512"], "cpu.weight", "59"),
        (&["--cpu-shares", "1024"], "cpu.weight", "100"),
        (&["--cpuset-cpus", "0"], "cpuset.cpus", "0"),
        (&["--cpuset-mems", "0"], "cpuset.mems", "0"),
        (&["--memory", "64m"], "memory.max", "67108864"),
        (&["--memory", "64m"], "memory.swap.max", "67108864"),
        (
            &["--memory", "64m", "--memory-swap", "64m"],
            "memory.swap.max",
            "0",
        ),
        (
            &["--memory", "64m", "--memory-swap", "-1"],
            "memory.swap.max",
            "max",
        ),
        (
            &["--memory", "64m", "--memory-reservation", "32m"],
            "memory.low",
            "33554432",
        ),
        (&["--pids-limit", "77"], "pids.max", "77"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
        (
            &["--device-read-bps", "DISK:1m"],
            "io.max",
            "NUMBER rbps=1048576 wbps=max riops=max wiops=max",
        ),
        (
            &["--device-write-bps", "DISK:2m"],
            "io.max",
            "NUMBER rbps=max wbps=2097152 riops=max wiops=max",
        ),
        (
            &["--device-read-iops", "DISK:100"],
            "io.max",
            "NUMBER rbps=max wbps=max riops=100 wiops=max",
        ),
        (
            &["--device-write-iops", "DISK:50"],
            "io.max",
            "NUMBER rbps=max wbps=max riops=max wiops=50",
        ),
        (
            &["--cgroup-conf", "memory.high=33554432"],
            "memory.high",
            "33554432",
        ),
    ];
    let one = |(flags, file, value): &(&[&str], &'static str, &str)| {
        let flags = flags.iter().map(|f| f.replace("DISK", disk)).collect();
        (flags, *file, value.replace("NUMBER", number))
    };
    all.iter().map(one).collect()
}

fn number_of(disk: &str) -> String {
    let stat = nix::sys::stat::stat(disk).unwrap();
    let (major, minor) = (
        nix::sys::stat::major(stat.st_rdev),
        nix::sys::stat::minor(stat.st_rdev),
    );
    format!("{major}:{minor}")
}

#[test]
fn flags_are_in_force() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let disk = disk();
    let mut all = flags(&disk, &number_of(&disk));
    let own: &[(&[&str], &'static str, &str)] = &[
        (&["--cpu-weight", "300"], "cpu.weight", "300"),
        (&["--memory-high", "48m"], "memory.high", "50331648"),
    ];
    all.extend(own.iter().map(|(flags, file, value)| {
        (
            flags.iter().map(|f| (*f).to_owned()).collect(),
            *file,
            (*value).to_owned(),
        )
    }));
    for (flags, name, value) in all {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        detached(&sandbox, "c", &flags, &["sleep", "1000"]);
        assert_eq!(file(&group(&sandbox, "c"), name), value, "{flags:?}");
        let shown = sandbox.inspect("c");
        let limits = shown["Limits"].as_array().unwrap();
        for limit in limits {
            assert!(limit["Why"].is_null(), "{flags:?}: {limit}");
        }
        assert!(
            limits.iter().any(|limit| limit["File"] == name),
            "{flags:?}: {limits:?}"
        );
        sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    }
}

#[test]
fn flags_mean_what_they_mean_to_podman() {
    require_systemd(&CONTROLLERS);
    require_tool("podman", "podman");
    let sandbox = Sandbox::with_busybox();
    let storage = sandbox.work().join("podman");
    let podman = |arguments: &[&str]| {
        let run = sandbox.command("podman").env("XDG_RUNTIME_DIR", runtime());
        let run = run.env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={}/bus", runtime()),
        );
        let run = run.args([
            "--root",
            storage.to_str().unwrap(),
            // Else that of Debian 12 takes the driver vfs.
            "--storage-driver",
            "overlay",
            "--cgroup-manager",
            "systemd",
        ]);
        let run = run.args(["--storage-opt", "ignore_chown_errors=true"]);
        run.args(arguments).output_within(Duration::from_secs(120))
    };
    let tar = crate::common::busybox_tar();
    podman(&["import", "-q", tar.to_str().unwrap(), "busybox"]).expect(0);
    let disk = disk();
    let mut differences = Vec::new();
    for (flags, name, value) in flags(&disk, &number_of(&disk)) {
        let mut arguments = vec!["run", "-d", "--network", "none", "--name", "c"];
        arguments.extend(flags.iter().map(String::as_str));
        arguments.extend(["busybox", "sleep", "1000"]);
        podman(&arguments).expect(0);
        let pid = podman(&["inspect", "-f", "{{.State.Pid}}", "c"])
            .expect(0)
            .stdout;
        let path = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
        let path = path.trim().strip_prefix("0::/").unwrap().to_owned();
        // In the group of the process, or that of the scope around it.
        let group = Path::new("/sys/fs/cgroup").join(path);
        let theirs = [group.as_path(), group.parent().unwrap()].map(|dir| {
            fs::read_to_string(dir.join(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        });
        // On a straight line until crun 1.23 (2025), and until runc 1.3.2.
        let before = match flags.as_slice() {
            [flag, shares] if flag == "--cpu-shares" => {
                let shares: u64 = shares.parse().unwrap();
                Some((1 + (shares - 2) * 9999 / 262_142).to_string())
            }
            _ => None,
        };
        if !theirs.contains(&value) && !before.is_some_and(|value| theirs.contains(&value)) {
            differences.push(format!(
                "{flags:?}: {name}: ours {value:?}, podman's {theirs:?}"
            ));
        }
        podman(&["rm", "-f", "-t0", "c"]).expect(0);
    }
    // What it has mounted in its user namespace is in the way.
    let clean = "umount -l \"$1\"/overlay; rm -rf \"$1\"";
    let storage = storage.to_str().unwrap();
    podman(&["unshare", "sh", "-c", clean, "sh", storage]);
    // It keeps a process that holds its user namespace.
    for pause in [sandbox.runtime(), runtime().into()] {
        let pid = fs::read_to_string(pause.join("libpod/tmp/pause.pid")).ok();
        if let Some(pid) = pid.and_then(|text| text.trim().parse().ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn limits_change_while_it_runs() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; echo ready; sleep 1000";
    detached(&sandbox, "c", &["-m", "64m"], &["sh", "-c", script]);
    wait_for("the file", || {
        sandbox
            .bryo(["logs", "c"])
            .stdout()
            .contains("ready")
            .then_some(())
    });
    let group = group(&sandbox, "c");
    let update = |flags: &[&str]| sandbox.bryo(["update"]).args(flags).arg("c").output();
    update(&[
        "--memory",
        "96m",
        "--cpus",
        "0.3",
        "--pids-limit",
        "40",
        "--cpuset-cpus",
        "0",
    ])
    .expect(0);
    assert_eq!(file(&group, "memory.max"), "100663296");
    assert_eq!(file(&group, "cpu.max"), "30000 100000");
    assert_eq!(file(&group, "pids.max"), "40");
    assert_eq!(file(&group, "cpuset.cpus.effective"), "0");
    let refused = update(&["--memory", "20m", "--pids-limit", "5"]).expect(1);
    assert!(refused.stderr.contains("would kill it"), "{refused}");
    assert_eq!(file(&group, "memory.max"), "100663296");
    assert_eq!(file(&group, "pids.max"), "40");
    // They hold at its next start too.
    sandbox.bryo(["restart", "-t0", "c"]).output().expect(0);
    assert_eq!(file(&group, "memory.max"), "100663296");
    assert_eq!(file(&group, "pids.max"), "40");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn who_runs_out_of_memory_is_told() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "--name", "c", "-m", "32m", "--memory-swap", "32m"];
    let output = sandbox
        .bryo(run)
        .args(["busybox", "tail", "/dev/zero"])
        .output();
    let output = output.expect(137);
    assert!(output.stderr.contains("out of memory"), "{output}");
    assert!(output.stderr.contains("its limit is 32 MiB"), "{output}");
    let state = sandbox.inspect("c")["State"].clone();
    assert_eq!(state["OOMKilled"], true, "{state}");
    assert!(state["Error"].as_str().unwrap().contains("out of memory"));
    let events = sandbox
        .bryo(["events", "--no-stream", "--format", "{{.Action}}"])
        .stdout();
    assert!(events.lines().any(|line| line == "oom"), "{events}");
    // One of several processes: the container goes on, and it is told too.
    let script = "tail /dev/zero; echo survived; sleep 1000";
    let flags = ["-m", "32m", "--memory-swap", "32m"];
    detached(&sandbox, "d", &flags, &["sh", "-c", script]);
    wait_for("the kill", || {
        sandbox
            .bryo(["logs", "d"])
            .stdout()
            .contains("survived")
            .then_some(())
    });
    assert_eq!(inspect(&sandbox, "d", "{{.State.OOMKilled}}"), "true");
    assert_eq!(inspect(&sandbox, "d", "{{.State.Status}}"), "running");
    sandbox.bryo(["rm", "-f", "-a"]).output().expect(0);
}

#[test]
fn commands_join_the_group() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &["--pids-limit", "8"], &["sleep", "1000"]);
    let group = group(&sandbox, "c");
    let inside = sandbox
        .bryo(["exec", "c", "grep", "^0::", "/proc/self/cgroup"])
        .stdout();
    assert_eq!(inside, "0::/");
    let exec = sandbox.bryo(["exec", "-d", "c", "sleep", "1000"]).output();
    exec.expect(0);
    assert_eq!(file(&group, "cgroup.procs").lines().count(), 2);
    // So that the limit is theirs too.
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait";
    let refused = sandbox.bryo(["exec", "c", "sh", "-c", script]).output();
    assert!(refused.stderr.contains("fork"), "{refused}");
    sandbox.bryo(["pause", "c"]).output().expect(0);
    let refused = sandbox.bryo(["exec", "c", "true"]).output().expect(1);
    assert!(refused.stderr.contains("paused"), "{refused}");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    wait_for("the scope to go", || bryo_units().is_empty().then_some(()));
}

#[test]
fn usage_is_that_of_the_group() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; echo ready; \
                  while :; do :; done";
    detached(
        &sandbox,
        "c",
        &["-m", "64m", "--cpus", "0.5"],
        &["sh", "-c", script],
    );
    wait_for("the file", || {
        sandbox
            .bryo(["logs", "c"])
            .stdout()
            .contains("ready")
            .then_some(())
    });
    let stats = sandbox
        .bryo(["stats", "--no-stream", "--format", "json", "c"])
        .stdout();
    let stats: BTreeMap<String, serde_json::Value> = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["Source"], "cgroup", "{stats:?}");
    assert!(
        stats["MemUsage"].as_str().unwrap().ends_with(" / 64.00MiB"),
        "{stats:?}"
    );
    let peak = stats["MemPeak"].as_str().unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(
        peak.ends_with("MiB") || kernel.starts_with("5."),
        "{stats:?}"
    );
    let percent: f64 = stats["CPUPerc"]
        .as_str()
        .unwrap()
        .trim_end_matches('%')
        .parse()
        .unwrap();
    assert!((1.0..=90.0).contains(&percent), "{stats:?}");
    assert!(stats["CPUThrottledUsec"].as_u64().unwrap() > 0, "{stats:?}");
    assert!(
        stats["CPUPressure"].as_str().unwrap().ends_with('%'),
        "{stats:?}"
    );
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn a_subtree_that_was_handed_over() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    // As in a job of a batch system: our processes are in the very group that
    // is to be divided.
    let script = "grep ^0:: /proc/self/cgroup; \
                  \"$@\" run --rm -m 64m --cpus 0.5 --security-opt writable-cgroups busybox \
                  cat /sys/fs/cgroup/memory.max; \
                  \"$@\" run -d --name c --pids-limit 9 busybox sleep 1000 >/dev/null && \
                  \"$@\" exec c grep ^0:: /proc/self/cgroup; \
                  \"$@\" inspect -f '{{.CgroupPath}}' c; \"$@\" rm -f c";
    let run = sandbox
        .command("systemd-run")
        .env("XDG_RUNTIME_DIR", runtime());
    let run = run.args([
        "--user",
        "--quiet",
        "--scope",
        "-p",
        "Delegate=yes",
        "--unit",
        "bryo-job.scope",
    ]);
    let run = run
        .args(["sh", "-c", script, "sh"])
        .arg(crate::common::bryo());
    let output = run.output().expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].ends_with("/bryo-job.scope"), "{output}");
    assert_eq!(&lines[1..3], ["67108864", "0::/"], "{output}");
    assert!(lines[3].contains("/bryo-job.scope/bryo-"), "{output}");
    wait_for("the scope to go", || bryo_units().is_empty().then_some(()));
}

#[test]
fn systemd_runs_in_a_container() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::new();
    let tar = crate::common::busybox_tar().with_file_name("systemd.tar");
    let import = sandbox.bryo(["import"]).arg(&tar).arg("systemd");
    import.output_within(Duration::from_secs(300)).expect(0);
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--memory",
        "512m",
        "systemd",
        "/sbin/init",
    ];
    sandbox.bryo(run).output().expect(0);
    let end = Instant::now() + Duration::from_secs(240);
    let state = loop {
        let asked = sandbox
            .bryo(["exec", "c", "systemctl", "is-system-running"])
            .output();
        match asked.stdout.trim() {
            state @ ("running" | "degraded") => break state.to_owned(),
            _ if Instant::now() > end => {
                let log = sandbox
                    .bryo(["exec", "c", "journalctl", "--no-pager", "-n", "80"])
                    .output();
                panic!("{asked}\n{log}\n{}", sandbox.bryo(["logs", "c"]).output());
            }
            _ => std::thread::sleep(Duration::from_secs(1)),
        }
    };
    let active = |unit: &str| {
        let asked = sandbox
            .bryo(["exec", "c", "systemctl", "is-active", unit])
            .output();
        asked.stdout.trim() == "active"
    };
    let failed = sandbox
        .bryo(["exec", "c", "systemctl", "--failed", "--no-pager"])
        .output();
    assert!(
        active("multi-user.target") && active("getty.target"),
        "{state}: {failed}"
    );
    // Its services have groups of their own, below the limit.
    let tree = sandbox.bryo(["exec", "c", "ls", "/sys/fs/cgroup"]).stdout();
    assert!(
        tree.contains("system.slice") && tree.contains("init.scope"),
        "{tree}"
    );
    let lifted = sandbox.bryo([
        "exec",
        "c",
        "sh",
        "-c",
        "echo max >/sys/fs/cgroup/memory.max",
    ]);
    assert!(lifted.output().code != 0);
    assert_eq!(
        file(&group(&sandbox, "c"), "memory.max"),
        (512 << 20).to_string()
    );
    // It shuts down by the signal that asks it to.
    sandbox
        .bryo(["stop", "-t", "100", "c"])
        .output_within(Duration::from_secs(120))
        .expect(0);
    let code = sandbox.inspect("c")["State"]["ExitCode"].as_i64().unwrap();
    assert!(code == 0 || code == 130, "{code}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn bryo_in_bryo_with_limits() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    let bryo = format!("{}:/bin/bryo:ro", crate::common::bryo().display());
    let tar = format!("{}:/busybox.tar:ro", crate::common::busybox_tar().display());
    let script = "export BRYO_ROOT=/tmp/b HOME=/tmp; bryo import /busybox.tar x >/dev/null && \
                  bryo run --name i -m 32m --pids-limit 9 x true && \
                  bryo inspect -f '{{.HostConfig.Memory}}' i && \
                  bryo run --rm -m 32m --pids-limit 9 --security-opt writable-cgroups x \
                  sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; \
                  grep ^0:: /proc/self/cgroup'; cat /proc/self/cgroup";
    let flags = [
        "--security-opt=unmask=ALL",
        "--security-opt=seccomp=unconfined",
        "--cap-add=all",
        "--tmpfs=/tmp",
        "-m",
        "128m",
    ];
    let run = sandbox
        .bryo(["run", "--rm"])
        .args(flags)
        .args(["-v", &bryo, "-v", &tar]);
    let output = run.args(["busybox", "sh", "-c", script]).output().expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        &lines[..4],
        ["33554432", "33554432", "9", "0::/"],
        "{output}"
    );
}

#[test]
fn nothing_is_left_of_two_hundred() {
    require_systemd(&CONTROLLERS);
    let sandbox = Sandbox::with_busybox();
    for round in 0..20 {
        for n in 0..10 {
            let name = format!("c{n}");
            let limited = ["-m", "64m", "--cpus", "0.5", "--pids-limit", "20"];
            let flags = if n % 2 == 0 { &limited[..] } else { &[] };
            detached(&sandbox, &name, flags, &["sleep", "1000"]);
        }
        let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
        match round % 3 {
            0 => sandbox.bryo(["kill"]).args(&names).output().expect(0),
            1 => sandbox
                .bryo(["stop", "-t0"])
                .args(&names)
                .output()
                .expect(0),
            // What looks after them, by the signal that nobody can hear.
            _ => {
                for name in &names {
                    let stat = fs::read_to_string(format!("/proc/{}/stat", sandbox.pid(name)));
                    let stat = stat.unwrap();
                    let parent = stat
                        .rsplit(')')
                        .next()
                        .unwrap()
                        .split_whitespace()
                        .nth(1)
                        .unwrap();
                    let parent = nix::unistd::Pid::from_raw(parent.parse().unwrap());
                    nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGKILL).unwrap();
                }
                sandbox.bryo(["ps", "-a"]).output().expect(0)
            }
        };
        sandbox.bryo(["rm", "-f"]).args(&names).output().expect(0);
    }
    wait_for("the scopes to go", || bryo_units().is_empty().then_some(()));
    let uid = nix::unistd::geteuid();
    let slice = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/bryo.slice");
    let left = fs::read_dir(slice).map_or(0, |entries| {
        entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .count()
    });
    assert_eq!(left, 0);
    assert_eq!(
        user_systemctl(&["list-units", "--failed", "--plain", "--no-legend"]),
        ""
    );
}

#[test]
fn the_walkthrough_is_true() {
    require_systemd(&CONTROLLERS);
    for (name, package) in [
        ("stress-ng", "stress-ng"),
        ("nginx", "nginx"),
        ("curl", "curl"),
    ] {
        require_tool(name, package);
    }
    let sandbox = Sandbox::new();
    let script = crate::common::repository().join("tests/walkthrough");
    let run = sandbox.command(script).env("BRYO", crate::common::bryo());
    let run = run.env("XDG_RUNTIME_DIR", runtime());
    let output = run.output_within(Duration::from_secs(600));
    println!("{}", output.stdout);
    output.expect(0);
}

#[path = "guest/alone.rs"]
mod alone;
#[path = "guest/bare.rs"]
mod bare;
#[path = "guest/further.rs"]
mod further;
#[path = "guest/oci.rs"]
mod oci;
