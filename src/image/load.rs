//! Bringing images of archives into the store.

use crate::error::{Kind, OrKind, refusal, refuse};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};

use super::archive::{self, Files, Found, FoundLayer, Wanted};
use super::assemble::{Assembly, parallel};
use super::budget::Budget;
use super::digest::{self, Digest};
use super::index::configuration;
use super::layer::{Blob, Expected, Layer, bring};
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::session::Session;
use super::source::Source;
use super::store::{self, Image, LayerInfo, Store};

/// An image that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The image as it is in the store now.
    pub image: Image,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
}

/// Loads all images of the archive `path` (`-` is standard input): a
/// docker-archive or a tar of an OCI layout, possibly compressed, or a directory
/// with what is in those or in skopeo's `dir:`. Images for
/// another platform than `platform` (the host's if None) are an error, and so
/// are layers beyond the `budget`. Either all images come in or none.
pub fn load(
    store: &Store,
    path: &Path,
    platform: Option<&Platform>,
    budget: Budget,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let context = || match path.to_str() {
        Some("-") => "load the archive on standard input".to_owned(),
        _ => format!("load {}", path.display()),
    };
    let bring = || {
        let session = store.session()?;
        let files = match path.is_dir() {
            true => Files::Directory(path.to_owned()),
            false => Files::open(archive::open_file(path)?, &session, budget)?,
        };
        let wanted = Wanted {
            platform,
            tag: None,
        };
        let found = archive::images(&files, wanted)?;
        if found.is_empty() {
            refuse!(Invalid, "there is no image in it");
        }
        let how = How {
            naming: Naming::AsFound,
            budget,
            progress,
        };
        bring_in(store, &session, &files, found, how)
    };
    bring().or_kind(Kind::Invalid).with_context(context)
}

/// Brings the image of an archive or OCI layout that `source` names into the
/// store; it is called `name`, or has no name.
pub fn load_from(
    store: &Store,
    source: &Source,
    name: Option<&Reference>,
    platform: Option<&Platform>,
    budget: Budget,
    progress: &dyn Progress,
) -> Result<Image> {
    let session = store.session()?;
    let (files, mut found) = source.open(platform, budget, &session)?;
    found.names.clear();
    let how = How {
        naming: name.map_or(Naming::AsFound, Naming::As),
        budget,
        progress,
    };
    let loaded = bring_in(store, &session, &files, vec![found], how)?;
    let loaded = loaded.into_iter().next();
    Ok(loaded
        .ok_or_else(|| refusal!(NotFound, "there is no image in it"))?
        .image)
}

/// What names images get.
#[derive(Clone, Copy, Debug)]
pub(super) enum Naming<'a> {
    /// Those of the archive.
    AsFound,
    /// None; the annotation says where the image came from.
    Source(&'a str),
    /// This one.
    As(&'a Reference),
}

/// How images come in.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub naming: Naming<'a>,
    /// How much they may ask for.
    pub budget: Budget,
    pub progress: &'a dyn Progress,
}

/// How often layers that others remove meanwhile are read again.
const ROUNDS: usize = 5;

/// Brings `found` images with all their layers into the store, which is locked
/// only when all is read.
pub(super) fn bring_in(
    store: &Store,
    session: &Session,
    files: &Files,
    mut found: Vec<Found>,
    how: How,
) -> Result<Vec<Loaded>> {
    let How {
        naming, progress, ..
    } = how;
    if let Naming::As(name) = naming {
        found
            .iter_mut()
            .for_each(|image| image.names = vec![name.clone()]);
    }
    for image in &found {
        how.budget.check_configuration(&image.parsed)?;
    }
    let mut blobs: HashMap<Digest, Blob> = HashMap::new();
    let mut assembly = Assembly::new(store, session);
    let mut round = 0;
    let (_lock, known) = loop {
        let known = store.known_layers()?;
        let jobs = plan(store, &found, &known, &blobs);
        let brought = parallel(&jobs, |layer| {
            let what = digest::short(&layer.diff_id);
            let meter = progress.begin(what, size_of(files, layer)?);
            read_layer(store, session, files, layer, how.budget, &*meter)
                .with_context(|| format!("layer {}", layer.path))
        })?;
        for mut layer in brought {
            let blob = layer.blob.take().context("the blob was not kept")?;
            blobs.insert(layer.diff_id.clone(), blob);
            assembly.add(layer);
        }
        let lock = store.lock_shared()?;
        let known = store.known_layers()?;
        if plan(store, &found, &known, &blobs).is_empty() {
            break (lock, known);
        }
        round += 1;
        if round == ROUNDS {
            refuse!(
                Conflict,
                "others remove its layers as fast as they are read"
            );
        }
    };
    let mut prepared = Vec::new();
    for mut image in found {
        if image.manifest.is_none() {
            image.manifest = store.manifest_of(&digest::sha256(&image.config))?;
        }
        let mut image = prepare(image, &blobs, &known)?;
        // What an archive says of a digest has to be true: who runs an image by
        // its digest trusts nobody else.
        let digest = image.manifest.0.clone();
        image
            .names
            .retain(|name| name.digest().is_none_or(|said| said == digest));
        prepared.push(image);
    }
    // From here on things move into the store; a process that dies now leaves
    // blobs and trees without a name, which the next sweep removes.
    for blob in blobs.values() {
        place_blob(store, blob)?;
    }
    for image in &prepared {
        assembly.unpack_missing(&image.layers, progress)?;
        assembly.stack(&image.layers)?;
    }
    assembly.place()?;
    for image in &prepared {
        place_bytes(store, session, &image.config.0, &image.config.1)?;
        place_bytes(store, session, &image.manifest.0, &image.manifest.1)?;
    }
    store.layout().update(|descriptors| {
        for image in &prepared {
            let (digest, bytes) = &image.manifest;
            let size = bytes.len() as u64;
            let descriptor = Descriptor::new(image.media_type.clone(), size, digest.clone());
            match naming {
                Naming::AsFound | Naming::As(_) => {
                    store::list(descriptors, &descriptor, &image.names, None)
                }
                Naming::Source(source) => {
                    store::list(descriptors, &descriptor, &[], Some(source));
                }
            }
        }
        Ok(())
    })?;
    let loaded = prepared.into_iter().map(|image| {
        Ok(Loaded {
            image: store.by_manifest(&image.manifest.0)?,
            names: image.names,
        })
    });
    loaded.collect()
}

/// The layers that must be read from the archive: those whose blob the store
/// does not have, and that were not read yet, each once.
fn plan<'a>(
    store: &Store,
    found: &'a [Found],
    known: &HashMap<Digest, LayerInfo>,
    read: &HashMap<Digest, Blob>,
) -> Vec<&'a FoundLayer> {
    let mut seen = HashSet::new();
    let layers = found.iter().flat_map(|image| &image.layers);
    layers
        .filter(|layer| {
            let have = match &layer.blob {
                Some(blob) => store.layout().blob(blob.digest()).exists(),
                None => known.contains_key(&layer.diff_id),
            };
            let have = have || read.contains_key(&layer.diff_id);
            !have && seen.insert(&layer.diff_id)
        })
        .collect()
}

fn size_of(files: &Files, layer: &FoundLayer) -> Result<Option<u64>> {
    Ok(files.get(&layer.path)?.map(|slice| slice.length))
}

fn read_layer(
    store: &Store,
    session: &Session,
    files: &Files,
    layer: &FoundLayer,
    budget: Budget,
    meter: &dyn super::progress::Meter,
) -> Result<Layer> {
    let source = layer.open(files)?;
    let blob = layer.blob.as_ref();
    let expected = Expected {
        blob: blob.map(|blob| (blob.digest().clone(), blob.size())),
        diff_id: Some(layer.diff_id.clone()),
        keep_blob: true,
        need_end: false,
        budget,
        flavour: store.flavour().clone(),
        is_literal: false,
    };
    let directory = session.path("layer")?;
    bring(source, &expected, &directory, &session.path("blob")?, meter)
}

/// An image ready to be written.
pub(super) struct Prepared {
    pub names: Vec<Reference>,
    pub config: (Digest, Vec<u8>),
    pub manifest: (Digest, Vec<u8>),
    pub media_type: MediaType,
    pub layers: Vec<LayerInfo>,
}

/// Gives an image its manifest: the one it came with, or a new one.
fn prepare(
    image: Found,
    blobs: &HashMap<Digest, Blob>,
    known: &HashMap<Digest, LayerInfo>,
) -> Result<Prepared> {
    let descriptor = |layer: &FoundLayer| -> Result<Descriptor> {
        if let Some(blob) = &layer.blob {
            return Ok(blob.clone());
        }
        if let Some(blob) = blobs.get(&layer.diff_id) {
            let digest = blob.digest.clone();
            return Ok(Descriptor::new(blob.media_type.clone(), blob.size, digest));
        }
        let layer = known.get(&layer.diff_id).context("a layer is missing")?;
        let digest = layer.blob.clone();
        Ok(Descriptor::new(
            layer.media_type.clone(),
            layer.size,
            digest,
        ))
    };
    let layers = image.layers.iter().map(descriptor);
    prepared(
        image.names,
        image.config,
        image.manifest,
        layers.collect::<Result<_>>()?,
    )
}

/// An image of a configuration and layers; `manifest` is written if None.
pub(super) fn prepared(
    names: Vec<Reference>,
    config: Vec<u8>,
    manifest: Option<(Vec<u8>, MediaType)>,
    layers: Vec<Descriptor>,
) -> Result<Prepared> {
    let id = digest::sha256(&config);
    let parsed = configuration(&config)?;
    let (manifest, media_type) = match manifest {
        Some(manifest) => manifest,
        None => {
            let size = config.len() as u64;
            let manifest = ImageManifestBuilder::default()
                .schema_version(2u32)
                .media_type(MediaType::ImageManifest)
                .config(Descriptor::new(MediaType::ImageConfig, size, id.clone()))
                .layers(layers)
                .build()?;
            (serde_json::to_vec(&manifest)?, MediaType::ImageManifest)
        }
    };
    let layers = store::layers(&serde_json::from_slice(&manifest)?, &parsed)?;
    Ok(Prepared {
        names,
        config: (id, config),
        manifest: (digest::sha256(&manifest), manifest),
        media_type,
        layers,
    })
}

/// Moves a blob, whose data is on the disk already, to its place.
pub(super) fn place_blob(store: &Store, blob: &Blob) -> Result<()> {
    place_file(store, &blob.digest, &blob.file)
}

/// Writes a small blob.
pub(super) fn place_bytes(
    store: &Store,
    session: &Session,
    digest: &Digest,
    bytes: &[u8],
) -> Result<()> {
    if store.layout().blob(digest).exists() {
        return Ok(());
    }
    let temporary = session.path("blob")?;
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    write().with_context(|| format!("write blob {digest}"))?;
    place_file(store, digest, &temporary)
}

fn place_file(store: &Store, digest: &Digest, file: &Path) -> Result<()> {
    let place = store.layout().blob(digest);
    if let Some(parent) = place.parent() {
        super::session::private_dir(parent)?;
    }
    fs::rename(file, &place).with_context(|| format!("write blob {digest}"))
}
