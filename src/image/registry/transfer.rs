//! Images from registry to registry, and to places that are no store: their
//! bytes stay as they are.

use crate::error::{demand, refuse};
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest};

use super::client::{Client, Repository};
use super::download::{Download, Stop};
use super::http::Content;
use super::manifest::{self, Document, is_elsewhere};
use super::parts::{Held, Parts};
use super::pull::{find, image};
use super::push::{Blob, send_blobs, send_manifest};
use super::repository::Fetched;
use crate::image::archive::{Files, MAX_JSON, Slice, blob_path};
use crate::image::assemble::parallel_on;
use crate::image::digest::{self, Digest, Hasher};
use crate::image::layout::{Layout, REF_NAME, name_of};
use crate::image::output;
use crate::image::parcel::Parcel;
use crate::image::platform::Platform;
use crate::image::progress::{Meter, Progress, Quiet};
use crate::image::reference::Reference;
use crate::image::save;
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
    let urls = wanted.urls().as_deref().unwrap_or_default();
    let expected = (wanted.digest(), wanted.size(), urls);
    let attempt = || -> Result<()> {
        let download = Download::new(client, repository, expected, &part, &stop)?;
        let mut reader = digest::HashReader::new(download, Hasher::like(wanted.digest())?);
        let size = io::copy(&mut reader, &mut io::sink())?;
        demand!(
            Invalid,
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
    demand!(
        Invalid,
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
    let layers = parcel.layers.iter();
    for layer in layers.filter(|layer| !is_elsewhere(&layer.blob)) {
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
            from: Origin::Registry(from, &repository, &parts),
            to: Target::Registry(to, &home),
            mount: (source.domain() == target.domain()).then(|| source.path().to_owned()),
            progress,
        };
        way.document(&fetched, &tag, 0)
    };
    copy().with_context(|| format!("copy {source} to {target}"))
}

/// Copies all that a name means in a registry into the OCI layout in the
/// directory `path`, where it is called `tag`.
pub fn transfer_to_layout(
    store: &Store,
    (from, source): (&Client, &Reference),
    (path, tag): (&Path, Option<&str>),
    progress: &dyn Progress,
) -> Result<Digest> {
    let (repository, fetched) = find(from, &source.clone().stored())?;
    let parts = Parts::new(store.root());
    parts.prepare()?;
    let origin = Origin::Registry(from, &repository, &parts);
    output::directory(path, || into_layout(origin, &fetched, path, tag, progress))
}

/// Copies all that an entry of an OCI layout means into a registry.
pub fn transfer_from_layout(
    files: &Files,
    entry: &Descriptor,
    (to, target): (&Client, &Reference),
    progress: &dyn Progress,
) -> Result<Digest> {
    let tag = tag_of(target)?;
    let home = to.repository(&to.conf.home(target)?)?;
    let way = Way {
        from: Origin::Files(files),
        to: Target::Registry(to, &home),
        mount: None,
        progress,
    };
    way.document(&way.from.document(entry)?, &tag, 0)
}

/// Copies all that an entry of an OCI layout means into another one.
pub fn transfer_layout(
    files: &Files,
    entry: &Descriptor,
    (path, tag): (&Path, Option<&str>),
    progress: &dyn Progress,
) -> Result<Digest> {
    let origin = Origin::Files(files);
    let fetched = origin.document(entry)?;
    let tag = tag.or_else(|| name_of(entry));
    output::directory(path, || into_layout(origin, &fetched, path, tag, progress))
}

fn into_layout(
    from: Origin,
    fetched: &Fetched,
    path: &Path,
    tag: Option<&str>,
    progress: &dyn Progress,
) -> Result<Digest> {
    let layout = save::layout_at(path)?;
    let way = Way {
        from,
        to: Target::Layout(&layout),
        mount: None,
        progress,
    };
    let digest = way.document(fetched, tag.unwrap_or_default(), 0)?;
    let size = fetched.bytes.len() as u64;
    let mut entry = Descriptor::new(fetched.media_type.clone(), size, digest.clone());
    if let Some(tag) = tag {
        let name = [(REF_NAME.to_owned(), tag.to_owned())];
        entry.set_annotations(Some(name.into()));
    }
    save::enter(&layout, vec![entry])?;
    Ok(digest)
}

/// Where documents and blobs are read as they are.
pub(super) enum Origin<'a> {
    /// A repository, and where what comes of it is kept meanwhile.
    Registry(&'a Client, &'a Repository, &'a Parts),
    /// An OCI layout.
    Files(&'a Files),
}

impl Origin<'_> {
    fn document(&self, wanted: &Descriptor) -> Result<Fetched> {
        let digest = wanted.digest();
        match self {
            Origin::Registry(client, repository, _) => client.manifest(repository, digest.as_ref()),
            Origin::Files(files) => {
                let bytes = files.blob(digest)?;
                let claimed = wanted.media_type().to_string();
                let read = manifest::read(&bytes, Some(&claimed));
                let (document, media_type) = read.with_context(|| digest.to_string())?;
                Ok(Fetched {
                    bytes,
                    digest: digest.clone(),
                    media_type,
                    document,
                })
            }
        }
    }

    fn blob(&self, wanted: &Descriptor) -> Result<Slice> {
        match self {
            Origin::Registry(client, repository, parts) => {
                Slice::whole(fetch(client, repository, wanted, parts, &Quiet)?)
            }
            Origin::Files(files) => {
                let digest = wanted.digest();
                let slice = files.get(&blob_path(digest))?;
                let slice = slice.with_context(|| format!("the layout has no blob {digest}"))?;
                demand!(
                    Invalid,
                    slice.length == wanted.size(),
                    "it has {} bytes instead of {}",
                    slice.length,
                    wanted.size()
                );
                Ok(slice)
            }
        }
    }

    /// Forgets what was kept of blobs.
    fn discard(&self, blobs: &[&Descriptor]) -> Result<()> {
        let Origin::Registry(.., parts) = self else {
            return Ok(());
        };
        blobs
            .iter()
            .try_for_each(|blob| parts.discard(blob.digest()))
    }
}

/// Where documents and blobs go as they are.
pub(super) enum Target<'a> {
    Registry(&'a Client, &'a Repository),
    Layout(&'a Layout),
}

/// From one place to another.
pub(super) struct Way<'a> {
    pub from: Origin<'a>,
    pub to: Target<'a>,
    /// The source's path, if both are of one registry.
    pub mount: Option<String>,
    pub progress: &'a dyn Progress,
}

impl Way<'_> {
    /// Copies a manifest and all that it names; in a registry it gets the name
    /// `tag`.
    pub fn document(&self, fetched: &Fetched, tag: &str, depth: u32) -> Result<Digest> {
        match &fetched.document {
            Document::Image(manifest) => self.blobs(manifest)?,
            Document::Index(index) => {
                if depth >= crate::image::index::MAX_NESTING {
                    refuse!(Invalid, "indexes are nested too deeply");
                }
                for entry in index.manifests() {
                    let inner = self.from.document(entry)?;
                    self.document(&inner, entry.digest().as_ref(), depth + 1)?;
                }
            }
        }
        match &self.to {
            Target::Registry(client, home) => {
                let media_type = fetched.media_type.to_string();
                send_manifest(client, home, tag, &fetched.bytes, &media_type)
            }
            Target::Layout(layout) => {
                let put = |out: &mut dyn io::Write| Ok(out.write_all(&fetched.bytes)?);
                save::put(layout, &fetched.digest, put)?;
                Ok(fetched.digest.clone())
            }
        }
    }

    fn blobs(&self, manifest: &ImageManifest) -> Result<()> {
        let mut wanted: Vec<&Descriptor> = Vec::new();
        let layers = manifest
            .layers()
            .iter()
            .filter(|layer| !is_elsewhere(layer));
        for blob in layers.chain([manifest.config()]) {
            if wanted.iter().all(|known| known.digest() != blob.digest()) {
                wanted.push(blob);
            }
        }
        let sent = match &self.to {
            Target::Registry(client, home) => {
                let blobs: Vec<Blob> = wanted.iter().map(|&blob| self.upload(blob)).collect();
                send_blobs(client, home, &blobs, self.progress)
            }
            Target::Layout(layout) => self.fill(layout, &wanted),
        };
        self.from.discard(&wanted)?;
        sent
    }

    fn upload<'b>(&'b self, blob: &'b Descriptor) -> Blob<'b> {
        Blob {
            digest: blob.digest().clone(),
            size: blob.size(),
            elsewhere: self.mount.iter().cloned().collect(),
            open: Box::new(move || Ok(Content::Slice(self.from.blob(blob)?))),
        }
    }

    fn fill(&self, layout: &Layout, wanted: &[&Descriptor]) -> Result<()> {
        let sizes = wanted.iter().map(|blob| blob.size());
        self.progress.expect(wanted.len(), sizes.sum());
        let parallel = match self.from {
            Origin::Registry(client, ..) => client.options.parallel,
            Origin::Files(_) => 1,
        };
        parallel_on(parallel, wanted, |blob| {
            let digest = blob.digest();
            let meter = self
                .progress
                .begin(digest::short(digest), Some(blob.size()));
            let put = save::put(layout, digest, |out| {
                let hasher = Hasher::like(digest)?;
                let mut reader = digest::HashReader::new(self.from.blob(blob)?, hasher);
                io::copy(&mut reader, out)?;
                digest::check("the blob", digest, &reader.finish().0)
            });
            put.with_context(|| format!("blob {digest}"))?;
            meter.advance(blob.size());
            Ok(())
        })?;
        Ok(())
    }
}
