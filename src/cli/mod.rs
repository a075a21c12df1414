//! The command line: one file per verb, each an `Args` and a `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::image::store::Store;

mod images;
mod import;
mod load;
mod output;
mod progress;
mod rmi;
mod tag;

/// Containers for ordinary users.
#[derive(Parser)]
#[command(name = "bryo", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Import(import::Args),
    Load(load::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Tag(tag::Args),
}

/// What every verb may need.
pub struct Context {
    /// Where everything is kept: `$BRYO_ROOT`, else `$XDG_DATA_HOME/bryo`.
    pub root: PathBuf,
}

impl Context {
    fn new() -> Result<Context> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
        let root = std::env::var_os("BRYO_ROOT")
            .map(PathBuf::from)
            .or_else(|| {
                let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
                Some(data.or_else(home)?.join("bryo"))
            });
        let root = root.context("neither BRYO_ROOT nor HOME is set")?;
        Ok(Context { root })
    }

    /// The images.
    pub fn store(&self) -> Result<Store> {
        Store::open(&self.root)
    }
}

/// Parses the command line, runs the verb, prints its error, and returns the
/// exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = || {
        let context = Context::new()?;
        match &cli.command {
            Command::Import(args) => import::run(args, &context),
            Command::Load(args) => load::run(args, &context),
            Command::Images(args) => images::run(args, &context),
            Command::Rmi(args) => rmi::run(args, &context),
            Command::Tag(args) => tag::run(args, &context),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(125)
        }
    }
}
