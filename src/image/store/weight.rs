//! How much of the disk the store takes, and what for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::layer::About;
use super::removal::names;
use super::{ImageSummary, LayerInfo, StepUse, Store};
use crate::image::digest::Digest;

/// What images take of the disk: pieces, which several may share.
#[derive(Debug, Default)]
pub struct Weights {
    /// Bytes of each blob and tree.
    pieces: HashMap<PathBuf, u64>,
    /// The images, each with its pieces.
    pub images: Vec<(ImageSummary, HashSet<PathBuf>)>,
    /// What steps of builds keep, each its pieces.
    pub steps: Vec<HashSet<PathBuf>>,
}

/// What is in the store beside images and containers, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leftovers {
    /// Parts of blobs, kept so that pulls can go on.
    pub parts: u64,
    /// What is being deleted.
    pub trash: u64,
    /// What commands are working on, or died over.
    pub unfinished: u64,
    /// What builds keep in mounts of the type cache.
    pub caches: u64,
}

impl Weights {
    /// Bytes of all images together.
    pub fn total(&self) -> u64 {
        let all = self.images.iter().flat_map(|(_, pieces)| pieces);
        self.sum(&all.collect())
    }

    /// Bytes that would be free without the images that `goes` says.
    pub fn reclaimable(&self, goes: impl Fn(&ImageSummary) -> bool) -> u64 {
        let stay = self.images.iter().filter(|(image, _)| !goes(image));
        let stay = stay.flat_map(|(_, pieces)| pieces);
        self.total() - self.sum(&stay.collect())
    }

    /// Bytes of one image, and how many of them it shares with others.
    pub fn of(&self, image: &ImageSummary) -> (u64, u64) {
        let own = self
            .images
            .iter()
            .find(|(i, _)| i.manifest == image.manifest);
        let Some((_, own)) = own else {
            return (0, 0);
        };
        let others = self
            .images
            .iter()
            .filter(|(i, _)| i.manifest != image.manifest);
        let others: HashSet<&PathBuf> = others.flat_map(|(_, pieces)| pieces).collect();
        let all: HashSet<&PathBuf> = own.iter().collect();
        let shared = all.intersection(&others).copied().collect();
        (self.sum(&all), self.sum(&shared))
    }

    /// Bytes that steps of builds keep and no image needs.
    pub fn of_steps(&self) -> u64 {
        let needed: HashSet<_> = self.images.iter().flat_map(|(_, own)| own).collect();
        let kept: HashSet<_> = self.steps.iter().flatten().collect();
        self.sum(&kept.difference(&needed).copied().collect())
    }

    fn sum(&self, pieces: &HashSet<&PathBuf>) -> u64 {
        pieces
            .iter()
            .filter_map(|piece| self.pieces.get(*piece))
            .sum()
    }
}

impl Store {
    /// Weighs all images, and what builds keep. The caller holds the lock, shared.
    pub fn weigh(&self) -> Result<Weights> {
        let flavours = names(&self.root.join("layers"))?;
        let descriptors = self.descriptors()?;
        let mut weights = Weights::default();
        for summary in self.list()? {
            let image = self.image(&descriptors, &summary.manifest)?;
            let mut own = self.pieces(&image.layers, &flavours, &mut weights);
            for blob in [&image.id, &image.manifest] {
                own.insert(self.weigh_blob(blob, &mut weights));
            }
            weights.images.push((summary, own));
        }
        for (_, StepUse { step, .. }) in self.steps()? {
            let own = self.pieces(&step.layers, &flavours, &mut weights);
            weights.steps.push(own);
        }
        Ok(weights)
    }

    /// The blobs and trees of layers, weighed.
    fn pieces(
        &self,
        layers: &[LayerInfo],
        flavours: &[String],
        weights: &mut Weights,
    ) -> HashSet<PathBuf> {
        let mut own = HashSet::new();
        for layer in layers {
            own.insert(self.weigh_blob(&layer.blob, weights));
            for tree in flavours.iter().filter_map(|f| self.unpacked_in(layer, f)) {
                if !weights.pieces.contains_key(&tree) {
                    let about = tree
                        .parent()
                        .and_then(|directory| About::read(directory).ok());
                    let size = about.map_or(0, |about| about.size);
                    weights.pieces.insert(tree.clone(), size);
                }
                own.insert(tree);
            }
        }
        own
    }

    fn weigh_blob(&self, blob: &Digest, weights: &mut Weights) -> PathBuf {
        let path = self.layout.blob(blob);
        if !weights.pieces.contains_key(&path) {
            let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            weights.pieces.insert(path.clone(), size);
        }
        path
    }

    /// Weighs what is neither image nor container.
    pub fn leftovers(&self) -> Leftovers {
        let size = |name: &str| size_of(&self.root.join(name));
        Leftovers {
            parts: size("parts"),
            trash: size("trash"),
            unfinished: size("tmp"),
            caches: size("caches"),
        }
    }
}

/// Bytes of the regular files below a directory, as far as they can be seen.
fn size_of(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
                _ => {}
            }
        }
    }
    bytes
}
