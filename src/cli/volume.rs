//! `bryo volume`.

use super::Context;
use super::confirm::confirm;
use super::error;
use super::format::{self, Form};
use super::output;
use super::output::Table;
use crate::engine::container::volumes::Volumes;
use crate::engine::ground::names;
use crate::engine::request::filter::{self, Filters, VolumePruneFilter};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view;
use crate::engine::view::words::size;
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Manage volumes: directories that outlive containers
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a volume
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all that is known of volumes
    Inspect(Inspect),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove volumes that no container uses
    Prune(Prune),
    /// Tell by the exit code whether a volume exists: 0 or 1
    Exists(Exists),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name; a random one without
    name: Option<String>,
    /// Add a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// The one driver is local
    #[arg(short, long, default_value = "local", value_parser = ["local"])]
    driver: String,
    /// A volume that is there already is no error: it never is one
    #[arg(long)]
    ignore: bool,
}

#[derive(Debug, clap::Args)]
struct Ls {
    /// Print names alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those that pass: name=, label=KEY[=VALUE], label!=, dangling=BOOL,
    /// anonymous=BOOL, driver=, scope=, since=TIME, until=TIME
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template as '{{.Name}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// Names
    #[arg(required = true)]
    volumes: Vec<String>,
    /// json, or a template as '{{.Mountpoint}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Names
    #[arg(required_unless_present = "all")]
    volumes: Vec<String>,
    /// What is not there is no error
    #[arg(short, long)]
    force: bool,
    /// All volumes
    #[arg(short, long, conflicts_with = "volumes")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Prune {
    /// Remove volumes that somebody named too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that pass: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME;
    /// all=true is --all
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Exists {
    /// Name
    volume: String,
}

/// Does what the verb says.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let volumes = Volumes::open(&context.store()?);
    match &args.verb {
        Verb::Create(args) => create(args, &volumes)?,
        Verb::Ls(args) => ls(args, &volumes)?,
        Verb::Inspect(args) => inspect(args, &volumes)?,
        Verb::Rm(args) => {
            rm(args, &volumes)?;
            empty_trash_behind(&context.store()?)?;
        }
        Verb::Prune(args) => {
            prune(args, &volumes)?;
            empty_trash_behind(&context.store()?)?;
        }
        Verb::Exists(args) => match volumes.find(&args.volume) {
            Err(e) if error::is_not_found(&e) => return Ok(1),
            other => drop(other?),
        },
    }
    Ok(0)
}

fn create(args: &Create, volumes: &Volumes) -> Result<()> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let labels: BTreeMap<String, String> = args.label.iter().map(label).collect();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => names::new_id()?,
    };
    let volume = volumes.create(&name, &labels)?;
    Ok(output::line(volume.name)?)
}

fn ls(args: &Ls, volumes: &Volumes) -> Result<()> {
    volumes.sweep()?;
    let filters = Filters::read(&args.filter, filter::OF_VOLUMES, Timestamp::now())?;
    let all = volumes.filtered(&filters)?;
    if args.quiet {
        return all.iter().try_for_each(|v| Ok(output::line(&v.name)?));
    }
    let shown = all.iter().map(|v| view::volume::Volume::of(v, volumes));
    let rows = shown.map(view::volume::Row::from);
    match &args.format {
        Form::Table => {
            let mut table = Table::new(&["DRIVER", "VOLUME NAME"]);
            for volume in &all {
                table.row(vec!["local".into(), volume.name.clone()]);
            }
            Ok(table.print()?)
        }
        other => format::list(other, rows, |field| match field {
            "Name" => "VOLUME NAME".to_owned(),
            other => format::head(other),
        }),
    }
}

fn inspect(args: &Inspect, volumes: &Volumes) -> Result<()> {
    args.format.template_of_one()?;
    let mut found = Vec::new();
    let result = super::each(&args.volumes, |name| {
        found.push(format::value(view::volume::Volume::find(name, volumes)?)?);
        Ok(())
    });
    format::found(&args.format, &found)?;
    result
}

fn rm(args: &Rm, volumes: &Volumes) -> Result<()> {
    let names = match args.all {
        true => volumes.list()?.into_iter().map(|v| v.name).collect(),
        false => args.volumes.clone(),
    };
    super::each(&names, |name| {
        volumes.remove(name, args.force)?;
        Ok(output::line(name)?)
    })
}

fn prune(args: &Prune, volumes: &Volumes) -> Result<()> {
    let filters = Filters::read(&args.filter, filter::OF_VOLUME_PRUNE, Timestamp::now())?;
    let all = args.all || filters.all().any(|f| *f == VolumePruneFilter::All(true));
    let which = if all { "all" } else { "all anonymous" };
    let question = format!("This removes {which} volumes that no container uses.");
    if !args.force && !confirm(&question)? {
        return Ok(());
    }
    volumes.sweep()?;
    let gone = volumes.prune(|volume| {
        let holds = |filter: &VolumePruneFilter| match filter {
            VolumePruneFilter::Age(age) => age.holds(&volume.labels, volume.created),
            VolumePruneFilter::All(_) => true,
        };
        (all || volume.anonymous) && filters.all().all(holds)
    })?;
    if !gone.is_empty() {
        output::line("Deleted Volumes:")?;
        for (name, _) in &gone {
            output::line(name)?;
        }
        output::line("")?;
    }
    let total = gone.iter().map(|(_, size)| size).sum();
    Ok(output::line(format!(
        "Total reclaimed space: {}",
        size(total)
    ))?)
}
