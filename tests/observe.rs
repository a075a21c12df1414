//! What is shown of containers: logs, ps, inspect, top, stats, diff, events;
//! health checks, and commands that are left running.

use crate::common::{Sandbox, wait_for, wait_for_rest};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;

const STAY: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done";

fn detached(sandbox: &Sandbox, name: &str, flags: &[&str], script: &str) -> String {
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", name]);
    let run = run.args(flags);
    run.args(["busybox", "sh", "-c", script]).stdout()
}

fn ended(sandbox: &Sandbox, name: &str, flags: &[&str], script: &str) {
    detached(sandbox, name, flags, script);
    sandbox.bryo(["wait", name]).output().expect(0);
}

fn lines(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let output = sandbox.bryo(arguments).output().expect(0);
    output.stdout.lines().map(str::to_owned).collect()
}

fn remove(sandbox: &Sandbox) {
    sandbox.bryo(["rm", "-f", "-a"]).output().expect(0);
}

#[test]
fn logs_by_count_and_time() {
    let sandbox = Sandbox::with_busybox();
    ended(
        &sandbox,
        "c",
        &[],
        "for i in 1 2 3 4; do echo $i; done; printf end",
    );
    assert_eq!(lines(&sandbox, &["logs", "c"]), ["1", "2", "3", "4", "end"]);
    assert_eq!(lines(&sandbox, &["logs", "--tail", "2", "c"]), ["4", "end"]);
    assert_eq!(lines(&sandbox, &["logs", "-n0", "c"]), [""; 0]);
    assert_eq!(
        lines(&sandbox, &["logs", "--since", "1h", "-n1", "c"]),
        ["end"]
    );
    assert_eq!(lines(&sandbox, &["logs", "--until", "1h", "c"]), [""; 0]);
    let stamped = lines(&sandbox, &["logs", "-t", "c"]);
    let time = stamped[2].strip_suffix(" 3").unwrap();
    assert!(time.len() == 30 && time.ends_with('Z'), "{stamped:?}");
    let since = lines(&sandbox, &["logs", "--since", time, "c"]);
    assert_eq!(since.last().unwrap(), "end");
    sandbox
        .bryo(["logs", "--tail", "x", "c"])
        .output()
        .expect(1);
    ended(&sandbox, "d", &["--log-driver=none"], "echo lost");
    let refused = sandbox.bryo(["logs", "d"]).output().expect(1);
    assert!(refused.stderr.contains("none"), "{refused}");
    let refused = sandbox.bryo(["run", "--log-driver=journald", "busybox"]);
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        let refused = refused.output().expect(125);
        assert!(refused.stderr.contains("journal/socket"), "{refused}");
    }
    remove(&sandbox);
}

#[test]
fn logs_of_several_with_details() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--log-opt=labels=team",
        "--log-opt=env=A",
        "-e",
        "A=1",
        "-l",
        "team=x",
    ];
    ended(&sandbox, "one", &flags, "echo first");
    ended(&sandbox, "three", &[], "echo second");
    let all = lines(&sandbox, &["logs", "three", "one"]);
    assert_eq!(all, ["one   | first", "three | second"]);
    let details = lines(&sandbox, &["logs", "--details", "one"]);
    assert_eq!(details, ["A=1,team=x first"]);
    remove(&sandbox);
}

#[test]
fn logs_are_followed_to_the_end() {
    let sandbox = Sandbox::with_busybox();
    detached(
        &sandbox,
        "c",
        &["-i"],
        "while read line; do echo got $line; done",
    );
    let mut follow = sandbox.bryo(["logs", "-f", "c"]).spawn();
    for word in ["one", "two"] {
        let mut attached = sandbox.bryo(["attach", "c"]).open_stdin().spawn();
        attached.write(&format!("{word}\n"));
        follow.expect_line(&format!("got {word}"));
        attached.signal(Signal::SIGKILL);
        attached.wait();
    }
    sandbox.bryo(["kill", "c"]).output().expect(0);
    follow.wait().expect(0);
    remove(&sandbox);
}

#[test]
fn nothing_printed_is_lost_or_reordered() {
    let sandbox = Sandbox::with_busybox();
    // Some 64 MB of text and 16 MB of noise, at full speed.
    let text = "i=0; while [ $i -lt 8 ]; do seq 1000000 1999999 >&2; i=$((i+1)); done";
    let noise = "head -c 16000000 /dev/urandom >/noise; cat /noise";
    let sums = "sha256sum </noise >/sum";
    for driver in ["json-file", "k8s-file"] {
        let script = format!("{noise}; {sums}; {text}");
        ended(&sandbox, "c", &["--log-driver", driver], &script);
        let logs = sandbox.bryo(["logs", "c"]).into_command();
        let mut logs = logs;
        let errors = sandbox.work().join("errors");
        let noise = sandbox.work().join("noise");
        logs.stdout(fs::File::create(&noise).unwrap());
        logs.stderr(fs::File::create(&errors).unwrap());
        assert!(logs.status().unwrap().success());
        let tar = sandbox.bryo(["export", "-o", "c.tar", "c"]);
        tar.output().expect(0);
        let tar = sandbox.command("tar").args(["-xOf", "c.tar", "sum"]);
        let wanted = tar.stdout();
        let sum = sandbox.command("sha256sum").arg(&noise).stdout();
        assert_eq!(sum.split(' ').next(), wanted.split(' ').next(), "{driver}");
        let expected = sandbox.command("sh").args([
            "-c",
            "for i in 1 2 3 4 5 6 7 8; do seq 1000000 1999999; done | cmp - errors",
        ]);
        expected.output().expect(0);
        remove(&sandbox);
    }
}

#[test]
fn logs_are_rotated() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["--log-opt=max-size=20k", "--log-opt=max-file=3"];
    ended(&sandbox, "c", &flags, "seq 1 5000");
    let path = sandbox.inspect("c")["LogPath"].as_str().unwrap().to_owned();
    for number in ["", ".1", ".2"] {
        let size = fs::metadata(format!("{path}{number}")).unwrap().len();
        assert!(size < 21_000, "{number}: {size}");
    }
    assert!(fs::metadata(format!("{path}.3")).is_err());
    let all = lines(&sandbox, &["logs", "c"]);
    assert_eq!(all.last().unwrap(), "5000");
    let numbers: Vec<u32> = all.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(numbers.len() < 2000, "{}", numbers.len());
    remove(&sandbox);
}

#[test]
fn a_log_that_cannot_grow_does_not_stop_the_container() {
    let sandbox = Sandbox::with_busybox();
    // The limit is the supervisor's; SIGXFSZ is blocked, the write fails.
    let bryo = crate::common::bryo();
    let script = format!(
        "ulimit -f 1000; exec {} run -d --network none --name c busybox \
         sh -c 'seq 1 100000; exit 7'",
        bryo.display()
    );
    sandbox
        .command("bash")
        .args(["-c", &script])
        .output()
        .expect(0);
    assert_eq!(sandbox.bryo(["wait", "c"]).stdout(), "7");
    let all = lines(&sandbox, &["logs", "c"]);
    assert_eq!(all[0], "1");
    assert!(all.len() > 100 && all.len() < 100_000, "{}", all.len());
    remove(&sandbox);
}

#[test]
fn ps_shows_and_filters() {
    let sandbox = Sandbox::with_busybox();
    ended(&sandbox, "old", &["-l", "tier=db"], "exit 3");
    let id = detached(&sandbox, "web", &["-l", "tier=web", "-l", "x"], STAY);
    let names = |flags: &[&str]| {
        let format = ["ps", "--format", "{{.Names}}"];
        lines(&sandbox, &[&format[..], flags].concat()).join(" ")
    };
    assert_eq!(names(&[]), "web");
    assert_eq!(names(&["-a"]), "web old");
    assert_eq!(names(&["-n1"]), "web");
    assert_eq!(names(&["-l"]), "web");
    for (filter, expected) in [
        ("status=exited", "old"),
        ("exited=3", "old"),
        ("exited=0", ""),
        ("name=we", "web"),
        ("name=^eb", ""),
        ("label=tier", "web"),
        ("label=tier=web", "web"),
        ("ancestor=busybox", "web"),
        ("ancestor=other", ""),
        ("since=old", "web"),
        ("health=none", "web"),
    ] {
        assert_eq!(names(&["--filter", filter]), expected, "{filter}");
    }
    assert_eq!(names(&["-a", "--filter", "before=web"]), "old");
    assert_eq!(names(&["-af", "label=x", "-f", "label=tier=db"]), "");
    assert_eq!(names(&["-af", "name=old", "-f", "name=web"]), "web old");
    for bad in ["status=gone", "colour=red", "name", "since=none"] {
        sandbox.bryo(["ps", "--filter", bad]).output().expect(1);
    }
    assert_eq!(lines(&sandbox, &["ps", "-q", "--no-trunc"]), [id.as_str()]);
    let table = lines(
        &sandbox,
        &["ps", "--format", "table {{.ID}}\\t{{.RunningFor}}"],
    );
    assert!(table[0].starts_with("CONTAINER ID   CREATED"), "{table:?}");
    assert!(table[1].starts_with(&id[..12]), "{table:?}");
    let json = lines(&sandbox, &["ps", "--format", "{{json .}}"]);
    let row: Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(row["State"], "running");
    let wrong = sandbox
        .bryo(["ps", "--format", "{{.Nmaes}}"])
        .output()
        .expect(1);
    assert!(wrong.stderr.contains("Nmaes"), "{wrong}");
    let sizes = lines(&sandbox, &["ps", "-s"]);
    assert!(
        sizes[0].ends_with("SIZE") && sizes[1].ends_with("0B"),
        "{sizes:?}"
    );
    let state = lines(
        &sandbox,
        &["inspect", "-f", "{{.State.Status}} {{.Name}}", "web"],
    );
    assert_eq!(state, ["running web"]);
    remove(&sandbox);
}

#[test]
fn containers_are_found_by_what_they_stand_on() {
    let sandbox = Sandbox::with_busybox();
    ended(&sandbox, "base", &[], "echo x >/f");
    let id = sandbox.bryo(["commit", "-q", "base", "child:1"]).stdout();
    sandbox
        .bryo(["tag", "child:1", "r.test/other:2"])
        .output()
        .expect(0);
    let create = sandbox.bryo(["create", "--name", "child", "child:1", "true"]);
    create.output().expect(0);
    let of = |name: &str| {
        let filter = format!("ancestor={name}");
        lines(
            &sandbox,
            &["ps", "-a", "--format", "{{.Names}}", "-f", &filter],
        )
        .join(" ")
    };
    let image = &sandbox
        .bryo(["inspect", "--type=image", "child:1"])
        .stdout();
    let image: Value = serde_json::from_str::<Value>(image).unwrap()[0].clone();
    let digest = image["Digest"].as_str().unwrap();
    let hex = id.strip_prefix("sha256:").unwrap_or(&id);
    for name in [
        "child:1",
        "docker.io/library/child:1",
        "r.test/other:2",
        &id,
        hex,
        &hex[..12],
        digest,
        &format!("child@{digest}"),
    ] {
        assert_eq!(of(name), "child", "{name}");
    }
    for name in ["busybox", "busybox:latest", "docker.io/library/busybox"] {
        assert_eq!(of(name), "child base", "{name}");
    }
    for name in ["child", "other", "none", "r.test/other", "busy"] {
        assert_eq!(of(name), "", "{name}");
    }
    // A name means what it means now.
    sandbox
        .bryo(["tag", "busybox", "child:1"])
        .output()
        .expect(0);
    assert_eq!(of("child:1"), "child base");
    assert_eq!(of("r.test/other:2"), "child");
    remove(&sandbox);
}

#[test]
fn commands_are_shown_on_one_line() {
    let sandbox = Sandbox::with_busybox();
    let create = |name: &str, command: &[&str]| {
        let create = sandbox.bryo(["create", "--name", name, "busybox"]);
        create.args(command).output().expect(0);
    };
    create("lines", &["sh", "-c", "echo a\n\techo \"b\\c\"\x1b[2J"]);
    create("short", &["sleep", "12345678901234"]);
    create("long", &["sleep", "123456789012345"]);
    let shown = |flags: &[&str]| {
        let ps = ["ps", "-a", "--format", "{{.Command}}"];
        lines(&sandbox, &[&ps[..], flags].concat())
    };
    assert_eq!(
        shown(&["--no-trunc"]),
        [
            r#""sleep 123456789012345""#,
            r#""sleep 12345678901234""#,
            r#""sh -c 'echo a\n\techo \"b\\c\"\x1b[2J'""#,
        ]
    );
    assert_eq!(
        shown(&[]),
        [
            r#""sleep 1234567890123…""#,
            r#""sleep 12345678901234""#,
            r#""sh -c 'echo a\n\techo…""#,
        ]
    );
    // A line for each in the table too.
    assert_eq!(lines(&sandbox, &["ps", "-a"]).len(), 4);
    remove(&sandbox);
}

#[test]
fn top_and_stats() {
    let sandbox = Sandbox::with_busybox();
    for flags in [&[][..], &["--init"], &["--pid=host"]] {
        detached(&sandbox, "c", flags, "sleep 1234 & wait");
        wait_for("both processes", || {
            let all = lines(&sandbox, &["top", "c"]);
            all.iter()
                .any(|line| line.ends_with("sleep 1234"))
                .then_some(())
        });
        let all = lines(&sandbox, &["top", "c"]);
        assert!(all[0].starts_with("UID"), "{all:?}");
        assert!(all.len() >= 3, "{flags:?}: {all:?}");
        let by_ps = lines(&sandbox, &["top", "c", "-eo", "pid,args"]);
        assert!(
            by_ps.iter().any(|line| line.ends_with("sleep 1234")),
            "{by_ps:?}"
        );
        assert!(
            !by_ps.iter().any(|line| line.contains("ps -eo")),
            "{by_ps:?}"
        );
        let json = lines(&sandbox, &["stats", "--no-stream", "--format", "json", "c"]);
        let row: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(row["Source"], "proc");
        assert!(row["PIDs"].as_u64().unwrap() >= 2, "{row}");
        remove(&sandbox);
    }
    let busy = "while :; do :; done";
    detached(&sandbox, "c", &[], busy);
    let cpu = lines(
        &sandbox,
        &["stats", "--no-stream", "--format", "{{.CPUPerc}}"],
    );
    let cpu: f64 = cpu[0].trim_end_matches('%').parse().unwrap();
    assert!(cpu > 1.0, "{cpu}");
    sandbox
        .bryo(["stats", "--no-stream", "none"])
        .output()
        .expect(1);
    sandbox.bryo(["kill", "c"]).output().expect(0);
    sandbox.bryo(["wait", "c"]).output().expect(0);
    sandbox.bryo(["top", "c"]).output().expect(1);
    remove(&sandbox);
}

#[test]
fn diff_is_as_overlay_has_it() {
    let sandbox = Sandbox::with_busybox();
    let script = "echo new >/new; mkdir /d; echo in >/d/f; rm /bin/ls; rm -r /root; mkdir /root";
    ended(&sandbox, "c", &[], script);
    let all = lines(&sandbox, &["diff", "c"]);
    for line in ["A /new", "A /d", "A /d/f", "C /bin", "D /bin/ls", "C /root"] {
        assert!(all.iter().any(|l| l == line), "{line} in {all:?}");
    }
    remove(&sandbox);
}

#[test]
fn events_are_kept_and_come() {
    let sandbox = Sandbox::with_busybox();
    let mut follow = sandbox.bryo(["events", "--filter", "event=die"]).spawn();
    ended(&sandbox, "c", &["-l", "team=x"], "exit 3");
    // A second one, should the first have come before the other was ready.
    ended(&sandbox, "two", &[], "exit 4");
    let line = follow.expect_line("container die");
    assert!(line.contains("exitCode="), "{line}");
    follow.signal(Signal::SIGTERM);
    follow.wait();
    sandbox.bryo(["rename", "c", "e"]).output().expect(0);
    sandbox.bryo(["rm", "e"]).output().expect(0);
    let past = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "{{.Action}}",
    ];
    let of = |filter: &str| lines(&sandbox, &[&past[..], &["--filter", filter]].concat());
    let actions = of("label=team=x");
    assert_eq!(actions, ["create", "start", "die", "rename", "destroy"]);
    assert_eq!(of("container=two"), ["create", "start", "die"]);
    let json = [
        "events",
        "--no-stream",
        "--format",
        "json",
        "--filter",
        "event=rename",
    ];
    let json: Value = serde_json::from_str(&lines(&sandbox, &json)[0]).unwrap();
    assert_eq!(json["Actor"]["Attributes"]["oldName"], "c");
    let fields = "{{.Type}} {{.Action}} {{.Status}} {{.From}} {{.Image}} {{.Name}} {{.Scope}} \
                  {{.Actor.Attributes.oldName}} {{index .Attributes \"oldName\"}} {{.Actor.ID}} {{.ID}} \
                  {{.Time}} {{.TimeNano}}";
    let shown = [
        "events",
        "--no-stream",
        "--filter",
        "event=rename",
        "--format",
        fields,
    ];
    let id = json["id"].as_str().unwrap();
    assert_eq!(
        lines(&sandbox, &shown),
        [format!(
            "container rename rename busybox busybox e local c c {id} {id} {} {}",
            json["time"], json["timeNano"]
        )]
    );
    let whole = [
        "events",
        "--no-stream",
        "--filter",
        "event=rename",
        "--format",
        "{{json .}}",
    ];
    let whole: Value = serde_json::from_str(&lines(&sandbox, &whole)[0]).unwrap();
    assert_eq!(whole, json);
    remove(&sandbox);
}

#[test]
fn events_tell_of_images() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["tag", "busybox", "other:2"])
        .output()
        .expect(0);
    sandbox
        .bryo(["save", "-o", "saved.tar", "other:2"])
        .output()
        .expect(0);
    sandbox
        .bryo(["untag", "busybox", "other:2"])
        .output()
        .expect(0);
    sandbox.bryo(["load", "-i", "saved.tar"]).output().expect(0);
    sandbox
        .bryo(["rmi", "other:2", "busybox"])
        .output()
        .expect(0);
    let format = "{{.Action}} {{.Actor.Attributes.name}}";
    let events = [
        "events",
        "--no-stream",
        "--filter",
        "type=image",
        "--format",
    ];
    let events = lines(&sandbox, &[&events[..], &[format]].concat());
    let expected = [
        "import busybox:latest",
        "tag other:2",
        "save other:2",
        "untag other:2",
        "load other:2",
        "untag other:2",
        "untag busybox:latest",
    ];
    assert_eq!(events[..7], expected);
    assert!(events[7].starts_with("delete sha256:"), "{events:?}");
    let image = ["events", "--no-stream", "--filter", "image=other:2"];
    assert_eq!(lines(&sandbox, &image).len(), 5);
}

#[test]
fn health_is_checked() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--health-cmd=cat /ok",
        "--health-interval=50ms",
        "--health-retries=2",
    ];
    detached(&sandbox, "c", &flags, STAY);
    let health = |name: &str| sandbox.inspect(name)["State"]["Health"].clone();
    let becomes = |name: &str, status: &str| {
        wait_for(status, || (health(name)["Status"] == status).then_some(()));
    };
    becomes("c", "unhealthy");
    let log = health("c")["Log"].clone();
    assert!(log[0]["Output"].as_str().unwrap().contains("/ok"), "{log}");
    assert_eq!(log[0]["ExitCode"], 1);
    sandbox
        .bryo(["exec", "c", "touch", "/ok"])
        .output()
        .expect(0);
    becomes("c", "healthy");
    let list = sandbox.bryo(["ps", "--filter", "health=healthy"]).stdout();
    assert!(list.contains("(healthy)"), "{list}");
    let slow = [
        "--health-cmd=sleep 100",
        "--health-interval=50ms",
        "--health-timeout=50ms",
    ];
    for (name, action) in [("kill", "kill"), ("stop", "stop")] {
        let action = format!("--health-on-failure={action}");
        detached(
            &sandbox,
            name,
            &[&slow[..], &[&action, "--health-retries=1"]].concat(),
            STAY,
        );
        sandbox.bryo(["wait", name]).output().expect(0);
        let code = sandbox.inspect(name)["State"]["ExitCode"].clone();
        assert_eq!(code, if name == "kill" { 137 } else { 0 });
    }
    let flags = [&flags[..], &["--health-on-failure=restart"]].concat();
    detached(&sandbox, "restart", &flags, STAY);
    wait_for("a restart", || {
        (sandbox.inspect("restart")["RestartCount"].as_u64() > Some(0)).then_some(())
    });
    let events = [
        "events",
        "--no-stream",
        "--filter",
        "event=health_status",
        "--filter",
    ];
    let events = lines(&sandbox, &[&events[..], &["container=c"]].concat());
    assert!(events.len() >= 2, "{events:?}");
    let none = sandbox.bryo(["create", "--name", "none", "--no-healthcheck", "busybox"]);
    none.args(["true"]).output().expect(0);
    let check = sandbox.inspect("none")["Config"]["Healthcheck"].clone();
    assert_eq!(check, serde_json::json!({"Test": ["NONE"]}));
    let refused = sandbox.bryo(["create", "--health-on-failure=kill", "busybox"]);
    refused.output().expect(125);
    for (flags, word) in [
        (&["--health-interval=-1s"][..], "cannot be negative"),
        (&["--health-start-interval=1us"], "less than 1ms"),
        (&["--health-timeout=x"], "--health-timeout x"),
        (&["--no-healthcheck", "--health-cmd=x"], "--no-healthcheck"),
    ] {
        let refused = sandbox
            .bryo(["create"])
            .args(flags)
            .args(["busybox", "true"]);
        let refused = refused.output().expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    // 0 is what it would be without the flag.
    let zero = [
        "--health-cmd=true",
        "--health-interval=0",
        "--health-retries=0",
    ];
    let create = sandbox.bryo(["create", "--name", "zero"]).args(zero);
    create.args(["busybox", "true"]).output().expect(0);
    assert_eq!(
        sandbox.inspect("zero")["Config"]["Healthcheck"],
        serde_json::json!({
            "Test": ["CMD-SHELL", "true"],
            "Interval": 30_000_000_000u64,
            "Timeout": 30_000_000_000u64,
            "StartPeriod": 0,
            "StartInterval": 5_000_000_000u64,
            "Retries": 3,
        })
    );
    // In the time of the start it is asked more often, until it is well.
    let starting = [
        "--health-cmd=true",
        "--health-interval=1h",
        "--health-start-period=1h",
        "--health-start-interval=50ms",
    ];
    detached(&sandbox, "starting", &starting, STAY);
    becomes("starting", "healthy");
    remove(&sandbox);
}

#[test]
fn commands_that_are_left_running() {
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &[], STAY);
    let exec = sandbox.bryo(["exec", "-d", "c", "sh", "-c", "echo $$ >/pid; sleep 4711"]);
    assert_eq!(exec.output().expect(0).stdout, "");
    wait_for("the command", || {
        let all = sandbox.bryo(["top", "c"]).stdout();
        all.contains("sleep 4711").then_some(())
    });
    let all: Vec<_> = (0..20)
        .map(|n| {
            let exec = sandbox.bryo(["exec", "c", "sh", "-c"]);
            exec.arg(format!("exit {n}")).spawn()
        })
        .collect();
    for (n, running) in all.into_iter().enumerate() {
        running.wait().expect(n as i32);
    }
    sandbox
        .bryo(["exec", "-d", "c", "/none"])
        .output()
        .expect(127);
    sandbox.bryo(["stop", "-t", "1", "c"]).output().expect(0);
    remove(&sandbox);
}

#[test]
fn at_rest_a_supervisor_sleeps() {
    let sandbox = Sandbox::with_busybox();
    detached(&sandbox, "c", &["--root-emulation=off"], STAY);
    let pid = sandbox.pid("c");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let supervisor = stat.rsplit(')').next().unwrap().split_whitespace().nth(1);
    let supervisor = supervisor.unwrap().to_owned();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
        let line = crate::common::field(&status, "voluntary_ctxt_switches");
        line.parse::<u64>().unwrap()
    };
    // It gives memory back a second after the last event; then nothing. What
    // wakes up now and then would never be at rest for so long.
    let rest = std::time::Duration::from_secs(3);
    wait_for_rest("a supervisor at rest", rest, switches);
    remove(&sandbox);
}

#[test]
fn completion_knows_verbs_flags_and_names() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["create", "--name", "webby", "busybox", "true"])
        .output()
        .expect(0);
    let complete = |words: &[&str]| lines(&sandbox, &[&["complete", "--"], words].concat());
    assert!(complete(&["st"]).contains(&"start".to_owned()));
    assert_eq!(complete(&["run", "--stop-s"]), ["--stop-signal"]);
    assert_eq!(complete(&["exec", "-it", "we"]), ["webby"]);
    assert_eq!(complete(&["run", "--name", "x", "bus"]), ["busybox:latest"]);
    assert_eq!(complete(&["run", "--health-on-failure", "re"]), ["restart"]);
    let bash = sandbox.bryo(["completion", "bash"]).stdout();
    let bin = crate::common::bryo();
    let path = format!("PATH={}:$PATH", bin.parent().unwrap().display());
    let script = format!(
        "{path}; {bash}\nCOMP_WORDS=(bryo logs w); COMP_CWORD=2; _bryo; echo \"${{COMPREPLY[*]}}\""
    );
    let output = sandbox.command("bash").args(["-c", &script]).stdout();
    assert_eq!(output, "webby");
    for shell in ["zsh", "fish"] {
        let script = sandbox.bryo(["completion", shell]).stdout();
        assert!(script.contains("bryo complete"), "{script}");
    }
    remove(&sandbox);
}

#[test]
fn pages_and_units_are_written() {
    let sandbox = Sandbox::with_busybox();
    sandbox.bryo(["man", "pages"]).output().expect(0);
    let page = fs::read_to_string(sandbox.work().join("pages/bryo-run.1")).unwrap();
    assert!(page.starts_with(".TH BRYO-RUN 1"), "{page}");
    assert!(page.contains("\\-\\-stop\\-timeout"), "{page}");
    let create = [
        "create",
        "--name=web",
        "--restart=on-failure:2",
        "busybox",
        "true",
    ];
    sandbox.bryo(create).output().expect(0);
    let unit = sandbox.bryo(["generate", "systemd", "web"]).stdout();
    for line in [
        "Restart=on-failure",
        "TimeoutStopSec=30",
        "WantedBy=default.target",
    ] {
        assert!(unit.lines().any(|l| l == line), "{unit}");
    }
    // What it says is started by is a command that starts it.
    let start = unit
        .lines()
        .find_map(|l| l.strip_prefix("ExecStart="))
        .unwrap();
    sandbox.command("sh").args(["-c", start]).output().expect(0);
    assert_eq!(sandbox.inspect("web")["State"]["Status"], "exited");
    remove(&sandbox);
}
