//! The file system of the store.

use super::Tried;
use crate::sys::mountinfo;
use crate::sys::xattr;
use nix::errno::Errno;
use nix::sys::statfs::fstatfs;
use serde::Serialize;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The place of images and containers.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Storage {
    /// The directory.
    #[serde(serialize_with = "super::shown")]
    pub root: PathBuf,
    /// Why it cannot be used.
    pub error: Option<String>,
    /// Type of its file system, as `ext4` or `nfs4`.
    pub file_system: Option<String>,
    /// Where its data is.
    pub place: Backing,
    /// Bytes that are free for the user.
    pub free: Option<u64>,
    /// Files can have attributes of the user's.
    pub attributes: Tried,
}

/// Where the data of a file system is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// On the machine, as far as is known.
    #[default]
    Local,
    /// On other machines.
    Network,
    /// In memory.
    Memory,
    /// In other file systems.
    Union,
}

impl Backing {
    /// By the type of the file system.
    pub fn of(fstype: &str) -> Backing {
        let base = fstype.strip_prefix("fuse.").unwrap_or(fstype);
        match base {
            "nfs" | "nfs4" | "lustre" | "gpfs" | "cifs" | "smb3" | "ceph" | "afs" | "9p"
            | "beegfs" | "panfs" | "pvfs2" | "orangefs" | "sshfs" | "glusterfs" | "virtiofs"
            | "coda" | "ocfs2" | "gfs2" | "wekafs" | "juicefs" | "cvmfs2" => Backing::Network,
            "tmpfs" | "ramfs" => Backing::Memory,
            "overlay" | "overlayfs" | "aufs" | "fuse-overlayfs" | "mergerfs" => Backing::Union,
            _ => Backing::Local,
        }
    }
}

impl Storage {
    /// Looks at the store in `root`; `error` says why it could not be made,
    /// `scratch` is an empty directory in it.
    pub(super) fn look(
        root: &Path,
        error: Option<&anyhow::Error>,
        scratch: Option<&Path>,
    ) -> Storage {
        let mut storage = Storage {
            root: root.to_owned(),
            error: error.map(|error| format!("{error:#}")),
            ..Storage::default()
        };
        // Of a store that cannot be made, the directory that it would be in.
        let existing = root.ancestors().find_map(|path| File::open(path).ok());
        let Some(directory) = existing else {
            return storage;
        };
        storage.file_system = file_system(&directory);
        if let Some(fstype) = &storage.file_system {
            storage.place = Backing::of(fstype);
        }
        if let Ok(stat) = fstatfs(&directory) {
            let block = u64::try_from(stat.block_size()).unwrap_or(0);
            storage.free = stat.blocks_available().checked_mul(block);
        }
        if let Some(scratch) = scratch {
            storage.attributes = attributes(scratch);
        }
        storage
    }
}

/// The type of the file system that `file` is on: the kernel knows the mount
/// of an open file.
pub(super) fn file_system(file: &File) -> Option<String> {
    let info = super::read(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let id: u64 = super::text::status(&info, "mnt_id")?.parse().ok()?;
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let mounts = mountinfo::parse(&mounts);
    let mount = mounts.into_iter().find(|mount| mount.id == id)?;
    Some(mount.fstype)
}

fn attributes(scratch: &Path) -> Tried {
    let path = scratch.join("attributes");
    let set = || -> nix::Result<()> {
        let errno = |error: std::io::Error| {
            let errno = error.raw_os_error();
            errno.map_or(Errno::EIO, Errno::from_raw)
        };
        let file = File::create(&path).map_err(errno)?;
        xattr::set(&file, c"user.bryo.trial", b"x")
    };
    let tried = set().into();
    let _ = std::fs::remove_file(&path);
    tried
}

/// Bytes of the files in a directory, as far as it can be read.
pub fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)))
        .map(|(path, meta)| match meta.is_dir() {
            true => bytes_below(&path),
            false if meta.is_file() => meta.len(),
            false => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_name() {
        assert_eq!(Backing::of("nfs4"), Backing::Network);
        assert_eq!(Backing::of("fuse.sshfs"), Backing::Network);
        assert_eq!(Backing::of("tmpfs"), Backing::Memory);
        assert_eq!(Backing::of("overlay"), Backing::Union);
        assert_eq!(Backing::of("ext4"), Backing::Local);
        let here = File::open("/proc/self").unwrap();
        assert_eq!(file_system(&here).as_deref(), Some("proc"));
    }
}
