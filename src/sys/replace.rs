//! Files that are replaced as a whole, so that a reader sees the old or the new
//! content: also where the disk is full.
//!
//! The new content is written beside and renamed. That takes an inode and
//! blocks, which a full disk does not have; but what happens then (an end to
//! be recorded, an image to be removed) is what makes room. The content then
//! goes over the old one, in the blocks that are there.

use super::fd::close;
use super::fs::{create_private, private};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Whether an error says that a file system has no room left, of bytes or of
/// inodes, or that the user's quota is used up.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Whether an error says that nothing can be made here: because there is no
/// room, or because the file system is read-only.
pub fn is_unwritable(error: &io::Error) -> bool {
    is_full(error) || error.raw_os_error() == Some(libc::EROFS)
}

fn beside(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    PathBuf::from(new)
}

/// Replaces a file whose format does not mind blanks at its end. On a full disk
/// it is written over, if it is long enough for that.
///
/// # Errors
/// The old content is there still, and nothing beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let write = || {
        let mut file = create_private(&new)?;
        file.write_all(bytes)?;
        // Where files are on another machine, that is when it is known.
        close(file)?;
        std::fs::rename(&new, path)
    };
    write().or_else(|error| {
        let _ = std::fs::remove_file(&new);
        write_over(path, bytes, error)?;
        Ok(())
    })
}

/// The same, and the new content is on the disk when this returns. The old file
/// stays beside it: the next content goes into its blocks, so that a full disk
/// is no hindrance and a power failure loses nothing.
///
/// # Errors
/// The old content is there still.
pub fn replace_for_good(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let write = || {
        let mut options = private();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&new)?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        match renameat2(AT_FDCWD, &new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
            // There is no old one, or the file system or a sandbox does not do
            // that.
            Err(
                Errno::ENOENT | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM,
            ) => {
                std::fs::rename(&new, path)?;
            }
            other => other?,
        }
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().or_else(|error| write_over(path, bytes, error)?.sync_all())
}

/// Writes over what a file has: one call, so that neither a reader nor a
/// signal comes in between as long as it is a page. `error` is why it is tried,
/// and what is returned where it cannot be done.
fn write_over(path: &Path, bytes: &[u8], error: io::Error) -> io::Result<File> {
    if !is_full(&error) {
        return Err(error);
    }
    let Ok(file) = File::options().write(true).open(path) else {
        return Err(error);
    };
    let metadata = file.metadata()?;
    // To fail half-way would be worse than not to begin.
    if bytes.len() as u64 > metadata.len().max(metadata.blocks() * 512) {
        return Err(error);
    }
    let mut content = bytes.to_vec();
    content.resize(bytes.len().max(metadata.len() as usize), b' ');
    file.write_all_at(&content, 0).map(|()| file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn old_or_new_and_a_spare() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        replace_for_good(&path, b"a longer one").unwrap();
        assert_eq!(fs::read(beside(&path)).unwrap(), b"one");
        let spare = fs::metadata(beside(&path)).unwrap().ino();
        replace_for_good(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().ino(), spare);
    }

    #[test]
    fn what_is_there_is_written_over_or_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(write_over(&path, b"{}", full()).is_err());
        fs::write(&path, b"{\"long\": true}").unwrap();
        write_over(&path, b"{}", full()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}            ");
        let room = fs::metadata(&path).unwrap().blocks() * 512;
        let much = vec![b'x'; room.max(14) as usize + 1];
        assert!(write_over(&path, &much, full()).is_err_and(|e| is_full(&e)));
        let other = io::Error::from_raw_os_error(libc::EIO);
        assert!(write_over(&path, b"{}", other).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"{}            ");
    }
}
