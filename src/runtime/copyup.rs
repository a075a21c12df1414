//! `tmpcopyup`: a new tmpfs starts with what the image has at its place.

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// Copies the content of directory `from` into directory `to`: files,
/// directories, links and FIFOs with their modes. Devices and sockets are
/// left out.
pub fn copy_into(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(from, ".", flags, Mode::empty()).context("read directory")?;
    let names: Vec<_> = dir
        .iter()
        .map(|entry| entry.map(|e| e.file_name().to_owned()))
        .collect::<nix::Result<_>>()
        .context("read directory")?;
    for name in names.iter().map(|n| n.as_c_str()) {
        if name != c"." && name != c".." {
            copy_entry(from, to, name)
                .with_context(|| format!("copy {}", name.to_string_lossy()))?;
        }
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode);
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let source = openat(from, name, flags, Mode::empty())?;
            let target = openat(to, name, flags, Mode::empty())?;
            copy_into(source.as_fd(), target.as_fd())?;
        }
        SFlag::S_IFREG => copy_file(from, to, name)?,
        SFlag::S_IFLNK => {
            let target = readlinkat(from, name)?;
            nix::unistd::symlinkat(target.as_os_str(), to, name)?;
            return Ok(());
        }
        SFlag::S_IFIFO => mknodat(to, name, SFlag::S_IFIFO, mode, 0)?,
        _ => return Ok(()),
    }
    // Exactly the mode of the source, whatever the mask.
    let mode_flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
    fchmodat(to, name, mode, mode_flags)?;
    Ok(())
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let source = openat(from, name, read, Mode::empty())?;
    let target = openat(to, name, write, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut target = std::fs::File::from(target);
    std::io::copy(&mut std::fs::File::from(source), &mut target)?;
    Ok(())
}
