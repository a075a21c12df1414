//! `bryo events`.

use super::Context;
use super::format::{self, Form};
use super::output;
use crate::engine::container::events::{Event, Reader};
use crate::engine::ground::times::parse_time;
use crate::engine::ground::watch::Watch;
use crate::engine::view;
use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Show what happens to containers, volumes and images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with this time, as 2026-01-02T13:23:37Z or 10m; else with now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End with this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those that pass, as container=NAME, event=start, image=NAME,
    /// label=KEY[=VALUE], type=container|image|volume
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json (an object a line) or a template
    #[arg(long, default_value = "table")]
    format: Form,
    /// Do not wait for more
    #[arg(long)]
    no_stream: bool,
}

/// Prints events as they come.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|t| parse_time(t, now)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let filters = filters(&args.filter)?;
    let root = context.store()?.root().to_owned();
    let past = since.is_some() || until.is_some() || args.no_stream;
    let watch = Watch::new()?;
    watch.add(&root)?;
    let mut reader = Reader::open(&root, past)?;
    loop {
        while let Some(event) = reader.read()? {
            let early = since.is_some_and(|since| event.time < since);
            if until.is_some_and(|until| event.time > until) {
                return Ok(());
            }
            if !early && passes(&event, &filters) {
                print(&event, &args.format)?;
            }
        }
        let over = until.is_some_and(|until| until <= Timestamp::now());
        if args.no_stream || over {
            return Ok(());
        }
        watch.wait();
    }
}

fn filters(texts: &[String]) -> Result<BTreeMap<&str, Vec<&str>>> {
    let mut filters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for text in texts {
        let fail = || format!("filter '{text}': KEY=VALUE is wanted");
        let (key, value) = text.split_once('=').with_context(fail)?;
        if !["container", "event", "image", "label", "type"].contains(&key) {
            bail!("filter '{text}': there are container, event, image, label and type");
        }
        filters.entry(key).or_default().push(value);
    }
    Ok(filters)
}

fn passes(event: &Event, filters: &BTreeMap<&str, Vec<&str>>) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    filters.iter().all(|(key, values)| {
        let one = |value: &&str| match *key {
            "container" => attribute("name") == Some(value) || event.id.starts_with(*value),
            "event" => event.action == *value,
            "image" if event.kind == "image" => {
                attribute("name") == Some(value) || event.id == *value
            }
            "image" => attribute("image") == Some(value),
            "type" => event.kind == *value,
            _ => match value.split_once('=') {
                Some((key, value)) => attribute(key) == Some(value),
                None => attribute(value).is_some(),
            },
        };
        values.iter().any(one)
    })
}

fn print(event: &Event, form: &Form) -> Result<()> {
    let shown = || format::value(view::event::Event::of(event));
    let line = match form {
        Form::Table => {
            let pairs = event
                .attributes
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            let pairs: Vec<String> = pairs.collect();
            let time = event.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
            let (kind, action) = (&event.kind, &event.action);
            format!("{time} {kind} {action} {} ({})", event.id, pairs.join(", "))
        }
        Form::Json => shown()?.to_string(),
        Form::Template(template) => template.render(&shown()?)?,
    };
    Ok(output::line(line)?)
}
