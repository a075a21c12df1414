//! What steps of builds made, by the keys under which later builds find it: files
//! `steps/KEY` with the layers of the result. Layers that such a record names stay in
//! the store.
//!
//! A record that cannot be read is none: its step is taken again.

use crate::error::refuse;
use crate::sys::fs::{make_private, private};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use super::removal::names;
use super::{LayerInfo, LockGuard, Removed, Store};

/// What a step of a build made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The step, for people.
    pub what: String,
    /// When it was taken, in RFC 3339.
    pub created: String,
    /// The layers behind it, the bottom one first.
    pub layers: Vec<LayerInfo>,
}

/// A step with when it was last used.
#[derive(Clone, Debug)]
pub struct StepUse {
    /// It.
    pub step: Step,
    /// When.
    pub used: SystemTime,
}

/// What locks builds and the removal of steps against each other.
const LOCK: &str = "lock";

impl Store {
    fn steps_directory(&self) -> PathBuf {
        self.root().join("steps")
    }

    fn lock_steps(&self, how: FlockArg) -> Result<Option<LockGuard>> {
        let directory = self.steps_directory();
        let what = || format!("lock {}", directory.display());
        make_private(self.root()).with_context(what)?;
        make_private(&directory).with_context(what)?;
        let mut options = private();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(directory.join(LOCK)).with_context(what)?;
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(LockGuard { _lock: Some(lock) })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(what),
        }
    }

    /// For as long as a build goes on: no step is forgotten meanwhile.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn lock_builds(&self) -> Result<LockGuard> {
        let lock = self.lock_steps(FlockArg::LockShared)?;
        lock.context("lock the steps of builds")
    }

    /// The same, if no build goes on: then none begins meanwhile.
    ///
    /// # Errors
    /// As [`Store::lock_builds`].
    pub fn try_lock_builds(&self) -> Result<Option<LockGuard>> {
        self.lock_steps(FlockArg::LockExclusiveNonblock)
    }

    /// What was made under `key`, if all of it is there. It counts as used now.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recall(&self, key: &str) -> Result<Option<Step>> {
        let path = self.steps_directory().join(key);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("read {}", path.display()))?,
        };
        let Ok(step) = serde_json::from_slice::<Step>(&text) else {
            return Ok(None);
        };
        let is_there = |layer: &LayerInfo| self.layout().blob(&layer.blob).exists();
        if !step.layers.iter().all(is_there) {
            return Ok(None);
        }
        // When it cannot be said it is only forgotten earlier.
        let file = File::options().write(true).open(&path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(step))
    }

    /// Records what was made under `key`. The caller holds the store's lock, shared, since
    /// the layers came in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remember(&self, key: &str, step: &Step) -> Result<()> {
        let session = self.session()?;
        let new = session.path("step")?;
        let path = self.steps_directory().join(key);
        let text = serde_json::to_vec(step)?;
        let write = || {
            make_private(&self.steps_directory())?;
            crate::sys::fs::write_private(&new, &text)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// All steps with their keys.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn steps(&self) -> Result<Vec<(String, StepUse)>> {
        let mut found = Vec::new();
        for key in names(&self.steps_directory())? {
            let path = self.steps_directory().join(&key);
            let text = fs::read(&path).ok();
            let step = text.and_then(|text| serde_json::from_slice(&text).ok());
            let used = fs::metadata(&path).and_then(|meta| meta.modified());
            if let (Some(step), Ok(used)) = (step, used) {
                found.push((key, StepUse { step, used }));
            }
        }
        Ok(found)
    }

    /// Forgets the steps that `goes` says, and removes layers that nothing else needs.
    /// Returns the keys that went, too.
    ///
    /// # Errors
    /// A build goes on.
    pub fn forget_steps(&self, goes: &dyn Fn(&StepUse) -> bool) -> Result<(Vec<String>, Removed)> {
        let Some(_builds) = self.try_lock_builds()? else {
            refuse!(
                Conflict,
                "a build goes on, and needs what builds left: try again when it has ended"
            );
        };
        let _lock = self.lock_exclusive()?;
        let mut gone = Vec::new();
        for (key, step) in self.steps()? {
            if goes(&step) {
                let path = self.steps_directory().join(&key);
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                gone.push(key);
            }
        }
        let reclaimed = self.collect()?;
        let removed = Removed {
            reclaimed,
            ..Removed::default()
        };
        Ok((gone, removed))
    }
}
