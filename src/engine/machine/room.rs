//! What room a file system has left for the user: statvfs(3).

use super::remedy::Advice;
use super::storage;
use crate::cgroup::units::show;
use nix::sys::statvfs::statvfs;
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

/// What is full, and what makes room, after an error for that; `words` are the
/// error's, which name files, `quota` says that it was the user's share.
pub fn advice(words: &str, root: &Path, runtime: Option<&Path>, quota: bool) -> Advice {
    let named = words.split([' ', ':', '\'', '"', ',']);
    let named = named.filter(|word| word.starts_with('/')).map(Path::new);
    let places = named.chain([root]).chain(runtime);
    let rooms: Vec<Room> = places.filter_map(Room::around).collect();
    let Some(room) = rooms
        .iter()
        .find(|room| room.lacks().is_some())
        // What filled it may be gone by now.
        .or(rooms.iter().min_by_key(|room| room.bytes))
    else {
        return Advice::new("the disk or your quota is full");
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
    let cause = match room.lacks() {
        _ if quota => format!("your quota on {place} is used up"),
        Some("inodes") => format!("{place} has no inodes left for new files: {left}"),
        Some(_) => format!("{place} is full: {left}"),
        None => format!("{place} has not enough room: {left}"),
    };
    let is_of = |path: &Path| Room::around(path).is_some_and(|at| at.device == room.device);
    Advice::new(cause).user(match runtime {
        _ if is_of(root) => {
            "bryo system prune, bryo rm and bryo rmi make room, BRYO_ROOT moves the store"
        }
        Some(runtime) if is_of(runtime) => {
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
        };
        assert_eq!(room(0, Some(9000)).lacks(), Some("bytes"));
        assert_eq!(room(1 << 30, Some(0)).lacks(), Some("inodes"));
        assert_eq!(room(1 << 30, None).lacks(), None);
        let here = tempfile::tempdir().unwrap();
        let root = here.path().join("not/yet");
        let hint = advice("write x", &root, None, true).hint();
        assert!(hint.contains(&here.path().display().to_string()), "{hint}");
        assert!(
            hint.contains("quota") && hint.contains("bryo system prune"),
            "{hint}"
        );
    }
}
