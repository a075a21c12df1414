//! `bryo oci`, also called as `bryo-oci`: runc's command line, for engines that
//! call a runtime.
//!
//! They read exit codes, the text of errors and the log (`--log`), a JSON object a
//! line; so nothing else is printed than what was asked for.

mod args;

use super::output;
use crate::cgroup::place::Manager;
use crate::engine::ground::paths;
use crate::error::{Kind, refuse};
use crate::oci::state::{Shown, States};
use crate::oci::{create, events, example, exec, features, group, lifecycle};
use crate::sys::signals;
use anyhow::{Context as _, Result};
use args::{List, ListFormat, LogFormat, Ps, Verb};
use jiff::Timestamp;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The name by which the program is this verb.
pub const NAME: &str = "bryo-oci";

const NO_CHECKPOINTS: &str = "not supported: bryo keeps no processes in files";

/// What a verb that is none exits with, as runc's.
const NO_VERB: u8 = 3;

/// What an `exec` that fails exits with, as runc's.
const EXEC_FAILED: i32 = 255;

/// runc's command line, for programs that call a runtime
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where errors are written to, too
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// For debugging: nothing is added
    #[arg(long)]
    debug: bool,
    /// Control groups are made by systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes control groups: cgroupfs, systemd or disabled
    #[arg(long, value_name = "MANAGER")]
    cgroup_manager: Option<CgroupManager>,
    /// Whether the caller is an ordinary user, which is seen
    #[arg(long, value_name = "BOOL")]
    rootless: Option<String>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}

/// What `--version` prints, in runc's lines.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{NAME} version {version}\nspec: {}", features::SPEC)
}

/// Words as they are read here: Go's programs take flags with one dash too, and
/// their callers give them such (`-no-subreaper`). What a command gets is not
/// touched.
pub fn words(words: Vec<OsString>) -> Vec<OsString> {
    let mut others = false;
    let one_dash = |word: &str| {
        let name = word.strip_prefix('-').unwrap_or_default();
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
    };
    let read = words.into_iter().map(|word| {
        let text = word.to_string_lossy();
        others |= matches!(text.as_ref(), "exec" | "ps" | "--");
        match !others && one_dash(&text) {
            true => OsString::from(format!("-{text}")),
            false => word,
        }
    });
    read.collect()
}

/// Says what is wrong with a command line, in runc's way.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::{ContextKind, ErrorKind};
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => {
            let printed = output::line(error.render().to_string().trim_end());
            ExitCode::from(u8::from(printed.is_err()))
        }
        ErrorKind::InvalidSubcommand => {
            let verb = error.get(ContextKind::InvalidSubcommand);
            let verb = verb.map(ToString::to_string).unwrap_or_default();
            eprintln!("{NAME}: No help topic for '{verb}'");
            ExitCode::from(NO_VERB)
        }
        _ => {
            let text = error.render().to_string();
            let text = text.trim_start_matches("error: ").trim_end();
            eprintln!("{NAME}: incorrect usage: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the verb, and returns its exit code; `root` is where states are kept.
/// Errors are reported here.
pub fn main(args: &Args, root: Option<PathBuf>) -> i32 {
    let error = match run(args, root) {
        Ok(code) => return code,
        Err(error) => error,
    };
    let text = format!("{error:#}");
    args.note("error", &text);
    eprintln!("{NAME}: {text}");
    match args.verb {
        Verb::Exec(_) => EXEC_FAILED,
        _ => 1,
    }
}

fn run(args: &Args, root: Option<PathBuf>) -> Result<i32> {
    // Not before it is needed: some verbs are about no container.
    let states = || match &root {
        Some(root) => States::open(root),
        None => States::open(&paths::runtime_dir()?.join("oci")),
    };
    let warn = |text: &str| args.note("warning", text);
    let manager = args.manager();
    match &args.verb {
        Verb::Create(args) => create::create(&states()?, &args.id, &args.how(manager), &warn)?,
        Verb::Start(args) => lifecycle::start(&states()?, &args.id)?,
        Verb::State(args) => {
            let shown = states()?.find(&args.id)?.shown()?;
            output::line(serde_json::to_string_pretty(&shown)?)?;
        }
        Verb::Kill(args) => {
            let unknown = || Kind::Invalid.says(format!("unknown signal \"{}\"", args.signal));
            let signal = match args.signal.as_str() {
                // Whether it is there.
                "0" => 0,
                name => signals::parse(name).with_context(unknown)?,
            };
            lifecycle::kill(&states()?, &args.id, signal, args.all)?;
        }
        Verb::Delete(args) => lifecycle::delete(&states()?, &args.id, args.force, &warn)?,
        Verb::Run(args) => {
            let how = args.create.how(manager);
            let ends = (args.detach, args.keep);
            return lifecycle::run(&states()?, &args.create.id, &how, ends, &warn);
        }
        Verb::Exec(args) => return exec::exec(&states()?, &args.id, &args.how()?, &warn),
        Verb::List(args) => list(&states()?, args)?,
        Verb::Ps(args) => ps(&states()?, args)?,
        Verb::Pause(args) => group::pause(&states()?.find_locked(&args.id)?.0)?,
        Verb::Resume(args) => group::resume(&states()?.find_locked(&args.id)?.0)?,
        Verb::Update(args) => {
            let change = args.change()?;
            group::update(&states()?.find_locked(&args.id)?.0, &change)?;
        }
        Verb::Events(args) => {
            let container = states()?.find(&args.id)?;
            let told = |event: &serde_json::Value| Ok(output::line(event.to_string())?);
            match args.stats {
                true => events::once(&container, told)?,
                false => events::follow(&container, args.interval, told)?,
            }
        }
        Verb::Features => {
            let document = features::document(env!("CARGO_PKG_VERSION"));
            output::line(serde_json::to_string_pretty(&document)?)?;
        }
        Verb::Spec(args) => example::write(&args.bundle, args.rootless)?,
        Verb::Checkpoint(_) => refuse!(Unsupported, "checkpoint: {NO_CHECKPOINTS}"),
        Verb::Restore(_) => refuse!(Unsupported, "restore: {NO_CHECKPOINTS}"),
    }
    Ok(0)
}

fn list(states: &States, args: &List) -> Result<()> {
    let all = states.list()?;
    let all = all.iter().map(|container| container.shown());
    let all: Vec<Shown> = all.collect::<Result<_>>()?;
    if args.quiet {
        return Ok(all.iter().try_for_each(|shown| output::line(&shown.id))?);
    }
    if args.format == ListFormat::Json {
        return Ok(output::line(serde_json::to_string(&all)?)?);
    }
    let mut table = output::Table::new(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for shown in &all {
        table.row(vec![
            shown.id.clone(),
            shown.pid.to_string(),
            shown.status.to_owned(),
            shown.bundle.display().to_string(),
            shown.created.to_string(),
            shown.owner.clone(),
        ]);
    }
    Ok(table.print()?)
}

/// The lines of ps(1) that are about the container's processes.
fn ps(states: &States, args: &Ps) -> Result<()> {
    let pids = states.find(&args.id)?.processes()?;
    if args.format == ListFormat::Json {
        return Ok(output::line(serde_json::to_string(&pids)?)?);
    }
    let mut command = Command::new("ps");
    match args.options.is_empty() {
        true => command.arg("-ef"),
        false => command.args(&args.options),
    };
    let said = command.output().context("ps")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    if !said.status.success() {
        refuse!(Invalid, "ps: {}", errors.trim());
    }
    let text = String::from_utf8_lossy(&said.stdout);
    let mut lines = text.lines();
    let heads = lines.next().unwrap_or_default();
    let column = heads.split_whitespace().position(|head| head == "PID");
    let Some(column) = column else {
        refuse!(Invalid, "ps: there is no column PID in what it prints");
    };
    output::line(heads)?;
    for line in lines {
        let pid = line.split_whitespace().nth(column);
        if pid.is_some_and(|pid| pid.parse().is_ok_and(|pid| pids.contains(&pid))) {
            output::line(line)?;
        }
    }
    Ok(())
}

impl Args {
    /// Who is to make control groups, where that is said.
    fn manager(&self) -> Option<Manager> {
        match (self.systemd_cgroup, self.cgroup_manager) {
            (true, _) | (false, Some(CgroupManager::Systemd)) => Some(Manager::Systemd),
            (false, Some(CgroupManager::Cgroupfs)) => Some(Manager::Cgroupfs),
            (false, Some(CgroupManager::Disabled)) => Some(Manager::Disabled),
            (false, None) => None,
        }
    }

    /// Writes a line to the log. That this fails is no reason to fail.
    fn note(&self, level: &str, text: &str) {
        let Some(path) = &self.log else { return };
        let time = Timestamp::now();
        let line = match self.log_format {
            LogFormat::Json => {
                serde_json::json!({"level": level, "msg": text, "time": time.to_string()})
                    .to_string()
            }
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={text:?}"),
        };
        let file = File::options().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_one_dash_or_two() {
        let read = |text: &str| {
            let all = words(text.split(' ').map(OsString::from).collect());
            let all: Vec<_> = all.iter().map(|word| word.to_string_lossy()).collect();
            all.join(" ")
        };
        for (given, meant) in [
            ("run -no-subreaper -b d c", "run --no-subreaper -b d c"),
            (
                "-log-format=json kill -a c -9",
                "--log-format=json kill -a c -9",
            ),
            ("ps -f=json c", "ps -f=json c"),
            ("exec c find -name x", "exec c find -name x"),
        ] {
            assert_eq!(read(given), meant);
        }
    }
}
