//! An image of another one and a further layer.

use std::io::Read;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use serde_json::{Map, Value, json};

use super::assemble::Assembly;
use super::layer::{Expected, bring};
use super::load::{place_blob, place_bytes, prepared};
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::store::{self, Image, LayerInfo, Store};

/// What the new image says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// The configuration of the image that it stands on, as it was written.
    pub base: Value,
    /// Its `config` object.
    pub config: Map<String, Value>,
    /// Who made it.
    pub author: Option<String>,
    /// What the history says.
    pub message: Option<String>,
    /// What ran, for the history.
    pub command: String,
    /// When it is made, in RFC 3339.
    pub created: String,
}

/// Makes an image of the layers `below` and one more, the tar `layer`, and
/// gives it `names`. Without layers below it forgets their history.
pub fn commit(
    store: &Store,
    layer: impl Read + Send,
    below: &[LayerInfo],
    about: About,
    names: &[Reference],
    progress: &dyn Progress,
) -> Result<Image> {
    let _lock = store.lock_shared()?;
    let layer = put_layer(store, layer, below, progress)?;
    let config = configuration(layer.diff_id.as_ref(), below, about)?;
    let layers: Vec<LayerInfo> = below.iter().cloned().chain([layer]).collect();
    put_image(store, config, &layers, names)
}

/// Brings the tar `source` in as a layer on those `below`. Nothing names it yet: the
/// caller, who holds the store's lock, shared, sees to that before he lets go.
///
/// # Errors
/// The tar is damaged, or more than there is room for.
pub fn put_layer(
    store: &Store,
    source: impl Read + Send,
    below: &[LayerInfo],
    progress: &dyn Progress,
) -> Result<LayerInfo> {
    let session = store.session()?;
    let expected = Expected {
        keep_blob: true,
        need_end: true,
        flavour: store.flavour().clone(),
        ..Expected::default()
    };
    let meter = progress.begin("layer", None);
    let directory = session.path("layer")?;
    let blob = session.path("blob")?;
    let mut layer = bring(source, &expected, &directory, &blob, &*meter)?;
    drop(meter);
    let blob = layer.blob.take().context("the blob was not kept")?;
    let info = LayerInfo {
        chain_id: store::chain_id(below.last().map(|below| &below.chain_id), &layer.diff_id),
        diff_id: layer.diff_id.clone(),
        blob: blob.digest.clone(),
        size: blob.size,
        media_type: blob.media_type.clone(),
        urls: Vec::new(),
    };
    let stack: Vec<LayerInfo> = below.iter().cloned().chain([info.clone()]).collect();
    let mut assembly = Assembly::new(store, &session);
    assembly.add(layer);
    place_blob(store, &blob)?;
    assembly.stack(&stack)?;
    assembly.place()?;
    Ok(info)
}

/// Writes the image of a configuration and of layers that are in the store, and lists it
/// under `names`. The caller holds the store's lock, shared.
///
/// # Errors
/// Both do not agree on the layers.
pub fn put_image(
    store: &Store,
    config: Vec<u8>,
    layers: &[LayerInfo],
    names: &[Reference],
) -> Result<Image> {
    let session = store.session()?;
    let descriptors = layers.iter().map(descriptor).collect();
    let image = prepared(names.to_vec(), config, None, descriptors)?;
    place_bytes(store, &session, &image.config.0, &image.config.1)?;
    place_bytes(store, &session, &image.manifest.0, &image.manifest.1)?;
    store.layout().update(|descriptors| {
        let (digest, bytes) = &image.manifest;
        let size = bytes.len() as u64;
        let descriptor = Descriptor::new(image.media_type.clone(), size, digest.clone());
        store::list(descriptors, &descriptor, &image.names, None);
        Ok(())
    })?;
    store.by_manifest(&image.manifest.0)
}

/// A layer as an OCI manifest names it.
fn descriptor(layer: &LayerInfo) -> Descriptor {
    let media_type = match layer.media_type.to_string().as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => MediaType::ImageLayerGzip,
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::ImageLayer,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::ImageLayerZstd,
        _ => layer.media_type.clone(),
    };
    let mut descriptor = Descriptor::new(media_type, layer.size, layer.blob.clone());
    if !layer.urls.is_empty() {
        descriptor.set_urls(Some(layer.urls.clone()));
    }
    descriptor
}

fn configuration(diff_id: &str, below: &[LayerInfo], about: About) -> Result<Vec<u8>> {
    let mut config = about.base;
    let fields = config.as_object_mut().context("the configuration")?;
    // Docker's notes about the container that the base was made of.
    for old in [
        "container",
        "container_config",
        "docker_version",
        "id",
        "parent",
    ] {
        fields.remove(old);
    }
    // An image may do without; what is made here is for this machine.
    let host = Platform::host();
    for (key, own) in [("os", host.os), ("architecture", host.architecture)] {
        let said = fields.get(key).and_then(Value::as_str);
        if said.is_none_or(str::is_empty) {
            fields.insert(key.into(), json!(own));
        }
    }
    let mut history = match below {
        [] => Vec::new(),
        _ => {
            let history = fields.get("history").and_then(Value::as_array);
            history.cloned().unwrap_or_default()
        }
    };
    let mut entry = json!({
        "created": about.created,
        "created_by": about.command,
    });
    if let Some(author) = about.author {
        entry["author"] = json!(author);
        fields.insert("author".into(), json!(author));
    }
    if let Some(message) = about.message {
        entry["comment"] = json!(message);
    }
    history.push(entry);
    let diff_ids = below.iter().map(|layer| layer.diff_id.to_string());
    let diff_ids: Vec<String> = diff_ids.chain([diff_id.to_owned()]).collect();
    fields.insert("created".into(), json!(about.created));
    fields.insert("history".into(), json!(history));
    let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
    fields.insert("rootfs".into(), rootfs);
    fields.insert("config".into(), Value::Object(about.config));
    let bytes = serde_json::to_vec(&config)?;
    // What is written must be readable again.
    serde_json::from_slice::<ImageConfiguration>(&bytes).context("the configuration")?;
    Ok(bytes)
}
