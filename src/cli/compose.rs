//! `bryo compose`: several containers from one file. Which project, and the verbs.

use super::{Context, error};
use crate::compose::load::Files;
use crate::compose::{Fault, Options, Project};
use crate::error::refusal;
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

mod attached;
mod config;
mod down;
mod images;
mod inside;
mod ps;
mod run;
mod up;
mod verbs;

/// Run several containers that files describe
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file of the project, - for standard input; later ones go over earlier ones
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,

    /// The project's name
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,

    /// What relative paths are relative to [default: the first file's directory]
    #[arg(long, value_name = "DIR")]
    project_directory: Option<String>,

    /// A file of variables, in place of .env
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,

    /// Choose the services that have this profile
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what the files say, checked and without short forms
    Config(Box<config::ConfigArgs>),
    /// Make containers, networks and volumes as the files say, and start what does not run
    Up(Box<up::UpArgs>),
    /// Make containers, networks and volumes as the files say, and start nothing
    Create(Box<up::CreateArgs>),
    /// Run a single command in a new container of a service
    Run(Box<run::RunArgs>),
    /// Change how many containers services have
    Scale(up::ScaleArgs),
    /// Stop and remove containers and networks
    Down(down::DownArgs),
    /// List the project's containers
    Ps(ps::PsArgs),
    /// Show what the services' containers print
    Logs(inside::LogsArgs),
    /// Run a command in a service's running container
    Exec(inside::ExecArgs),
    /// Show the processes of the services' containers
    Top(inside::TopArgs),
    /// Show where a port of a service is published
    Port(inside::PortArgs),
    /// List the user's projects
    Ls(inside::LsArgs),
    /// Start containers that do not run
    Start(verbs::StartArgs),
    /// Stop containers
    Stop(verbs::StopArgs),
    /// Stop containers and start them
    Restart(verbs::RestartArgs),
    /// Send a signal to containers
    Kill(verbs::KillArgs),
    /// Remove containers that do not run
    Rm(verbs::RmArgs),
    /// Hold containers' processes
    Pause(verbs::PauseArgs),
    /// Let held processes go on
    Unpause(verbs::UnpauseArgs),
    /// Wait until containers end, and print their exit codes
    Wait(verbs::WaitArgs),
}

/// The machine's files.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // One byte more than is read tells that it is too much.
        let most = crate::compose::yaml::MAX_FILE as u64 + 1;
        let mut bytes = Vec::new();
        match path == Path::new("-") {
            true => io::stdin().take(most).read_to_end(&mut bytes)?,
            false => fs::File::open(path)?.take(most).read_to_end(&mut bytes)?,
        };
        Ok(bytes)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|metadata| !metadata.is_dir())
    }
}

/// Runs the verb.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    match &args.verb {
        Verb::Config(own) => config::run(args, own)?,
        Verb::Up(own) => return up::run(args, own, context),
        Verb::Create(own) => return up::create(args, own, context),
        Verb::Run(own) => return run::run(args, own, context),
        Verb::Scale(own) => return up::scale(args, own, context),
        Verb::Down(own) => down::run(args, own, context)?,
        Verb::Ps(own) => ps::run(args, own, context)?,
        Verb::Logs(own) => inside::logs(args, own, context)?,
        Verb::Exec(own) => return inside::exec(args, own, context),
        Verb::Top(own) => inside::top(args, own, context)?,
        Verb::Port(own) => inside::port(args, own, context)?,
        Verb::Ls(own) => inside::ls(own, context)?,
        Verb::Start(own) => verbs::start(args, own, context)?,
        Verb::Stop(own) => verbs::stop_all(args, own, context)?,
        Verb::Restart(own) => verbs::restart(args, own, context)?,
        Verb::Kill(own) => verbs::kill(args, own, context)?,
        Verb::Rm(own) => verbs::rm(args, own, context)?,
        Verb::Pause(own) => verbs::pause(args, own, context)?,
        Verb::Unpause(own) => verbs::unpause(args, own, context)?,
        Verb::Wait(own) => return verbs::wait(args, own, context),
    }
    Ok(0)
}

/// The name of the project that the flags mean, and what its files say: nothing if it has a
/// name and no file here.
fn found(args: &Args) -> Result<(String, Option<Project>)> {
    let variable = || std::env::var("COMPOSE_PROJECT_NAME").ok();
    let name = args
        .project_name
        .clone()
        .or_else(variable)
        .filter(|name| !name.is_empty());
    match (project(args, &[], false), name) {
        (Ok(project), _) => Ok((project.name.clone(), Some(project))),
        (Err(_), Some(name)) if args.file.is_empty() => Ok((name, None)),
        (Err(error), _) => Err(error),
    }
}

/// Tells of what was done.
fn report(kind: &str, name: &str, what: &str) {
    // Who does not listen any more still gets it done.
    let _ = writeln!(io::stderr(), " {kind} {name}  {what}");
}

/// The project that the flags name.
fn project(args: &Args, services: &[String], keeps_variables: bool) -> Result<Project> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let environment = std::env::vars_os();
    let environment = environment.filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    let options = Options {
        files: args.file.clone(),
        name: args.project_name.clone(),
        directory: args.project_directory.clone(),
        env_files: args.env_file.clone(),
        profiles: args.profile.clone(),
        services: services.to_vec(),
        keeps_variables,
        here: std::env::current_dir().context("the current directory")?,
        environment: environment.collect(),
    };
    let wrong = |fault: Fault| refusal!(Invalid, "{fault}");
    let project = Project::load(&options, &Disk).map_err(wrong)?;
    for warning in &project.warnings {
        error::warn(warning);
    }
    Ok(project)
}
