//! Making what there is what is wanted.

use super::down::{remove, stop};
use super::found;
use super::labels::{self, Labels};
use super::plan::{self, Existing, Recreate, Wanted};
use super::project::Project;
use super::service::{Content, Service, container_name, labels_of};
use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::volumes::Volumes;
use crate::engine::operate::run::{Subject, create};
use crate::engine::request::mounts::{Kind, MountOption, bind_words};
use crate::error::refuse;
use crate::image::digest::hex;
use crate::image::progress::Quiet;
use crate::image::store::Store;
use crate::sys::fs::{make_private, write_private};
use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What is wanted of a project.
pub struct Up<'a> {
    /// The store.
    pub store: &'a Store,
    /// The project.
    pub project: &'a Project,
    /// Its services.
    pub services: &'a BTreeMap<String, Service>,
    /// Their images.
    pub images: &'a BTreeMap<String, ImageOf>,
    /// Those that were named; all if there are none.
    pub named: &'a [String],
    /// How many containers some are to have.
    pub scale: &'a BTreeMap<String, usize>,
    /// When containers are made anew.
    pub recreate: Recreate,
    /// The same for those that named ones depend on.
    pub recreate_others: Recreate,
    /// Anonymous volumes are made anew too.
    pub renew_volumes: bool,
    /// Containers of services that the files do not have any more are removed.
    pub remove_orphans: bool,
    /// Seconds between the stop signal and the end, in place of the containers'.
    pub patience: Option<i64>,
    /// Told of what was done: the kind of thing, its name, what.
    pub report: &'a (dyn Fn(&str, &str, &str) + Sync),
    /// Told of what is worth saying.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// Set by who wants no more of it: nothing is waited for and started any more.
    pub given_up: &'a AtomicBool,
}

/// What there is when all is made.
#[derive(Debug, Default)]
pub struct Made {
    /// The ids of each service's containers.
    pub ids: BTreeMap<String, Vec<String>>,
    /// The ids of those that run as they should.
    pub running: BTreeSet<String>,
}

/// The image of a service.
#[derive(Debug, Clone)]
pub struct ImageOf {
    /// What the store calls it.
    pub name: String,
    /// Its id; empty for one that is made when it is needed.
    pub id: String,
}

impl Up<'_> {
    /// Makes it; what has to be started is so by [`Up::start`]. The caller holds the project's
    /// lock for both.
    ///
    /// # Errors
    /// What could not be made.
    pub fn make(&self) -> Result<Made> {
        let containers = Containers::open(self.store);
        self.external()?;
        let there = found::containers(&containers, &self.project.name)?;
        self.orphans(&containers, &there)?;
        let existing: Vec<Existing> = there
            .iter()
            .filter(|container| !found::is_one_off(container))
            .map(found::existing)
            .collect();
        let order = plan::order(self.services);
        let mut wanted = BTreeMap::new();
        for (name, service) in self.services {
            let is_named = self.named.is_empty() || self.named.contains(name);
            let scale = self.scale.get(name).copied().unwrap_or(service.scale);
            if scale > 1 && service.container_name.is_some() {
                refuse!(
                    Invalid,
                    "services.{name}: {scale} containers cannot have one name: leave out container_name"
                );
            }
            let recreate = match is_named {
                true => self.recreate,
                false => self.recreate_others,
            };
            let image = self.images.get(name).map_or("", |image| &image.id);
            wanted.insert(
                name.as_str(),
                Wanted {
                    service,
                    scale,
                    image,
                    recreate,
                },
            );
        }
        let mut changes = plan::plan(&wanted, &order, &existing);
        self.networks(&containers, &mut changes)?;
        self.volumes()?;
        let mut made = Made::default();
        for name in order.iter().rev() {
            let change = &changes[*name];
            self.clear(&containers, change.remove.iter().chain(&change.replace))?;
            self.stop(&containers, &change.restart)?;
        }
        for name in &order {
            let (service, change) = (&self.services[*name], &changes[*name]);
            for number in change.made() {
                let old = change.replace.iter().find(|old| old.number == number);
                let old = old.and_then(|old| there.iter().find(|c| c.record.id == old.id));
                let id = self.create(service, number, old)?;
                made.ids.entry((*name).to_owned()).or_default().push(id);
            }
            for container in &change.leave {
                made.running.insert(container.id.clone());
                (self.report)("Container", &container.name, "Running");
            }
            let kept = [&change.start, &change.restart, &change.leave];
            let ids = kept
                .into_iter()
                .flatten()
                .map(|container| container.id.clone());
            made.ids.entry((*name).to_owned()).or_default().extend(ids);
        }
        Ok(made)
    }

    fn orphans(&self, containers: &Containers, there: &[Container]) -> Result<()> {
        let is_orphan = |container: &&Container| {
            let service = found::label(container, labels::SERVICE);
            !found::is_one_off(container) && !self.project.known.contains(service)
        };
        let orphans: Vec<Existing> = there
            .iter()
            .filter(is_orphan)
            .map(found::existing)
            .collect();
        if orphans.is_empty() {
            return Ok(());
        }
        if self.remove_orphans {
            return self.clear(containers, orphans.iter());
        }
        let names: Vec<&str> = orphans.iter().map(|orphan| orphan.name.as_str()).collect();
        (self.warn)(&format!(
            "the project has containers of services that its files do not have: {}: \
             --remove-orphans removes them",
            names.join(", ")
        ));
        Ok(())
    }

    pub(super) fn clear<'e>(
        &self,
        containers: &Containers,
        all: impl Iterator<Item = &'e Existing>,
    ) -> Result<()> {
        // Some may have gone already.
        let list: Vec<Container> = all
            .filter_map(|existing| containers.find(&existing.id).ok())
            .collect();
        stop(containers, &list, self.patience, self.report)?;
        remove(containers, &list, None, self.report)
    }

    fn stop(&self, containers: &Containers, all: &[Existing]) -> Result<()> {
        let mut list = Vec::new();
        for existing in all {
            list.push(containers.find(&existing.id)?);
        }
        stop(containers, &list, self.patience, self.report)
    }

    /// Makes one container of a service, in the place of an old one if there was one.
    fn create(&self, service: &Service, number: usize, old: Option<&Container>) -> Result<String> {
        let name = container_name(&self.project.name, service, number);
        let image = self.images.get(&service.name);
        let labels = labels_of(service, number, image.map_or("", |image| &image.id));
        let (container, ..) = self.create_as(service, &name, labels, old)?;
        let done = if old.is_some() {
            "Recreated"
        } else {
            "Created"
        };
        (self.report)("Container", &name, done);
        Ok(container.record.id)
    }

    /// Makes a container of a service that has this name and these labels.
    pub(super) fn create_as(
        &self,
        service: &Service,
        name: &str,
        labels: Labels,
        old: Option<&Container>,
    ) -> Result<(Container, Lock, Spec)> {
        let what = || format!("services.{}: container {name}", service.name);
        let mut options = service.options.clone();
        options.name = Some(name.to_owned());
        options.labels = labels;
        for directory in &service.directories {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        for file in &service.files {
            let source = match &file.content {
                Content::File(path) => path.clone(),
                Content::Bytes(bytes) => self.keep(bytes, file.mode)?,
            };
            options.mounts.push(MountOption::Bind {
                source,
                destination: file.target.clone(),
                options: bind_words(vec!["rro".into()]),
                chown: false,
            });
        }
        if let (Some(old), false) = (old, self.renew_volumes) {
            inherit(&mut options.mounts, old, &Volumes::open(self.store));
        }
        let image = self.images.get(&service.name);
        let subject = Subject::Image(image.map_or(&service.image, |image| &image.name).clone());
        let platform = service.platform.as_ref();
        let created = create(self.store, &subject, &options, platform, &Quiet, &|text| {
            (self.warn)(text)
        });
        created.with_context(what)
    }

    /// Keeps a text for containers to have as a file; its name is what it says.
    fn keep(&self, bytes: &[u8], mode: u32) -> Result<std::path::PathBuf> {
        let directory = found::files(self.store, &self.project.name);
        let digest = hex(&Sha256::digest(bytes));
        let path = directory.join(format!("{digest}-{mode:o}"));
        let what = || path.display().to_string();
        if !path.exists() {
            make_private(&directory).with_context(what)?;
            let new = directory.join(".new");
            let _ = std::fs::remove_file(&new);
            write_private(&new, bytes).with_context(what)?;
            std::fs::set_permissions(&new, Permissions::from_mode(mode)).with_context(what)?;
            std::fs::rename(&new, &path).with_context(what)?;
        }
        Ok(path)
    }
}

/// The anonymous volumes of a container go to the one that takes its place.
fn inherit(mounts: &mut Vec<MountOption>, old: &Container, volumes: &Volumes) {
    for mount in old
        .record
        .mounts
        .iter()
        .filter(|mount| mount.kind == Kind::Volume)
    {
        let is_anonymous = volumes
            .find(&mount.source)
            .is_ok_and(|volume| volume.anonymous);
        let place: &Path = &mount.destination;
        let given = mounts.iter().position(|own| own.destination() == place);
        let is_free = match given.map(|at| &mounts[at]) {
            None | Some(MountOption::Volume { name: None, .. }) => true,
            Some(_) => false,
        };
        if !is_anonymous || !is_free {
            continue;
        }
        if let Some(at) = given {
            mounts.remove(at);
        }
        mounts.push(crate::engine::request::mounts::again(mount, false));
    }
}
