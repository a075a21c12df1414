//! What is known of a layer when its archive was read, and how its tree gets
//! finished.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::openat;
use nix::sys::stat::{Mode, fchmod, futimens};

use super::{DIRECTORY, OMIT, open_root, time};
use crate::image::entry::{show, split};
use crate::image::record::{Records, UNLISTED};

/// What an unpacked layer is like, and what it still needs.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Members of the archive that were applied.
    pub entries: u64,
    /// Sum of the sizes of the regular files, in bytes.
    pub size: u64,
    /// What could not be put on the files themselves.
    pub records: Records,
    /// All directories by path, with what they are to have in the end; None
    /// for those that the archive uses but does not list.
    pub directories: BTreeMap<Vec<u8>, Option<Attributes>>,
    /// Hard links whose target is not in this layer: its path, by theirs.
    pub links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether the root hides everything below.
    pub opaque_root: bool,
    /// Whether the archive had its end mark.
    pub ended_properly: bool,
}

/// Mode and modification time of a directory.
pub type Attributes = (u32, (i64, u32));

impl Unpacked {
    /// Whether the tree is complete without a look at lower layers.
    pub fn stands_alone(&self) -> bool {
        self.implied().next().is_none() && self.links.is_empty() && !self.opaque_root
    }

    /// Directories that are only a way to something else. The root counts as
    /// one that is meant, whether it is listed or not.
    pub fn implied(&self) -> impl Iterator<Item = &Vec<u8>> {
        let all = self.directories.iter();
        all.filter(|(path, attributes)| attributes.is_none() && !path.is_empty())
            .map(|(path, _)| path)
    }

    /// Sets modes and times of the directories of `root`, after which the tree
    /// is finished. Until then their owner can enter them all. Those that
    /// nothing is known of get mode 0755 and the time zero; a root that is not
    /// listed is marked, see [`UNLISTED`].
    pub fn seal(&mut self, root: &Path) -> Result<()> {
        let mut here = Cursor {
            path: Vec::new(),
            fd: open_root(root)?,
        };
        // The deepest first: a directory may end up closed to its owner.
        while let Some((path, attributes)) = self.directories.pop_last() {
            let context = || format!("directory {}", show(&path));
            let unknown = match path.is_empty() {
                true => UNLISTED,
                false => (0o755, (0, 0)),
            };
            let (mode, mtime) = attributes.unwrap_or(unknown);
            let directory = here.open(&path).with_context(context)?;
            futimens(&directory, &OMIT, &time(mtime)).with_context(context)?;
            fchmod(&directory, Mode::from_bits_truncate(mode)).with_context(context)?;
        }
        Ok(())
    }
}

/// A directory of a tree from which others are reached by the shortest way.
struct Cursor {
    path: Vec<u8>,
    fd: OwnedFd,
}

impl Cursor {
    /// Opens a directory by its true path, in which there are no links. The
    /// cursor is at its parent then: the way from there is still open when it
    /// is closed.
    fn open(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let (parent, name) = match split(path) {
            Some((parent, name)) => (parent, name),
            None => (path, &b"."[..]),
        };
        while !is_above(&self.path, parent) {
            self.fd = openat(&self.fd, c"..", DIRECTORY, Mode::empty())?;
            let above = split(&self.path).map_or(0, |(above, _)| above.len());
            self.path.truncate(above);
        }
        for name in parent[self.path.len()..].split(|byte| *byte == b'/') {
            if !name.is_empty() {
                self.fd = openat(&self.fd, name, DIRECTORY, Mode::empty())?;
            }
        }
        self.path = parent.to_vec();
        Ok(openat(&self.fd, name, DIRECTORY, Mode::empty())?)
    }
}

/// Whether directory `above` is `path` or leads to it.
fn is_above(above: &[u8], path: &[u8]) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| above.is_empty() || rest.is_empty() || rest[0] == b'/')
}

/// Takes out of a map by path all that starts with `prefix`.
pub fn take_below<K: Ord + Clone, V>(
    map: &mut BTreeMap<K, V>,
    prefix: &K,
    bytes: impl Fn(&K) -> &[u8],
) -> BTreeMap<K, V> {
    let below = map.range(prefix.clone()..);
    let below = below.take_while(|(path, _)| bytes(path).starts_with(bytes(prefix)));
    let below: Vec<K> = below.map(|(path, _)| path.clone()).collect();
    let taken = below.into_iter().map(|path| map.remove_entry(&path));
    taken.flatten().collect()
}
