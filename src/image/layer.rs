//! Bringing one layer in: one thread reads, verifies, decompresses and keeps
//! the blob; another unpacks at the same time; two more compress the blob where
//! that is to be done.

mod blobfile;
mod confine;
mod frames;
mod piece;

use crate::error::{demand, refusal};
use std::cell::Cell;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::compress::{self, Compression};
use super::digest::{self, Digest, HashReader, Hasher};
use super::flavour::Flavour;
use super::progress::Meter;
use super::record::Records;
use super::unpack::{Unpacked, Unpacking};
use crate::sys::fs::{make_private, write_private};
use blobfile::BlobFile;
pub use confine::Earning;
use confine::confine;
use piece::{Incoming, Piece};

/// Bytes handed from one thread to the other at once, and how many such
/// pieces may wait: with the decompressor's window, the memory of a layer.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;

/// What is known about a layer before it is read.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Digest and size of the blob, as a manifest has them. Such a blob is
    /// kept byte for byte; without it the blob's form is ours to choose.
    pub blob: Option<(Digest, u64)>,
    /// Digest of the plain tar, as the image's configuration has it.
    pub diff_id: Option<Digest>,
    /// Whether the blob is to be kept at all; not when it is read from the
    /// store itself.
    pub keep_blob: bool,
    /// Whether the tar must have its end mark. Where no digest shows that it
    /// is whole, only this does.
    pub need_end: bool,
    /// How much it may ask for.
    pub budget: Budget,
    /// Whose the files are to be.
    pub flavour: Flavour,
    /// A name that says what of lower layers is gone is an ordinary one.
    pub is_literal: bool,
}

/// Copies all that a compressed source holds, if it is not more than
/// there may be.
pub(super) fn copy_plain(
    budget: Budget,
    compression: Compression,
    source: impl Read,
    out: &mut impl Write,
) -> Result<u64> {
    let read = Cell::new(0);
    let metered = Metered {
        source,
        meter: &super::progress::Quiet,
        read: &read,
        budget,
    };
    let mut plain = compression.decoder(BufReader::with_capacity(PIECE, metered))?;
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        let n = match plain.read(&mut piece) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        total += n as u64;
        if compression != Compression::None {
            budget.size.check(total, read.get())?;
        }
        out.write_all(&piece[..n])?;
    }
}

/// A layer that was read, verified and unpacked into temporary places.
#[derive(Debug)]
pub struct Layer {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// The blob, if it was kept: file, digest, size in bytes, media type.
    pub blob: Option<Blob>,
    /// Directory that holds `fs`, the tree, and [`About`] in `layer.json`.
    pub directory: PathBuf,
    /// What is left to do: nothing but the record if it stands alone.
    pub unpacked: Unpacked,
}

/// A blob in a temporary file.
#[derive(Debug)]
pub struct Blob {
    /// Where it is.
    pub file: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub media_type: MediaType,
}

/// What stands in `layer.json` beside an unpacked tree.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// Sum of the sizes of the regular files, in bytes.
    pub size: u64,
    /// Members of the archive.
    pub entries: u64,
    /// What the files themselves could not carry.
    #[serde(default, skip_serializing_if = "Records::is_empty")]
    pub records: Records,
}

impl About {
    /// Name of the file.
    pub const FILE: &str = "layer.json";

    /// Writes the file into a layer's directory.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(Self::FILE);
        let text = serde_json::to_vec(self)?;
        write_private(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// What is known of a layer's files beside its `tree`. Trees that are no
    /// layers have nothing.
    pub fn records_beside(tree: &Path) -> Result<Records> {
        let Some(directory) = tree.parent().filter(|_| tree.ends_with("fs")) else {
            return Ok(Records::new());
        };
        match directory.join(Self::FILE).exists() {
            true => Ok(About::read(directory)?.records),
            false => Ok(Records::new()),
        }
    }

    /// Reads the file from a layer's directory.
    pub fn read(directory: &Path) -> Result<About> {
        let path = directory.join(Self::FILE);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
    }
}

/// Reads the layer `source`, unpacks it to `directory` (made here) and keeps
/// its blob in the file `blob`. Fails unless everything is as `expected`.
pub fn bring(
    source: impl Read,
    expected: &Expected,
    directory: &Path,
    blob: &Path,
    meter: &dyn Meter,
) -> Result<Layer> {
    let tree = directory.join("fs");
    let made = make_private(directory).and_then(|()| fs::create_dir_all(&tree));
    made.with_context(|| format!("create {}", tree.display()))?;
    let (pieces, unpacker_end) = sync_channel(PIECES);
    let (used, reusable) = channel();
    let hasher = match &expected.diff_id {
        Some(diff_id) => Hasher::like(diff_id)?,
        None => Hasher::sha256(),
    };
    let (read, unpacked) = thread::scope(|scope| {
        let unpacker = thread::Builder::new().name("unpack".to_owned());
        let apply = || {
            let mut incoming = Incoming::new(unpacker_end);
            let owners = expected.flavour.owners();
            let mut unpacking = Unpacking::new(&tree, owners, expected.budget)?;
            unpacking.is_literal = expected.is_literal;
            confine(&tree)?;
            let mut unpacked = unpacking.run(&mut incoming)?;
            // What follows the end mark belongs to the digests too.
            io::copy(&mut incoming, &mut io::sink()).context("read")?;
            if unpacked.stands_alone() {
                unpacked.seal(&tree)?;
            }
            anyhow::Ok(unpacked)
        };
        let unpacker = unpacker
            .spawn_scoped(scope, apply)
            .context("start a thread")?;
        let mut hand_over = HandOver {
            pieces: Some(pieces),
            used,
            reusable,
            hasher,
        };
        let read = feed(source, expected, blob, meter, &mut hand_over);
        if let (Err(error), Some(pieces)) = (&read, hand_over.pieces.take()) {
            let error = io::Error::other(format!("{error:#}"));
            let _ = pieces.send(Err(error));
        }
        let hasher = hand_over.hasher;
        let unpacked = unpacker
            .join()
            .map_err(|_| refusal!(Internal, "a thread panicked"))?;
        anyhow::Ok((read.map(|blob| (blob, hasher)), unpacked))
    })?;
    // A reader that failed says more than the unpacker that ran dry; but one
    // that was cut off says less.
    let (blob, hasher) = match (read, &unpacked) {
        (Err(error), Err(_)) if error.is::<CutOff>() => return Err(unpacked.unwrap_err()),
        (read, _) => read?,
    };
    let unpacked = unpacked?;
    let diff_id = hasher.finish();
    if let Some(wanted) = &expected.diff_id {
        digest::check("the layer", wanted, &diff_id)?;
    }
    demand!(
        Invalid,
        unpacked.ended_properly || !expected.need_end,
        "{}",
        match unpacked.entries {
            0 => "this is not a tar archive, or it is empty",
            _ => "the archive is truncated (it has no end mark)",
        }
    );
    Ok(Layer {
        diff_id,
        blob,
        directory: directory.to_owned(),
        unpacked,
    })
}

/// The unpacker stopped reading.
#[derive(Debug)]
struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the unpacking stopped")
    }
}

impl std::error::Error for CutOff {}

/// The reading thread's end.
struct HandOver {
    /// None when all was handed over.
    pieces: Option<SyncSender<io::Result<Piece>>>,
    /// Where pieces come back to, and from.
    used: Sender<Vec<u8>>,
    reusable: Receiver<Vec<u8>>,
    hasher: Hasher,
}

impl HandOver {
    /// Sends on all that `plain` yields, showing each piece to `also`. The other
    /// thread has read to the end then, and need not wait for what follows here.
    fn run(
        &mut self,
        mut plain: impl Read,
        mut also: impl FnMut(&Piece) -> Result<()>,
        mut check: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut total = 0;
        loop {
            let mut piece = self.reusable.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let mut filled = 0;
            while filled < PIECE {
                match plain.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("read"),
                }
            }
            piece.truncate(filled);
            if piece.is_empty() {
                self.pieces = None;
                return Ok(());
            }
            total += piece.len() as u64;
            check(total)?;
            self.hasher.update(&piece);
            let piece = Piece::new(piece, &self.used);
            also(&piece)?;
            let pieces = self.pieces.as_ref().ok_or(CutOff)?;
            pieces.send(Ok(piece)).map_err(|_| CutOff)?;
        }
    }
}

/// Reads `source` to its end: the blob is hashed and kept, its plain bytes are
/// handed over.
fn feed(
    source: impl Read,
    expected: &Expected,
    path: &Path,
    meter: &dyn Meter,
    hand_over: &mut HandOver,
) -> Result<Option<Blob>> {
    let read = Cell::new(0);
    let metered = Metered {
        source,
        meter,
        read: &read,
        budget: expected.budget,
    };
    let (compression, source) = compress::peek(metered).context("read")?;
    let within = |plain| match compression {
        Compression::None => Ok(()),
        _ => expected.budget.size.check(plain, read.get()),
    };
    // A blob that a manifest names stays as it is. So does one that is
    // compressed in a way that manifests can name.
    let as_is =
        expected.blob.is_some() || matches!(compression, Compression::Gzip | Compression::Zstd);
    let hasher = match &expected.blob {
        Some((digest, _)) => Hasher::like(digest)?,
        None => Hasher::sha256(),
    };
    let keep = expected.keep_blob;
    let (digest, size, media_type) = if as_is || !keep {
        let out = keep.then(|| BlobFile::create(path)).transpose()?;
        let mut tap = Tap {
            source: HashReader::new(source, hasher),
            out,
        };
        {
            let mut buffered = BufReader::with_capacity(PIECE, &mut tap);
            let plain = compression.decoder(&mut buffered)?;
            hand_over.run(plain, |_| Ok(()), within)?;
            io::copy(&mut buffered, &mut io::sink()).context("read")?;
        }
        if let Some(out) = tap.out {
            out.finish().context("write the blob")?;
        }
        let (digest, size) = tap.source.finish();
        (digest, size, compression.layer_media_type())
    } else {
        // What is plain comes in pieces that are as long as they can be only
        // without a buffer between.
        let plain: Box<dyn Read> = match compression {
            Compression::None => Box::new(source),
            _ => compression.decoder(BufReader::with_capacity(PIECE, source))?,
        };
        let (digest, size) = thread::scope(|scope| {
            let (to_compress, pieces) = sync_channel(PIECES);
            let compressor = thread::Builder::new().name("compress".to_owned());
            let compressor = compressor
                .spawn_scoped(scope, move || frames::compress(pieces, path, hasher))
                .context("start a thread")?;
            let also = |piece: &Piece| Ok(to_compress.send(piece.clone()).map_err(|_| CutOff)?);
            let read = hand_over.run(plain, also, within);
            drop(to_compress);
            let blob = compressor
                .join()
                .map_err(|_| refusal!(Internal, "a thread panicked"))?;
            match read {
                Err(error) if error.is::<CutOff>() && blob.is_err() => blob,
                read => read.and(blob),
            }
        })?;
        (digest, size, MediaType::ImageLayerZstd)
    };
    if let Some((wanted, length)) = &expected.blob {
        demand!(
            Invalid,
            size == *length,
            "the layer is damaged: it should have {length} bytes but has {size}"
        );
        digest::check("the layer", wanted, &digest)?;
    }
    Ok(keep.then(|| Blob {
        file: path.to_owned(),
        digest,
        size,
        media_type,
    }))
}

/// Reports what is read.
struct Metered<'a, R> {
    source: R,
    meter: &'a dyn Meter,
    /// Bytes read so far.
    read: &'a Cell<u64>,
    budget: Budget,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.meter.advance(n as u64);
        self.read.set(self.read.get() + n as u64);
        confine::earn(&self.budget, n as u64);
        Ok(n)
    }
}

/// Writes what is read to a second place.
struct Tap<R> {
    source: R,
    out: Option<BlobFile>,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        if let Some(out) = &mut self.out {
            out.write_all(&buffer[..n])?;
        }
        Ok(n)
    }
}
