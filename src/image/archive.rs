//! Images in files that other tools wrote: docker-archive (`docker save`), OCI
//! layouts in a directory or a tar.
//!
//! A docker-archive is described by `manifest.json`, an OCI layout by
//! `index.json`. Newer dockers write both into one tar; then `manifest.json`
//! counts, since it has the names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::budget::{Budget, Tally};
use super::compress::{self, Compression};
use super::digest::{self, Digest};
use super::entry::{self, Kind};
use super::index::{self, MAX_NESTING, check_platform, configuration};
use super::layer::copy_plain;
use super::layout;
use super::platform::Platform;
use super::reference::Reference;
use super::registry::manifest::{self, Document};
use super::session::Session;
use super::store::is_manifest;
use super::tarball::{Members, Skip};

/// Largest manifest, index or configuration that is read, in bytes.
pub const MAX_JSON: u64 = 8 << 20;

/// The files of an archive: in a directory, or members of a tar.
#[derive(Debug)]
pub enum Files {
    /// A directory.
    Directory(PathBuf),
    /// A plain tar that can be read at any place.
    Tar {
        /// The tar.
        file: Arc<File>,
        /// Its files by cleaned path.
        members: HashMap<Vec<u8>, MemberData>,
    },
}

/// Where a tar member's data is.
#[derive(Debug)]
pub enum MemberData {
    /// In these bytes of the tar.
    Data {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// In another member: older dockers write a layer that occurs twice as a
    /// link.
    SameAs(Vec<u8>),
}

/// Part of a file, readable from its start.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The file.
    pub file: Arc<File>,
    /// The next byte.
    pub position: u64,
    /// Bytes left.
    pub length: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.length).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if n == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(kind, "the archive is truncated"));
        }
        self.position += n as u64;
        self.length -= n as u64;
        Ok(n)
    }
}

impl Files {
    /// The files of the tar `file`. One that is compressed or comes through a
    /// pipe is first copied, plain, to a temporary place, since its parts are
    /// needed in another order than they come.
    pub fn open(mut file: File, session: &Session, budget: Budget) -> Result<Files> {
        let can_seek = file.metadata()?.is_file() && file.stream_position()? == 0;
        let (compression, source) = compress::peek(file.try_clone()?)?;
        if !can_seek || compression != Compression::None {
            let path = session.path("archive")?;
            let mut options = File::options();
            let options = options.read(true).write(true).create_new(true);
            let mut plain = options.open(&path)?;
            let copied = copy_plain(budget, compression, source, &mut plain);
            copied.context("unpack the archive")?;
            file = plain;
        }
        let file = Arc::new(file);
        let members = members(&file, budget)?;
        Ok(Files::Tar { file, members })
    }

    /// Opens a file; None if there is none.
    pub fn get(&self, path: &str) -> Result<Option<Slice>> {
        match self {
            Files::Directory(directory) => {
                let path = directory.join(path);
                let file = match File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => {
                        return Err(error).with_context(|| format!("open {}", path.display()));
                    }
                };
                let metadata = file.metadata()?;
                demand!(
                    Invalid,
                    metadata.is_file(),
                    "{} is not a file",
                    path.display()
                );
                Ok(Some(Slice {
                    file: Arc::new(file),
                    position: 0,
                    length: metadata.len(),
                }))
            }
            Files::Tar { file, members } => {
                let mut path = entry::clean(path.as_bytes())?;
                // A chain of links longer than this is a loop.
                for _ in 0..8 {
                    match members.get(&path) {
                        None => return Ok(None),
                        Some(MemberData::SameAs(other)) => path = other.clone(),
                        Some(&MemberData::Data { offset, length }) => {
                            return Ok(Some(Slice {
                                file: file.clone(),
                                position: offset,
                                length,
                            }));
                        }
                    }
                }
                refuse!(
                    NotFound,
                    "{} is a link that leads nowhere",
                    entry::show(&path)
                )
            }
        }
    }

    /// The content of a small file; None if there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut slice) = self.get(path)? else {
            return Ok(None);
        };
        demand!(
            Invalid,
            slice.length <= MAX_JSON,
            "{path} is too large ({} bytes)",
            slice.length
        );
        let mut bytes = Vec::new();
        let context = || format!("read {path}");
        slice.read_to_end(&mut bytes).with_context(context)?;
        Ok(Some(bytes))
    }

    fn must_read(&self, path: &str) -> Result<Vec<u8>> {
        let bytes = self.read(path)?;
        bytes.with_context(|| format!("the archive has no {path}"))
    }

    /// The verified content of a small blob of an OCI layout.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.must_read(&blob_path(digest))?;
        digest::verify(&format!("blob {digest}"), digest, &bytes)?;
        Ok(bytes)
    }
}

/// What a tag or name means in an OCI layout, an image or an index; without
/// one, its only entry.
pub fn entry(files: &Files, tag: Option<&str>) -> Result<Descriptor> {
    let index = files.read("index.json")?;
    let index = index.context("it has no index.json: it is no OCI layout")?;
    let index: ImageIndex = parse("index.json", &index)?;
    let mut meant: Vec<&Descriptor> = Vec::new();
    for descriptor in index.manifests() {
        let wanted = |tag| names(descriptor).any(|name| name_matches(name, tag));
        let known = meant.iter().any(|m| m.digest() == descriptor.digest());
        if tag.is_none_or(wanted) && !known {
            meant.push(descriptor);
        }
    }
    match meant[..] {
        [] => refuse!(NotFound, "there is nothing of that name in it"),
        [descriptor] => Ok(descriptor.clone()),
        _ => {
            let names: Vec<&str> = index.manifests().iter().flat_map(names).collect();
            refuse!(
                Invalid,
                "it holds several images, name one: {}",
                names.join(", ")
            )
        }
    }
}

/// What a descriptor of an OCI layout is called: in full, then short.
fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    let keys = ["io.containerd.image.name", layout::REF_NAME];
    let names = keys.map(|key| layout::annotation(descriptor, key));
    names.into_iter().flatten()
}

/// Where an OCI layout has a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.digest())
}

/// A tar read by seeking.
struct Seeking {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Read for Seeking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Skip for Seeking {
    fn skip(&mut self, count: u64) -> io::Result<bool> {
        match self.position.checked_add(count) {
            Some(position) if position <= self.length => {
                self.position = position;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Lists a plain tar.
fn members(file: &Arc<File>, budget: Budget) -> Result<HashMap<Vec<u8>, MemberData>> {
    let seeking = Seeking {
        file: file.clone(),
        position: 0,
        length: file.metadata()?.len(),
    };
    let mut tar = Members::new(seeking, budget);
    let mut kept = Tally::new(budget);
    let mut members = HashMap::new();
    while let Some(entry) = tar.next()? {
        let place = match entry.kind {
            Kind::File if entry.pieces.is_none() => MemberData::Data {
                offset: tar.position(),
                length: entry.size,
            },
            Kind::Link(target) => MemberData::SameAs(target),
            Kind::Symlink(target) => {
                let parent = entry::split(&entry.path).map_or(&b""[..], |(parent, _)| parent);
                match beside(parent, &target) {
                    Some(path) => MemberData::SameAs(path),
                    None => continue,
                }
            }
            _ => continue,
        };
        kept.keep(entry.path.len())?;
        members.insert(entry.path, place);
    }
    Ok(members)
}

/// Where a relative link in directory `parent` points, as `../ID/layer.tar`.
fn beside(parent: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<&[u8]> = parent.split(|byte| *byte == b'/').collect();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(path.pop()?),
            name => path.push(name),
        }
    }
    entry::clean(&path.join(&b'/')).ok()
}

/// An image that was found in an archive.
#[derive(Debug)]
pub struct Found {
    /// Its names; often none.
    pub names: Vec<Reference>,
    /// The configuration, as written, verified.
    pub config: Vec<u8>,
    /// The same, parsed.
    pub parsed: ImageConfiguration,
    /// The manifest as written, verified, with its media type; a
    /// docker-archive has none.
    pub manifest: Option<(Vec<u8>, MediaType)>,
    /// The layers, the bottom one first.
    pub layers: Vec<FoundLayer>,
}

/// A layer of an image in an archive.
#[derive(Clone, Debug)]
pub struct FoundLayer {
    /// Its file.
    pub path: String,
    /// What a manifest says of the blob: digest, size, media type.
    pub blob: Option<Descriptor>,
    /// Digest of the plain tar, by the configuration.
    pub diff_id: Digest,
}

impl FoundLayer {
    /// Its file among those of the archive.
    pub fn open(&self, files: &Files) -> Result<Slice> {
        let urls = self.blob.as_ref().and_then(|blob| blob.urls().as_ref());
        let slice = files.get(&self.path)?;
        slice.with_context(|| match urls.and_then(|urls| urls.first()) {
            Some(url) => format!(
                "the archive has no {}: it is at {url:?}, where bryo pull gets it",
                self.path
            ),
            None => format!("the archive has no {}", self.path),
        })
    }
}

/// Which images of an archive are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The platform; the host's if None.
    pub platform: Option<&'a Platform>,
    /// Only the image with this tag or name.
    pub tag: Option<&'a str>,
}

/// The images in an archive of either kind.
pub fn images(files: &Files, wanted: Wanted) -> Result<Vec<Found>> {
    if let Some(bytes) = files.read("manifest.json")? {
        return match bytes.trim_ascii_start().first() {
            Some(b'{') => Ok(vec![loose(files, bytes, wanted.platform)?]),
            _ => docker(files, &bytes, wanted),
        };
    }
    if let Some(bytes) = files.read("index.json")? {
        return oci(files, &bytes, wanted);
    }
    if files.read("repositories")?.is_some() {
        refuse!(
            Unsupported,
            "the archive is of a docker before 1.10, which is not supported"
        );
    }
    refuse!(
        Invalid,
        "it has neither manifest.json nor index.json: this is no image archive \
         (a root file system is brought in by import)"
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

fn docker(files: &Files, manifest: &[u8], wanted: Wanted) -> Result<Vec<Found>> {
    let images: Vec<DockerImage> = parse("manifest.json", manifest)?;
    let mut found = Vec::new();
    for image in images {
        let tags = image.repo_tags.unwrap_or_default();
        if let Some(tag) = wanted.tag
            && !tags.iter().any(|name| name_matches(name, tag))
        {
            continue;
        }
        let config = files.must_read(&image.config)?;
        // The file is named after its digest, in both forms of the archive.
        let name = image.config.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        if let Ok(digest) = Digest::try_from(format!("sha256:{name}")) {
            digest::verify(&image.config, &digest, &config)?;
        }
        let parsed = configuration(&config).with_context(|| image.config.clone())?;
        check_platform(&parsed, wanted.platform)?;
        let paths = image.layers.unwrap_or_default();
        let diff_ids = diff_ids(&parsed)?;
        demand!(
            Invalid,
            diff_ids.len() == paths.len(),
            "manifest.json has {} layers, the configuration {}",
            paths.len(),
            diff_ids.len()
        );
        let layers = paths.into_iter().zip(diff_ids);
        found.push(Found {
            names: tags
                .iter()
                .map(|name| Ok(name.parse::<Reference>()?.or_latest()))
                .collect::<Result<_>>()?,
            config,
            parsed,
            manifest: None,
            layers: layers
                .map(|(path, diff_id)| FoundLayer {
                    path,
                    blob: None,
                    diff_id,
                })
                .collect(),
        });
    }
    Ok(found)
}

/// The image of a directory as skopeo writes it for `dir:`: `manifest.json` and
/// blobs that are named by the digits of their digests; further manifests, for
/// several platforms, are `DIGITS.manifest.json`.
fn loose(files: &Files, mut bytes: Vec<u8>, platform: Option<&Platform>) -> Result<Found> {
    for _ in 0..=MAX_NESTING {
        let (document, media_type) = manifest::read(&bytes, None)?;
        let index = match document {
            Document::Index(index) => index,
            Document::Image(manifest) => {
                let digest = manifest.config().digest();
                let config = files.must_read(digest.digest())?;
                digest::verify("the configuration", digest, &config)?;
                let manifest = (bytes, media_type);
                let path = |digest: &Digest| digest.digest().to_owned();
                let found = described(manifest, config, None, path)?;
                check_platform(&found.parsed, platform)?;
                return Ok(found);
            }
        };
        let chosen = index::choose(index.manifests(), platform)?[0].digest();
        bytes = files.must_read(&format!("{}.manifest.json", chosen.digest()))?;
        digest::verify("a manifest", chosen, &bytes)?;
    }
    refuse!(Invalid, "indexes are nested too deeply")
}

/// Which of the entries of `index.json` are meant: of those with one name, or
/// with none, those for the platform, if they say what they are for.
fn entries<'a>(index: &'a ImageIndex, platform: Option<&Platform>) -> Result<Vec<&'a Descriptor>> {
    let name = |entry: &Descriptor| {
        let full = layout::annotation(entry, "io.containerd.image.name");
        let name = full.or(layout::annotation(entry, layout::REF_NAME));
        name.map(str::to_owned)
    };
    let all: Vec<&Descriptor> = index.manifests().iter().collect();
    let mut meant = Vec::new();
    for (at, &entry) in all.iter().enumerate() {
        let like = |other: &&&Descriptor| name(other) == name(entry) && other.platform().is_some();
        if entry.platform().is_none() {
            if index::may_be_image(entry) || all.len() == 1 {
                meant.push(entry);
            }
            continue;
        }
        if all[..at].iter().any(|other| like(&other)) {
            continue;
        }
        let alike: Vec<&Descriptor> = all.iter().filter(like).copied().collect();
        match alike.len() {
            1 => meant.push(entry),
            _ => meant.extend(index::choose(alike, platform)?),
        }
    }
    Ok(meant)
}

fn oci(files: &Files, index: &[u8], wanted: Wanted) -> Result<Vec<Found>> {
    let index: ImageIndex = parse("index.json", index)?;
    let mut found = Vec::new();
    for descriptor in entries(&index, wanted.platform)? {
        if let Some(tag) = wanted.tag
            && !names(descriptor).any(|name| name_matches(name, tag))
        {
            continue;
        }
        let Some(manifest) = choose(files, descriptor, wanted.platform, 0)? else {
            continue;
        };
        let image = oci_image(files, &manifest, names(descriptor).next())
            .with_context(|| format!("image {}", manifest.digest()))?;
        check_platform(&image.parsed, wanted.platform)?;
        found.push(image);
    }
    Ok(found)
}

fn oci_image(files: &Files, descriptor: &Descriptor, name: Option<&str>) -> Result<Found> {
    let bytes = files.blob(descriptor.digest())?;
    let manifest: ImageManifest = parse("the manifest", &bytes)?;
    let config = files.blob(manifest.config().digest())?;
    let manifest = (bytes, descriptor.media_type().clone());
    described(manifest, config, name, blob_path)
}

/// The image of a manifest and a configuration, with its blobs at `path`.
fn described(
    (bytes, media_type): (Vec<u8>, MediaType),
    config: Vec<u8>,
    name: Option<&str>,
    path: impl Fn(&Digest) -> String,
) -> Result<Found> {
    manifest::check_image(&bytes)?;
    let manifest: ImageManifest = parse("the manifest", &bytes)?;
    let parsed = configuration(&config)?;
    let diff_ids = diff_ids(&parsed)?;
    demand!(
        Invalid,
        diff_ids.len() == manifest.layers().len(),
        "the manifest has {} layers, the configuration {}",
        manifest.layers().len(),
        diff_ids.len()
    );
    let layers = manifest.layers().iter().zip(diff_ids);
    Ok(Found {
        names: name.and_then(full_name).into_iter().collect(),
        config,
        parsed,
        manifest: Some((bytes, media_type)),
        layers: layers
            .map(|(blob, diff_id)| FoundLayer {
                path: path(blob.digest()),
                blob: Some(blob.clone()),
                diff_id,
            })
            .collect(),
    })
}

/// The manifest that a descriptor means on this platform: itself, or the best
/// one of an index. None for what is no image.
fn choose(
    files: &Files,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
    depth: u32,
) -> Result<Option<Descriptor>> {
    let is_index = match descriptor.media_type() {
        MediaType::ImageIndex => true,
        MediaType::Other(name) => {
            name == "application/vnd.docker.distribution.manifest.list.v2+json"
        }
        _ => false,
    };
    if !is_index {
        return Ok(is_manifest(descriptor.media_type()).then(|| descriptor.clone()));
    }
    demand!(
        Invalid,
        depth < MAX_NESTING,
        "indexes are nested too deeply"
    );
    let index: ImageIndex = parse("an index", &files.blob(descriptor.digest())?)?;
    let candidates = index::choose(index.manifests(), platform)?;
    let mut first = None;
    for &candidate in &candidates {
        let Some(found) = choose(files, candidate, platform, depth + 1)? else {
            continue;
        };
        // The only one is what it is; of others it is read.
        if candidates.len() == 1 || candidate.platform().is_some() {
            return Ok(Some(found));
        }
        let fits = oci_image(files, &found, None);
        if fits.is_ok_and(|image| check_platform(&image.parsed, platform).is_ok()) {
            return Ok(Some(found));
        }
        first = first.or(Some(found));
    }
    Ok(first)
}

fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    let all = config.rootfs().diff_ids().iter();
    all.map(|text| Digest::try_from(text.as_str()).with_context(|| format!("diff_id {text:?}")))
        .collect()
}

/// A full reference. A bare word is only the tag of an image whose repository
/// the layout does not tell.
fn full_name(name: &str) -> Option<Reference> {
    let reference = name.parse::<Reference>().ok()?;
    name.contains(['/', ':']).then(|| reference.or_latest())
}

/// Whether a name in an archive is what somebody asked for: the same text, the
/// same reference, or its tag.
fn name_matches(name: &str, wanted: &str) -> bool {
    if name == wanted {
        return true;
    }
    let reference = |text: &str| text.parse::<Reference>().ok().map(Reference::or_latest);
    match (reference(name), reference(wanted)) {
        (Some(a), Some(b)) if a == b => true,
        (Some(a), _) => name.contains(['/', ':']) && a.tag() == Some(wanted),
        _ => false,
    }
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("parse {what}"))
}

/// Opens an archive file, or standard input for `-`.
pub fn open_file(path: &Path) -> Result<File> {
    if path == Path::new("-") {
        let stdin = io::stdin();
        let fd = std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned()?;
        return Ok(fd.into());
    }
    File::open(path).with_context(|| format!("open {}", path.display()))
}
