//! An image on its way from one place to another: its documents, and where to
//! read its blobs.

use crate::error::{demand, refusal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde_json::{Value, json};

use super::archive::{self, Files, Found, Slice};
use super::assemble::parallel;
use super::budget::Budget;
use super::compress::{self, Compression};
use super::digest::{self, Digest, HashReader, HashWriter, Hasher};
use super::index::configuration;
use super::load::prepared;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::session::Session;
use super::source::Source;
use super::store::{self, Image, Store};

/// An image that can be written somewhere.
#[derive(Debug)]
pub struct Parcel {
    /// What it is called.
    pub names: Vec<Reference>,
    /// The manifest, as written.
    pub manifest: Vec<u8>,
    /// What the manifest is.
    pub media_type: MediaType,
    /// The configuration, as written.
    pub config: Vec<u8>,
    /// The layers, the bottom one first.
    pub layers: Vec<Packed>,
}

/// A layer of a [`Parcel`].
#[derive(Clone, Debug)]
pub struct Packed {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// What the blob is.
    pub blob: Descriptor,
    /// The blob.
    pub slice: Slice,
}

/// Compression of plain layers on their way to a registry: the level that
/// others use.
const GZIP: u32 = 6;

impl Parcel {
    /// An image of the store, which must not change meanwhile: the caller
    /// holds the lock, shared.
    pub fn of_store(store: &Store, image: &Image) -> Result<Parcel> {
        let (manifest, media_type) = store.manifest_bytes(image)?;
        let config = store.layout().read_bytes(&image.id)?;
        let names = image.references.iter();
        let names = names.filter_map(|name| name.parse::<Reference>().ok());
        let mut parcel = Parcel {
            names: names.filter(|name| name.digest().is_none()).collect(),
            manifest,
            media_type,
            config,
            layers: Vec::new(),
        };
        parcel.add_layers(|blob| {
            let path = store.layout().blob(blob.digest());
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            Slice::whole(file)
        })?;
        Ok(parcel)
    }

    /// An image of an archive. Its layers are hashed where the archive says
    /// nothing about its blobs.
    pub(super) fn of_archive(files: &Files, found: Found) -> Result<Parcel> {
        if let Some((manifest, media_type)) = found.manifest {
            let mut parcel = Parcel {
                names: found.names,
                manifest,
                media_type,
                config: found.config,
                layers: Vec::new(),
            };
            let mut layers = found.layers.iter();
            parcel.add_layers(|_| layers.next().context("it has too few layers")?.open(files))?;
            return Ok(parcel);
        }
        let layers = parallel(&found.layers, |layer| {
            let whole = layer.open(files)?;
            let (compression, _) = compress::peek(whole.clone())?;
            let mut reader = HashReader::new(whole.clone(), Hasher::sha256());
            io::copy(&mut reader, &mut io::sink())?;
            let (digest, size) = reader.finish();
            demand!(
                Invalid,
                compression != Compression::Xz,
                "layer {}: no registry knows xz: load and save the image first",
                layer.path
            );
            let blob = Descriptor::new(compression.layer_media_type(), size, digest);
            Ok(Packed {
                diff_id: layer.diff_id.clone(),
                blob,
                slice: whole,
            })
        })?;
        // They come back in any order.
        let ordered = found.layers.iter().map(|layer| {
            let mut made = layers.iter();
            let made = made.find(|packed| packed.diff_id == layer.diff_id);
            made.cloned().context("a layer is missing")
        });
        let mut parcel = Parcel {
            names: found.names,
            manifest: Vec::new(),
            media_type: MediaType::ImageManifest,
            config: found.config,
            layers: ordered.collect::<Result<_>>()?,
        };
        parcel.describe()?;
        Ok(parcel)
    }

    /// An image of which each blob can be had by `open`.
    pub(super) fn add_layers(
        &mut self,
        mut open: impl FnMut(&Descriptor) -> Result<Slice>,
    ) -> Result<()> {
        let manifest: ImageManifest = serde_json::from_slice(&self.manifest)?;
        let config = configuration(&self.config)?;
        let layers = store::layers(&manifest, &config)?;
        for (layer, blob) in layers.into_iter().zip(manifest.layers()) {
            self.layers.push(Packed {
                diff_id: layer.diff_id,
                slice: open(blob)?,
                blob: blob.clone(),
            });
        }
        Ok(())
    }

    /// Writes a manifest of the layers as they are; what the old one says beside
    /// (annotations, what it is about) is kept.
    fn describe(&mut self) -> Result<()> {
        if !self.manifest.is_empty() {
            let mut manifest: Value = serde_json::from_slice(&self.manifest)?;
            let kind = self.media_type.to_string();
            let config = &mut manifest["config"]["mediaType"];
            let docker = config.as_str().is_some_and(|name| name.contains("docker"));
            if docker && self.media_type == MediaType::ImageManifest {
                *config = json!(MediaType::ImageConfig.to_string());
            }
            manifest["mediaType"] = json!(kind);
            let layers = manifest["layers"].as_array_mut();
            let layers = layers.context("the manifest has no layers")?;
            for (entry, layer) in layers.iter_mut().zip(&self.layers) {
                entry["mediaType"] = json!(layer.blob.media_type().to_string());
                entry["digest"] = json!(layer.blob.digest().to_string());
                entry["size"] = json!(layer.blob.size());
            }
            self.manifest = serde_json::to_vec(&manifest)?;
            return Ok(());
        }
        let blobs = self.layers.iter().map(|layer| layer.blob.clone());
        let made = prepared(Vec::new(), self.config.clone(), None, blobs.collect())?;
        (self.manifest, self.media_type) = (made.manifest.1, made.media_type);
        Ok(())
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> Digest {
        digest::sha256(&self.manifest)
    }

    /// The manifest in OCI's words, if it is in docker's: an OCI layout has
    /// room for nothing else.
    pub fn into_oci(mut self) -> Result<Parcel> {
        let manifest: ImageManifest = serde_json::from_slice(&self.manifest)?;
        let foreign = |blob: &Descriptor| blob.media_type().to_string().contains("docker");
        let own = self.media_type == MediaType::ImageManifest;
        if own && !manifest.layers().iter().any(foreign) && !foreign(manifest.config()) {
            return Ok(self);
        }
        self.media_type = MediaType::ImageManifest;
        for layer in self.layers.iter_mut().filter(|layer| foreign(&layer.blob)) {
            let name = layer.blob.media_type().to_string();
            let foreign = name.contains("foreign");
            let media_type = match (name.rsplit(['.', '+']).next(), foreign) {
                (Some("gzip"), false) => MediaType::ImageLayerGzip,
                (Some("gzip"), true) => MediaType::ImageLayerNonDistributableGzip,
                (Some("zstd"), false) => MediaType::ImageLayerZstd,
                (Some("zstd"), true) => MediaType::ImageLayerNonDistributableZstd,
                (_, false) => MediaType::ImageLayer,
                (_, true) => MediaType::ImageLayerNonDistributable,
            };
            layer.blob.set_media_type(media_type);
        }
        self.describe()?;
        Ok(self)
    }

    /// The same with no plain layer: they are compressed to temporary files.
    pub fn compressed(mut self, session: &Session, progress: &dyn Progress) -> Result<Parcel> {
        let plain = |layer: &Packed| !matches!(compression(layer), Ok(Compression::None) | Err(_));
        if self.layers.iter().all(plain) {
            return Ok(self);
        }
        let jobs: Vec<(usize, &Packed)> = self.layers.iter().enumerate().collect();
        // In the words of its manifest.
        let gzip_type = match self.media_type.to_string().contains("docker") {
            true => "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
            false => MediaType::ImageLayerGzip,
        };
        let made = parallel(&jobs, |(n, layer)| {
            if compression(layer)? != Compression::None {
                return Ok((*n, (*layer).clone()));
            }
            let meter = progress.begin(digest::short(&layer.diff_id), Some(layer.slice.length));
            let path = session.path("layer")?;
            let out = HashWriter::new(File::create_new(&path)?, Hasher::sha256());
            let level = flate2::Compression::new(GZIP);
            let mut gzip = flate2::write::GzEncoder::new(out, level);
            let mut reader = HashReader::new(layer.slice.clone(), Hasher::like(&layer.diff_id)?);
            io::copy(&mut reader, &mut gzip)?;
            digest::check("a layer", &layer.diff_id, &reader.finish().0)?;
            meter.advance(layer.slice.length);
            let (_, digest, size) = gzip.finish()?.finish();
            let packed = Packed {
                diff_id: layer.diff_id.clone(),
                blob: Descriptor::new(gzip_type.clone(), size, digest),
                slice: Slice::whole(File::open(&path)?)?,
            };
            Ok((*n, packed))
        })?;
        for (n, layer) in made {
            self.layers[n] = layer;
        }
        self.describe()?;
        Ok(self)
    }
}

/// How the blob of a layer is compressed.
pub fn compression(layer: &Packed) -> Result<Compression> {
    Ok(compress::peek(layer.slice.clone())?.0)
}

/// Copies a layer's blob, verified.
pub fn copy_blob(layer: &Packed, out: &mut dyn Write) -> Result<()> {
    let blob = layer.slice.clone().take(layer.blob.size());
    let digest = copy_hashed(blob, Hasher::like(layer.blob.digest())?, out)?;
    digest::check("the layer", layer.blob.digest(), &digest)
}

/// The same as a plain tar.
pub fn copy_plain(layer: &Packed, out: &mut dyn Write) -> Result<()> {
    let plain = compress::plain(layer.slice.clone())?;
    let digest = copy_hashed(plain, Hasher::like(&layer.diff_id)?, out)?;
    digest::check("the layer", &layer.diff_id, &digest)
}

/// Copies all that `source` yields; it is hashed beside the reading
/// and writing.
fn copy_hashed(mut source: impl Read, mut hasher: Hasher, out: &mut dyn Write) -> Result<Digest> {
    // So much at once is in memory in each of the stages.
    const PIECE: usize = 512 * 1024;
    const PIECES: usize = 4;
    thread::scope(|scope| {
        let (pieces, to_hash) = sync_channel::<Arc<Vec<u8>>>(PIECES);
        let hashing = thread::Builder::new().name("hash".to_owned());
        let hashing = hashing.spawn_scoped(scope, move || {
            to_hash.iter().for_each(|piece| hasher.update(&piece));
            hasher.finish()
        });
        let hashing = hashing.context("start a thread")?;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            (&mut source)
                .take(PIECE as u64)
                .read_to_end(&mut piece)
                .context("read a layer")?;
            if piece.is_empty() {
                break;
            }
            let piece = Arc::new(piece);
            if pieces.send(piece.clone()).is_err() {
                break;
            }
            out.write_all(&piece).context("write a layer")?;
        }
        drop(pieces);
        hashing
            .join()
            .map_err(|_| refusal!(Internal, "a thread panicked"))
    })
}

/// An image of an archive or OCI layout. What comes out of it does so by way of
/// the session, within the budget.
pub fn of_file(
    source: &Source,
    platform: Option<&Platform>,
    budget: Budget,
    session: &Session,
) -> Result<Parcel> {
    let (files, found) = source.open(platform, budget, session)?;
    Parcel::of_archive(&files, found)
}

/// What the OCI layout in a directory or archive has under the source's tag,
/// and the layout.
pub fn entry(source: &Source, budget: Budget, session: &Session) -> Result<(Files, Descriptor)> {
    let (files, tag) = source.files(budget, session)?;
    let entry = archive::entry(&files, tag)?;
    Ok((files, entry))
}

impl Slice {
    /// `length` bytes from `offset` on.
    pub fn part(&self, offset: u64, length: u64) -> Slice {
        Slice {
            file: self.file.clone(),
            position: self.position + offset,
            length: length.min(self.length.saturating_sub(offset)),
        }
    }

    /// All of a file.
    pub fn whole(file: File) -> Result<Slice> {
        let length = file.metadata()?.len();
        Ok(Slice {
            file: Arc::new(file),
            position: 0,
            length,
        })
    }
}
