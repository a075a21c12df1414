//! Secrets: who gets them, and that nobody else sees them.

use crate::common::{Output, Sandbox, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const WORD: &str = "open-sesame-42";

fn create(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let create = sandbox.bryo(["secret", "create"]).args(arguments);
    create.stdin(WORD).output()
}

/// Whether a file below has the word in it, and the mode of each that does.
fn holders(directory: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else {
            continue;
        };
        if meta.is_dir() {
            found.extend(holders(&entry.path()));
        } else if meta.is_file() {
            let text = fs::read(entry.path()).unwrap_or_default();
            if text.windows(WORD.len()).any(|part| part == WORD.as_bytes()) {
                let name = entry.path().display().to_string();
                found.push((name, meta.permissions().mode() & 0o777));
            }
        }
    }
    found
}

#[test]
fn secrets_are_kept_and_nobody_is_shown_them() {
    let sandbox = Sandbox::with_busybox();
    let made = create(&sandbox, &["-l", "tier=db", "word", "-"]).expect(0);
    let id = made.stdout.trim();
    assert_eq!(id.len(), 25, "{made}");
    let path = sandbox.write("other", "x");
    let of_file = sandbox.bryo(["secret", "create", "other"]).arg(&path);
    of_file.output().expect(0);
    let of_variable = sandbox.bryo(["secret", "create", "--env", "third", "THIRD"]);
    of_variable.env("THIRD", WORD).output().expect(0);

    let taken = create(&sandbox, &["word", "-"]).expect(1);
    assert!(taken.stderr.contains("secret name in use"), "{taken}");
    create(&sandbox, &["--replace", "word", "-"]).expect(0);
    let list = |flags: &[&str]| {
        let ls = sandbox.bryo(["secret", "ls"]).args(flags).stdout();
        ls.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&["--format", "{{.Name}}"]), ["other", "third", "word"]);
    assert_eq!(list(&["-q"]).len(), 3);
    assert_eq!(list(&["-q", "--filter", "name=th"]).len(), 2);
    assert_eq!(list(&["-q", "--filter", "label=tier"]).len(), 0);
    assert!(list(&[])[0].starts_with("ID "));
    assert_eq!(list(&["--noheading"]).len(), 3);
    let inspect = sandbox.bryo(["secret", "inspect", "word"]).stdout();
    assert!(!inspect.contains(WORD));
    let shown: Value = serde_json::from_str(&inspect).unwrap();
    assert_eq!(shown[0]["Spec"]["Name"], "word");
    assert_eq!(shown[0]["Spec"]["Driver"]["Name"], "file");

    sandbox
        .bryo(["secret", "exists", "word"])
        .output()
        .expect(0);
    sandbox
        .bryo(["secret", "exists", "none"])
        .output()
        .expect(1);
    let missing = sandbox.bryo(["secret", "inspect", "none"]).output();
    assert!(missing.expect(1).stderr.contains("no such secret: none"));
    sandbox.bryo(["secret", "rm", "none"]).output().expect(1);
    let ignored = sandbox.bryo(["secret", "rm", "--ignore", "none", "other"]);
    ignored.output().expect(0);
    for (name, mode) in holders(&sandbox.root()) {
        assert_eq!(mode, 0o600, "{name}");
    }
    sandbox.bryo(["secret", "rm", "--all"]).output().expect(0);
    assert_eq!(holders(&sandbox.root()), []);
    for bad in ["a/b", "-x", ""] {
        create(&sandbox, &["--", bad, "-"]).expect(1);
    }
    let nothing = sandbox.bryo(["secret", "create", "empty", "/dev/null"]);
    assert!(nothing.output().expect(1).stderr.contains("0 bytes"));
}

#[test]
fn a_container_has_the_secrets_that_it_was_handed() {
    let sandbox = Sandbox::with_busybox();
    create(&sandbox, &["word", "-"]).expect(0);
    let read = |flags: &[&str], script: &str| {
        let flags: Vec<&str> = flags.iter().flat_map(|flag| ["--secret", flag]).collect();
        sandbox.shell(&flags, script)
    };
    let file = "cat /run/secrets/word; stat -c ' %a %u %g' /run/secrets/word";
    assert_eq!(read(&["word"], file), format!("{WORD} 444 0 0"));
    let private = "word,target=/etc/key,mode=0400";
    let script = "cat /etc/key; stat -c ' %a' /etc/key; echo >/etc/key || echo ' kept'";
    let said = read(&[private], script);
    assert_eq!(said, format!("{WORD} 400\n kept"));
    assert_eq!(read(&["word,type=env"], "echo $word"), WORD);
    let both = read(
        &["word,type=env,target=KEY", "source=word,target=a"],
        "echo $KEY; cat /run/secrets/a",
    );
    assert_eq!(both, format!("{WORD}\n{WORD}"));
    let missing = sandbox.run(&["--secret", "none", "busybox", "true"]);
    assert!(missing.expect(125).stderr.contains("no such secret: none"));
    let twice = sandbox.run(&["--secret", "word", "--secret", "word", "busybox", "true"]);
    assert!(twice.expect(125).stderr.contains("two mounts"));
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn what_shows_a_container_does_not_show_its_secrets() {
    let sandbox = Sandbox::with_busybox();
    create(&sandbox, &["word", "-"]).expect(0);
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--secret",
        "word,type=env,target=KEY",
    ];
    let run = sandbox.bryo(run).args(["--secret", "word,mode=0440"]);
    run.args(["busybox", "sleep", "999"]).output().expect(0);
    // Removed or not, the container has its own.
    sandbox.bryo(["secret", "rm", "word"]).output().expect(0);
    let inside = "echo $KEY; cat /run/secrets/word";
    let exec = sandbox.bryo(["exec", "c", "sh", "-c", inside]).stdout();
    assert_eq!(exec.trim(), format!("{WORD}\n{WORD}"));
    let inspect = sandbox.bryo(["inspect", "c"]).stdout();
    assert!(!inspect.contains(WORD), "{inspect}");
    let shown: Value = serde_json::from_str(&inspect).unwrap();
    let secrets = shown[0]["Config"]["Secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 2);
    assert_eq!(
        (&secrets[1]["Name"], &secrets[1]["Mode"]),
        (&"word".into(), &0o440.into())
    );
    sandbox.bryo(["restart", "-t0", "c"]).output().expect(0);
    let exec = sandbox.bryo(["exec", "c", "sh", "-c", inside]).stdout();
    assert_eq!(exec.trim(), format!("{WORD}\n{WORD}"));
    // Neither its image nor what it changed has them.
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    let config = sandbox.bryo(["inspect", "made"]).stdout();
    assert!(!config.contains(WORD), "{config}");
    let files = sandbox
        .bryo(["run", "--rm", "made"])
        .args(["sh", "-c", "cat /run/secrets/*"]);
    assert!(!files.output().stdout.contains(WORD));
    let exported = sandbox.bryo(["export", "c"]).output().expect(0);
    assert!(!exported.stdout.contains(WORD));
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    wait_for("the copies to go with the container", || {
        holders(&sandbox.root()).is_empty().then_some(())
    });
}
