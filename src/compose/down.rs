//! Stopping and removing what there is of a project, in the order of its dependencies from the
//! end.

use super::{found, labels};
use crate::engine::container::asking;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::control::Request;
use crate::engine::container::record::State;
use crate::engine::container::volumes::Volumes;
use crate::engine::network::Networks;
use crate::engine::operate::lifecycle;
use crate::engine::request::mounts::Kind;
use crate::image::store::Store;
use anyhow::Result;
use std::collections::BTreeSet;

/// Told of what was done: the kind of thing, its name, what.
pub type Report<'a> = &'a (dyn Fn(&str, &str, &str) + Sync);

/// What is removed of a project.
pub struct Down<'a> {
    /// The store.
    pub store: &'a Store,
    /// The project's name.
    pub project: &'a str,
    /// The services that its files have; None if all of the project's are meant.
    pub known: Option<&'a BTreeSet<String>>,
    /// Services of which alone containers are removed; then networks and volumes stay.
    pub only: &'a [String],
    /// Volumes are removed too.
    pub volumes: bool,
    /// Containers of services that the files do not have are removed.
    pub remove_orphans: bool,
    /// Seconds between the stop signal and the end, in place of the containers'.
    pub patience: Option<i64>,
    /// Told of what was done.
    pub report: Report<'a>,
    /// Told of what is worth saying.
    pub warn: &'a dyn Fn(&str),
}

impl Down<'_> {
    /// Does it. The caller holds the project's lock. Returns the images that its containers
    /// were of.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn run(&self) -> Result<BTreeSet<String>> {
        let containers = Containers::open(self.store);
        let mut all = found::containers(&containers, self.project)?;
        all.retain(|container| {
            let service = found::label(container, labels::SERVICE);
            let is_known = self.known.is_none_or(|known| known.contains(service));
            let is_wanted = self.only.is_empty() || self.only.iter().any(|name| name == service);
            is_wanted && (is_known || self.remove_orphans)
        });
        let images = all
            .iter()
            .map(|container| container.record.image.clone())
            .collect();
        let volumes = Volumes::open(self.store);
        for level in levels(all) {
            stop(&containers, &level, self.patience, self.report)?;
            remove(
                &containers,
                &level,
                self.volumes.then_some(&volumes),
                self.report,
            )?;
        }
        if !self.only.is_empty() {
            return Ok(images);
        }
        self.networks(&containers)?;
        if self.volumes {
            self.volumes()?;
        }
        if found::containers(&containers, self.project)?.is_empty() {
            let _ = std::fs::remove_dir_all(found::files(self.store, self.project));
        }
        Ok(images)
    }

    fn networks(&self, containers: &Containers) -> Result<()> {
        let networks = Networks::open(self.store.root());
        for network in networks.list()? {
            let project = network.labels.get(labels::PROJECT).map(String::as_str);
            if project != Some(self.project) {
                continue;
            }
            match networks.remove(&network, containers) {
                Ok(()) => (self.report)("Network", &network.name, "Removed"),
                Err(error) => (self.warn)(&format!("{error:#}")),
            }
        }
        Ok(())
    }

    fn volumes(&self) -> Result<()> {
        let volumes = Volumes::open(self.store);
        for volume in volumes.list()? {
            let project = volume.labels.get(labels::PROJECT).map(String::as_str);
            if project == Some(self.project) {
                volumes.remove(&volume.name, false)?;
                (self.report)("Volume", &volume.name, "Removed");
            }
        }
        Ok(())
    }
}

/// Containers in groups of which each depends on later ones alone, by what their labels say.
pub fn levels(mut all: Vec<Container>) -> Vec<Vec<Container>> {
    let mut levels = Vec::new();
    while !all.is_empty() {
        let needed: BTreeSet<String> = all.iter().flat_map(depended).collect();
        let (rest, level): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|container| needed.contains(found::label(container, labels::SERVICE)));
        if level.is_empty() {
            // Labels that go in circles are nobody's order.
            levels.push(rest);
            break;
        }
        levels.push(level);
        all = rest;
    }
    levels
}

/// The services that a container's depends on.
fn depended(container: &Container) -> Vec<String> {
    let own = found::label(container, labels::SERVICE);
    let words = found::label(container, labels::DEPENDS_ON).split(',');
    let names = words.filter_map(|word| word.split(':').next());
    let names = names.filter(|name| !name.is_empty() && *name != own);
    names.map(str::to_owned).collect()
}

/// Stops containers side by side: all are asked, then waited for.
///
/// # Errors
/// One cannot be stopped; the others are.
pub fn stop(
    containers: &Containers,
    all: &[Container],
    patience: Option<i64>,
    report: Report,
) -> Result<()> {
    let mut asked = Vec::new();
    let mut done = Ok(());
    for container in all.iter().filter(|container| container.state.is_active()) {
        let mut container = container.clone();
        if matches!(container.state, State::Paused { .. }) {
            asking::ask(&container, Request::Resume)?;
            container = containers.find(&container.record.id)?;
        }
        let name = container.record.name.clone();
        match lifecycle::begin_stop(containers, container, None, patience, false) {
            Ok(stopping) => asked.push((name, stopping)),
            Err(error) => done = Err(error),
        }
    }
    for (name, stopping) in asked {
        match lifecycle::finish_stop(containers, stopping) {
            Ok(()) => report("Container", &name, "Stopped"),
            Err(error) => done = Err(error),
        }
    }
    done
}

/// Removes containers; with `volumes` also the anonymous ones that they have.
///
/// # Errors
/// One cannot be removed.
pub fn remove(
    containers: &Containers,
    all: &[Container],
    volumes: Option<&Volumes>,
    report: Report,
) -> Result<()> {
    for container in all {
        // One with --rm has gone by itself.
        let Ok(mut container) = containers.find(&container.record.id) else {
            continue;
        };
        lifecycle::begin_remove(&mut container, true)?;
        lifecycle::finish_remove(containers, &container, true, volumes.is_some())?;
        report("Container", &container.record.name, "Removed");
        if let Some(volumes) = volumes {
            inherited(volumes, &container);
        }
    }
    Ok(())
}

/// Removes the anonymous volumes that a container had from one whose place it took.
fn inherited(volumes: &Volumes, container: &Container) {
    for mount in container
        .record
        .mounts
        .iter()
        .filter(|mount| mount.kind == Kind::Volume)
    {
        if volumes
            .find(&mount.source)
            .is_ok_and(|volume| volume.anonymous)
        {
            // Somebody else may use it.
            let _ = volumes.remove(&mount.source, false);
        }
    }
}
