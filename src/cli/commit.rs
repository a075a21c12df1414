//! `bryo commit`.

use super::Context;
use super::output;
use super::progress;
use crate::engine::container::asking;
use crate::engine::container::containers::Container;
use crate::engine::container::control::Request;
use crate::engine::container::record::State;
use crate::engine::operate::commit::{CommitOptions, commit};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::demand;
use crate::image::change::Change;
use crate::image::reference::Reference;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// Make an image of what a container changed
///
/// The container may run. What is mounted in it is left out. Prints the id of
/// the new image.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,

    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the new image: CMD, ENTRYPOINT, ENV,
    /// EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<Change>,
    /// Comment for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// Pause the container meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// Make all layers one
    #[arg(short, long)]
    squash: bool,
    /// Write the new image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Makes the image.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let container = containers.find(&args.container)?;
    let name = args.name.clone().map(Reference::or_latest);
    if let Some(name) = &name {
        demand!(
            Invalid,
            name.digest().is_none(),
            "{name}: a new image cannot be named by a digest"
        );
    }
    let store = context.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    let options = CommitOptions {
        name,
        changes: args.changes.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        squash: args.squash,
    };
    let pausing = args.pause && matches!(container.state, State::Running { .. });
    let _paused = pausing.then(|| Paused::new(&container)).transpose()?;
    let progress = || progress::new(args.quiet);
    let image = commit(&containers, store, &container, &options, &progress)?;
    if let Some(path) = &args.iidfile {
        let what = || format!("--iidfile {}", path.display());
        std::fs::write(path, image.id.as_ref()).with_context(what)?;
    }
    Ok(output::line(&image.id)?)
}

/// A container that goes on when this goes.
struct Paused<'a>(&'a Container);

impl<'a> Paused<'a> {
    fn new(container: &'a Container) -> Result<Self> {
        asking::ask(container, Request::Pause)?;
        Ok(Paused(container))
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let _ = asking::ask(self.0, Request::Resume);
    }
}
