//! Templates of `--format`: docker's own client formats recorded answers of its
//! daemon, and bryo has to make the same of them.

use crate::common::{Sandbox, require_tool};
use bryo::cli::template::Template;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A daemon of docker's that has answers and nothing else.
struct Daemon {
    // Deleted with it.
    _directory: tempfile::TempDir,
    socket: PathBuf,
}

impl Daemon {
    fn start(answers: Value) -> Daemon {
        require_tool("/usr/bin/docker", "docker.io");
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = Arc::new(answers);
        // It ends with the test.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, answers) = (connection.unwrap(), answers.clone());
                std::thread::spawn(move || drop(serve(connection, &answers)));
            }
        });
        Daemon {
            _directory: directory,
            socket,
        }
    }

    /// What docker's client prints, or says where it fails.
    fn docker(&self, words: &[&str]) -> Result<String, String> {
        match self.docker_code(words) {
            (0, printed) => Ok(printed),
            (_, says) => Err(says),
        }
    }

    /// Its exit code, and what it prints or says.
    fn docker_code(&self, words: &[&str]) -> (i32, String) {
        let mut docker = Command::new("/usr/bin/docker");
        docker.env_clear().env("HOME", "/nonexistent");
        docker
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()));
        let output = docker.args(words).output().unwrap();
        let said = match output.status.success() {
            true => output.stdout,
            false => output.stderr,
        };
        let code = output.status.code().unwrap();
        (code, String::from_utf8(said).unwrap())
    }
}

fn serve(connection: UnixStream, answers: &Value) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.split('?').next().unwrap();
        let path = match path.strip_prefix("/v1.") {
            Some(rest) => &rest[rest.find('/').unwrap()..],
            None => path,
        };
        let (status, body) = match answers.get(path) {
            _ if path == "/_ping" => ("200 OK", "OK".to_owned()),
            Some(answer) => ("200 OK", answer.to_string()),
            None => (
                "404 Not Found",
                json!({"message": "No such thing"}).to_string(),
            ),
        };
        write!(
            writer,
            "HTTP/1.1 {status}\r\nAPI-Version: 1.41\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            writer.write_all(body.as_bytes())?;
        }
    }
}

fn rendered(template: &str, value: &Value) -> Result<String, String> {
    let template = Template::parse(template).map_err(|e| e.to_string())?;
    template.render(value).map_err(|e| e.to_string())
}

/// Whether both say the same: Go has its own order of fields in JSON.
fn same(docker: &str, bryo: &str) -> bool {
    let json = |text: &str| -> Option<Vec<Value>> {
        let values = text.lines().map(serde_json::from_str);
        values.collect::<Result<_, _>>().ok()
    };
    docker == bryo || json(docker).is_some_and(|values| Some(values) == json(bryo))
}

/// Goes through a list of templates, a line each. The first column says what has
/// to be: `=` that both do the same, `+` that bryo has an answer where docker
/// fails.
fn compare(
    list: &str,
    docker: impl Fn(&str) -> Result<String, String>,
    bryo: impl Fn(&str) -> Result<String, String>,
) -> usize {
    let mut faults = Vec::new();
    let mut count = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (rule, template) = line.split_once(' ').unwrap();
        // A template may have several.
        let template = template.replace('␤', "\n");
        count += 1;
        let (docker, bryo) = (docker(&template), bryo(&template));
        let good = match (rule, &docker, &bryo) {
            ("=", Ok(docker), Ok(bryo)) => same(docker, bryo),
            ("=", Err(_), Err(_)) | ("+", Err(_), Ok(_)) => true,
            _ => false,
        };
        if !good {
            faults.push(format!("{line}\n  docker: {docker:?}\n  bryo:   {bryo:?}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {count}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    count
}

#[test]
fn inspect_prints_what_dockers_client_does() {
    let container: Value = serde_json::from_str(include_str!("templates/container.json")).unwrap();
    let daemon = Daemon::start(json!({"/containers/web/json": container}));
    let count = compare(
        include_str!("templates/of_a_container"),
        |template| daemon.docker(&["inspect", "--type", "container", "-f", template, "web"]),
        |template| Ok(rendered(template, &container)? + "\n"),
    );
    assert!(count >= 200, "{count} templates");
}

#[test]
fn lists_are_printed_as_dockers_client_does() {
    let rows: Value = serde_json::from_str(include_str!("templates/rows.json")).unwrap();
    let daemon = Daemon::start(json!({"/containers/json": rows, "/info": {}}));
    let docker = |template: &str| {
        let printed = daemon.docker(&["ps", "-a", "--format", template])?;
        // Docker's columns have a least width, and blanks at their end.
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(match template.starts_with("table") {
            true => printed.lines().map(words).collect::<Vec<_>>().join("\n"),
            false => printed,
        })
    };
    // What docker has of a row, which is text throughout.
    let rows = daemon
        .docker(&["ps", "-a", "--format", "{{json .}}"])
        .unwrap();
    let rows: Vec<Value> = (rows.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let head = |field: &str| {
        match field {
            "ID" => "CONTAINER ID",
            "RunningFor" => "CREATED",
            "CreatedAt" => "CREATED AT",
            "Names" | "Image" | "Command" | "Ports" | "Status" | "State" | "Size" | "Mounts"
            | "Networks" => return field.to_uppercase(),
            other => panic!("a head for {other}"),
        }
        .to_owned()
    };
    compare(include_str!("templates/of_a_row"), docker, |text| {
        let template = Template::parse(text).map_err(|e| e.to_string())?;
        let mut printed = String::new();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        if template.is_table() {
            let heads = template.heads(&head).map_err(|e| e.to_string())?;
            let mut lines = vec![words(&heads)];
            for row in &rows {
                lines.push(words(&template.render(row).map_err(|e| e.to_string())?));
            }
            return Ok(lines.join("\n"));
        }
        for row in &rows {
            printed += &template.render(row).map_err(|e| e.to_string())?;
            printed.push('\n');
        }
        Ok(printed)
    });
}

#[test]
fn a_wrong_template_has_a_place_and_dockers_exit_code() {
    let container: Value = serde_json::from_str(include_str!("templates/container.json")).unwrap();
    let daemon = Daemon::start(json!({
        "/containers/web/json": container, "/containers/json": [], "/info": {},
        "/version": {"ApiVersion": "1.41", "Version": "20.10.0"},
    }));
    let sandbox = Sandbox::with_busybox();
    let create = [
        "create",
        "--name",
        "web",
        "--network",
        "none",
        "busybox",
        "true",
    ];
    sandbox.bryo(create).stdout();
    for (words, message) in [
        (
            &["inspect", "-f", "{{.Name", "web"][..],
            "1:1: '{{' without '}}'",
        ),
        (
            &["inspect", "-f", "{{.Nosuch}}", "web"],
            "1:3: there is no field Nosuch",
        ),
        (
            &["inspect", "-f", "{{nosuch}}", "nobody"],
            "1:3: there is no function nosuch",
        ),
        (
            &["ps", "-a", "--format", "{{.Names"],
            "1:1: '{{' without '}}'",
        ),
        (
            &["info", "-f", "{{.Nosuch}}"],
            "1:3: there is no field Nosuch",
        ),
        (&["info", "-f", "{{"], "1:1: '{{' without '}}'"),
        (&["version", "-f", "{{}}"], "1:3: nothing stands"),
    ] {
        let (code, _) = daemon.docker_code(words);
        let output = sandbox.bryo(words).output().expect(code);
        assert!(output.stderr.contains(message), "{words:?}: {output}");
        let mut lines = output.stderr.lines();
        assert!(
            lines.any(|line| line.trim().chars().all(|c| c == '^')),
            "{output}"
        );
    }
}
