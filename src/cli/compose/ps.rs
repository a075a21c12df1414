//! `bryo compose ps`.

use super::{Args, found};
use crate::cli::Context;
use crate::cli::format::{self, Form};
use crate::cli::output::{self, Table};
use crate::compose::found::{containers, is_one_off, label};
use crate::compose::labels;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::volumes::Volumes;
use crate::engine::view::ps::{Row, Summary};
use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// List the project's containers
#[derive(Debug, clap::Args)]
pub struct PsArgs {
    /// Those of these services alone
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Show those that have ended, and those for single commands, too
    #[arg(short, long)]
    all: bool,

    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Print the names of services alone
    #[arg(long = "services")]
    names: bool,

    /// Those in this state alone: running, exited, paused, restarting, created or dead
    #[arg(long, value_name = "STATE")]
    status: Vec<String>,

    /// Only those that pass: status=STATE
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,

    /// table, json (an object a line) or a template
    #[arg(long, default_value = "table")]
    format: Form,
}

/// A container of a project, with docker compose's names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(flatten)]
    row: serde_json::Value,
    name: String,
    project: String,
    service: String,
    health: &'static str,
    publishers: Vec<Publisher>,
}

/// Where a port is published.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Publisher {
    #[serde(rename = "URL")]
    url: String,
    target_port: u16,
    published_port: u16,
    protocol: String,
}

/// Lists the project's containers, by name.
pub fn run(args: &Args, own: &PsArgs, context: &Context) -> Result<()> {
    let (project, _) = found(args)?;
    let store = context.store()?;
    let mut all = containers(&Containers::open(&store), &project)?;
    let mut states = own.status.clone();
    for filter in &own.filter {
        match filter.split_once('=') {
            Some(("status", state)) => states.push(state.to_owned()),
            _ => crate::error::refuse!(Invalid, "--filter {filter}: there is status=STATE"),
        }
    }
    all.retain(|container| {
        let service = label(container, labels::SERVICE);
        let is_shown = match states.is_empty() {
            true => own.all || container.state.is_active(),
            false => states.iter().any(|state| state == container.state.name()),
        };
        let is_wanted = own.services.is_empty() || own.services.iter().any(|name| name == service);
        is_shown && is_wanted && (own.all || !is_one_off(container))
    });
    all.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    if own.quiet {
        return all
            .iter()
            .try_for_each(|container| Ok(output::line(&container.record.id)?));
    }
    if own.names {
        let names: BTreeSet<&str> = all
            .iter()
            .map(|container| label(container, labels::SERVICE))
            .collect();
        return names.iter().try_for_each(|name| Ok(output::line(name)?));
    }
    let (now, volumes) = (Timestamp::now(), Volumes::open(&store));
    let row = |container: &Container| {
        Row::of(
            Summary::of(container, &volumes, now, false),
            now,
            own.no_trunc,
        )
    };
    if let Form::Table = &own.format {
        let mut table = Table::new(&[
            "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS",
        ]);
        for container in &all {
            let Row {
                names,
                image,
                command,
                running_for,
                status,
                ports,
                ..
            } = row(container);
            let service = label(container, labels::SERVICE).to_owned();
            table.row(vec![
                names,
                image,
                command,
                service,
                running_for,
                status,
                ports,
            ]);
        }
        return Ok(table.print()?);
    }
    let mut rows = Vec::new();
    for container in &all {
        let ports = container.published().iter().map(|port| Publisher {
            url: port.host.ip().to_string(),
            target_port: port.container,
            published_port: port.host.port(),
            protocol: port.transport.to_string(),
        });
        rows.push(Shown {
            row: serde_json::to_value(row(container))?,
            name: container.record.name.clone(),
            project: project.clone(),
            service: label(container, labels::SERVICE).to_owned(),
            health: container
                .history
                .health
                .as_ref()
                .map_or("", |health| health.status.name()),
            publishers: ports.collect(),
        });
    }
    format::list(&own.format, rows, format::head)
}
