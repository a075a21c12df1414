//! `push`: an image of the store into a registry (OCI distribution
//! specification 1.1, "Push").
//!
//! The bytes go as they are: what is pulled again has the same digests.

use crate::error::demand;
use std::collections::HashSet;
use std::fs::File;

use anyhow::{Context, Result};
use oci_spec::image::ImageManifest;
use ureq::http::Method;

use super::client::{Client, Repository};
use super::failure::Failure;
use super::http::{Call, Content};
use super::manifest::is_elsewhere;
use super::repository::request;
use super::url;
use crate::image::archive::Slice;
use crate::image::assemble::parallel_on;
use crate::image::digest::{self, Digest};
use crate::image::progress::{Meter, Progress};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};

/// Larger blobs are sent in pieces of this size, in bytes.
const CHUNK: u64 = 16 << 20;

/// What both requests of an upload may do.
const ACTIONS: &str = "pull,push";

/// A blob to be sent.
pub struct Blob<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Gets it, once it is known that it has to be sent: bytes or a file.
    pub open: Box<dyn Fn() -> Result<Content> + Send + Sync + 'a>,
    /// Repositories of the same registry that have it, as far as we know.
    pub elsewhere: Vec<String>,
}

/// Sends an image under the name `reference`; returns its manifest's digest.
pub fn push(
    store: &Store,
    client: &Client,
    image: &Image,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<Digest> {
    let push = || -> Result<Digest> {
        demand!(
            Invalid,
            reference.digest().is_none(),
            "a digest cannot be chosen: give a tag"
        );
        let repository = client.repository(&client.conf.home(reference)?)?;
        let (manifest, media_type) = store.manifest_bytes(image)?;
        let parsed: ImageManifest = serde_json::from_slice(&manifest)?;
        let mut seen = HashSet::new();
        let mut blobs = Vec::new();
        let layers = parsed.layers().iter().filter(|layer| !is_elsewhere(layer));
        let descriptors = layers.chain([parsed.config()]);
        for descriptor in descriptors.filter(|descriptor| seen.insert(descriptor.digest())) {
            let digest = descriptor.digest().clone();
            let path = store.layout().blob(&digest);
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            let slice = Slice::whole(file)?;
            let elsewhere = store.repositories_of(&digest, reference)?;
            blobs.push(Blob {
                digest,
                size: slice.length,
                elsewhere,
                open: Box::new(move || Ok(Content::Slice(slice.clone()))),
            });
        }
        send_blobs(client, &repository, &blobs, progress)?;
        let tag = reference.tag().unwrap_or("latest");
        send_manifest(client, &repository, tag, &manifest, media_type.as_ref())
    };
    push().with_context(|| format!("push {reference}"))
}

/// Sends blobs that the repository does not have.
pub fn send_blobs(
    client: &Client,
    repository: &Repository,
    blobs: &[Blob],
    progress: &dyn Progress,
) -> Result<()> {
    progress.expect(blobs.len(), blobs.iter().map(|blob| blob.size).sum());
    parallel_on(client.options.parallel, blobs, |blob| {
        let meter = progress.begin(digest::short(&blob.digest), Some(blob.size));
        send_blob(client, repository, blob, &*meter)
            .with_context(|| format!("blob {}", blob.digest))
    })?;
    Ok(())
}

/// Writes a manifest under a tag or digest.
pub fn send_manifest(
    client: &Client,
    repository: &Repository,
    reference: &str,
    bytes: &[u8],
    media_type: &str,
) -> Result<Digest> {
    let mut call = request(
        Method::PUT,
        &repository.url(&format!("manifests/{reference}")),
    )?;
    call.content = Content::Bytes(bytes.to_vec(), media_type.to_owned());
    let answer = client.retry(|| client.call(repository, ACTIONS, None, &call));
    let answer = answer.context("the manifest")?;
    let ours = digest::sha256(bytes);
    if let Some(theirs) = answer.header("docker-content-digest") {
        demand!(
            Unavailable,
            theirs == ours.as_ref(),
            "the registry made {theirs} of the manifest {ours}"
        );
    }
    Ok(ours)
}

fn send_blob(
    client: &Client,
    repository: &Repository,
    blob: &Blob,
    meter: &dyn Meter,
) -> Result<()> {
    let digest = &blob.digest;
    let head = request(Method::HEAD, &repository.url(&format!("blobs/{digest}")))?;
    let known = client.retry(|| match client.call(repository, ACTIONS, None, &head) {
        Ok(_) => Ok(true),
        Err(failure) if failure.code() == Some(404) => Ok(false),
        Err(failure) => Err(failure),
    })?;
    if known {
        meter.advance(blob.size);
        return Ok(());
    }
    let mut content = None;
    client.retry(|| {
        let Some(place) = begin(client, repository, blob)? else {
            meter.advance(blob.size);
            return Ok(());
        };
        let content = match &content {
            Some(content) => content,
            None => {
                let opened = (blob.open)().map_err(|error| match error.downcast::<Failure>() {
                    Ok(failure) => failure,
                    Err(error) => Failure::Refused(format!("{error:#}")),
                });
                content.insert(opened?)
            }
        };
        upload(client, repository, (blob, content), place, meter)
    })?;
    Ok(())
}

/// Where to send a blob; None if the registry took it from another repository.
fn begin(client: &Client, repository: &Repository, blob: &Blob) -> Result<Option<String>, Failure> {
    let start = repository.url("blobs/uploads/");
    for from in &blob.elsewhere {
        let with = url::with_query(&start, "mount", blob.digest.as_ref());
        let call = request(Method::POST, &url::with_query(&with, "from", from))?;
        // Whoever may not read there can still send the bytes.
        if let Ok(answer) = client.call(repository, ACTIONS, Some(from), &call) {
            return match answer.code() {
                201 => Ok(None),
                _ => location(&answer).map(Some),
            };
        }
    }
    let answer = client.call(repository, ACTIONS, None, &request(Method::POST, &start)?)?;
    location(&answer).map(Some)
}

/// Where the next request of an upload goes.
fn location(answer: &super::http::Answer) -> Result<String, Failure> {
    let refused = |why: String| Failure::Refused(format!("the registry's upload: {why}"));
    let location = answer.header("location");
    let location = location.ok_or_else(|| refused("it has no place".to_owned()))?;
    let url = url::join(&answer.url, location);
    Ok(url
        .map_err(|error| refused(format!("{error:#}")))?
        .to_string())
}

/// Sends a blob's bytes: a small one at once, a large one in pieces.
fn upload(
    client: &Client,
    repository: &Repository,
    (blob, content): (&Blob, &Content),
    mut place: String,
    meter: &dyn Meter,
) -> Result<(), Failure> {
    let mut last = content.clone();
    if let Content::Slice(slice) = content
        && blob.size > CHUNK
    {
        let mut offset = 0;
        while offset < blob.size {
            let length = CHUNK.min(blob.size - offset);
            let range = format!("{offset}-{}", offset + length - 1);
            let call = Call {
                content: Content::Slice(slice.part(offset, length)),
                headers: vec![("content-range", range)],
                ..request(Method::PATCH, &place)?
            };
            place = location(&client.call(repository, ACTIONS, None, &call)?)?;
            offset += length;
            meter.advance(length);
        }
        last = Content::None;
    } else {
        meter.advance(blob.size);
    }
    let end = url::with_query(&place, "digest", blob.digest.as_ref());
    let call = Call {
        content: last,
        ..request(Method::PUT, &end)?
    };
    client.call(repository, ACTIONS, None, &call)?;
    Ok(())
}
