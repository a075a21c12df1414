//! Images from registry to registry, and to places that are no store: their
//! bytes stay as they are.

use std::fs::File;
use std::io;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageManifest};

use super::client::{Client, Repository};
use super::download::{Download, Stop};
use super::http::Content;
use super::manifest::Document;
use super::parts::{Held, Parts};
use super::pull::{find, image};
use super::push::{Blob, send_blobs, send_manifest};
use super::repository::Fetched;
use crate::image::archive::{MAX_JSON, Slice};
use crate::image::assemble::parallel_on;
use crate::image::digest::{self, Digest, Hasher};
use crate::image::parcel::Parcel;
use crate::image::platform::Platform;
use crate::image::progress::{Meter, Progress, Quiet};
use crate::image::reference::Reference;
use crate::image::store::Store;

/// Fetches a blob, verified; what others have fetched of it is used.
pub(super) fn fetch(
    client: &Client,
    repository: &Repository,
    wanted: &Descriptor,
    parts: &Parts,
    meter: &dyn Meter,
) -> Result<File> {
    let part = match parts.take(wanted.digest())? {
        Held::Done(file) => return Ok(file),
        Held::Part(part) => part,
    };
    let stop = Stop::default();
    let expected = (wanted.digest(), wanted.size());
    let attempt = || -> Result<()> {
        let download = Download::new(client, repository, expected, &part, &stop)?;
        let mut reader = digest::HashReader::new(download, Hasher::like(wanted.digest())?);
        let size = io::copy(&mut reader, &mut io::sink())?;
        ensure!(
            size == wanted.size(),
            "it has {size} bytes instead of {}",
            wanted.size()
        );
        digest::check("the blob", wanted.digest(), &reader.finish().0)
    };
    let resumed = part.file.metadata()?.len() > 0;
    let passes = || stop.interrupted.load(std::sync::atomic::Ordering::Relaxed);
    let mut result = attempt();
    if result.is_err() && resumed && !passes() {
        // What an earlier command left may be damaged.
        part.file.set_len(0)?;
        result = attempt();
    }
    if let Err(error) = result {
        if !passes() {
            part.file.set_len(0)?;
        }
        part.leave()?;
        return Err(error);
    }
    meter.advance(wanted.size());
    let file = part.file.try_clone()?;
    part.finish(parts, wanted.digest())?;
    Ok(file)
}

/// An image of a registry, fetched as it is.
pub fn parcel(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Parcel> {
    let get = || -> Result<Parcel> {
        let reference = reference.clone().stored();
        let (repository, fetched) = find(client, &reference)?;
        let (fetched, manifest) = image(client, &repository, fetched, platform)?;
        let config = manifest.config().digest();
        let config = client.small_blob(&repository, config, MAX_JSON)?;
        let mut parcel = Parcel {
            names: vec![reference],
            manifest: fetched.bytes,
            media_type: fetched.media_type,
            config,
            layers: Vec::new(),
        };
        let parts = Parts::new(store.root());
        parts.prepare()?;
        let blobs = manifest.layers();
        progress.expect(blobs.len(), blobs.iter().map(Descriptor::size).sum());
        let files = parallel_on(client.options.parallel, blobs, |blob| {
            let meter = progress.begin(digest::short(blob.digest()), Some(blob.size()));
            let file = fetch(client, &repository, blob, &parts, &*meter)
                .with_context(|| format!("layer {}", blob.digest()))?;
            Ok((blob.digest().clone(), file))
        })?;
        parcel.add_layers(|blob| {
            let file = files.iter().find(|(digest, _)| digest == blob.digest());
            let (_, file) = file.context("a layer is missing")?;
            Slice::whole(file.try_clone()?)
        })?;
        // They are open, and need no name any more.
        for blob in blobs {
            parts.discard(blob.digest())?;
        }
        Ok(parcel)
    };
    get().with_context(|| format!("fetch {reference}"))
}

/// Sends an image to a registry; returns its manifest's digest.
pub fn send(
    client: &Client,
    parcel: &Parcel,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<Digest> {
    let send = || -> Result<Digest> {
        let tag = tag_of(reference)?;
        let repository = client.repository(&client.conf.home(reference)?)?;
        send_parcel(client, &repository, parcel, &tag, progress)
    };
    send().with_context(|| format!("push {reference}"))
}

/// The tag that something is sent under.
pub(super) fn tag_of(reference: &Reference) -> Result<String> {
    ensure!(
        reference.digest().is_none(),
        "a digest cannot be chosen: give a tag"
    );
    Ok(reference.tag().unwrap_or("latest").to_owned())
}

/// The same under a tag or digest of a repository.
pub(super) fn send_parcel(
    client: &Client,
    repository: &Repository,
    parcel: &Parcel,
    tag: &str,
    progress: &dyn Progress,
) -> Result<Digest> {
    let mut blobs: Vec<Blob> = Vec::new();
    for layer in &parcel.layers {
        if blobs.iter().all(|blob| blob.digest != *layer.blob.digest()) {
            let slice = layer.slice.clone();
            blobs.push(Blob {
                digest: layer.blob.digest().clone(),
                size: layer.blob.size(),
                elsewhere: Vec::new(),
                open: Box::new(move || Ok(Content::Slice(slice.clone()))),
            });
        }
    }
    let config = parcel.config.clone();
    blobs.push(Blob {
        digest: digest::sha256(&config),
        size: config.len() as u64,
        elsewhere: Vec::new(),
        open: Box::new(move || {
            let kind = "application/octet-stream".to_owned();
            Ok(Content::Bytes(config.clone(), kind))
        }),
    });
    send_blobs(client, repository, &blobs, progress)?;
    let media_type = parcel.media_type.to_string();
    send_manifest(client, repository, tag, &parcel.manifest, &media_type)
}

/// Which images of an index are meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// That of a platform; the host's if None.
    One(Option<&'a Platform>),
    /// All of them, and the index itself.
    All,
}

/// Copies an image from registry to registry; what the target has is not
/// fetched. Returns the digest of what the name means there.
pub fn transfer(
    store: &Store,
    (from, source): (&Client, &Reference),
    (to, target): (&Client, &Reference),
    which: Which,
    progress: &dyn Progress,
) -> Result<Digest> {
    let copy = || -> Result<Digest> {
        let tag = tag_of(target)?;
        let (repository, fetched) = find(from, &source.clone().stored())?;
        let home = to.repository(&to.conf.home(target)?)?;
        let fetched = match which {
            Which::One(platform) if matches!(fetched.document, Document::Index(_)) => {
                image(from, &repository, fetched, platform)?.0
            }
            // Whatever it is.
            _ => fetched,
        };
        let parts = Parts::new(store.root());
        parts.prepare()?;
        let way = Way {
            from,
            repository: &repository,
            to,
            home: &home,
            mount: (source.domain() == target.domain()).then(|| source.path().to_owned()),
            parts: &parts,
            progress,
        };
        way.document(&fetched, &tag, 0)
    };
    copy().with_context(|| format!("copy {source} to {target}"))
}

/// From one repository to another.
pub(super) struct Way<'a> {
    pub from: &'a Client,
    pub repository: &'a Repository,
    pub to: &'a Client,
    pub home: &'a Repository,
    /// The source's path, if both are of one registry.
    pub mount: Option<String>,
    pub parts: &'a Parts,
    pub progress: &'a dyn Progress,
}

impl Way<'_> {
    /// Copies a manifest and all that it names; it gets the name `tag`.
    pub fn document(&self, fetched: &Fetched, tag: &str, depth: u32) -> Result<Digest> {
        match &fetched.document {
            Document::Image(manifest) => self.blobs(manifest)?,
            Document::Index(index) => {
                if depth >= crate::image::index::MAX_NESTING {
                    bail!("indexes are nested too deeply");
                }
                for entry in index.manifests() {
                    let digest = entry.digest().to_string();
                    let inner = self.from.manifest(self.repository, &digest)?;
                    self.document(&inner, &digest, depth + 1)?;
                }
            }
        }
        let media_type = fetched.media_type.to_string();
        send_manifest(self.to, self.home, tag, &fetched.bytes, &media_type)
    }

    fn blobs(&self, manifest: &ImageManifest) -> Result<()> {
        let mut wanted: Vec<&Descriptor> = Vec::new();
        for blob in manifest.layers().iter().chain([manifest.config()]) {
            if wanted.iter().all(|known| known.digest() != blob.digest()) {
                wanted.push(blob);
            }
        }
        let blobs: Vec<Blob> = wanted
            .iter()
            .map(|&blob| Blob {
                digest: blob.digest().clone(),
                size: blob.size(),
                elsewhere: self.mount.iter().cloned().collect(),
                open: Box::new(move || {
                    let file = fetch(self.from, self.repository, blob, self.parts, &Quiet)?;
                    Ok(Content::Slice(Slice::whole(file)?))
                }),
            })
            .collect();
        let sent = send_blobs(self.to, self.home, &blobs, self.progress);
        for blob in wanted {
            self.parts.discard(blob.digest())?;
        }
        sent
    }
}
