//! The layers of images, and which images share them: `image tree`.

use crate::engine::create::images;
use crate::image::digest;
use crate::image::store::{Image, Store};
use anyhow::Result;
use serde::Serialize;

/// An image as its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tree {
    /// Its id, short.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Bytes of its files.
    pub size: u64,
    /// Its layers, the bottom one first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Layer {
    /// Names the stack up to and including this layer; short.
    #[serde(rename = "ID")]
    pub id: String,
    /// Bytes of its files.
    pub size: u64,
    /// The names of the images that end with it.
    pub top_layer_of: Vec<String>,
}

impl Tree {
    /// The image of this name, id or digest.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound).
    pub fn find(name: &str, store: &Store) -> Result<Tree> {
        let _lock = store.lock_shared()?;
        let image = images::find(store, name)?;
        let mut others = Vec::new();
        for summary in store.list()? {
            if let Some(other) = store.find(summary.id.as_ref())? {
                let names = summary.references.iter().map(ToString::to_string);
                others.push((names.collect(), other));
            }
        }
        let sizes = image.layers.iter().map(|layer| store.layer_size(layer));
        Ok(Tree::of(&image, &sizes.collect::<Vec<_>>(), &others))
    }

    /// With the sizes of its layers, and all images with their names.
    fn of(image: &Image, sizes: &[u64], all: &[(Vec<String>, Image)]) -> Tree {
        let layers = image.layers.iter().zip(sizes).map(|(layer, size)| {
            let ends_so = |other: &Image| {
                other.layers.last().map(|top| &top.chain_id) == Some(&layer.chain_id)
            };
            let tops = all.iter().filter(|(_, other)| ends_so(other));
            Layer {
                id: digest::short(&layer.chain_id).to_owned(),
                size: *size,
                top_layer_of: tops.flat_map(|(names, _)| names).cloned().collect(),
            }
        });
        Tree {
            id: digest::short(&image.id).to_owned(),
            tags: image.references.clone(),
            size: sizes.iter().sum(),
            layers: layers.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::sha256;
    use crate::image::store::LayerInfo;
    use oci_spec::image::MediaType;
    use serde_json::json;

    fn image(name: &str, layers: &[&str]) -> (Vec<String>, Image) {
        let layer = |text: &&str| LayerInfo {
            diff_id: sha256(text.as_bytes()),
            chain_id: sha256(text.as_bytes()),
            blob: sha256(text.as_bytes()),
            size: 0,
            media_type: MediaType::ImageLayer,
            urls: Vec::new(),
        };
        let image = Image {
            id: sha256(name.as_bytes()),
            manifest: sha256(b"manifest"),
            references: vec![name.to_owned()],
            config: Default::default(),
            layers: layers.iter().map(layer).collect(),
        };
        (image.references.clone(), image)
    }

    #[test]
    fn each_layer_names_the_images_that_end_with_it() {
        let all = [image("base:1", &["a"]), image("web:1", &["a", "b"])];
        let short = |text: &str| digest::short(&sha256(text.as_bytes())).to_owned();
        assert_eq!(
            serde_json::to_value(Tree::of(&all[1].1, &[10, 5], &all)).unwrap(),
            json!({
                "ID": short("web:1"),
                "Tags": ["web:1"],
                "Size": 15,
                "Layers": [
                    {"ID": short("a"), "Size": 10, "TopLayerOf": ["base:1"]},
                    {"ID": short("b"), "Size": 5, "TopLayerOf": ["web:1"]},
                ],
            })
        );
    }
}
