//! `bryo image tree`

use anyhow::Result;

use super::{Context, output};
use crate::engine::view::tree::Tree;
use crate::engine::view::words::size;

/// Show the layers of an image, and which images share them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id or digest
    image: String,
}

/// Prints the layers, the bottom one first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let tree = Tree::find(&args.image, &context.store()?)?;
    output::line(format!("Image ID: {}", tree.id))?;
    output::line(format!("Tags:     [{}]", tree.tags.join(" ")))?;
    output::line(format!("Size:     {}", size(tree.size)))?;
    output::line("Image Layers")?;
    for (n, layer) in tree.layers.iter().enumerate() {
        let branch = if n + 1 < tree.layers.len() {
            "├──"
        } else {
            "└──"
        };
        let tops = match layer.top_layer_of.is_empty() {
            true => String::new(),
            false => format!(" Top Layer of: [{}]", layer.top_layer_of.join(" ")),
        };
        let (id, size) = (&layer.id, size(layer.size));
        output::line(format!("{branch} ID: {id} Size: {size:>7}{tops}"))?;
    }
    Ok(())
}
