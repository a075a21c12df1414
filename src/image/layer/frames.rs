//! A blob that is compressed while its plain bytes are unpacked elsewhere.

use crate::error::refusal;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use super::PIECE;
use super::blobfile::BlobFile;
use super::piece::Piece;
use crate::image::digest::{Digest, HashWriter, Hasher};

/// At this level a blob of a Debian tree takes 41 % of its tar; level 1 takes
/// half as long again and saves a quarter.
const LEVEL: i32 = -1;

/// Threads that compress: one takes longer than the unpacking beside it.
const THREADS: usize = 2;

/// Writes to the new file `path` what comes in pieces, each as a frame of zstd
/// of its own: decoders take a row of frames for one (RFC 8878, section 3.1),
/// and a frame of bytes that are all in memory takes less time than a piece of a
/// stream, for no window has to be carried along. Returns digest and size
/// of the blob, which is on the disk then.
pub fn compress(pieces: Receiver<Piece>, path: &Path, hasher: Hasher) -> Result<(Digest, u64)> {
    let context = "write the blob";
    let pieces = Mutex::new(pieces.into_iter().enumerate());
    let row = Row::new(HashWriter::new(BlobFile::create(path)?, hasher));
    thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..THREADS {
            let other = thread::Builder::new().name("compress".to_owned());
            let other = other.spawn_scoped(scope, || some(&pieces, &row));
            // The one that is there can do it all.
            others.extend(other.ok());
        }
        let done = some(&pieces, &row);
        let others = others.into_iter().map(|other| {
            let done = other
                .join()
                .map_err(|_| refusal!(Internal, "a thread panicked"))?;
            done.context(context)
        });
        others.fold(done.context(context), Result::and)
    })?;
    let mut out = row
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if out.next == 0 {
        let nothing = zstd::bulk::compress(&[], LEVEL);
        nothing
            .and_then(|frame| out.inner.write_all(&frame))
            .context(context)?;
    }
    let (out, digest, size) = out.inner.finish();
    out.finish().context(context)?;
    Ok((digest, size))
}

/// Compresses pieces as they come, until there are no more or another thread
/// could not go on.
fn some<W: Write>(
    pieces: &Mutex<impl Iterator<Item = (usize, Piece)>>,
    row: &Row<W>,
) -> io::Result<()> {
    let work = || {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(PIECE));
        loop {
            let next = locked(pieces).next();
            let Some((number, piece)) = next else {
                return Ok(());
            };
            frame.clear();
            zstd.compress_to_buffer(&piece, &mut frame)?;
            drop(piece);
            if !row.write(number, &frame)? {
                return Ok(());
            }
        }
    };
    work().inspect_err(|_| row.give_up())
}

/// What several threads write, in order.
struct Row<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W> {
    inner: W,
    /// Whose turn it is.
    next: usize,
    given_up: bool,
}

impl<W: Write> Row<W> {
    fn new(inner: W) -> Row<W> {
        Row {
            state: Mutex::new(State {
                inner,
                next: 0,
                given_up: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Writes the part with this number when all before it are written; false if
    /// those will never be.
    fn write(&self, number: usize, bytes: &[u8]) -> io::Result<bool> {
        let waiting = |state: &mut State<W>| state.next != number && !state.given_up;
        let state = self.changed.wait_while(locked(&self.state), waiting);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.given_up {
            return Ok(false);
        }
        state.inner.write_all(bytes)?;
        state.next += 1;
        self.changed.notify_all();
        Ok(true)
    }

    /// Nobody is to wait for a part that does not come.
    fn give_up(&self) {
        locked(&self.state).given_up = true;
        self.changed.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let many: Vec<Vec<u8>> = (0..50)
            .map(|n| vec![n; PIECE / (1 + usize::from(n) % 3)])
            .collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        for pieces in [
            &[][..],
            &[&b"one"[..]],
            &[&[7; PIECE][..], b"and the rest"],
            &many,
        ] {
            let path = dir.path().join("blob");
            let (send, receive) = sync_channel(pieces.len());
            for piece in pieces {
                send.send(Piece::new(piece.to_vec(), &used)).unwrap();
            }
            drop(send);
            let (digest, size) = compress(receive, &path, Hasher::sha256()).unwrap();
            let blob = std::fs::read(&path).unwrap();
            assert_eq!(size, blob.len() as u64);
            assert_eq!(digest, crate::image::digest::sha256(&blob));
            let mut plain = Vec::new();
            std::io::copy(&mut compress::plain(&blob[..]).unwrap(), &mut plain).unwrap();
            assert!(plain == pieces.concat());
            assert_eq!(reusable.try_iter().count(), pieces.len());
        }
    }

    #[test]
    fn where_there_is_no_room_nobody_waits() {
        /// Takes a few bytes.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (used, _reusable) = channel();
        let pieces = (0..100).map(|_| Piece::new(vec![1; 1000], &used));
        let pieces = Mutex::new(pieces.enumerate().collect::<Vec<_>>().into_iter());
        let row = Row::new(Full(7));
        let failures = thread::scope(|scope| {
            let all = [(); 4].map(|()| scope.spawn(|| some(&pieces, &row)));
            all.map(|one| usize::from(one.join().unwrap().is_err()))
        });
        assert_eq!(failures.iter().sum::<usize>(), 1);
        assert!(locked(&row.state).given_up);
    }
}
