//! `bryo push`

use crate::error::refuse;
use anyhow::Result;

use super::Context;
use super::output;
use super::progress;
use super::registry::Flags;
use crate::engine::container::events;
use crate::engine::create::images;
use crate::engine::ground::confine::{Reach, go_on_confined};
use crate::image::budget::Budget;
use crate::image::reference::Reference;
use crate::image::registry::push::push;

/// Send an image to a registry
///
/// Everything keeps its digest; what the registry has is not sent again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Image of the store
    image: String,

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
    let image = images::find(&store, &args.image)?;
    let name = args.destination.as_ref().unwrap_or(&args.image);
    let name = name.strip_prefix("docker://").unwrap_or(name);
    let reference = match name.parse::<Reference>() {
        Ok(reference) => reference.or_latest(),
        Err(_) if args.destination.is_none() => {
            refuse!(Invalid, "{name} is an id: name where to push it to")
        }
        Err(error) => return Err(error),
    };
    let mode = match args.quiet {
        true => progress::Mode::None,
        false => args.progress,
    };
    go_on_confined(&store, &Budget::default(), Reach::Transfers)?;
    let progress = progress::with(mode);
    let client = args.registry.client()?;
    let digest = push(&store, &client, &image, &reference, &*progress)?;
    drop(progress);
    events::emit_of_image(&store, "push", &reference, &reference.to_string());
    if !args.quiet {
        output::line(format!("Digest: {digest}"))?;
    }
    output::line(reference.canonical())?;
    Ok(())
}
