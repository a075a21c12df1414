//! The command line: one file per verb, each an `Args` and a `run`.

mod doctor;
mod error;
mod exec;
mod export;
mod hello;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
pub mod output;
mod progress;
mod ps;
mod rm;
mod rmi;
mod run;
mod tag;
mod unsupported;
mod version;

use crate::engine::containers::Containers;
use crate::engine::paths;
use crate::image::store::Store;
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Create and run a container from an image
    Run(Box<run::Args>),
    /// Run a command in a running container
    Exec(exec::Args),
    /// List containers
    Ps(ps::Args),
    /// Show all that is known of containers or images
    Inspect(inspect::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Remove containers
    Rm(rm::Args),
    /// Write a container's root file system as a tar
    Export(export::Args),
    /// Bring a root file system in as an image
    Import(import::Args),
    /// Bring images in from an archive
    Load(load::Args),
    /// List images
    Images(images::Args),
    /// Remove images
    Rmi(rmi::Args),
    /// Give an image a further name
    Tag(tag::Args),
    /// Show what bryo has and what this machine offers
    Info(info::Args),
    /// Tell what keeps containers from running well here, and what to do
    /// about it
    Doctor(doctor::Args),
    /// Show bryo's version
    Version(version::Args),
    /// What the image `hello` runs: shows what a container sees
    #[command(hide = true)]
    Hello,
}

/// What verbs share: where things are kept.
#[derive(Debug)]
pub struct Context {
    /// The store's directory.
    pub root: PathBuf,
}

impl Context {
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => error::report(&error),
    }
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
fn usage(error: &clap::Error) -> ExitCode {
    if let Some(text) = unsupported::explain(error) {
        eprintln!("error: {text}");
        return ExitCode::from(125);
    }
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(125),
        false => ExitCode::SUCCESS,
    }
}

impl Cli {
    fn run(self) -> Result<i32> {
        if let Command::Hello = self.command {
            return hello::run().map(|()| 0);
        }
        let root = match self.root {
            Some(root) => std::path::absolute(root)?,
            None => paths::data_root()?,
        };
        let context = Context { root };
        match &self.command {
            Command::Run(args) => return run::run(args, &context),
            Command::Exec(args) => return exec::run(args, &context),
            Command::Ps(args) => ps::run(args, &context),
            Command::Inspect(args) => inspect::run(args, &context),
            Command::Kill(args) => kill::run(args, &context),
            Command::Rm(args) => rm::run(args, &context),
            Command::Export(args) => export::run(args, &context),
            Command::Import(args) => import::run(args, &context),
            Command::Load(args) => load::run(args, &context),
            Command::Images(args) => images::run(args, &context),
            Command::Rmi(args) => rmi::run(args, &context),
            Command::Tag(args) => tag::run(args, &context),
            Command::Info(args) => info::run(args, &context),
            Command::Doctor(args) => return doctor::run(args, &context),
            Command::Version(args) => version::run(args),
            Command::Hello => hello::run(),
        }?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
