//! Which images stand on which.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{Image, Store, manifests};

impl Store {
    /// Ids of the image that `name` means, as [`Store::find`], and of all that
    /// stand on it; none if there is no such image.
    pub fn with_descendants(&self, name: &str) -> Result<BTreeSet<String>> {
        let Some(image) = self.find(name)? else {
            return Ok(BTreeSet::new());
        };
        let descriptors = self.descriptors()?;
        let mut ids = BTreeSet::from([image.id.to_string()]);
        for digest in manifests(&descriptors) {
            if let Ok(other) = self.image(&descriptors, &digest)
                && stands_on(&other, &image)
            {
                ids.insert(other.id.to_string());
            }
        }
        Ok(ids)
    }
}

/// Whether an image has all layers of another, and more of them; or the same
/// layers and a history that goes on from the other's.
fn stands_on(image: &Image, base: &Image) -> bool {
    let layers = |image: &Image| -> Vec<String> {
        let layers = image.layers.iter();
        layers.map(|layer| layer.diff_id.to_string()).collect()
    };
    let (ours, theirs) = (layers(image), layers(base));
    if theirs.is_empty() || !ours.starts_with(&theirs) {
        return false;
    }
    let history = |image: &Image| image.config.history().clone().unwrap_or_default();
    let (our_history, their_history) = (history(image), history(base));
    ours.len() > theirs.len()
        || our_history.len() > their_history.len() && our_history.starts_with(&their_history)
}
