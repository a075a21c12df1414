//! The file that a blob is kept in.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::sys::fs::begin_writeback;

/// Bytes that are written before the disk is asked to take them.
const STEP: u64 = 8 << 20;

/// A new file whose bytes are on their way to the disk while more are written,
/// so that there is little to wait for in the end.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    written: u64,
    /// So much the disk was asked to take.
    begun: u64,
}

impl BlobFile {
    /// Creates the file `path`, or empties it.
    pub fn create(path: &Path) -> Result<BlobFile> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(BlobFile {
            file,
            written: 0,
            begun: 0,
        })
    }

    /// Waits until all that was written is on the disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Write for BlobFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        let waiting = self.written - self.begun;
        if waiting >= STEP {
            // Where it cannot be begun, it is done in the end.
            let _ = begin_writeback(&self.file, self.begun, waiting);
            self.begun = self.written;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
