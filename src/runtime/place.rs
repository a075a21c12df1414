//! The places of mounts inside a root, found or made.

use crate::error::refuse;
use crate::sys::{self, fd::open_in_root};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat, mknodat};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Links followed on one path before it counts as a loop, as in the kernel
/// (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Opens `path` in `root` with `O_PATH`. What is missing is made: directories
/// on the way, at the end a directory or an empty file. A link whose target is
/// missing stands for that target, which is made inside `root`, wherever the
/// link says that it is; so do runc and docker.
pub fn open(root: impl AsFd, path: &Path, directory: bool) -> Result<OwnedFd> {
    let root = root.as_fd();
    // openat2 takes no empty path for the root itself.
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let flags = match directory {
        true => OFlag::O_PATH | OFlag::O_DIRECTORY,
        false => OFlag::O_PATH,
    };
    match open_in_root(root, path, flags) {
        Ok(fd) => return Ok(fd),
        Err(e) if e.errno == Errno::ENOENT => {}
        Err(e) => return Err(explained(e)),
    }
    make(root, path, directory).with_context(|| format!("create /{}", path.display()))?;
    open_in_root(root, path, flags).map_err(explained)
}

fn explained(error: sys::Error) -> anyhow::Error {
    let hint = match error.errno {
        Errno::ELOOP => "its links go round in circles, or lead through /proc",
        Errno::ENOTDIR => "a directory is needed, and the container has a file in its place",
        _ => return anyhow!(error),
    };
    anyhow!(error).context(hint)
}

/// Makes what lacks of `path`. Each step starts at the root again, so that
/// nobody who changes the tree meanwhile can lead it astray.
fn make(root: impl AsFd, path: &Path, directory: bool) -> Result<()> {
    let root = root.as_fd();
    let mut done = PathBuf::from(".");
    let mut pending = Vec::new();
    let mut links = 0;
    push(&mut pending, path);
    while let Some(name) = pending.pop() {
        if name == ".." {
            if done != Path::new(".") {
                done.pop();
            }
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let parent = open_in_root(root, &done, flags).map_err(explained)?;
        match fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFLNK => {
                links += 1;
                if links > MAX_LINKS {
                    refuse!(Invalid, "too many symbolic links");
                }
                let target = PathBuf::from(readlinkat(&parent, name.as_os_str())?);
                if target.is_absolute() {
                    done = PathBuf::from(".");
                }
                push(&mut pending, &target);
                continue;
            }
            Ok(_) => {}
            Err(Errno::ENOENT) => {
                let made = match pending.is_empty() && !directory {
                    true => {
                        let mode = Mode::from_bits_truncate(0o644);
                        mknodat(&parent, name.as_os_str(), SFlag::S_IFREG, mode, 0)
                    }
                    false => {
                        let mode = Mode::from_bits_truncate(0o755);
                        mkdirat(&parent, name.as_os_str(), mode)
                    }
                };
                match made {
                    // Another container made it, in a volume of both.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        done.push(name);
    }
    Ok(())
}

fn push(pending: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev();
    pending.extend(parts.filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn links_to_nothing_are_made_inside() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join("root").join(path);
        fs::create_dir_all(at("etc/below")).unwrap();
        fs::write(at("file"), "").unwrap();
        for (link, target) in [
            ("etc/resolv.conf", "../run/systemd/resolve/stub"),
            ("data", "/mnt/gone"),
            ("chain", "etc/below/next"),
            ("etc/below/next", "../../../../../end/here"),
            ("out", "../../../../over"),
            ("loop", "pool"),
            ("pool", "loop"),
            ("up", "none/../there"),
            ("through", "file/x"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let root = File::open(dir.path().join("root")).unwrap();
        let make = |path: &str, directory| open(&root, Path::new(path), directory).map(drop);
        for (path, directory, made) in [
            ("etc/resolv.conf", false, "run/systemd/resolve/stub"),
            ("data", true, "mnt/gone"),
            ("data/deeper", true, "mnt/gone/deeper"),
            ("chain", false, "end/here"),
            ("out/x", true, "over/x"),
            ("up", true, "there"),
            ("new/../etc/plain", false, "etc/plain"),
        ] {
            make(path, directory).unwrap_or_else(|e| panic!("{path}: {e:#}"));
            assert_eq!(at(made).is_dir(), directory, "{path}");
            assert_eq!(at(made).is_file(), !directory, "{path}");
            // The link is still one.
            make(path, directory).unwrap();
        }
        assert_eq!(fs::read_link(at("data")).unwrap(), Path::new("/mnt/gone"));
        for (path, directory) in [("loop", false), ("loop/x", true)] {
            let error = format!("{:#}", make(path, directory).unwrap_err());
            assert!(error.contains("round in circles"), "{error}");
        }
        for (path, directory) in [("through", false), ("file/x", true), ("file", true)] {
            let error = format!("{:#}", make(path, directory).unwrap_err());
            assert!(error.contains("has a file in its place"), "{error}");
        }
        make("", true).unwrap();
        let outside = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(outside, 1, "something was made outside");
    }
}
