//! The image `host`: the machine's own root below throw-away overlays.
//!
//! A user's overlay cannot have a directory as its lower layer below which
//! the host has something mounted: what is hidden there would come to light.
//! So the root is put together from parts: an overlay for every directory and
//! every file system without such mounts, and plain directories on the way to
//! the mounts. Through an overlay nobody is reached: to connect(2), a socket in
//! it is another one than the socket below it. A bind mount, even a read-only
//! one, is for file systems that have no sockets.
//!
//! What is for the user alone is shown empty ([`Share`]).

pub mod share;

use crate::engine::host::share::Share;
use crate::sys::mountinfo::{self, Mount};
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
    /// What is shown read-only: file systems without sockets, files beside
    /// mounts.
    pub binds: Vec<PathBuf>,
    /// Directories that are shown empty.
    pub hidden: Vec<PathBuf>,
    /// Files that are shown empty.
    pub blank: Vec<PathBuf>,
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
/// Where users' own sockets are (pam_systemd(8)).
const OF_USERS: &str = "/run/user";
/// File systems in which nobody can make a socket, and some of which cannot be
/// below an overlay.
const WITHOUT_SOCKETS: [&str; 9] = [
    "cramfs", "erofs", "exfat", "iso9660", "msdos", "romfs", "squashfs", "udf", "vfat",
];
/// The processes of whoever mounted it, as in a root file system that is being
/// installed. It cannot be below an overlay, and is not the container's.
const PROCESSES: &str = "proc";
/// Where programs have to write, a file system of its own or not.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// Directories that the container owns, those above them first. What root owns
/// on the host has an owner whom the container's namespace does not know: even
/// where all may write, a directory cannot be copied up then (EOVERFLOW).
const OWNED: [&str; 14] = [
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/share",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// Where something is mounted, and how it is shown.
#[derive(Debug, Default)]
struct Points {
    all: Vec<PathBuf>,
    /// Those that are bound.
    bound: Vec<PathBuf>,
    /// Those that are shown empty.
    empty: Vec<PathBuf>,
}

impl Points {
    /// Whether something is mounted below `path`.
    fn below(&self, path: &Path) -> bool {
        let mut below = self.all.iter().filter(|point| *point != path);
        below.any(|point| point.starts_with(path))
    }

    /// What is right in `directory` and leads to mounts.
    fn right_in(&self, directory: &Path) -> Vec<PathBuf> {
        let name = |point: &PathBuf| {
            let rest = point.strip_prefix(directory).ok()?;
            Some(directory.join(rest.components().next()?))
        };
        let mut names: Vec<PathBuf> = self.all.iter().filter_map(name).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Parts {
    /// The parts of this machine's root; `store` is the store's directory.
    pub fn find(share: &Share, store: &Path) -> Result<Parts> {
        let text = std::fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        let points = points(&mountinfo::parse(&text), share);
        let mut parts = Parts::default();
        parts.add(Path::new("/"), &points, share)?;
        parts.hide(share, store);
        Ok(parts)
    }

    /// Adds what is in `directory`, which leads to mounts.
    fn add(&mut self, directory: &Path, points: &Points, share: &Share) -> Result<()> {
        if directory != Path::new("/") {
            self.directories.push(directory.to_owned());
        }
        let paths = match std::fs::read_dir(directory) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<Vec<_>>>()
                .with_context(|| directory.display().to_string())?,
            // Not for this user to see, but its mounts may be.
            Err(_) => points.right_in(directory),
        };
        // Files that come and go: one may be gone before it is mounted.
        let passing = SCRATCH.iter().any(|place| directory == Path::new(place));
        for path in paths {
            let Ok(kind) = path.symlink_metadata().map(|meta| meta.file_type()) else {
                continue;
            };
            let mounted = points.all.contains(&path);
            if mounted && OWN.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            if directory == Path::new(OF_USERS) {
                if share.has("run") {
                    self.binds.push(path);
                }
            } else if points.empty.contains(&path) {
                self.directories.push(path);
            } else if points.bound.contains(&path) {
                self.binds.push(path);
            } else if kind.is_symlink() {
                if let Ok(target) = std::fs::read_link(&path) {
                    self.links.push((path, target));
                }
            } else if kind.is_dir() && (points.below(&path) || path == Path::new(OF_USERS)) {
                self.add(&path, points, share)?;
            } else if kind.is_dir() && path.to_str().is_some_and(is_plain) {
                self.overlays.push(path);
            } else if kind.is_file() && !passing {
                self.binds.push(path);
            }
        }
        Ok(())
    }

    /// Finds what is for the user alone.
    fn hide(&mut self, share: &Share, store: &Path) {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let homes = [
            variable("HOME"),
            crate::engine::ground::paths::home_of_passwd(),
        ];
        let mut paths: Vec<PathBuf> = homes
            .iter()
            .flatten()
            .flat_map(|home| share.hidden().map(|path| home.join(path)))
            .collect();
        // A directory that is all that there is to work on is not meant.
        let here = std::env::current_dir().ok();
        let wanted = |path: &PathBuf| {
            let places = homes.iter().chain([&here]).flatten();
            places.into_iter().all(|place| !place.starts_with(path))
        };
        paths.extend(
            share
                .hidden_by(|name| std::env::var_os(name))
                .filter(wanted),
        );
        if !share.has("store") {
            paths.push(store.to_owned());
            let usual = homes.iter().flatten();
            paths.extend(usual.map(|home| home.join(".local/share/bryo")));
        }
        let private = |path: &PathBuf| {
            path.metadata().is_ok_and(|meta| {
                meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o077 == 0
            })
        };
        match variable("XDG_RUNTIME_DIR").filter(private) {
            Some(path) if path.starts_with(OF_USERS) => {}
            Some(path) if share.has("run") => self.binds.push(path),
            Some(path) => paths.push(path),
            None => {}
        }
        // Where they are, if they are links; what there is not is not hidden.
        for path in paths.iter().filter_map(|path| path.canonicalize().ok()) {
            let list = match path.is_dir() {
                true => &mut self.hidden,
                false => &mut self.blank,
            };
            if !list.contains(&path) {
                list.push(path);
            }
        }
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
                // It was gone, and may be back: the mount is left out then (`nofail`).
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                done => done.with_context(|| what(path))?,
            }
            for place in OWNED.iter().map(Path::new) {
                let below = place.strip_prefix(path).ok();
                let Some(below) = below.filter(|below| !below.as_os_str().is_empty()) else {
                    continue;
                };
                if place.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                    make_like(place, &upper.join(below)).with_context(|| what(place))?;
                }
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

/// The points of all mounts but those that a container has of its own.
fn points(mounts: &[Mount], share: &Share) -> Points {
    let mut points = Points::default();
    for Mount { point, fstype, .. } in mounts {
        let own = |own: &&str| point.starts_with(own) && point != Path::new(own);
        if point == Path::new("/") || OWN.iter().any(own) {
            continue;
        }
        points.all.push(point.clone());
        if fstype == PROCESSES && point != Path::new("/proc") {
            points.empty.push(point.clone());
            continue;
        }
        let scratch = SCRATCH.iter().any(|place| point == Path::new(place));
        if WITHOUT_SOCKETS.contains(&fstype.as_str()) || share.has("sockets") && !scratch {
            points.bound.push(point.clone());
        }
    }
    points.all.sort();
    points.all.dedup();
    let Points { all, bound, empty } = &mut points;
    for list in [all, bound] {
        list.retain(|point| {
            let above = |empty: &PathBuf| point.starts_with(empty) && point != empty;
            !empty.iter().any(above)
        });
    }
    if !share.has("sockets") {
        // With a mount comes all that is on it.
        let mut bound = std::mem::take(&mut points.bound);
        bound.retain(|point| !points.below(point));
        points.bound = bound;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_without_sockets_are_bound() {
        let info = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
                    2 1 0:5 / /proc rw - proc proc rw\n\
                    8 2 0:9 / /proc/sys/fs/binfmt_misc rw - autofs a rw\n\
                    3 1 8:2 / /home\\040x rw - ext4 /dev/b rw\n\
                    4 3 8:3 / /home\\040x/y rw - vfat /dev/c rw\n\
                    9 3 0:5 / /home\\040x/root/proc rw - proc none rw\n\
                    10 9 0:9 / /home\\040x/root/proc/sys/fs/binfmt_misc rw - vfat a rw\n\
                    5 1 0:6 / /run rw - tmpfs t rw\n\
                    6 5 0:7 / /run/user/1 rw - tmpfs t rw\n";
        let mounts = mountinfo::parse(info);
        let found = points(&mounts, &Share::default());
        let processes = "/home x/root/proc";
        let all = [
            "/home x",
            processes,
            "/home x/y",
            "/proc",
            "/run",
            "/run/user/1",
        ];
        assert_eq!(found.all, all.map(PathBuf::from));
        assert_eq!(found.empty, [PathBuf::from(processes)]);
        assert_eq!(found.bound, [PathBuf::from("/home x/y")]);
        let shared = points(&mounts, &Share::parse(&["sockets".to_owned()]).unwrap());
        assert!(shared.bound.contains(&"/home x".into()) && !shared.bound.contains(&"/run".into()));
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
        let points = Points {
            all: vec![at("a/b/mount")],
            ..Points::default()
        };
        // A socket beside a mount is nobody's to reach.
        let _socket = std::os::unix::net::UnixListener::bind(at("a/socket")).unwrap();
        parts.add(dir.path(), &points, &Share::default()).unwrap();
        parts.overlays.sort();
        parts.binds.sort();
        let expected = Parts {
            directories: vec![dir.path().to_owned(), at("a"), at("a/b")],
            links: vec![(at("a/link"), "c".into())],
            overlays: vec![at("a/b/mount"), at("a/c"), at("d")],
            binds: vec![at("a/file")],
            ..Parts::default()
        };
        assert_eq!(parts, expected);
    }
}
