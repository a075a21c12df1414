//! Overlays of directories (Documentation/filesystems/overlayfs.rst in the
//! kernel's source).

use super::outside::Outside;
use super::plan::Overlay;
use crate::error::refuse;
use crate::sys;
use crate::sys::fd::open_in_root;
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::xattr;
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs, statvfs};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Mounts a tmpfs at `target` with places for what the overlay writes and
/// for the overlay itself.
pub fn in_memory(overlay: &Overlay, target: &Path) -> Result<Overlay> {
    let what = || format!("tmpfs on {}", target.display());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        flags,
        Some("mode=700"),
    )
    .with_context(what)?;
    for name in ["upper", "work", "root"] {
        let mode = Mode::from_bits_truncate(0o755);
        nix::unistd::mkdir(&target.join(name), mode).with_context(what)?;
    }
    if let Some(model) = &overlay.upper {
        let open = |path: &Path| nix::fcntl::open(path, DIRECTORY, Mode::empty());
        let (from, to) = (open(model)?, open(&target.join("upper"))?);
        resemble(&from, &to).with_context(what)?;
    }
    Ok(Overlay {
        upper: Some(target.join("upper")),
        work: Some(target.join("work")),
        ..overlay.clone()
    })
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Gives a directory in memory what one on the disk has: owner, attributes,
/// time and mode, as far as a tmpfs can have them (attributes since Linux 6.6).
fn resemble(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let stat = fstat(from)?;
    nix::unistd::fchown(to, Some(stat.st_uid.into()), Some(stat.st_gid.into()))?;
    for name in xattr::list(from)? {
        if name.to_bytes().starts_with(b"user.")
            && let Some(value) = xattr::get(from, &name)?
        {
            let _ = xattr::set(to, &name, &value);
        }
    }
    let time = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    futimens(to, &TimeSpec::UTIME_OMIT, &time)?;
    fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    Ok(())
}

/// The kernel takes at most a page of options, NUL included.
const MAX_OPTIONS: usize = 4095;

/// Mounts an overlay at `target`.
pub fn mount_at(overlay: &Overlay, target: &Path) -> Result<()> {
    let plain = |path: &Path| path.as_os_str().to_owned();
    let mut data = options(overlay, &plain);
    // Many layers, or paths that would need quoting, go by descriptor.
    let awkward = |path: &PathBuf| {
        path.as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b",:\\".contains(b))
    };
    let paths = || {
        overlay
            .lower
            .iter()
            .chain(&overlay.upper)
            .chain(&overlay.work)
    };
    let mut descriptors = Vec::new();
    if data.len() > MAX_OPTIONS || paths().any(awkward) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        for path in paths() {
            let fd = nix::fcntl::open(path, flags, Mode::empty())
                .with_context(|| path.display().to_string())?;
            descriptors.push((path.as_path(), fd));
        }
        nix::unistd::chdir("/proc/self/fd").context("/proc/self/fd")?;
        let by_number = |path: &Path| {
            let found = descriptors.iter().find(|(p, _)| *p == path);
            OsString::from(found.map_or(-1, |(_, fd)| fd.as_raw_fd()).to_string())
        };
        data = options(overlay, &by_number);
        if data.len() > MAX_OPTIONS {
            refuse!(
                Unsupported,
                "{} layers are more than one overlay takes",
                overlay.lower.len()
            );
        }
    }
    nix::mount::mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(data.as_os_str()),
    )
    .map_err(|errno| {
        let shown = data.to_string_lossy();
        let args = format!("\"overlay\", {:?}, {shown}", target.display());
        anyhow!(sys::Error::new("mount", args, errno))
    })?;
    let Some(work) = &overlay.work else {
        return Ok(());
    };
    let flags = statvfs(target).context("statvfs")?.flags();
    let open = || nix::fcntl::open(work, DIRECTORY, Mode::empty());
    can_be_written(flags, open, work).inspect_err(|_| {
        let _ = nix::mount::umount2(target, MntFlags::MNT_DETACH);
    })
}

/// Fails if an overlay that should be written to is read-only: where the kernel
/// can make nothing in its working directory, for want of room or quota, that
/// is all that it does about it (`ovl_workdir_create`).
fn can_be_written(
    flags: FsFlags,
    work: impl FnOnce() -> nix::Result<OwnedFd>,
    path: &Path,
) -> Result<()> {
    if !flags.contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let tried = work().and_then(|work| {
        mkdirat(&work, c"trial", Mode::S_IRWXU)?;
        unlinkat(&work, c"trial", UnlinkatFlags::RemoveDir)
    });
    let errno = tried.err().unwrap_or(Errno::EROFS);
    let args = format!("\"overlay\", workdir={}", path.display());
    Err(anyhow!(sys::Error::new("mount", args, errno)))
}

fn options(overlay: &Overlay, name: &dyn Fn(&Path) -> OsString) -> OsString {
    let mut data = OsString::new();
    for option in &overlay.options {
        data.push(option);
        data.push(",");
    }
    data.push("lowerdir=");
    for (index, path) in overlay.lower.iter().enumerate() {
        if index > 0 {
            data.push(":");
        }
        data.push(name(path));
    }
    for (key, path) in [(",upperdir=", &overlay.upper), (",workdir=", &overlay.work)] {
        if let Some(path) = path {
            data.push(key);
            data.push(name(path));
        }
    }
    data
}

/// An overlay that is mounted nowhere. The new mount calls take no option of
/// more than 255 bytes (fsconfig(2)), so it is mounted the old way, over what
/// else is at `scratch`, and taken away again.
pub fn detached(overlay: &Overlay, scratch: &Path) -> Result<OwnedFd> {
    mount_at(overlay, scratch)?;
    let place = CString::new(scratch.as_os_str().as_bytes())?;
    let tree = mount::clone_tree(AT_FDCWD, &place, false);
    nix::mount::umount2(scratch, MntFlags::MNT_DETACH)
        .with_context(|| format!("unmount {}", scratch.display()))?;
    Ok(tree?)
}

/// The longest text that fsconfig(2) takes, without its NUL.
const MAX_TEXT: usize = 255;

/// An overlay that is mounted nowhere, of directories that were opened
/// [outside](Outside) and cannot be reached by path any more. This process is
/// in `/proc/self/fd`.
pub fn of_opened(overlay: &Overlay, outside: &Outside) -> Result<OwnedFd> {
    let number = |path: &PathBuf| -> Result<CString> {
        let number = outside.directory(path)?.as_raw_fd().to_string();
        Ok(CString::new(number)?)
    };
    let fs = FsContext::open(c"overlay")?;
    for option in &overlay.options {
        match option.split_once('=') {
            Some((key, value)) => fs.set(&CString::new(key)?, Some(&CString::new(value)?))?,
            None => fs.set(&CString::new(option.as_str())?, None)?,
        }
    }
    let lower: Vec<CString> = overlay.lower.iter().map(number).collect::<Result<_>>()?;
    let joined = lower
        .iter()
        .map(|number| number.to_bytes())
        .collect::<Vec<_>>()
        .join(&b':');
    if joined.len() <= MAX_TEXT {
        fs.set(c"lowerdir", Some(&CString::new(joined)?))?;
    } else {
        for number in &lower {
            fs.set(c"lowerdir+", Some(number)).with_context(|| {
                format!(
                    "{} layers need Linux 6.5 in a container without your id",
                    lower.len()
                )
            })?;
        }
    }
    for (key, path) in [(c"upperdir", &overlay.upper), (c"workdir", &overlay.work)] {
        if let Some(path) = path {
            fs.set(key, Some(&number(path)?))?;
        }
    }
    let tree = fs.mount(0)?;
    if let Some(path) = &overlay.work {
        let flags = fstatvfs(&tree).context("statvfs")?.flags();
        let work = outside.directory(path)?;
        let open = || nix::fcntl::openat(work, c".", DIRECTORY, Mode::empty());
        can_be_written(flags, open, path)?;
    }
    Ok(tree)
}

/// As [`in_memory`], for [`of_opened`]: the file system is mounted at
/// `target`, and its directories are among those that are opened.
pub fn in_opened_memory(
    overlay: &Overlay,
    target: &Path,
    outside: &mut Outside,
) -> Result<Overlay> {
    let what = || format!("tmpfs on {}", target.display());
    let fs = FsContext::open(c"tmpfs").with_context(what)?;
    fs.set(c"mode", Some(c"700")).with_context(what)?;
    let tree = fs.mount(attr::NOSUID | attr::NODEV).with_context(what)?;
    mount::attach(&tree, outside.directory(target)?, "root").with_context(what)?;
    for name in ["upper", "work"] {
        let mode = Mode::from_bits_truncate(0o755);
        mkdirat(&tree, name, mode).with_context(what)?;
        let directory = open_in_root(&tree, Path::new(name), DIRECTORY).with_context(what)?;
        if let ("upper", Some(model)) = (name, &overlay.upper) {
            let model = outside.directory(model)?;
            let from = open_in_root(model, Path::new("."), DIRECTORY).with_context(what)?;
            resemble(&from, &directory).with_context(what)?;
        }
        outside.add(&target.join(name), directory);
    }
    Ok(Overlay {
        upper: Some(target.join("upper")),
        work: Some(target.join("work")),
        ..overlay.clone()
    })
}
