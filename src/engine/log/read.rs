//! Reading logs back, from the eldest file to the one that still grows.

use super::Driver;
use super::LogConfig;
use super::Stream;
use super::json;
use super::k8s;
use crate::error::refuse;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was read from the container.
    pub time: Timestamp,
    /// From where.
    pub stream: Stream,
    /// The line with its line feed, or a piece of one without.
    pub data: Vec<u8>,
    /// What `--log-opt labels=…` and `env=…` asked for.
    pub details: BTreeMap<String, String>,
}

/// A place in a container's log.
pub struct Reader {
    path: PathBuf,
    decode: fn(&[u8]) -> Result<Entry>,
    current: Option<(u64, BufReader<File>)>,
    /// A line that is not whole yet.
    line: Vec<u8>,
}

impl Reader {
    /// Opens the log in a container's directory at its beginning, or before
    /// its last `tail` records.
    ///
    /// # Errors
    /// The driver keeps nothing that could be read.
    pub fn open(directory: &Path, config: &LogConfig, tail: Option<u64>) -> Result<Reader> {
        let Some(name) = config.file() else {
            refuse!(
                Unsupported,
                "its log driver {} keeps no file",
                config.driver.name()
            )
        };
        let decode = match config.driver {
            Driver::K8sFile => k8s::decode,
            _ => json::decode,
        };
        let mut reader = Reader {
            path: directory.join(name),
            decode,
            current: None,
            line: Vec::new(),
        };
        let what = || format!("log {}", reader.path.display());
        match tail {
            None => {}
            Some(tail) => reader.current = reader.place_before(tail).with_context(what)?,
        }
        Ok(reader)
    }

    /// The files of the log, the eldest first.
    fn files(&self) -> Vec<PathBuf> {
        let numbered = |number: usize| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        let old = (1..).map(numbered).take_while(|path| path.exists());
        let mut files: Vec<PathBuf> = old.collect();
        files.reverse();
        files.push(self.path.clone());
        files
    }

    /// The place before the last `tail` records.
    fn place_before(&self, mut tail: u64) -> std::io::Result<Option<(u64, BufReader<File>)>> {
        let mut place = None;
        for path in self.files().iter().rev() {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let metadata = file.metadata()?;
            let at = skip_back(&file, metadata.len(), &mut tail)?;
            let mut reader = BufReader::new(file);
            reader.seek(SeekFrom::Start(at.unwrap_or(0)))?;
            place = Some((metadata.ino(), reader));
            if at.is_some() {
                break;
            }
        }
        Ok(place)
    }

    /// The next record; `None` at what is the end now. Lines that are no
    /// records are left out.
    pub fn read(&mut self) -> Result<Option<Entry>> {
        let path = self.path.clone();
        let what = || format!("log {}", path.display());
        loop {
            self.read_line().with_context(what)?;
            if self.line.ends_with(b"\n") {
                let entry = (self.decode)(&self.line);
                self.line.clear();
                match entry {
                    Ok(entry) => return Ok(Some(entry)),
                    Err(_) => continue,
                }
            }
            let Some(next) = self.next_file().with_context(what)? else {
                return Ok(None);
            };
            // What was added before the file was replaced.
            self.read_line().with_context(what)?;
            if !self.line.ends_with(b"\n") {
                self.line.clear();
                self.current = Some(next);
            }
        }
    }

    /// Reads on to the end of the line, or to the end of the file.
    fn read_line(&mut self) -> std::io::Result<()> {
        if let Some((_, file)) = &mut self.current {
            file.read_until(b'\n', &mut self.line)?;
        }
        Ok(())
    }

    /// The file after the current one, if there is one.
    fn next_file(&self) -> std::io::Result<Option<(u64, BufReader<File>)>> {
        let current = self.current.as_ref().map(|(inode, _)| *inode);
        let mut first = None;
        let mut found = false;
        for path in self.files() {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let inode = file.metadata()?.ino();
            if found {
                return Ok(Some((inode, BufReader::with_capacity(1 << 16, file))));
            }
            found = current == Some(inode);
            first.get_or_insert((inode, file));
        }
        Ok(match (found, first) {
            (false, Some((inode, file))) => Some((inode, BufReader::with_capacity(1 << 16, file))),
            _ => None,
        })
    }
}

/// Where the last `tail` lines of a file of `size` bytes begin; `None` if it
/// has no more, with `tail` less by what it has.
fn skip_back(file: &File, size: u64, tail: &mut u64) -> std::io::Result<Option<u64>> {
    if *tail == 0 {
        return Ok(Some(size));
    }
    let mut buffer = vec![0; 1 << 16];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let block = &mut buffer[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for (at, byte) in block.iter().enumerate().rev() {
            let position = start + at as u64 + 1;
            // The line feed at the very end is of the last line.
            if *byte != b'\n' || position == size {
                continue;
            }
            *tail -= 1;
            if *tail == 0 {
                return Ok(Some(position));
            }
        }
        end = start;
    }
    if size > 0 {
        *tail -= 1;
    }
    Ok((*tail == 0).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::super::{Logger, Origin};
    use super::*;

    fn config(max_size: u64) -> LogConfig {
        LogConfig {
            max_size: Some(max_size),
            max_file: 4,
            ..LogConfig::default()
        }
    }

    fn rest(reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(entry) = reader.read().unwrap() {
            lines.push(String::from_utf8(entry.data).unwrap().trim_end().to_owned());
        }
        lines
    }

    #[test]
    fn the_last_records_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(300);
        let mut logger = Logger::open(dir.path(), &config, Origin::default()).unwrap();
        for n in 0..14 {
            logger.write(Stream::Stdout, format!("{n}\n").as_bytes());
        }
        let open = |tail| Reader::open(dir.path(), &config, tail).unwrap();
        let all = rest(&mut open(None));
        assert_eq!(all.last().unwrap(), "13");
        assert!(dir.path().join("log.json.1").exists());
        for tail in 0..=all.len() as u64 {
            let some = rest(&mut open(Some(tail)));
            assert_eq!(some, all[all.len() - tail as usize..], "{tail}");
        }
        assert_eq!(rest(&mut open(Some(1000))), all);
    }

    #[test]
    fn a_reader_follows_through_new_files_and_half_lines() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(200);
        let mut logger = Logger::open(dir.path(), &config, Origin::default()).unwrap();
        let mut reader = Reader::open(dir.path(), &config, None).unwrap();
        let mut seen = Vec::new();
        for n in 0..50 {
            logger.write(Stream::Stdout, format!("{n}\n").as_bytes());
            if n % 3 == 0 {
                seen.extend(rest(&mut reader));
            }
        }
        seen.extend(rest(&mut reader));
        let all: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(seen, all);
        std::fs::write(dir.path().join("log.json"), "{\"half\n").unwrap();
        let mut reader = Reader::open(dir.path(), &config, Some(1)).unwrap();
        assert_eq!(rest(&mut reader), [""; 0]);
    }
}
