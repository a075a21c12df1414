//! Compose files, beside docker compose: `compose config`.

use crate::common::Sandbox;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What docker compose 2.40.3 has printed for some files, kept: behind `--- >` is its output, and
/// where there is none it refused.
const FACTS: &str = include_str!("compose/facts.txt");

/// Files of all kinds, for which docker compose is asked while the test runs.
const FILES: &str = include_str!("compose/oracle.txt");

/// Files, and how they are read.
#[derive(Default)]
struct Case {
    name: String,
    arguments: Vec<String>,
    services: Vec<String>,
    variables: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

/// The cases of a text: `=== NAME`, lines with `args` and `env`, `--- PATH` before each file.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case {
                name: name.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if let Some(path) = line.strip_prefix("--- ") {
            case.files.push((path.to_owned(), String::new()));
        } else if let Some((_, content)) = case.files.last_mut() {
            content.push_str(line);
            content.push('\n');
        } else if let Some(words) = line.strip_prefix("args ") {
            let (before, after) = words.split_once("config ").unwrap_or((words, ""));
            case.arguments = before.split_whitespace().map(str::to_owned).collect();
            case.services = after.split_whitespace().map(str::to_owned).collect();
        } else if let Some((name, value)) =
            line.strip_prefix("env ").and_then(|l| l.split_once('='))
        {
            case.variables.push((name.to_owned(), value.to_owned()));
        }
    }
    cases
}

/// Writes a case's files to the project `p` of a directory of its own.
fn lay_out(sandbox: &Sandbox, case: &Case) -> PathBuf {
    let place = sandbox.work().join(&case.name).join("p");
    for (path, content) in case.files.iter().filter(|(path, _)| path != ">") {
        let path = place.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    place
}

/// What a program, bryo or docker compose, says to a case: its output if it takes it.
fn told(
    run: crate::common::Run,
    case: &Case,
    place: &Path,
    flags: &[&str],
) -> Result<String, String> {
    let mut run = run
        .args(&case.arguments)
        .arg("config")
        .args(flags)
        .args(&case.services)
        .current_dir(place);
    for (name, value) in &case.variables {
        let value = value.replace("@DIR@", place.to_str().unwrap());
        run = run.env(name, value);
    }
    let output = run.output();
    match output.code {
        0 => Ok(output.stdout),
        _ => Err(output.stderr),
    }
}

#[test]
fn compose_files_are_read_as_was_recorded() {
    let sandbox = Sandbox::new();
    let home = sandbox.path().join("home");
    let mut faults = Vec::new();
    let all = cases(FACTS);
    assert!(all.len() > 50);
    for case in all {
        let place = lay_out(&sandbox, &case);
        let wanted = case.files.iter().find(|(path, _)| path == ">");
        let wanted = wanted.map(|(_, text)| {
            let text = text.replace("@DIR@", place.to_str().unwrap());
            let text = text.replace("@PARENT@", place.parent().unwrap().to_str().unwrap());
            let text = text.replace("@HOME@", home.to_str().unwrap());
            text.trim_end().to_owned()
        });
        let ours = told(sandbox.bryo(["compose"]), &case, &place, &[]);
        let same = match (&wanted, &ours) {
            (Some(wanted), Ok(ours)) => ours.trim_end() == wanted,
            (None, Err(error)) => error.starts_with("error: "),
            _ => false,
        };
        if !same {
            faults.push(format!("{}: {ours:?}, not {wanted:?}", case.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn compose_files_are_read_as_docker_compose_reads_them() {
    let place = std::env::var("BRYO_ORACLES")
        .expect("BRYO_ORACLES is not set: as root, tests/run installs what the tests compare with");
    let oracle = Path::new(&place).join("docker-compose");
    let sandbox = Sandbox::new();
    let mut faults = Vec::new();
    let all = cases(FILES);
    assert!(all.len() > 100);
    for case in all {
        let place = lay_out(&sandbox, &case);
        for form in ["json", "yaml"] {
            let flags = ["--format", form];
            let theirs = told(sandbox.command(&oracle), &case, &place, &flags);
            let ours = told(sandbox.bryo(["compose"]), &case, &place, &flags);
            let same = match (&theirs, &ours) {
                (Ok(theirs), Ok(ours)) if form == "json" => {
                    let values = [theirs, ours].map(|text| {
                        let mut value: Value = serde_json::from_str(text).unwrap();
                        // It leaves them out of this form alone.
                        value.as_object_mut().unwrap().remove("models");
                        value
                    });
                    values[0] == values[1]
                }
                (Ok(theirs), Ok(ours)) => theirs.trim_end() == ours.trim_end(),
                (Err(_), Err(_)) => true,
                _ => false,
            };
            if !same {
                faults.push(format!("{}: {ours:?}, not {theirs:?}", case.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The error that a file meets.
fn refused(sandbox: &Sandbox, file: &str) -> String {
    let path = sandbox.write("compose.yaml", file);
    let run = sandbox.bryo(["compose", "config", "--quiet"]);
    let output = run.current_dir(path.parent().unwrap()).output();
    assert_eq!(output.code, 1, "{file:.100}");
    output.stderr
}

#[test]
fn errors_in_compose_files_say_where() {
    let sandbox = Sandbox::new();
    for (file, place, words) in [
        (
            "services:\n  web:\n    imgae: x\n",
            "compose.yaml:3:5: services.web.imgae: ",
            "did you mean image?",
        ),
        (
            "services:\n  web:\n    image: x\n    user: 1000\n",
            "compose.yaml:4:11: services.web.user: ",
            "put it in quotes",
        ),
        (
            "services:\n  web:\n    image: x\n    image: y\n",
            "compose.yaml:4:5: ",
            "in line 3 too",
        ),
        ("services:\n\tweb:\n", "compose.yaml:2:", "blanks"),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
            "compose.yaml:3:30: services.b.depends_on: ",
            "a → b → a",
        ),
        (
            "services:\n  a: {image: x, ports: ['1:70000']}\n",
            "compose.yaml:2:25: services.a.ports: ",
            "\"70000\"",
        ),
        (
            "services:\n  a: {image: x, env_file: none.env}\n",
            "compose.yaml:2:27: services.a.env_file: ",
            "there is no file",
        ),
        (
            "services:\n  a: {image: '${X:?say it}'}\n",
            "compose.yaml:2:14: services.a.image: ",
            "say it",
        ),
        (
            "services:\n  a: {extends: b}\n  b: {extends: a}\n",
            "compose.yaml:2:16: services.a.extends: ",
            "circle",
        ),
    ] {
        let error = refused(&sandbox, file);
        assert!(error.contains(place), "{place} is not in {error}");
        assert!(error.contains(words), "{words} is not in {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn hostile_compose_files_are_refused_soon() {
    let sandbox = Sandbox::new();
    let mut bomb = String::from("x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let item = format!("*a{}, ", level - 1);
        bomb.push_str(&format!("x-{level}: &a{level} [{}]\n", item.repeat(10)));
    }
    let error = refused(&sandbox, &bomb);
    assert!(error.contains("aliases multiply them"), "{error}");
    let error = refused(&sandbox, &format!("x-a: {}", "[".repeat(100)));
    assert!(error.contains("deep"), "{error}");
    let large = format!("services: {{a: {{image: x}}}}\n#{}", "x".repeat(10 << 20));
    let error = refused(&sandbox, &large);
    assert!(error.contains("has more than"), "{error}");
    let nested = format!("name: '{}x{}'", "${A:-".repeat(200), "}".repeat(200));
    let error = refused(&sandbox, &nested);
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn lists_of_a_compose_file() {
    let sandbox = Sandbox::new();
    let file = "services:
  a: {image: 'x:${TAG:-1}', volumes: ['data:/v'], profiles: [p]}
  b: {build: ., networks: [n], environment: ['A=$B']}
networks: {n: }
volumes: {data: }
";
    sandbox.write("compose.yaml", file);
    let list = |flags: &[&str]| {
        let words = ["compose", "-p", "q", "--profile", "p", "config"];
        sandbox.bryo(words.iter().chain(flags)).stdout()
    };
    assert_eq!(list(&["--services"]).trim_end(), "a\nb");
    assert_eq!(list(&["--volumes"]).trim_end(), "data");
    assert_eq!(list(&["--networks"]).trim_end(), "default\nn");
    assert_eq!(list(&["--images"]).trim_end(), "x:1\nq-b");
    assert_eq!(list(&["--profiles"]).trim_end(), "p");
    assert_eq!(list(&["--quiet"]), "");
    let variables = list(&["--variables"]);
    assert!(variables.contains("TAG    false      1"), "{variables}");
    assert!(list(&["--no-interpolate"]).contains("x:${TAG:-1}"));
    assert!(list(&["--environment"]).contains("COMPOSE_PROJECT_NAME=q"));
    let hash = |flags: &[&str]| list(flags).trim_end().to_owned();
    let before = hash(&["--hash", "b"]);
    assert_eq!(before.len(), "b ".len() + 64, "{before}");
    sandbox.write("compose.yaml", file.replace("A=$B", "A=$B $C"));
    assert_ne!(before, hash(&["--hash", "b"]));
    sandbox.write(
        "compose.yaml",
        file.replace("profiles: [p]", "profiles: [p, r]"),
    );
    assert_eq!(before, hash(&["--hash", "b"]));
}
