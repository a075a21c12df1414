//! Lists of images for several platforms (OCI image indexes) that are being
//! put together: a file each in the store's directory `lists`.

use crate::error::{demand, refuse};
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_spec::image::{Arch, Descriptor, ImageIndexBuilder, MediaType, Os, PlatformBuilder};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::manifest::Document;
use super::parts::Parts;
use super::pull::{find, image};
use super::push::send_manifest;
use super::transfer::{Origin, Target, Way, send_parcel, tag_of};
use crate::image::archive::MAX_JSON;
use crate::image::digest::{self, Digest};
use crate::image::index::{configuration, platform_of};
use crate::image::parcel::Parcel;
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::reference::Reference;
use crate::image::session::private_dir;
use crate::image::store::{Image, Store};
use crate::sys::replace::replace;

/// A list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// What it is called.
    pub name: String,
    /// Its images.
    pub entries: Vec<Entry>,
}

/// An image of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its manifest, with the platform.
    pub descriptor: Descriptor,
    /// The repository that has it; None for an image of the store.
    pub from: Option<String>,
}

fn file(store: &Store, name: &Reference) -> PathBuf {
    let key = digest::sha256(name.canonical().as_bytes());
    store.root().join("lists").join(&key.digest()[..32])
}

impl List {
    /// An empty one.
    pub fn new(name: &Reference) -> List {
        List {
            name: name.canonical(),
            entries: Vec::new(),
        }
    }

    /// Reads the one of that name; None if there is none.
    pub fn find(store: &Store, name: &Reference) -> Result<Option<List>> {
        let path = file(store, name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let list = serde_json::from_slice(&text);
        Ok(Some(
            list.with_context(|| format!("parse {}", path.display()))?,
        ))
    }

    /// Writes it down.
    pub fn save(&self, store: &Store) -> Result<()> {
        let path = file(store, &self.name.parse()?);
        private_dir(&store.root().join("lists"))?;
        let written = replace(&path, &serde_json::to_vec(self)?);
        written.with_context(|| format!("write {}", path.display()))
    }

    /// Removes the one of that name; false if there is none.
    pub fn remove(store: &Store, name: &Reference) -> Result<bool> {
        match fs::remove_file(file(store, name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("remove list {name}")),
        }
    }

    /// Adds an image, in the place of one with the same manifest.
    fn put(&mut self, entry: Entry) {
        let digest = entry.descriptor.digest();
        self.entries
            .retain(|known| known.descriptor.digest() != digest);
        self.entries.push(entry);
    }

    /// Adds an image of the store.
    pub fn add_local(&mut self, store: &Store, found: &Image) -> Result<()> {
        let (bytes, media_type) = store.manifest_bytes(found)?;
        let size = bytes.len() as u64;
        let mut descriptor = Descriptor::new(media_type, size, found.manifest.clone());
        descriptor.set_platform(Some(described(&platform_of(&found.config))?));
        self.put(Entry {
            descriptor,
            from: None,
        });
        Ok(())
    }

    /// Adds an image of a registry; of an index the one for `platform`, or
    /// with `all` all of them.
    pub fn add_remote(
        &mut self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        all: bool,
    ) -> Result<()> {
        let reference = reference.clone().stored();
        let (repository, fetched) = find(client, &reference)?;
        let from = Some(format!("{}/{}", reference.domain(), reference.path()));
        if let (Document::Index(index), true) = (&fetched.document, all) {
            for descriptor in index.manifests() {
                self.put(Entry {
                    descriptor: descriptor.clone(),
                    from: from.clone(),
                });
            }
            return Ok(());
        }
        // Whatever it is for, if it is the only one.
        let (fetched, manifest) = image(client, &repository, fetched, platform)?;
        let config = client.small_blob(&repository, manifest.config().digest(), MAX_JSON)?;
        let config = configuration(&config)?;
        let size = fetched.bytes.len() as u64;
        let mut descriptor = Descriptor::new(fetched.media_type, size, fetched.digest);
        descriptor.set_platform(Some(described(&platform_of(&config))?));
        self.put(Entry { descriptor, from });
        Ok(())
    }

    /// Sets what an image is said to be for.
    pub fn annotate(&mut self, digest: &str, platform: &Platform) -> Result<()> {
        let entry = self.entry(digest)?;
        entry.descriptor.set_platform(Some(described(platform)?));
        Ok(())
    }

    /// Takes an image out.
    pub fn take(&mut self, digest: &str) -> Result<()> {
        let digest = self.entry(digest)?.descriptor.digest().clone();
        self.entries
            .retain(|entry| *entry.descriptor.digest() != digest);
        Ok(())
    }

    fn entry(&mut self, digest: &str) -> Result<&mut Entry> {
        let name = self.name.clone();
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.descriptor.digest().as_ref() == digest);
        entry.with_context(|| format!("list {name} has no {digest}"))
    }

    /// The index.
    pub fn document(&self) -> Result<Vec<u8>> {
        let descriptors = self.entries.iter().map(|entry| entry.descriptor.clone());
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(descriptors.collect::<Vec<_>>())
            .build()?;
        Ok(serde_json::to_vec(&serde_json::to_value(&index)?)?)
    }

    /// Sends all images and then the index; returns its digest.
    pub fn push(
        &self,
        store: &Store,
        client: &Client,
        target: &Reference,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let push = || -> Result<Digest> {
            demand!(
                Invalid,
                !self.entries.is_empty(),
                "there is no image in the list"
            );
            let tag = tag_of(target)?;
            let home = client.repository(&client.conf.home(target)?)?;
            for entry in &self.entries {
                let digest = entry.descriptor.digest().to_string();
                let Some(from) = &entry.from else {
                    let _lock = store.lock_shared()?;
                    let image = store
                        .by_manifest(entry.descriptor.digest())
                        .with_context(|| format!("image {digest} is not in the store any more"))?;
                    let parcel = Parcel::of_store(store, &image)?;
                    send_parcel(client, &home, &parcel, &digest, progress)?;
                    continue;
                };
                let source: Reference = format!("{from}@{digest}").parse()?;
                if (source.domain(), source.path()) == (target.domain(), target.path()) {
                    continue;
                }
                let (repository, fetched) = find(client, &source)?;
                let parts = Parts::new(store.root());
                parts.prepare()?;
                let way = Way {
                    from: Origin::Registry(client, &repository, &parts),
                    to: Target::Registry(client, &home),
                    mount: (source.domain() == target.domain()).then(|| source.path().to_owned()),
                    progress,
                };
                way.document(&fetched, &digest, 0)?;
            }
            let media_type = MediaType::ImageIndex.to_string();
            send_manifest(client, &home, &tag, &self.document()?, &media_type)
        };
        push().with_context(|| format!("push list {target}"))
    }
}

/// What a registry has under a name, as written.
pub fn raw(client: &Client, reference: &Reference) -> Result<Vec<u8>> {
    let find = find(client, &reference.clone().stored());
    let (_, fetched) = find.with_context(|| format!("inspect {reference}"))?;
    Ok(fetched.bytes)
}

fn described(platform: &Platform) -> Result<oci_spec::image::Platform> {
    let mut builder = PlatformBuilder::default()
        .os(Os::from(platform.os.as_str()))
        .architecture(Arch::from(platform.architecture.as_str()));
    if !platform.variant.is_empty() {
        builder = builder.variant(platform.variant.clone());
    }
    match builder.build() {
        Ok(platform) => Ok(platform),
        Err(error) => refuse!(Invalid, "platform {platform}: {error}"),
    }
}
