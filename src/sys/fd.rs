//! Descriptors: marking them close-on-exec, and opening paths that stay
//! inside a root.

use super::clone::NewProcess;
use super::error::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Marks every descriptor from `first` up as close-on-exec: close_range(2)
/// with `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    for_all(first, u32::MAX, AllOf::CloseOnExec).call("close_range", || format!("{first}.."))
}

/// What is done to all descriptors of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AllOf {
    Close,
    CloseOnExec,
}

/// close_range(2); where a sandbox hides that, one after the other, by the list
/// in `/proc`. What is closed belongs to nobody any more: see those who call it.
fn for_all(first: u32, last: u32, what: AllOf) -> nix::Result<()> {
    let flags = match what {
        AllOf::Close => 0,
        AllOf::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: plain integers; the callers say whose descriptors these are.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    match Errno::result(ret) {
        Err(hidden @ (Errno::ENOSYS | Errno::EPERM)) => {
            one_by_one(first, last, what).map_err(|_| hidden)
        }
        other => other.map(drop),
    }
}

fn one_by_one(first: u32, last: u32, what: AllOf) -> std::io::Result<()> {
    let listing = std::fs::File::open("/proc/self/fd")?;
    // A container may have something of its own there, which says nothing.
    if fstatfs(&listing)?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(Errno::ENOSYS.into());
    }
    drop(listing);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.retain(|number| (first..=last).contains(number));
    for number in numbers {
        // That of the listing is gone by now, which is no error.
        match what {
            // SAFETY: the callers say whose it is.
            AllOf::Close => unsafe { libc::close(number as i32) },
            // SAFETY: only a flag is set.
            AllOf::CloseOnExec => unsafe {
                libc::fcntl(number as i32, libc::F_SETFD, libc::FD_CLOEXEC)
            },
        };
    }
    Ok(())
}

/// Opens `path` as if `root` were the root directory: `..`, absolute paths
/// and symbolic links cannot leave it, magic links are refused
/// (openat2(2), `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`).
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    walk(root, path, how)
}

/// Opens `path` below `dir`: no `..` that leads out, no absolute path, and no
/// link on the way or at the end (openat2(2), `RESOLVE_BENEATH |
/// RESOLVE_NO_SYMLINKS`).
pub fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    walk(dir, path, how)
}

/// As [`open_in_root`] with `O_CREAT` and the given mode.
pub fn create_in_root(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_CREAT)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    walk(root, path, how)
}

/// How often a path is walked before the machine is said to be too busy.
const WALKS: usize = 1 << 12;

/// openat2(2). A `..` on the way has the answer EAGAIN where anybody on the machine renames or
/// mounts something meanwhile, since the kernel then does not know whether it led out: the way
/// is walked again.
fn walk(from: impl AsFd, path: &Path, how: OpenHow) -> Result<OwnedFd> {
    let mut walks = 1;
    loop {
        match openat2(&from, path, how) {
            Err(Errno::EAGAIN) if walks < WALKS => {
                walks += 1;
                std::thread::yield_now();
            }
            opened => return opened.call("openat2", || path.display().to_string()),
        }
    }
}

/// Makes descriptor number `number` a duplicate of `fd` that is not
/// close-on-exec: dup2(2). What was open there is closed.
pub fn duplicate_to(_: &NewProcess, fd: impl AsFd, number: i32) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    if fd == number {
        // SAFETY: plain integers; dup2 would leave the flag as it is.
        let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        return Errno::result(ret).map(drop).call("fcntl", || "F_SETFD");
    }
    // SAFETY: what is open there was its maker's.
    let ret = unsafe { libc::dup2(fd, number) };
    Errno::result(ret)
        .map(drop)
        .call("dup2", || number.to_string())
}

/// A close-on-exec duplicate of `fd` with a number of at least `lowest`.
pub fn duplicate_from(fd: impl AsFd, lowest: i32) -> Result<OwnedFd> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    let fd = Errno::result(ret).call("fcntl", || "F_DUPFD_CLOEXEC")?;
    // SAFETY: a new descriptor that is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` up: for a process that keeps nothing of
/// what it was cloned from.
pub fn close_all_from(_: &NewProcess, first: u32) -> Result<()> {
    for_all(first, u32::MAX, AllOf::Close).call("close_range", || format!("{first}.."))
}

/// The descriptors from 3 up that this process has now: those that its caller
/// left open, if it is asked before any is opened here.
pub fn inherited() -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = numbers.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse::<i32>().ok()?;
        // The directory being read is one of them.
        let link = std::fs::read_link(entry.path()).ok()?;
        (number > 2 && !link.ends_with("fd")).then_some(number)
    });
    numbers.collect()
}

/// Closes descriptors that its maker's caller left open: those of [`inherited`].
pub fn close_inherited(_: &NewProcess, numbers: &[i32]) {
    for number in numbers {
        // SAFETY: they were open before this program began, so that no value
        // of it owns them.
        unsafe { libc::close(*number) };
    }
}

/// Descriptor 0, 1 or 2 of this process.
pub fn standard(number: i32) -> BorrowedFd<'static> {
    debug_assert!((0..3).contains(&number));
    // SAFETY: they are open as long as the process runs: Rust's runtime opens
    // those that were closed, and nothing here closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// How many bytes can be read from a pipe now: FIONREAD (pipe(7)).
pub fn readable_bytes(fd: impl AsFd) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel stores an int.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    Errno::result(ret).call("ioctl", || "FIONREAD")?;
    Ok(count.max(0) as usize)
}

/// Makes reads and writes of `fd` return EAGAIN in place of waiting.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    let flags = fcntl(&fd, FcntlArg::F_GETFL).call("fcntl", || "F_GETFL")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(flags))
        .map(drop)
        .call("fcntl", || "F_SETFL")
}

/// Closes every descriptor from 3 up but these: for a process that keeps
/// nothing else of what it was cloned from, and runs no destructors.
pub fn close_all_but(_: &NewProcess, kept: &[i32]) -> Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept
        .into_iter()
        .map(|number| number as u32)
        .chain([u32::MAX])
    {
        if number > first {
            let range = || format!("{first}..{number}");
            for_all(first, number - 1, AllOf::Close).call("close_range", range)?;
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

/// Closes a file, and says what writing to it came to: file systems on other
/// machines may say only now that there was no room (close(2), NOTES).
pub fn close(file: impl Into<OwnedFd>) -> std::io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// Writes `data` to the existing file `path` with one write(2), as files of
/// `/proc` want it.
pub fn write_file(path: &str, data: &[u8]) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).call("open", || path)?;
    nix::unistd::write(&file, data)
        .map(drop)
        .call("write", || path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn paths_are_walked_while_others_rename() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::create_dir_all(dir.path().join("root/a/b")).unwrap();
        fs::write(&one, "").unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let path = "a/b/../../".repeat(50);
            let walk = || open_in_root(&root, Path::new(&path), OFlag::O_PATH);
            let failed = (0..2000).find_map(|_| walk().err());
            ended.store(true, Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }
}
