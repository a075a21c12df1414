//! The runtime by itself: a start in two halves, by one process or by two, and
//! the hooks of a spec.

use crate::common::Sandbox;
use anyhow::{Context, Result, ensure};
use bryo::process::{in_process, spawn};
use bryo::runtime::gate::{Gate, Key};
use bryo::runtime::hooks::Moment;
use bryo::runtime::{self, Plan, StartError, Started, Stdio, Step};
use bryo::sys::clone::Child;
use bryo::sys::{pidfd, wait};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getgid, getuid};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A bundle whose container has `out`, a directory of the test's, as `/out`.
struct Bundle {
    sandbox: Sandbox,
    dir: PathBuf,
    spec: Value,
}

impl Bundle {
    /// One that runs this in a shell.
    fn new(script: &str) -> Bundle {
        let sandbox = Sandbox::new();
        sandbox.busybox_tree("bundle/rootfs");
        let dir = sandbox.work().join("bundle");
        for made in ["out", "state", "rootfs/out", "rootfs/proc"] {
            fs::create_dir_all(dir.join(made)).unwrap();
        }
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        let namespaces = ["user", "mount", "pid", "uts", "ipc"];
        let namespaces = namespaces.map(|kind| json!({"type": kind}));
        let spec = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/out", "source": dir.join("out"), "options": ["bind"]},
            ],
            "annotations": {"com.example": "kept"},
            "linux": {
                "namespaces": namespaces,
                "uidMappings": map(getuid().as_raw()),
                "gidMappings": map(getgid().as_raw()),
            },
        });
        Bundle { sandbox, dir, spec }
    }

    fn plan(&self) -> Result<Plan> {
        let spec: Spec = serde_json::from_value(self.spec.clone())?;
        let mut plan = Plan::new(&spec, &self.dir)?;
        plan.hooks.id = "it".into();
        Ok(plan)
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What was written to the log; empty if nothing was.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("out/log")).unwrap_or_default()
    }

    /// Adds a hook that does this, with the bundle in `$B`.
    fn hook(&mut self, moment: &str, script: &str, extra: Value) {
        let inside = moment == "startContainer";
        let list = &mut self.spec["hooks"][moment];
        let number = list.as_array().map_or(0, Vec::len);
        let name = format!("{moment}-{number}");
        let (path, shell) = match inside {
            true => (format!("rootfs/{name}"), "/bin/sh"),
            false => (name.clone(), "/bin/sh"),
        };
        let file = self.dir.join(path);
        fs::write(&file, format!("#!{shell}\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = match inside {
            true => format!("/{name}"),
            false => file.display().to_string(),
        };
        let bundle = format!("B={}", self.dir.display());
        let mut hook = json!({
            "path": path,
            "args": [name, "word"],
            "env": [bundle, "PATH=/bin:/usr/bin"],
        });
        let extra = extra.as_object().cloned().unwrap_or_default();
        hook.as_object_mut().unwrap().extend(extra);
        match list.as_array_mut() {
            Some(list) => list.push(hook),
            None => *list = json!([hook]),
        }
    }

    /// Runs the container to its end in one go.
    fn run(&self) -> Result<(), StartError> {
        let failed = |e: anyhow::Error| StartError::new(Step::Plan, &e);
        let said = in_process(|| {
            let plan = self.plan()?;
            let started = runtime::start(&plan, &Stdio::null()?, None);
            Ok(match started {
                Ok(Started { child, .. }) => {
                    waitpid(child.pid, None)?;
                    Vec::new()
                }
                Err(error) => {
                    // No process of it is left.
                    ensure!(waitpid(None, None).is_err(), "a process is left");
                    runtime::message::Message::Failed(error).encode()
                }
            })
        });
        match runtime::message::Message::decode(&said.map_err(failed)?, "") {
            Some(runtime::message::Message::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// That it is the page which waits: nothing of bryo's, and nothing to speak of.
fn is_at_rest(pid: Pid) -> Result<()> {
    let exe = fs::read_link(format!("/proc/{pid}/exe"))?;
    ensure!(exe == Path::new("/memfd:bryo (deleted)"), "{exe:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size: u64 = size
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    ensure!(size < 100, "{size} kB");
    Ok(())
}

/// Waits for the end of a process that is nobody's child here.
fn ends(child: &Child) {
    let patience = wait::within(Duration::from_secs(30));
    assert!(wait::readable(&child.pidfd, patience), "it goes on");
}

#[test]
fn a_prepared_process_waits_to_be_released() {
    let bundle = Bundle::new("echo $$ >/out/log");
    in_process(|| {
        let plan = bundle.plan()?;
        let (gate, key) = Gate::pair()?;
        let started = runtime::prepare(&plan, &Stdio::null()?, None, &gate)?;
        drop(gate);
        is_at_rest(started.child.pid)?;
        ensure!(bundle.log().is_empty(), "it has begun");
        runtime::release(&plan, &started.child, key)?;
        waitpid(started.child.pid, None)?;
        Ok(())
    })
    .unwrap();
    assert_eq!(bundle.log(), "1\n");
}

#[test]
fn a_prepared_process_outlives_its_maker_and_is_released_by_another() {
    let bundle = Bundle::new("echo $$ >/out/log");
    let child = prepared_by_another(&bundle, None);
    is_at_rest(child.pid).unwrap();
    assert_eq!(bundle.log(), "");
    in_process(|| {
        let plan = bundle.plan()?;
        let key = Key::at(&bundle.state())?.context("nobody waits")?;
        Ok(runtime::release(&plan, &child, key)?)
    })
    .unwrap();
    ends(&child);
    assert_eq!(bundle.log(), "1\n");
    // Once is enough.
    assert!(Key::at(&bundle.state()).unwrap().is_none());
    Gate::remove(&bundle.state()).unwrap();
    Key::at(&bundle.state()).unwrap_err();
}

/// What a process has prepared that has ended, with the signal that comes then.
fn prepared_by_another(bundle: &Bundle, death_signal: Option<Signal>) -> Child {
    let note = bundle.dir.join("pid");
    in_process(|| {
        let mut plan = bundle.plan()?;
        plan.process.death_signal = death_signal;
        let gate = Gate::make(&bundle.state())?;
        // Known before there is anything to lose.
        let during = |child: &Child| Ok(fs::write(&note, child.pid.to_string())?);
        let started = runtime::prepare(&plan, &Stdio::null()?, Some(&during), &gate)?;
        // The pidfd of a process that has ended already is none of a later one.
        is_at_rest(started.child.pid)
    })
    .unwrap();
    let pid = Pid::from_raw(fs::read_to_string(&note).unwrap().parse().unwrap());
    match pidfd::open(pid) {
        Ok(pidfd) => Child { pid, pidfd },
        Err(error) => panic!("{error}: it is gone"),
    }
}

#[test]
fn what_cannot_be_executed_is_told_to_who_releases_it() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["nothing-of-that-name"]);
    let error = bundle.run().unwrap_err();
    assert_eq!((error.step, error.exit_code()), (Step::Execute, 127));

    let broken = bundle.dir.join("rootfs/broken");
    fs::write(&broken, "no program").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.spec["process"]["args"] = json!(["/broken"]);
    let child = prepared_by_another(&bundle, None);
    let said = in_process(|| {
        let key = Key::at(&bundle.state())?.context("nobody waits")?;
        let error = runtime::release(&bundle.plan()?, &child, key).unwrap_err();
        Ok(format!("{} {error}", error.exit_code()).into_bytes())
    });
    let said = String::from_utf8(said.unwrap()).unwrap();
    assert!(said.starts_with("126 execute: execve(/broken)"), "{said}");
    ends(&child);
}

/// Starts a process that prepares the container and stays, and one that is told
/// when it has: its pid, and the process.
fn maker(bundle: &Bundle, death_signal: Option<Signal>) -> (Child, impl Read) {
    let (told, mut teller) = std::io::pipe().unwrap();
    let maker = spawn(|_| {
        let mut plan = bundle.plan()?;
        plan.process.death_signal = death_signal;
        let gate = Gate::make(&bundle.state())?;
        let mut note = teller.try_clone()?;
        let during = |child: &Child| Ok((&note).write_all(&child.pid.as_raw().to_ne_bytes())?);
        let _started = runtime::prepare(&plan, &Stdio::null()?, Some(&during), &gate)?;
        note.write_all(b"prepared")?;
        loop {
            nix::unistd::pause();
        }
    });
    teller.flush().unwrap();
    (maker.unwrap(), told)
}

fn heard(told: &mut impl Read) -> Child {
    let mut pid = [0; 4];
    told.read_exact(&mut pid).unwrap();
    let pid = Pid::from_raw(i32::from_ne_bytes(pid));
    let pidfd = pidfd::open(pid).unwrap();
    Child { pid, pidfd }
}

fn kill(child: &Child) {
    pidfd::kill(&child.pidfd, libc::SIGKILL).unwrap();
}

#[test]
fn who_prepares_is_killed() {
    // Afterwards, where the process is to end with him, and where it is not.
    for (death_signal, stays) in [(Some(Signal::SIGKILL), false), (None, true)] {
        let bundle = Bundle::new("echo begun >/out/log");
        let (maker, mut told) = maker(&bundle, death_signal);
        let child = heard(&mut told);
        let mut word = [0; 8];
        told.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"prepared");
        kill(&maker);
        waitpid(maker.pid, None).unwrap();
        if stays {
            is_at_rest(child.pid).unwrap();
            assert!(Key::at(&bundle.state()).unwrap().is_some());
            kill(&child);
        }
        ends(&child);
        assert!(Key::at(&bundle.state()).unwrap().is_none());
        assert_eq!(bundle.log(), "");
    }
}

#[test]
fn who_prepares_is_killed_half_way() {
    for death_signal in [Some(Signal::SIGKILL), None] {
        let mut bundle = Bundle::new("echo begun >/out/log");
        // It comes that far, and no further.
        let script = "echo $$ >$B/out/hook; exec sleep 1000";
        bundle.hook("createRuntime", script, json!({}));
        let hook = bundle.dir.join("out/hook");
        let (maker, mut told) = maker(&bundle, death_signal);
        let child = heard(&mut told);
        let pid = crate::common::wait_for("the hook", || {
            fs::read_to_string(&hook).ok()?.trim().parse().ok()
        });
        let hook = pidfd::open(Pid::from_raw(pid)).unwrap();
        kill(&maker);
        waitpid(maker.pid, None).unwrap();
        ends(&child);
        let patience = wait::within(Duration::from_secs(30));
        assert!(wait::readable(&hook, patience), "the hook goes on");
        assert_eq!(bundle.log(), "");
    }
}

/// The six kinds, in their order.
const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

#[test]
fn hooks_are_run_in_order_and_are_told_the_state() {
    let mut bundle = Bundle::new("read word </out/go; echo command >>/out/log");
    let go = bundle.dir.join("out/go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for kind in KINDS {
        let out = match kind {
            "startContainer" => "/out",
            _ => "$B/out",
        };
        // Where it is: the name of the machine's root, and what is mounted.
        let script = format!(
            "cat >{out}/state-{kind}; echo \"$0 $* $(readlink /proc/self/ns/mnt)\" >{out}/{kind}; \
             grep -c \" $B/rootfs/out \" /proc/self/mountinfo >>{out}/{kind}; \
             echo {kind} >>{out}/log"
        );
        bundle.hook(kind, &script, json!({"timeout": 60}));
    }
    bundle.hook("createRuntime", "echo second >>$B/out/log", json!({}));
    let pid = in_process(|| {
        let plan = bundle.plan()?;
        let started = runtime::start(&plan, &Stdio::null()?, None)?;
        fs::write(&go, "go\n")?;
        waitpid(started.child.pid, None)?;
        plan.hooks.run(Moment::Poststop, None)?;
        Ok(started.child.pid.to_string().into_bytes())
    });
    let pid: i32 = String::from_utf8(pid.unwrap()).unwrap().parse().unwrap();
    let wanted = "prestart\ncreateRuntime\nsecond\ncreateContainer\nstartContainer\npoststart\n\
                  command\npoststop\n";
    assert_eq!(bundle.log(), wanted);

    let here = fs::read_link("/proc/self/ns/mnt").unwrap();
    let here = here.to_str().unwrap();
    let read = |name: String| fs::read_to_string(bundle.dir.join("out").join(name)).unwrap();
    for (kind, status, pid, outside, mounted) in [
        ("prestart", "creating", Some(pid), true, "0"),
        ("createRuntime", "creating", Some(pid), true, "0"),
        ("createContainer", "creating", Some(1), false, "1"),
        ("startContainer", "created", Some(1), false, "0"),
        ("poststart", "running", Some(pid), true, "0"),
        ("poststop", "stopped", None, true, "0"),
    ] {
        let state: Value = serde_json::from_str(&read(format!("state-{kind}"))).unwrap();
        let mut wanted = json!({
            "ociVersion": "1.3.0",
            "id": "it",
            "status": status,
            "bundle": bundle.dir,
            "annotations": {"com.example": "kept"},
        });
        if let Some(pid) = pid {
            wanted["pid"] = json!(pid);
        }
        assert_eq!(state, wanted, "{kind}");
        let said = read(kind.to_owned());
        let [first, count] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{kind}: {said}");
        };
        assert!(first.contains(" word mnt:"), "{kind}: {said}");
        assert_eq!(first.ends_with(here), outside, "{kind}: {said}");
        assert_eq!(count, mounted, "{kind}: {said}");
    }
    drop(bundle.sandbox);
}

#[test]
fn a_hook_that_fails_is_the_end_of_the_container() {
    for kind in &KINDS[..5] {
        let mut bundle = Bundle::new("exec >/out/log; echo begun; exec sleep 1000");
        bundle.hook(kind, "echo what it lacks >&2; exit 3", json!({}));
        let last = bundle.dir.join("out/after");
        bundle.hook(kind, &format!("touch {}", last.display()), json!({}));
        let error = bundle.run().unwrap_err();
        assert_eq!(error.step, Step::Hook, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{kind} hook /")), "{text}");
        assert!(
            text.ends_with("it ended with code 3: what it lacks"),
            "{text}"
        );
        assert_eq!(error.exit_code(), 125);
        if *kind != "poststart" {
            assert_eq!(bundle.log(), "", "{kind}");
        }
        assert!(!last.exists(), "{kind}");
    }
}

#[test]
fn a_hook_has_its_time() {
    let mut bundle = Bundle::new("echo begun >/out/log");
    // Nor does it help to print.
    let script = "while :; do echo more; sleep 0.01; done";
    bundle.hook("createContainer", script, json!({"timeout": 1}));
    let error = bundle.run().unwrap_err().to_string();
    assert!(
        error.ends_with("it takes more than the 1 s that it may"),
        "{error}"
    );
    assert_eq!(bundle.log(), "");
}

#[test]
fn what_a_hook_cannot_be_is_said_beforehand() {
    for (key, value, said) in [
        ("path", json!("bin/true"), "bin/true is not absolute"),
        ("timeout", json!(0), "timeout 0: it is to be more than 0"),
        ("timeout", json!(-1), "timeout -1: it is to be more than 0"),
        ("env", json!(["A=\0"]), "environment variable"),
    ] {
        let mut bundle = Bundle::new("");
        bundle.hook("createRuntime", "", json!({key: value}));
        let error = format!("{:#}", bundle.plan().unwrap_err());
        assert!(error.starts_with("hooks.createRuntime[0]: "), "{error}");
        assert!(error.contains(said), "{error}");
    }
    // And when there is none.
    let mut bundle = Bundle::new("");
    bundle.hook("prestart", "", json!({"path": "/nonexistent/hook"}));
    let error = bundle.run().unwrap_err();
    assert_eq!(error.step, Step::Hook);
    assert!(error.text.contains("execve(/nonexistent/hook"), "{error}");
}
