//! `bryo exec`.

use super::Context;
use crate::engine::request::environment;
use crate::engine::supervise::exec::{ExecOptions, exec, exec_detached};
use crate::error::{Kind, OrKind};
use anyhow::Result;
use std::path::PathBuf;

/// Run a command in a running container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,

    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,

    /// Leave the command running
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable, or pass one on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// All capabilities and no filter
    #[arg(long)]
    privileged: bool,
}

/// Runs the command; its exit code is ours.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let mut container = context.containers()?.find(&args.container)?;
    let user = args.user.as_deref().map(str::parse);
    let options = ExecOptions {
        command: args.command.clone(),
        env: environment::read(&args.env_file, &args.env).or_kind(Kind::Invalid)?,
        workdir: args.workdir.clone(),
        user: user.transpose().or_kind(Kind::Invalid)?,
        interactive: args.interactive,
        tty: args.tty,
        privileged: args.privileged,
    };
    match args.detach {
        true => exec_detached(&mut container, &options, &context.inherited).map(|()| 0),
        false => exec(&mut container, &options),
    }
}
