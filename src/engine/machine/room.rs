//! What room a file system has left for the user, and whether it can be written
//! at all: statvfs(3).

use super::remedy::Advice;
use super::storage;
use crate::cgroup::units::show;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Less than these is none: what a file that is being made takes is free again
/// when the error is told.
const FEW_BYTES: u64 = 128 << 10;
const FEW_INODES: u64 = 4;

/// The room around a path.
#[derive(Debug, Clone)]
struct Room {
    path: PathBuf,
    device: u64,
    file_system: String,
    bytes: u64,
    /// None where the file system makes inodes as they are needed.
    inodes: Option<u64>,
    read_only: bool,
}

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// ENOSPC: no room, of bytes or of inodes.
    Room,
    /// EDQUOT: the user's share is used up.
    Quota,
    /// EROFS: the file system is read-only.
    Writing,
}

impl Room {
    /// That of the nearest directory that exists.
    fn around(path: &Path) -> Option<Room> {
        let path = path.ancestors().find(|path| path.is_dir())?;
        let stat = statvfs(path).ok()?;
        let file = File::open(path).ok()?;
        Some(Room {
            path: path.to_owned(),
            device: file.metadata().ok()?.dev(),
            file_system: storage::file_system(&file).unwrap_or_default(),
            bytes: stat.blocks_available() * stat.fragment_size(),
            inodes: (stat.files() > 0).then(|| stat.files_available()),
            read_only: stat.flags().contains(FsFlags::ST_RDONLY),
        })
    }

    /// What there is none of.
    fn lacks(&self) -> Option<&'static str> {
        match self.inodes {
            _ if self.bytes < FEW_BYTES => Some("bytes"),
            Some(inodes) if inodes < FEW_INODES => Some("inodes"),
            _ => None,
        }
    }
}

/// What is full or read-only, and what helps, after an error that says so;
/// `words` are the error's, which name files.
pub fn advice(words: &str, root: &Path, runtime: Option<&Path>, lack: Lack) -> Advice {
    let named = words.split([' ', ':', '\'', '"', ',', '=', '(', ')']);
    let named = named.filter(|word| word.starts_with('/')).map(Path::new);
    // The last one is nearest to what the kernel said.
    let named = named.rev().filter_map(Room::around);
    // A path in a container is none here.
    let named: Vec<Room> = named.filter(|room| room.path != Path::new("/")).collect();
    let is_named = !named.is_empty();
    let others = [root].into_iter().chain(runtime).filter_map(Room::around);
    let rooms: Vec<Room> = named.into_iter().chain(others).collect();
    let is_meant = |room: &&Room| match lack {
        Lack::Room => room.lacks().is_some(),
        Lack::Writing => room.read_only,
        // It is not to be seen from here.
        Lack::Quota => true,
    };
    let Some(room) = rooms
        .iter()
        .find(is_meant)
        // What filled it may be gone by now: then it has the least.
        .or(rooms.first().filter(|_| is_named && lack != Lack::Room))
        .or(rooms.iter().min_by_key(|room| room.bytes))
    else {
        return Advice::new("the file system is full or read-only, or your quota is used up");
    };
    let place = format!(
        "the file system of {} ({})",
        room.path.display(),
        room.file_system
    );
    let left = match room.inodes {
        Some(inodes) => format!("{} and {inodes} inodes are free", show(room.bytes)),
        None => format!("{} are free", show(room.bytes)),
    };
    let cause = match (lack, room.lacks()) {
        (Lack::Writing, _) => format!("{place} is read-only"),
        (Lack::Quota, _) => format!("your quota on {place} is used up"),
        (Lack::Room, Some("inodes")) => {
            format!("{place} has no inodes left for new files: {left}")
        }
        (Lack::Room, Some(_)) => format!("{place} is full: {left}"),
        (Lack::Room, None) => format!("{place} has not enough room: {left}"),
    };
    // A file system may be mounted twice, and read-only in one place alone.
    let is_same = |at: Room| at.device == room.device && at.read_only == room.read_only;
    let is_of = |path: &Path| Room::around(path).is_some_and(is_same);
    let is_of_runtime = runtime.is_some_and(is_of);
    Advice::new(cause).user(match lack {
        Lack::Writing if is_of(root) => "set BRYO_ROOT to a directory that can be written",
        Lack::Writing if is_of_runtime => "set XDG_RUNTIME_DIR to a directory that can be written",
        Lack::Writing => "write elsewhere",
        _ if is_of(root) => {
            "bryo system prune, bryo rm and bryo rmi make room, BRYO_ROOT moves the store"
        }
        _ if is_of_runtime => {
            "make room there, or set XDG_RUNTIME_DIR to a directory that has some"
        }
        _ => "make room there, or write elsewhere",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_named() {
        let room = |bytes, inodes| Room {
            path: PathBuf::from("/x"),
            device: 1,
            file_system: String::new(),
            bytes,
            inodes,
            read_only: false,
        };
        assert_eq!(room(0, Some(9000)).lacks(), Some("bytes"));
        assert_eq!(room(1 << 30, Some(0)).lacks(), Some("inodes"));
        assert_eq!(room(1 << 30, None).lacks(), None);
        let here = tempfile::tempdir().unwrap();
        let root = here.path().join("not/yet");
        let hint = advice("write x", &root, None, Lack::Quota).hint();
        assert!(hint.contains(&here.path().display().to_string()), "{hint}");
        assert!(
            hint.contains("quota") && hint.contains("bryo system prune"),
            "{hint}"
        );
        let hint = advice(
            "import /etc/x: write /proc/version",
            &root,
            None,
            Lack::Quota,
        )
        .hint();
        assert!(
            hint.contains("(proc)") && hint.contains("elsewhere"),
            "{hint}"
        );
    }
}
