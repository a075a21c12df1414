//! Writing images to archives that other tools read: docker-archive, and OCI
//! layouts in a tar or a directory.
//!
//! The same images give the same bytes: members have no times and no owners.

use crate::error::{demand, refuse};
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageIndex};
use serde_json::json;

use super::archive::blob_path;
use super::compress::Compression;
use super::digest::{self, Digest};
use super::entry::{BLOCK, Metadata};
use super::holes::Holes;
use super::layout::{self, Layout};
use super::output::{self, Output};
use super::parcel::{Packed, Parcel, compression, copy_blob, copy_plain};
use super::progress::Progress;
use super::session::{Session, private_dir};
use super::tarwrite::{Kind, Member, TarWriter};

/// What to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `docker save`'s: layers as plain tars.
    #[default]
    DockerArchive,
    /// A tar of an OCI layout.
    OciArchive,
    /// An OCI layout in a directory.
    OciDir,
    /// A directory of blobs, as skopeo writes it for `dir:`.
    Dir,
}

/// The file `oci-layout`.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Annotation by which docker and containerd know an image's full name.
const FULL_NAME: &str = "io.containerd.image.name";

/// Writes images to the file `path` (None is standard output), which is there
/// only when it is complete; a directory is added to. `tag` is what the images
/// are called in an OCI layout, in place of their names.
pub fn save(
    parcels: Vec<Parcel>,
    form: Form,
    path: Option<&Path>,
    tag: Option<&str>,
    session: &Session,
    progress: &dyn Progress,
) -> Result<()> {
    match (form, path) {
        (Form::Dir, Some(path)) => {
            loose(parcels, path, progress).with_context(|| path.display().to_string())
        }
        (Form::OciDir | Form::Dir, None) => {
            refuse!(Invalid, "a directory cannot be written to standard output")
        }
        (Form::OciDir, Some(path)) => {
            directory(parcels, path, tag, progress).with_context(|| path.display().to_string())
        }
        (Form::DockerArchive, path) => {
            archive(path, |archive| docker(archive, parcels, session, progress))
        }
        (Form::OciArchive, path) => archive(path, |archive| oci(archive, parcels, tag, progress)),
    }
}

/// Writes all that the OCI layout in the directory `layout` has to the file
/// `path`.
pub fn pack_layout(layout: &Path, path: &Path) -> Result<()> {
    archive(Some(path), |archive| {
        for name in ["oci-layout", "index.json"] {
            archive.bytes(name, &fs::read(layout.join(name))?)?;
        }
        archive.directory("blobs")?;
        for algorithm in sorted(&layout.join("blobs"))? {
            let below = format!("blobs/{algorithm}");
            archive.directory(&below)?;
            for name in sorted(&layout.join(&below))? {
                let path = format!("{below}/{name}");
                let mut blob = File::open(layout.join(&path))?;
                let size = blob.metadata()?.len();
                archive.file(&path, size, |out| {
                    io::copy(&mut blob, out)?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    })
}

/// The names in a directory of a layout.
fn sorted(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Makes a tar of what `fill` writes: at `path`, there when it is complete, or
/// standard output.
fn archive(path: Option<&Path>, fill: impl FnOnce(&mut Archive) -> Result<()>) -> Result<()> {
    let Some(path) = path else {
        return write(Out::Stream(Box::new(io::stdout().lock())), fill);
    };
    let context = || format!("write {}", path.display());
    // What is no plain file (a pipe, /dev/stdout) is written to.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path);
        let out = Out::Stream(Box::new(file.with_context(context)?));
        return write(out, fill).with_context(context);
    }
    let output = Output::new(path)?;
    write(Out::File(Holes::new(output.file())), fill).with_context(context)?;
    output.finish()
}

fn write(out: Out, fill: impl FnOnce(&mut Archive) -> Result<()>) -> Result<()> {
    let out = BufWriter::with_capacity(1 << 20, out);
    let mut archive = Archive {
        out: TarWriter::new(out),
        seen: HashSet::new(),
    };
    fill(&mut archive)?;
    let out = archive.out.finish().context("write the archive")?;
    match out.into_inner().map_err(|e| e.into_error())? {
        Out::File(holes) => drop(holes.finish().context("write the archive")?),
        Out::Stream(_) => {}
    }
    Ok(())
}

/// Where an archive goes.
enum Out<'a> {
    /// A new file; its header can still be written when a member is.
    File(Holes<&'a File>),
    /// Something that takes bytes one after the other.
    Stream(Box<dyn Write + 'a>),
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::File(holes) => holes.write(bytes),
            Out::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::File(holes) => holes.flush(),
            Out::Stream(out) => out.flush(),
        }
    }
}

/// A tar of files, each once.
struct Archive<'a> {
    out: TarWriter<BufWriter<Out<'a>>>,
    seen: HashSet<String>,
}

impl Archive<'_> {
    /// Whether a member is still to be written.
    fn is_new(&mut self, path: &str) -> bool {
        self.seen.insert(path.to_owned())
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.file(path, bytes.len() as u64, |out| Ok(out.write_all(bytes)?))
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        let member = member(path, Kind::Directory, 0o755);
        self.out.header(&member).context("write the archive")
    }

    fn file(
        &mut self,
        path: &str,
        size: u64,
        content: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let member = member(path, Kind::File(size), 0o644);
        self.out.file_by(&member, size, content)
    }

    /// A file of which the size is not known before it is written; `None` if
    /// that cannot be, and nothing was written.
    fn file_of_any_size(
        &mut self,
        path: &str,
        content: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Option<u64>> {
        let out = self.out.inner();
        out.flush()?;
        let (file, start) = match out.get_ref() {
            Out::File(holes) => (holes.place().0.try_clone()?, holes.place().1),
            Out::Stream(_) => return Ok(None),
        };
        let mut member = member(path, Kind::File(0), 0o644);
        self.out.header(&member).context("write the archive")?;
        let out = self.out.inner();
        content(out)?;
        out.flush()?;
        let Out::File(holes) = out.get_ref() else {
            return Ok(None);
        };
        let size = holes.place().1 - start - BLOCK as u64;
        self.out.pad(size).context("write the archive")?;
        member.kind = Kind::File(size);
        let mut header = TarWriter::new(Vec::new());
        header.header(&member)?;
        let header = header.inner();
        demand!(
            Conflict,
            header.len() == BLOCK,
            "it has {size} bytes, which such an archive has no room for: save it to a pipe"
        );
        file.write_all_at(header, start)
            .context("write the archive")?;
        Ok(Some(size))
    }
}

fn member(path: &str, kind: Kind, mode: u32) -> Member {
    Member {
        path: path.as_bytes().to_vec(),
        kind,
        meta: Metadata {
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        },
    }
}

/// `ID.json` and `DIFF-ID.tar` for each image, and `manifest.json`.
fn docker(
    archive: &mut Archive,
    parcels: Vec<Parcel>,
    session: &Session,
    progress: &dyn Progress,
) -> Result<()> {
    let mut images = Vec::new();
    for parcel in parcels {
        let mut layers = Vec::new();
        for layer in &parcel.layers {
            let path = format!("{}.tar", layer.diff_id.digest());
            if archive.is_new(&path) {
                plain_layer(archive, &path, layer, session, progress)
                    .with_context(|| format!("layer {}", layer.diff_id))?;
            }
            layers.push(path);
        }
        let id = digest::sha256(&parcel.config);
        let config = format!("{}.json", id.digest());
        if archive.is_new(&config) {
            archive.bytes(&config, &parcel.config)?;
        }
        let names = parcel.names.iter().map(|name| name.canonical());
        images.push(json!({
            "Config": config,
            "RepoTags": names.collect::<Vec<_>>(),
            "Layers": layers,
        }));
    }
    archive.bytes("manifest.json", &serde_json::to_vec(&images)?)
}

/// The size stands before the data, so that a compressed layer goes by way of
/// a temporary file where it is not known and cannot be filled in.
fn plain_layer(
    archive: &mut Archive,
    path: &str,
    layer: &Packed,
    session: &Session,
    progress: &dyn Progress,
) -> Result<()> {
    let meter = progress.begin(digest::short(&layer.diff_id), Some(layer.slice.length));
    if compression(layer)? == Compression::None {
        archive.file(path, layer.slice.length, |out| copy_plain(layer, out))?;
    } else if archive
        .file_of_any_size(path, |out| copy_plain(layer, out))?
        .is_none()
    {
        let place = session.path("plain")?;
        let mut options = File::options();
        let options = options.read(true).write(true).create_new(true);
        let mut file = options.open(&place)?;
        // It goes with its descriptor.
        fs::remove_file(&place)?;
        copy_plain(layer, &mut file)?;
        let size = file.stream_position()?;
        file.seek(SeekFrom::Start(0))?;
        archive.file(path, size, |out| {
            io::copy(&mut file, out)?;
            Ok(())
        })?;
    }
    meter.advance(layer.slice.length);
    Ok(())
}

fn oci(
    archive: &mut Archive,
    parcels: Vec<Parcel>,
    tag: Option<&str>,
    progress: &dyn Progress,
) -> Result<()> {
    archive.bytes("oci-layout", LAYOUT)?;
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    let mut descriptors = Vec::new();
    for parcel in parcels {
        let parcel = parcel.into_oci()?;
        for layer in &parcel.layers {
            let path = blob_path(layer.blob.digest());
            if archive.is_new(&path) {
                let size = layer.blob.size();
                let meter = progress.begin(digest::short(layer.blob.digest()), Some(size));
                archive
                    .file(&path, size, |out| copy_blob(layer, out))
                    .with_context(|| format!("layer {}", layer.blob.digest()))?;
                meter.advance(size);
            }
        }
        for bytes in [&parcel.config, &parcel.manifest] {
            let path = blob_path(&digest::sha256(bytes));
            if archive.is_new(&path) {
                archive.bytes(&path, bytes)?;
            }
        }
        descriptors.extend(described(&parcel, tag));
    }
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(oci_spec::image::MediaType::ImageIndex));
    index.set_manifests(descriptors);
    // Annotations come in any order; those of a value are sorted.
    let index = serde_json::to_value(&index)?;
    archive.bytes("index.json", &serde_json::to_vec(&index)?)
}

/// A descriptor for each name of an image, or one without a name.
fn described(parcel: &Parcel, tag: Option<&str>) -> Vec<Descriptor> {
    let bare = Descriptor::new(
        parcel.media_type.clone(),
        parcel.manifest.len() as u64,
        parcel.digest(),
    );
    let named = |annotations: Vec<(&str, String)>| {
        let mut descriptor = bare.clone();
        let annotations = annotations.into_iter();
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value));
        descriptor.set_annotations(Some(annotations.collect()));
        descriptor
    };
    if let Some(tag) = tag {
        return vec![named(vec![(layout::REF_NAME, tag.to_owned())])];
    }
    // Whoever reads a digest in a name looks whether it is the image's.
    let digest = parcel.digest();
    let names = parcel.names.iter();
    let names = names.filter(|name| name.digest().is_none_or(|said| said == digest));
    let names: Vec<String> = names.map(|name| name.canonical()).collect();
    if names.is_empty() {
        return vec![bare];
    }
    names
        .into_iter()
        .map(|name| named(vec![(layout::REF_NAME, name.clone()), (FULL_NAME, name)]))
        .collect()
}

/// The layout in a directory, which is made if need be.
pub fn layout_at(path: &Path) -> Result<Layout> {
    if path.exists() {
        let empty = fs::read_dir(path)?.next().is_none();
        demand!(
            Conflict,
            empty || path.join("oci-layout").exists(),
            "it is there, and no OCI layout"
        );
    }
    let layout = Layout::new(path.to_owned());
    layout.create()?;
    Ok(layout)
}

/// Adds images to the layout in a directory.
fn directory(
    parcels: Vec<Parcel>,
    path: &Path,
    tag: Option<&str>,
    progress: &dyn Progress,
) -> Result<()> {
    output::directory(path, || add(parcels, &layout_at(path)?, tag, progress))
}

fn add(
    parcels: Vec<Parcel>,
    layout: &Layout,
    tag: Option<&str>,
    progress: &dyn Progress,
) -> Result<()> {
    for parcel in parcels {
        let parcel = parcel.into_oci()?;
        for layer in &parcel.layers {
            let size = layer.blob.size();
            let meter = progress.begin(digest::short(layer.blob.digest()), Some(size));
            put(layout, layer.blob.digest(), |out| copy_blob(layer, out))
                .with_context(|| format!("layer {}", layer.blob.digest()))?;
            meter.advance(size);
        }
        for bytes in [&parcel.config, &parcel.manifest] {
            let digest = digest::sha256(bytes);
            put(layout, &digest, |out| Ok(out.write_all(bytes)?))?;
        }
        enter(layout, described(&parcel, tag))?;
    }
    Ok(())
}

/// Lists images in a layout. A name is an image's at a time.
pub fn enter(layout: &Layout, images: Vec<Descriptor>) -> Result<()> {
    layout.update(|descriptors| {
        for new in images {
            let name = layout::name_of(&new).map(str::to_owned);
            descriptors.retain(|known| match &name {
                Some(name) => layout::name_of(known) != Some(name),
                None => known.digest() != new.digest() || layout::name_of(known).is_some(),
            });
            descriptors.push(new);
        }
        Ok(())
    })
}

/// Writes an image as skopeo does for `dir:` into a directory of its own:
/// `version`, `manifest.json`, and blobs named by the digits of their digests.
fn loose(parcels: Vec<Parcel>, path: &Path, progress: &dyn Progress) -> Result<()> {
    let [parcel] = &parcels[..] else {
        refuse!(Conflict, "it has room for one image");
    };
    if path.exists() {
        let empty = fs::read_dir(path)?.next().is_none();
        demand!(
            Conflict,
            empty || path.join("version").exists(),
            "it is there, and no directory of an image"
        );
    }
    output::directory(path, || put_loose(parcel, path, progress))
}

fn put_loose(parcel: &Parcel, path: &Path, progress: &dyn Progress) -> Result<()> {
    fs::create_dir_all(path)?;
    for layer in &parcel.layers {
        let (digest, size) = (layer.blob.digest(), layer.blob.size());
        let meter = progress.begin(digest::short(digest), Some(size));
        write_new(&path.join(digest.digest()), |out| copy_blob(layer, out))
            .with_context(|| format!("layer {digest}"))?;
        meter.advance(size);
    }
    let config = digest::sha256(&parcel.config);
    let manifest = path.join("manifest.json");
    for (place, bytes) in [
        (
            path.join("version"),
            &b"Directory Transport Version: 1.1\n"[..],
        ),
        (path.join(config.digest()), &parcel.config),
        (manifest, &parcel.manifest),
    ] {
        write_new(&place, |out| Ok(out.write_all(bytes)?))?;
    }
    Ok(())
}

/// Writes a blob, if it is not there.
pub fn put(
    layout: &Layout,
    digest: &Digest,
    content: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let place = layout.blob(digest);
    if place.exists() {
        return Ok(());
    }
    private_dir(place.parent().context("it is in a directory")?)?;
    write_new(&place, content)
}

/// Writes a file that is there when it is complete.
fn write_new(place: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let output = Output::new(place)?;
    content(&mut &output)?;
    nix::unistd::fdatasync(&output)?;
    output.finish()
}
