//! `bryo oci` where there are all controllers, by the user's systemd and by the
//! system's, and for root of the machine.

use super::*;
use crate::common::{Output, Run};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

/// A bundle and the program by its name as a runtime.
struct Runtime {
    sandbox: Sandbox,
    program: PathBuf,
    bundle: PathBuf,
}

impl Runtime {
    fn new() -> Runtime {
        let sandbox = Sandbox::new();
        let program = sandbox.work().join("bryo-oci");
        symlink(crate::common::bryo(), &program).unwrap();
        sandbox.busybox_tree("bundle/rootfs");
        let bundle = sandbox.work().join("bundle");
        for place in ["proc", "dev"] {
            fs::create_dir_all(bundle.join("rootfs").join(place)).unwrap();
        }
        Runtime {
            sandbox,
            program,
            bundle,
        }
    }

    fn configure(&self, command: &[&str], change: impl FnOnce(&mut Value)) {
        let mut config = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "args": command, "env": ["PATH=/bin"],
                "cwd": "/"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        });
        change(&mut config);
        fs::write(self.bundle.join("config.json"), config.to_string()).unwrap();
    }

    fn in_session(&self, run: Run) -> Run {
        let bus = format!("unix:path={}/bus", runtime());
        run.env("XDG_RUNTIME_DIR", runtime())
            .env("DBUS_SESSION_BUS_ADDRESS", bus)
    }

    fn call(&self, words: &[&str]) -> Output {
        let script = "exec \"$@\" </dev/null >\"$OUT\" 2>&1; cat \"$OUT\"";
        let out = self.bundle.join("said");
        let run = self.in_session(self.sandbox.command("sh")).env("OUT", &out);
        let run = run.args(["-c", script, "sh"]).arg(&self.program);
        let run = run.arg("--root").arg(self.sandbox.path().join("oci"));
        let mut output = run.args(words).output_within(Duration::from_secs(60));
        output.stdout = fs::read_to_string(out).unwrap();
        output
    }
}

/// The group of a process.
fn group_of(pid: &Value) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.trim().strip_prefix("0::/").unwrap();
    Path::new("/sys/fs/cgroup").join(path)
}

#[test]
fn a_bundle_has_its_limits_in_a_scope_of_the_users() {
    let manager = require_systemd(&CONTROLLERS);
    let runtime = Runtime::new();
    runtime.configure(&["sleep", "1000"], |config| {
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        let linux = &mut config["linux"];
        linux["namespaces"] = json!([{"type": "user"}, {"type": "mount"}, {"type": "pid"}]);
        linux["uidMappings"] = map(nix::unistd::getuid().as_raw());
        linux["gidMappings"] = map(nix::unistd::getgid().as_raw());
        linux["cgroupsPath"] = json!("user.slice:bryo-test:c");
        linux["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 20},
            "cpu": {"quota": 50000, "period": 100000, "shares": 512, "cpus": "0"}});
    });
    let bundle = runtime.bundle.to_str().unwrap();
    let create = ["--systemd-cgroup", "create", "-b", bundle, "c"];
    runtime.call(&create).expect(0);
    let state: Value = serde_json::from_str(&runtime.call(&["state", "c"]).stdout).unwrap();
    let group = group_of(&state["pid"]);
    assert!(group.starts_with(&manager), "{}", group.display());
    let scope = group.parent().unwrap();
    assert!(scope.ends_with("bryo-test-c.scope"), "{}", scope.display());
    for (name, value) in [
        ("memory.max", "67108864"),
        ("pids.max", "20"),
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "59"),
        ("cpuset.cpus", "0"),
    ] {
        assert_eq!(file(&group, name), value, "{name}");
    }
    runtime.call(&["start", "c"]).expect(0);
    let update = ["update", "--memory", "128M", "--pids-limit", "30", "c"];
    runtime.call(&update).expect(0);
    assert_eq!(file(&group, "memory.max"), "134217728");
    assert_eq!(file(&group, "pids.max"), "30");
    runtime.call(&["pause", "c"]).expect(0);
    assert!(file(&group, "cgroup.events").contains("frozen 1"));
    runtime.call(&["resume", "c"]).expect(0);
    let stats = runtime.call(&["events", "--stats", "c"]).expect(0).stdout;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let memory = &stats["data"]["memory"]["usage"];
    assert_eq!(memory["limit"], 134_217_728);
    assert!(memory["usage"].as_u64().unwrap() > 0, "{memory}");
    assert_eq!(stats["data"]["pids"]["current"], 1);
    let own = runtime.call(&["exec", "c", "cat", "/proc/self/cgroup"]);
    let own = own.expect(0).stdout;
    assert!(own.trim().ends_with("bryo-test-c.scope/container"), "{own}");
    runtime.call(&["delete", "--force", "c"]).expect(0);
    wait_for("the scope to go", || (!scope.exists()).then_some(()));
}

#[test]
fn podman_has_its_limits_by_this_runtime_and_systemd() {
    require_systemd(&CONTROLLERS);
    require_tool("podman", "podman");
    let runtime = Runtime::new();
    let storage = runtime.sandbox.work().join("podman");
    let podman = |words: &[&str]| {
        let run = runtime.in_session(runtime.sandbox.command("podman"));
        let run = run.args([
            "--root",
            storage.to_str().unwrap(),
            "--storage-driver",
            "overlay",
        ]);
        let run = run.args(["--storage-opt", "ignore_chown_errors=true"]);
        let run = run.args(["--cgroup-manager", "systemd", "--runtime"]);
        let run = run.arg(&runtime.program).args(words);
        run.output_within(Duration::from_secs(120))
    };
    let tar = crate::common::busybox_tar();
    podman(&["import", "-q", tar.to_str().unwrap(), "busybox"]).expect(0);
    let flags = [
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "c",
        "-m",
        "64m",
        "--pids-limit=30",
    ];
    podman(&[&flags[..], &["busybox", "sleep", "1000"]].concat()).expect(0);
    let pid = podman(&["inspect", "-f", "{{.State.Pid}}", "c"]).expect(0);
    let group = group_of(&json!(pid.stdout.trim().parse::<u32>().unwrap()));
    assert_eq!(file(&group, "memory.max"), "67108864");
    assert_eq!(file(&group, "pids.max"), "30");
    podman(&["exec", "c", "true"]).expect(0);
    podman(&["pause", "c"]).expect(0);
    assert!(file(&group, "cgroup.events").contains("frozen 1"));
    podman(&["unpause", "c"]).expect(0);
    podman(&["update", "-m", "128m", "c"]).expect(0);
    assert_eq!(file(&group, "memory.max"), "134217728");
    podman(&["rm", "-f", "-t0", "c"]).expect(0);
    wait_for("the scope to go", || (!group.exists()).then_some(()));
    let clean = "rm -rf \"$1\"";
    podman(&[
        "unshare",
        "sh",
        "-c",
        clean,
        "sh",
        storage.to_str().unwrap(),
    ]);
    // Its process that keeps its user namespace.
    podman(&["system", "migrate"]);
}

#[test]
fn root_of_the_machine_is_kept_from_its_devices() {
    require_systemd(&CONTROLLERS);
    let runtime = Runtime::new();
    // Of the disk that the machine runs from.
    let number = number_of(&disk()).replace(':', " ");
    let script = format!(
        "mknod /node b {number} && {{ head -c 1 /node >/dev/null; echo opened $?; }}; rm -f /node; \
         head -c 1 /dev/zero >/dev/null && echo zero; cat /proc/self/cgroup"
    );
    let caps = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    runtime.configure(&["sh", "-c", &script], |config| {
        config["process"]["capabilities"] =
            json!({"bounding": caps, "effective": caps, "permitted": caps});
        config["linux"]["cgroupsPath"] = json!("system.slice:bryo-root:c");
        config["linux"]["resources"] = json!({"memory": {"limit": 67108864},
            "devices": [{"allow": false, "access": "rwm"}]});
    });
    let (root, bundle) = (runtime.sandbox.path().join("machine"), &runtime.bundle);
    let said = bundle.join("said");
    for (flag, place) in [
        ("--systemd-cgroup", "bryo-root-c.scope"),
        ("", "bryo-root-c"),
    ] {
        administrator(&format!(
            "{} --root {root} {flag} run -b {bundle} c </dev/null >{said} 2>&1; chmod 0644 {said}; \
             rmdir {root}",
            runtime.program.display(),
            root = root.display(),
            bundle = bundle.display(),
            said = said.display(),
        ));
        let output = fs::read_to_string(&said).unwrap();
        assert!(output.contains("Operation not permitted"), "{output}");
        assert!(output.contains("opened 1\nzero\n"), "{output}");
        assert!(output.contains(place), "{output}");
        assert!(!Path::new("/sys/fs/cgroup/system.slice/bryo-root-c.scope").exists());
    }
}
