//! The layers of an image.

use std::collections::HashSet;

use anyhow::Result;
use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::super::digest::{self, Digest};
use super::{LayerInfo, MAX_LAYERS};
use crate::error::demand;

/// The layers that manifest and configuration agree on.
pub fn layers(manifest: &ImageManifest, config: &ImageConfiguration) -> Result<Vec<LayerInfo>> {
    let diff_ids = config.rootfs().diff_ids();
    let different = diff_ids.iter().collect::<HashSet<_>>().len();
    demand!(
        Invalid,
        different <= MAX_LAYERS,
        "it has {different} different layers, and the kernel stacks {MAX_LAYERS}"
    );
    demand!(
        Invalid,
        diff_ids.len() == manifest.layers().len(),
        "the manifest has {} layers, the configuration {}",
        manifest.layers().len(),
        diff_ids.len()
    );
    let mut chain: Option<Digest> = None;
    let mut layers = Vec::new();
    for (diff_id, blob) in diff_ids.iter().zip(manifest.layers()) {
        let diff_id = Digest::try_from(diff_id.as_str())?;
        let chain_id = chain_id(chain.as_ref(), &diff_id);
        chain = Some(chain_id.clone());
        layers.push(LayerInfo {
            diff_id,
            chain_id,
            blob: blob.digest().clone(),
            size: blob.size(),
            media_type: blob.media_type().clone(),
            urls: blob.urls().clone().unwrap_or_default(),
        });
    }
    Ok(layers)
}

/// What a stack is called, of what the one below its topmost layer is called and of that
/// layer (OCI image specification, config.md, "Layer ChainID").
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => digest::sha256(format!("{below} {diff_id}").as_bytes()),
    }
}
