//! `bryo compose run`, `create` and `scale`.

use super::Stack;
use crate::common::wait_for;
use serde_json::Value;
use std::fs;

const FILE: &str = "
services:
  a:
    image: busybox
    command: [echo, from the file]
    environment: {WORD: own, KEPT: kept}
    user: '1'
    working_dir: /tmp
    restart: always
    labels: {role: worker}
    ports: ['127.0.0.1::80']
    volumes: ['data:/data']
    networks: {default: {aliases: [site]}}
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    healthcheck: {test: [CMD, 'true'], interval: 30s, start_period: 30s, start_interval: 100ms}
  other: {image: busybox, command: sleep 1000}
  tool: {image: busybox, command: [echo, tool], profiles: [tools]}
volumes: {data: , spare: }
";

#[test]
fn a_service_runs_a_single_command() {
    let stack = Stack::new(FILE);
    let ran = stack.compose(&["run", "--rm", "a"]);
    assert_eq!(ran.stdout, "from the file\n");
    for line in [
        "Volume p_data  Created",
        "p-db-1  Started",
        "p-db-1  Healthy",
    ] {
        assert!(ran.stderr.contains(line), "{line}: {ran}");
    }
    // What it depends on goes on, nothing else was begun, and it is gone itself.
    assert_eq!(stack.ids().into_keys().collect::<Vec<_>>(), ["p-db-1"]);
    let db = stack.ids();

    let script = "echo $WORD $KEPT $(id -u) $(pwd); cat; exit 7";
    let ran = stack
        .run(&[
            "run",
            "--rm",
            "-T",
            "-e",
            "WORD=other",
            "-u",
            "2",
            "-w",
            "/bin",
            "a",
            "sh",
            "-c",
            script,
        ])
        .stdin("from outside")
        .output()
        .expect(7);
    assert_eq!(ran.stdout, "other kept 2 /bin\nfrom outside");
    // Flags behind the service are the command's.
    let ran = stack.compose(&["run", "--rm", "a", "echo", "--rm", "-e"]);
    assert_eq!(ran.stdout, "--rm -e\n");
    // An entry point takes the service's command away.
    let ran = stack.compose(&["run", "--rm", "--entrypoint", "echo 'two words'", "a"]);
    assert_eq!(ran.stdout, "two words\n");
    assert_eq!(
        stack
            .compose(&["run", "--rm", "--entrypoint", "echo one", "a", "two"])
            .stdout,
        "one two\n"
    );
    assert_eq!(stack.ids(), db);

    // A service of a profile that nobody chose is, by its name.
    assert_eq!(stack.compose(&["run", "--rm", "tool"]).stdout, "tool\n");
    let unknown = stack.run(&["run", "--rm", "nobody"]).output().expect(1);
    assert!(
        unknown.stderr.contains("there is no service \"nobody\""),
        "{unknown}"
    );
    stack.compose(&["down", "-v"]);
    stack.is_gone();
}

#[test]
fn a_container_for_a_single_command_is_told_from_the_services() {
    let stack = Stack::new(FILE);
    let place = stack.sandbox.work().join("p");
    fs::write(place.join("words"), "A=1\nB=\"${A}2\"\n").unwrap();
    let inspect = |name: &str| stack.sandbox.inspect(name);
    stack.compose(&["run", "--no-deps", "--name", "one", "-l", "more=yes", "a"]);
    assert_eq!(stack.ids().into_keys().collect::<Vec<_>>(), ["one"]);
    let one = inspect("one");
    let labels = &one["Config"]["Labels"];
    for (label, value) in [
        ("com.docker.compose.oneoff", "True"),
        ("com.docker.compose.service", "a"),
        ("com.docker.compose.project", "p"),
        ("role", "worker"),
        ("more", "yes"),
    ] {
        assert_eq!(labels[label], value, "{label}");
    }
    assert_eq!(labels["com.docker.compose.container-number"], Value::Null);
    let slug = labels["com.docker.compose.slug"].as_str().unwrap();
    assert_eq!(slug.len(), 64);
    assert_eq!(one["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(one["HostConfig"]["PortBindings"], serde_json::json!({}));

    // It has its own name on the network, and the service's if that is said.
    let id = stack
        .compose(&["run", "-d", "--no-deps", "a", "sleep", "1000"])
        .stdout;
    let name = |id: &str| {
        inspect(id.trim())["Name"]
            .as_str()
            .unwrap()
            .trim_start_matches('/')
            .to_owned()
    };
    let first = name(&id);
    let slug = inspect(&first)["Config"]["Labels"]["com.docker.compose.slug"].clone();
    assert_eq!(first, format!("p-a-run-{}", &slug.as_str().unwrap()[..12]));
    let finds = |name: &str| {
        let words = ["exec", first.as_str(), "nslookup", "-type=a", name];
        stack.sandbox.bryo(words).output().code == 0
    };
    assert!(finds(&first));
    assert!(!finds("a") && !finds("site"));
    stack.compose(&[
        "run",
        "-d",
        "--no-deps",
        "--use-aliases",
        "a",
        "sleep",
        "1000",
    ]);
    assert!(finds("a") && finds("site"));

    // Ports are published when that is said.
    let id = stack
        .compose(&["run", "-d", "--no-deps", "-P", "a", "sleep", "1000"])
        .stdout;
    assert!(inspect(id.trim())["HostConfig"]["PortBindings"]["80/tcp"].is_array());
    let id = stack
        .compose(&[
            "run",
            "-d",
            "--no-deps",
            "-p",
            "127.0.0.1::81",
            "a",
            "sleep",
            "1000",
        ])
        .stdout;
    let ports = &inspect(id.trim())["HostConfig"]["PortBindings"];
    assert!(
        ports["80/tcp"].is_null() && ports["81/tcp"].is_array(),
        "{ports}"
    );
    stack
        .run(&["run", "-P", "-p", "81", "a"])
        .output()
        .expect(125);

    // A volume by its key, a directory of the host, and one over the service's own.
    let script = "echo x >/mine/x; cat /host/words /mine/x; echo $B $GIVEN";
    let ran = stack
        .run(&[
            "run",
            "--rm",
            "--no-deps",
            "-u",
            "0",
            "-v",
            "data:/mine",
            "-v",
            "./:/host:ro",
            "-v",
            "/data",
            "--env-from-file",
            "words",
            "-e",
            "GIVEN",
            "-e",
            "ABSENT",
            "a",
            "sh",
            "-c",
            script,
        ])
        .env("GIVEN", "passed")
        .output()
        .expect(0);
    assert_eq!(ran.stdout, "A=1\nB=\"${A}2\"\nx\n12 passed\n");
    let kept = stack.compose(&["run", "--rm", "--no-deps", "a", "cat", "/data/x"]);
    assert_eq!(kept.stdout, "x\n");

    // Up leaves them alone, lists show them when all are wanted, down takes them away.
    stack.compose(&["up", "-d", "other"]);
    assert!(stack.compose(&["ps", "--services"]).stdout == "other\n");
    assert_eq!(stack.ids().len(), 6);
    stack.compose(&["down", "-v", "-t", "0"]);
    stack.is_gone();
}

#[test]
fn containers_are_made_without_a_start_and_in_another_number() {
    let stack = Stack::new(FILE);
    stack.compose(&["create", "--scale", "other=2", "a", "other"]);
    let states = || -> Vec<(String, String)> {
        let state = |value: &Value| value["State"].as_str().unwrap().to_owned();
        stack
            .ps()
            .iter()
            .map(|(name, value)| (name.clone(), state(value)))
            .collect()
    };
    let all = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter()
            .map(|(name, state)| ((*name).into(), (*state).into()))
            .collect()
    };
    let made = all(&[
        ("p-a-1", "created"),
        ("p-db-1", "created"),
        ("p-other-1", "created"),
        ("p-other-2", "created"),
    ]);
    assert_eq!(states(), made);
    stack.compose(&["scale", "other=3"]);
    let three = all(&[
        ("p-a-1", "created"),
        ("p-db-1", "created"),
        ("p-other-1", "running"),
        ("p-other-2", "running"),
        ("p-other-3", "running"),
    ]);
    assert_eq!(states(), three);
    stack.compose(&["scale", "other=0", "db=1"]);
    wait_for("db", || {
        (states() == all(&[("p-a-1", "created"), ("p-db-1", "running")])).then_some(())
    });
    for (word, said) in [
        ("other", "SERVICE=NUMBER"),
        ("nobody=1", "there is no service"),
    ] {
        let failed = stack.run(&["scale", word]).output().expect(1);
        assert!(failed.stderr.contains(said), "{failed}");
    }
    stack.compose(&["down", "-v", "-t", "0"]);
    stack.is_gone();
}
