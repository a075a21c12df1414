//! What takes how much of the disk: `system df`.

use super::words;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::volumes::Volumes;
use crate::engine::create::images;
use crate::engine::machine::storage::bytes_below;
use crate::engine::operate::changes::written;
use crate::image::digest;
use crate::image::store::{ImageSummary, Store, Weights};
use anyhow::Result;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// What is in the store, and how much of the disk it takes.
#[derive(Debug)]
pub struct Usage {
    store: Store,
    weights: Weights,
    /// Names of the containers that use each image, by its id.
    users: HashMap<String, Vec<String>>,
    containers: Vec<Container>,
}

/// A kind of things, with docker's names of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// What.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// How many there are.
    pub total_count: usize,
    /// How many of them are in use.
    pub active: usize,
    /// How large they are, in words.
    pub size: String,
    /// The same in bytes.
    pub bytes: u64,
    /// How much would be free without those that are not in use.
    pub reclaimable: String,
    /// The same in bytes.
    pub reclaimable_bytes: u64,
}

/// An image and what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its first name.
    pub name: String,
    /// Its id, short.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Those of them that it shares with others.
    pub shared_size: u64,
    /// How many containers use it.
    pub containers: usize,
}

impl Usage {
    /// Looks at the store.
    pub fn look(store: &Store) -> Result<Usage> {
        let lock = store.lock_shared()?;
        let weights = store.weigh()?;
        drop(lock);
        let all = Containers::open(store);
        Ok(Usage {
            store: store.clone(),
            weights,
            users: images::users(&all)?,
            containers: all.list()?,
        })
    }

    /// The kinds of things there are, each as a whole.
    pub fn rows(&self) -> Result<[Row; 5]> {
        let is_used = |id: &str| self.users.contains_key(id);
        let images = self.weights.images.iter();
        let active = images.filter(|(image, _)| is_used(image.id.as_ref()));
        let containers = self.containers.iter();
        let containers = containers.map(|c| (c.state.is_active(), written(c)));
        let volumes = Volumes::open(&self.store);
        let users = volumes.users();
        let volumes = volumes.list()?.into_iter().map(|volume| {
            let used = users.contains_key(&volume.name);
            (used, bytes_below(&volumes.data(&volume.name)))
        });
        let left = self.store.leftovers();
        let unfinished = left.parts + left.trash + left.unfinished;
        let total = self.weights.images.len();
        let steps = &self.weights.steps;
        let of_images = |step: &&HashSet<PathBuf>| {
            let images = self.weights.images.iter();
            images.into_iter().any(|(_, own)| step.is_subset(own))
        };
        let in_images = steps.iter().filter(of_images).count();
        let kept = self.weights.of_steps() + left.caches;
        let reclaimable = |image: &_| !is_used(image);
        Ok([
            Row::of(
                "Images",
                (total, active.count()),
                self.weights.total(),
                (self.weights).reclaimable(|image| reclaimable(image.id.as_ref())),
            ),
            Row::of_sizes("Containers", &containers.collect::<Vec<_>>()),
            Row::of_sizes("Local Volumes", &volumes.collect::<Vec<_>>()),
            Row::of("Build Cache", (steps.len(), in_images), kept, kept),
            Row::of("Unfinished", (0, 0), unfinished, unfinished),
        ])
    }

    /// How many containers use an image, and how many bytes of it are others'
    /// too, and its own.
    pub fn of(&self, image: &ImageSummary) -> (usize, u64, u64) {
        let (size, shared) = self.weights.of(image);
        let users = self.users.get(image.id.as_ref()).map_or(0, Vec::len);
        (users, shared, size - shared)
    }

    /// The images, each by itself.
    pub fn images(&self) -> Vec<Image> {
        let images = self.weights.images.iter().map(|(image, _)| {
            let (size, shared_size) = self.weights.of(image);
            let name = image.references.first();
            Image {
                name: name.map_or_else(|| "<none>".to_owned(), ToString::to_string),
                id: digest::short(&image.id).to_owned(),
                size,
                shared_size,
                containers: self.users.get(image.id.as_ref()).map_or(0, Vec::len),
            }
        });
        images.collect()
    }

    /// The containers, each with how many bytes it wrote.
    pub fn containers(&self) -> impl Iterator<Item = (&Container, u64)> {
        self.containers.iter().map(|c| (c, written(c)))
    }
}

impl Row {
    fn of(kind: &'static str, (total, active): (usize, usize), bytes: u64, free: u64) -> Row {
        let share = (free * 100).checked_div(bytes).unwrap_or(0);
        Row {
            kind,
            total_count: total,
            active,
            size: words::size(bytes),
            bytes,
            reclaimable: format!("{} ({share}%)", words::size(free)),
            reclaimable_bytes: free,
        }
    }

    /// Of things that share nothing: whether each is in use, and its bytes.
    fn of_sizes(kind: &'static str, sizes: &[(bool, u64)]) -> Row {
        let used = sizes.iter().filter(|(used, _)| *used);
        let total: u64 = sizes.iter().map(|(_, size)| size).sum();
        let kept: u64 = used.clone().map(|(_, size)| size).sum();
        Row::of(kind, (sizes.len(), used.count()), total, total - kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn what_is_not_in_use_can_be_had_back() {
        let row = Row::of_sizes("Containers", &[(true, 1_000), (false, 3_000), (false, 0)]);
        assert_eq!(
            to_value(row).unwrap(),
            json!({
                "Type": "Containers",
                "TotalCount": 3,
                "Active": 1,
                "Size": "4kB",
                "Bytes": 4_000,
                "Reclaimable": "3kB (75%)",
                "ReclaimableBytes": 3_000,
            })
        );
        let empty = Row::of_sizes("Containers", &[]);
        assert_eq!((&*empty.size, &*empty.reclaimable), ("0B", "0B (0%)"));
    }
}
