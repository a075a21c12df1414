//! Files that get holes where long runs of zeros come: a layer's tar and an
//! archive of layers have none, since others cannot write those again.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// A run of at least so many zeros, in bytes, becomes a hole. Shorter ones stand
/// in ordinary programs, which holes would only cut up.
pub const RUN: usize = 64 * 1024;

/// A new file that is written from its beginning, in pieces that are best not
/// smaller than a run.
#[derive(Debug)]
pub struct Holes<F> {
    file: F,
    at: u64,
    /// Whether the last bytes are a hole so far.
    open: bool,
}

impl<F: Borrow<File>> Holes<F> {
    /// Writes to `file`, which is empty.
    pub fn new(file: F) -> Holes<F> {
        Holes {
            file,
            at: 0,
            open: false,
        }
    }

    /// The file, and how many bytes it has so far.
    pub fn place(&self) -> (&File, u64) {
        (self.file.borrow(), self.at)
    }

    /// Gives the file its length.
    pub fn finish(self) -> io::Result<F> {
        if self.open {
            self.file.borrow().set_len(self.at)?;
        }
        Ok(self.file)
    }
}

/// Whether all are zeros; most often the first ones tell.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|some| some.iter().all(|b| *b == 0))
}

impl<F: Borrow<File>> Write for Holes<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut data = 0..0;
        for run in bytes.chunks(RUN) {
            let end = data.end + run.len();
            match is_zero(run) && (run.len() == RUN || self.open) {
                true => {
                    self.data(&bytes[data.clone()])?;
                    self.at += run.len() as u64;
                    self.open = true;
                    data = end..end;
                }
                false => data.end = end,
            }
            self.open &= data.is_empty();
        }
        self.data(&bytes[data])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: Borrow<File>> Holes<F> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.borrow().write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for piece in [1, 1000, RUN - 1, RUN, 3 * RUN, 3 * RUN + 7] {
            let mut bytes = vec![0; 20 * RUN + 5];
            for at in [3, RUN, 7 * RUN + 10, 8 * RUN - 1] {
                bytes[at] = 1;
            }
            let file = tempfile::tempfile().unwrap();
            let mut holes = Holes::new(&file);
            for some in bytes.chunks(piece) {
                holes.write_all(some).unwrap();
            }
            assert_eq!(holes.place().1, bytes.len() as u64);
            holes.finish().unwrap();
            let mut read = vec![9; bytes.len()];
            file.read_exact_at(&mut read, 0).unwrap();
            assert!(read == bytes, "{piece}");
            let meta = file.metadata().unwrap();
            assert_eq!(meta.len(), bytes.len() as u64);
            if piece >= RUN {
                assert!(meta.blocks() * 512 < 10 * RUN as u64, "{piece}");
            }
        }
    }
}
