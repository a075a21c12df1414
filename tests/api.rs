//! Docker's API: docker's own client drives it, and strangers say nonsense to it.

mod create;
mod images;

use crate::common::{Output, Run, Running, Sandbox, require_subtree, require_tool, wait_for};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// bryo that answers at a socket, until this is dropped.
struct Server<'a> {
    sandbox: &'a Sandbox,
    socket: PathBuf,
    process: Option<Running>,
}

impl<'a> Server<'a> {
    fn start(sandbox: &'a Sandbox, flags: &[&str]) -> Server<'a> {
        let socket = sandbox.path().join("docker.sock");
        let run = sandbox.bryo(["api", "serve"]).args(flags).arg(&socket);
        let mut process = run.spawn();
        process.expect_line("unix://");
        Server {
            sandbox,
            socket,
            process: Some(process),
        }
    }

    fn end(&mut self, signal: Signal) {
        if let Some(process) = self.process.take() {
            process.signal(signal);
            process.wait();
        }
    }

    fn client(&self, words: &[&str]) -> Run {
        let docker = self
            .sandbox
            .command(require_tool("/usr/bin/docker", "docker.io"));
        let host = format!("unix://{}", self.socket.display());
        docker.args(["-H", &host]).args(words)
    }

    #[track_caller]
    fn docker(&self, words: &[&str]) -> Output {
        self.client(words).output().expect(0)
    }

    #[track_caller]
    fn said(&self, words: &[&str]) -> String {
        self.docker(words).stdout.trim_end().to_owned()
    }

    /// What is answered to these bytes, until it closes.
    fn answer(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // It may close before it has read all.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
    }
}

/// Starts a container that nobody waits for; returns its id.
#[track_caller]
fn detached(sandbox: &Sandbox, name: &str, flags: &[&str], command: &[&str]) -> String {
    let run = sandbox.bryo(["run", "-d", "--network", "none", "--name", name]);
    let run = run.args(flags).arg("busybox").args(command);
    run.stdout()
}

#[test]
fn dockers_client_looks_after_containers() {
    // Without one nothing is paused.
    require_subtree();
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let mode = server.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let version = server.said(&[
        "version",
        "--format",
        "{{.Server.APIVersion}} {{.Server.Os}}",
    ]);
    assert_eq!(version, "1.44 linux");
    let info = server.said(&[
        "info",
        "--format",
        "{{.OSType}} {{.Containers}} {{.Driver}}",
    ]);
    assert!(info.starts_with("linux 0 "), "{info}");

    let script = "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done";
    let flags = ["--label", "a=b"];
    let id = detached(&sandbox, "web", &flags, &["sh", "-c", script]);
    assert_eq!(server.said(&["ps", "-q", "--no-trunc"]), id);
    let filter = [
        "ps",
        "--filter",
        "label=a=b",
        "--format",
        "{{.Names}} {{.State}} {{.Image}}",
    ];
    assert_eq!(server.said(&filter), "web running busybox");
    assert_eq!(server.said(&["ps", "-q", "--filter", "label=a=c"]), "");
    let format = "{{.Name}} {{.State.Running}} {{.Config.Labels.a}} {{.Id}}";
    assert_eq!(
        server.said(&["inspect", "-f", format, "web"]),
        format!("/web true b {id}")
    );
    wait_for("both lines", || {
        let logs = server.docker(&["logs", "web"]);
        (logs.stdout == "out\n" && logs.stderr == "err\n").then_some(())
    });
    let last = server.docker(&["logs", "--tail", "1", "-t", "web"]);
    assert!(
        format!("{}{}", last.stdout, last.stderr).contains("Z "),
        "{last}"
    );

    let state = |wanted: &str| {
        let said = server.said(&["inspect", "-f", "{{.State.Status}}", "web"]);
        assert_eq!(said, wanted);
    };
    server.docker(&["pause", "web"]);
    state("paused");
    server.client(&["pause", "web"]).output().expect(1);
    server.docker(&["unpause", "web"]);
    let mut waits = server.client(&["wait", "web"]).spawn();
    assert!(waits.is_running());
    server.docker(&["stop", "web"]);
    assert_eq!(waits.wait().expect(0).stdout, "7\n");
    state("exited");
    // It is so already.
    server.docker(&["stop", "web"]);
    server.docker(&["start", "web"]);
    server.docker(&["start", "web"]);
    state("running");
    server.docker(&["rename", "web", "other"]);
    let pid = || server.said(&["inspect", "-f", "{{.State.Pid}}", "other"]);
    let before = pid();
    server.docker(&["restart", "-t", "5", "other"]);
    assert_ne!(pid(), before);
    let refused = server.client(&["rm", "other"]).output().expect(1);
    assert!(refused.stderr.contains("stop it first"), "{refused}");
    server.docker(&["kill", "other"]);
    assert_eq!(server.said(&["wait", "other"]), "137");
    server.docker(&["rm", "-f", "other"]);
    assert_eq!(server.said(&["ps", "-aq"]), "");
    let none = server.client(&["start", "other"]).output().expect(1);
    assert!(none.stderr.contains("No such container"), "{none}");
}

#[test]
fn a_log_is_followed_until_the_end() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let script = "echo first; read x </tmp/go; echo last";
    let script = format!("mkfifo /tmp/go; {script}");
    detached(&sandbox, "c", &[], &["sh", "-c", &script]);
    let mut follows = server.client(&["logs", "-f", "c"]).spawn();
    follows.expect_line("first");
    let goes = sandbox.bryo(["exec", "c", "sh", "-c", "echo >/tmp/go"]);
    // The container may end, and the command with it, before that has.
    goes.output();
    follows.expect_line("last");
    follows.wait().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn what_is_killed_loses_nothing_and_who_is_not_needed_ends() {
    let sandbox = Sandbox::with_busybox();
    let mut server = Server::start(&sandbox, &[]);
    detached(&sandbox, "c", &[], &["sleep", "1000"]);
    let taken = sandbox.bryo(["api", "serve"]).arg(&server.socket);
    let taken = taken.output().expect(1);
    assert!(taken.stderr.contains("serves there already"), "{taken}");
    server.end(Signal::SIGKILL);
    assert!(server.socket.exists());
    let mut next = Server::start(&sandbox, &["--idle", "3s"]);
    // While somebody is connected it stays.
    let connection = UnixStream::connect(&next.socket).unwrap();
    assert_eq!(next.said(&["ps", "--format", "{{.Names}}"]), "c");
    next.docker(&["rm", "-f", "c"]);
    drop(connection);
    let process = next.process.take().unwrap();
    process.wait().expect(0);
    assert!(!next.socket.exists());
}

#[test]
fn nonsense_has_a_bounded_answer() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, &[]);
    let flood = format!("GET /info HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let endless = format!("GET /{}", "a".repeat(1 << 20));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        (&flood, "431"),
        (&endless, "431"),
        (
            "POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "400",
        ),
        (
            "POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("POST /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
        (
            "POST /containers/c/start HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
            "413",
        ),
        (
            "POST /containers/c/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
            "413",
        ),
        (
            "POST /containers/c/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n",
            "400",
        ),
        (
            "POST /containers/c/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            "400",
        ),
        (
            "POST /containers/c/stop HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
            "400",
        ),
        (
            "POST /containers/c/start HTTP/1.1\r\nContent-Length: 19\r\n\r\n{\"Privileged\":true}",
            "400",
        ),
        ("GET /v1.99999/info HTTP/1.1\r\n\r\n", "400"),
        ("GET /v1.12/info HTTP/1.1\r\n\r\n", "400"),
        ("GET /nope HTTP/1.1\r\n\r\n", "404"),
        ("PUT /info HTTP/1.1\r\n\r\n", "404"),
        ("GET /containers/--help/json HTTP/1.1\r\n\r\n", "404"),
        ("GET /containers/..%2f..%2f/json HTTP/1.1\r\n\r\n", "404"),
        ("GET /containers/json?filters=[ HTTP/1.1\r\n\r\n", "400"),
        (
            "GET /containers/json?filters={%22nope%22:[%22x%22]} HTTP/1.1\r\n\r\n",
            "400",
        ),
    ] {
        let answer = server.answer(request.as_bytes());
        let expected = format!("HTTP/1.1 {status} ");
        let shown: String = request.chars().take(80).collect();
        assert!(answer.starts_with(&expected), "{shown:?}: {answer}");
        assert!(answer.contains("{\"message\":"), "{shown:?}: {answer}");
    }
    // Half of one, and nothing.
    assert_eq!(server.answer(b"GET /_ping HTTP/1.1\r\nHos"), "");
    // Two behind each other, the first with a body in chunks.
    let two = "GET /_ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        HEAD /_ping HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = server.answer(two.as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("\r\n\r\nOK").count(), 1, "{answer}");
    // More at once than it attends to.
    let connections: Vec<_> = (0..300)
        .map(|_| UnixStream::connect(&server.socket).unwrap())
        .collect();
    drop(connections);
    assert!(
        server
            .answer(b"GET /version HTTP/1.0\r\n\r\n")
            .contains("1.44")
    );
}
