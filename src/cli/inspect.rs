//! `bryo inspect`: docker's field names.

use super::Context;
use super::error;
use super::format::{self, Form};
use crate::engine::container::volumes::Volumes;
use crate::engine::view;
use crate::error::refuse;
use anyhow::Result;
use serde_json::Value;

/// Show all that is known of containers or images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids; a container goes before an image of the same name
    #[arg(required = true)]
    names: Vec<String>,

    /// Look for this kind alone
    #[arg(long, value_enum)]
    r#type: Option<Kind>,
    /// json, or a template as '{{.State.Status}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
    /// Show how much containers wrote
    #[arg(short, long)]
    size: bool,
}

impl Args {
    /// The same for containers alone.
    pub fn of_containers(self) -> Args {
        Args {
            r#type: Some(Kind::Container),
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
}

/// Prints a JSON list of what was found.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.format.template_of_one()?;
    let mut found = Vec::new();
    let result = super::each(&args.names, |name| {
        found.push(find(name, args, context)?);
        Ok(())
    });
    format::found(&args.format, &found)?;
    result
}

/// Show all that is known of images
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Names, ids or digests
    #[arg(required = true)]
    images: Vec<String>,

    /// json, or a template as '{{.Digest}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
}

/// `bryo image inspect`
pub fn image(args: &ImageArgs, context: &Context) -> Result<()> {
    run(
        &Args {
            names: args.images.clone(),
            r#type: Some(Kind::Image),
            format: args.format.clone(),
            size: false,
        },
        context,
    )
}

fn find(name: &str, args: &Args, context: &Context) -> Result<Value> {
    let kind = args.r#type;
    if kind != Some(Kind::Image) {
        match context.containers()?.find(name) {
            Ok(container) => {
                let volumes = Volumes::open(&context.store()?);
                return format::value(view::container::Container::of(
                    &container, &volumes, args.size,
                )?);
            }
            Err(e) if error::is_not_found(&e) && kind.is_none() => {}
            Err(e) => return Err(e),
        }
    }
    match view::image::Image::find(name, &context.store()?) {
        Ok(image) => format::value(image),
        Err(e) if error::is_not_found(&e) && kind.is_none() => {
            refuse!(
                NotFound,
                "No such object: {name} (no container and no image has this name)"
            )
        }
        Err(e) => Err(e),
    }
}
