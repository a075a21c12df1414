//! What there is of a project, by its labels; and the lock of who changes it.

use super::labels;
use super::plan::Existing;
use crate::engine::container::containers::{Container, Containers};
use crate::image::store::Store;
use crate::sys::fs::{make_private, private};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::PathBuf;

/// The containers of a project, the eldest first; those for single commands too.
pub fn containers(containers: &Containers, project: &str) -> Result<Vec<Container>> {
    let mut all = containers.list()?;
    all.retain(|container| label(container, labels::PROJECT) == project);
    all.reverse();
    Ok(all)
}

/// What a label says of a container; empty where there is none.
pub fn label<'a>(container: &'a Container, key: &str) -> &'a str {
    container.record.labels.get(key).map_or("", String::as_str)
}

/// Whether it is for a single command.
pub fn is_one_off(container: &Container) -> bool {
    label(container, labels::ONE_OFF) == "True"
}

/// A container as a plan sees it.
pub fn existing(container: &Container) -> Existing {
    Existing {
        id: container.record.id.clone(),
        name: container.record.name.clone(),
        service: label(container, labels::SERVICE).to_owned(),
        number: label(container, labels::NUMBER).parse().unwrap_or(1),
        hash: label(container, labels::HASH).to_owned(),
        image: label(container, labels::IMAGE).to_owned(),
        is_active: container.state.is_active(),
    }
}

/// Where texts are kept that a project's containers have as files.
pub fn files(store: &Store, project: &str) -> PathBuf {
    store.root().join("compose").join(project)
}

/// Waits until nobody else changes a project, and keeps it so until what is returned is dropped.
///
/// # Errors
/// The store cannot be written to.
pub fn lock(store: &Store, project: &str) -> Result<Flock<File>> {
    let directory = store.root().join("compose");
    let path = directory.join(format!("{project}.lock"));
    let what = || path.display().to_string();
    make_private(&directory).with_context(what)?;
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(what)?;
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    locked.map_err(|(_, errno)| errno).with_context(what)
}
