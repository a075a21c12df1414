//! Bytes of a layer on their way from the thread that reads them to others.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// Bytes that several threads look at. The memory goes back to where it is
/// filled when the last of them is done.
#[derive(Clone)]
pub struct Piece {
    bytes: Arc<Vec<u8>>,
    used: Sender<Vec<u8>>,
}

impl Piece {
    /// Bytes whose memory goes to `used` in the end.
    pub fn new(bytes: Vec<u8>, used: &Sender<Vec<u8>>) -> Piece {
        Piece {
            bytes: Arc::new(bytes),
            used: used.clone(),
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(bytes) = Arc::into_inner(std::mem::take(&mut self.bytes)) {
            let _ = self.used.send(bytes);
        }
    }
}

/// A reader of pieces, until there are no more or an error comes.
pub struct Incoming {
    pieces: Receiver<io::Result<Piece>>,
    current: Option<Piece>,
    at: usize,
}

impl Incoming {
    /// Reads what comes from `pieces`.
    pub fn new(pieces: Receiver<io::Result<Piece>>) -> Incoming {
        Incoming {
            pieces,
            current: None,
            at: 0,
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = match self.current.take() {
            Some(piece) if self.at < piece.len() => piece,
            _ => {
                let Ok(next) = self.pieces.recv() else {
                    return Ok(0);
                };
                self.at = 0;
                next?
            }
        };
        let n = buffer.len().min(piece.len() - self.at);
        buffer[..n].copy_from_slice(&piece[self.at..self.at + n]);
        self.at += n;
        self.current = Some(piece);
        Ok(n)
    }
}
