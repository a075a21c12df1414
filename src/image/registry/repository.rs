//! What can be asked of a repository (OCI distribution specification 1.1,
//! "Pull" and "Content discovery").

use crate::error::{demand, refusal, refuse};
use anyhow::{Context, Result};
use oci_spec::image::MediaType;
use serde::Deserialize;
use ureq::http::Method;

use super::client::{Client, Repository};
use super::failure::Failure;
use super::http::{Answer, Call};
use super::manifest::{self, Document};
use super::url;
use crate::image::digest::{self, Digest};

/// Largest manifest that is read, in bytes: what registries accept.
const MAX_MANIFEST: u64 = 4 << 20;

/// Largest list of tags that is read at once, in bytes.
const MAX_TAGS: u64 = 4 << 20;

/// Pages of tags that are read.
const MAX_PAGES: usize = 1000;

/// A manifest as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// As written.
    pub bytes: Vec<u8>,
    /// Its digest, verified.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// What it says.
    pub document: Document,
}

impl Client {
    /// Fetches the manifest that a tag or digest means.
    pub fn manifest(&self, repository: &Repository, reference: &str) -> Result<Fetched> {
        let fetch = || {
            let mut call = request(
                Method::GET,
                &repository.url(&format!("manifests/{reference}")),
            )?;
            call.headers.push(("accept", manifest::ACCEPT.to_owned()));
            let answer = self.call(repository, "pull", None, &call)?;
            let media_type = answer.header("content-type").map(str::to_owned);
            let claimed = answer.header("docker-content-digest").map(str::to_owned);
            let bytes = answer.bytes("the manifest", MAX_MANIFEST)?;
            Ok((bytes, media_type, claimed))
        };
        let (bytes, media_type, claimed) = self.retry(fetch)?;
        let wanted = match reference.contains(':') {
            true => Some(reference),
            false => claimed.as_deref(),
        };
        let digest = match wanted {
            Some(wanted) => {
                let wanted = Digest::try_from(wanted).map_err(|error| {
                    refusal!(Unavailable, "the registry's digest {wanted:?}: {error}")
                })?;
                digest::verify("the manifest", &wanted, &bytes)?;
                wanted
            }
            None => digest::sha256(&bytes),
        };
        let (document, media_type) = manifest::read(&bytes, media_type.as_deref())?;
        Ok(Fetched {
            bytes,
            digest,
            media_type,
            document,
        })
    }

    /// The content of a small blob, verified.
    pub fn small_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let what = format!("blob {digest}");
        let bytes = self.retry(|| self.open_blob(repository, digest, 0)?.bytes(&what, limit))?;
        digest::verify(&what, digest, &bytes)?;
        Ok(bytes)
    }

    /// Asks once for a blob from the byte `offset` on. The answer may start at
    /// the first byte all the same (200 and not 206).
    pub fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
    ) -> Result<Answer, Failure> {
        let mut call = request(Method::GET, &repository.url(&format!("blobs/{digest}")))?;
        if offset > 0 {
            call.headers.push(("range", format!("bytes={offset}-")));
        }
        self.call(repository, "pull", None, &call)
    }

    /// The same of a blob that the registry does not have, at one of its `urls`.
    /// Whoever sends it there is told nothing of who we are.
    pub fn open_elsewhere(
        &self,
        repository: &Repository,
        urls: &[String],
        offset: u64,
    ) -> Result<Answer, Failure> {
        let mut failed = None;
        for url in urls {
            let mut call = request(Method::GET, url)?;
            if offset > 0 {
                call.headers.push(("range", format!("bytes={offset}-")));
            }
            match self.call_foreign(repository, &call) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failed = Some(failure),
            }
        }
        Err(failed.unwrap_or_else(|| Failure::Refused("it has no place".to_owned())))
    }

    /// All tags.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<String>> {
        let mut tags = Vec::new();
        let mut page = repository.url("tags/list?n=1000");
        for _ in 0..MAX_PAGES {
            let fetch = || {
                let call = request(Method::GET, &page)?;
                let answer = self.call(repository, "pull", None, &call)?;
                let next = answer.header("link").and_then(next_page);
                let next = next.map(|next| url::join(&answer.url, &next));
                Ok((answer.bytes("the list of tags", MAX_TAGS)?, next))
            };
            let (bytes, next) = self.retry(fetch)?;
            let list: TagList = serde_json::from_slice(&bytes).context("the list of tags")?;
            tags.extend(list.tags.unwrap_or_default());
            match next {
                Some(next) => page = next.context("the next page of tags")?.to_string(),
                None => return Ok(tags),
            }
        }
        refuse!(Unavailable, "the registry lists tags without end")
    }
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// The URL in `Link: <URL>; rel="next"` (RFC 8288).
fn next_page(header: &str) -> Option<String> {
    let (url, parameters) = header.trim().strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| url.to_owned())
}

/// A request without a body to a URL that we put together.
pub fn request(method: Method, text: &str) -> Result<Call, Failure> {
    let url = url::parse(text).map_err(|error| Failure::Refused(format!("{error:#}")))?;
    Ok(Call::new(method, url))
}

/// Fails unless an answer to a request from `offset` on starts there; true if
/// it starts at the first byte instead.
pub fn starts_over(answer: &Answer, offset: u64) -> Result<bool> {
    match answer.code() {
        200 => Ok(offset > 0),
        206 => {
            let range = answer.header("content-range").unwrap_or_default();
            let start = range.strip_prefix("bytes ").and_then(|range| {
                let (start, _) = range.split_once('-')?;
                start.trim().parse::<u64>().ok()
            });
            demand!(
                Unavailable,
                start == Some(offset),
                "the registry sends another part than was asked for ({range:?})"
            );
            Ok(false)
        }
        code => refuse!(
            Unavailable,
            "the registry does not send the rest (status {code})"
        ),
    }
}
