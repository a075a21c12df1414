//! `bryo image`: what else is done with images, and docker's other names of
//! what has a verb of its own.

use super::{Context, history, images, import, inspect, load, prune, pull, push, rmi, save, tag};
use super::{tree, untag};
use anyhow::Result;

/// Look after images
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Args),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    /// Show all that is known of images
    Inspect(inspect::ImageArgs),
    /// Show how an image was made
    History(history::Args),
    /// Show the layers of an image, and which images share them
    Tree(tree::Args),
    /// Remove images that nothing needs
    Prune(prune::ImageArgs),
    /// Give an image another name
    Tag(tag::Args),
    /// Take names from an image
    Untag(untag::Args),
    /// Whether the store has an image: exit code 0 or 1
    Exists(untag::ExistsArgs),
    /// Fetch images from registries
    Pull(pull::Args),
    /// Send an image to a registry
    Push(push::Args),
    /// Bring images in from an archive
    Load(load::Args),
    /// Write images to an archive
    Save(save::Args),
    /// Bring a root file system in as an image
    Import(import::Args),
}

/// Does it.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    match &args.verb {
        Verb::Ls(args) => images::run(args, context),
        Verb::Rm(args) => rmi::run(args, context),
        Verb::Inspect(args) => inspect::image(args, context),
        Verb::History(args) => history::run(args, context),
        Verb::Tree(args) => tree::run(args, context),
        Verb::Prune(args) => prune::image(args, context),
        Verb::Tag(args) => tag::run(args, context),
        Verb::Untag(args) => untag::run(args, context),
        Verb::Exists(args) => return untag::exists(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Push(args) => push::run(args, context),
        Verb::Load(args) => load::run(args, context),
        Verb::Save(args) => save::run(args, context),
        Verb::Import(args) => import::run(args, context),
    }?;
    Ok(0)
}
