//! Making an image of a root file system tar, as `docker import` does.

use crate::error::{Kind, OrKind};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageConfiguration};
use serde_json::json;

use super::archive::open_file;
use super::assemble::Assembly;
use super::budget::Budget;
use super::change::{Change, apply};
use super::layer::{Expected, bring};
use super::load::{place_blob, place_bytes, prepared};
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::store::{self, Image, Store};

/// How an image is made of a tar.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Instructions that set up the configuration.
    pub changes: Vec<Change>,
    /// What the history says.
    pub message: Option<String>,
    /// What the files are for; the host's platform if None.
    pub platform: Option<Platform>,
    /// When the image is said to be made, in RFC 3339.
    pub created: String,
    /// How much it may ask for.
    pub budget: Budget,
}

/// Makes an image of the tar `path` (`-` is standard input; plain, gzip, zstd
/// or xz) and names it, if a name is given.
pub fn import(
    store: &Store,
    path: &Path,
    reference: Option<&Reference>,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    let imported = import_as(store, path, reference, None, options, progress);
    imported
        .or_kind(Kind::Invalid)
        .with_context(|| match path.to_str() {
            Some("-") => "import the archive on standard input".to_owned(),
            _ => format!("import {}", path.display()),
        })
}

/// The same; a nameless image can have the annotation `source`.
pub(super) fn import_as(
    store: &Store,
    path: &Path,
    reference: Option<&Reference>,
    source: Option<&str>,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    let file = open_file(path)?;
    let length = file
        .metadata()
        .ok()
        .filter(|m| m.is_file())
        .map(|m| m.len());
    let session = store.session()?;
    let expected = Expected {
        keep_blob: true,
        need_end: true,
        budget: options.budget,
        flavour: store.flavour().clone(),
        ..Expected::default()
    };
    let name = reference.map(Reference::familiar);
    let meter = progress.begin(name.as_deref().unwrap_or("layer"), length);
    let directory = session.path("layer")?;
    let mut layer = bring(file, &expected, &directory, &session.path("blob")?, &*meter)?;
    drop(meter);
    let blob = layer.blob.take().context("the blob was not kept")?;

    let config = configuration(layer.diff_id.as_ref(), options, path)?;
    let descriptor = Descriptor::new(blob.media_type.clone(), blob.size, blob.digest.clone());
    let names: Vec<Reference> = reference.into_iter().cloned().collect();
    let image = prepared(names, config, None, vec![descriptor])?;
    let mut assembly = Assembly::new(store, &session);
    assembly.add(layer);
    let _lock = store.lock_shared()?;
    place_blob(store, &blob)?;
    assembly.stack(&image.layers)?;
    assembly.place()?;
    place_bytes(store, &session, &image.config.0, &image.config.1)?;
    place_bytes(store, &session, &image.manifest.0, &image.manifest.1)?;
    store.layout().update(|descriptors| {
        let (digest, bytes) = &image.manifest;
        let size = bytes.len() as u64;
        let descriptor = Descriptor::new(image.media_type.clone(), size, digest.clone());
        store::list(descriptors, &descriptor, &image.names, source);
        Ok(())
    })?;
    store.by_manifest(&image.manifest.0)
}

/// The configuration of an image of one layer.
fn configuration(diff_id: &str, options: &ImportOptions, path: &Path) -> Result<Vec<u8>> {
    let host = Platform::host();
    let platform = options.platform.as_ref().unwrap_or(&host);
    let name = path.file_name().and_then(|name| name.to_str());
    let from = name.unwrap_or("-");
    let comment = match &options.message {
        Some(message) => message.clone(),
        None => format!("Imported from {from}"),
    };
    let mut config = json!({
        "created": options.created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": apply(&options.changes)?,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": options.created, "comment": comment }],
    });
    if !platform.variant.is_empty() {
        config["variant"] = json!(platform.variant);
    }
    let bytes = serde_json::to_vec(&config)?;
    // What is written must be readable again.
    serde_json::from_slice::<ImageConfiguration>(&bytes).context("the configuration")?;
    Ok(bytes)
}
