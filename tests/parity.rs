//! Every verb and flag in the helps of docker's and podman's clients is taken, or
//! refused with what to use instead.

use crate::common::{repository, require_tool};
use bryo::cli::refused::{document, instead, is_taken};
use std::path::Path;
use std::process::Command;

/// What a help lists: verbs, and flags by all of their names.
#[derive(Default)]
struct Help {
    verbs: Vec<String>,
    flags: Vec<Vec<String>>,
}

/// Reads a help of cobra's, in docker's form or in podman's.
fn read(text: &str) -> Help {
    let mut help = Help::default();
    let mut section = "";
    for line in text.lines() {
        if !line.starts_with(' ') {
            section = line.trim_end().trim_end_matches(':');
            continue;
        }
        // What is indented further goes on with the words of the line above.
        if line.starts_with("          ") {
            continue;
        }
        let first = line.trim_start().split("  ").next().unwrap_or_default();
        if section.ends_with("Commands") && line.starts_with("  ") && !line.starts_with("   ") {
            let verb = first.split(' ').next().unwrap_or_default();
            help.verbs.push(verb.trim_end_matches('*').to_owned());
        } else if (section == "Options" || section == "Flags") && first.starts_with('-') {
            let names = first.split([' ', ',']).filter(|word| word.starts_with('-'));
            help.flags.push(names.map(str::to_owned).collect());
        }
    }
    help
}

/// What of a program's verb and all below is neither taken nor refused.
fn missing(program: &Path, home: &Path, words: &[&str], faults: &mut Vec<String>) {
    let mut command = Command::new(program);
    command.args(words).arg("--help");
    command.env_clear().env("HOME", home);
    let output = command.output().unwrap();
    let help = read(&String::from_utf8_lossy(&output.stdout));
    let name = program.file_name().unwrap().to_string_lossy();
    if words.is_empty() {
        assert!(help.verbs.len() > 30, "{name} --help was not understood");
    }
    for flag in help.flags.iter().flatten() {
        let known = matches!(&**flag, "--help" | "-h") || is_taken(words, Some(flag));
        if !words.is_empty() && !known && instead(words, Some(flag)).is_none() {
            faults.push(format!("{name} {} {flag}", words.join(" ")));
        }
    }
    for verb in &help.verbs {
        let below = [words, &[verb]].concat();
        if instead(&below, None).is_some() {
            continue;
        }
        match is_taken(&below, None) {
            true if below.len() < 4 => missing(program, home, &below, faults),
            true => {}
            false => faults.push(format!("{name} {}", below.join(" "))),
        }
    }
}

#[test]
fn all_of_docker_and_podman_is_taken_or_refused_by_name() {
    let mut faults = Vec::new();
    let home = tempfile::tempdir().unwrap();
    for (tool, package) in [("docker", "docker.io"), ("podman", "podman")] {
        missing(&require_tool(tool, package), home.path(), &[], &mut faults);
    }
    assert!(
        faults.is_empty(),
        "neither taken nor in the table of src/cli/refused:\n{}",
        faults.join("\n")
    );
}

#[test]
fn the_table_stands_in_the_documentation() {
    let path = repository().join("docs/parity.md");
    let (is, wanted) = (std::fs::read_to_string(&path), document());
    let new = std::env::temp_dir().join("parity.md");
    if is.as_deref().ok() != Some(&*wanted) {
        std::fs::write(&new, wanted).unwrap();
        panic!("{} is to be as {}", path.display(), new.display());
    }
}
