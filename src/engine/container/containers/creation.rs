//! The making of a container's directory: under a name of its own until it is
//! complete.

use super::Changes;
use super::Container;
use super::Containers;
use super::Lock;
use super::lock_now;
use crate::engine::container::record::{History, Record, State};
use crate::image::remove::remove_tree;
use crate::sys::fs::{make_private, private, spread};
use anyhow::{Context, Result};
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A container that is being created; its directory goes with the value
/// unless it is [completed](Creation::complete).
#[derive(Debug)]
pub struct Creation {
    staging: PathBuf,
    directory: PathBuf,
    name_link: Option<PathBuf>,
    lock: Option<Lock>,
}

impl Containers {
    /// Starts to create the container `id`, in a directory of its own.
    pub fn create(&self, id: &str) -> Result<Creation> {
        let all = self.directory();
        let staging = all.join(format!(".{id}"));
        let make = || DirBuilder::new().mode(0o700).create(&staging);
        match make() {
            Err(e) if e.kind() == ErrorKind::NotFound => make_private(self.root())
                .and_then(|()| {
                    // Away from what others delete beside the store.
                    let _ = File::open(self.root()).map(|root| spread(&root));
                    make_private(&all)
                })
                .and_then(|()| make_private(&self.mount_point()))
                // What removes must not have to make it first.
                .and_then(|()| make_private(&self.root().join("trash")))
                .and_then(|()| make()),
            other => other,
        }
        .with_context(|| format!("create {}", staging.display()))?;
        let record = staging.join("record.json");
        let file = private()
            .write(true)
            .create_new(true)
            .open(&record)
            .with_context(|| record.display().to_string())?;
        let lock = lock_now(file).with_context(|| record.display().to_string())?;
        let lock = lock.context("the new container is locked already")?;
        Ok(Creation {
            directory: all.join(id),
            staging,
            name_link: None,
            lock: Some(lock),
        })
    }
}

impl Creation {
    /// The directory while the container is being created.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// The directory that it will be.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Claims the container's name.
    pub fn name(&mut self, containers: &Containers, record: &Record) -> Result<()> {
        self.name_link = Some(containers.claim_name(&record.name, &record.id)?);
        Ok(())
    }

    /// Writes the record and gives the directory its name.
    pub fn complete(mut self, record: Record) -> Result<(Container, Lock)> {
        let mut lock = self.lock.take().context("creation without lock")?;
        let data = serde_json::to_vec(&record)?;
        let renamed = lock
            .file
            .write_all(&data)
            .and_then(|()| std::fs::rename(&self.staging, &self.directory));
        if let Err(e) = renamed {
            self.lock = Some(lock);
            return Err(e).with_context(|| format!("create {}", self.directory.display()));
        }
        let dir = self.directory.clone();
        let container = Container {
            dir,
            record,
            state: State::Created,
            history: History::default(),
            changes: Changes::default(),
        };
        Ok((container, lock))
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.lock.is_some() {
            if let Some(link) = &self.name_link {
                let _ = std::fs::remove_file(link);
            }
            let _ = remove_tree(&self.staging);
        }
    }
}
