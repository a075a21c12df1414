//! `bryo logs`.

use super::Context;
use super::output::closed_is_fine;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::ground::watch::Watch;
use crate::engine::log::Stream;
use crate::engine::log::read::{Entry, Reader};
use crate::engine::request::time::parse_time;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::io::{self, BufWriter, Write};

/// Show what containers printed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids; with several, lines begin with the names
    #[arg(required = true)]
    containers: Vec<String>,

    #[command(flatten)]
    span: Span,
    /// Begin lines with the container's name, also where there is but one
    #[arg(long)]
    names: bool,
    /// Show each container's name, or id, in a color of its own
    #[arg(long)]
    color: bool,
    /// Show the labels and variables of --log-opt
    #[arg(long)]
    details: bool,
}

/// What is shown of logs.
#[derive(Debug, clap::Args)]
pub struct Span {
    /// Go on with what they print, until they end
    #[arg(short, long)]
    follow: bool,
    /// So many of the last lines, or all
    #[arg(short = 'n', long, default_value = "all", value_name = "LINES")]
    tail: String,
    /// Since this time, as 2026-01-02T13:23:37Z or 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when it was printed
    #[arg(short, long)]
    timestamps: bool,
}

/// A container's log, as far as it was printed.
pub struct Source {
    container: Container,
    reader: Reader,
    next: Option<Entry>,
    ended: bool,
    prefix: String,
    /// For each stream, whether a line was begun.
    within: [bool; 2],
}

impl Source {
    /// A log from its beginning, or from its last `tail` records on, and what stands before
    /// its lines.
    ///
    /// # Errors
    /// The container keeps none.
    pub fn open(container: Container, prefix: String, tail: Option<u64>) -> Result<Source> {
        let log = &container.record.keeping.log;
        let reader = Reader::open(&container.dir, log, tail);
        let reader =
            reader.with_context(|| format!("container {} has no log", container.record.name))?;
        Ok(Source {
            container,
            reader,
            next: None,
            ended: false,
            prefix,
            within: [false; 2],
        })
    }
}

/// Prints the logs; with several containers in the order of time.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let all = args.containers.iter().map(|name| containers.find(name));
    let all = all.collect::<Result<Vec<_>>>()?;
    let names = match (args.containers.len(), args.names || args.color) {
        (1, false) => Names::Without,
        _ if args.color => Names::Coloured,
        _ => Names::Plain,
    };
    let named = named(all, &args.containers, names, " |");
    show(&containers, named, &args.span, args.details)
}

/// The number of last lines that `--tail` means; all if None.
fn tail(text: &str) -> Result<Option<u64>> {
    Ok(match text {
        "all" | "-1" => None,
        number => {
            let fail = || format!("--tail {number}: a number of lines or 'all' is wanted");
            Some(number.parse().ok().with_context(fail)?)
        }
    })
}

/// What stands before lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Nothing.
    Without,
    /// The container's name.
    Plain,
    /// The name in a colour of its own.
    Coloured,
}

/// Colours of names, by their codes (ECMA-48): cyan, yellow, green, magenta, blue, and the
/// brighter ones.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Containers with what stands before their lines: their names, one below the other, and
/// what ends them.
pub fn named(
    all: Vec<Container>,
    names: &[String],
    how: Names,
    end: &str,
) -> Vec<(Container, String)> {
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let named = all.into_iter().zip(names).enumerate();
    let named = named.map(|(at, (container, name))| {
        let prefix = match how {
            Names::Without => String::new(),
            Names::Plain => format!("{name:<width$}{end} "),
            Names::Coloured => {
                let colour = COLOURS[at % COLOURS.len()];
                format!("\x1b[{colour}m{name:<width$}{end}\x1b[0m ")
            }
        };
        (container, prefix)
    });
    named.collect()
}

/// Prints the logs of containers in the order of time, each line behind what stands before
/// those of its container.
pub fn show(
    containers: &Containers,
    all: Vec<(Container, String)>,
    span: &Span,
    details: bool,
) -> Result<()> {
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|t| parse_time(t, now)).transpose();
    let show = Show {
        timestamps: span.timestamps,
        details,
        since: time(&span.since)?,
        until: time(&span.until)?,
    };
    let tail = tail(&span.tail)?;
    let watch = span.follow.then(Watch::new).transpose()?;
    let mut sources = Vec::new();
    for (container, prefix) in all {
        let mut source = Source::open(container, prefix, tail)?;
        source.ended = !span.follow;
        if let Some(watch) = &watch {
            watch.add(&source.container.dir)?;
        }
        sources.push(source);
    }
    let shown = show.all(containers, &mut sources, watch.as_ref());
    Ok(closed_is_fine(shown)?)
}

/// What is shown, and how.
#[derive(Debug, Default)]
pub struct Show {
    /// Lines begin with when they were printed.
    pub timestamps: bool,
    /// Lines begin with what `--log-opt` asked for.
    pub details: bool,
    /// What was printed before is left out.
    pub since: Option<Timestamp>,
    /// What was printed later is left out.
    pub until: Option<Timestamp>,
}

impl Show {
    fn all(
        &self,
        containers: &Containers,
        sources: &mut [Source],
        watch: Option<&Watch>,
    ) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let mut errors = BufWriter::with_capacity(1 << 16, io::stderr().lock());
        loop {
            let before = sources.iter().all(|source| source.ended);
            self.what_is_there(sources, &mut out, &mut errors)?;
            out.flush()?;
            errors.flush()?;
            let over = self.until.is_some_and(|until| until < Timestamp::now());
            let (Some(watch), false) = (watch, before || over) else {
                return Ok(());
            };
            for source in sources.iter_mut().filter(|source| !source.ended) {
                let now = containers.find(&source.container.record.id);
                source.ended = !now.is_ok_and(|now| now.state.is_active());
            }
            // What was printed just before the end is read once more.
            if !sources.iter().all(|source| source.ended) {
                watch.wait();
            }
        }
    }

    /// Prints what there is now that was not printed yet, in the order of time.
    ///
    /// # Errors
    /// A log cannot be read, or nothing can be printed.
    pub fn what_is_there(
        &self,
        sources: &mut [Source],
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<()> {
        loop {
            for source in sources.iter_mut().filter(|source| source.next.is_none()) {
                source.next = source.reader.read().map_err(io::Error::other)?;
            }
            let first = sources.iter_mut().filter(|source| source.next.is_some());
            let first = first.min_by_key(|source| source.next.as_ref().map(|entry| entry.time));
            let Some((source, entry)) = first.and_then(|s| {
                let entry = s.next.take();
                entry.map(|entry| (s, entry))
            }) else {
                return Ok(());
            };
            if self.since.is_some_and(|since| entry.time < since)
                || self.until.is_some_and(|until| entry.time > until)
            {
                continue;
            }
            match entry.stream {
                Stream::Stdout => self.entry(source, &entry, out)?,
                Stream::Stderr => self.entry(source, &entry, errors)?,
            }
        }
    }

    fn entry(&self, source: &mut Source, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
        let within = &mut source.within[entry.stream as usize];
        if !*within {
            out.write_all(source.prefix.as_bytes())?;
            if self.timestamps {
                write!(out, "{} ", entry.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))?;
            }
            if self.details {
                let pairs = entry.details.iter();
                let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={v}")).collect();
                write!(out, "{} ", pairs.join(","))?;
            }
        }
        *within = !entry.data.ends_with(b"\n");
        out.write_all(&entry.data)
    }
}
