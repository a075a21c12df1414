//! Images over docker's API: docker's own client, Debian's registry, and strangers.

use super::Server;
use crate::common::hostile::{Answer, Hostile, Pushed, noise};
use crate::common::registry::{Kind, Registry, USER};
use crate::common::{Sandbox, busybox_tar, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// The body of an answer that is JSON.
#[track_caller]
fn body(answer: &str, status: &str) -> Value {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

impl Server<'_> {
    pub(super) fn get(&self, path: &str) -> String {
        self.answer(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(super) fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.answer(&[head.as_bytes(), body].concat())
    }
}

#[test]
fn dockers_client_looks_after_images() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let id = server.said(&["image", "inspect", "-f", "{{.Id}}", "busybox"]);
    let short = id.strip_prefix("sha256:").unwrap().split_at(12).0;
    assert_eq!(
        server.said(&["images", "--format", format]),
        format!("busybox:latest {short}")
    );
    assert_eq!(server.said(&["images", "-q", "--no-trunc"]), id);
    server.docker(&["tag", "busybox", "r.test:5000/some/where:1"]);
    for (filter, wanted) in [
        ("reference=r.test:5000/some/*", 2),
        ("reference=*:2", 0),
        ("dangling=true", 0),
        ("label=none", 0),
    ] {
        let said = server.said(&["images", "-f", filter, "-q"]);
        // Docker's client lists each name of an image that passes.
        assert_eq!(said.lines().count(), wanted, "{filter}: {said}");
    }
    let tags = server.said(&["inspect", "-f", "{{json .RepoTags}}", "busybox"]);
    assert_eq!(tags, r#"["busybox:latest","r.test:5000/some/where:1"]"#);
    let history = server.said(&["history", "--no-trunc", "--format", "{{.ID}}", "busybox"]);
    assert_eq!(history, id);

    // An archive has the names that it was asked for by.
    let tar = sandbox.work().join("two.tar");
    let path = tar.to_str().unwrap();
    server.docker(&["save", "-o", path, "busybox", "r.test:5000/some/where:1"]);
    let untagged = server.said(&["rmi", "r.test:5000/some/where:1"]);
    assert_eq!(untagged, "Untagged: r.test:5000/some/where:1");
    let gone = server.said(&["rmi", "busybox"]);
    assert!(gone.contains("Untagged: busybox:latest") && gone.contains(&format!("Deleted: {id}")));
    assert_eq!(server.said(&["images", "-q"]), "");
    let loaded = server.said(&["load", "-i", path]);
    for name in ["busybox:latest", "r.test:5000/some/where:1"] {
        assert!(
            loaded.contains(&format!("Loaded image: {name}")),
            "{loaded}"
        );
    }
    assert_eq!(
        server.said(&["image", "inspect", "-f", "{{.Id}}", "busybox"]),
        id
    );

    // One that is used stays, with `-f` too.
    super::detached(&sandbox, "c", &[], &["sleep", "1000"]);
    server.docker(&["rmi", "r.test:5000/some/where:1"]);
    let used = server.client(&["rmi", id.as_str()]).output().expect(1);
    assert!(used.stderr.contains("is used by container c"), "{used}");
    server.docker(&["rm", "-f", "c"]);

    // From a tar, with a name and what else is said.
    let import = [
        "import",
        "-c",
        "CMD [\"true\"]",
        "-m",
        "made here",
        "-",
        "new:1",
    ];
    let made = server
        .client(&import)
        .stdin(fs::read(busybox_tar()).unwrap());
    let made = made.stdout();
    let said = server.said(&[
        "inspect",
        "-f",
        "{{.Id}} {{.Config.Cmd}} {{.Comment}}",
        "new:1",
    ]);
    assert_eq!(said, format!("{made} [true] made here"));
    // The same name for another one: this has none any more.
    server.docker(&["tag", "busybox", "new:1"]);
    let dangling = server.said(&["images", "-qf", "dangling=true", "--no-trunc"]);
    assert_eq!(dangling, made);
    let pruned = server.said(&["image", "prune", "-f"]);
    assert!(pruned.contains(&made), "{pruned}");
    assert!(server.said(&["image", "prune", "-af"]).contains(&id));
    assert_eq!(server.said(&["images", "-qa"]), "");

    let none = server.client(&["rmi", "none"]).output().expect(1);
    assert!(none.stderr.contains("No such image: none"), "{none}");
    let search = server.client(&["search", "x"]).output().expect(1);
    assert!(search.stderr.contains("does not search"), "{search}");
}

#[test]
fn images_go_to_a_registry_and_come_back() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    let kind = Kind {
        password: true,
        ..Kind::default()
    };
    let registry = Registry::start_as(&sandbox, kind);
    let name = registry.name("some/where:1");
    server.docker(&["tag", "busybox", &name]);
    let refused = server.client(&["push", &name]).output().expect(1);
    assert!(refused.stderr.contains("401"), "{refused}");
    let host = registry.name("");
    let host = host.trim_end_matches('/');
    let login = |password: &str| {
        let words = ["login", "-u", USER.0, "--password-stdin", host];
        server.client(&words).stdin(password).output()
    };
    let wrong = login("wrong").expect(1);
    assert!(wrong.stderr.contains("log in to"), "{wrong}");
    let auth = json!({"username": USER.0, "password": "wrong", "serveraddress": host});
    let auth = auth.to_string();
    body(&server.post("/auth", "", auth.as_bytes()), "401");
    assert!(login(USER.1).expect(0).stdout.contains("Login Succeeded"));
    let pushed = server.said(&["push", &name]);
    assert!(pushed.contains("The push refers to repository"), "{pushed}");
    let (_, digest) = pushed.split_once("1: digest: ").unwrap();
    let digest = digest.split(' ').next().unwrap();
    let id = server.said(&["inspect", "-f", "{{.Id}}", "busybox"]);
    server.docker(&["rmi", &name]);
    server.docker(&["rmi", "busybox"]);
    let pulled = server.said(&["pull", &name]);
    for line in [
        "1: Pulling from some/where",
        "Pull complete",
        &format!("Digest: {digest}"),
        &format!("Status: Downloaded newer image for {name}"),
    ] {
        assert!(pulled.contains(line), "{line}: {pulled}");
    }
    assert_eq!(server.said(&["inspect", "-f", "{{.Id}}", &name]), id);
    let again = server.said(&["pull", &name]);
    assert!(again.contains("Status: Image is up to date"), "{again}");
    let by_digest = format!("{}@{digest}", registry.name("some/where"));
    server.docker(&["pull", "-q", &by_digest]);
    // All tags of a repository.
    server.docker(&["tag", &name, &registry.name("some/where:2")]);
    let all = server.said(&["push", "-a", &registry.name("some/where")]);
    assert!(all.contains("2: digest: "), "{all}");
    server.docker(&["rmi", "-f", &id]);
    server.docker(&["pull", "-a", &registry.name("some/where")]);
    let tags = server.said(&["inspect", "-f", "{{len .RepoTags}}", &id]);
    assert_eq!(tags, "2");

    // Who has logged in by bryo need not say it again, and what the registry has is told.
    let login = ["login", "-u", USER.0, "-p", USER.1, host];
    sandbox.bryo(login).output().expect(0);
    let there = body(&server.get(&format!("/distribution/{name}/json")), "200");
    assert_eq!(there["Descriptor"]["digest"], digest);
    assert_eq!(there["Platforms"][0]["os"], "linux");
    let absent = registry.name("no/where:1");
    let answer = server.get(&format!("/distribution/{absent}/json"));
    body(&answer, "404");
    let none = server.client(&["pull", &absent]).output().expect(1);
    assert!(none.stderr.contains("404"), "{none}");
    // An error before anything came is an answer by itself.
    let create = format!("/images/create?fromImage={absent}");
    body(&server.post(&create, "", b""), "404");
}

#[test]
fn lists_are_as_the_clients_version_has_them() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    sandbox.bryo(["untag", "busybox"]).output().expect(0);
    let list = |version: &str| {
        let list = body(&server.get(&format!("{version}/images/json?all=1")), "200");
        list[0].clone()
    };
    let old = list("/v1.42");
    assert_eq!(old["RepoTags"], json!(["<none>:<none>"]));
    assert_eq!(old["VirtualSize"], old["Size"]);
    let new = list("/v1.44");
    assert_eq!(new["RepoTags"], json!([]));
    assert!(new.get("VirtualSize").is_none(), "{new}");
    assert_eq!(
        (&new["SharedSize"], &new["Containers"]),
        (&json!(-1), &json!(-1))
    );
    let id = new["Id"].as_str().unwrap();
    let shown = body(&server.get(&format!("/images/{id}/json")), "200");
    // Clients of languages without types read this unasked.
    assert!(shown["Config"]["Labels"].is_null());
    let shared = body(&server.get("/images/json?shared-size=1"), "200");
    assert_eq!(shared[0]["SharedSize"], 0);
    assert_eq!(shared[0]["Containers"], 0);
}

#[test]
fn what_strangers_send_as_images_has_a_bounded_answer() {
    let sandbox = Sandbox::with_busybox();
    let server = Server::start(&sandbox, &[]);
    for path in [
        "/images/--all/json",
        "/images/..%2f..%2fetc/json",
        "/images/%00/json",
        "/images/none/history",
        "/images/none/get",
        "/images/get?names=busybox&names=none",
    ] {
        let answer = server.get(path);
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["400", "404"].contains(&status), "{path}: {answer}");
    }
    for (path, headers, status) in [
        ("/images/create?fromImage=", "", "400"),
        ("/images/create?fromImage=A B", "", "400"),
        ("/images/create?fromImage=a&tag=b/c", "", "400"),
        ("/images/create?fromImage=a&platform=x/y/z/w", "", "400"),
        (
            "/images/create?fromImage=127.0.0.1:1/a&tag=1",
            "X-Registry-Auth: %%%\r\n",
            "400",
        ),
        ("/images/create?fromSrc=http://127.0.0.1:1/x", "", "501"),
        ("/images/create?fromSrc=-&changes=RUN%20x", "", "400"),
        ("/images/create?fromSrc=-", "", "400"),
        ("/images/busybox/tag", "", "400"),
        ("/images/busybox/tag?repo=a@b", "", "400"),
        ("/images/none/tag?repo=a", "", "404"),
        ("/images/none/push", "", "404"),
        (
            "/images/prune?filters={%22dangling%22:[%22x%22]}",
            "",
            "400",
        ),
        ("/images/load", "", "400"),
        ("/auth", "", "400"),
    ] {
        let path = path.replace(' ', "%20");
        body(&server.post(&path, headers, b"nonsense"), status);
    }
    body(&server.get("/images/get"), "400");
    // Cut off in the middle, in both ways that a body has an end.
    let tar = fs::read(busybox_tar()).unwrap();
    let half = &tar[..tar.len() / 2];
    let head = format!(
        "POST /images/create?fromSrc=- HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        tar.len()
    );
    body(&server.answer(&[head.as_bytes(), half].concat()), "400");
    let head = "POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n";
    body(&server.answer(&[head.as_bytes(), half].concat()), "400");
    assert_eq!(
        server.said(&["images", "--format", "{{.Repository}}"]),
        "busybox"
    );
}

#[test]
fn a_pull_ends_with_who_asked_for_it() {
    let sandbox = Sandbox::new();
    let mut server = Server::start(&sandbox, &[]);
    let layer = noise(1, 200_000);
    let digest = bryo::image::digest::sha256(&layer);
    let image = Pushed::of(vec![(layer.clone(), digest.clone())]);
    let hostile = Hostile::start(move |asked| match asked.path.ends_with(digest.as_ref()) {
        // It promises more than it says.
        true => Answer::Silent(layer.len(), layer[..1000].to_vec()),
        false => image.answer(asked),
    });
    let name = hostile.name("x");
    let request = format!("POST /images/create?fromImage={name}&tag=1 HTTP/1.1\r\n\r\n");
    let workers = || {
        let all = sandbox.processes();
        all.values().filter(|name| name.contains("api")).count()
    };
    let rest = workers();
    let ask = || {
        let asked = hostile.asked().len();
        let mut stream = UnixStream::connect(&server.socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        wait_for("the layer to be asked for", || {
            let all = hostile.asked();
            let blobs = all[asked..].iter();
            blobs
                .filter(|asked| asked.path.contains("/blobs/"))
                .nth(1)?;
            Some(())
        });
        stream
    };
    let stream = ask();
    assert!(workers() > rest);
    drop(stream);
    wait_for("the pull's end", || (workers() == rest).then_some(()));
    // Killed in the middle of one, nothing goes on, and nothing is lost.
    let stream = ask();
    server.process.as_ref().unwrap().signal(Signal::SIGKILL);
    drop(stream);
    server.end(Signal::SIGKILL);
    wait_for("the end of all", || (workers() == 0).then_some(()));
}
