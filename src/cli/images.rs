//! `bryo images`

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use super::format::{self, Form};
use super::{Context, output};
use crate::engine::images::Filters;
use crate::engine::view::words;
use crate::image::digest;
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageSummary, Store};

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
    let lines = images.iter().flat_map(|image| lines(image, args, now));
    let lines: Vec<Line> = lines
        .filter(|line| {
            args.name
                .as_ref()
                .is_none_or(|name| matches(name, line.reference))
        })
        .collect();
    if args.quiet {
        let mut seen = Vec::new();
        for line in lines {
            if !seen.contains(&line.id) {
                output::line(&line.id)?;
                seen.push(line.id);
            }
        }
        return Ok(());
    }
    match &args.format {
        Form::Json => lines
            .iter()
            .try_for_each(|line| output::line(json_of(line)))?,
        Form::Table => table(&lines, args.digests).print()?,
        Form::Template(template) => {
            let rows: Vec<serde_json::Value> = lines.iter().map(json_of).collect();
            format::by_template(template, &rows, format::head)?;
        }
    }
    Ok(())
}

/// An image under one of its names.
struct Line<'a> {
    reference: Option<&'a Reference>,
    repository: String,
    tag: String,
    id: String,
    age: String,
    image: &'a ImageSummary,
}

fn lines<'a>(image: &'a ImageSummary, args: &Args, now: Timestamp) -> Vec<Line<'a>> {
    let none = || "<none>".to_owned();
    let line = |reference: Option<&'a Reference>| Line {
        reference,
        repository: reference.map_or_else(none, Reference::familiar_name),
        tag: reference
            .and_then(Reference::tag)
            .map_or_else(none, str::to_owned),
        id: if args.no_trunc {
            image.id.to_string()
        } else {
            digest::short(&image.id).to_owned()
        },
        age: words::age(image.created.as_deref(), now),
        image,
    };
    if image.references.is_empty() {
        return vec![line(None)];
    }
    image
        .references
        .iter()
        .map(|name| line(Some(name)))
        .collect()
}

/// Without a tag, a name stands for all its tags.
fn matches(wanted: &Reference, found: Option<&Reference>) -> bool {
    found.is_some_and(|found| {
        let same_name = wanted.familiar_name() == found.familiar_name();
        same_name && (wanted.tag().is_none() || wanted.tag() == found.tag())
    })
}

fn json_of(line: &Line) -> serde_json::Value {
    let image = line.image;
    json!({
        "Repository": line.repository,
        "Tag": line.tag,
        "ID": line.id,
        "Digest": image.manifest.to_string(),
        "CreatedAt": image.created,
        "CreatedSince": line.age,
        "Size": words::size(image.size),
        "Bytes": image.size,
    })
}

fn table(lines: &[Line], digests: bool) -> output::Table {
    let mut heads = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if digests {
        heads.insert(2, "DIGEST");
    }
    let mut table = output::Table::new(&heads);
    for line in lines {
        let mut row = vec![
            line.repository.clone(),
            line.tag.clone(),
            line.id.clone(),
            line.age.clone(),
            words::size(line.image.size),
        ];
        if digests {
            row.insert(2, line.image.manifest.to_string());
        }
        table.row(row);
    }
    table
}

/// An image with docker's field names.
pub fn describe(store: &Store, image: &Image) -> Result<serde_json::Value> {
    let config = store.config_json(image)?;
    let layers = image.layers.iter().map(|layer| layer.diff_id.to_string());
    let is_digest = |name: &&String| name.contains('@');
    let tags: Vec<&String> = image.references.iter().filter(|n| !is_digest(n)).collect();
    let mut digests: Vec<String> = Vec::new();
    for name in &image.references {
        let name = name.parse::<Reference>().map(|name| name.familiar_name());
        let digest = format!("{}@{}", name?, image.manifest);
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    Ok(json!({
        "Id": image.id.to_string(),
        "Digest": image.manifest.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Size": store.size(image),
        "Created": config.get("created"),
        "Author": config.get("author"),
        "Architecture": config.get("architecture"),
        "Variant": config.get("variant"),
        "Os": config.get("os"),
        "Config": config.get("config"),
        "RootFS": { "Type": "layers", "Layers": layers.collect::<Vec<_>>() },
        "History": config.get("history"),
    }))
}
