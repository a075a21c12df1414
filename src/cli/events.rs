//! `bryo events`.

use super::Context;
use super::format::{self, Form};
use super::output;
use super::template::Template;
use crate::engine::container::events::{Event, Reader};
use crate::engine::ground::watch::Watch;
use crate::engine::request::filter::{Filters, OF_EVENTS};
use crate::engine::request::time::parse_time;
use crate::engine::view;
use anyhow::Result;
use jiff::Timestamp;

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
    /// volume=NAME, label=KEY[=VALUE], scope=local, type=container|image|volume
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
    let template = match &args.format {
        Form::Template(text) => Some(Template::parse(text)?),
        _ => None,
    };
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|t| parse_time(t, now)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let filters = Filters::read(&args.filter, OF_EVENTS, now)?;
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
            if !early && filters.pass(|filter| Ok(event.holds(filter)))? {
                print(&event, &args.format, template.as_ref())?;
            }
        }
        let over = until.is_some_and(|until| until <= Timestamp::now());
        if args.no_stream || over {
            return Ok(());
        }
        watch.wait();
    }
}

fn print(event: &Event, form: &Form, template: Option<&Template>) -> Result<()> {
    let shown = || format::value(view::event::Event::of(event));
    let line = match (template, form) {
        (Some(template), _) => template.render(&shown()?)?,
        (None, Form::Table) => {
            let pairs = event
                .attributes
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            let pairs: Vec<String> = pairs.collect();
            let time = event.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
            let (kind, action) = (&event.kind, &event.action);
            format!("{time} {kind} {action} {} ({})", event.id, pairs.join(", "))
        }
        (None, _) => shown()?.to_string(),
    };
    Ok(output::line(line)?)
}
