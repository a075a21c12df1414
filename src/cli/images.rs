//! `bryo images`

use anyhow::Result;
use jiff::Timestamp;

use super::Context;
use super::format::{self, Form};
use super::output;
use crate::engine::create::images::Filters;
use crate::engine::view::df::Usage;
use crate::engine::view::image::Row;
use crate::image::reference::Reference;

/// List images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only images with this name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,

    /// Show digests
    #[arg(long)]
    digests: bool,

    /// Accepted for docker's sake: there are no hidden images
    #[arg(short, long)]
    all: bool,

    /// Only those that pass, as dangling=true, reference=PATTERN, label=KEY,
    /// before=IMAGE, since=IMAGE, until=TIME, id=ID
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Order: created (the newest first), id, repository, size, tag
    #[arg(long, value_name = "FIELD",
        value_parser = ["created", "id", "repository", "size", "tag"])]
    sort: Option<String>,

    /// Leave the heads of columns out
    #[arg(short = 'n', long)]
    noheading: bool,

    /// table, json (one object a line), or a template as '{{.Repository}}'
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: Form,
}

/// Prints the list.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    let lock = store.lock_shared()?;
    let (mut images, damaged) = store.survey()?;
    drop(lock);
    for image in damaged {
        let name = match image.names.first() {
            Some(name) => name.clone(),
            None => image.manifest.to_string(),
        };
        eprintln!(
            "warning: image {name} is damaged ({:#}): see bryo check",
            image.why
        );
    }
    let now = Timestamp::now();
    let filters = Filters::parse(&args.filter, &images, now)?;
    images.retain(|image| filters.pass(image));
    let counted = match (&args.format, args.quiet) {
        (Form::Table, _) | (_, true) => None,
        _ => Some(Usage::look(&store)?),
    };
    let (counted, wanted) = (counted.as_ref(), args.name.as_ref());
    match args.sort.as_deref() {
        Some("id") => images.sort_by(|a, b| a.id.as_ref().cmp(b.id.as_ref())),
        Some("size") => images.sort_by_key(|image| image.size),
        _ => {}
    }
    let rows = images
        .iter()
        .flat_map(|image| Row::all(image, counted, wanted, args.no_trunc, now));
    let mut rows: Vec<Row> = rows.collect();
    match args.sort.as_deref() {
        Some("repository") => rows.sort_by(|a, b| a.repository.cmp(&b.repository)),
        Some("tag") => rows.sort_by(|a, b| a.tag.cmp(&b.tag)),
        _ => {}
    }
    if args.quiet {
        let mut seen = Vec::new();
        for row in rows {
            if !seen.contains(&row.id) {
                output::line(&row.id)?;
                seen.push(row.id);
            }
        }
        return Ok(());
    }
    match &args.format {
        Form::Table => Ok(table(rows, args).print()?),
        other => format::list(other, rows, |field| match field {
            "ID" => "IMAGE ID".to_owned(),
            "CreatedSince" => "CREATED".to_owned(),
            other => format::head(other),
        }),
    }
}

fn table(rows: Vec<Row>, args: &Args) -> output::Table {
    let digests = args.digests;
    let mut heads = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if digests {
        heads.insert(2, "DIGEST");
    }
    let mut table = match args.noheading {
        true => output::Table::without_heads(),
        false => output::Table::new(&heads),
    };
    for row in rows {
        let mut cells = vec![row.repository, row.tag, row.id, row.created_since, row.size];
        if digests {
            cells.insert(2, row.digest);
        }
        table.row(cells);
    }
    table
}
