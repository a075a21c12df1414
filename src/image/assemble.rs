//! From layers that were unpacked one by one to the stacks of images.

use crate::error::refusal;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::budget::Budget;
use super::digest::{self, Digest};
use super::layer::{About, Expected, Layer, bring};
use super::progress::Progress;
use super::session::{Session, private_dir};
use super::settle::settle;
use super::store::{LayerInfo, Store};

/// Most layers that are unpacked at once. Each takes two threads, or three.
const MAX_PARALLEL: usize = 4;

/// Unpacked layers on their way into the store.
pub struct Assembly<'a> {
    store: &'a Store,
    session: &'a Session,
    /// Unpacked in this session, not yet part of a stack.
    made: HashMap<Digest, Layer>,
    /// Trees that are complete: their place in the store, and where they are
    /// now.
    moves: HashMap<PathBuf, PathBuf>,
}

impl<'a> Assembly<'a> {
    /// Nothing is unpacked yet.
    pub fn new(store: &'a Store, session: &'a Session) -> Self {
        Assembly {
            store,
            session,
            made: HashMap::new(),
            moves: HashMap::new(),
        }
    }

    /// Adds layers that were unpacked elsewhere in this session.
    pub fn add(&mut self, layer: Layer) {
        self.made.insert(layer.diff_id.clone(), layer);
    }

    /// Unpacks from the store's blobs all `layers` that are neither unpacked
    /// nor added, in parallel.
    pub fn unpack_missing(&mut self, layers: &[LayerInfo], progress: &dyn Progress) -> Result<()> {
        let mut missing: Vec<&LayerInfo> = Vec::new();
        for layer in layers {
            let known = self.made.contains_key(&layer.diff_id)
                || missing.iter().any(|other| other.diff_id == layer.diff_id)
                || self.store.unpacked(layer).is_some();
            if !known {
                missing.push(layer);
            }
        }
        let made = parallel(&missing, |layer| self.read_blob(layer, progress))?;
        made.into_iter().for_each(|layer| self.add(layer));
        Ok(())
    }

    /// Unpacks a layer from its blob in the store.
    pub fn read_blob(&self, layer: &LayerInfo, progress: &dyn Progress) -> Result<Layer> {
        let path = self.store.layout().blob(&layer.blob);
        let expected = Expected {
            blob: Some((layer.blob.clone(), layer.size)),
            diff_id: Some(layer.diff_id.clone()),
            keep_blob: false,
            need_end: false,
            budget: Budget::UNLIMITED,
            flavour: self.store.flavour().clone(),
            is_literal: false,
        };
        let meter = progress.begin(digest::short(&layer.diff_id), Some(layer.size));
        let source = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let directory = self.session.path("layer")?;
        bring(source, &expected, &directory, &path, &*meter)
            .with_context(|| format!("layer {}", layer.diff_id))
    }

    /// Completes the trees of one image, from the bottom up.
    pub fn stack(&mut self, layers: &[LayerInfo]) -> Result<()> {
        // The topmost first.
        let mut below: Vec<PathBuf> = Vec::new();
        for layer in layers {
            let tree = self
                .complete(layer, &below)
                .with_context(|| format!("layer {}", layer.diff_id))?;
            below.insert(0, tree);
        }
        Ok(())
    }

    /// Where the finished tree of `layer` on top of `below` is, for now.
    fn complete(&mut self, layer: &LayerInfo, below: &[PathBuf]) -> Result<PathBuf> {
        if let Some(tree) = self.store.unpacked(layer) {
            return Ok(tree);
        }
        let alone = self.store.layer_directory(&layer.diff_id);
        let in_stack = alone.join(layer.chain_id.digest());
        for place in [&alone, &in_stack] {
            if let Some(now) = self.moves.get(place) {
                return Ok(now.join("fs"));
            }
        }
        let mut made = match self.made.remove(&layer.diff_id) {
            Some(made) => made,
            // It was used for another stack already.
            None => self.read_blob(layer, &super::progress::Quiet)?,
        };
        let tree = made.directory.join("fs");
        let place = if made.unpacked.stands_alone() {
            alone
        } else {
            settle(&tree, &mut made.unpacked, below)?;
            in_stack
        };
        let about = About {
            size: made.unpacked.size,
            entries: made.unpacked.entries,
            records: std::mem::take(&mut made.unpacked.records),
        };
        about.write(&made.directory)?;
        self.moves.insert(place, made.directory);
        Ok(tree)
    }

    /// Moves the completed trees into the store.
    pub fn place(self) -> Result<()> {
        for (place, now) in self.moves {
            let parent = place.parent().expect("it is inside the store");
            private_dir(parent)?;
            match fs::rename(&now, &place) {
                Ok(()) => {}
                // Another process was faster; the tree is the same.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                    ) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("create {}", place.display()));
                }
            }
        }
        Ok(())
    }
}

/// Runs `work` over all `jobs` on a few threads. The first error ends it, after
/// the jobs that run.
pub fn parallel<J: Sync, R: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    parallel_on(processors.min(MAX_PARALLEL), jobs, work)
}

/// The same on so many threads at most.
pub fn parallel_on<J: Sync, R: Send>(
    threads: usize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = threads.min(jobs.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let run = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = work(job);
                if result.is_err() {
                    next.store(jobs.len(), Ordering::Relaxed);
                }
                results.lock().expect("no thread panics").push(result);
            }
        };
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        run();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .collect::<Result<Vec<()>, _>>()
            .map_err(|_| refusal!(Internal, "a thread panicked"))
    })?;
    results
        .into_inner()
        .expect("no thread panics")
        .into_iter()
        .collect()
}
