//! Engines that call a runtime: podman and buildah.

use super::Runtime;
use crate::common::{Output, Podman, busybox_tar, require_subtree, require_tool, wait_for};
use std::fs;

fn import(podman: &Podman<'_>) {
    let import = podman.command(&["import"]).arg(busybox_tar()).arg("bb");
    import.output().expect(0);
}

#[test]
fn podman_runs_containers_by_it() {
    let runtime = Runtime::bryo();
    let podman = Podman::new(&runtime.sandbox);
    import(&podman);
    let program = runtime.program.to_str().unwrap();
    let call = |words: &[&str]| podman.command_with(program, words).output();
    let run = |words: &[&str]| call(&[&["run", "--rm", "--network", "none"], words].concat());
    let output = run(&["bb", "sh", "-c", "echo out; id -u; exit 5"]).expect(5);
    assert_eq!(output.stdout, "out\n0\n");
    assert_eq!(run(&["-t", "bb", "tty"]).expect(0).stdout, "/dev/pts/0\r\n");
    // By the error's words, not by the runtime's exit code.
    run(&["bb", "/nonex"]).expect(127);
    run(&["bb", "nonex"]).expect(127);
    run(&["bb", "/etc"]).expect(126);

    let flags = ["run", "-d", "--name", "c", "--network", "none", "bb"];
    let script = "trap 'echo asked; exit 4' TERM; echo begun; while :; do sleep 0.1; done";
    call(&[&flags[..], &["sh", "-c", script]].concat()).expect(0);
    let logged = |wanted: &str| {
        wait_for(wanted, || {
            call(&["logs", "c"]).stdout.contains(wanted).then_some(())
        });
    };
    logged("begun");
    let exec = call(&["exec", "c", "sh", "-c", "echo inside; exit 6"]).expect(6);
    assert_eq!(exec.stdout, "inside\n");
    call(&["stop", "-t", "20", "c"]).expect(0);
    logged("asked");
    let code = call(&["inspect", "-f", "{{.State.ExitCode}}", "c"]).expect(0);
    assert_eq!(code.stdout, "4\n");
    call(&["start", "c"]).expect(0);
    call(&["kill", "c"]).expect(0);
    call(&["rm", "-f", "c"]).expect(0);
}

#[test]
fn podman_has_pods_checks_and_pauses_by_it() {
    require_subtree();
    let runtime = Runtime::bryo();
    let podman = Podman::new(&runtime.sandbox);
    import(&podman);
    let program = runtime.program.to_str().unwrap();
    let call = |words: &[&str]| podman.command_with(program, words).output();
    let infra = [
        "--infra-image",
        "localhost/bb",
        "--infra-command",
        "/bin/sleep 1000",
    ];
    let pod = [
        &["pod", "create", "--name", "p", "--network", "none"],
        &infra[..],
    ]
    .concat();
    call(&pod).expect(0);
    let flags = ["run", "-d", "--pod", "p", "--name", "c"];
    let check = [
        "--health-cmd",
        "test -e /well",
        "--health-interval",
        "disable",
    ];
    call(&[&flags[..], &check, &["bb", "sleep", "1000"]].concat()).expect(0);
    // The pod's name is the host's.
    assert_eq!(call(&["exec", "c", "hostname"]).expect(0).stdout, "p\n");
    call(&["healthcheck", "run", "c"]).expect(1);
    call(&["exec", "c", "touch", "/well"]).expect(0);
    call(&["healthcheck", "run", "c"]).expect(0);
    call(&["pause", "c"]).expect(0);
    let status = |wanted: &str| {
        let status = call(&["inspect", "-f", "{{.State.Status}}", "c"]).expect(0);
        assert_eq!(status.stdout.trim(), wanted);
    };
    status("paused");
    call(&["unpause", "c"]).expect(0);
    status("running");
    call(&["exec", "c", "true"]).expect(0);
    call(&["pod", "rm", "-f", "-t", "0", "p"]).expect(0);
}

#[test]
fn images_are_built_by_it() {
    require_tool("buildah", "buildah");
    let runtime = Runtime::bryo();
    let podman = Podman::new(&runtime.sandbox);
    import(&podman);
    let program = runtime.program.to_str().unwrap();
    let context = runtime.sandbox.work().join("context");
    fs::create_dir(&context).unwrap();
    let recipe = "FROM localhost/bb\nRUN echo built >/file && test $(id -u) = 0\n";
    fs::write(context.join("Containerfile"), recipe).unwrap();
    let flags = [
        "build",
        "--isolation",
        "oci",
        "--network",
        "none",
        "-t",
        "built",
    ];
    let build = podman.command_with(program, &flags).arg(&context);
    build.output().expect(0);
    let run = ["run", "--rm", "--network", "none", "built", "cat", "/file"];
    let shown = podman.command_with(program, &run).output().expect(0);
    assert_eq!(shown.stdout, "built\n");

    let work = runtime.sandbox.work();
    let buildah = |words: &[&str]| -> Output {
        let run = runtime
            .sandbox
            .command("buildah")
            .arg("--root")
            .arg(work.join("podman"));
        let run = run.arg("--runroot").arg(work.join("podman.run"));
        run.args(words).output()
    };
    let from = buildah(&["from", "--pull-never", "localhost/bb"]).expect(0);
    let name = from.stdout.trim();
    let flags = [
        "run",
        "--isolation",
        "oci",
        "--network",
        "none",
        "--runtime",
        program,
        name,
    ];
    let script = ["--", "sh", "-c", "echo inside; exit 3"];
    let ran = buildah(&[&flags[..], &script].concat()).expect(3);
    assert_eq!(ran.stdout, "inside\n");
    buildah(&["rm", name]).expect(0);
}
