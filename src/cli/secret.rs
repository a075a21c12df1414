//! `bryo secret`.

use super::Context;
use super::error;
use super::format::{self, Form};
use super::output;
use super::output::Table;
use crate::engine::container::secrets::{MAX, Secret, Secrets};
use crate::engine::request::filter::{Filters, OF_SECRETS, SecretFilter};
use crate::engine::request::pairs;
use crate::engine::view;
use crate::error::refuse;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// Manage secrets: what containers are handed and nobody is shown
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Keep a secret, of a file or of standard input
    Create(Create),
    /// List secrets, and nothing of what they are
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show what is known of secrets, but not what they are
    Inspect(Inspect),
    /// Remove secrets; containers that have them keep them
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Tell by the exit code whether a secret exists: 0 or 1
    Exists(Exists),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name
    name: String,
    /// File, or - for standard input
    file: String,
    /// FILE is the name of a variable of bryo's environment that it is in
    #[arg(long)]
    env: bool,
    /// Put it in the place of another one of its name
    #[arg(long)]
    replace: bool,
    /// Add a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// The one driver is file
    #[arg(short, long, default_value = "file", value_parser = ["file"])]
    driver: String,
}

#[derive(Debug, clap::Args)]
struct Ls {
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those that pass: name=, id=, label=KEY[=VALUE], label!=
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template as '{{.Name}}'
    #[arg(long, default_value = "table")]
    format: Form,
    /// Leave the heads of columns out
    #[arg(short, long)]
    noheading: bool,
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// Names or ids
    #[arg(required = true)]
    secrets: Vec<String>,
    /// json, or a template as '{{.Spec.Name}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Names or ids
    #[arg(required_unless_present = "all")]
    secrets: Vec<String>,
    /// All secrets
    #[arg(short, long, conflicts_with = "secrets")]
    all: bool,
    /// What is not there is no error
    #[arg(short, long)]
    ignore: bool,
}

#[derive(Debug, clap::Args)]
struct Exists {
    /// Name or id
    secret: String,
}

/// Does what the verb says.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let store = context.store()?;
    let secrets = Secrets::open(&store);
    match &args.verb {
        Verb::Create(args) => {
            let labels = pairs::labels(&args.label);
            let made = secrets.create(&args.name, labels, &data(args)?, args.replace);
            store.empty_trash()?;
            output::line(made?.id)?;
        }
        Verb::Ls(args) => ls(args, &secrets)?,
        Verb::Inspect(args) => inspect(args, &secrets)?,
        Verb::Rm(args) => {
            let done = rm(args, &secrets);
            store.empty_trash()?;
            done?;
        }
        Verb::Exists(args) => return Ok(i32::from(!secrets.exists(&args.secret)?)),
    }
    Ok(0)
}

/// What a secret is to be, up to a byte more than it may have.
fn data(args: &Create) -> Result<Vec<u8>> {
    if args.env {
        let name = &args.file;
        return match std::env::var_os(name) {
            Some(value) => Ok(value.into_encoded_bytes()),
            None => refuse!(NotFound, "--env {name}: there is no such variable"),
        };
    }
    let what = || format!("read {}", args.file);
    let mut bytes = Vec::new();
    match args.file.as_str() {
        "-" => {
            let input = std::io::stdin();
            if input.is_terminal() {
                error::warn("reading the secret from this terminal, to the end of input (Ctrl-D)");
            }
            input.take(MAX).read_to_end(&mut bytes)
        }
        path => {
            let file = File::open(Path::new(path)).with_context(what)?;
            file.take(MAX).read_to_end(&mut bytes)
        }
    }
    .with_context(what)?;
    Ok(bytes)
}

fn ls(args: &Ls, secrets: &Secrets) -> Result<()> {
    let now = Timestamp::now();
    let filters = Filters::read(&args.filter, OF_SECRETS, now)?;
    let mut all = secrets.list()?;
    let mut passing = Vec::new();
    for secret in all.drain(..) {
        let holds = |filter: &SecretFilter| Ok(holds(filter, &secret));
        if filters.pass(holds)? {
            passing.push(secret);
        }
    }
    if args.quiet {
        return passing.iter().try_for_each(|s| Ok(output::line(&s.id)?));
    }
    let rows = passing.iter().map(|s| view::secret::Row::of(s, now));
    match &args.format {
        Form::Table => {
            let mut table = match args.noheading {
                true => Table::without_heads(),
                false => Table::new(&["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]),
            };
            for row in rows {
                let driver = row.driver.to_owned();
                table.row(vec![
                    row.id,
                    row.name,
                    driver,
                    row.created_at,
                    row.updated_at,
                ]);
            }
            Ok(table.print()?)
        }
        other => format::list(other, rows, |field| match field {
            "CreatedAt" => "CREATED".to_owned(),
            "UpdatedAt" => "UPDATED".to_owned(),
            other => format::head(other),
        }),
    }
}

fn holds(filter: &SecretFilter, secret: &Secret) -> bool {
    match filter {
        SecretFilter::Id(id) => secret.id.starts_with(id.as_str()),
        SecretFilter::Name(part) => secret.name.contains(part.as_str()),
        SecretFilter::Label(label) => label.holds_of(&secret.labels),
    }
}

fn inspect(args: &Inspect, secrets: &Secrets) -> Result<()> {
    args.format.template_of_one()?;
    let mut found = Vec::new();
    let result = super::each(&args.secrets, |name| {
        let shown = view::secret::Secret::from(secrets.find(name)?);
        found.push(format::value(shown)?);
        Ok(())
    });
    format::found(&args.format, &found)?;
    result
}

fn rm(args: &Rm, secrets: &Secrets) -> Result<()> {
    let names = match args.all {
        true => secrets.list()?.into_iter().map(|s| s.name).collect(),
        false => args.secrets.clone(),
    };
    super::each(&names, |name| {
        if args.ignore && !secrets.exists(name)? {
            return Ok(());
        }
        let found = secrets.find(name)?;
        secrets.remove(&found)?;
        Ok(output::line(found.id)?)
    })
}
