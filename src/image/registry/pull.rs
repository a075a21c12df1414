//! `pull`: an image of a registry into the store.
//!
//! Blobs come in parallel; each layer is hashed, decompressed and unpacked
//! while it streams. The store is locked only at the end, when all is here and
//! moves to its place.

use crate::error::{demand, refuse};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest};

use super::client::{Client, Endpoint, Repository};
use super::download::{Download, Stop};
use super::failure::Failure;
use super::manifest::{self, Document};
use super::parts::{Held, Part, Parts};
use super::repository::Fetched;
use crate::image::archive::MAX_JSON;
use crate::image::assemble::{Assembly, parallel_on};
use crate::image::budget::Budget;
use crate::image::digest::{self, Digest};
use crate::image::index::{MAX_NESTING, check_platform, choose, configuration};
use crate::image::layer::{Expected, Layer, bring};
use crate::image::load::{Prepared, place_bytes, prepared};
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::reference::Reference;
use crate::image::session::{Session, private_dir};
use crate::image::store::{self, Image, LayerInfo, Store};

/// How often blobs that others remove meanwhile are fetched again.
const ROUNDS: usize = 5;

/// What to pull and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The platform; the host's if None.
    pub platform: Option<&'a Platform>,
    /// How much it may ask for.
    pub budget: Budget,
    /// What it is to be called in the store, if not as in the registry.
    pub name: Option<&'a Reference>,
}

/// An image that was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The image as it is in the store now.
    pub image: Image,
    /// The name that it has there.
    pub reference: Reference,
    /// The digest of what the registry has under that name; an index, maybe.
    pub digest: Digest,
    /// Whether the name meant something else, or nothing, before.
    pub fresh: bool,
}

/// Pulls the image that `reference` means. The store is as it was if this
/// fails; parts of blobs may remain if the reason may pass.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    wanted: Wanted,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let source = reference.clone().stored();
    let reference = wanted.name.map_or_else(|| source.clone(), Clone::clone);
    let pull = || -> Result<Pulled> {
        let (repository, fetched) = find(client, &source)?;
        let digest = fetched.digest.clone();
        let (fetched, manifest) = image(client, &repository, fetched, wanted.platform)?;
        let before = store.find(&reference.canonical())?;
        let before = before.map(|image| image.manifest);
        let job = Job {
            store,
            client,
            repository: &repository,
            progress,
            budget: wanted.budget,
            parts: Parts::new(store.root()),
            stop: Stop::default(),
        };
        let image = job.run(&reference, &fetched, &manifest, wanted.platform)?;
        Ok(Pulled {
            fresh: before.as_ref() != Some(&image.manifest),
            image,
            reference: reference.clone(),
            digest,
        })
    };
    pull().with_context(|| format!("pull {source}"))
}

/// Asks one place after the other for a manifest: the mirrors first.
///
/// # Errors
/// That of the last one.
pub fn find(client: &Client, reference: &Reference) -> Result<(Repository, Fetched)> {
    let what = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    let ask = |place: &Endpoint| -> Result<(Repository, Fetched)> {
        let repository = client.repository(place)?;
        let fetched = client.manifest(&repository, &what)?;
        Ok((repository, fetched))
    };
    let mut places = client.conf.places(reference)?.into_iter();
    let mut place = places.next().context("there is a place")?;
    loop {
        match (ask(&place), places.next()) {
            (Ok(found), _) => return Ok(found),
            (Err(error), None) => return Err(error),
            // A mirror does not have it, or is gone.
            (Err(_), Some(next)) => place = next,
        }
    }
}

/// The manifest of one image, by way of indexes if need be.
pub(super) fn image(
    client: &Client,
    repository: &Repository,
    mut fetched: Fetched,
    platform: Option<&Platform>,
) -> Result<(Fetched, ImageManifest)> {
    for _ in 0..=MAX_NESTING {
        let index = match &fetched.document {
            Document::Image(manifest) => {
                manifest::check_image(&fetched.bytes)?;
                let manifest = (**manifest).clone();
                return Ok((fetched, manifest));
            }
            Document::Index(index) => index,
        };
        let candidates = choose(index.manifests(), platform)?;
        let mut chosen = client.manifest(repository, candidates[0].digest().as_ref())?;
        for (at, candidate) in candidates.iter().enumerate() {
            // The only one is what it is; of others it is read.
            if candidates.len() == 1 || candidate.platform().is_some() {
                break;
            }
            let next = match at {
                0 => chosen.clone(),
                _ => client.manifest(repository, candidate.digest().as_ref())?,
            };
            if let Document::Image(manifest) = &next.document
                && let Ok(config) =
                    client.small_blob(repository, manifest.config().digest(), MAX_JSON)
                && configuration(&config).is_ok_and(|c| check_platform(&c, platform).is_ok())
            {
                chosen = next;
                break;
            }
        }
        fetched = chosen;
    }
    refuse!(Invalid, "indexes are nested too deeply")
}

/// One image on its way in.
struct Job<'a> {
    store: &'a Store,
    client: &'a Client,
    repository: &'a Repository,
    progress: &'a dyn Progress,
    budget: Budget,
    parts: Parts,
    stop: Stop,
}

impl Job<'_> {
    fn run(
        &self,
        reference: &Reference,
        fetched: &Fetched,
        manifest: &ImageManifest,
        platform: Option<&Platform>,
    ) -> Result<Image> {
        let config = self.config(manifest)?;
        let media_type = fetched.media_type.clone();
        let bytes = (fetched.bytes.clone(), media_type);
        let image = prepared(vec![reference.clone()], config, Some(bytes), Vec::new())?;
        demand!(
            Unavailable,
            image.config.0 == *manifest.config().digest() && image.manifest.0 == fetched.digest,
            "manifests and configurations are named by sha256 only"
        );
        let parsed = configuration(&image.config.1)?;
        check_platform(&parsed, platform)?;
        self.budget.check_configuration(&parsed)?;
        let session = self.store.session()?;
        self.parts.prepare()?;
        let mut made = HashMap::new();
        for _ in 0..ROUNDS {
            let missing = self.missing(&image.layers, &made);
            if let Err(error) = self.fetch(&session, &missing, &mut made) {
                // What cannot get better by waiting is not kept.
                if !self.stop.interrupted.load(Ordering::Relaxed) {
                    for layer in &image.layers {
                        self.parts.discard(&layer.blob)?;
                    }
                }
                return Err(error);
            }
            let _lock = self.store.lock_shared()?;
            if self.place(&image.layers)? {
                return self.commit(&session, &image, made);
            }
        }
        refuse!(Conflict, "others remove its layers as fast as they come")
    }

    /// The configuration, as written.
    fn config(&self, manifest: &ImageManifest) -> Result<Vec<u8>> {
        let digest = manifest.config().digest();
        if let Ok(bytes) = self.store.layout().read_bytes(digest)
            && digest::verify("the configuration", digest, &bytes).is_ok()
        {
            return Ok(bytes);
        }
        self.client.small_blob(self.repository, digest, MAX_JSON)
    }

    /// Layers whose blob is neither in the store nor waiting to be put there,
    /// each once.
    fn missing<'l>(
        &self,
        layers: &'l [LayerInfo],
        made: &HashMap<Digest, Layer>,
    ) -> Vec<&'l LayerInfo> {
        let mut seen = HashSet::new();
        let here = |layer: &LayerInfo| {
            self.store.layout().blob(&layer.blob).exists()
                || made.contains_key(&layer.blob) && self.parts.done(&layer.blob).exists()
        };
        let layers = layers.iter();
        layers
            .filter(|layer| !here(layer) && seen.insert(&layer.blob))
            .collect()
    }

    /// Fetches, verifies and unpacks layers.
    fn fetch(
        &self,
        session: &Session,
        layers: &[&LayerInfo],
        made: &mut HashMap<Digest, Layer>,
    ) -> Result<()> {
        let total = layers.iter().map(|layer| layer.size).sum();
        self.progress.expect(layers.len(), total);
        let fetched = parallel_on(self.client.options.parallel, layers, |layer| {
            let fetched = self.fetch_one(session, layer);
            if fetched.is_err() {
                self.stop.stopped.store(true, Ordering::Relaxed);
            }
            let fetched = fetched.with_context(|| format!("layer {}", layer.blob))?;
            Ok((layer.blob.clone(), fetched))
        })?;
        made.extend(fetched);
        Ok(())
    }

    fn fetch_one(&self, session: &Session, layer: &LayerInfo) -> Result<Layer> {
        let part = match self.parts.take(&layer.blob)? {
            Held::Done(file) => return self.unpack(session, layer, file),
            Held::Part(part) => part,
        };
        let result = match File::open(self.store.layout().blob(&layer.blob)) {
            // Another pull was faster.
            Ok(file) => self.unpack(session, layer, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.download(session, layer, &part) {
                    Ok(fetched) => {
                        part.finish(&self.parts, &layer.blob)?;
                        return Ok(fetched);
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error.into()),
        };
        part.leave()?;
        result
    }

    fn download(&self, session: &Session, layer: &LayerInfo, part: &Part) -> Result<Layer> {
        let wanted = (&layer.blob, layer.size, &layer.urls[..]);
        let attempt = || {
            let (client, repository) = (self.client, self.repository);
            let download = Download::new(client, repository, wanted, part, &self.stop)?;
            self.unpack(session, layer, download)
        };
        let resumed = part.file.metadata()?.len() > 0;
        match attempt() {
            // What an earlier pull left may be damaged.
            Err(_) if resumed && !self.gives_up() => {
                part.file.set_len(0)?;
                attempt()
            }
            other => other,
        }
    }

    fn gives_up(&self) -> bool {
        let Stop {
            stopped,
            interrupted,
        } = &self.stop;
        stopped.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed)
    }

    fn unpack(
        &self,
        session: &Session,
        layer: &LayerInfo,
        source: impl io::Read + Send,
    ) -> Result<Layer> {
        let expected = Expected {
            blob: Some((layer.blob.clone(), layer.size)),
            diff_id: Some(layer.diff_id.clone()),
            keep_blob: false,
            need_end: false,
            budget: self.budget,
            flavour: self.store.flavour().clone(),
            is_literal: false,
        };
        let name = digest::short(&layer.blob);
        let meter = self.progress.begin(name, Some(layer.size));
        let directory = session.path("layer")?;
        bring(
            source,
            &expected,
            &directory,
            &session.path("blob")?,
            &*meter,
        )
    }

    /// Moves blobs into the store; false if some are gone.
    fn place(&self, layers: &[LayerInfo]) -> Result<bool> {
        for layer in layers {
            let place = self.store.layout().blob(&layer.blob);
            let parent = place.parent().context("it is in a directory")?;
            private_dir(parent)?;
            if place.exists() {
                continue;
            }
            match fs::rename(self.parts.done(&layer.blob), &place) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !place.exists() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error).context(format!("write blob {}", layer.blob)),
            }
        }
        Ok(true)
    }

    /// Makes the image known. The caller holds the lock, shared.
    fn commit(
        &self,
        session: &Session,
        image: &Prepared,
        made: HashMap<Digest, Layer>,
    ) -> Result<Image> {
        let store = self.store;
        let mut assembly = Assembly::new(store, session);
        made.into_values().for_each(|layer| assembly.add(layer));
        assembly.unpack_missing(&image.layers, self.progress)?;
        assembly.stack(&image.layers)?;
        assembly.place()?;
        place_bytes(store, session, &image.config.0, &image.config.1)?;
        place_bytes(store, session, &image.manifest.0, &image.manifest.1)?;
        store.layout().update(|descriptors| {
            let (digest, bytes) = &image.manifest;
            let size = bytes.len() as u64;
            let descriptor = Descriptor::new(image.media_type.clone(), size, digest.clone());
            store::list(descriptors, &descriptor, &image.names, None);
            Ok(())
        })?;
        for layer in &image.layers {
            self.parts.discard(&layer.blob)?;
        }
        store.by_manifest(&image.manifest.0)
    }
}

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Always.
    #[default]
    Always,
    /// If the store does not have the image.
    Missing,
    /// Always, but a registry that cannot be asked is no error if the store
    /// has the image.
    Newer,
    /// Not at all.
    Never,
}

/// Sees to it that the store has the image that one of `names` stands for,
/// pulled if `policy` says so: the first that the store or a registry has.
/// Returns its name, and what was pulled.
pub fn ensure_pulled(
    store: &Store,
    client: &Client,
    names: &[Reference],
    wanted: Wanted,
    policy: Policy,
    progress: &dyn Progress,
) -> Result<(Reference, Option<Pulled>)> {
    let mut known = None;
    for name in names {
        let name = name.clone().stored();
        if let Some(image) = store.find(&name.canonical())? {
            let platform = wanted.platform;
            let fits = platform.is_none_or(|p| check_platform(&image.config, Some(p)).is_ok());
            known = Some((name, fits));
            break;
        }
    }
    let fits = known.as_ref().is_some_and(|(_, fits)| *fits);
    match (known, policy) {
        (Some((name, _)), Policy::Never) => return Ok((name, None)),
        (Some((name, _)), Policy::Missing) if fits => return Ok((name, None)),
        (Some((name, _)), Policy::Newer) if fits => {
            let pulled = pull(store, client, &name, wanted, progress).ok();
            return Ok((name, pulled));
        }
        (None, Policy::Never) => {
            let name = names.first().context("there is a name")?;
            refuse!(
                NotFound,
                "No such image: {name} (bryo images lists those in the store)"
            );
        }
        _ => {}
    }
    let mut failed = None;
    for name in names {
        match pull(store, client, name, wanted, progress) {
            Ok(pulled) => return Ok((pulled.reference.clone(), Some(pulled))),
            // Who does not have it leaves it to the next.
            Err(error) => match has_nothing(&error) {
                true => failed = failed.or(Some(error)),
                false => return Err(error),
            },
        }
    }
    Err(failed.context("there is a name")?)
}

/// Whether a registry said that it does not have the image, or does not say.
fn has_nothing(error: &anyhow::Error) -> bool {
    let mut chain = error.chain();
    let failure = chain.find_map(|error| error.downcast_ref::<Failure>());
    matches!(failure.and_then(Failure::code), Some(401 | 403 | 404))
}
