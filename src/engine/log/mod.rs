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

use super::request::size;
use crate::error;
use anyhow::{Result, bail};
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

/// What keeps the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Docker's file format: one JSON object a line.
    #[default]
    JsonFile,
    /// The format of CRI, podman's name for it.
    K8sFile,
    /// systemd's journal.
    Journald,
    /// Nothing.
    None,
}

impl Driver {
    /// Its name, as `--log-driver` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::JsonFile => "json-file",
            Driver::K8sFile => "k8s-file",
            Driver::Journald => "journald",
            Driver::None => "none",
        }
    }
}

/// `--log-driver` and `--log-opt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// What keeps the log.
    pub driver: Driver,
    /// Bytes after which a new file is begun.
    pub max_size: Option<u64>,
    /// How many files there are at most; 0 stands for 1.
    pub max_file: u32,
    /// Labels whose values go with every record.
    pub labels: Vec<String>,
    /// Variables whose values go with every record.
    pub env: Vec<String>,
}

/// A record longer than this is kept in pieces, as docker does.
pub const MAX_RECORD: usize = 16 << 10;

impl LogConfig {
    /// Reads the flags; no driver means the default one.
    ///
    /// # Errors
    /// Unknown drivers and options, those that the driver has not, and
    /// `journald` where there is none.
    pub fn parse(driver: Option<&str>, options: &[String]) -> Result<LogConfig> {
        let driver = match driver {
            None | Some("json-file" | "") => Driver::JsonFile,
            Some("k8s-file") => Driver::K8sFile,
            Some("none") => Driver::None,
            Some("journald") if journal::is_there() => Driver::Journald,
            Some("journald") => bail!(error::Kind::Unsupported.says(format!(
                "--log-driver journald: there is no {} on this machine; json-file and k8s-file \
                 work anywhere",
                journal::SOCKET
            ))),
            Some(other) => bail!(
                "--log-driver {other}: not supported; there are json-file, k8s-file, journald \
                 and none"
            ),
        };
        let mut config = LogConfig {
            driver,
            ..LogConfig::default()
        };
        let files = matches!(driver, Driver::JsonFile | Driver::K8sFile);
        for option in options {
            let words = |list: &str| list.split(',').map(str::to_owned).collect();
            match option.split_once('=') {
                Some(("max-size", "-1")) if files => config.max_size = None,
                Some(("max-size", size)) if files => match size::bytes(size)? {
                    0 => bail!("--log-opt {option}: a file needs some room"),
                    size => config.max_size = Some(size),
                },
                Some(("max-file", count)) if files => match count.parse() {
                    Ok(count) if count > 0 => config.max_file = count,
                    _ => bail!("--log-opt {option}: at least one file is wanted"),
                },
                Some(("labels", list)) if driver != Driver::None => config.labels = words(list),
                Some(("env", list)) if driver != Driver::None => config.env = words(list),
                Some(("compress", "false")) if files => {}
                Some(_) => bail!(
                    "--log-opt {option}: not supported by the driver {}",
                    driver.name()
                ),
                None => bail!("--log-opt {option}: NAME=VALUE is wanted"),
            }
        }
        if config.max_file > 1 && config.max_size.is_none() {
            bail!("--log-opt max-file has no effect without max-size");
        }
        Ok(config)
    }

    /// Name of the log file in a container's directory.
    pub fn file(&self) -> Option<&'static str> {
        match self.driver {
            Driver::JsonFile => Some("log.json"),
            Driver::K8sFile => Some("log.k8s"),
            Driver::Journald | Driver::None => None,
        }
    }
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
    fn options_are_checked() {
        let parse = |driver, options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            LogConfig::parse(driver, &options)
        };
        let config = parse(None, &["max-size=10k", "max-file=3", "labels=a,b"]).unwrap();
        assert_eq!((config.max_size, config.max_file), (Some(10240), 3));
        assert_eq!(config.labels, ["a", "b"]);
        assert!(parse(Some("none"), &["max-size=1k"]).is_err());
        assert!(parse(Some("syslog"), &[]).is_err());
        assert!(parse(None, &["max-file=3"]).is_err());
        assert!(parse(None, &["max-size=0"]).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for driver in ["json-file", "k8s-file"] {
            let dir = tempfile::tempdir().unwrap();
            let config = LogConfig::parse(Some(driver), &[]).unwrap();
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
