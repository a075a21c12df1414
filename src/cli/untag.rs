//! `bryo untag` and `bryo image exists`.

use anyhow::Result;

use super::Context;
use super::output;
use crate::engine::container::events;
use crate::image::reference::Reference;

/// Take names from an image
///
/// The image stays, and can be had by its id.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id or digest of the image
    image: String,

    /// The names that go [default: all that it has]
    #[arg(value_name = "NAME[:TAG]")]
    names: Vec<Reference>,
}

/// Takes the names away and prints them.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    for name in store.untag(&args.image, &args.names)? {
        events::emit_of_image(&store, "untag", &name, &name);
        output::line(format!("Untagged: {name}"))?;
    }
    Ok(())
}

/// Whether the store has an image: exit code 0 or 1
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name, id or digest
    image: String,
}

/// The exit code.
pub fn exists(args: &ExistsArgs, context: &Context) -> Result<i32> {
    Ok(i32::from(!context.store()?.has(&args.image)?))
}
