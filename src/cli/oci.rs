//! `bryo oci`, also called as `bryo-oci`: runc's command line, for engines that
//! call a runtime.
//!
//! They read exit codes, the text of errors and the log (`--log`), a JSON object a
//! line; so nothing else is printed than what was asked for.

use super::output;
use crate::engine::ground::paths;
use crate::error::{Kind, refuse};
use crate::oci::state::{Shown, States};
use crate::oci::{create, exec, lifecycle};
use crate::sys::signals;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name by which the program is this verb.
pub const NAME: &str = "bryo-oci";

/// The specification of runtimes that is done.
const SPEC: &str = "1.3.0";

/// What an `exec` that fails exits with, as runc's.
const EXEC_FAILED: u8 = 255;

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
    /// Who makes control groups; this command line makes none yet
    #[arg(long, value_name = "MANAGER")]
    cgroup_manager: Option<String>,
    /// Whether the caller is an ordinary user, which is seen
    #[arg(long, value_name = "BOOL")]
    rootless: Option<String>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a container of a bundle; its process waits to be started
    Create(Create),
    /// Let a container execute its command
    Start(Id),
    /// Show how a container is, as JSON
    State(Id),
    /// Send a signal to a container's process
    Kill(Kill),
    /// Remove a container that does not run
    Delete(Delete),
    /// Make a container, start it, and wait for its end
    Run(Run),
    /// Run a further process in a container
    Exec(Exec),
    /// List containers
    List(List),
}

#[derive(Debug, clap::Args)]
struct Id {
    /// The container's id
    id: String,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The container's id
    id: String,
    /// The directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// A socket that gets the master side of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// A file that gets the process's id
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the container gets
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    preserve_fds: u32,
    /// Not needed: the root is entered without pivot_root where that fails
    #[arg(long)]
    no_pivot: bool,
    /// Not needed: a keyring that cannot be made is none
    #[arg(long)]
    no_new_keyring: bool,
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    create: Create,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Do not remove it when it ends
    #[arg(long)]
    keep: bool,
    /// Not needed
    #[arg(long)]
    no_subreaper: bool,
}

#[derive(Debug, clap::Args)]
struct Kill {
    /// The container's id
    id: String,
    /// Number or name
    #[arg(default_value = "TERM")]
    signal: String,
    /// All of its processes
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Delete {
    /// The container's id
    id: String,
    /// Also one that runs; that there is none is no error
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Exec {
    /// The container's id
    id: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// A file with the specification of the process
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// User and group by number
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A file that gets the process's id
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// A socket that gets the master side of its terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// How many descriptors from 3 on it gets
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    preserve_fds: u32,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ListFormat {
    Table,
    Json,
}

/// What `--version` prints, in runc's lines.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{NAME} version {version}\nspec: {SPEC}")
}

/// Runs the verb; `root` is where states are kept. Errors are reported here.
pub fn main(args: &Args, root: Option<PathBuf>) -> ExitCode {
    let error = match run(args, root) {
        Ok(code) => return ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => error,
    };
    let text = format!("{error:#}");
    args.note("error", &text);
    eprintln!("{NAME}: {text}");
    match args.verb {
        Verb::Exec(_) => ExitCode::from(EXEC_FAILED),
        _ => ExitCode::FAILURE,
    }
}

fn run(args: &Args, root: Option<PathBuf>) -> Result<i32> {
    let root = match root {
        Some(root) => root,
        None => paths::runtime_dir()?.join("oci"),
    };
    let states = States::open(&root)?;
    let warn = |text: &str| args.note("warning", text);
    match &args.verb {
        Verb::Create(args) => create::create(&states, &args.id, &args.how(), &warn)?,
        Verb::Start(args) => lifecycle::start(&states, &args.id)?,
        Verb::State(args) => {
            let shown = states.find(&args.id)?.shown()?;
            output::line(serde_json::to_string_pretty(&shown)?)?;
        }
        Verb::Kill(args) => {
            let signal = signals::parse(&args.signal);
            let unknown = || Kind::Invalid.says(format!("unknown signal \"{}\"", args.signal));
            let signal = signal.with_context(unknown)?;
            lifecycle::kill(&states, &args.id, signal, args.all)?;
        }
        Verb::Delete(args) => lifecycle::delete(&states, &args.id, args.force, &warn)?,
        Verb::Run(args) => {
            let how = args.create.how();
            let ends = (args.detach, args.keep);
            return lifecycle::run(&states, &args.create.id, &how, ends, &warn);
        }
        Verb::Exec(args) => return exec::exec(&states, &args.id, &args.how()?, &warn),
        Verb::List(args) => list(&states, args)?,
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

impl Args {
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

impl Create {
    fn how(&self) -> create::How {
        create::How {
            bundle: self.bundle.clone(),
            console: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            preserved: self.preserve_fds,
        }
    }
}

impl Exec {
    fn how(&self) -> Result<exec::How> {
        Ok(exec::How {
            process: self.process.clone(),
            args: self.command.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: self.user.as_deref().map(ids).transpose()?,
            tty: self.tty,
            console: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            preserved: self.preserve_fds,
            detached: self.detach,
        })
    }
}

/// Reads `UID[:GID]`.
fn ids(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| match part.parse::<u32>() {
        Ok(number) if number != u32::MAX => Ok(number),
        _ => refuse!(Invalid, "--user {text}: UID[:GID] is wanted, both numbers"),
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}
