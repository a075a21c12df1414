//! Looking for damage in the store, and mending it: bits that flipped, files
//! that are missing, what a crash left.
//!
//! A blob that is damaged is fetched again from the registry that its image's
//! name is of. A tree that is damaged is made again from its blob. An image
//! that can be had neither way goes, unless a container stands on it.

use crate::error::{demand, refuse};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde::Serialize;

use super::archive::MAX_JSON;
use super::assemble::{Assembly, parallel};
use super::compare::difference;
use super::digest::{self, Digest, Hasher};
use super::flavour::Flavour;
use super::index::configuration;
use super::layer::About;
use super::layout;
use super::progress::{Progress, Quiet};
use super::reference::Reference;
use super::store::{self, LayerInfo, Store, is_manifest};
use crate::error;
use crate::sys::replace::is_unwritable;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Fault {
    /// With what: an image by its name or id, a file.
    pub object: String,
    /// What.
    pub problem: String,
    /// What was done about it; None if nothing was.
    pub mended: Option<String>,
}

/// What was found, and what could not be looked at.
#[derive(Debug)]
pub struct Findings {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Images whose files could not be compared with their layers, which takes
    /// room for a while, and why.
    pub not_compared: Vec<(String, anyhow::Error)>,
}

/// Gets a blob anew from where the image called so comes from, verified, to
/// its place in the store.
pub type Fetch<'a> = &'a dyn Fn(&Reference, &Descriptor, bool) -> Result<()>;

/// How to look, and what may be done.
pub struct How<'a> {
    /// Only whether everything is there, with its size.
    pub quick: bool,
    /// Mend what can be mended.
    pub repair: bool,
    /// Gets blobs anew; the flag says that it is a manifest.
    pub fetch: Fetch<'a>,
    /// Containers that stand on the image with this id.
    pub users: &'a dyn Fn(&str) -> Vec<String>,
    /// A container that runs on the tree.
    pub runs_on: &'a dyn Fn(&Path) -> Option<String>,
    /// Hears how far it is.
    pub progress: &'a dyn Progress,
}

/// Looks at all of the store, and mends it if it may.
///
/// # Errors
/// It cannot be looked at, or there is no room to mend it: want of room is no
/// damage.
pub fn check(store: &Store, how: &How) -> Result<Findings> {
    store.sweep()?;
    // What belongs to no image is told from what is coming in while nobody
    // else works here.
    let mut lock = store.lock_exclusive()?;
    let mut checking = Checking {
        store,
        how,
        faults: Vec::new(),
        not_compared: Vec::new(),
        good: HashSet::new(),
        trees: HashSet::new(),
    };
    if !checking.index()? {
        return Ok(checking.findings());
    }
    let mut sound = Vec::new();
    if how.repair {
        sound = checking.images()?;
    }
    checking.litter()?;
    if !how.repair {
        drop(lock);
        lock = store.lock_shared()?;
        sound = checking.images()?;
    }
    let flavours = match store.flavour() {
        Flavour::Single => vec![Flavour::Single],
        mapped => vec![Flavour::Single, mapped.clone()],
    };
    for flavour in flavours {
        let store = store.clone().with_flavour(flavour);
        for (name, layers) in &sound {
            checking.stack(&store, name, layers)?;
        }
    }
    drop(lock);
    checking.parts()?;
    Ok(checking.findings())
}

/// Whether something failed because nothing can be written here.
fn is_for_want_of_room(error: &anyhow::Error) -> bool {
    let errno = error::errno(error).map(io::Error::from);
    errno.as_ref().is_some_and(is_unwritable)
}

struct Checking<'a> {
    store: &'a Store,
    how: &'a How<'a>,
    faults: Vec<Fault>,
    not_compared: Vec<(String, anyhow::Error)>,
    /// Blobs that were found to be what they should be.
    good: HashSet<Digest>,
    /// Trees that were looked at.
    trees: HashSet<PathBuf>,
}

/// A blob of an image, and what is wrong with it.
type Bad = (Descriptor, anyhow::Error);

impl Checking<'_> {
    fn findings(self) -> Findings {
        Findings {
            faults: self.faults,
            not_compared: self.not_compared,
        }
    }

    fn fault(&mut self, object: &str, problem: String, mended: Option<&str>) {
        self.faults.push(Fault {
            object: object.to_owned(),
            problem,
            mended: mended.map(str::to_owned),
        });
    }

    /// Whether the index can be read; without it nothing else can be looked at.
    fn index(&mut self) -> Result<bool> {
        let layout = self.store.layout();
        let Err(error) = layout.index() else {
            return Ok(true);
        };
        let mut mended = None;
        if self.how.repair {
            let found = self.manifests()?;
            layout.rebuild(found)?;
            mended =
                Some("made anew; the images lost their names, which `bryo tag` gives them again");
        }
        self.fault("index.json", format!("{error:#}"), mended);
        Ok(self.how.repair)
    }

    /// Descriptors of all blobs that are image manifests.
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let layout = self.store.layout();
        let mut found = Vec::new();
        for digest in layout.blobs()? {
            let size = fs::metadata(layout.blob(&digest))?.len();
            if size > MAX_JSON {
                continue;
            }
            let bytes = layout.read_bytes(&digest)?;
            let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&bytes) else {
                continue;
            };
            let media_type = manifest.media_type().clone();
            let media_type = media_type.unwrap_or(MediaType::ImageManifest);
            if digest::verify("it", &digest, &bytes).is_ok() && is_manifest(&media_type) {
                found.push(Descriptor::new(media_type, size, digest));
            }
        }
        Ok(found)
    }

    /// Looks at the blobs of all images; returns those images that are sound.
    fn images(&mut self) -> Result<Vec<(String, Vec<LayerInfo>)>> {
        let mut names: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
        for descriptor in self.store.layout().index()?.manifests() {
            if !is_manifest(descriptor.media_type()) {
                continue;
            }
            let name = layout::name_of(descriptor).and_then(|name| name.parse().ok());
            match names
                .iter_mut()
                .find(|(known, _)| known.digest() == descriptor.digest())
            {
                Some((_, names)) => names.extend(name),
                None => names.push((descriptor.clone(), name.into_iter().collect())),
            }
        }
        let mut sound = Vec::new();
        for (descriptor, names) in names {
            let object = match names.first() {
                Some(name) => format!("image {name}"),
                None => format!("image with manifest {}", digest::short(descriptor.digest())),
            };
            match self.image(&object, &descriptor, &names)? {
                Some(layers) => sound.push((object, layers)),
                None if !self.how.repair => {}
                None => {
                    let lost = descriptor.digest().clone();
                    self.store.forget(&|manifest| *manifest == lost)?;
                    self.fault(
                        &object,
                        "it cannot be had any more".to_owned(),
                        Some("removed; pull or load it again"),
                    );
                }
            }
        }
        Ok(sound)
    }

    /// Looks at one image. None if it is lost.
    fn image(
        &mut self,
        object: &str,
        descriptor: &Descriptor,
        names: &[Reference],
    ) -> Result<Option<Vec<LayerInfo>>> {
        if !self.document(object, "manifest", descriptor, names, true)? {
            return Ok(None);
        }
        let layout = self.store.layout();
        let Ok(manifest) = layout.read::<ImageManifest>(descriptor.digest()) else {
            self.fault(object, "its manifest makes no sense".to_owned(), None);
            return Ok(None);
        };
        if !self.document(object, "configuration", manifest.config(), names, false)? {
            return Ok(None);
        }
        let config = layout.read_bytes(manifest.config().digest());
        let config = config.and_then(|bytes| configuration(&bytes));
        let layers = config.and_then(|config| store::layers(&manifest, &config));
        let layers = match layers {
            Ok(layers) => layers,
            Err(error) => {
                self.fault(object, format!("{error:#}"), None);
                return Ok(None);
            }
        };
        let mut lost = false;
        for (blob, problem) in self.bad_blobs(manifest.layers())? {
            let what = format!("layer {}: {problem:#}", digest::short(blob.digest()));
            match self.mend(&blob, names, false) {
                Ok(true) => self.fault(object, what, Some("fetched again")),
                Ok(false) => {
                    self.fault(object, what, None);
                    lost = true;
                }
                Err(error) if is_for_want_of_room(&error) => return Err(error),
                Err(error) => {
                    self.fault(
                        object,
                        format!("{what}; to fetch it again failed: {error:#}"),
                        None,
                    );
                    lost = true;
                }
            }
        }
        if !lost {
            return Ok(Some(layers));
        }
        // Who stands on its trees can go on, and so can new containers.
        let unpacked = layers
            .iter()
            .all(|layer| self.store.unpacked(layer).is_some());
        let users = (self.how.users)(manifest.config().digest().as_ref());
        if unpacked || !users.is_empty() {
            let why = match users.first() {
                Some(user) => format!("it stays for container {user}"),
                None => "it stays, since it is unpacked and runs".to_owned(),
            };
            let problem = format!("{why}, but cannot be pushed or saved: pull or load it again");
            self.fault(object, problem, None);
            return Ok(Some(Vec::new()));
        }
        Ok(None)
    }

    /// Looks at a manifest or configuration; false if it is lost.
    fn document(
        &mut self,
        object: &str,
        what: &str,
        descriptor: &Descriptor,
        names: &[Reference],
        is_manifest: bool,
    ) -> Result<bool> {
        let read = || -> Result<()> {
            let digest = descriptor.digest();
            let bytes = self.store.layout().read_bytes(digest)?;
            digest::verify("it", digest, &bytes)
        };
        let Err(problem) = read() else {
            return Ok(true);
        };
        let problem = format!("its {what}: {problem:#}");
        let mended = match self.mend(descriptor, names, is_manifest) {
            Err(error) if is_for_want_of_room(&error) => return Err(error),
            other => other,
        };
        let sound = matches!(mended, Ok(true));
        let problem = match mended {
            Err(error) => format!("{problem}; to fetch it again failed: {error:#}"),
            Ok(_) => problem,
        };
        self.fault(object, problem, sound.then_some("fetched again"));
        Ok(sound)
    }

    /// Those of `blobs` that are damaged or missing.
    fn bad_blobs(&mut self, blobs: &[Descriptor]) -> Result<Vec<Bad>> {
        // An image may have a layer twice.
        let mut seen = HashSet::new();
        let unknown = blobs.iter().filter(|blob| {
            !self.good.contains(blob.digest()) && seen.insert(blob.digest().clone())
        });
        let unknown: Vec<&Descriptor> = unknown.collect();
        let (store, quick, progress) = (self.store, self.how.quick, self.how.progress);
        let looked = parallel(&unknown, |blob| {
            let result = verify(store, blob, quick, progress);
            Ok(((*blob).clone(), result))
        })?;
        let mut bad = Vec::new();
        for (blob, result) in looked {
            match result {
                Ok(()) => drop(self.good.insert(blob.digest().clone())),
                Err(problem) => bad.push((blob, problem)),
            }
        }
        Ok(bad)
    }

    /// Gets a blob anew; false if it may not, or there is nobody to ask.
    fn mend(&self, blob: &Descriptor, names: &[Reference], is_manifest: bool) -> Result<bool> {
        let mut failed = None;
        for name in names.iter().filter(|name| name.domain() != "localhost") {
            if !self.how.repair {
                return Ok(false);
            }
            match (self.how.fetch)(name, blob, is_manifest) {
                Ok(()) => return Ok(true),
                Err(error) if is_for_want_of_room(&error) => {
                    return Err(error.context(format!("fetch {} again", blob.digest())));
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Looks at the trees of one image.
    fn stack(&mut self, store: &Store, object: &str, layers: &[LayerInfo]) -> Result<()> {
        let mut unknown = false;
        for layer in layers {
            if let Some(tree) = store.unpacked(layer) {
                let known = self.trees.contains(&tree);
                let about = tree.parent().map(About::read);
                let problem = match about {
                    Some(Ok(_)) => None,
                    Some(Err(error)) => Some(format!("{error:#}")),
                    None => None,
                };
                match problem {
                    Some(problem) if !known => {
                        let mended = self.discard(&tree)?;
                        self.trees.insert(tree);
                        self.fault(object, problem, mended.as_deref());
                    }
                    _ => unknown |= !known,
                }
            } else {
                self.half_made(store, object, layer)?;
            }
        }
        if !unknown || self.how.quick {
            return Ok(());
        }
        let session = self.store.session_if_needed();
        let unpack = || -> Result<Store> {
            let fresh = store.scratch(session.path("check")?);
            let mut assembly = Assembly::new(&fresh, &session);
            assembly.unpack_missing(layers, &Quiet)?;
            assembly.stack(layers)?;
            assembly.place()?;
            Ok(fresh)
        };
        let fresh = match unpack() {
            Ok(fresh) => fresh,
            Err(error) if is_for_want_of_room(&error) => {
                self.not_compared.push((object.to_owned(), error));
                return Ok(());
            }
            Err(error) => {
                self.fault(object, format!("it cannot be unpacked: {error:#}"), None);
                return Ok(());
            }
        };
        for layer in layers {
            let (Some(tree), Some(right)) = (store.unpacked(layer), fresh.unpacked(layer)) else {
                continue;
            };
            if !self.trees.insert(tree.clone()) {
                continue;
            }
            let problem = match difference(&tree, &right) {
                Ok(None) if same_record(&tree, &right) => continue,
                Ok(None) => "what is recorded beside it".to_owned(),
                Ok(Some(problem)) => problem,
                Err(error) => format!("{error:#}"),
            };
            let problem = format!(
                "layer {} is damaged: {problem}",
                digest::short(&layer.diff_id)
            );
            let mended = self.replace(&tree, &right)?;
            self.fault(object, problem, mended.as_deref());
        }
        Ok(())
    }

    /// Puts the right tree in the place of a damaged one.
    fn replace(&self, tree: &Path, right: &Path) -> Result<Option<String>> {
        let Some(mended) = self.discard(tree)? else {
            return Ok(None);
        };
        let (Some(place), Some(now)) = (tree.parent(), right.parent()) else {
            return Ok(Some(mended));
        };
        fs::rename(now, place).with_context(|| format!("create {}", place.display()))?;
        Ok(Some("unpacked again".to_owned()))
    }

    /// Takes a damaged tree away, if it may and nothing runs on it.
    fn discard(&self, tree: &Path) -> Result<Option<String>> {
        if !self.how.repair || (self.how.runs_on)(tree).is_some() {
            return Ok(None);
        }
        if let Some(directory) = tree.parent() {
            self.store.trash(directory)?;
        }
        Ok(Some(
            "removed; it is unpacked again when it is needed".to_owned(),
        ))
    }

    /// A directory that should hold a tree and does not.
    fn half_made(&mut self, store: &Store, object: &str, layer: &LayerInfo) -> Result<()> {
        let directory = store.layer_directory(&layer.diff_id);
        let chain = directory.join(layer.chain_id.digest());
        let broken = match directory.join(About::FILE).exists() || chain.exists() {
            true if chain.exists() => chain,
            true => directory,
            false => return Ok(()),
        };
        if self.trees.insert(broken.clone()) {
            let mended = self.how.repair.then_some("removed; it is unpacked again");
            if self.how.repair {
                self.store.trash(&broken)?;
            }
            let layer = digest::short(&layer.diff_id);
            self.fault(object, format!("layer {layer} has no files"), mended);
        }
        Ok(())
    }

    /// What belongs to no image.
    fn litter(&mut self) -> Result<()> {
        let found = self.store.uncollected()?;
        if found.is_empty() {
            return Ok(());
        }
        let mut mended = None;
        if self.how.repair {
            self.store.collect()?;
            mended = Some("removed");
        }
        for path in found {
            let problem = "it belongs to no image".to_owned();
            self.fault(&path.display().to_string(), problem, mended);
        }
        Ok(())
    }

    /// Blobs that a pull has fetched and not yet used.
    fn parts(&mut self) -> Result<()> {
        let directory = self.store.root().join("parts");
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry?.path();
            let (Some("done"), Some(stem)) = (
                path.extension().and_then(|e| e.to_str()),
                path.file_stem().and_then(|s| s.to_str()),
            ) else {
                continue;
            };
            let Ok(digest) = Digest::try_from(stem.replacen('-', ":", 1)) else {
                continue;
            };
            let problem = match File::open(&path) {
                Ok(file) if !self.how.quick => hash(&digest, file).err(),
                // It need not be looked at, or a pull has taken it.
                _ => None,
            };
            if let Some(problem) = problem {
                let mended = self.how.repair.then_some("removed");
                if self.how.repair {
                    self.store.trash(&path)?;
                }
                self.fault(&path.display().to_string(), format!("{problem:#}"), mended);
            }
        }
        Ok(())
    }
}

/// Fails unless a blob of the store is what it should be.
fn verify(store: &Store, blob: &Descriptor, quick: bool, progress: &dyn Progress) -> Result<()> {
    let path = store.layout().blob(blob.digest());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse!(NotFound, "it is missing"),
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    let size = file.metadata()?.len();
    demand!(
        Invalid,
        size == blob.size(),
        "it has {size} bytes instead of {}",
        blob.size()
    );
    if quick {
        return Ok(());
    }
    let meter = progress.begin(digest::short(blob.digest()), Some(size));
    hash(blob.digest(), file)?;
    meter.advance(size);
    Ok(())
}

fn hash(expected: &Digest, file: File) -> Result<()> {
    let mut reader = digest::HashReader::new(file, Hasher::like(expected)?);
    io::copy(&mut reader, &mut io::sink()).context("read")?;
    digest::check("it", expected, &reader.finish().0)
}

fn same_record(one: &Path, other: &Path) -> bool {
    let read = |tree: &Path| About::read(tree.parent()?).ok();
    match (read(one), read(other)) {
        (Some(a), Some(b)) => a.size == b.size && a.entries == b.entries && a.records == b.records,
        _ => false,
    }
}

/// Trees of containers that are missing, by container.
pub fn missing_trees(trees: &HashMap<String, Vec<PathBuf>>) -> Vec<(String, PathBuf)> {
    let mut missing = Vec::new();
    for (container, trees) in trees {
        let gone = trees.iter().filter(|tree| !tree.exists());
        missing.extend(gone.map(|tree| (container.clone(), tree.clone())));
    }
    missing.sort();
    missing
}
