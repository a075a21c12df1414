//! What can stand where an image is expected: a name in the store, or an
//! archive or directory in place.

use crate::error::{demand, refusal, refuse};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{self, Files, Found, Wanted};
use super::budget::Budget;
use super::import::{ImportOptions, import_as};
use super::load::{How, Naming, bring_in};
use super::platform::Platform;
use super::progress::Progress;
use super::session::Session;
use super::store::{Image, Store};

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A name, id or digest in the store.
    Store(String),
    /// `docker-archive:PATH[:NAME]`
    DockerArchive {
        /// The tar.
        path: PathBuf,
        /// Which image of several.
        name: Option<String>,
    },
    /// `oci-archive:PATH[:TAG]`
    OciArchive {
        /// The tar.
        path: PathBuf,
        /// Which image of several.
        tag: Option<String>,
    },
    /// `oci:DIR[:TAG]`
    OciDir {
        /// The directory.
        path: PathBuf,
        /// Which image of several.
        tag: Option<String>,
    },
    /// `tar:PATH`: a root file system.
    Tar(PathBuf),
    /// `dir:PATH`: a root file system, used in place.
    Dir(PathBuf),
}

/// What a [`Source`] turned out to be.
#[derive(Debug)]
pub enum Resolved {
    /// An image in the store.
    Image(Box<Image>),
    /// A plain directory.
    Directory(PathBuf),
}

impl Source {
    /// Reads a source. A prefix that is none of the known ones belongs to a
    /// name (`host:5000/x`).
    pub fn parse(text: &str) -> Result<Source> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(Source::Store(text.to_owned()));
        };
        let known = ["docker-archive", "oci-archive", "oci", "tar", "dir"];
        // `oci:latest` is the tag of an image called oci, unless it is there.
        if !known.contains(&kind)
            || (kind == "oci" || kind == "tar" || kind == "dir")
                && !rest.contains('/')
                && !Path::new(split_tag(rest).0).exists()
        {
            return Ok(Source::Store(text.to_owned()));
        }
        demand!(Invalid, !rest.is_empty(), "{kind}: needs a path");
        let (path, tag) = split_tag(rest);
        let (path, tag) = (PathBuf::from(path), tag.map(str::to_owned));
        Ok(match kind {
            "docker-archive" => Source::DockerArchive { path, name: tag },
            "oci-archive" => Source::OciArchive { path, tag },
            "oci" => Source::OciDir { path, tag },
            "tar" => Source::Tar(rest.into()),
            _ => Source::Dir(rest.into()),
        })
    }

    /// Whether finding the image may bring it into the store.
    pub fn is_archive(&self) -> bool {
        !matches!(self, Source::Store(_) | Source::Dir(_))
    }

    /// Finds the image, bringing it into the store (without a name) if it is
    /// in an archive. A file that was brought in before and did not change
    /// since is not read again. `created` is the time (RFC 3339) that an image
    /// made of a plain tar is given. None if the store does not have the name.
    pub fn resolve(
        &self,
        store: &Store,
        platform: Option<&Platform>,
        created: &str,
        progress: &dyn Progress,
    ) -> Result<Option<Resolved>> {
        let image = match self {
            Source::Store(name) => match store.find(name)? {
                Some(image) => image,
                None => return Ok(None),
            },
            Source::Dir(path) => {
                let path = path
                    .canonicalize()
                    .with_context(|| format!("dir:{}", path.display()))?;
                demand!(
                    Invalid,
                    path.is_dir(),
                    "dir:{} is not a directory",
                    path.display()
                );
                return Ok(Some(Resolved::Directory(path)));
            }
            Source::Tar(path) => tar(store, path, platform, created, progress)
                .with_context(|| format!("tar:{}", path.display()))?,
            Source::DockerArchive { path, name: tag }
            | Source::OciArchive { path, tag }
            | Source::OciDir { path, tag } => self
                .archive(store, path, tag.as_deref(), platform, progress)
                .with_context(|| format!("image in {}", path.display()))?,
        };
        Ok(Some(Resolved::Image(Box::new(image))))
    }

    /// The archive, and which image of it is meant.
    pub(super) fn files(&self, budget: Budget, session: &Session) -> Result<(Files, Option<&str>)> {
        let (files, tag) = match self {
            Source::OciDir { path, tag } => (Files::Directory(path.to_owned()), tag),
            Source::Dir(path) => (Files::Directory(path.to_owned()), &None),
            Source::DockerArchive { path, name: tag } | Source::OciArchive { path, tag } => {
                let file = archive::open_file(path)?;
                (Files::open(file, session, budget)?, tag)
            }
            Source::Store(_) | Source::Tar(_) => refuse!(Invalid, "it is no image archive"),
        };
        Ok((files, tag.as_deref()))
    }

    /// The one image of an archive that is meant, and the archive.
    pub(super) fn open(
        &self,
        platform: Option<&Platform>,
        budget: Budget,
        session: &Session,
    ) -> Result<(Files, Found)> {
        let (files, tag) = self.files(budget, session)?;
        let mut found = archive::images(&files, Wanted { platform, tag })?;
        match found.len() {
            0 if tag.is_some() => refuse!(NotFound, "there is no image with that name in it"),
            0 => refuse!(NotFound, "there is no image in it"),
            1 => {}
            // One image may have several names.
            _ if found.iter().all(|image| image.config == found[0].config) => {}
            _ => {
                let names = found.iter().flat_map(|image| &image.names);
                let names: Vec<String> = names.map(ToString::to_string).collect();
                refuse!(
                    Invalid,
                    "it holds several images, name one: {}",
                    names.join(", ")
                )
            }
        }
        Ok((files, found.swap_remove(0)))
    }

    fn archive(
        &self,
        store: &Store,
        path: &Path,
        tag: Option<&str>,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let marker = match self {
            Source::OciDir { .. } => path.join("index.json"),
            _ => path.to_owned(),
        };
        let source = identity(&marker, tag, platform)?;
        if let Some(image) = store.by_source(&source)? {
            return Ok(image);
        }
        let session = store.session()?;
        let budget = Budget::default();
        let (files, found) = self.open(platform, budget, &session)?;
        let how = How {
            naming: Naming::Source(&source),
            budget,
            progress,
        };
        let loaded = bring_in(store, &session, &files, vec![found], how)?;
        let loaded = loaded.into_iter().next();
        Ok(loaded
            .ok_or_else(|| refusal!(NotFound, "there is no image in it"))?
            .image)
    }
}

fn tar(
    store: &Store,
    path: &Path,
    platform: Option<&Platform>,
    created: &str,
    progress: &dyn Progress,
) -> Result<Image> {
    let source = identity(path, None, platform)?;
    if let Some(image) = store.by_source(&source)? {
        return Ok(image);
    }
    let options = ImportOptions {
        changes: Vec::new(),
        message: None,
        platform: platform.cloned(),
        created: created.to_owned(),
        budget: Budget::default(),
    };
    import_as(store, path, None, Some(&source), &options, progress)
}

/// Tells a file from another, and from itself after a change.
fn identity(path: &Path, tag: Option<&str>, platform: Option<&Platform>) -> Result<String> {
    let context = || format!("open {}", path.display());
    let metadata = fs::metadata(path).with_context(context)?;
    Ok(format!(
        "{}|{}|{}|{}|{}.{:09}|{}|{}",
        path.canonicalize().with_context(context)?.display(),
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        tag.unwrap_or_default(),
        platform.map(ToString::to_string).unwrap_or_default(),
    ))
}

/// Splits `PATH:TAG`. A path that exists as it is has no tag; a colon before
/// the last slash is part of the path, unless a name with slashes follows it.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    if Path::new(text).exists() {
        return (text, None);
    }
    for (at, _) in text.match_indices(':') {
        let (path, tag) = (&text[..at], &text[at + 1..]);
        if !tag.is_empty() && Path::new(path).exists() {
            return (path, Some(tag));
        }
    }
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => (path, Some(tag)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_names() {
        let store = |text: &str| Source::Store(text.to_owned());
        for text in [
            "deb",
            "deb:12",
            "host:5000/x",
            "oci:latest",
            "dir:1",
            "sha256:ab",
        ] {
            assert_eq!(Source::parse(text).unwrap(), store(text), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(
            Source::parse(&format!("oci:{path}:a/b:v1")).unwrap(),
            Source::OciDir {
                path: path.into(),
                tag: Some("a/b:v1".to_owned())
            }
        );
        assert_eq!(
            Source::parse("docker-archive:x.tar").unwrap(),
            Source::DockerArchive {
                path: "x.tar".into(),
                name: None
            }
        );
        assert_eq!(
            Source::parse("tar:/a:b").unwrap(),
            Source::Tar("/a:b".into())
        );
        assert!(Source::parse("oci-archive:").is_err());
    }
}
