//! A file of an ordinary web server, with the trust, the proxies and the patience that
//! registries get.

use super::failure::Failure;
use super::http::{Call, Http};
use super::url;
use crate::error::refuse;
use crate::image::digest::Hasher;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;
use ureq::http::Method;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of a file.
const MOST: u64 = 64 << 30;

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the server calls it, else the last part of the address; empty if that has none.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its sha256 digest, as `sha256:…`.
    pub digest: String,
    /// When it was changed, in seconds since 1970, if the server says so.
    pub modified: Option<i64>,
}

/// Fetches the file at `address` (http or https) into `out`.
///
/// # Errors
/// The server cannot be reached or trusted, or has no such file.
pub fn fetch(address: &str, out: &mut File) -> Result<Fetched> {
    let url = url::parse(address)?;
    let http = Http::new(PATIENCE, None);
    let answer = http.send(&Call::new(Method::GET, url), false)?;
    if answer.code() != 200 {
        refuse!(
            Unavailable,
            "the server answers with status {}",
            answer.code()
        );
    }
    let disposition = answer.header("content-disposition").and_then(named);
    let modified = answer.header("last-modified").and_then(|text| {
        let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
        Some(date.timestamp().as_second())
    });
    let name = disposition.unwrap_or_else(|| last(answer.url.path()));
    let mut body = answer.response.into_body().into_reader();
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        let broken = |error: std::io::Error| Failure::Broken(format!("it breaks off: {error}"));
        let count = body.read(&mut buffer).map_err(broken)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > MOST {
            refuse!(Invalid, "it is larger than {MOST} bytes");
        }
        hasher.update(&buffer[..count]);
        out.write_all(&buffer[..count]).context("write it")?;
    }
    Ok(Fetched {
        name,
        size,
        digest: hasher.finish().to_string(),
        modified,
    })
}

/// The last part of a path, if it can be a file's name.
fn last(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        "." | ".." => String::new(),
        name => name.to_owned(),
    }
}

/// The name in a Content-Disposition (RFC 6266), without what would lead elsewhere.
fn named(disposition: &str) -> Option<String> {
    let (_, rest) = disposition.split_once("filename=")?;
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([';', ' ']).next()?,
    };
    Some(last(name)).filter(|name| !name.is_empty() && !name.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for (path, name) in [("/a/b.txt", "b.txt"), ("/a/", ""), ("/a/..", ""), ("", "")] {
            assert_eq!(last(path), name, "{path}");
        }
        for (text, name) in [
            ("attachment; filename=\"a b.txt\"; x=y", Some("a b.txt")),
            ("attachment; filename=a.txt; x=y", Some("a.txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"..\"", None),
            ("inline", None),
        ] {
            assert_eq!(named(text).as_deref(), name, "{text}");
        }
    }
}
