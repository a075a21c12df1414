//! The command line: one file per verb, each an `Args` and a `run`.

mod api;
mod attach;
mod build;
mod builder;
mod check;
mod chosen;
mod commit;
mod completion;
mod compose;
mod config;
mod confirm;
mod container;
mod copy;
mod cp;
mod create;
mod diff;
mod doctor;
mod error;
mod events;
mod exec;
mod export;
mod format;
mod generate;
mod healthcheck;
mod hello;
mod help;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod limits;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod manifest;
mod network;
mod oci;
pub mod output;
mod pause;
mod platform;
mod port;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
pub mod refused;
mod registry;
mod rename;
mod reset;
mod rm;
mod rmi;
mod run;
mod save;
mod secret;
mod start;
mod stats;
mod stop;
mod streams;
mod system;
mod tag;
pub mod template;
mod top;
mod tree;
mod untag;
mod update;
mod variables;
mod version;
mod volume;
mod wait;

use self::error::Family;
use crate::engine::container::containers::Containers;
use crate::engine::ground::activation::Sockets;
use crate::engine::ground::paths;
use crate::image::store::Store;
use crate::sys;
use anyhow::Result;
use clap::{FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Containers for ordinary users: no root, no daemon, nothing to install
#[derive(Debug, Parser)]
#[command(
    name = "bryo",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    /// Where images and containers are kept [default: $BRYO_ROOT, else
    /// ~/.local/share/bryo]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

// A verb's flags are made when it is the one that is called for: to make all
// takes longer than most verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Create and run a container from an image
    Run(Box<run::RunArgs>),
    /// Create a container without starting it
    Create(Box<create::Args>),
    /// Start containers that do not run
    Start(start::Args),
    /// Stop containers: ask them to end, and kill those that do not
    Stop(stop::Args),
    /// Restart containers
    Restart(stop::RestartArgs),
    /// Connect to the standard streams of a container that runs
    Attach(attach::Args),
    /// Show the processes of a container
    Top(top::Args),
    /// Show where a container's ports are published
    Port(port::Args),
    /// Show what containers use
    Stats(stats::Args),
    /// Show what happens to containers, volumes and images
    Events(events::Args),
    /// Show what a container changed of its image
    Diff(diff::Args),
    /// Show what containers printed
    Logs(logs::Args),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Args),
    /// Let no process of the containers go on
    Pause(pause::Args),
    /// Let paused containers go on
    Unpause(pause::UnpauseArgs),
    /// Give a container another name
    Rename(rename::Args),
    /// Change how containers are looked after, and what they may use
    Update(Box<update::Args>),
    /// Run a command in a running container
    Exec(exec::Args),
    /// List containers
    Ps(ps::Args),
    /// Show all that is known of containers or images
    Inspect(inspect::Args),
    /// Check the health of a container now
    Healthcheck(healthcheck::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Remove containers
    Rm(rm::Args),
    /// Copy files between a container and the host, or between containers
    Cp(cp::Args),
    /// Make an image of what a container changed
    Commit(commit::Args),
    /// Write a container's root file system as a tar
    Export(export::Args),
    /// Manage networks: containers on one reach each other by name
    Network(network::Args),
    /// Manage containers
    Container(container::Args),
    /// Manage volumes: directories that outlive containers
    Volume(volume::Args),
    /// Manage secrets: what containers are handed and nobody is shown
    Secret(secret::Args),
    /// Make an image of a root file system tar
    Import(import::Args),
    /// Load images from an archive
    Load(load::Args),
    /// Write images to an archive
    Save(save::Args),
    /// Fetch images from registries
    Pull(pull::Args),
    /// Send an image to a registry
    Push(push::Args),
    /// Copy an image from one place to another
    Copy(copy::Args),
    /// Put images for several platforms together under one name
    Manifest(manifest::Args),
    /// Remember who you are to a registry
    Login(login::Args),
    /// Forget who you are to a registry
    Logout(logout::Args),
    /// List images
    Images(images::Args),
    /// Remove images
    Rmi(rmi::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Take names from an image
    Untag(untag::Args),
    /// Make an image of a Dockerfile
    Build(Box<build::Args>),
    /// Manage what builds left for later ones
    Builder(builder::Args),
    /// Run several containers that files describe
    Compose(Box<compose::Args>),
    /// Let programs that speak to docker's daemon look after containers
    Api(api::Args),
    /// Show how an image was made
    History(history::Args),
    /// Look after images
    Image(image::Args),
    /// Look after the store as a whole
    System(system::Args),
    /// Look for damage in the store, and mend it
    Check(check::Args),
    /// Show what bryo has and what this machine offers
    Info(info::Args),
    /// Tell what keeps containers from running well here, and what to do
    /// about it
    Doctor(doctor::Args),
    /// Write files for other programs: units of systemd
    Generate(generate::Args),
    /// runc's command line, for programs that call a runtime
    Oci(Box<oci::Args>),
    /// Print what makes a shell complete bryo's command lines
    Completion(completion::Args),
    /// Write manual pages
    Man(man::Args),
    /// What may stand in the place of the last word
    #[command(hide = true)]
    Complete(completion::WordsArgs),
    /// Show bryo's version
    Version(version::Args),
    /// What the image `hello` runs: shows what a container sees
    #[command(hide = true)]
    Hello,
}

/// What verbs share: where things are kept.
#[derive(Debug)]
pub struct Context {
    /// The store's directory; empty for verbs that have none.
    pub root: PathBuf,
    /// Descriptors that our caller left open for us.
    pub inherited: Vec<i32>,
    /// Those of them that are for the container.
    pub sockets: Sockets,
}

impl Context {
    /// What `command` needs, with the store where `root` says.
    fn of(command: &Command, root: Option<&Path>) -> Result<Context> {
        let root = match (command, root) {
            // They run where there may be no place for one.
            (Command::Oci(_) | Command::Hello, _) => PathBuf::new(),
            (_, Some(root)) => std::path::absolute(root)?,
            (_, None) => paths::data_root()?,
        };
        if root != Path::new("") {
            error::store_is_at(&root);
            if let Some(warning) = paths::close_store(&root)? {
                error::warn(&warning);
            }
        }
        // Before any is opened here.
        let inherited = match command {
            Command::Run(_)
            | Command::Exec(_)
            | Command::Start(_)
            | Command::Restart(_)
            | Command::Compose(_) => sys::fd::inherited(),
            _ => Vec::new(),
        };
        let sockets = match inherited.is_empty() {
            true => Sockets::default(),
            false => Sockets::of_this_process()?,
        };
        Ok(Context {
            root,
            inherited,
            sockets,
        })
    }

    /// The user's images; the store is made if it is missing.
    pub fn store(&self) -> Result<Store> {
        Store::open(&self.root)
    }

    /// The user's containers.
    pub fn containers(&self) -> Result<Containers> {
        Ok(Containers::open(&self.store()?))
    }
}

/// Parses the command line, runs the verb, prints its error, and returns the
/// exit code.
pub fn main() -> ExitCode {
    crate::sys::signal::await_children();
    if called_as_runtime().is_none() && help::is_wanted() {
        return match help::print(<Cli as clap::CommandFactory>::command()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(Family::Other, &error),
        };
    }
    let words = match called_as_runtime() {
        Some(words)
            if words
                .get(2)
                .is_some_and(|word| word == "--version" || word == "-v") =>
        {
            let printed = output::line(oci::version());
            return ExitCode::from(u8::from(printed.is_err()));
        }
        Some(words) => oci::words(words),
        None => {
            let words: Vec<OsString> = std::env::args_os().collect();
            help::of_verb(&words).unwrap_or(words)
        }
    };
    let parsed = match config::command(&words) {
        Ok(None) => Cli::try_parse_from(&words),
        Ok(Some(command)) => {
            let matches = command.try_get_matches_from(&words);
            matches.and_then(|matches| Cli::from_arg_matches(&matches))
        }
        // Flags too, though in a file.
        Err(error) => {
            error::report(&error);
            return ExitCode::from(error::WRONG_FLAG);
        }
    };
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if words.get(1).is_some_and(|word| word == "oci") => return oci::usage(&error),
        Err(error) => return usage(&error, &words),
    };
    let command = match cli.command {
        Command::Container(args) => args.command(),
        other => other,
    };
    let family = command.family();
    let done = run(command, cli.root);
    match crate::engine::container::events::lost() {
        0 => {}
        lost => error::warn(&format!(
            "no room to record what happened: {lost} of bryo events"
        )),
    }
    match done {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => failed(family, &error),
    }
}

/// The words of a call by the name of a runtime, as those of the verb.
fn called_as_runtime() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let called = Path::new(&program).file_name()?;
    if called != oci::NAME {
        return None;
    }
    let verb = OsString::from("oci");
    Some([program, verb].into_iter().chain(words).collect())
}

/// Prints the error of a verb, and returns its exit code.
fn failed(family: Family, error: &anyhow::Error) -> ExitCode {
    error::report(error);
    ExitCode::from(error::exit_code(family, error))
}

/// A parser for a flag that has one of some words, and what these stand for.
fn words<T: Clone + Send + Sync + 'static, const N: usize>(
    words: [&'static str; N],
    of: fn(&str) -> T,
) -> impl clap::builder::TypedValueParser<Value = T> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(words).map(move |word| of(&word))
}

/// Does something for each of several names: an error with one does not keep
/// the others from their turn. The last error is returned, earlier ones are
/// printed.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut last = Ok(());
    for name in names {
        if let Err(error) = act(name)
            && let Err(earlier) = std::mem::replace(&mut last, Err(error))
        {
            error::report(&earlier);
        }
    }
    last
}

/// Prints help to standard output, and errors to standard error with docker's
/// exit code.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let words = words.iter().map(|word| word.to_string_lossy().into_owned());
    match refused::explain(error, &words.collect::<Vec<_>>()) {
        Some(text) => eprintln!("error: {text}"),
        None => drop(error.print()),
    }
    match error.use_stderr() {
        true => ExitCode::from(usage_code(error)),
        false => ExitCode::SUCCESS,
    }
}

/// Docker has one for flags, and one for words that are missing or not known.
fn usage_code(error: &clap::Error) -> u8 {
    use clap::error::{ContextKind, ContextValue};
    let about_flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.starts_with('-'),
        Some(ContextValue::Strings(arguments)) => arguments.iter().all(|a| a.starts_with('-')),
        _ => false,
    };
    match about_flag {
        true => error::WRONG_FLAG,
        false => 1,
    }
}

impl Command {
    fn family(&self) -> Family {
        match self {
            Command::Run(_) => Family::Run,
            Command::Create(_) | Command::Update(_) => Family::Describing,
            _ => Family::Other,
        }
    }
}

/// Runs a verb, and returns its exit code.
fn run(command: Command, root: Option<PathBuf>) -> Result<i32> {
    let context = Context::of(&command, root.as_deref())?;
    match &command {
        Command::Run(args) => return run::run(args, &context),
        Command::Create(args) => create::run(args, &context),
        Command::Start(args) => return start::run(args, &context),
        Command::Stop(args) => stop::run(args, &context),
        Command::Restart(args) => stop::restart(args, &context),
        Command::Attach(args) => return attach::run(args, &context),
        Command::Top(args) => top::run(args, &context),
        Command::Port(args) => port::run(args, &context),
        Command::Stats(args) => stats::run(args, &context),
        Command::Events(args) => events::run(args, &context),
        Command::Diff(args) => diff::run(args, &context),
        Command::Logs(args) => logs::run(args, &context),
        Command::Wait(args) => wait::run(args, &context),
        Command::Pause(args) => pause::run(args, &context),
        Command::Unpause(args) => pause::unpause(args, &context),
        Command::Rename(args) => rename::run(args, &context),
        Command::Update(args) => update::run(args, &context),
        Command::Exec(args) => return exec::run(args, &context),
        Command::Ps(args) => ps::run(args, &context),
        Command::Inspect(args) => inspect::run(args, &context),
        Command::Healthcheck(args) => return healthcheck::run(args, &context),
        Command::Kill(args) => kill::run(args, &context),
        Command::Rm(args) => rm::run(args, &context),
        Command::Cp(args) => cp::run(args, &context),
        Command::Commit(args) => commit::run(args, &context),
        Command::Export(args) => export::run(args, &context),
        Command::Network(args) => return network::run(args, &context),
        Command::Container(args) => return container::run(args, &context),
        Command::Volume(args) => return volume::run(args, &context),
        Command::Secret(args) => return secret::run(args, &context),
        Command::Import(args) => import::run(args, &context),
        Command::Load(args) => load::run(args, &context),
        Command::Save(args) => save::run(args, &context),
        Command::Pull(args) => pull::run(args, &context),
        Command::Push(args) => push::run(args, &context),
        Command::Copy(args) => copy::run(args, &context),
        Command::Compose(args) => return compose::run(args, &context),
        Command::Api(args) => api::run(args, &context),
        Command::Manifest(args) => manifest::run(args, &context),
        Command::Login(args) => login::run(args),
        Command::Logout(args) => logout::run(args),
        Command::Images(args) => images::run(args, &context),
        Command::Rmi(args) => rmi::run(args, &context),
        Command::Tag(args) => tag::run(args, &context),
        Command::Untag(args) => untag::run(args, &context),
        Command::Build(args) => return build::run(args, &context),
        Command::Builder(args) => builder::run(args, &context),
        Command::History(args) => history::run(args, &context),
        Command::Image(args) => return image::run(args, &context),
        Command::System(args) => return system::run(args, &context),
        Command::Check(args) => return check::run(args, &context),
        Command::Info(args) => info::run(args, &context),
        Command::Doctor(args) => return doctor::run(args, &context),
        Command::Generate(args) => generate::run(args, &context),
        Command::Oci(args) => return Ok(oci::main(args, root)),
        Command::Completion(args) => completion::run(args),
        Command::Man(args) => man::run(args),
        Command::Complete(args) => completion::words(args, &context),
        Command::Version(args) => version::run(args),
        Command::Hello => hello::run(),
    }?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn each_verb_has_the_words_of_its_flags() {
        // The first are there before the verb is built, the second from then on.
        let (plain, mut built) = (super::Cli::command(), super::Cli::command());
        built.build();
        for verb in plain.get_subcommands() {
            let then = built.find_subcommand(verb.get_name()).unwrap();
            let words = |verb: &clap::Command| verb.get_about().map(ToString::to_string);
            assert_eq!(words(verb), words(then), "{}", verb.get_name());
        }
    }

    #[test]
    fn the_root_may_stand_anywhere() {
        for line in [
            "bryo --root /r run deb ls",
            "bryo run --root /r deb ls",
            "bryo exec --root=/r c -x",
            "bryo image ls --root /r",
        ] {
            let cli = super::Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.root.as_deref(), Some("/r".as_ref()), "{line}");
        }
    }
}
