//! `bryo load`

use crate::error::refuse;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Context;
use super::output;
use super::progress;
use super::pull::BudgetFlags;
use crate::engine::container::events;
use crate::engine::ids::userns::{Reach, unpacking_confined};
use crate::engine::request::userns::UserNs;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::load::load;
use crate::image::platform::Platform;

/// Load images from an archive
///
/// The archive is what `docker save` and `podman save` write, or a tar of an
/// OCI image layout; plain or compressed with gzip, zstd or xz. With --input
/// it may be a directory of an image too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    /// Take images for this platform, as OS/ARCHITECTURE[/VARIANT]
    #[arg(long)]
    platform: Option<Platform>,

    #[command(flatten)]
    budget: BudgetFlags,

    /// For which ids to unpack: auto (a range where there is one), range, or
    /// single, which records owners beyond the range
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = UserNs::of_images)]
    userns: UserNs,
}

/// Loads the images and prints what they are called.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    if args.input.is_none() && stdin().is_terminal() {
        refuse!(
            Invalid,
            "standard input is a terminal: name a file with --input"
        );
    }
    let store = ctx.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    let budget = args.budget.get();
    let store = unpacking_confined(store, &args.userns, &budget, Reach::Files)?;
    let path = args.input.as_deref().unwrap_or(Path::new("-"));
    let progress = progress::new(args.quiet);
    for loaded in load(&store, path, args.platform.as_ref(), budget, &*progress)? {
        let name = loaded.names.first().map(ToString::to_string);
        events::emit_of_image(&store, "load", &loaded.image.id, &name.unwrap_or_default());
        if loaded.names.is_empty() {
            output::line(format!("Loaded image ID: {}", loaded.image.id))?;
        }
        for name in &loaded.names {
            output::line(format!("Loaded image: {name}"))?;
        }
    }
    Ok(())
}
