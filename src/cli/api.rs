//! `bryo api`: docker's API for programs that speak to docker's daemon.

use super::{Context, output};
use crate::api::server;
use crate::engine::ground::paths;
use crate::engine::request::time::parse_duration;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Let programs that speak to docker's daemon look after containers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Answer docker's API at a socket
    Serve(ServeArgs),
}

/// Answer docker's API at a socket
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// The socket, with or without unix:// [default:
    /// $XDG_RUNTIME_DIR/bryo/docker.sock]
    #[arg(value_name = "SOCKET")]
    socket: Option<String>,

    /// End when nobody was connected for so long, as 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    idle: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error:#}"))
}

/// Serves until it is ended, or nobody needs it.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let Verb::Serve(args) = &args.verb;
    let path = match &args.socket {
        Some(path) => std::path::absolute(Path::new(path.trim_start_matches("unix://")))?,
        None => default_socket()?,
    };
    let what = || format!("serve at {}", path.display());
    let listening = || Ok(output::line(format_args!("unix://{}", path.display()))?);
    server::serve(&path, &context.root, args.idle, listening).with_context(what)
}

fn default_socket() -> Result<PathBuf> {
    Ok(paths::runtime_dir()?.join("docker.sock"))
}
