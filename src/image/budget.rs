//! How much room and work may be asked for by what strangers wrote.
//!
//! A few kilobytes of an archive can stand for a full disk, for attributes
//! without number on every file, or for a way that leads through a thousand
//! links. What is honest stays far below the numbers here; what exceeds one is
//! an error that says which, and how to allow it. Pure: no files, no clock.

use crate::error::demand;
use std::fmt;

use anyhow::Result;
use oci_spec::image::ImageConfiguration;

use super::entry::{Entry, Kind};

/// How much there may be of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that may come out of a compressed source.
    pub size: Limit,
    /// Sum of the sizes of a layer's files in bytes, holes included.
    pub apparent: u64,
    /// Members of an archive, and directories that are made for them.
    pub entries: u64,
    /// Extended attributes of one file.
    pub attributes: u64,
    /// Bytes of the extended attributes of all files.
    pub attribute_bytes: u64,
    /// Bytes of names and records that are kept in memory till the end.
    pub metadata: u64,
    /// Directories inside each other.
    pub depth: usize,
    /// Directories and links that may be walked through for an entry, on the
    /// average.
    pub steps: u64,
    /// Strings in an image's configuration: variables, volumes, labels, …
    pub strings: usize,
    /// Seconds of the processor, but for a second more with each megabyte read.
    pub processor: u64,
}

/// A layer's directories and links that cost nothing of [`Budget::steps`].
const FREE_STEPS: u64 = 1 << 18;

/// What a name or record in memory takes beside its bytes.
const OVERHEAD: u64 = 64;

impl Default for Budget {
    fn default() -> Self {
        Budget {
            size: Limit::Ratio,
            // The file lastlog of a user with a high id has a terabyte of holes.
            apparent: 2 << 40,
            entries: 4_000_000,
            // The kernel lists 64 KiB of names at most (xattr(7)).
            attributes: 1000,
            attribute_bytes: 256 << 20,
            metadata: 256 << 20,
            depth: 256,
            steps: 64,
            strings: 4000,
            processor: 600,
        }
    }
}

impl Budget {
    /// Any amount of everything.
    pub const UNLIMITED: Budget = Budget {
        size: Limit::None,
        apparent: u64::MAX,
        entries: u64::MAX,
        attributes: u64::MAX,
        attribute_bytes: u64::MAX,
        metadata: u64::MAX,
        depth: usize::MAX,
        steps: u64::MAX,
        strings: usize::MAX,
        processor: u64::MAX,
    };

    /// With the user's own `size` of layers, if he gave one, or without limits.
    pub fn new(size: Option<Limit>, unlimited: bool) -> Budget {
        let mut budget = match unlimited {
            true => Budget::UNLIMITED,
            false => Budget::default(),
        };
        if let Some(size) = size {
            budget.size = size;
            budget.apparent = match size {
                Limit::Bytes(most) => most,
                Limit::Ratio => budget.apparent,
                Limit::None => u64::MAX,
            };
        }
        budget
    }

    /// Seconds of the processor for so many bytes of input; None for any.
    pub fn seconds(&self, input: u64) -> Option<u64> {
        (self.processor < u64::MAX).then(|| self.processor.saturating_add(input >> 20))
    }

    /// Fails if an image's configuration has more strings of a kind than there
    /// may be.
    pub fn check_configuration(&self, config: &ImageConfiguration) -> Result<()> {
        let count = |what: &'static str, count: usize| {
            let (count, most) = (count as u64, self.strings as u64);
            within(what, Flag::Unlimited, count, most)
        };
        let history = config.history().as_ref().map_or(0, Vec::len);
        count("entries of its history", history)?;
        let Some(config) = config.config() else {
            return Ok(());
        };
        let lists = [
            ("environment variables", config.env()),
            ("words of its command", config.cmd()),
            ("words of its entry point", config.entrypoint()),
            ("volumes", config.volumes()),
            ("exposed ports", config.exposed_ports()),
        ];
        for (what, list) in lists {
            count(what, list.as_ref().map_or(0, Vec::len))?;
        }
        let labels = config.labels().as_ref().map_or(0, |labels| labels.len());
        count("labels", labels)
    }
}

/// How many bytes may come out of a compressed source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// `RATIO` times what is read of the blob, or `ALWAYS` if that is more.
    #[default]
    Ratio,
    /// So many.
    Bytes(u64),
    /// Any number.
    None,
}

/// No compression that is worth it gets near this; zeros do.
const RATIO: u64 = 100;

/// So many bytes may come out of any blob.
const ALWAYS: u64 = 1 << 30;

impl Limit {
    /// Reads `50m` and the like, and `unlimited`; `bytes` reads sizes.
    pub fn parse(text: &str, bytes: impl Fn(&str) -> Result<u64>) -> Result<Limit> {
        match text {
            "unlimited" => Ok(Limit::None),
            text => bytes(text).map(Limit::Bytes),
        }
    }

    /// Fails if `plain` bytes are too many to come out of `compressed` ones.
    pub fn check(self, plain: u64, compressed: u64) -> Result<()> {
        let most = match self {
            Limit::Ratio => ALWAYS.max(compressed.saturating_mul(RATIO)),
            Limit::Bytes(most) => most,
            Limit::None => return Ok(()),
        };
        within("bytes when it is unpacked", Flag::Size, plain, most)
    }
}

/// What allows more.
#[derive(Clone, Copy)]
enum Flag {
    Size,
    Unlimited,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flag::Size => "--max-layer-size",
            Flag::Unlimited => "--unlimited",
        })
    }
}

fn within(what: &str, flag: Flag, count: u64, most: u64) -> Result<()> {
    demand!(
        Invalid,
        count <= most,
        "it has more than {most} {what}, which is more than is likely: if it is to be trusted, \
         pull, load, import, copy and cp allow more with {flag}"
    );
    Ok(())
}

/// What was spent of a budget so far.
#[derive(Clone, Debug)]
pub struct Tally {
    budget: Budget,
    entries: u64,
    attribute_bytes: u64,
    apparent: u64,
    metadata: u64,
    steps: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(budget: Budget) -> Tally {
        Tally {
            budget,
            entries: 0,
            attribute_bytes: 0,
            apparent: 0,
            metadata: 0,
            steps: 0,
        }
    }

    /// Members and directories so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Counts a member of an archive: itself, its depth, size and attributes.
    pub fn member(&mut self, entry: &Entry) -> Result<()> {
        let Budget {
            attributes,
            attribute_bytes,
            apparent,
            ..
        } = self.budget;
        self.entry()?;
        self.depth(&entry.path)?;
        if let Kind::Link(target) = &entry.kind {
            self.depth(target)?;
        }
        let xattrs = &entry.meta.xattrs;
        let of_one = "extended attributes on one file";
        within(of_one, Flag::Unlimited, xattrs.len() as u64, attributes)?;
        let bytes = xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.attribute_bytes += bytes.sum::<usize>() as u64;
        let of_all = "bytes of extended attributes";
        within(
            of_all,
            Flag::Unlimited,
            self.attribute_bytes,
            attribute_bytes,
        )?;
        self.apparent = self.apparent.saturating_add(entry.size);
        let what = "bytes in its files, holes included";
        within(what, Flag::Size, self.apparent, apparent)
    }

    /// Counts a member, or a directory that is made for one.
    pub fn entry(&mut self) -> Result<()> {
        self.entries += 1;
        let most = self.budget.entries;
        within("files and directories", Flag::Unlimited, self.entries, most)
    }

    /// Fails if a clean path leads through too many directories.
    pub fn depth(&self, path: &[u8]) -> Result<()> {
        let depth = path.iter().filter(|byte| **byte == b'/').count() as u64;
        let most = self.budget.depth as u64;
        within(
            "directories inside each other",
            Flag::Unlimited,
            depth,
            most,
        )
    }

    /// Counts what stays in memory: a name or record of so many bytes.
    pub fn keep(&mut self, bytes: usize) -> Result<()> {
        self.metadata += bytes as u64 + OVERHEAD;
        let what = "bytes of names and of attributes that files cannot carry";
        within(what, Flag::Unlimited, self.metadata, self.budget.metadata)
    }

    /// Counts a directory or link on the way to one of `entries` members.
    pub fn step(&mut self, entries: u64) -> Result<()> {
        self.steps += 1;
        let most = self.budget.steps.saturating_mul(entries);
        let most = most.saturating_add(FREE_STEPS);
        let what = "directories and links to walk through";
        within(what, Flag::Unlimited, self.steps, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::entry::Metadata;

    fn entry(path: &str, attributes: usize, size: u64) -> Entry {
        let attribute = |n| (format!("user.{n}").into_bytes(), vec![0; 1000]);
        Entry {
            path: path.as_bytes().to_vec(),
            kind: Kind::File,
            meta: Metadata {
                xattrs: (0..attributes).map(attribute).collect(),
                ..Metadata::default()
            },
            size,
            pieces: None,
        }
    }

    fn refused(result: Result<()>, what: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }

    #[test]
    fn each_kind_has_its_end_and_its_words() {
        let mut tally = Tally::new(Budget::default());
        tally.member(&entry("a/b", 1000, 1 << 40)).unwrap();
        refused(tally.member(&entry("c", 0, 1 << 41)), "holes included");
        let mut tally = Tally::new(Budget::default());
        refused(tally.member(&entry("c", 1001, 0)), "1000 extended");
        for _ in 0..250 {
            tally.member(&entry("c", 1000, 0)).unwrap();
        }
        let mut more = (0..30).map(|_| tally.member(&entry("c", 1000, 0)));
        refused(
            more.find_map(Result::err).map_or(Ok(()), Err),
            "bytes of extended",
        );
        refused(
            tally.member(&entry(&"d/".repeat(257), 0, 0)),
            "inside each other",
        );
        let mut tally = Tally::new(Budget {
            entries: 2,
            ..Budget::default()
        });
        tally.entry().unwrap();
        tally.entry().unwrap();
        refused(tally.entry(), "--unlimited");
        refused(tally.keep(1 << 28), "names");
        let steps = (0..FREE_STEPS + 65).map(|_| tally.step(1));
        refused(
            steps.filter_map(Result::err).next().map_or(Ok(()), Err),
            "walk",
        );
    }

    #[test]
    fn a_user_may_allow_more() {
        let budget = Budget::new(Some(Limit::Bytes(5 << 40)), false);
        let mut tally = Tally::new(budget);
        tally.member(&entry("a", 0, 5 << 40)).unwrap();
        refused(tally.member(&entry("b", 0, 1)), "--max-layer-size");
        let mut tally = Tally::new(Budget::new(None, true));
        tally
            .member(&entry(&"d/".repeat(300), 2000, u64::MAX))
            .unwrap();
        tally.member(&entry("e", 0, u64::MAX)).unwrap();
        assert_eq!(Budget::UNLIMITED.seconds(1), None);
        assert_eq!(Budget::default().seconds(10 << 20), Some(610));
    }
}
