//! The images of one user.
//!
//! ```text
//! images/                     an OCI image layout: see [`super::layout`]
//! layers/FLAVOUR/DIFF-ID/     an unpacked layer: fs/ and layer.json
//! layers/FLAVOUR/DIFF-ID/CHAIN-ID/  the same for a layer that depends on those below it
//! steps/                      what steps of builds made: see [`steps`]
//! tmp/                        what is not finished: see [`super::session`]
//! trash/                      what is being removed
//! lock                        see [`Store::lock_shared`]
//! ```
//!
//! A layer is unpacked once for all images. Nearly every layer is complete by
//! itself and found by its diff-id. One that takes something from the layers
//! below it (see [`super::unpack`]) is finished for each stack that it stands
//! in, and found there by its chain-id (OCI image specification, config.md).
//!
//! A [`Flavour`] is an id map: trees that are unpacked for the map where
//! container root is the user and there is nobody else (`single`) stand beside
//! those for other maps. A store that is open works with one of them.
//!
//! Durability: blobs and the index are on the disk when a command ends. The
//! trees are not forced there: they can be made again from the blobs.

use crate::error::{Kind, Said, demand};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs::private;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};

use super::assemble::Assembly;
use super::digest::{self, Digest};
use super::flavour::Flavour;
use super::index::configuration;
use super::layer::About;
use super::layout::{self, Layout};
use super::progress::Progress;
use super::reference::Reference;
use super::session::{Session, private_dir};
use crate::sys::replace::is_unwritable;

/// Most different layers of an image: the kernel stacks so many
/// (`OVL_MAX_STACK`).
pub const MAX_LAYERS: usize = 500;

mod ancestry;
mod layers;
mod removal;
mod steps;
mod weight;

pub use layers::{chain_id, layers};
pub use removal::{Insist, Removed};
pub use steps::{Step, StepUse};
pub use weight::{Leftovers, Weights};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration: what docker calls the image's id.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Its names in familiar form, as `deb:latest`.
    pub references: Vec<String>,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The layers, the bottom one first.
    pub layers: Vec<LayerInfo>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of its plain tar.
    pub diff_id: Digest,
    /// Names the stack up to and including this layer.
    pub chain_id: Digest,
    /// Digest of the blob.
    pub blob: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// What the blob is.
    pub media_type: MediaType,
    /// Where else the blob can be had (OCI image specification, descriptor.md).
    pub urls: Vec<String>,
}

/// An image as `bryo images` lists it.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Digest of the configuration.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Its names; none for a dangling image.
    pub references: Vec<Reference>,
    /// When it was made, in RFC 3339, if it says so.
    pub created: Option<String>,
    /// Sum of its files' sizes in bytes; of its blobs where a layer is not
    /// unpacked.
    pub size: u64,
    /// Labels of the configuration.
    pub labels: Vec<(String, String)>,
}

/// An image that the index lists and that cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its names, as stored.
    pub names: Vec<String>,
    /// What is wrong with it.
    pub why: anyhow::Error,
}

/// A lock on the store, held until dropped.
#[derive(Debug)]
#[must_use]
pub struct LockGuard {
    /// None where there is nothing to lock, nor room for a lock.
    _lock: Option<Flock<File>>,
}

/// Where images are kept. Opening it touches no file.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    layout: Layout,
    flavour: Flavour,
}

impl Store {
    /// The store in `root`, which is made when something is first put there,
    /// for trees of the flavour `single`.
    pub fn open(root: &Path) -> Result<Store> {
        Ok(Store {
            root: root.to_owned(),
            layout: Layout::new(root.join("images")),
            flavour: Flavour::Single,
        })
    }

    /// The same store for trees of another flavour. Those are made only in a
    /// user namespace that has its ids.
    pub fn with_flavour(mut self, flavour: Flavour) -> Store {
        self.flavour = flavour;
        self
    }

    /// The same images with no layer unpacked: a place to unpack them to.
    pub(super) fn scratch(&self, root: PathBuf) -> Store {
        Store {
            root,
            ..self.clone()
        }
    }

    /// For which id map it unpacks.
    pub fn flavour(&self) -> &Flavour {
        &self.flavour
    }

    /// The directory that all of this is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Waits for a lock that others may share. Who looks an image up and then
    /// writes down that it is used holds it from the one to the other.
    pub fn lock_shared(&self) -> Result<LockGuard> {
        self.lock(FlockArg::LockShared)
    }

    /// Waits for a lock that excludes all others, as removal needs.
    pub fn lock_exclusive(&self) -> Result<LockGuard> {
        self.lock(FlockArg::LockExclusive)
    }

    /// The same without waiting: None if somebody has a lock.
    pub fn try_lock_exclusive(&self) -> Result<Option<LockGuard>> {
        match self.lock(FlockArg::LockExclusiveNonblock) {
            Ok(guard) => Ok(Some(guard)),
            Err(error) if error.downcast_ref() == Some(&Errno::EWOULDBLOCK) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, how: FlockArg) -> Result<LockGuard> {
        let path = self.root.join("lock");
        let open = || {
            let mut options = private();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_dir(&self.root)?;
                open()
            }
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            other => other,
        };
        let file = match file {
            // Nobody can have put an image here.
            Err(error) if is_unwritable(&error) && !path.exists() => {
                return Ok(LockGuard { _lock: None });
            }
            other => other.with_context(|| format!("open {}", path.display()))?,
        };
        let lock = Flock::lock(file, how).map_err(|(_, errno)| errno);
        let lock = lock.with_context(|| format!("lock {}", path.display()))?;
        Ok(LockGuard { _lock: Some(lock) })
    }

    /// The image that `name` means: a reference, an id or its beginning, or a
    /// digest. A reference wins over the beginning of an id, as with docker. A
    /// beginning that several images share is an error.
    pub fn find(&self, name: &str) -> Result<Option<Image>> {
        let mut descriptors = self.descriptors()?;
        let mut same = false;
        loop {
            let Some(found) = self.select(&descriptors, name)? else {
                return Ok(None);
            };
            let error = match self.image(&descriptors, &found) {
                Ok(image) => return Ok(Some(image)),
                Err(error) => error,
            };
            // Without the lock, it can be removed at this moment, from the
            // index first, and come back.
            let now = self.descriptors()?;
            if now == descriptors && std::mem::replace(&mut same, true) {
                return Err(error);
            }
            descriptors = now;
        }
    }

    /// Whether there is an image that `name` means, as [`Store::find`]; what
    /// is known of it is not read.
    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self.select(&self.descriptors()?, name)?.is_some())
    }

    /// The manifest digest that `name` means.
    fn select(&self, descriptors: &[Descriptor], name: &str) -> Result<Option<Digest>> {
        if let Ok(reference) = name.parse::<Reference>()
            && let Some(descriptor) = by_reference(descriptors, &reference.or_latest())
        {
            return Ok(Some(descriptor.digest().clone()));
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if prefix.is_empty() || !prefix.bytes().all(hex) {
            return Ok(None);
        }
        let mut found: HashMap<Digest, Digest> = HashMap::new();
        for digest in manifests(descriptors) {
            // One that is damaged has no id to be found by.
            let Ok(manifest) = self.layout.read::<ImageManifest>(&digest) else {
                continue;
            };
            let id = manifest.config().digest();
            if id.digest().starts_with(prefix) || digest.digest() == prefix {
                found.insert(id.clone(), digest);
            }
        }
        demand!(
            Invalid,
            found.len() <= 1,
            "{name:?} is the beginning of several image ids"
        );
        Ok(found.into_values().next())
    }

    /// All manifests of the image `id`: compressed in different ways, its
    /// layers make different manifests.
    fn manifests_of(&self, descriptors: &[Descriptor], id: &Digest) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for digest in manifests(descriptors) {
            let manifest = self.layout.read::<ImageManifest>(&digest);
            if manifest.is_ok_and(|manifest| manifest.config().digest() == id) {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// The manifest that the image `id` has already, as written, with its
    /// media type.
    pub(super) fn manifest_of(&self, id: &Digest) -> Result<Option<(Vec<u8>, MediaType)>> {
        let descriptors = self.descriptors()?;
        let Some(digest) = self.manifests_of(&descriptors, id)?.into_iter().next() else {
            return Ok(None);
        };
        let found = descriptors.iter().find(|d| *d.digest() == digest);
        let media_type = found.map_or(MediaType::ImageManifest, |d| d.media_type().clone());
        Ok(Some((self.layout.read_bytes(&digest)?, media_type)))
    }

    /// Reads manifest and configuration.
    fn image(&self, descriptors: &[Descriptor], digest: &Digest) -> Result<Image> {
        let manifest: ImageManifest = self.layout.read(digest)?;
        let id = manifest.config().digest().clone();
        let config = configuration(&self.layout.read_bytes(&id)?)?;
        let layers = layers(&manifest, &config).with_context(|| format!("image {id}"))?;
        let names = descriptors.iter().filter(|d| d.digest() == digest);
        let references = names.filter_map(layout::name_of).map(familiar).collect();
        Ok(Image {
            id,
            manifest: digest.clone(),
            references,
            config,
            layers,
        })
    }

    /// The configuration of an image as it was written, with fields that
    /// [`ImageConfiguration`] does not know (docker's health check is one).
    pub fn config_json(&self, image: &Image) -> Result<serde_json::Value> {
        self.layout.read(&image.id)
    }

    /// The unpacked layers of an image, the **topmost first**, as overlay's
    /// `lowerdir=` wants them; None if one is not unpacked. Costs one system
    /// call per layer.
    ///
    /// Each tree stands there once, where it is topmost: the kernel refuses a
    /// directory that is below itself (ELOOP). What it would hide or show
    /// further down it hides or shows above as well.
    pub fn lowers(&self, image: &Image) -> Option<Vec<PathBuf>> {
        self.lowers_of(&image.layers)
    }

    /// The same for layers, the bottom one first, that may be no image.
    pub fn lowers_of(&self, layers: &[LayerInfo]) -> Option<Vec<PathBuf>> {
        let mut seen = HashSet::new();
        let mut lowers = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let tree = self.unpacked(layer)?;
            if seen.insert(tree.clone()) {
                lowers.push(tree);
            }
        }
        Some(lowers)
    }

    /// Unpacks, from the blobs, what of an image is not unpacked. The caller
    /// holds the lock, shared.
    pub fn unpack(&self, image: &Image, progress: &dyn Progress) -> Result<()> {
        let unpacked = self.unpack_layers(&image.layers, progress);
        unpacked.with_context(|| format!("unpack image {}", digest::short(&image.id)))
    }

    /// The same for layers, the bottom one first, that may be no image.
    pub fn unpack_layers(&self, layers: &[LayerInfo], progress: &dyn Progress) -> Result<()> {
        let session = self.session()?;
        let mut assembly = Assembly::new(self, &session);
        assembly.unpack_missing(layers, progress)?;
        assembly.stack(layers)?;
        assembly.place()
    }

    /// The tree of a layer, if it is unpacked.
    pub(super) fn unpacked(&self, layer: &LayerInfo) -> Option<PathBuf> {
        self.unpacked_in(layer, &self.flavour.directory())
    }

    /// The trees of an image's layers, the bottom one first, each for some id
    /// map; those that are not unpacked are left out.
    pub fn trees(&self, image: &Image) -> Vec<PathBuf> {
        let flavours = removal::names(&self.root.join("layers")).unwrap_or_default();
        let tree = |layer: &LayerInfo| flavours.iter().find_map(|f| self.unpacked_in(layer, f));
        image.layers.iter().filter_map(tree).collect()
    }

    fn unpacked_in(&self, layer: &LayerInfo, flavour: &str) -> Option<PathBuf> {
        let layers = self.root.join("layers").join(flavour);
        let directory = layers.join(layer.diff_id.digest());
        let alone = directory.join("fs");
        if alone.exists() {
            return Some(alone);
        }
        let in_stack = directory.join(layer.chain_id.digest()).join("fs");
        in_stack.exists().then_some(in_stack)
    }

    /// Where a layer that stands alone is or would be.
    pub(super) fn layer_directory(&self, diff_id: &Digest) -> PathBuf {
        let layers = self.root.join("layers").join(self.flavour.directory());
        layers.join(diff_id.digest())
    }

    /// The layout, for those who bring images in.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A temporary place for unfinished work; also makes the store's
    /// directories.
    pub fn session(&self) -> Result<Session> {
        for name in ["images", "layers", "trash"] {
            private_dir(&self.root.join(name))?;
        }
        self.layout.create()?;
        Session::new(&self.tmp())
    }

    /// The same for who adds nothing to the store: made when it is used.
    pub fn session_if_needed(&self) -> Session {
        Session::if_needed(&self.tmp())
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// All images, the newest first. The caller holds the lock, shared.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        Ok(self.survey()?.0)
    }

    /// The same, and those that cannot be read.
    pub fn survey(&self) -> Result<(Vec<ImageSummary>, Vec<Damaged>)> {
        let descriptors = self.descriptors()?;
        let (mut images, mut damaged) = (Vec::new(), Vec::new());
        for digest in manifests(&descriptors) {
            let image = match self.image(&descriptors, &digest) {
                Ok(image) => image,
                Err(why) => {
                    let named = descriptors.iter().filter(|d| *d.digest() == digest);
                    damaged.push(Damaged {
                        names: named
                            .filter_map(layout::name_of)
                            .map(str::to_owned)
                            .collect(),
                        manifest: digest,
                        why,
                    });
                    continue;
                }
            };
            let names = descriptors.iter().filter(|d| *d.digest() == digest);
            let references = names.filter_map(layout::name_of);
            let labels = image.config.labels_of_config();
            images.push(ImageSummary {
                references: references.filter_map(|name| name.parse().ok()).collect(),
                created: image.config.created().clone(),
                size: self.size(&image),
                labels: labels
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
                id: image.id,
                manifest: image.manifest,
            });
        }
        images.sort_by(|a, b| {
            b.created
                .cmp(&a.created)
                .then_with(|| a.id.as_ref().cmp(b.id.as_ref()))
        });
        Ok((images, damaged))
    }

    /// Sum of the sizes of an image's files in bytes.
    pub fn size(&self, image: &Image) -> u64 {
        image
            .layers
            .iter()
            .map(|layer| self.layer_size(layer))
            .sum()
    }

    /// The same for one layer: of its blob where it is not unpacked.
    pub fn layer_size(&self, layer: &LayerInfo) -> u64 {
        let flavours = removal::names(&self.root.join("layers")).unwrap_or_default();
        // As large for all maps.
        let mut trees = flavours.iter().map(|f| self.unpacked_in(layer, f));
        let about = trees
            .find_map(|tree| tree)
            .and_then(|tree| About::read(tree.parent()?).ok());
        about.map_or(layer.size, |about| about.size)
    }

    /// Gives an image a name, taking it from another that has it.
    pub fn tag(&self, image: &Image, reference: &Reference) -> Result<()> {
        demand!(
            Invalid,
            reference.digest().is_none(),
            "{reference}: a name with a digest cannot be given"
        );
        let manifest = self.layout.update(|descriptors| {
            let found = descriptors.iter().find(|d| *d.digest() == image.manifest);
            let found = found.cloned().with_context(removed_meanwhile)?;
            list(descriptors, &found, std::slice::from_ref(reference), None);
            Ok(())
        });
        manifest.with_context(|| format!("tag {reference}"))
    }

    /// Descriptors of single images; anything else that another tool may have
    /// put into the index is left alone.
    fn descriptors(&self) -> Result<Vec<Descriptor>> {
        let index = self.layout.index()?;
        let all = index.manifests().iter();
        Ok(all
            .filter(|d| is_manifest(d.media_type()))
            .cloned()
            .collect())
    }

    /// Blobs by the diff-id of what is in them, over all images.
    pub(super) fn known_layers(&self) -> Result<HashMap<Digest, LayerInfo>> {
        let descriptors = self.descriptors()?;
        let mut known = HashMap::new();
        for digest in manifests(&descriptors) {
            let Ok(image) = self.image(&descriptors, &digest) else {
                continue;
            };
            for layer in image.layers {
                if self.layout.blob(&layer.blob).exists() {
                    known.insert(layer.diff_id.clone(), layer);
                }
            }
        }
        Ok(known)
    }

    /// The manifest of an image as it was written, with its media type.
    pub fn manifest_bytes(&self, image: &Image) -> Result<(Vec<u8>, MediaType)> {
        let descriptors = self.descriptors()?;
        let found = descriptors.iter().find(|d| *d.digest() == image.manifest);
        let found = found.with_context(removed_meanwhile)?;
        let bytes = self.layout.read_bytes(&image.manifest)?;
        Ok((bytes, found.media_type().clone()))
    }

    /// Other repositories of a reference's registry that have the blob, going
    /// by the names of images here.
    pub(super) fn repositories_of(
        &self,
        blob: &Digest,
        reference: &Reference,
    ) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for descriptor in self.descriptors()? {
            let name = layout::name_of(&descriptor).and_then(|n| n.parse::<Reference>().ok());
            let Some(name) = name.filter(|name| {
                name.domain() == reference.domain() && name.path() != reference.path()
            }) else {
                continue;
            };
            let Ok(manifest) = self.layout.read::<ImageManifest>(descriptor.digest()) else {
                continue;
            };
            let has = manifest.layers().iter().any(|layer| layer.digest() == blob);
            if has && !found.contains(&name.path().to_owned()) {
                found.push(name.path().to_owned());
            }
        }
        Ok(found)
    }

    /// The image with this manifest.
    pub(super) fn by_manifest(&self, digest: &Digest) -> Result<Image> {
        self.image(&self.descriptors()?, digest)
    }

    /// The image that was last brought in from `source` without a name.
    pub(super) fn by_source(&self, source: &str) -> Result<Option<Image>> {
        let descriptors = self.descriptors()?;
        let found = descriptors
            .iter()
            .find(|d| layout::annotation(d, layout::SOURCE) == Some(source));
        match found {
            Some(descriptor) => self.image(&descriptors, descriptor.digest()).map(Some),
            None => Ok(None),
        }
    }
}

/// Whether a media type is that of an image manifest, OCI's or docker's.
pub(super) fn is_manifest(media_type: &MediaType) -> bool {
    match media_type {
        MediaType::ImageManifest => true,
        MediaType::Other(name) => name == "application/vnd.docker.distribution.manifest.v2+json",
        _ => false,
    }
}

/// Lists the image `found` under `names`, and under the `source` that it came
/// from, taking both from other images. An image that has neither, or loses
/// what it had, keeps a bare descriptor.
pub(super) fn list(
    descriptors: &mut Vec<Descriptor>,
    found: &Descriptor,
    names: &[Reference],
    source: Option<&str>,
) {
    let labels = names
        .iter()
        .map(|name| (layout::REF_NAME, name.canonical()));
    let source = source.map(|source| (layout::SOURCE, source.to_owned()));
    let labels: Vec<(&str, String)> = labels.chain(source).collect();
    // A file has one source label at a time: the part before the bar is its path.
    let subject = |text: &str| text.split('|').next().map(str::to_owned);
    let taken = |descriptor: &Descriptor| {
        labels.iter().any(|(key, value)| {
            layout::annotation(descriptor, key)
                .is_some_and(|known| subject(known) == subject(value))
        })
    };
    let mut bare = Vec::new();
    for descriptor in descriptors.iter().chain([found]) {
        let mut descriptor = descriptor.clone();
        descriptor.set_annotations(None);
        if !bare.contains(&descriptor) {
            bare.push(descriptor);
        }
    }
    descriptors.retain(|descriptor| descriptor.annotations().is_some() && !taken(descriptor));
    for (key, value) in &labels {
        let mut labelled = found.clone();
        let annotation = ((*key).to_owned(), value.clone());
        labelled.set_annotations(Some(HashMap::from([annotation])));
        descriptors.push(labelled);
    }
    for descriptor in bare {
        if !descriptors
            .iter()
            .any(|d| d.digest() == descriptor.digest())
        {
            descriptors.push(descriptor);
        }
    }
}

/// The descriptor that a reference means: by name, by repository and digest,
/// or by the name that podman and buildah would have given it.
fn by_reference<'a>(
    descriptors: &'a [Descriptor],
    reference: &Reference,
) -> Option<&'a Descriptor> {
    if let Some(digest) = reference.digest() {
        let repository = reference.familiar_name();
        let stored = reference.clone().stored().canonical();
        return descriptors.iter().find(|descriptor| {
            let name = layout::name_of(descriptor);
            let name = name.and_then(|name| name.parse::<Reference>().ok());
            // The digest of an index is in the name of what was taken from it.
            layout::name_of(descriptor) == Some(&stored)
                || *descriptor.digest() == digest
                    && name.is_some_and(|name| name.familiar_name() == repository)
        });
    }
    let named = |wanted: &Reference| {
        let wanted = wanted.canonical();
        let mut all = descriptors.iter();
        all.find(move |d| layout::name_of(d) == Some(&wanted))
    };
    named(reference).or_else(|| reference.local().and_then(|local| named(&local)))
}

fn removed_meanwhile() -> Said {
    Kind::NotFound.says("the image was removed meanwhile")
}

/// Digests of manifests, each once, in the index's order.
fn manifests(descriptors: &[Descriptor]) -> Vec<Digest> {
    let mut seen = HashSet::new();
    let digests = descriptors.iter().map(Descriptor::digest);
    digests
        .filter(|digest| seen.insert(*digest))
        .cloned()
        .collect()
}

fn familiar(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) => reference.familiar(),
        Err(_) => name.to_owned(),
    }
}
