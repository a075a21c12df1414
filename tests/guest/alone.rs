//! As a user who never logged in, so that no systemd of his and no bus runs.

use super::*;

/// Takes back what the administrator did, whatever the test did with it.
struct Lingering(String);

impl Lingering {
    fn begin() -> Lingering {
        let name = std::env::var("USER").unwrap();
        administrator(&format!("loginctl enable-linger {name}"));
        Lingering(name)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let off = format!(
            "loginctl disable-linger {0}; systemctl stop user@$(id -u {0})",
            self.0
        );
        administrator(&off);
    }
}

#[test]
fn containers_run_and_limits_say_what_is_missing() {
    assert!(
        !Path::new(&runtime()).exists(),
        "this test is of a user without a session: run tests/vm test"
    );
    let name = std::env::var("USER").unwrap();
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &[], &["sleep", "1000"]);
    assert_eq!(sandbox.bryo(["exec", "c", "echo", "in"]).stdout(), "in");
    let missing = inspect(&sandbox, "c", "{{.CgroupMissing}}");
    assert!(missing.contains("no manager of your services"), "{missing}");
    let source = ["stats", "--no-stream", "--format", "{{.Source}}", "c"];
    assert_eq!(sandbox.bryo(source).stdout(), "proc");
    let refused = sandbox.bryo(["pause", "c"]).output().expect(1);
    assert!(
        refused.stderr.contains("no manager of your services"),
        "{refused}"
    );
    let update = sandbox.bryo(["update", "--pids-limit", "9", "c"]);
    let refused = update.output().expect(1);
    for says in ["no manager of your services", "enable-linger"] {
        assert!(refused.stderr.contains(says), "{says}: {refused}");
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);

    let limited = ["-m", "64m", "--pids-limit", "9"];
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    let run = |flags: &[&str]| {
        let run = sandbox.bryo(["run", "--rm"]).args(limited).args(flags);
        run.args(["busybox", "sh", "-c", script]).output()
    };
    let refused = run(&[]).expect(125);
    let remedy = format!("loginctl enable-linger {name}");
    for says in [
        "memory, processes cannot be limited",
        "no manager of your services",
        "log in by ssh",
        &remedy,
        "best-effort",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused}");
    }
    let refused = sandbox.run(&["--cgroup-manager=systemd", "busybox", "true"]);
    let refused = refused.expect(125);
    assert!(refused.stderr.contains("no manager"), "{refused}");
    let warned = sandbox.run(&["-m64m", "--limits=best-effort", "busybox", "echo", "on"]);
    let warned = warned.expect(0);
    assert_eq!(warned.stdout, "on\n");
    assert!(warned.stderr.contains("not in force"), "{warned}");

    // Who can fix it does as he was told.
    let _lingering = Lingering::begin();
    let socket = format!("{}/systemd/private", runtime());
    wait_for("the user's systemd", || {
        Path::new(&socket).exists().then_some(())
    });
    assert_eq!(run(&[]).expect(0).stdout, "67108864\n9\n");
    wait_for("the scope to go", || bryo_units().is_empty().then_some(()));
}
