//! The `images` directory of the store: an OCI image layout (image-layout.md)
//! that other tools can read, as in `skopeo inspect oci:DIR:NAME`.
//!
//! Each name is one descriptor in `index.json`, with the full reference in the
//! annotation `org.opencontainers.image.ref.name`; an image without a name has
//! one descriptor without that annotation.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use serde::de::DeserializeOwned;

use super::digest::Digest;
use super::session::private_dir;
use crate::sys::replace::replace_for_good;

/// The annotation that holds a descriptor's name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where an unnamed image came from, so that the same file need not be read
/// twice.
pub const SOURCE: &str = "io.bryo.source";

/// An OCI image layout in a directory.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// The layout in `directory`, which need not exist yet.
    pub fn new(directory: PathBuf) -> Layout {
        Layout { directory }
    }

    /// Makes what lacks for an empty layout.
    pub fn create(&self) -> Result<()> {
        let marker = self.directory.join("oci-layout");
        if marker.exists() {
            return Ok(());
        }
        let blobs = self.directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;
        let _lock = self.lock()?;
        replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Waits until nobody else writes here.
    fn lock(&self) -> Result<Flock<File>> {
        let path = self.directory.join(".lock");
        // To cut it, empty as it is, takes room on some file systems.
        let open = || {
            let mut options = File::options();
            let options = options.write(true).create(true).truncate(false);
            options.open(&path)
        };
        let file = match open() {
            // The store is new.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_dir(&self.directory)?;
                open()
            }
            other => other,
        };
        let file = file.with_context(|| format!("create {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("lock {}", path.display()))
    }

    /// The index; empty where there is none yet.
    pub fn index(&self) -> Result<ImageIndex> {
        let path = self.directory.join("index.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty_index()),
            Err(error) => {
                return Err(error).with_context(|| format!("read {}", path.display()));
            }
        };
        serde_json::from_slice(&bytes).with_context(|| format!("parse {}", path.display()))
    }

    /// Changes the list of descriptors, one writer at a time. The new index is
    /// on the disk when this returns.
    pub fn update<T>(&self, change: impl FnOnce(&mut Vec<Descriptor>) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let mut descriptors = index.manifests().clone();
        let result = change(&mut descriptors)?;
        index.set_manifests(descriptors);
        let bytes = serde_json::to_vec(&index)?;
        replace(&self.directory.join("index.json"), &bytes)?;
        Ok(result)
    }

    /// Writes an index in the place of one that cannot be read, which stays
    /// beside it as `index.json.damaged`.
    pub fn rebuild(&self, descriptors: Vec<Descriptor>) -> Result<()> {
        let _lock = self.lock()?;
        let path = self.directory.join("index.json");
        let mut index = empty_index();
        index.set_manifests(descriptors);
        let bytes = serde_json::to_vec(&index)?;
        let damaged = self.directory.join("index.json.damaged");
        fs::rename(&path, &damaged).with_context(|| format!("move {} away", path.display()))?;
        replace(&path, &bytes).inspect_err(|_| {
            // No index would be an empty one, and nothing anybody's.
            let _ = fs::rename(&damaged, &path);
        })
    }

    /// Where the blob of `digest` is or would be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let mut path = self.directory.join("blobs");
        path.push(digest.algorithm().as_ref());
        path.push(digest.digest());
        path
    }

    /// Reads and parses a JSON blob.
    pub fn read<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let bytes = self.read_bytes(digest)?;
        serde_json::from_slice(&bytes).with_context(|| format!("parse blob {digest}"))
    }

    /// Reads a whole blob: manifests and configurations, not layers.
    pub fn read_bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob(digest);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Digests of all blobs that are there.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        let top = self.directory.join("blobs");
        let list = |path: &Path| -> Result<Vec<String>> {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => {
                    return Err(error).with_context(|| format!("list {}", path.display()));
                }
            };
            let names = entries.map(|entry| Ok(entry?.file_name().into_string()));
            let names: io::Result<Vec<_>> = names.collect();
            Ok(names?.into_iter().flatten().collect())
        };
        for algorithm in list(&top)? {
            for hex in list(&top.join(&algorithm))? {
                found.extend(Digest::try_from(format!("{algorithm}:{hex}")));
            }
        }
        Ok(found)
    }
}

/// The name in a descriptor's annotations.
pub fn name_of(descriptor: &Descriptor) -> Option<&str> {
    annotation(descriptor, REF_NAME)
}

/// The value of an annotation of a descriptor.
pub fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    let annotations = descriptor.annotations().as_ref()?;
    annotations.get(key).map(String::as_str)
}

/// An index without images.
fn empty_index() -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(Vec::new())
        .build()
        .expect("all that is required is set")
}

/// Writes a file so that at any moment either the old or the new content is
/// there, also after a power failure. The caller sees to it that nobody else
/// writes the same file.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_for_good(path, bytes).with_context(|| format!("write {}", path.display()))
}
