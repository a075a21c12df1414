//! `bryo import`

use crate::error::demand;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::Context;
use super::output;
use super::progress;
use super::pull::BudgetFlags;
use crate::engine::container::events;
use crate::engine::ids::userns::{Reach, unpacking_confined};
use crate::engine::request::userns::UserNs;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::change::Change;
use crate::image::import::{ImportOptions, import};
use crate::image::platform::Platform;
use crate::image::reference::Reference;

/// Make an image of a root file system tar
///
/// The tar may be plain or compressed with gzip, zstd or xz. Prints the id of
/// the new image.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tar; `-` reads standard input
    file: PathBuf,

    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,

    /// Apply a Dockerfile instruction to the new image: CMD, ENTRYPOINT, ENV,
    /// EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<Change>,

    /// Comment for the image's history
    #[arg(short, long)]
    message: Option<String>,

    /// What the files are built for, as OS/ARCHITECTURE[/VARIANT]
    #[arg(long)]
    platform: Option<Platform>,

    #[command(flatten)]
    budget: BudgetFlags,

    /// For which ids to unpack: auto (a range where there is one), range, or
    /// single, which records owners beyond the range
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = UserNs::of_images)]
    userns: UserNs,
}

/// Imports the tar.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    let budget = args.budget.get();
    let store = unpacking_confined(store, &args.userns, &budget, Reach::Files)?;
    let name = args.name.clone().map(Reference::or_latest);
    if let Some(name) = &name {
        demand!(
            Invalid,
            name.digest().is_none(),
            "{name}: a new image cannot be named by a digest"
        );
    }
    let options = ImportOptions {
        changes: args.changes.clone(),
        message: args.message.clone(),
        platform: args.platform.clone(),
        created: Timestamp::now().to_string(),
        budget,
    };
    let progress = progress::new(false);
    let image = import(&store, &args.file, name.as_ref(), &options, &*progress)?;
    let name = name.map(|name| name.to_string());
    events::emit_of_image(&store, "import", &image.id, &name.unwrap_or_default());
    output::line(&image.id).context("write the id")
}
