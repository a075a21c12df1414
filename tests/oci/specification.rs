//! A walk through runtime-spec 1.3, section by section. Debian's runc and crun walk
//! along, so that where they disagree it can be seen who is wrong; README.md has
//! what was found, and each section compares its line there.

use super::Runtime;
use crate::common::{Output, repository};
use serde_json::Value;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod config;
mod linux;
mod process;
mod states;

/// Something that the specification says, and what finds out whether it is so.
type Check = (&'static str, fn(&Runtime));

/// Has each runtime do what a section says, and compares that with the line of
/// README.md about it. A column of another version of a runtime than the one that
/// is here is not compared.
#[track_caller]
fn section(name: &str, checks: &[Check]) {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let line_of = |first: &str| {
        let start = format!("| {first} |");
        let line = readme.lines().find(|line| line.starts_with(&start));
        line.map(cells).unwrap_or_default()
    };
    let titles = line_of("runtime-spec 1.3");
    assert_eq!(titles.len(), 4, "README.md has no table of results");
    let known = line_of(name);
    let mut line = vec![name.to_owned()];
    let mut differs = known.len() != titles.len();
    for (at, runtime) in [Runtime::bryo(), Runtime::runc(), Runtime::crun()]
        .into_iter()
        .enumerate()
    {
        let title = match at {
            0 => "bryo".to_owned(),
            _ => version(&runtime),
        };
        let found = found(runtime, checks);
        let here = known.get(at + 1);
        differs |= title == titles[at + 1] && here != Some(&found);
        line.push(found);
    }
    assert!(!differs, "README.md should say:\n| {} |", line.join(" | "));
}

/// As the table's title has it.
fn version(runtime: &Runtime) -> String {
    let said = runtime.sandbox.command(&runtime.program).arg("--version");
    let said = said.output().expect(0).stdout;
    let mut words = said.lines().next().unwrap().split([' ', '+']);
    let (name, version) = (words.next().unwrap(), words.nth(1).unwrap());
    format!("{name} {version}")
}

/// What a runtime did, for the table.
fn found(mut runtime: Runtime, checks: &[Check]) -> String {
    let id = runtime.id.clone();
    let mut failed = Vec::new();
    for (at, (what, check)) in checks.iter().enumerate() {
        runtime.id = format!("{id}-{at}");
        println!("{}: {what}", runtime.program.display());
        let done = catch_unwind(AssertUnwindSafe(|| check(&runtime)));
        runtime.call(&["delete", "--force", &runtime.id]);
        if done.is_err() {
            failed.push(*what);
        }
    }
    match failed.as_slice() {
        [] => format!("all {}", checks.len()),
        failed => format!(
            "{} of {}, not: {}",
            checks.len() - failed.len(),
            checks.len(),
            failed.join(", ")
        ),
    }
}

/// Runs a script in a container.
fn run(runtime: &Runtime, script: &str, change: impl FnOnce(&mut Value)) -> Output {
    runtime.configure(&["sh", "-c", script], change);
    run_as_it_is(runtime)
}

/// Runs what the bundle says, with the flags where all take them.
fn run_as_it_is(runtime: &Runtime) -> Output {
    let bundle = runtime.bundle.to_str().unwrap();
    runtime.call(&["run", "-b", bundle, &runtime.id])
}

/// What a script in a container prints.
#[track_caller]
fn printed(runtime: &Runtime, script: &str, change: impl FnOnce(&mut Value)) -> String {
    let output = run(runtime, script, change).expect(0);
    output.stdout.trim_end().to_owned()
}

/// Panics unless a container is an error, whose command does not run.
#[track_caller]
fn refused(runtime: &Runtime, change: impl FnOnce(&mut Value)) {
    let output = run(runtime, "echo it runs", change);
    assert_ne!(output.code, 0, "{output}");
    assert!(!output.stdout.contains("it runs"), "{output}");
}

/// Adds to a list of a specification.
fn add(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}
