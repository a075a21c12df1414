//! What registries send as manifests: images and indexes, OCI's and docker's
//! (schema 2). Everything else is refused, by its name.
//!
//! Pure: no files, no clock.

use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

use super::failure::clean;

/// OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What we can read, for `Accept`.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest.
#[derive(Clone, Debug)]
pub enum Document {
    /// Of one image.
    Image(Box<ImageManifest>),
    /// A list of them, for several platforms.
    Index(Box<ImageIndex>),
}

/// The parts that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Typed>,
    layers: Option<Vec<Typed>>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: String,
}

/// Reads a manifest that came with the header `content_type`.
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<(Document, MediaType)> {
    let header = content_type.and_then(|text| text.split(';').next());
    let header = header.map(|text| text.trim().to_ascii_lowercase());
    let outline: Outline = serde_json::from_slice(bytes).context("parse the manifest")?;
    let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
    let header = header.filter(|header| known.contains(&header.as_str()));
    if let (Some(header), Some(own)) = (&header, &outline.media_type) {
        // The same bytes must mean the same to everybody.
        demand!(
            Unavailable,
            header == own,
            "the registry calls the manifest {header}, but it is {}",
            clean(own)
        );
    }
    if outline.schema_version == Some(1) {
        refuse!(
            Unsupported,
            "its manifest is of docker's old schema 1, which is not supported: push it anew"
        );
    }
    demand!(
        Unsupported,
        outline.schema_version == Some(2),
        "its manifest is of an unknown schema"
    );
    let is_index = outline.manifests.is_some();
    demand!(
        Unsupported,
        !is_index || outline.layers.is_none() && outline.config.is_none(),
        "its manifest is an index and an image at once"
    );
    let media_type = match header.or(outline.media_type) {
        Some(media_type) => media_type,
        None if is_index => OCI_INDEX.to_owned(),
        None => OCI_MANIFEST.to_owned(),
    };
    let document = match media_type.as_str() {
        OCI_INDEX | DOCKER_LIST => {
            let index = serde_json::from_slice(bytes).context("parse the index")?;
            Document::Index(Box::new(index))
        }
        OCI_MANIFEST | DOCKER_MANIFEST => {
            demand!(
                Unsupported,
                outline.config.is_some(),
                "its manifest has no configuration"
            );
            let manifest = serde_json::from_slice(bytes).context("parse the manifest")?;
            Document::Image(Box::new(manifest))
        }
        other => refuse!(Unsupported, "this is no image, but {}", clean(other)),
    };
    Ok((document, MediaType::from(media_type.as_str())))
}

/// Whether a layer stays where its manifest says that it is, and is not sent to
/// registries: its licence forbids that (OCI image specification 1.0, "Non-Distributable
/// Layers"; docker's "foreign" ones).
pub fn is_elsewhere(layer: &Descriptor) -> bool {
    let media_type = layer.media_type().to_string();
    let kinds = ["nondistributable", "foreign"];
    let urls = layer.urls().as_ref();
    urls.is_some_and(|urls| !urls.is_empty()) && kinds.iter().any(|kind| media_type.contains(kind))
}

/// Fails for what is stored in registries like an image, but is none: it can be
/// copied, and not be run.
pub fn check_image(bytes: &[u8]) -> Result<()> {
    let outline: Outline = serde_json::from_slice(bytes).context("parse the manifest")?;
    if let Some(config) = &outline.config {
        check_config(&config.media_type, outline.artifact_type.as_deref())?;
    }
    let mut layers = outline.layers.iter().flatten();
    layers.try_for_each(|layer| check_layer(&layer.media_type))
}

fn check_config(media_type: &str, artifact_type: Option<&str>) -> Result<()> {
    match media_type {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => Ok(()),
        _ => refuse!(
            Unsupported,
            "this is no container image, but an artifact of type {}: it cannot be run",
            clean(artifact_type.unwrap_or(media_type))
        ),
    }
}

/// Layers are tars, whatever they are called: what is unpacked shows it, and
/// podman takes them so too. Documents are none.
fn check_layer(media_type: &str) -> Result<()> {
    demand!(
        Unsupported,
        !media_type.ends_with("json"),
        "a layer is no tar, but {}: this is no container image",
        clean(media_type)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGE: &str = r#"{"schemaVersion":2,"config":{"mediaType":
        "application/vnd.oci.image.config.v1+json","size":2,"digest":
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"layers":[]}"#;

    #[test]
    fn images_and_indexes_are_told_apart() {
        let (document, media_type) = read(IMAGE.as_bytes(), None).unwrap();
        assert!(matches!(document, Document::Image(_)));
        assert_eq!(media_type, MediaType::ImageManifest);
        let docker = format!("{DOCKER_MANIFEST}; charset=x");
        let (_, media_type) = read(IMAGE.as_bytes(), Some(&docker)).unwrap();
        assert_eq!(media_type.to_string(), DOCKER_MANIFEST);
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let (document, _) = read(index, Some("text/plain")).unwrap();
        assert!(matches!(document, Document::Index(_)));
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        for (text, header, part) in [
            (r#"{"schemaVersion":1}"#, None, "schema 1"),
            (r#"{"schemaVersion":9}"#, None, "unknown schema"),
            (r#"{"schemaVersion":2}"#, None, "no configuration"),
            ("[]", None, "parse"),
            (
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
                None,
                "at once",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"x/y","manifests":[]}"#,
                Some(OCI_INDEX),
                "calls the manifest",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"x/y"}"#,
                None,
                "no image, but x/y",
            ),
            (
                r#"{"schemaVersion":2,"artifactType":"a/b","config":{"mediaType":"c/d"}}"#,
                None,
                "artifact of type a/b",
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},
                    "layers":[{"mediaType":"application/vnd.in-toto+json"}]}"#,
                None,
                "in-toto",
            ),
        ] {
            let bytes = text.as_bytes();
            let checked = check_image(bytes).and_then(|()| read(bytes, header).map(drop));
            let error = format!("{:#}", checked.unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes, None);
        }
    }
}
