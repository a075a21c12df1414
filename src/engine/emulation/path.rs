//! Finding a file as a process of a container would: from its root, its
//! working directory or its descriptors, following links the way its kernel
//! calls would, without ever leaving its root.

use crate::engine::container::volumes::is_volume;
use crate::sys::mountinfo;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

const PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);
const DIRECTORY: OFlag = PATH.union(OFlag::O_DIRECTORY);
const ITSELF: OFlag = PATH.union(OFlag::O_NOFOLLOW);

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// A file, opened with `O_PATH`.
    File(OwnedFd),
    /// Something on a proc file system, where links are not text and nothing
    /// can be recorded.
    Proc,
}

/// What a path without its last part leads to.
#[derive(Debug)]
pub struct Parent {
    /// The directory, opened with `O_PATH`.
    pub directory: OwnedFd,
    /// The last part.
    pub name: OsString,
}

/// The root directory of thread `tid`.
pub fn root(tid: i32) -> Result<OwnedFd, Errno> {
    open(
        format!("/proc/{tid}/root").as_str(),
        DIRECTORY,
        Mode::empty(),
    )
}

/// The file behind descriptor `fd` of thread `tid`; `AT_FDCWD` is its working
/// directory.
pub fn descriptor(tid: i32, fd: i32) -> Result<OwnedFd, Errno> {
    let path = match fd {
        libc::AT_FDCWD => format!("/proc/{tid}/cwd"),
        _ => format!("/proc/{tid}/fd/{fd}"),
    };
    open(path.as_str(), PATH, Mode::empty()).map_err(|e| match e {
        Errno::ENOENT => Errno::EBADF,
        e => e,
    })
}

fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn is_proc(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.filesystem_type() == PROC_SUPER_MAGIC)
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    let parts = path.split(|b| *b == b'/').filter(|p| !p.is_empty());
    parts.map(|p| OsStr::from_bytes(p).to_owned())
}

fn found(at: OwnedFd) -> Result<Found, Errno> {
    Ok(match is_proc(&at)? {
        true => Found::Proc,
        false => Found::File(at),
    })
}

/// As [`resolve`], by one call of the kernel (openat2(2)); `start` is the root
/// where `path` begins with a slash. `None` where it has to be looked for step
/// by step: a relative path may leave its directory, proc shows its links to
/// each process in another way, kernels before Linux 5.6 have no such call.
pub fn at_once(start: &OwnedFd, path: &[u8], follow: bool) -> Option<Found> {
    let within = match path.starts_with(b"/") {
        true => ResolveFlag::RESOLVE_IN_ROOT,
        false => ResolveFlag::RESOLVE_BENEATH,
    };
    let how = OpenHow::new()
        .flags(if follow { PATH } else { ITSELF })
        .resolve(within | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(start, path, how).and_then(found).ok()
}

/// Resolves `path` from the directory `start` in the root `root`. `follow`
/// says whether a link at its end is followed.
pub fn resolve(root: &OwnedFd, start: OwnedFd, path: &[u8], follow: bool) -> Result<Found, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let root_stat = fstat(root)?;
    let mut at = match path.starts_with(b"/") {
        true => root.try_clone().map_err(|_| Errno::EMFILE)?,
        false => start,
    };
    let mut left: VecDeque<OsString> = parts(path).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if is_proc(&at)? {
            return Ok(Found::Proc);
        }
        match part.as_bytes() {
            b"." => {}
            b".." if same(&fstat(&at)?, &root_stat) => {}
            b".." => at = openat(&at, "..", DIRECTORY, Mode::empty())?,
            name => {
                let next = openat(&at, name, ITSELF, Mode::empty())?;
                let kind = SFlag::from_bits_truncate(fstat(&next)?.st_mode) & SFlag::S_IFMT;
                if kind != SFlag::S_IFLNK || (left.is_empty() && !follow) {
                    at = next;
                    continue;
                }
                if is_proc(&next)? {
                    return Ok(Found::Proc);
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(&next, "")?.into_vec();
                if target.starts_with(b"/") {
                    at = root.try_clone().map_err(|_| Errno::EMFILE)?;
                }
                for part in parts(&target).rev() {
                    left.push_front(part);
                }
            }
        }
    }
    found(at)
}

/// Resolves all of `path` but its last part, which is to be made; `None` on a
/// proc file system.
pub fn parent(root: &OwnedFd, start: OwnedFd, path: &[u8]) -> Result<Option<Parent>, Errno> {
    let name = parts(path).next_back().ok_or(Errno::EEXIST)?;
    let cut = path.len() - path.iter().rev().skip_while(|b| **b == b'/').count();
    let trimmed = &path[..path.len() - cut];
    let directory = match trimmed.iter().rposition(|b| *b == b'/') {
        Some(slash) => &path[..=slash],
        None => b".",
    };
    if name == "." || name == ".." {
        return Err(Errno::EEXIST);
    }
    Ok(match resolve(root, start, directory, true)? {
        Found::File(directory) => Some(Parent { directory, name }),
        Found::Proc => None,
    })
}

/// The path by which `fd`, opened with `O_PATH`, can be named to calls that
/// take none.
pub fn name_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd))
}

/// Whether the file `fd` of thread `tid` stands on a volume of the store.
pub fn is_on_volume(tid: i32, fd: &OwnedFd) -> bool {
    let number = std::os::fd::AsRawFd::as_raw_fd(fd);
    let Some(mount) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
            line?.trim().parse::<u64>().ok()
        })
    else {
        return false;
    };
    let all = std::fs::read(format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    let mut all = mountinfo::parse(&all).into_iter();
    all.any(|m| m.id == mount && is_volume(&m.root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn open_dir(path: &std::path::Path) -> OwnedFd {
        open(path, DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn links_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root_path = dir.path().join("root");
        std::fs::create_dir_all(root_path.join("a/b")).unwrap();
        std::fs::write(root_path.join("file"), "x").unwrap();
        std::fs::write(dir.path().join("file"), "outside").unwrap();
        symlink("/file", root_path.join("a/absolute")).unwrap();
        symlink("../../../../file", root_path.join("a/b/up")).unwrap();
        symlink("loop", root_path.join("loop")).unwrap();
        symlink("a/b", root_path.join("dir")).unwrap();
        let root = open_dir(&root_path);
        let inode = std::fs::metadata(root_path.join("file")).unwrap().ino();
        // With what one call alone can find: not what is above the start of a
        // relative path.
        for (path, alone) in [
            ("/file", true),
            ("/a/absolute", true),
            ("/a/b/up", true),
            ("/../dir/up", true),
            ("dir/../../file", true),
            ("a/absolute", false),
            ("a/b/up", false),
            ("../../file", false),
            ("dir/up", false),
        ] {
            let start = open_dir(&root_path);
            let at_once = at_once(&start, path.as_bytes(), true);
            assert_eq!(at_once.is_some(), alone, "{path}");
            let step_by_step = resolve(&root, start, path.as_bytes(), true).unwrap();
            for found in at_once.into_iter().chain([step_by_step]) {
                match found {
                    Found::File(fd) => assert_eq!(fstat(&fd).unwrap().st_ino, inode, "{path}"),
                    Found::Proc => panic!("{path}"),
                }
            }
        }
        let error = |path: &str| resolve(&root, open_dir(&root_path), path.as_bytes(), true).err();
        assert_eq!(error("loop"), Some(Errno::ELOOP));
        assert_eq!(error(""), Some(Errno::ENOENT));
        assert_eq!(error("file/x"), Some(Errno::ENOTDIR));
        let link = resolve(&root, open_dir(&root_path), b"a/absolute", false).unwrap();
        let Found::File(fd) = link else {
            panic!("proc")
        };
        assert_ne!(fstat(&fd).unwrap().st_ino, inode);
        let made = parent(&root, open_dir(&root_path), b"dir/new/")
            .unwrap()
            .unwrap();
        assert_eq!(made.name, "new");
        let real = std::fs::metadata(root_path.join("a/b")).unwrap();
        assert_eq!(fstat(&made.directory).unwrap().st_ino, real.ino());
    }
}
