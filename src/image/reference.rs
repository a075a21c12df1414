//! Image references: `[domain/]path[:tag][@digest]`.
//!
//! The grammar is that of the distribution project's `reference` package. A
//! name is normalised as docker does it: without a domain it belongs to
//! `docker.io`, and there without a directory to `library/`. So `deb` is short
//! for `docker.io/library/deb:latest`, and that is what is stored; people are
//! shown the familiar form `deb:latest`. `localhost/deb` is a different image,
//! as it is for docker; [`Reference::local`] makes it from the short name,
//! because podman and buildah put what they build there.
//!
//! Pure: no files, no clock.

use crate::error::{demand, refusal, refuse};
use std::fmt;
use std::str::FromStr;

use anyhow::Result;

use super::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// The registry, as `docker.io` or `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry, as `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<Digest> {
        let digest = self.digest.as_deref()?;
        Some(Digest::try_from(digest).expect("checked when parsed"))
    }

    /// The same, with the tag `latest` if it has neither tag nor digest.
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// What an image is stored under: with a digest, the tag says nothing.
    pub fn stored(mut self) -> Reference {
        if self.digest.is_some() {
            self.tag = None;
        }
        self.or_latest()
    }

    /// The same repository with another tag; an error if that is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        Ok(Reference {
            tag: Some(check_tag(tag)?),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository with a digest in place of a tag.
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference {
            tag: None,
            digest: Some(digest.to_string()),
            ..self.clone()
        }
    }

    /// The same tag and digest in another repository.
    pub fn at(&self, domain: &str, path: &str) -> Reference {
        Reference {
            domain: domain.to_owned(),
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// The name without tag and digest, in the familiar form: `debian`.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            // What is left away must not change the meaning of the rest:
            // "library/a/b" needs its directory, "docker.io/a.b/c" its domain.
            match self.path.strip_prefix(OFFICIAL) {
                Some(rest) if !rest.contains('/') && !is_id(rest) => return rest.to_owned(),
                _ if split_domain(&self.path).1 == self.path => return self.path.clone(),
                _ => {}
            }
        }
        format!("{}/{}", self.domain, self.path)
    }

    /// The form that people write and read: `debian:12`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The full form, which is stored: `docker.io/library/debian:12`.
    pub fn canonical(&self) -> String {
        self.with_suffix(format!("{}/{}", self.domain, self.path))
    }

    /// What the short name means to podman and buildah for images made on this
    /// machine: `localhost/deb:latest` for `deb:latest`. None if the name has
    /// a domain or a directory of its own.
    pub fn local(&self) -> Option<Reference> {
        let name = self.familiar_name();
        (!name.contains('/')).then(|| Reference {
            domain: "localhost".to_owned(),
            path: name,
            ..self.clone()
        })
    }

    fn with_suffix(&self, mut text: String) -> String {
        for (mark, part) in [(':', &self.tag), ('@', &self.digest)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Reference> {
        parse(text).map_err(|why| refusal!(Invalid, "invalid reference {text:?}: {why}"))
    }
}

/// Whether a name as somebody wrote it says which registry it is of.
pub fn has_domain(text: &str) -> bool {
    let name = text.split('@').next().unwrap_or_default();
    split_domain(name).1.len() < name.len()
}

fn parse(text: &str) -> Result<Reference> {
    demand!(Invalid, !text.is_empty(), "it is empty");
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(check_digest(digest)?)),
        None => (text, None),
    };
    // A colon behind the last slash is a tag's; one before it is a port's.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (rest, None),
    };
    demand!(Invalid, !name.is_empty(), "it has no name");
    demand!(
        Invalid,
        !is_id(name),
        "64 hexadecimal digits are an image id"
    );
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    demand!(Invalid, !path.is_empty(), "it has no name");
    for component in path.split('/') {
        check_component(component)?;
    }
    demand!(
        Invalid,
        domain.len() + 1 + path.len() <= MAX_NAME,
        "the name is longer than {MAX_NAME} characters"
    );
    Ok(Reference {
        domain: domain.to_owned(),
        path,
        tag,
        digest,
    })
}

/// Whether this is an image's id and cannot be a name.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(is_lower_hex)
}

/// Splits off what can only be a domain: it has a dot, a colon or a capital
/// letter, or is `localhost`.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            match first {
                "index.docker.io" => (DEFAULT_DOMAIN, rest),
                _ => (first, rest),
            }
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn check_domain(domain: &str) -> Result<()> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                refuse!(Invalid, "the address in {domain:?} is not closed");
            };
            demand!(
                Invalid,
                !address.is_empty()
                    && address
                        .bytes()
                        .all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
                "{address:?} is no IPv6 address"
            );
            match port.strip_prefix(':') {
                Some(port) => ("", Some(port)),
                None if port.is_empty() => ("", None),
                None => refuse!(Invalid, "{port:?} follows the address"),
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    if let Some(port) = port {
        demand!(
            Invalid,
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
            "{port:?} is no port number"
        );
    }
    if domain.starts_with('[') {
        return Ok(());
    }
    for label in host.split('.') {
        demand!(
            Invalid,
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{domain:?} is no host name"
        );
    }
    Ok(())
}

/// `[a-z0-9]+` parts joined by `.`, `_`, `__` or any number of `-`.
fn check_component(component: &str) -> Result<()> {
    demand!(
        Invalid,
        !component.bytes().any(|byte| byte.is_ascii_uppercase()),
        "the name must be in lower case"
    );
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = component.bytes().next().is_some_and(is_word)
        && component.bytes().last().is_some_and(is_word)
        && component
            .bytes()
            .all(|byte| is_word(byte) || b"._-".contains(&byte))
        && component
            .split(|c: char| c.is_ascii_alphanumeric())
            .all(|gap| {
                matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-')
            });
    demand!(
        Invalid,
        well_formed,
        "{component:?} cannot be part of a name"
    );
    Ok(())
}

fn check_tag(tag: &str) -> Result<String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    demand!(
        Invalid,
        tag.len() <= MAX_TAG
            && tag.bytes().next().is_some_and(is_word)
            && tag
                .bytes()
                .all(|byte| is_word(byte) || byte == b'.' || byte == b'-'),
        "{tag:?} cannot be a tag"
    );
    Ok(tag.to_owned())
}

fn check_digest(digest: &str) -> Result<String> {
    let parsed =
        Digest::try_from(digest).map_err(|error| refusal!(Invalid, "{digest:?}: {error}"))?;
    demand!(
        Invalid,
        parsed.digest().len() >= 32 && parsed.digest().bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{digest:?} cannot be a digest"
    );
    Ok(digest.to_owned())
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn both(text: &str) -> (String, String) {
        let reference: Reference = text.parse().unwrap();
        (reference.familiar(), reference.canonical())
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        let hex = &DIGEST[7..];
        for (text, familiar, canonical) in [
            ("deb", "deb", "docker.io/library/deb"),
            ("deb:12", "deb:12", "docker.io/library/deb:12"),
            ("library/deb", "deb", "docker.io/library/deb"),
            ("me/deb", "me/deb", "docker.io/me/deb"),
            ("docker.io/deb", "deb", "docker.io/library/deb"),
            ("index.docker.io/me/deb", "me/deb", "docker.io/me/deb"),
            ("localhost/deb", "localhost/deb", "localhost/deb"),
            ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
            ("host:5000/x:y", "host:5000/x:y", "host:5000/x:y"),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("Upper/x", "Upper/x", "Upper/x"),
            ("docker.io/a.b/c", "docker.io/a.b/c", "docker.io/a.b/c"),
            (
                &format!("library/{hex}"),
                &format!("library/{hex}"),
                &format!("docker.io/library/{hex}"),
            ),
            (
                "docker.io/library/a/b",
                "library/a/b",
                "docker.io/library/a/b",
            ),
        ] {
            assert_eq!(
                both(text),
                (familiar.to_owned(), canonical.to_owned()),
                "{text}"
            );
        }
        let pinned: Reference = format!("deb@{DIGEST}").parse().unwrap();
        assert_eq!(pinned.digest().unwrap().as_ref(), DIGEST);
        assert_eq!(pinned.clone().or_latest(), pinned);
        let local = "deb:1".parse::<Reference>().unwrap().local().unwrap();
        assert_eq!(local.canonical(), "localhost/deb:1");
        assert!("a/b".parse::<Reference>().unwrap().local().is_none());
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            ":tag",
            "Deb",
            "a//b",
            "/a",
            "a/",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "a:-t",
            "a:",
            "a@sha256:12",
            "a@b",
            "host:x/y",
            "-host.x/y",
            "[::1/x",
            "[zz]/x",
            "a b",
            "é",
            "../x",
            &"a".repeat(256),
            &format!("a:{}", "t".repeat(129)),
            &DIGEST[7..],
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        let error = "Deb".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("lower case"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Reference>();
        }

        /// Whatever is accepted means the same when either of its written
        /// forms is read again.
        #[test]
        fn written_forms_read_back(
            text in "(([a-zA-Z0-9.-]{1,8}(:[0-9]{1,4})?)/)?[a-z0-9._-]{1,6}(/[a-z0-9_]{1,4}){0,2}(:[a-zA-Z0-9_.-]{1,5})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.canonical().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }
    }
}
