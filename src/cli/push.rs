//! `bryo push`

use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::Context;
use super::output;
use super::progress;
use super::registry::Flags;
use crate::engine::container::events;
use crate::engine::create::images;
use crate::engine::ground::confine::{Reach, go_on_confined};
use crate::error::{demand, refuse};
use crate::image::budget::Budget;
use crate::image::reference::Reference;
use crate::image::registry::push::push;
use crate::image::store::{Image, Store};

/// Send an image to a registry
///
/// Everything keeps its digest; what the registry has is not sent again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Image of the store
    image: String,

    /// Send all images of that name, whatever their tags
    #[arg(short, long, conflicts_with_all = ["destination", "digestfile"])]
    all_tags: bool,

    /// Write the digest to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,

    /// Name to send it under [default: the image's own]
    destination: Option<String>,

    /// Print only the name
    #[arg(short, long)]
    quiet: bool,

    /// Show progress: auto (bars if standard error is a terminal), json
    /// (lines on standard error) or none
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: progress::Mode,

    #[command(flatten)]
    registry: Flags,
}

/// Sends the image and prints its digest.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    // Before this process can write to the store alone.
    let digestfile = args.digestfile.as_ref().map(|path| {
        let file = File::create(path);
        file.with_context(|| format!("--digestfile {}", path.display()))
    });
    let mut digestfile = digestfile.transpose()?;
    let all = match args.all_tags {
        true => tags(&store, &args.image)?,
        false => vec![one(args, &store)?],
    };
    let mode = match args.quiet {
        true => progress::Mode::None,
        false => args.progress,
    };
    go_on_confined(&store, &Budget::default(), Reach::Transfers)?;
    let client = args.registry.client()?;
    for (image, reference) in all {
        let progress = progress::with(mode);
        let digest = push(&store, &client, &image, &reference, &*progress)?;
        drop(progress);
        events::emit_of_image(&store, "push", &reference, &reference.to_string());
        if let Some(file) = &mut digestfile {
            write!(file, "{digest}").context("--digestfile")?;
        }
        if !args.quiet {
            output::line(format!("Digest: {digest}"))?;
        }
        output::line(reference.canonical())?;
    }
    Ok(())
}

/// All images of a name, each with its own.
fn tags(store: &Store, name: &str) -> Result<Vec<(Image, Reference)>> {
    let wanted: Reference = name.parse()?;
    demand!(
        Invalid,
        wanted.tag().is_none() && wanted.digest().is_none(),
        "--all-tags {name}: leave the tag out, for all are meant"
    );
    images::named(store, &wanted)
}

/// The image that was named, and what it is to be called there.
fn one(args: &Args, store: &Store) -> Result<(Image, Reference)> {
    let image = images::find(store, &args.image)?;
    let name = args.destination.as_ref().unwrap_or(&args.image);
    let name = name.strip_prefix("docker://").unwrap_or(name);
    let reference = match name.parse::<Reference>() {
        Ok(reference) => reference.or_latest(),
        Err(_) if args.destination.is_none() => {
            refuse!(Invalid, "{name} is an id: name where to push it to")
        }
        Err(error) => return Err(error),
    };
    Ok((image, reference))
}
