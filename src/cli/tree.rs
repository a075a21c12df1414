//! `bryo image tree`

use anyhow::Result;

use super::{Context, output};
use crate::engine::images;
use crate::engine::view::words;
use crate::image::digest;

/// Show the layers of an image, and which images share them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id or digest
    image: String,
}

/// Prints the layers, the bottom one first.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    let _lock = store.lock_shared()?;
    let image = images::find(&store, &args.image)?;
    output::line(format!("Image ID: {}", digest::short(&image.id)))?;
    output::line(format!("Tags:     [{}]", image.references.join(" ")))?;
    output::line(format!("Size:     {}", words::size(store.size(&image))))?;
    output::line("Image Layers")?;
    let mut others = Vec::new();
    for summary in store.list()? {
        if let Some(other) = store.find(summary.id.as_ref())? {
            others.push((summary.references, other.layers));
        }
    }
    for (n, layer) in image.layers.iter().enumerate() {
        let branch = if n + 1 < image.layers.len() {
            "├──"
        } else {
            "└──"
        };
        let id = digest::short(&layer.chain_id);
        let size = words::size(store.layer_size(layer));
        let tops = others
            .iter()
            .filter(|(_, layers)| layers.last().map(|top| &top.chain_id) == Some(&layer.chain_id));
        let tops = tops.flat_map(|(names, _)| names).map(ToString::to_string);
        let tops: Vec<String> = tops.collect();
        let tops = match tops.is_empty() {
            true => String::new(),
            false => format!(" Top Layer of: [{}]", tops.join(" ")),
        };
        output::line(format!("{branch} ID: {id} Size: {size:>7}{tops}"))?;
    }
    Ok(())
}
