//! Making what there is what is wanted: networks, volumes, containers, and their start, each as
//! soon as what it depends on is as it has to be.

use super::down::{remove, stop};
use super::labels;
use super::node::{Node, Value};
use super::plan::{self, Change, Existing, Recreate, Wanted};
use super::project::Project;
use super::service::{Condition, Content, Service, container_name, labels_of};
use super::{found, waiting};
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::volumes::Volumes;
use crate::engine::ground::caller::Caller;
use crate::engine::network::definition::Wishes;
use crate::engine::network::{Definition, Networks};
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::operate::run::{Subject, create};
use crate::engine::request::mounts::{Kind, MountOption, bind_words};
use crate::error::{Kind as Wrong, refusal, refuse};
use crate::image::progress::Quiet;
use crate::image::store::Store;
use crate::sys::fs::{make_private, write_private};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

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
    /// Containers are started.
    pub start: bool,
    /// Seconds between the stop signal and the end, in place of the containers'.
    pub patience: Option<i64>,
    /// Told of what was done: the kind of thing, its name, what.
    pub report: &'a (dyn Fn(&str, &str, &str) + Sync),
    /// Told of what is worth saying.
    pub warn: &'a (dyn Fn(&str) + Sync),
}

/// The image of a service.
#[derive(Debug, Clone)]
pub struct ImageOf {
    /// What the store calls it.
    pub name: String,
    /// Its id; empty for one that is made when it is needed.
    pub id: String,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begun,
    Started,
    Failed,
}

/// How far the services are, for those that wait for others.
struct Board {
    services: Mutex<BTreeMap<String, Progress>>,
    changed: Condvar,
}

impl Board {
    fn set(&self, name: &str, progress: Progress) {
        let mut services = self.services.lock().expect("no thread panics");
        services.insert(name.to_owned(), progress);
        self.changed.notify_all();
    }

    /// Waits until a service is started, or that has failed.
    fn wait(&self, name: &str) -> Progress {
        let mut services = self.services.lock().expect("no thread panics");
        loop {
            match services.get(name) {
                Some(Progress::Begun) => {}
                Some(progress) => return *progress,
                // It is not asked for.
                None => return Progress::Started,
            }
            services = self.changed.wait(services).expect("no thread panics");
        }
    }
}

impl Up<'_> {
    /// Does it. The caller holds the project's lock. Returns the ids of each service's
    /// containers.
    ///
    /// # Errors
    /// What could not be made or started; the rest is.
    pub fn run(&self) -> Result<BTreeMap<String, Vec<String>>> {
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
        let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
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
                made.entry((*name).to_owned()).or_default().push(id);
            }
            let kept = [&change.start, &change.restart, &change.leave];
            let ids = kept
                .into_iter()
                .flatten()
                .map(|container| container.id.clone());
            made.entry((*name).to_owned()).or_default().extend(ids);
        }
        if self.start {
            self.begin(&containers, &made, &changes)?;
        }
        Ok(made)
    }

    /// Waits until all are well.
    ///
    /// # Errors
    /// One is not, or it takes too long.
    pub fn wait(&self, made: &BTreeMap<String, Vec<String>>, until: Option<Instant>) -> Result<()> {
        let containers = Containers::open(self.store);
        let completes = |name: &String| {
            let mut all = self
                .services
                .values()
                .flat_map(|service| &service.dependencies);
            all.any(|other| other.service == *name && other.condition == Condition::Completed)
        };
        for (name, ids) in made {
            let condition = match completes(name) {
                true => Condition::Completed,
                false => Condition::Healthy,
            };
            for id in ids {
                waiting::wait(&containers, id, condition, false, until)?;
                let container = containers.find(id)?;
                (self.report)("Container", &container.record.name, "Healthy");
            }
        }
        Ok(())
    }

    /// Sees to it that what is made elsewhere is there.
    fn external(&self) -> Result<()> {
        let networks = Networks::open(self.store.root());
        let volumes = Volumes::open(self.store);
        for (section, has) in [
            (
                "networks",
                &(|name: &str| networks.find(name).map(drop)) as &dyn Fn(&str) -> Result<()>,
            ),
            ("volumes", &|name: &str| volumes.find(name).map(drop)),
        ] {
            for (key, name, node) in self.parts(section) {
                if !is_external(node) {
                    continue;
                }
                has(name).map_err(|error| {
                    let text = format!(
                        "{}: {section}.{key} is external, and not there: {error:#}",
                        node.mark
                    );
                    anyhow::Error::from(Wrong::NotFound.says(text))
                })?;
            }
        }
        Ok(())
    }

    /// Networks or volumes: key, name, what is said of it.
    fn parts(&self, section: &str) -> Vec<(&str, &str, &Node)> {
        let section = self.project.root.get(section);
        let entries = section.map(Node::entries).unwrap_or_default().iter();
        entries
            .filter_map(|(key, node)| Some((key.name.as_str(), node.text_of("name")?, node)))
            .collect()
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

    fn clear<'e>(
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

    /// Makes the networks that are missing; those that were made otherwise are made anew, and
    /// so are the containers on them.
    fn networks(
        &self,
        containers: &Containers,
        changes: &mut BTreeMap<String, Change>,
    ) -> Result<()> {
        let networks = Networks::open(self.store.root());
        for (key, name, node) in self.parts("networks") {
            if is_external(node) {
                continue;
            }
            let wishes = wishes(&self.project.name, key, name, node)?;
            if let Ok(own) = networks.find(name) {
                if self.is_same(&own, key, &wishes)? {
                    continue;
                }
                for (service, change) in changes.iter_mut() {
                    let attachments = &self.services[service].options.keeping.networks;
                    if attachments
                        .iter()
                        .any(|attachment| attachment.network == name)
                    {
                        for list in [&mut change.leave, &mut change.start, &mut change.restart] {
                            change.replace.append(list);
                        }
                        self.clear(containers, change.replace.iter())?;
                    }
                }
                networks.remove(&own, containers)?;
                (self.report)("Network", name, "Removed");
            }
            networks.create(&wishes)?;
            (self.report)("Network", name, "Created");
        }
        Ok(())
    }

    /// Whether a network is the project's, and as it says.
    fn is_same(&self, own: &Definition, key: &str, wishes: &Wishes) -> Result<bool> {
        let label = |name: &str| own.labels.get(name).map(String::as_str);
        let is_ours = label(labels::PROJECT) == Some(&self.project.name)
            && label(labels::NETWORK) == Some(key);
        if !is_ours {
            refuse!(
                Conflict,
                "network {} is there and not of this project: say external: true to use it, or \
                 give the project's another name",
                own.name
            );
        }
        Ok(own.labels.get(labels::HASH) == wishes.labels.get(labels::HASH))
    }

    fn volumes(&self) -> Result<()> {
        let volumes = Volumes::open(self.store);
        for (key, name, node) in self.parts("volumes") {
            if is_external(node) {
                continue;
            }
            let driver = node.text_of("driver").unwrap_or("local");
            if !["", "local"].contains(&driver) || node.given("driver_opts").is_some() {
                refuse!(
                    Unsupported,
                    "{}: volumes.{key}: there is the driver local, without options: a directory of \
                     the host goes into a service's volumes by its path",
                    node.mark
                );
            }
            if let Ok(own) = volumes.find(name) {
                let label = own.labels.get(labels::PROJECT);
                if label != Some(&self.project.name) {
                    (self.warn)(&format!(
                        "volume {name} is there and not of this project: it is used; external: \
                         true says that this is meant"
                    ));
                }
                continue;
            }
            volumes.create(
                name,
                &labels::of_part(&self.project.name, labels::VOLUME, key, node),
            )?;
            (self.report)("Volume", name, "Created");
        }
        Ok(())
    }

    /// Makes one container of a service, in the place of an old one if there was one.
    fn create(&self, service: &Service, number: usize, old: Option<&Container>) -> Result<String> {
        let name = container_name(&self.project.name, service, number);
        let what = || format!("services.{}: container {name}", service.name);
        let mut options = service.options.clone();
        options.name = Some(name.clone());
        let image = self.images.get(&service.name);
        options.labels = labels_of(service, number, image.map_or("", |image| &image.id));
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
        let subject = Subject::Image(image.map_or(&service.image, |image| &image.name).clone());
        let platform = service.platform.as_ref();
        let created = create(self.store, &subject, &options, platform, &Quiet, &|text| {
            (self.warn)(text)
        });
        let (container, ..) = created.with_context(what)?;
        let done = if old.is_some() {
            "Recreated"
        } else {
            "Created"
        };
        (self.report)("Container", &name, done);
        Ok(container.record.id)
    }

    /// Keeps a text for containers to have as a file; its name is what it says.
    fn keep(&self, bytes: &[u8], mode: u32) -> Result<std::path::PathBuf> {
        let directory = found::files(self.store, &self.project.name);
        let digest = Sha256::digest(bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
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

    /// Starts what does not run, side by side where the order allows it.
    fn begin(
        &self,
        containers: &Containers,
        made: &BTreeMap<String, Vec<String>>,
        changes: &BTreeMap<String, Change>,
    ) -> Result<()> {
        let leave = |name: &str| -> BTreeSet<&str> {
            let change = changes.get(name);
            let list = change.into_iter().flat_map(|change| &change.leave);
            list.map(|container| container.id.as_str()).collect()
        };
        let mut due: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, ids) in made {
            let left = leave(name);
            let ids: Vec<&str> = ids
                .iter()
                .map(String::as_str)
                .filter(|id| !left.contains(id))
                .collect();
            if !ids.is_empty() {
                due.insert(name, ids);
            }
        }
        let begun = due.keys().map(|name| ((*name).to_owned(), Progress::Begun));
        let board = Board {
            services: Mutex::new(begun.collect()),
            changed: Condvar::new(),
        };
        let errors = Mutex::new(Vec::new());
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("/dev/null")?;
        std::thread::scope(|scope| {
            for (name, ids) in &due {
                let (board, errors, null) = (&board, &errors, &null);
                scope.spawn(move || {
                    let service = &self.services[*name];
                    let started = self.ready(containers, service, made, board).and_then(|()| {
                        ids.iter()
                            .try_for_each(|id| self.start_one(containers, id, null))
                    });
                    match started {
                        Ok(()) => board.set(name, Progress::Started),
                        Err(error) => {
                            errors.lock().expect("no thread panics").push(error);
                            board.set(name, Progress::Failed);
                        }
                    }
                });
            }
        });
        let mut errors = errors.into_inner().expect("no thread panics").into_iter();
        let Some(first) = errors.next() else {
            return Ok(());
        };
        for other in errors {
            (self.warn)(&format!("{other:#}"));
        }
        let hint = format!(
            "the rest of project {0} goes on: bryo compose -p {0} ps shows it, and up goes on from there",
            self.project.name
        );
        (self.warn)(&hint);
        Err(first)
    }

    fn start_one(&self, containers: &Containers, id: &str, null: &File) -> Result<()> {
        let container = containers.find(id)?;
        let name = container.record.name.clone();
        let caller = Caller::with([null.as_fd(); 3]);
        let how = Launch::default();
        let started = lifecycle::start(containers, container, &how, caller, &|text| {
            (self.warn)(text)
        });
        started.with_context(|| format!("container {name}"))?;
        (self.report)("Container", &name, "Started");
        Ok(())
    }

    /// Waits until all that a service depends on is as it has to be.
    fn ready(
        &self,
        containers: &Containers,
        service: &Service,
        made: &BTreeMap<String, Vec<String>>,
        board: &Board,
    ) -> Result<()> {
        for name in &service.shares_with {
            if board.wait(name) == Progress::Failed {
                refuse!(
                    Conflict,
                    "services.{}: {name}, which it shares with, did not start",
                    service.name
                );
            }
        }
        for dependency in &service.dependencies {
            let other = &dependency.service;
            let Some(ids) = made.get(other) else {
                continue;
            };
            let done = match board.wait(other) {
                Progress::Failed => Err(refusal!(
                    Conflict,
                    "services.{}: {other}, which it depends on, did not start",
                    service.name
                )),
                _ if dependency.condition == Condition::Started => Ok(()),
                _ => ids.iter().try_for_each(|id| {
                    waiting::wait(containers, id, dependency.condition, true, None)
                        .with_context(|| format!("services.{}: depends on {other}", service.name))
                }),
            };
            match done {
                Err(error) if !dependency.required => (self.warn)(&format!("{error:#}")),
                other => other?,
            }
        }
        Ok(())
    }
}

fn is_external(node: &Node) -> bool {
    node.given("external")
        .is_some_and(|external| external.value != Value::Bool(false))
}

/// A network as the engine is asked for it.
fn wishes(project: &str, key: &str, name: &str, node: &Node) -> Result<Wishes> {
    let wrong = |text: String| refusal!(Unsupported, "{}: networks.{key}.{text}", node.mark);
    let driver = node.text_of("driver").unwrap_or("bridge");
    if !["", "bridge"].contains(&driver) {
        return Err(wrong(format!(
            "driver: {driver:?} is none here: there is bridge"
        )));
    }
    let is = |key: &str| {
        node.get(key)
            .is_some_and(|node| node.value == Value::Bool(true))
    };
    if node
        .get("enable_ipv4")
        .is_some_and(|node| node.value == Value::Bool(false))
    {
        return Err(wrong("enable_ipv4: networks have IPv4 always".into()));
    }
    let mut wishes = Wishes {
        name: name.to_owned(),
        ipv6: is("enable_ipv6"),
        internal: is("internal"),
        labels: labels::of_part(project, labels::NETWORK, key, node),
        ..Wishes::default()
    };
    for (option, value) in node
        .get("driver_opts")
        .map(Node::entries)
        .unwrap_or_default()
    {
        let value = value.value.shown().unwrap_or_default();
        match option.name.as_str() {
            "com.docker.network.driver.mtu" | "mtu" => wishes.options.push(format!("mtu={value}")),
            other => return Err(wrong(format!("driver_opts.{other}: there is mtu"))),
        }
    }
    let ipam = node.given("ipam");
    if ipam
        .and_then(|ipam| ipam.text_of("driver"))
        .is_some_and(|driver| !["", "default"].contains(&driver))
    {
        return Err(wrong("ipam.driver: there is default".into()));
    }
    if ipam.is_some_and(|ipam| ipam.given("options").is_some()) {
        return Err(wrong("ipam.options: there are none".into()));
    }
    for pool in ipam
        .and_then(|ipam| ipam.get("config"))
        .map(Node::items)
        .unwrap_or_default()
    {
        for key in ["ip_range", "aux_addresses"] {
            if pool.given(key).is_some() {
                return Err(wrong(format!(
                    "ipam.config.{key}: addresses are given out of the whole subnet"
                )));
            }
        }
        if let Some(subnet) = pool.text_of("subnet").filter(|text| !text.is_empty()) {
            wishes.subnets.push(subnet.parse()?);
        }
        if let Some(gateway) = pool.text_of("gateway").filter(|text| !text.is_empty()) {
            let read = gateway
                .parse()
                .map_err(|_| wrong(format!("ipam.config.gateway: {gateway:?} is no address")));
            wishes.gateways.push(read?);
        }
    }
    Ok(wishes)
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
