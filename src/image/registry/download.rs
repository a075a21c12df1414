//! One blob as a stream: what is here already, then the rest from the
//! registry, asked for again from where the connection broke.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::BodyReader;

use super::client::{Client, Repository};
use super::failure::Failure;
use super::parts::Part;
use super::repository::starts_over;
use crate::image::digest::Digest;

/// After so many bytes the registry gets all its attempts again.
const PROGRESS: u64 = 1 << 20;

/// Who sends fewer bytes than this in one `timeout` stands still.
const SLOWEST: u64 = 1024;

/// What stops all downloads of a pull.
#[derive(Debug, Default)]
pub struct Stop {
    /// No more is to be read: another download failed.
    pub stopped: AtomicBool,
    /// A download failed for a reason that may pass. What it has is worth
    /// keeping.
    pub interrupted: AtomicBool,
}

/// A blob that is read and kept in its [`Part`] at the same time.
pub struct Download<'a> {
    /// Whom to ask.
    pub client: &'a Client,
    /// For a blob of this repository.
    pub repository: &'a Repository,
    /// Which.
    pub digest: &'a Digest,
    /// Bytes that it should have.
    pub size: u64,
    /// Where else it can be had.
    pub urls: &'a [String],
    /// Where it is kept.
    pub part: &'a Part,
    /// What ends it early.
    pub stop: &'a Stop,
    /// Bytes in the part.
    have: u64,
    position: u64,
    body: Option<BodyReader<'static>>,
    tried: u32,
    /// Where the registry last had no attempt against it.
    mark: u64,
    pace: (Instant, u64),
}

impl<'a> Download<'a> {
    /// Starts with what the part has.
    pub fn new(
        client: &'a Client,
        repository: &'a Repository,
        (digest, size, urls): (&'a Digest, u64, &'a [String]),
        part: &'a Part,
        stop: &'a Stop,
    ) -> io::Result<Download<'a>> {
        let mut have = part.file.metadata()?.len();
        if have > size {
            part.file.set_len(0)?;
            have = 0;
        }
        Ok(Download {
            client,
            repository,
            digest,
            size,
            urls,
            part,
            stop,
            have,
            position: 0,
            body: None,
            tried: 0,
            mark: have,
            pace: (Instant::now(), 0),
        })
    }

    /// Reads from the registry. Nothing read means that the connection ended.
    fn fetch(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.open()?;
                self.pace = (Instant::now(), self.position);
                self.body.insert(body)
            }
        };
        let read = body.read(buffer);
        let n = read.map_err(|error| Failure::Broken(format!("the connection broke: {error}")))?;
        if n == 0 && self.position < self.size {
            let text = format!("it ended after {} of {} bytes", self.position, self.size);
            return Err(Failure::Broken(text));
        }
        self.keep_pace(n as u64)?;
        Ok(n)
    }

    /// Asks for the blob from the current position on.
    fn open(&self) -> Result<BodyReader<'static>, Failure> {
        let (client, from) = (self.client, self.position);
        let answer = match client.open_blob(self.repository, self.digest, from) {
            Err(failure) if failure.code() == Some(404) && !self.urls.is_empty() => {
                client.open_elsewhere(self.repository, self.urls, from)
            }
            other => other,
        }?;
        let again = starts_over(&answer, self.position)
            .map_err(|error| Failure::Refused(format!("{error:#}")))?;
        let mut body = answer.response.into_body().into_reader();
        if again {
            // It cannot send parts: what we have is read once more.
            let skipped = io::copy(&mut (&mut body).take(self.position), &mut io::sink());
            let skipped = skipped.map_err(|error| Failure::Broken(error.to_string()))?;
            if skipped < self.position {
                return Err(Failure::Broken(format!("it ended after {skipped} bytes")));
            }
        }
        Ok(body)
    }

    /// Fails if the registry lets bytes drip.
    fn keep_pace(&mut self, n: u64) -> Result<(), Failure> {
        let (since, from) = self.pace;
        let timeout = self.client.options.timeout;
        if since.elapsed() < timeout.max(Duration::from_secs(1)) {
            return Ok(());
        }
        let bytes = self.position + n - from;
        self.pace = (Instant::now(), self.position + n);
        match bytes < SLOWEST && self.position + n < self.size {
            true => {
                let seconds = timeout.as_secs();
                let text = format!("only {bytes} bytes came in {seconds} seconds");
                Err(Failure::Broken(text))
            }
            false => Ok(()),
        }
    }

    /// Reads from the registry, and asks again if need be.
    fn insist(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.fetch(buffer) {
                Ok(n) => return Ok(n),
                Err(failure) => {
                    self.body = None;
                    if self.position - self.mark >= PROGRESS {
                        self.tried = 0;
                    }
                    self.mark = self.position;
                    self.client.pause(self.tried, failure)?;
                    self.tried += 1;
                }
            }
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("another layer failed"));
        }
        if self.position < self.have {
            let left = usize::try_from(self.have - self.position).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(left);
            let n = self
                .part
                .file
                .read_at(&mut buffer[..wanted], self.position)?;
            self.position += n as u64;
            return Ok(n);
        }
        // A blob that is all here needs no registry.
        if self.position == self.size && self.body.is_none() {
            return Ok(0);
        }
        let n = self.insist(buffer).map_err(|failure| {
            if failure.passes() {
                self.stop.interrupted.store(true, Ordering::Relaxed);
            }
            io::Error::other(failure)
        })?;
        if self.position + n as u64 > self.size {
            let text = format!(
                "the registry sends more than the {} bytes it has",
                self.size
            );
            return Err(io::Error::other(text));
        }
        self.part.file.write_all_at(&buffer[..n], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}
