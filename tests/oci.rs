//! `bryo oci`: runc's command line. Where runc can do the same here, it is asked
//! too, so that a disagreement shows.

use crate::common::{Output, Sandbox, bryo, require_subtree, require_tool, wait_for};
use bryo::sys::channel::Channel;
use nix::unistd::{getgid, getuid};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

mod engines;
mod groups;
mod repair;
mod specification;
mod words;

/// How many runtimes there were.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A runtime with a bundle.
struct Runtime {
    sandbox: Sandbox,
    program: PathBuf,
    bundle: PathBuf,
    /// Of this test's container: runc names control groups by it, which all tests
    /// share.
    id: String,
}

impl Runtime {
    /// bryo, called by its name as a runtime.
    fn bryo() -> Runtime {
        let sandbox = Sandbox::new();
        let link = sandbox.work().join("bryo-oci");
        symlink(bryo(), &link).unwrap();
        Runtime::of(sandbox, link)
    }

    fn runc() -> Runtime {
        Runtime::of(Sandbox::new(), require_tool("runc", "runc"))
    }

    fn crun() -> Runtime {
        // It refuses machines that have both versions of control groups.
        require_subtree();
        Runtime::of(Sandbox::new(), require_tool("crun", "crun"))
    }

    fn is(&self, name: &str) -> bool {
        self.program.ends_with(name)
    }

    fn of(sandbox: Sandbox, program: PathBuf) -> Runtime {
        sandbox.busybox_tree("bundle/rootfs");
        let bundle = sandbox.work().join("bundle");
        fs::create_dir_all(bundle.join("rootfs/proc")).unwrap();
        fs::create_dir_all(bundle.join("rootfs/dev")).unwrap();
        let runtime = Runtime {
            sandbox,
            program,
            bundle,
            id: format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        };
        runtime.configure(&["sh", "-c", "echo one; exit 7"], |_| {});
        runtime
    }

    /// Writes a `config.json` with this command.
    fn configure(&self, command: &[&str], change: impl FnOnce(&mut Value)) {
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        let namespaces = ["user", "mount", "pid", "uts", "ipc"];
        let namespaces = namespaces.map(|kind| json!({"type": kind}));
        let mut config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": command,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]},
            ],
            "annotations": {"com.example.key": "value"},
            "linux": {
                "namespaces": namespaces,
                "uidMappings": map(getuid().as_raw()),
                "gidMappings": map(getgid().as_raw()),
            },
        });
        change(&mut config);
        fs::write(self.bundle.join("config.json"), config.to_string()).unwrap();
    }

    fn call(&self, words: &[&str]) -> Output {
        let root = self.sandbox.path().join("oci");
        cloned(|| {
            let call = self.sandbox.command(&self.program);
            call.arg("--root").arg(&root).args(words).output()
        })
    }

    /// The container has the call's own streams: what it keeps open must not be
    /// what this waits for.
    fn create(&self, id: &str, flags: &[&str]) -> Output {
        let bundle = self.bundle.to_str().unwrap();
        let root = self.sandbox.path().join("oci");
        let errors = self.bundle.join("errors");
        let script = "exec \"$@\" </dev/null >/dev/null 2>\"$ERRORS\"";
        cloned(|| {
            let call = self.sandbox.command("sh").env("ERRORS", &errors);
            let call = call.args(["-c", script, "sh"]).arg(&self.program);
            let call = call.arg("--root").arg(&root);
            let call = call.args(["create", "--bundle", bundle]).args(flags);
            let mut output = call.arg(id).output();
            output.stderr = fs::read_to_string(&errors).unwrap();
            output
        })
    }

    fn run(&self, id: &str) -> Output {
        self.call(&["run", id, "-b", self.bundle.to_str().unwrap()])
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.call(&["state", id]).expect(0).stdout).unwrap()
    }

    fn await_status(&self, id: &str, status: &str) -> Value {
        wait_for(status, || {
            let state = self.state(id);
            (state["status"] == status).then_some(state)
        })
    }
}

/// Calls until runc has made the copy of itself that it runs by: now and then it
/// cannot seal that while others start, and has done nothing then.
fn cloned(call: impl Fn() -> Output) -> Output {
    let mut outputs = std::iter::repeat_with(call).take(20);
    let fault = "could not ensure we are a cloned binary";
    let done = outputs.find(|output| !output.stderr.contains(fault));
    done.expect("runc cannot copy itself")
}

#[test]
fn a_container_is_created_started_and_deleted() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        let id = runtime.id.as_str();
        let out = runtime.bundle.join("rootfs/out");
        runtime.configure(&["sh", "-c", "echo begun >/out; exec sleep 1000"], |_| {});
        let pid_file = runtime.bundle.join("pid");
        let flags = ["--pid-file", pid_file.to_str().unwrap()];
        // Its process has the caller's streams, and goes on.
        runtime.create(id, &flags).expect(0);
        let state = runtime.state(id);
        assert_eq!(state["status"], "created", "{state}");
        assert_eq!(state["id"], id);
        assert_eq!(state["bundle"], runtime.bundle.to_str().unwrap());
        let rootfs = runtime.bundle.join("rootfs");
        assert_eq!(state["rootfs"], rootfs.to_str().unwrap());
        assert_eq!(state["annotations"]["com.example.key"], "value");
        let pid = fs::read_to_string(&pid_file).unwrap();
        assert_eq!(state["pid"].to_string(), pid);
        assert!(!out.exists());

        let again = runtime.create(id, &[]).expect(1);
        let taken = "container with given ID already exists";
        assert!(again.stderr.contains(taken), "{again}");
        let inside = runtime.call(&["exec", id, "sh", "-c", "exit 3"]);
        inside.expect(3);

        runtime.call(&["start", id]).expect(0);
        wait_for("the command", || out.exists().then_some(()));
        assert_eq!(runtime.state(id)["status"], "running");
        let twice = runtime.call(&["start", id]).expect(1);
        assert!(
            twice.stderr.contains("already running container"),
            "{twice}"
        );
        let listed = runtime.call(&["list", "-f", "json"]).expect(0).stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed[0]["id"], id);
        assert_eq!(listed[0]["status"], "running");
        assert_eq!(runtime.call(&["list", "-q"]).stdout, format!("{id}\n"));

        let running = runtime.call(&["delete", id]).expect(1);
        assert!(running.stderr.contains("that is not stopped"), "{running}");
        let unknown = runtime.call(&["kill", id, "NOSUCH"]).expect(1);
        assert!(unknown.stderr.contains("unknown signal"), "{unknown}");
        runtime.call(&["kill", id, "KILL"]).expect(0);
        let state = runtime.await_status(id, "stopped");
        assert_eq!(state["pid"], 0);
        let dead = runtime.call(&["kill", id, "9"]).expect(1);
        assert!(dead.stderr.contains("container not running"), "{dead}");
        let stopped = runtime.call(&["start", id]).expect(1);
        let has_stopped = "cannot start a container that has stopped";
        assert!(stopped.stderr.contains(has_stopped), "{stopped}");
        let exec = runtime.call(&["exec", id, "true"]).expect(255);
        assert!(exec.stderr.contains("in a stopped container"), "{exec}");
        runtime.call(&["delete", id]).expect(0);

        for words in [
            &["state", id][..],
            &["start", id],
            &["kill", id],
            &["delete", id],
        ] {
            let missing = runtime.call(words).expect(1);
            assert!(missing.stderr.contains("does not exist"), "{missing}");
        }
        runtime.call(&["exec", id, "true"]).expect(255);
        // containerd does so after each delete.
        runtime.call(&["delete", "--force", id]).expect(0);
    }
}

#[test]
fn it_tells_its_version_as_runtimes_do() {
    let runtime = Runtime::bryo();
    let called = |flag| runtime.sandbox.command(&runtime.program).arg(flag).output();
    for flag in ["--version", "-v"] {
        let said = called(flag).expect(0).stdout;
        assert!(said.starts_with("bryo-oci version "), "{said}");
        assert!(said.ends_with("\nspec: 1.3.0\n"), "{said}");
    }
}

#[test]
fn a_container_runs_in_the_foreground() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        let id = runtime.id.as_str();
        let output = runtime.run(id).expect(7);
        assert_eq!(output.stdout, "one\n");
        // runc may have to say that its control group is busy.
        assert!(
            output.stderr.is_empty() || runtime.program.ends_with("runc"),
            "{output}"
        );
        assert_eq!(runtime.call(&["list", "-q"]).stdout, "");
        runtime.configure(&["/nonex"], |_| {});
        let missing = runtime.run(id);
        assert_ne!(missing.code, 0);
        // By this text engines know what it is.
        assert!(
            missing
                .stderr
                .to_lowercase()
                .contains("no such file or directory"),
            "{missing}"
        );
        assert_eq!(runtime.call(&["list", "-q"]).stdout, "");
    }
}

#[test]
fn a_container_that_was_never_started_or_runs_can_be_forced_away() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        runtime.configure(&["sleep", "1000"], |_| {});
        runtime.create("a", &[]).expect(0);
        runtime.call(&["delete", "a"]).expect(0);
        runtime.create("b", &[]).expect(0);
        runtime.call(&["start", "b"]).expect(0);
        runtime.call(&["delete", "--force", "b"]).expect(0);
        assert_eq!(runtime.call(&["list", "-q"]).stdout, "");
    }
}

#[test]
fn errors_are_in_the_log_as_json_and_bad_input_leaves_nothing() {
    let runtime = Runtime::bryo();
    let log = runtime.bundle.join("log.json");
    let logged = |words: &[&str]| {
        let _ = fs::remove_file(&log);
        let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
        let output = runtime.call(&[&flags[..], words].concat()).expect(1);
        // podman reads the whole file as one object.
        let line: Value = serde_json::from_slice(&fs::read(&log).unwrap()).unwrap();
        assert_eq!(line["level"], "error");
        let said = line["msg"].as_str().unwrap().to_owned();
        assert!(output.stderr.contains(&said), "{output}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        said
    };
    let bundle = runtime.bundle.to_str().unwrap();
    for (id, says) in [
        ("a/b", "invalid container ID format"),
        ("..", "invalid container ID"),
    ] {
        assert!(logged(&["create", "-b", bundle, id]).contains(says));
    }
    let missing = logged(&["create", "-b", "/nowhere", "c"]);
    assert!(missing.contains("config.json not found"), "{missing}");
    type Change = fn(&mut Value);
    let rows: [(Change, &str); 6] = [
        (|c| c["ociVersion"] = json!("9.0.0"), "ociVersion '9.0.0'"),
        (
            |c| c["process"]["args"] = json!([]),
            "args must not be empty",
        ),
        (
            |c| drop(c.as_object_mut().unwrap().remove("process")),
            "process property",
        ),
        (
            |c| c["linux"]["resources"] = json!({"memory": {"swap": 1000}}),
            "memory.swap",
        ),
        (|c| c["process"]["terminal"] = json!(true), "console socket"),
        (
            |c| c["process"]["apparmorProfile"] = json!("x"),
            "apparmorProfile",
        ),
    ];
    for (change, says) in rows {
        runtime.configure(&["true"], change);
        let said = logged(&["create", "-b", bundle, "c"]);
        assert!(said.contains(says), "{says}: {said}");
    }
    fs::write(runtime.bundle.join("config.json"), "{\"ociVersion\":").unwrap();
    assert!(logged(&["create", "-b", bundle, "c"]).contains("config.json"));
    assert_eq!(runtime.call(&["list", "-q"]).stdout, "");
    let states = runtime.sandbox.path().join("oci");
    assert_eq!(fs::read_dir(&states).unwrap().count(), 0);
    // Others could put what they like there.
    fs::set_permissions(&states, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(logged(&["list"]).contains("others may write to it"));
}

#[test]
fn hooks_see_the_state_and_the_last_one_runs_at_the_end() {
    let runtime = Runtime::bryo();
    let log = runtime.bundle.join("log");
    let script = runtime
        .sandbox
        .write("hook", format!("#!/bin/sh\ncat >>{0}\n", log.display()));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    runtime.configure(&["true"], |config| {
        let hook = json!([{"path": script}]);
        config["hooks"] = json!({"createRuntime": hook, "poststart": hook, "poststop": hook});
    });
    runtime.run("c").expect(0);
    let said = fs::read_to_string(&log).unwrap();
    let said = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let said: Vec<Value> = said.collect::<Result<_, _>>().unwrap();
    let statuses: Vec<_> = said.iter().map(|state| state["status"].clone()).collect();
    assert_eq!(statuses, ["creating", "running", "stopped"]);
    assert!(said.iter().all(|state| state["id"] == "c"));
}

/// Takes the descriptor that comes over the next connection.
fn receive(listener: &UnixListener) -> fs::File {
    let (connection, _) = listener.accept().unwrap();
    let connection = Channel::from(OwnedFd::from(connection));
    let message = connection.receive().unwrap().expect("nothing came");
    message.fd.expect("no descriptor came").into()
}

#[test]
fn a_terminal_goes_to_who_listens_for_it() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        let id = runtime.id.as_str();
        runtime.configure(
            &["sh", "-c", "test -t 0 && echo it is a terminal"],
            |config| {
                config["process"]["terminal"] = json!(true);
            },
        );
        let place = runtime.sandbox.path().join("s");
        let listener = UnixListener::bind(&place).unwrap();
        runtime
            .create(id, &["--console-socket", place.to_str().unwrap()])
            .expect(0);
        let mut terminal = receive(&listener);
        runtime.call(&["start", id]).expect(0);
        let mut said = String::new();
        let mut buffer = [0; 256];
        // The other side closes with EIO.
        while let Ok(count @ 1..) = terminal.read(&mut buffer) {
            said += &String::from_utf8_lossy(&buffer[..count]);
        }
        assert_eq!(said, "it is a terminal\r\n");
        runtime.await_status(id, "stopped");
        runtime.call(&["delete", id]).expect(0);
    }
}

#[test]
fn a_descriptor_of_the_process_goes_to_who_listens_for_it() {
    let runtime = Runtime::bryo();
    let place = runtime.sandbox.path().join("p");
    let listener = UnixListener::bind(&place).unwrap();
    let flags = ["--pidfd-socket", place.to_str().unwrap()];
    runtime.configure(&["sleep", "1000"], |_| {});
    let named = |descriptor: &fs::File, pid: &str| {
        let link = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
        let said = fs::read_to_string(link).unwrap();
        assert!(said.contains(&format!("Pid:\t{pid}\n")), "{said}");
    };
    runtime.create(&runtime.id, &flags).expect(0);
    let first = receive(&listener);
    named(&first, &runtime.state(&runtime.id)["pid"].to_string());
    runtime.call(&["start", &runtime.id]).expect(0);
    let file = runtime.sandbox.path().join("pid");
    let mut words = vec!["exec", "-d", "--pid-file", file.to_str().unwrap()];
    words.extend(flags);
    let script = "exec sleep 1000 >/dev/null 2>&1";
    words.extend([runtime.id.as_str(), "sh", "-c", script]);
    runtime.call(&words).expect(0);
    named(&receive(&listener), &fs::read_to_string(&file).unwrap());
    runtime.call(&["delete", "--force", &runtime.id]).expect(0);
    // Nobody to give it to: no container.
    drop(listener);
    fs::remove_file(&place).unwrap();
    runtime.create(&runtime.id, &flags).expect(1);
    runtime.call(&["state", &runtime.id]).expect(1);
}

#[test]
fn a_terminal_in_the_foreground_is_carried() {
    let runtime = Runtime::bryo();
    let script = "test -t 0 && test -t 1 && read line && echo got $line; exit 4";
    runtime.configure(&["sh", "-c", script], |config| {
        config["process"]["terminal"] = json!(true);
    });
    let bundle = runtime.bundle.to_str().unwrap();
    let root = runtime.sandbox.path().join("oci");
    let run = |words: &[&str]| {
        let call = runtime.sandbox.command(&runtime.program);
        let call = call.arg("--root").arg(&root).args(words);
        call.stdin("typed\n").output()
    };
    let output = run(&["run", "-b", bundle, "c"]).expect(4);
    assert!(output.stdout.ends_with("got typed\r\n"), "{output}");
    // There is nobody to carry it.
    let refused = run(&["run", "-d", "-b", bundle, "c"]).expect(1);
    assert!(refused.stderr.contains("console socket"), "{refused}");
    runtime.configure(&["sleep", "1000"], |_| {});
    runtime.create("c", &[]).expect(0);
    let output = run(&["exec", "-t", "c", "sh", "-c", script]).expect(4);
    assert!(output.stdout.ends_with("got typed\r\n"), "{output}");
    runtime.call(&["delete", "--force", "c"]).expect(0);
}

#[test]
fn descriptors_are_passed_on_and_no_others() {
    for runtime in [Runtime::bryo(), Runtime::crun()] {
        let show = "ls /proc/self/fd | tr '\\n' ' '; cat <&3; echo $LISTEN_FDS";
        runtime.configure(&["sh", "-c", show], |_| {});
        let given = runtime.sandbox.write("given", "given\n");
        let root = runtime.sandbox.path().join("oci");
        let run = |flags: &str| {
            let script = format!(
                "for n in {{3..40}}; do eval \"exec $n>&-\"; done; exec 3<{} 4</dev/null 7</dev/null; exec \"$@\" run {flags} -b {} c",
                given.display(),
                runtime.bundle.display()
            );
            let call = runtime
                .sandbox
                .command("bash")
                .args(["-c", &script, "bash"]);
            call.arg(&runtime.program).arg("--root").arg(&root).output()
        };
        // ls has one of its own.
        let output = run("--preserve-fds 1").expect(0);
        assert_eq!(output.stdout, "0 1 2 3 4 given\n\n", "{output}");
        let output = run("--preserve-fds 9").expect(0);
        assert_eq!(output.stdout, "0 1 2 3 4 5 7 given\n\n", "{output}");
    }
}
