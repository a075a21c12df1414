//! A log file that grows, is replaced when it is full, and never fails.

use crate::sys::fs::private;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file that is written to, and the ones before it: `NAME.1` is the
/// youngest of these.
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Its bytes; it never ends in half a record.
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
    /// Bytes that found no room, and why.
    lost: Option<(u64, String)>,
}

impl LogFile {
    /// Opens `path` to append to it.
    pub fn open(path: &Path, max_size: Option<u64>, max_file: u32) -> Result<LogFile> {
        let open = || -> io::Result<(File, u64)> {
            let file = private().append(true).create(true).open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().with_context(|| format!("log {}", path.display()))?;
        let mut log = LogFile {
            path: path.to_owned(),
            file,
            size,
            max_size,
            max_file: max_file.max(1),
            lost: None,
        };
        log.cut_half_a_record();
        Ok(log)
    }

    /// Ends what a killed writer began.
    fn cut_half_a_record(&mut self) {
        use std::os::unix::fs::FileExt;
        let mut last = [0];
        let Ok(reader) = File::open(&self.path) else {
            return;
        };
        if self.size > 0 && reader.read_exact_at(&mut last, self.size - 1).is_ok() && last != *b"\n"
        {
            self.write(b"\n");
        }
    }

    /// Writes whole records. What finds no room is counted and left out.
    pub fn write(&mut self, records: &[u8]) {
        if let Err(error) = self.append(records) {
            let before = self.lost.take().map_or(0, |(bytes, _)| bytes);
            self.lost = Some((before + records.len() as u64, error.to_string()));
        }
    }

    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(records);
        match written {
            Ok(()) => self.size += records.len() as u64,
            // Not even half a record stays.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        written
    }

    /// How many bytes were lost since that was last told, and why.
    pub fn lost(&self) -> Option<&(u64, String)> {
        self.lost.as_ref()
    }

    /// Writes a record that tells what was lost, if that has room now.
    pub fn tell_lost(&mut self, record: &[u8]) {
        if self.append(record).is_ok() {
            self.lost = None;
        }
    }

    /// Whether it is full once so many bytes are added.
    pub fn is_full(&self, more: usize) -> bool {
        self.max_size
            .is_some_and(|max| self.size + more as u64 >= max)
    }

    /// Begins a new file; the eldest goes. If that fails, this one grows on.
    pub fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        let next = numbered(0);
        let renew = || -> io::Result<File> {
            let file = private().append(true).create_new(true).open(&next)?;
            for number in (1..self.max_file.saturating_sub(1)).rev() {
                let _ = std::fs::rename(numbered(number), numbered(number + 1));
            }
            if self.max_file > 1 {
                std::fs::rename(&self.path, numbered(1))?;
            }
            std::fs::rename(&next, &self.path)?;
            Ok(file)
        };
        match renew() {
            Ok(file) => (self.file, self.size) = (file, 0),
            Err(_) => drop(std::fs::remove_file(&next)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_the_eldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, Some(10), 3).unwrap();
        for n in 0..9 {
            log.write(format!("record {n}\n").as_bytes());
            if log.is_full(0) {
                log.rotate();
            }
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log"), "record 8\n");
        assert_eq!(read("log.1"), "record 6\nrecord 7\n");
        assert_eq!(read("log.2"), "record 4\nrecord 5\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_full_disk_is_survived() {
        let mut log = LogFile {
            path: "/dev/full".into(),
            file: File::options().write(true).open("/dev/full").unwrap(),
            size: 0,
            max_size: None,
            max_file: 1,
            lost: None,
        };
        log.write(b"abc\n");
        log.write(b"def\n");
        log.tell_lost(b"lost\n");
        let (bytes, why) = log.lost().unwrap();
        assert_eq!(*bytes, 8);
        assert!(why.contains("No space"), "{why}");
    }
}
