//! `bryo compose`: what runs.

use crate::common::{Output, Sandbox, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

mod attached;
mod oneoff;

/// A project `p` in a sandbox.
pub struct Stack {
    pub sandbox: Sandbox,
}

impl Stack {
    /// A project of this file, whose images are there.
    pub fn new(file: &str) -> Stack {
        let sandbox = Sandbox::with_busybox();
        let stack = Stack { sandbox };
        stack.write(file);
        stack
    }

    pub fn write(&self, file: &str) {
        let place = self.sandbox.work().join("p");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("compose.yaml"), file).unwrap();
    }

    pub fn run(&self, words: &[&str]) -> crate::common::Run {
        let place = self.sandbox.work().join("p");
        self.sandbox
            .bryo(["compose"])
            .args(words)
            .current_dir(place)
    }

    #[track_caller]
    pub fn compose(&self, words: &[&str]) -> Output {
        self.run(words).output().expect(0)
    }

    /// What `ps` says, by name.
    #[track_caller]
    pub fn ps(&self) -> BTreeMap<String, Value> {
        let text = self
            .compose(&["ps", "-a", "--format", "json", "--no-trunc"])
            .stdout;
        let lines = text.lines().map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            (value["Name"].as_str().unwrap().to_owned(), value)
        });
        lines.collect()
    }

    /// The ids, by name.
    #[track_caller]
    pub fn ids(&self) -> BTreeMap<String, String> {
        let all = self.ps().into_iter();
        all.map(|(name, value)| (name, value["ID"].as_str().unwrap().to_owned()))
            .collect()
    }

    #[track_caller]
    fn exec(&self, name: &str, script: &str) -> String {
        self.sandbox
            .bryo(["exec", name, "sh", "-c", script])
            .stdout()
    }

    /// Nothing of a project is left.
    #[track_caller]
    pub fn is_gone(&self) {
        let list = |words: &[&str]| self.sandbox.bryo(words).stdout();
        assert_eq!(list(&["ps", "-aq"]), "");
        assert_eq!(list(&["network", "ls", "-q"]), "");
        assert_eq!(list(&["volume", "ls", "-q"]), "");
    }
}

const WEB: &str = "
services:
  web:
    image: busybox
    command: [sh, -c, 'mkdir /www; echo $$WORD >/www/index.html; exec httpd -f -p 80 -h /www']
    environment: {WORD: one}
    depends_on: [db]
    networks: {default: {aliases: [site]}}
  db:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    labels: {role: store}
    volumes: ['data:/data', './conf:/conf:ro']
volumes: {data: {labels: {kept: 'yes'}}}
";

#[test]
fn a_project_is_brought_up_changed_and_brought_down() {
    let stack = Stack::new(WEB);
    let said = stack.compose(&["up", "-d"]).stderr;
    for line in [
        " Network p_default  Created",
        " Volume p_data  Created",
        " Container p-web-1  Started",
    ] {
        assert!(said.lines().any(|own| own == line), "{line}: {said}");
    }
    let web = |stack: &Stack| stack.exec("p-db-1", "wget -qO- http://site/");
    assert_eq!(
        wait_for("the server", || Some(web(&stack)).filter(|w| !w.is_empty())),
        "one"
    );
    assert!(stack.sandbox.work().join("p/conf").is_dir());
    let labels = &stack.sandbox.inspect("p-db-1")["Config"]["Labels"];
    let place = stack.sandbox.work().join("p");
    for (label, value) in [
        ("project", "p"),
        ("service", "db"),
        ("container-number", "1"),
        ("oneoff", "False"),
        ("depends_on", ""),
        ("project.working_dir", place.to_str().unwrap()),
        (
            "project.config_files",
            place.join("compose.yaml").to_str().unwrap(),
        ),
    ] {
        assert_eq!(
            labels[format!("com.docker.compose.{label}")],
            value,
            "{label}"
        );
    }
    assert_eq!(labels["role"], "store");
    let web_labels = &stack.sandbox.inspect("p-web-1")["Config"]["Labels"];
    assert_eq!(
        web_labels["com.docker.compose.depends_on"],
        "db:service_started:false"
    );
    let volume = stack.sandbox.bryo(["volume", "inspect", "p_data"]).stdout();
    for label in [
        "\"kept\": \"yes\"",
        "\"com.docker.compose.volume\": \"data\"",
    ] {
        assert!(volume.contains(label), "{volume}");
    }

    // Nothing has changed, so nothing is done.
    let before = stack.ids();
    let running = " Container p-db-1  Running\n Container p-web-1  Running\n";
    assert_eq!(stack.compose(&["up", "-d"]).stderr, running);
    assert_eq!(stack.ids(), before);

    // One has, and it alone is made anew.
    stack.write(&WEB.replace("WORD: one", "WORD: two"));
    assert_eq!(
        stack.compose(&["up", "-d", "--no-recreate"]).stderr,
        running
    );
    let said = stack.compose(&["up", "-d"]).stderr;
    assert!(
        said.contains("Container p-web-1  Recreated") && said.contains("Container p-db-1  Running"),
        "{said}"
    );
    let after = stack.ids();
    assert_eq!(after["p-db-1"], before["p-db-1"]);
    assert_ne!(after["p-web-1"], before["p-web-1"]);
    assert_eq!(
        wait_for("the server", || Some(web(&stack)).filter(|w| !w.is_empty())),
        "two"
    );
    // What was stopped is started.
    stack.sandbox.bryo(["stop", "p-db-1"]).output().expect(0);
    stack.compose(&["up", "-d"]);
    assert_eq!(stack.ps()["p-db-1"]["State"], "running");
    assert_eq!(stack.ids(), after);

    stack.compose(&["down", "-t", "0"]);
    assert_eq!(stack.sandbox.bryo(["ps", "-aq"]).stdout(), "");
    assert_eq!(
        stack.sandbox.bryo(["volume", "ls", "-q"]).stdout(),
        "p_data"
    );
    stack.compose(&["down", "-v"]);
    stack.is_gone();
}

#[test]
fn what_a_service_depends_on_comes_first() {
    let stack = Stack::new(
        "
services:
  last:
    image: busybox
    command: [sh, -c, 'echo last >>/log/all; exec sleep 1000']
    stop_grace_period: 0s
    volumes: ['log:/log']
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_healthy}
      absent: {condition: service_healthy, required: false}
  migrate:
    image: busybox
    command: [sh, -c, 'sleep 1; echo migrate >>/log/all']
    volumes: ['log:/log']
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: [sh, -c, 'sleep 1; echo db >>/log/all; exec sleep 1000']
    stop_grace_period: 0s
    volumes: ['log:/log']
    healthcheck: {test: [CMD, grep, db, /log/all], interval: 30s, start_period: 30s, start_interval: 100ms}
  absent:
    image: busybox
    command: 'false'
volumes: {log: }
",
    );
    let said = stack.compose(&["up", "-d", "last"]).stderr;
    for line in ["p-db-1  Waiting", "p-db-1  Healthy", "p-migrate-1  Exited"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let log = || stack.exec("p-last-1", "cat /log/all");
    wait_for("all", || (log() == "db\nmigrate\nlast").then_some(()));
    stack.compose(&["up", "-d", "--wait", "--wait-timeout", "60", "db"]);
    stack.compose(&["down", "-v"]);
    stack.is_gone();

    // What fails keeps those from starting that need it, and no others.
    stack.write(
        "
services:
  needs: {image: busybox, command: sleep 1000, depends_on: {bad: {condition: service_completed_successfully}}}
  bad: {image: busybox, command: 'false'}
  other: {image: busybox, command: sleep 1000, stop_grace_period: 0s}
",
    );
    let failed = stack.run(&["up", "-d"]).output().expect(1);
    assert!(
        failed.stderr.contains("services.needs: depends on bad"),
        "{failed}"
    );
    assert!(
        failed.stderr.contains("the rest of project p goes on"),
        "{failed}"
    );
    let ps = stack.ps();
    assert_eq!(ps["p-other-1"]["State"], "running");
    assert_eq!(ps["p-needs-1"]["State"], "created");
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn secrets_and_configurations_are_files() {
    let stack = Stack::new(
        "
services:
  a:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    secrets: [of_file, {source: of_variable, target: /etc/word, mode: 0400}]
    configs: [{source: of_text, target: /etc/conf}]
secrets:
  of_file: {file: ./secret}
  of_variable: {environment: WORD}
configs:
  of_text: {content: 'a=$WORD'}
",
    );
    fs::write(stack.sandbox.work().join("p/secret"), "from a file").unwrap();
    let failed = stack.run(&["up", "-d"]).output().expect(1);
    assert!(
        failed.stderr.contains("the variable WORD is not set"),
        "{failed}"
    );
    stack.is_gone();
    stack
        .run(&["up", "-d"])
        .env("WORD", "w1")
        .output()
        .expect(0);
    let read =
        "cat /run/secrets/of_file; echo; cat /etc/word; echo; cat /etc/conf; stat -c %a /etc/word";
    assert_eq!(stack.exec("p-a-1", read), "from a file\nw1\na=w1400");
    assert_ne!(
        stack
            .sandbox
            .bryo(["exec", "p-a-1", "sh", "-c", "echo >/etc/word"])
            .output()
            .code,
        0
    );
    let before = stack.ids();
    stack
        .run(&["up", "-d"])
        .env("WORD", "w2")
        .output()
        .expect(0);
    assert_ne!(stack.ids(), before);
    assert_eq!(stack.exec("p-a-1", "cat /etc/word"), "w2");
    stack.compose(&["-p", "p", "down"]);
    stack.is_gone();
    assert!(!stack.sandbox.root().join("compose/p").exists());
}

#[test]
fn what_cannot_be_done_is_told_before_anything_is_made() {
    let stack = Stack::new("services: {}");
    for (keys, said) in [
        ("gpus: all", "services.a.gpus: bryo does not do that"),
        (
            "provider: {type: x}",
            "services.a.provider: bryo does not do that",
        ),
        (
            "mac_address: 02:42:ac:11:65:43",
            "services.a.mac_address: bryo does not do that",
        ),
        (
            "post_start: [{command: x}]",
            "services.a.post_start: bryo does not do that",
        ),
        (
            "networks: {default: {link_local_ips: [169.254.1.1]}}",
            "bryo does not do \"link_local_ips\" here",
        ),
        (
            "ports: ['80:80', '80:81']",
            "services.a.ports: -p 80:81/tcp",
        ),
        (
            "secrets: [{source: s, uid: '5'}]",
            "services.a.secrets: uid",
        ),
        (
            "volumes: [{type: bind, source: /nowhere/at/all, target: /x}]",
            "services.a.volumes: /nowhere/at/all is not there",
        ),
        ("deploy: {mode: global}", "mode \"global\" is for clusters"),
        (
            "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
            "bryo does not do \"devices\" here",
        ),
    ] {
        let file = format!(
            "services:\n  b: {{image: busybox, command: sleep 1000}}\n  a:\n    image: busybox\n    {keys}\n\
             secrets: {{s: {{content: x}}}}\n"
        );
        stack.write(&file.replace("{content: x}", "{file: ./compose.yaml}"));
        let failed = stack.run(&["up", "-d"]).output().expect(1);
        assert!(
            failed.stderr.contains(said) && failed.stderr.contains("compose.yaml:"),
            "{keys}: {failed}"
        );
        stack.is_gone();
    }
    for (file, said) in [
        (
            "services: {a: {image: nosuch.invalid/i, pull_policy: never}}",
            "services.a: no such image",
        ),
        (
            "services: {a: {image: busybox, networks: [n]}}\nnetworks: {n: {external: true}}",
            "networks.n is external, and not there",
        ),
        (
            "services: {a: {image: busybox, volumes: ['vol:/v']}}\nvolumes: {vol: {external: true}}",
            "volumes.vol is external, and not there",
        ),
    ] {
        stack.write(file);
        let failed = stack.run(&["up", "-d"]).output().expect(1);
        assert!(failed.stderr.contains(said), "{file}: {failed}");
        stack.is_gone();
    }
}

#[test]
fn services_have_as_many_containers_as_is_said() {
    let file =
        "services: {a: {image: busybox, command: sleep 1000, stop_grace_period: 0s, scale: 2}}";
    let stack = Stack::new(file);
    stack.compose(&["up", "-d"]);
    let two = stack.ids();
    assert_eq!(two.keys().collect::<Vec<_>>(), ["p-a-1", "p-a-2"]);
    stack.compose(&["up", "-d", "--scale", "a=4"]);
    let four = stack.ids();
    assert_eq!(four.len(), 4);
    assert!(two.iter().all(|(name, id)| four[name] == *id));
    stack.compose(&["up", "-d", "--scale", "a=1"]);
    assert_eq!(stack.ids().into_keys().collect::<Vec<_>>(), ["p-a-1"]);
    // A service that the files do not have any more.
    stack.write(&file.replace("{a:", "{b:").replace("scale: 2", "scale: 1"));
    let said = stack.compose(&["up", "-d"]).stderr;
    assert!(
        said.contains("--remove-orphans") && stack.ids().len() == 2,
        "{said}"
    );
    stack.compose(&["up", "-d", "--remove-orphans"]);
    assert_eq!(stack.ids().into_keys().collect::<Vec<_>>(), ["p-b-1"]);
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn networks_and_their_containers_are_made_anew_when_they_change() {
    let file = "
services: {a: {image: busybox, command: sleep 1000, stop_grace_period: 0s, networks: {n: {ipv4_address: 10.93.7.9}}}}
networks: {n: {ipam: {config: [{subnet: 10.93.7.0/24}]}}}
";
    let stack = Stack::new(file);
    stack.compose(&["up", "-d"]);
    assert!(stack.exec("p-a-1", "ip -4 addr").contains("10.93.7.9/24"));
    stack.write(&file.replace("10.93.7", "10.93.8"));
    stack.compose(&["up", "-d"]);
    assert!(stack.exec("p-a-1", "ip -4 addr").contains("10.93.8.9/24"));
    stack.compose(&["down"]);
    stack.is_gone();
}

#[test]
fn two_may_bring_a_project_up_at_once() {
    let stack = Stack::new(WEB);
    let runs: Vec<_> = (0..3).map(|_| stack.run(&["up", "-d"]).spawn()).collect();
    for run in runs {
        run.wait().expect(0);
    }
    assert_eq!(stack.ids().len(), 2);
    stack.compose(&["down", "-v", "-t", "0"]);
    stack.is_gone();
}

#[test]
fn what_a_killed_up_leaves_is_brought_down() {
    let stack = Stack::new(WEB);
    let begun = Instant::now();
    stack.compose(&["up", "-d"]);
    let took = begun.elapsed();
    stack.compose(&["down", "-v", "-t", "0"]);
    for part in 0..8 {
        let run = stack.run(&["up", "-d"]).spawn();
        let end = Instant::now() + took * part / 8;
        // One that has ended is still there to be killed: nobody has waited for it.
        wait_for("the time", || (Instant::now() >= end).then_some(()));
        run.signal(Signal::SIGKILL);
        run.wait_within(Duration::from_secs(60));
        stack.compose(&["down", "-v", "-t", "0"]);
        stack.is_gone();
    }
}

#[test]
fn images_of_services_are_built() {
    let stack = Stack::new(
        "services: {a: {build: {context: img, args: {WORD: x}}, command: sleep 1000, stop_grace_period: 0s}}",
    );
    let place = stack.sandbox.work().join("p/img");
    fs::create_dir(&place).unwrap();
    let dockerfile = |word: &str| {
        let text = format!("FROM busybox\nARG WORD\nRUN echo ${{WORD}}{word} >/word\n");
        fs::write(place.join("Dockerfile"), text).unwrap();
    };
    dockerfile("1");
    stack.compose(&["up", "-d"]);
    assert_eq!(stack.exec("p-a-1", "cat /word"), "x1");
    dockerfile("2");
    // It is there, so it is not built again unless that is said.
    let before = stack.ids();
    stack.compose(&["up", "-d"]);
    assert_eq!(stack.ids(), before);
    stack.compose(&["up", "-d", "--build"]);
    assert_eq!(stack.exec("p-a-1", "cat /word"), "x2");
    stack.compose(&["down", "--rmi", "local"]);
    stack.is_gone();
    assert!(!stack.sandbox.bryo(["images"]).stdout().contains("p-a"));
    stack
        .sandbox
        .bryo(["builder", "prune", "-f"])
        .output()
        .expect(0);
}

#[test]
fn verbs_take_services() {
    let stack = Stack::new(
        "
services:
  a: {image: busybox, command: [sh, -c, 'echo from a; exec sleep 1000'], stop_grace_period: 0s, depends_on: [b]}
  b: {image: busybox, command: [sh, -c, 'echo from b; exec sleep 1000'], stop_grace_period: 0s, ports: ['127.0.0.1::80']}
  c: {image: busybox, command: [sh, -c, 'exit 3']}
",
    );
    let state = |name: &str| stack.ps()[name]["State"].as_str().unwrap().to_owned();
    stack.compose(&["up", "-d"]);
    assert_eq!(stack.run(&["wait", "c"]).output().code, 3);
    let logs = wait_for("all lines", || {
        let logs = stack.compose(&["logs"]).stdout;
        (logs.lines().count() == 2).then_some(logs)
    });
    let mut lines: Vec<&str> = logs.lines().collect();
    lines.sort();
    assert_eq!(lines, ["a-1  | from a", "b-1  | from b"]);
    assert_eq!(
        stack.compose(&["logs", "--no-log-prefix", "b"]).stdout,
        "from b\n"
    );
    assert_eq!(
        stack
            .compose(&["exec", "-T", "-e", "X=y", "a", "sh", "-c", "echo $X"])
            .stdout,
        "y\n"
    );
    assert_eq!(
        stack
            .run(&["exec", "-T", "a", "sh", "-c", "exit 7"])
            .output()
            .code,
        7
    );
    let port = stack.compose(&["port", "b", "80"]).stdout;
    assert!(port.starts_with("127.0.0.1:"), "{port}");
    assert!(stack.compose(&["top", "a"]).stdout.contains("sleep 1000"));
    let ls: Value =
        serde_json::from_str(&stack.compose(&["ls", "--format", "json"]).stdout).unwrap();
    assert_eq!(ls[0]["Name"], "p");
    assert_eq!(ls[0]["Status"], "exited(1), running(2)");
    stack.compose(&["stop", "a"]);
    assert_eq!(
        (state("p-a-1"), state("p-b-1")),
        ("exited".into(), "running".into())
    );
    assert_eq!(stack.compose(&["ps", "--services"]).stdout, "b\n");
    stack.compose(&["start", "a"]);
    let pid = stack.sandbox.pid("p-a-1");
    stack.compose(&["restart", "a"]);
    assert_ne!(stack.sandbox.pid("p-a-1"), pid);
    stack.compose(&["kill", "-s", "KILL", "b"]);
    wait_for("the end", || (state("p-b-1") == "exited").then_some(()));
    stack.compose(&["rm", "-f"]);
    assert_eq!(stack.ids().into_keys().collect::<Vec<_>>(), ["p-a-1"]);
    let unknown = stack.run(&["stop", "nobody"]).output().expect(1);
    assert!(unknown.stderr.contains("there is no service"), "{unknown}");
    // Without its files a project is found by its name.
    let elsewhere = stack
        .sandbox
        .bryo(["compose", "-p", "p", "down", "--remove-orphans"]);
    elsewhere.output().expect(0);
    stack.is_gone();
}
