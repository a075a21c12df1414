//! `bryo info` and `bryo doctor`, on this machine and on lesser ones made of
//! it.

use crate::common::{self, Output, Run, Sandbox};
use serde_json::Value;
use std::fs;

fn json(run: Run) -> Value {
    parse(&run.output().expect(0))
}

fn parse(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// What the doctor says of a subject.
fn finding<'a>(diagnosis: &'a Value, subject: &str) -> &'a Value {
    let findings = diagnosis["Findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["Subject"] == subject);
    found.unwrap_or_else(|| panic!("no finding {subject:?} in {diagnosis:#}"))
}

fn grade<'a>(diagnosis: &'a Value, subject: &str) -> &'a str {
    finding(diagnosis, subject)["Grade"].as_str().unwrap()
}

/// Has a shell run `script` as root of a new user namespace, `$BRYO` being
/// the program.
fn in_namespace(sandbox: &Sandbox, script: &str) -> Run {
    let unshare = common::require_tool("unshare", "util-linux");
    sandbox
        .command(unshare)
        .args(["--user", "--map-root-user", "sh", "-ec", script])
        .env("BRYO", common::bryo())
}

#[test]
fn info_tells_of_store_and_machine() {
    let sandbox = Sandbox::new();
    sandbox.bryo(["run", "--name", "one", "hello"]).stdout();
    let text = sandbox.bryo(["info"]).stdout();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for (name, value) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("containers", "1 (0 running, 1 stopped)"),
        ("images", "0"),
        ("store", sandbox.root().to_str().unwrap()),
        ("runtime directory", sandbox.runtime().to_str().unwrap()),
        ("kernel", release.trim()),
        ("user namespaces", "work"),
    ] {
        let mut lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name));
        assert!(
            lines.any(|line| line.starts_with("  ") && line.trim().starts_with(value)),
            "no {name:?} with {value:?} in\n{text}"
        );
    }

    let info = json(sandbox.bryo(["info", "--format", "json"]));
    assert_eq!(info["Containers"], 1);
    assert_eq!(info["ContainersRunning"], 0);
    assert_eq!(info["ContainersStopped"], 1);
    assert_eq!(info["KernelVersion"], release.trim());
    assert_eq!(info["DockerRootDir"], sandbox.root().to_str().unwrap());
    // Whoever has subordinate ids has a program here that maps them.
    let user = std::env::var("USER").unwrap();
    let granted = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let granted = granted.lines().any(|l| l.starts_with(&format!("{user}:")));
    let expected = if granted { "range" } else { "single" };
    assert_eq!(info["IdMapping"], expected);
    let machine = &info["Machine"];
    assert_eq!(machine["Ids"]["Uid"], nix::unistd::getuid().as_raw());
    assert_eq!(machine["Trial"]["Mount"], "works");
    // As docker has it, a template without anything in braces.
    assert_eq!(sandbox.bryo(["info", "--format", "xml"]).stdout(), "xml");
    sandbox.bryo(["rm", "one"]).stdout();
}

#[test]
fn a_good_machine_gets_a_good_diagnosis() {
    let sandbox = Sandbox::new();
    let diagnosis = json(sandbox.bryo(["doctor", "--format", "json"]));
    assert_eq!(diagnosis["Containers"], true);
    for subject in ["kernel", "user namespaces", "store", "runtime directory"] {
        assert_eq!(grade(&diagnosis, subject), "good", "{diagnosis:#}");
    }
    let text = sandbox.bryo(["doctor"]).stdout();
    assert!(text.ends_with("\nContainers can run."), "{text}");
    // Whatever is not good has a consequence.
    let findings = diagnosis["Findings"].as_array().unwrap();
    for finding in findings.iter().filter(|f| f["Grade"] != "good") {
        assert_ne!(finding["Advice"].as_array().unwrap().len(), 0, "{finding}");
    }
}

#[test]
fn subordinate_ids_are_those_of_the_files() {
    let sandbox = Sandbox::new();
    let info = json(sandbox.bryo(["info", "--format", "json"]));
    let ids = &info["Machine"]["Ids"];
    let name = ids["Name"].as_str().unwrap_or("");
    let granted = |file: &str| -> u64 {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mine = text
            .lines()
            .filter_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let counts = mine.map(|rest| rest.split(':').nth(1).unwrap().parse::<u64>().unwrap());
        counts.sum()
    };
    for (file, key) in [("/etc/subuid", "Users"), ("/etc/subgid", "Groups")] {
        let found = ids[key].as_array().unwrap().iter();
        let found: u64 = found.map(|range| range["Count"].as_u64().unwrap()).sum();
        assert_eq!(found, granted(file), "{file}: {ids}");
    }
    let diagnosis = json(sandbox.bryo(["doctor", "--format", "json"]));
    let grade = grade(&diagnosis, "subordinate ids");
    assert_eq!(
        grade == "missing",
        granted("/etc/subuid") == 0,
        "{diagnosis:#}"
    );
}

#[test]
fn no_user_namespaces_left() {
    let sandbox = Sandbox::new();
    let script = "echo 0 >/proc/sys/user/max_user_namespaces; \"$BRYO\"";
    let diagnosis = in_namespace(&sandbox, &format!("{script} doctor --format json"));
    let diagnosis = parse(&diagnosis.output().expect(1));
    assert_eq!(diagnosis["Containers"], false);
    assert_eq!(grade(&diagnosis, "user namespaces"), "missing");

    let remedy = "sysctl -w user.max_user_namespaces=15000";
    let screen = in_namespace(&sandbox, &format!("{script} doctor")).output();
    let screen = screen.expect(1).stdout;
    assert!(
        screen.contains("(ENOSPC)") && screen.contains(remedy),
        "{screen}"
    );
    assert!(screen.contains("\nContainers cannot run."), "{screen}");
    // An error that comes of it says the same.
    let run = in_namespace(&sandbox, &format!("{script} run --rm hello")).output();
    let run = run.expect(125);
    assert!(
        run.stderr.contains("ENOSPC") && run.stderr.contains(remedy),
        "{run}"
    );
    assert!(run.stderr.contains("No disk is full"), "{run}");
    let info = in_namespace(&sandbox, &format!("{script} info")).stdout();
    assert!(info.contains("refused (ENOSPC)"), "{info}");
}

#[test]
fn one_kind_of_namespace_less() {
    let sandbox = Sandbox::new();
    let script = "echo 0 >/proc/sys/user/max_net_namespaces; \"$BRYO\" doctor --format json";
    let diagnosis = json(in_namespace(&sandbox, script));
    assert_eq!(diagnosis["Containers"], true);
    let finding = finding(&diagnosis, "user namespaces");
    assert_eq!(finding["Grade"], "degraded");
    let remedy = finding["Advice"][0]["Administrator"].as_str().unwrap();
    assert!(remedy.contains("user.max_net_namespaces"), "{finding}");
}

#[test]
fn a_store_without_overlay_says_so() {
    let sandbox = Sandbox::new();
    let busybox = common::busybox_tar();
    sandbox.bryo(["import"]).arg(busybox).arg("bb").stdout();
    let program = format!("{}:/bin/bryo:ro", common::bryo().display());
    // In a container the store's place is an overlay already.
    let inner = |arguments: &[&str]| {
        let run = sandbox.bryo(["run", "--rm", "--privileged", "-v", &program]);
        let run = run.args(["-e", "BRYO_ROOT=/store", "bb", "bryo"]);
        run.args(arguments)
    };
    let diagnosis = json(inner(&["doctor", "--format", "json"]));
    assert_eq!(diagnosis["Containers"], true);
    assert_eq!(grade(&diagnosis, "overlay"), "degraded");
    let advice = finding(&diagnosis, "overlay")["Advice"].to_string();
    assert!(
        advice.contains("BRYO_ROOT") && advice.contains("copied"),
        "{advice}"
    );
    let info = json(inner(&["info", "--format", "json"]));
    assert_eq!(info["Driver"], "copy");
    assert_eq!(info["Machine"]["Storage"]["FileSystem"], "overlay");
    assert_ne!(info["Machine"]["System"]["Inside"], Value::Null);
}

#[test]
fn a_container_that_may_not_have_containers() {
    let sandbox = Sandbox::new();
    let busybox = common::busybox_tar();
    sandbox.bryo(["import"]).arg(busybox).arg("bb").stdout();
    let program = format!("{}:/bin/bryo:ro", common::bryo().display());
    let run = sandbox.bryo(["run", "--rm", "-v", &program, "bb", "bryo", "doctor"]);
    let screen = run.output().expect(1).stdout;
    assert!(
        screen.contains("missing   user namespaces: refused"),
        "{screen}"
    );
    assert!(screen.contains("seccomp=unconfined"), "{screen}");
}

#[test]
fn no_place_for_the_store() {
    let sandbox = Sandbox::new();
    let lost = |verb: &str| {
        let run = sandbox.bryo([verb]).env_remove("BRYO_ROOT");
        run.env("HOME", "/proc/none")
    };
    let screen = lost("doctor").output().expect(1).stdout;
    assert!(
        screen.contains("missing   store: /proc/none/.local/share/bryo"),
        "{screen}"
    );
    assert!(screen.contains("you: set BRYO_ROOT"), "{screen}");
    let info = lost("info").stdout();
    assert!(info.contains("/proc/none/.local/share/bryo"), "{info}");

    let open = sandbox.work().join("open");
    fs::create_dir(&open).unwrap();
    let bad = open.join("bryo");
    fs::create_dir(&bad).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&bad, mode).unwrap();
    let diagnosis = json(
        sandbox
            .bryo(["doctor", "--format", "json"])
            .env("XDG_RUNTIME_DIR", &open),
    );
    assert_eq!(grade(&diagnosis, "runtime directory"), "missing");
}

#[test]
fn colours_are_for_terminals() {
    let script = common::require_tool("script", "bsdutils");
    let sandbox = Sandbox::new();
    let on_terminal = |no_color: &str| {
        let line = format!("{} doctor", common::bryo().display());
        let run = sandbox.command(&script).args(["-qec", &line, "/dev/null"]);
        run.env("TERM", "xterm").env("NO_COLOR", no_color).stdout()
    };
    assert!(on_terminal("").contains("\x1b[32mgood"));
    assert!(!on_terminal("1").contains('\x1b'));
    let piped = sandbox.bryo(["doctor"]).env("TERM", "xterm").stdout();
    assert!(!piped.contains('\x1b'));
}
