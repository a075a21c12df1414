//! `bryo exec`.

use super::Context;
use super::error;
use super::streams::{input_is_a_terminal, window_size};
use crate::engine::container::control::WantedStreams;
use crate::engine::ground::caller::Caller;
use crate::engine::request::exec::ExecRequest;
use crate::engine::request::{detach_keys, environment};
use crate::engine::supervise::attach::End;
use crate::engine::supervise::exec::{How, create, exec, start};
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
    /// Keys that leave a command with a terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: String,
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
    let detach_keys = detach_keys::parse(&args.detach_keys)?;
    let containers = context.containers()?;
    let mut container = containers.find(&args.container)?;
    let user = args.user.as_deref().map(str::parse);
    let request = ExecRequest {
        command: args.command.clone(),
        env: environment::read(&args.env_file, &args.env).or_kind(Kind::Invalid)?,
        workdir: args.workdir.clone(),
        user: user.transpose().or_kind(Kind::Invalid)?,
        interactive: args.interactive,
        tty: args.tty,
        privileged: args.privileged,
        window_size: args.tty.then(window_size).flatten(),
    };
    if args.tty && args.interactive {
        input_is_a_terminal()?;
    }
    let caller = Caller::command()?;
    if !args.tty && !args.detach {
        return exec(&containers, &mut container, &request, caller);
    }
    let how = How {
        attach: (!args.detach).then_some(WantedStreams {
            input: args.interactive,
            ..WantedStreams::OUTPUTS
        }),
        foreground: !args.detach,
        detach_keys,
        inherited: context.inherited.clone(),
    };
    let exec = create(&containers, &mut container, request)?;
    match start(&containers, container, exec, &how, caller, &error::warn)? {
        End::Exited(code) => Ok(code),
        End::Left => Ok(0),
    }
}

/// A command in a container of a service.
pub struct OfService {
    /// The container.
    pub container: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// It is left running.
    pub detach: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Variables.
    pub env: Vec<String>,
    /// User and group.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// All capabilities and no filter.
    pub privileged: bool,
}

/// Runs a command in a container of a service, with standard input.
pub fn of_service(context: &Context, service: OfService) -> Result<i32> {
    let args = Args {
        container: service.container,
        command: service.command,
        detach: service.detach,
        detach_keys: detach_keys::DEFAULT.to_owned(),
        interactive: !service.detach,
        tty: service.tty,
        env: service.env,
        env_file: Vec::new(),
        workdir: service.workdir,
        user: service.user,
        privileged: service.privileged,
    };
    run(&args, context)
}
