//! Verbs of `bryo compose` on one container of a service: `exec`, `logs`, `top`, `port`.

use super::Args;
use super::verbs::Scope;
use crate::cli::output::{self, Table};
use crate::cli::{Context, exec, logs};
use crate::compose::found::{is_one_off, label};
use crate::compose::labels;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::operate::processes::{Census, processes};
use crate::engine::view::{self, port};
use anyhow::Result;
use std::io::{IsTerminal, stdin};

/// Run a command in a service's running container
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// The service
    service: String,

    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,

    /// Leave the command running
    #[arg(short, long)]
    detach: bool,

    /// Set a variable, or pass one on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Which of the service's containers, from 1
    #[arg(long, value_name = "NUMBER")]
    index: Option<usize>,

    /// Give the command no terminal; it gets one where standard input is one
    #[arg(short = 'T', long)]
    no_tty: bool,

    /// All capabilities and no filter
    #[arg(long)]
    privileged: bool,

    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<std::path::PathBuf>,
}

/// Show what the services' containers print
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Those of these services alone
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    #[command(flatten)]
    span: logs::Span,

    /// Which of a service's containers, from 1
    #[arg(long, value_name = "NUMBER")]
    index: Option<usize>,

    /// No colours
    #[arg(long)]
    no_color: bool,

    /// Lines as they are, without names
    #[arg(long)]
    no_log_prefix: bool,
}

/// Show the processes of the services' containers
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Those of these services alone
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Show where a port of a service is published
#[derive(Debug, clap::Args)]
pub struct PortArgs {
    /// The service
    service: String,

    /// The container's port
    port: u16,

    /// tcp or udp
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    protocol: String,

    /// Which of the service's containers, from 1
    #[arg(long, value_name = "NUMBER")]
    index: Option<usize>,
}

/// List the user's projects
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Show those of which nothing runs too
    #[arg(short, long)]
    all: bool,

    /// Print names alone
    #[arg(short, long)]
    quiet: bool,

    /// The form
    #[arg(long, value_parser = ["table", "json"], default_value = "table")]
    format: String,
}

/// Runs a command.
pub fn exec(args: &Args, own: &ExecArgs, context: &Context) -> Result<i32> {
    let (_, container) = Scope::one(args, &own.service, own.index, context)?;
    let request = exec::OfService {
        container: container.record.id,
        command: own.command.clone(),
        detach: own.detach,
        tty: !own.no_tty && !own.detach && stdin().is_terminal(),
        env: own.env.clone(),
        user: own.user.clone(),
        workdir: own.workdir.clone(),
        privileged: own.privileged,
    };
    exec::of_service(context, request)
}

/// The name of a container as it is shown before its lines: without the project's.
pub fn short_name<'a>(container: &'a Container, project: &str) -> &'a str {
    let name = container.record.name.as_str();
    let rest = name
        .strip_prefix(project)
        .and_then(|rest| rest.strip_prefix('-'));
    rest.unwrap_or(name)
}

/// Prints logs.
pub fn logs(args: &Args, own: &LogsArgs, context: &Context) -> Result<()> {
    let mut scope = Scope::of(args, &own.services, context)?;
    // What keeps no log has nothing to show.
    let has_log = |container: &Container| container.record.keeping.log.file().is_some();
    scope.all.retain(has_log);
    if let Some(index) = own.index {
        scope
            .all
            .retain(|container| label(container, labels::NUMBER) == index.to_string());
    }
    let prefixes = scope
        .all
        .iter()
        .map(|container| short_name(container, &scope.project).to_owned());
    let prefixes: Vec<String> = prefixes.collect();
    let names = match (own.no_log_prefix, own.no_color || !output::colours()) {
        (true, _) => logs::Names::Without,
        (false, true) => logs::Names::Plain,
        (false, false) => logs::Names::Coloured,
    };
    let sources = logs::named(scope.all, &prefixes, names, "  |");
    logs::show(&scope.containers, sources, &own.span, false)
}

/// Prints processes.
pub fn top(args: &Args, own: &TopArgs, context: &Context) -> Result<()> {
    for mut container in Scope::of(args, &own.services, context)?.all {
        if container.state.process().is_none() {
            continue;
        }
        let all = processes(&mut container, &mut Census::default())?;
        let top = view::top::Top::of(&all);
        output::line(&container.record.name)?;
        let titles: Vec<&str> = top.titles.iter().map(String::as_str).collect();
        let mut table = Table::new(&titles);
        top.processes
            .into_iter()
            .for_each(|process| table.row(process));
        table.print()?;
        output::line("")?;
    }
    Ok(())
}

/// Prints where a port is.
pub fn port(args: &Args, own: &PortArgs, context: &Context) -> Result<()> {
    let (_, container) = Scope::one(args, &own.service, own.index, context)?;
    let places = port::places(&container, &format!("{}/{}", own.port, own.protocol))?;
    places
        .into_iter()
        .try_for_each(|place| Ok(output::line(place)?))
}

/// Lists projects.
pub fn ls(own: &LsArgs, context: &Context) -> Result<()> {
    let containers = Containers::open(&context.store()?);
    let mut projects: std::collections::BTreeMap<String, Vec<Container>> = Default::default();
    for container in containers.list()? {
        let project = label(&container, labels::PROJECT).to_owned();
        if !project.is_empty() && !is_one_off(&container) {
            projects.entry(project).or_default().push(container);
        }
    }
    projects.retain(|_, all| own.all || all.iter().any(|container| container.state.is_active()));
    if own.quiet {
        return projects.keys().try_for_each(|name| Ok(output::line(name)?));
    }
    let rows = projects.iter().map(|(name, all)| {
        let mut counts: std::collections::BTreeMap<&str, usize> = Default::default();
        all.iter()
            .for_each(|container| *counts.entry(container.state.name()).or_default() += 1);
        let status = counts
            .iter()
            .map(|(state, count)| format!("{state}({count})"));
        let files = all
            .first()
            .map_or("", |container| label(container, labels::FILES));
        [
            name.clone(),
            status.collect::<Vec<_>>().join(", "),
            files.to_owned(),
        ]
    });
    if own.format == "json" {
        let rows = rows.map(|[name, status, files]| {
            serde_json::json!({"Name": name, "Status": status, "ConfigFiles": files})
        });
        return Ok(output::line(serde_json::Value::from_iter(rows))?);
    }
    let mut table = Table::new(&["NAME", "STATUS", "CONFIG FILES"]);
    rows.for_each(|row| table.row(row.into()));
    Ok(table.print()?)
}
