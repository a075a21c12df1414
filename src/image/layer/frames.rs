//! A blob that is compressed while its plain bytes are unpacked elsewhere.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};

use super::PIECE;
use super::blobfile::BlobFile;
use super::piece::Piece;
use crate::image::digest::{Digest, HashWriter, Hasher};

/// At this level zstd keeps up with the unpacking beside it (level 1 does not,
/// and saves a quarter more); a blob of a Debian tree takes 41 % of its tar.
const LEVEL: i32 = -1;

/// Writes to the new file `path` what comes in pieces, each as a frame of zstd
/// of its own: decoders take a row of frames for one (RFC 8878, section 3.1),
/// and a frame of bytes that are all in memory takes less time than a piece of a
/// stream, for no window has to be carried along. Returns digest and size
/// of the blob, which is on the disk then.
pub fn compress(pieces: &Receiver<Piece>, path: &Path, hasher: Hasher) -> Result<(Digest, u64)> {
    let mut out = HashWriter::new(BlobFile::create(path)?, hasher);
    let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
    let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(PIECE));
    let mut write = |plain: &[u8]| {
        frame.clear();
        zstd.compress_to_buffer(plain, &mut frame)?;
        out.write_all(&frame)
    };
    let context = "write the blob";
    let mut empty = true;
    for piece in pieces {
        write(&piece).context(context)?;
        empty = false;
    }
    if empty {
        write(&[]).context(context)?;
    }
    let (out, digest, size) = out.finish();
    out.finish().context(context)?;
    Ok((digest, size))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;
    use crate::image::compress;

    #[test]
    fn frames_are_one_blob() {
        let dir = tempfile::tempdir().unwrap();
        let (used, reusable) = channel();
        for pieces in [&[][..], &[&b"one"[..]], &[&[7; PIECE][..], b"and the rest"]] {
            let path = dir.path().join("blob");
            let (send, receive) = sync_channel(pieces.len());
            for piece in pieces {
                send.send(Piece::new(piece.to_vec(), &used)).unwrap();
            }
            drop(send);
            let (digest, size) = compress(&receive, &path, Hasher::sha256()).unwrap();
            let blob = std::fs::read(&path).unwrap();
            assert_eq!(size, blob.len() as u64);
            assert_eq!(digest, crate::image::digest::sha256(&blob));
            let mut plain = Vec::new();
            std::io::copy(&mut compress::plain(&blob[..]).unwrap(), &mut plain).unwrap();
            assert!(plain == pieces.concat());
            assert_eq!(reusable.try_iter().count(), pieces.len());
        }
    }
}
