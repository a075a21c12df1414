//! The image `host`: the machine's own root below throw-away overlays.
//!
//! A user's overlay cannot have a directory as its lower layer below which
//! the host has something mounted: what is hidden there would come to light.
//! So the root is put together from parts: an overlay for every directory
//! without such mounts, plain directories on the way to the mounts, and the
//! mounts themselves, read-only. `/run`, `/tmp` and `/var/tmp` are put together
//! in the same way also where they are file systems of their own, and without
//! the files right in them, which come and go.

use super::mountinfo::{self, Mount};
use anyhow::{Context, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The parts of the host's root, each by its path on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Directories that lead to mounts; made anew.
    pub directories: Vec<PathBuf>,
    /// Symbolic links beside them, made anew: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Directories that get an overlay each.
    pub overlays: Vec<PathBuf>,
    /// What is shown read-only: other file systems, files beside mounts.
    pub binds: Vec<PathBuf>,
}

/// Mount points that a container has of its own; where bryo is in a container
/// itself, the files are mounts there too.
const OWN: [&str; 6] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
];
/// Where programs have to write, a file system of its own or not.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// Whether `path` is right in a place where others make and remove directories
/// while a container starts.
pub fn may_go(path: &Path) -> bool {
    let directory = path.parent();
    SCRATCH.iter().any(|s| directory == Some(Path::new(s)))
}

/// Whether something is mounted below `path`.
fn leads(path: &Path, points: &[PathBuf]) -> bool {
    let mut below = points.iter().filter(|point| *point != path);
    below.any(|point| point.starts_with(path))
}

impl Parts {
    /// The parts of this machine's root.
    pub fn find() -> Result<Parts> {
        let text = std::fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        let points = mounts_on_root(&mountinfo::parse(&text));
        let mut parts = Parts::default();
        parts.add(Path::new("/"), &points)?;
        Ok(parts)
    }

    /// Adds what is in `directory`, which leads to mounts.
    fn add(&mut self, directory: &Path, points: &[PathBuf]) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(directory) else {
            // Not for this user to see, but its mounts may be.
            self.binds.push(directory.to_owned());
            return Ok(());
        };
        if directory != Path::new("/") {
            self.directories.push(directory.to_owned());
        }
        // Files that come and go: one may be gone before it is mounted.
        let passing = SCRATCH.iter().any(|place| directory == Path::new(place));
        for entry in entries {
            let entry = entry.with_context(|| directory.display().to_string())?;
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let scratch = SCRATCH.iter().any(|place| path == Path::new(place));
            if scratch && points.contains(&path) {
                match leads(&path, points) {
                    true => self.add(&path, points)?,
                    false => self.overlays.push(path),
                }
            } else if points.contains(&path) {
                if !OWN.iter().any(|own| path == Path::new(own)) {
                    self.binds.push(path);
                }
            } else if kind.is_symlink() {
                if let Ok(target) = std::fs::read_link(&path) {
                    self.links.push((path, target));
                }
            } else if kind.is_dir() && leads(&path, points) {
                self.add(&path, points)?;
            } else if kind.is_dir() && path.to_str().is_some_and(is_plain) {
                self.overlays.push(path);
            } else if kind.is_dir() || kind.is_file() && !passing {
                self.binds.push(path);
            }
        }
        Ok(())
    }

    /// Makes below `container` what the mounts stand on: `upper` for the root
    /// itself, and for each overlay the directories of [`layer`].
    pub fn make(&self, container: &Path) -> Result<()> {
        let inside = |path: &Path| {
            let path = path.strip_prefix("/").unwrap_or(path);
            container.join("upper").join(path)
        };
        let what = |path: &Path| format!("create {}", path.display());
        for path in &self.directories {
            make_like(path, &inside(path)).with_context(|| what(path))?;
        }
        for (path, target) in &self.links {
            std::os::unix::fs::symlink(target, inside(path)).with_context(|| what(path))?;
        }
        for (index, path) in self.overlays.iter().enumerate() {
            let (upper, work) = layer(container, index);
            std::fs::create_dir_all(&work).with_context(|| what(path))?;
            match make_like(path, &upper) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && may_go(path) => {}
                done => done.with_context(|| what(path))?,
            }
        }
        Ok(())
    }
}

/// Whether a path needs no quoting among an overlay's options.
fn is_plain(path: &str) -> bool {
    !path.contains([',', ':', '\\'])
}

/// Where the overlay with this number writes: upper and work directory.
pub fn layer(container: &Path, index: usize) -> (PathBuf, PathBuf) {
    let directory = container.join("parts").join(index.to_string());
    (directory.join("upper"), directory.join("work"))
}

/// Makes a directory with the mode of another one.
fn make_like(model: &Path, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(model)?.mode() & 0o1777;
    std::fs::DirBuilder::new().mode(0o755).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | 0o700))
}

/// The points of all mounts right on the root's own, and right on those that
/// programs write to.
fn mounts_on_root(mounts: &[Mount]) -> Vec<PathBuf> {
    let Some(root) = mounts.iter().rfind(|m| m.point == Path::new("/")) else {
        return Vec::new();
    };
    let is_scratch = |m: &&Mount| SCRATCH.iter().any(|place| m.point == Path::new(place));
    let split = mounts.iter().filter(|m| m.parent == root.id);
    let mut split: Vec<u64> = split.filter(is_scratch).map(|m| m.id).collect();
    split.push(root.id);
    let below = mounts.iter().filter(|m| split.contains(&m.parent));
    let mut points: Vec<PathBuf> = below.map(|m| m.point.clone()).collect();
    points.retain(|point| point != Path::new("/"));
    points.sort();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_on_the_root_and_on_what_is_split() {
        let info = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
                    2 1 0:5 / /proc rw - proc proc rw\n\
                    3 1 8:2 / /home\\040x rw - ext4 /dev/b rw\n\
                    4 3 8:3 / /home\\040x/y rw - ext4 /dev/c rw\n\
                    5 1 0:6 / /run rw - tmpfs t rw\n\
                    6 5 0:7 / /run/user/1 rw - tmpfs t rw\n\
                    7 6 0:8 / /run/user/1/doc rw - fuse t rw\n";
        let points = ["/home x", "/proc", "/run", "/run/user/1"].map(PathBuf::from);
        assert_eq!(mounts_on_root(&mountinfo::parse(info)), points);
    }

    #[test]
    fn directories_are_split_where_mounts_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a/b/mount", "a/c", "d"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("a/file"), "").unwrap();
        std::os::unix::fs::symlink("c", at("a/link")).unwrap();
        let mut parts = Parts::default();
        parts.add(dir.path(), &[at("a/b/mount")]).unwrap();
        parts.overlays.sort();
        parts.binds.sort();
        let expected = Parts {
            directories: vec![dir.path().to_owned(), at("a"), at("a/b")],
            links: vec![(at("a/link"), "c".into())],
            overlays: vec![at("a/c"), at("d")],
            binds: vec![at("a/b/mount"), at("a/file")],
        };
        assert_eq!(parts, expected);
    }
}
