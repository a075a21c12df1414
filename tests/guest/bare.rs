//! As the user to whom Debian delegates memory and pids, and nothing else.

use super::*;

#[test]
fn what_is_not_delegated_is_told() {
    require_systemd(&["memory", "pids"]);
    let sandbox = Sandbox::with_busybox();
    sandbox
        .run(&["-m", "64m", "--pids-limit", "20", "busybox", "true"])
        .expect(0);
    let refused = sandbox
        .run(&["--cpus", "0.5", "-m", "64m", "busybox", "true"])
        .expect(125);
    for says in [
        "cpu is not delegated",
        "delegate.conf",
        "Delegate=cpu",
        "best-effort",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused}");
    }
    let run = [
        "run",
        "-d",
        "--name=c",
        "--cpus=0.5",
        "-m64m",
        "--limits=best-effort",
        "busybox",
    ];
    let warned = sandbox.bryo(run).args(["sleep", "1000"]).output().expect(0);
    assert!(warned.stderr.contains("cpu.max"), "{warned}");
    let shown = sandbox.inspect("c");
    let limits = shown["Limits"].as_array().unwrap();
    let of = |name: &str| limits.iter().find(|l| l["File"] == name).unwrap();
    assert!(of("memory.max")["Why"].is_null(), "{limits:?}");
    assert!(of("cpu.max")["Why"].is_string(), "{limits:?}");
    let refused = sandbox
        .bryo(["update", "--cpus", "1", "c"])
        .output()
        .expect(1);
    assert!(refused.stderr.contains("Delegate="), "{refused}");
    let refused = sandbox.bryo(["update", "--pids-limit", "30", "c"]).output();
    refused.expect(0);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    let doctor = sandbox.bryo(["doctor"]).output();
    assert!(doctor.stdout.contains("delegate.conf"), "{doctor}");
}
