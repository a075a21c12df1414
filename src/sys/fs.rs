//! File-system calls that nix does not wrap, files that are nobody else's, and
//! paths by their words.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};

/// Whether what `lstat` said of a name is about this open file.
pub fn is_same(file: impl AsFd, looked_at: &FileStat) -> nix::Result<bool> {
    let key = |stat: &FileStat| (stat.st_dev, stat.st_ino, stat.st_mode & libc::S_IFMT);
    Ok(key(&fstat(file)?) == key(looked_at))
}

/// Opens the file or directory `name` that `looked_at` is about, whatever its
/// mode lets its owner do; `wanted` are the bits of the owner's that it takes.
/// Returns the mode that it had before, if that had to be changed for it.
///
/// Others may put something else in its place at any moment: neither is that
/// opened, nor does its mode change, wherever it may lead.
///
/// # Errors
/// ESTALE if the name is gone or something else's by now.
pub fn open_shut(
    directory: impl AsFd,
    name: &[u8],
    looked_at: &FileStat,
    wanted: Mode,
) -> nix::Result<(OwnedFd, Option<Mode>)> {
    let kind = looked_at.st_mode & libc::S_IFMT;
    let mut flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if kind == SFlag::S_IFDIR.bits() {
        flags |= OFlag::O_DIRECTORY;
    }
    let mode = Mode::from_bits_truncate(looked_at.st_mode & 0o7777);
    let same = |fd: OwnedFd| match is_same(&fd, looked_at)? {
        true => Ok(fd),
        false => Err(Errno::ESTALE),
    };
    // A directory that can be listed need not let anybody look at what it has.
    if mode.contains(wanted) || !flags.contains(OFlag::O_DIRECTORY) {
        match openat(&directory, name, flags, Mode::empty()) {
            // Its mode is another one by now.
            Err(Errno::EACCES) => {}
            other => return Ok((same(other.map_err(vanished)?)?, None)),
        }
    }
    let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let place = openat(&directory, name, path, Mode::empty()).map_err(vanished)?;
    let place = same(place)?;
    // Through our own /proc: the very file that was looked at.
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    let follow = FchmodatFlags::FollowSymlink;
    let mut tries = 0..8;
    loop {
        let changed = fchmodat(nix::fcntl::AT_FDCWD, itself.as_str(), mode | wanted, follow);
        match open(itself.as_str(), flags - OFlag::O_NOFOLLOW, Mode::empty()) {
            // Somebody has shut it again in between.
            Err(Errno::EACCES) if changed.is_ok() && tries.next().is_some() => {}
            // As root of a user namespace the change is not needed, and may fail.
            opened => return Ok((opened?, changed.is_ok().then_some(mode))),
        }
    }
}

/// What an error says about a name that had been looked at: ESTALE if it is
/// gone, or has become a link, a file, a pipe without a writer, a socket.
pub fn vanished(errno: Errno) -> Errno {
    match errno {
        Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO => Errno::ESTALE,
        other => other,
    }
}

/// How to open a file that, if it is made, only its owner may open, whatever
/// the caller's mask (umask(2)) is.
pub fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// As [`File::create`], for its owner alone.
pub fn create_private(path: &Path) -> io::Result<File> {
    private().write(true).create(true).truncate(true).open(path)
}

/// As [`std::fs::write`], for its owner alone.
pub fn write_private(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    create_private(path)?.write_all(bytes.as_ref())
}

/// Makes a directory that only its owner may enter, and those above it.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Makes a directory that everybody may enter and list, whatever the caller's
/// mask is.
pub fn make_public(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// As [`std::fs::write`], for everybody to read, whatever the caller's mask is.
pub fn write_public(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes.as_ref())
}

/// Makes `to` share all data of `from` (`FICLONE`), where the file system can.
pub fn clone_data(from: impl AsFd, to: impl AsFd) -> nix::Result<()> {
    // SAFETY: FICLONE takes a descriptor as its argument and no pointer.
    let result = unsafe {
        libc::ioctl(
            to.as_fd().as_raw_fd(),
            libc::FICLONE,
            from.as_fd().as_raw_fd(),
        )
    };
    Errno::result(result).map(drop)
}

/// Asks the disk to take `length` bytes of a file from `offset`, and does not wait
/// for it: sync_file_range(2), `SYNC_FILE_RANGE_WRITE`.
pub fn begin_writeback(file: impl AsFd, offset: u64, length: u64) -> nix::Result<()> {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return Err(Errno::EINVAL);
    };
    // SAFETY: the call takes numbers alone, and the descriptor is open.
    let result = unsafe {
        libc::sync_file_range(
            file.as_fd().as_raw_fd(),
            offset,
            length,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
    Errno::result(result).map(drop)
}

/// Tells a file from all others of its file system, also from those that had
/// its inode number before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Inode number.
    pub inode: u64,
    /// Time of birth, seconds and nanoseconds; 0 where it is not known.
    pub born: (i64, u32),
}

/// The identity of an open file (`O_PATH` suffices): statx(2), or fstat(2)
/// where a sandbox hides that.
pub fn identity(file: impl AsFd) -> nix::Result<Identity> {
    let data = match statx(&file, 0, libc::STATX_INO | libc::STATX_BTIME) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            return Ok(Identity {
                inode: fstat(file)?.st_ino,
                born: (0, 0),
            });
        }
        other => other?,
    };
    let born = match data.stx_mask & libc::STATX_BTIME {
        0 => (0, 0),
        _ => (data.stx_btime.tv_sec, data.stx_btime.tv_nsec),
    };
    Ok(Identity {
        inode: data.stx_ino,
        born,
    })
}

/// statx(2) of an open file (`O_PATH` suffices); `flags` are `AT_STATX_*`,
/// `mask` is `STATX_*`.
pub fn statx(file: impl AsFd, flags: i32, mask: u32) -> nix::Result<libc::statx> {
    // SAFETY: plain numbers, for which all zeros are a value.
    let mut data: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL, and the kernel fills in a struct statx.
    let result = unsafe {
        libc::statx(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            mask,
            &raw mut data,
        )
    };
    Errno::result(result).map(|_| data)
}

/// A `struct statx` as the kernel writes it.
pub fn bytes_of_statx(data: &libc::statx) -> &[u8] {
    // SAFETY: plain numbers without gaps, padding is named; they live as long.
    unsafe { std::slice::from_raw_parts((&raw const *data).cast(), size_of::<libc::statx>()) }
}

/// A `struct stat` as the kernel writes it: on 64-bit machines it has the same
/// one.
pub fn bytes_of_stat(data: &libc::stat) -> &[u8] {
    // SAFETY: plain numbers without gaps, padding is named; they live as long.
    unsafe { std::slice::from_raw_parts((&raw const *data).cast(), size_of::<libc::stat>()) }
}

/// Lets the file system put each new subdirectory of a directory somewhere
/// else on the disk (`FS_TOPDIR_FL`, chattr(1) `T`), where it can.
///
/// ext4 otherwise makes new trees where old ones were just deleted, and there
/// looks at each inode that was freed in the last minutes before it takes one.
pub fn spread(directory: impl AsFd) -> nix::Result<()> {
    const TOPDIR: libc::c_long = 0x0002_0000;
    let fd = directory.as_fd().as_raw_fd();
    let mut flags: libc::c_long = 0;
    // SAFETY: the descriptor is open, and the kernel writes at most a long.
    Errno::result(unsafe { libc::ioctl(fd, libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    flags |= TOPDIR;
    // SAFETY: the descriptor is open, and the kernel reads at most a long.
    Errno::result(unsafe { libc::ioctl(fd, libc::FS_IOC_SETFLAGS, &raw const flags) })?;
    Ok(())
}

/// An absolute path without `.`, `..` and needless slashes, by its words alone
/// (Go's `path.Clean`).
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}
