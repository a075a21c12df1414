//! Containers made over docker's API.

use super::Server;
use crate::common::Sandbox;
use serde_json::{Value, json};

impl Server<'_> {
    /// What is answered to a description of a container: the status, and the body.
    #[track_caller]
    fn create(&self, query: &str, description: &Value) -> (String, Value) {
        let path = format!("/v1.44/containers/create{query}");
        let headers = "Content-Type: application/json\r\n";
        let answer = self.post(&path, headers, description.to_string().as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

#[test]
fn dockers_client_creates_what_it_was_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let dir = sandbox.path().join("made/for/it");
    let bind = format!("{}:/b:ro", dir.display());
    let words = [
        "create",
        "--name",
        "web",
        "-it",
        "--hostname",
        "h",
        "--label",
        "a=b",
        "-e",
        "A=1",
        "--network",
        "none",
        "-v",
        &bind,
        "-v",
        "data:/data",
        "-v",
        "/anonymous",
        "--tmpfs",
        "/t:size=1m",
        "--mount",
        "type=volume,src=other,dst=/o",
        "--init",
        "--restart",
        "on-failure:3",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "7",
        "--cap-drop",
        "CHOWN",
        "--ulimit",
        "nofile=64:128",
        "--add-host",
        "x:10.0.0.1",
        "--dns",
        "10.0.0.2",
        "--entrypoint",
        "sh",
        "--workdir",
        "/data",
        "--user",
        "0:0",
        "--read-only",
        "--health-cmd",
        "true",
        "--health-interval",
        "5s",
        "--shm-size",
        "1m",
        "--expose",
        "80",
        "--log-opt",
        "max-size=1m",
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "-c",
        "true",
    ];
    let id = server.said(&words);
    assert_eq!(id.len(), 64);
    // A directory of the host is made, as docker makes it.
    assert!(dir.is_dir());
    let shown = server.said(&["inspect", "web"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let (config, host) = (&shown[0]["Config"], &shown[0]["HostConfig"]);
    for (value, wanted) in [
        (&shown[0]["Id"], json!(id)),
        (&shown[0]["Name"], json!("/web")),
        (&shown[0]["State"]["Status"], json!("created")),
        (&config["Hostname"], json!("h")),
        (&config["Labels"]["a"], json!("b")),
        (&config["Tty"], json!(true)),
        (&config["OpenStdin"], json!(true)),
        (&config["Entrypoint"], json!(["sh"])),
        (&config["Cmd"], json!(["-c", "true"])),
        (&config["WorkingDir"], json!("/data")),
        (&config["User"], json!("0:0")),
        (&config["StopSignal"], json!("SIGINT")),
        (&config["StopTimeout"], json!(7)),
        (&config["ExposedPorts"], json!({"80/tcp": {}})),
        (&config["Healthcheck"]["Test"], json!(["CMD-SHELL", "true"])),
        (&config["Healthcheck"]["Interval"], json!(5_000_000_000_i64)),
        (&host["NetworkMode"], json!("none")),
        (&host["RestartPolicy"]["Name"], json!("on-failure")),
        (&host["RestartPolicy"]["MaximumRetryCount"], json!(3)),
        (&host["CapDrop"], json!(["CAP_CHOWN"])),
        (
            &host["Ulimits"],
            json!([{"Name": "nofile", "Soft": 64, "Hard": 128}]),
        ),
        (&host["ExtraHosts"], json!(["x:10.0.0.1"])),
        (&host["Dns"], json!(["10.0.0.2"])),
        (&host["Init"], json!(true)),
        (&host["ReadonlyRootfs"], json!(true)),
        (&host["ShmSize"], json!(1 << 20)),
        (&host["LogConfig"]["Config"]["max-size"], json!("1048576")),
    ] {
        assert_eq!(*value, wanted, "{shown:#}");
    }
    let mounts = shown[0]["Mounts"].as_array().unwrap().iter();
    let mut places: Vec<&str> = mounts.map(|m| m["Destination"].as_str().unwrap()).collect();
    places.sort_unstable();
    for place in ["/anonymous", "/b", "/data", "/o"] {
        assert!(places.contains(&place), "{places:?}");
    }
    let env = config["Env"].as_array().unwrap();
    assert!(env.contains(&json!("A=1")), "{env:?}");
    let taken = server.client(&["create", "--name", "web", "busybox", "true"]);
    let taken = taken.output().expect(1);
    assert!(taken.stderr.contains("is taken by container"), "{taken}");
    server.docker(&["rm", "-v", "web"]);
    server.docker(&[
        "create",
        "--network",
        "none",
        "--name",
        "again",
        "busybox",
        "true",
    ]);
    server.docker(&["start", "again"]);
    assert_eq!(server.said(&["wait", "again"]), "0");
    server.docker(&["rm", "again"]);
    sandbox
        .bryo(["volume", "rm", "data", "other"])
        .output()
        .expect(0);
}

#[test]
fn descriptions_have_dockers_answers() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let none = json!({"NetworkMode": "none"});
    let description = json!({"Image": "busybox", "HostConfig": none, "Cmd": ["true"]});
    let (status, answer) = server.create("?name=/web", &description);
    assert_eq!(status, "201");
    assert_eq!(answer["Warnings"], json!([]));
    let id = answer["Id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64);
    let said = |query: &str, description: &Value| {
        let (status, answer) = server.create(query, description);
        (
            status,
            answer["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let (status, message) = said("?name=web", &description);
    assert!(status == "409" && message.contains("'web'"), "{message}");
    let (status, message) = said("", &json!({"Image": "r.test/a"}));
    assert_eq!(
        (&*status, &*message),
        ("404", "No such image: r.test/a:latest")
    );
    // Nothing else that is not there is taken for the image.
    for (host, part) in [
        (json!({"NetworkMode": "nosuch"}), "nosuch"),
        (
            json!({"NetworkMode": "none", "VolumesFrom": ["nosuch"]}),
            "nosuch",
        ),
        (
            json!({"NetworkMode": "none", "Memory": "1g"}),
            "HostConfig: Memory",
        ),
        (
            json!({"NetworkMode": "none", "Binds": ["relative/path:/x"]}),
            "Binds",
        ),
        (
            json!({"NetworkMode": "none", "Binds": ["../x:/x"]}),
            "absolute",
        ),
    ] {
        let (status, message) = said("", &json!({"Image": "busybox", "HostConfig": host}));
        assert!(
            status == "400" && message.contains(part),
            "{status} {message}"
        );
    }
    let (status, message) = said("?name=-x", &description);
    assert_eq!(status, "400", "{message}");
    let told = json!({"NetworkMode": "none", "MemorySwappiness": 60});
    let told = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": told});
    let (status, answer) = server.create("", &told);
    assert_eq!(status, "201", "{answer}");
    assert_eq!(answer["Warnings"].as_array().unwrap().len(), 1);
    for body in ["", "{", "[1]", "3"] {
        let answer = server.post("/containers/create", "", body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
    }
    let long = "POST /containers/create HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n{";
    assert!(server.answer(long.as_bytes()).starts_with("HTTP/1.1 413 "));
    // A client of HTTP/1.0 knows no chunks.
    let old = server.answer(b"POST /containers/web/wait HTTP/1.0\r\n\r\n");
    assert!(!old.contains("chunked"), "{old}");
    assert!(old.ends_with("\r\n\r\n{\"StatusCode\":0}\n"), "{old}");
    for name in sandbox.bryo(["ps", "-aq"]).stdout().lines() {
        sandbox.bryo(["rm", name]).output().expect(0);
    }
}
