//! What containers print: drivers that keep it, and the way back.
//!
//! The supervisor hands over what it reads from the container's pipes or
//! terminal; a record is a line, or a piece of one that is longer than
//! [`MAX_RECORD`]. Whatever goes wrong with the log, the container goes on.

mod file;
mod journal;
pub mod json;
pub mod k8s;
mod lines;
pub mod read;

pub use super::request::log::{Driver, LogConfig};
use crate::error::refuse;
use anyhow::Result;
use jiff::Timestamp;
use lines::Lines;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where a container's output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in log files.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A record longer than this is kept in pieces, as docker does.
pub const MAX_RECORD: usize = 16 << 10;

/// Fails where there is nobody who could keep the log.
///
/// # Errors
/// `journald` on a machine without.
pub fn check(driver: Driver) -> Result<()> {
    if driver == Driver::Journald && !journal::is_there() {
        refuse!(
            Unsupported,
            "--log-driver journald: there is no {} on this machine; json-file and k8s-file work \
             anywhere",
            journal::SOCKET
        );
    }
    Ok(())
}

/// Who prints: for the records' details and the journal.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What goes with every record: the labels and variables asked for.
    pub details: BTreeMap<String, String>,
}

enum Sink {
    File {
        file: file::LogFile,
        encode: fn(&mut Vec<u8>, &Record<'_>),
    },
    Journal(journal::Journal),
    None,
}

/// One record on its way into a log.
pub struct Record<'a> {
    /// When it was read.
    pub time: &'a str,
    /// From where.
    pub stream: Stream,
    /// The line with its line feed, or a piece of one without.
    pub data: &'a [u8],
    /// What goes with it.
    pub details: &'a BTreeMap<String, String>,
}

/// Keeps what a container prints.
pub struct Logger {
    sink: Sink,
    origin: Origin,
    lines: [Lines; 2],
    clock: Clock,
    buffer: Vec<u8>,
}

impl Logger {
    /// Opens the log of the container in `directory`.
    pub fn open(directory: &Path, config: &LogConfig, origin: Origin) -> Result<Logger> {
        let sink = match (config.file(), config.driver) {
            (Some(name), driver) => Sink::File {
                file: file::LogFile::open(&directory.join(name), config.max_size, config.max_file)?,
                encode: match driver {
                    Driver::K8sFile => k8s::encode,
                    _ => json::encode,
                },
            },
            (None, Driver::Journald) => Sink::Journal(journal::Journal::open()?),
            (None, _) => Sink::None,
        };
        Ok(Logger {
            sink,
            origin,
            lines: Default::default(),
            clock: Clock::default(),
            buffer: Vec::new(),
        })
    }

    /// Keeps what was read from a stream. Never fails and never waits: what
    /// finds no room is counted, and the next record that does tells of it.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        if let Sink::None = self.sink {
            return;
        }
        let mut lines = std::mem::take(&mut self.lines[stream as usize]);
        let now = self.clock.now();
        lines.feed(data, |record| self.keep(&now, stream, record));
        self.lines[stream as usize] = lines;
        self.flush();
    }

    /// Keeps the lines that were not ended.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.lines[stream as usize].take();
            if !rest.is_empty() {
                let now = self.clock.now();
                self.keep(&now, stream, &rest);
            }
        }
        self.flush();
    }

    /// Gives back what it holds for speed.
    pub fn trim(&mut self) {
        self.buffer = Vec::new();
        self.lines.iter_mut().for_each(Lines::trim);
    }

    fn keep(&mut self, time: &str, stream: Stream, data: &[u8]) {
        let details = &self.origin.details;
        let record = Record {
            time,
            stream,
            data,
            details,
        };
        match &mut self.sink {
            Sink::None => {}
            Sink::Journal(journal) => journal.send(&self.origin, &record),
            Sink::File { file, encode } => {
                encode(&mut self.buffer, &record);
                if file.is_full(self.buffer.len()) {
                    self.flush();
                    self.rotate();
                }
            }
        }
    }

    fn rotate(&mut self) {
        if let Sink::File { file, .. } = &mut self.sink {
            file.rotate();
        }
    }

    fn flush(&mut self) {
        let Sink::File { file, encode } = &mut self.sink else {
            return;
        };
        if self.buffer.is_empty() {
            return;
        }
        if let Some((bytes, why)) = file.lost() {
            let text = format!("bryo: {bytes} bytes of the log were lost: {why}\n");
            let mut note = Vec::new();
            let record = Record {
                time: &self.clock.now(),
                stream: Stream::Stderr,
                data: text.as_bytes(),
                details: &self.origin.details,
            };
            encode(&mut note, &record);
            file.tell_lost(&note);
        }
        file.write(&self.buffer);
        self.buffer.clear();
    }
}

/// Times as RFC 3339 with nanoseconds; what they share is formatted once a
/// second.
#[derive(Default)]
struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    fn now(&mut self) -> String {
        let now = Timestamp::now();
        if self.text.is_empty() || now.as_second() != self.second {
            self.second = now.as_second();
            self.text = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        format!("{}.{:09}Z", self.text, now.subsec_nanosecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for driver in ["json-file", "k8s-file"] {
            let dir = tempfile::tempdir().unwrap();
            let config = LogConfig::read(Some(driver), &[]).unwrap();
            let mut logger = Logger::open(dir.path(), &config, Origin::default()).unwrap();
            let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            for piece in bytes.chunks(777) {
                logger.write(Stream::Stdout, piece);
                logger.write(Stream::Stderr, b"error\n");
            }
            logger.finish();
            let mut reader = read::Reader::open(dir.path(), &config, None).unwrap();
            let (mut out, mut errors) = (Vec::new(), 0);
            while let Some(entry) = reader.read().unwrap() {
                match entry.stream {
                    Stream::Stdout => out.extend(entry.data),
                    Stream::Stderr => errors += entry.data.len(),
                }
            }
            assert!(out == bytes, "{driver}");
            assert_eq!(errors, bytes.chunks(777).count() * 6);
        }
    }
}
