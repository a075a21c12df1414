//! Who reads what strangers wrote does so in a process of its own, with the
//! limits and filters that are to be seen from outside while it works.

use crate::common::hostile::{Answer, Hostile, Pushed};
use crate::common::process::children;
use crate::common::{Running, Sandbox, busybox_tar, failure_of, field, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::fs;
use std::sync::mpsc;

/// What the kernel says of a process: its filter of system calls, and limits.
#[derive(Debug, PartialEq)]
struct Confined {
    filter: bool,
    no_new_privs: bool,
    seconds: String,
    memory: String,
    core: String,
}

impl Confined {
    fn of(pid: i32) -> Option<Confined> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let (status, limits) = (read("status")?, read("limits")?);
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_whitespace().next().unwrap().to_owned()
        };
        Some(Confined {
            filter: field(&status, "Seccomp") == "2",
            no_new_privs: field(&status, "NoNewPrivs") == "1",
            seconds: limit("Max cpu time"),
            memory: limit("Max data size"),
            core: limit("Max core file size"),
        })
    }

    /// With the limits that all have.
    fn expected(files_alone: bool, seconds: &str) -> Confined {
        Confined {
            filter: files_alone,
            no_new_privs: files_alone,
            seconds: seconds.to_owned(),
            memory: (4_u64 << 30).to_string(),
            core: "0".to_owned(),
        }
    }
}

/// Waits until the verb has a child that is confined like this, and returns it.
fn confined(running: &Running, files_alone: bool) -> Pid {
    confined_for(running, Confined::expected(files_alone, "600"))
}

fn confined_for(running: &Running, expected: Confined) -> Pid {
    let parent = running.pid().as_raw();
    wait_for(&format!("{expected:?}"), || {
        let children = children(parent);
        let mut found = children
            .into_iter()
            .filter(|pid| Confined::of(*pid).is_some_and(|confined| confined == expected));
        found.next().map(Pid::from_raw)
    })
}

#[test]
fn archives_are_read_by_a_confined_process() {
    let sandbox = Sandbox::with_busybox();
    let pipe = sandbox.work().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let tar = fs::read(busybox_tar()).unwrap();
    let of_pipe = format!("tar:{}", pipe.display());
    for verb in [
        &["load", "-i", "pipe"][..],
        &["import", "pipe", "x"],
        &["copy", "docker-archive:pipe", "x"],
        &["run", "--name=c", "--network=none", &of_pipe, "true"],
    ] {
        let mut running = sandbox.bryo(verb).spawn();
        let child = confined(&running, true);
        assert!(running.is_running());
        // Whoever ends it ends the verb.
        kill(child, Signal::SIGKILL).unwrap();
        let killed = running.wait().expect(failure_of(verb[0]));
        assert!(killed.stderr.contains("was killed"), "{killed}");
        assert_eq!(
            fs::read_dir(sandbox.root().join("containers")).map_or(0, |dir| dir.count()),
            0
        );
    }
    // Somebody writes slowly.
    let running = sandbox.bryo(["import", "pipe", "x"]).spawn();
    let mut out = fs::File::options().write(true).open(&pipe).unwrap();
    use std::io::Write;
    out.write_all(&tar[..1000]).unwrap();
    confined(&running, true);
    out.write_all(&tar[1000..]).unwrap();
    drop(out);
    running.wait().expect(0);
}

#[test]
fn files_are_copied_by_confined_processes() {
    let sandbox = Sandbox::with_busybox();
    let create = ["create", "--name", "c", "--network=none", "busybox", "true"];
    sandbox.bryo(create).output().expect(0);
    let idle = sandbox.start("running", &[]);
    for name in ["c", "running"] {
        // A tar that nobody writes, and one that nobody reads.
        let into = format!("{name}:/");
        let mut running = sandbox.bryo(["cp", "-", &into]).open_stdin().spawn();
        confined(&running, true);
        running.close_stdin();
        running.wait().expect(1);
        let from = format!("{name}:/bin");
        let running = sandbox.bryo(["cp", &from, "-"]).spawn();
        confined(&running, true);
        running.wait().expect(0);
    }
    sandbox.bryo(["rm", "-f", "running"]).output().expect(0);
    idle.wait();
}

#[test]
fn registries_are_asked_by_a_process_with_limits() {
    let sandbox = Sandbox::new();
    for verb in [
        &["pull"][..],
        &["run", "--rm", "--network=none"],
        &["create"],
    ] {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let image = Pushed::small(3);
        let hostile = Hostile::start(move |asked| {
            if asked.path.contains("/manifests/") {
                let _ = wait.lock().unwrap().recv();
            }
            image.answer(asked)
        });
        let name = hostile.name("x:1");
        let running = sandbox.bryo(verb).arg(&name).spawn();
        let child = confined(&running, false);
        kill(child, Signal::SIGKILL).unwrap();
        let killed = running.wait().expect(failure_of(verb[0]));
        assert!(killed.stderr.contains("was killed"), "{killed}");
        drop(go_on);
        assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    }
    // Who hands on what comes has all the time that it takes.
    let sandbox = Sandbox::with_busybox();
    for verb in [
        &["push", "busybox", "NAME"][..],
        &["copy", "busybox", "docker://NAME"],
        &["copy", "docker://NAME", "oci:out"],
        &["manifest", "inspect", "docker://NAME"],
        &["manifest", "create", "list", "docker://NAME"],
    ] {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let hostile = Hostile::start(move |_| {
            let _ = wait.lock().unwrap().recv();
            Answer::status(403)
        });
        let name = hostile.name("x:1");
        let words = verb.iter().map(|word| word.replace("NAME", &name));
        let running = sandbox.bryo(words).spawn();
        confined_for(&running, Confined::expected(false, "unlimited"));
        drop(go_on);
        let refused = running.wait().expect(1);
        assert!(
            refused.stderr.contains("hint:  log in with bryo login"),
            "{refused}"
        );
        assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
    }
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let hostile = Hostile::start(move |_| {
        let _ = wait.lock().unwrap().recv();
        Answer::status(403)
    });
    let name = hostile.name("x:1");
    let login = sandbox.bryo(["login", "-u", "a", "-p", "b"]);
    let running = login.arg(name.split('/').next().unwrap()).spawn();
    confined(&running, false);
    drop(go_on);
    running.wait().expect(1);
    // What it says gets through, with the hint, once.
    let sandbox = Sandbox::new();
    for verb in ["pull", "run"] {
        let hostile = Hostile::start(|_| Answer::status(403));
        let refused = sandbox.bryo([verb, "--retry=0"]).arg(hostile.name("x:1"));
        let refused = refused.output().expect(failure_of(verb));
        assert!(
            refused.stderr.contains("hint:  log in with bryo login"),
            "{refused}"
        );
        assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
    }
}

#[test]
fn the_processors_time_has_an_end_that_is_told() {
    let sandbox = Sandbox::new();
    // A second is a matter of patience, the limit of ten minutes is not; a plain
    // tar of this size takes several, since it is compressed.
    let tar = crate::common::debian_tar();
    let limited = |seconds: &str| {
        let run = sandbox.command("prlimit").arg(format!("--cpu={seconds}"));
        let run = run.arg(crate::common::bryo());
        run.arg("import").arg(&tar).arg("x").output().expect(1)
    };
    for seconds in ["1:1000", "1:1"] {
        let refused = limited(seconds);
        for says in ["more of the processor's time", "1 seconds", "ulimit -t"] {
            assert!(refused.stderr.contains(says), "{refused}");
        }
    }
    assert_eq!(sandbox.bryo(["images", "-q"]).stdout(), "");
}
