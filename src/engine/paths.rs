//! Where bryo keeps things: the user's data directory and the runtime
//! directory.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The store: `$BRYO_ROOT`, else `$XDG_DATA_HOME/bryo`, else
/// `~/.local/share/bryo` (XDG Base Directory Specification).
///
/// # Errors
/// None of the three is known: HOME is not set and the user's line in
/// `/etc/passwd` is missing.
pub fn data_root() -> Result<PathBuf> {
    if let Some(root) = directory_variable("BRYO_ROOT") {
        return std::path::absolute(&root).context("BRYO_ROOT");
    }
    // Relative paths in these variables are to be ignored.
    if let Some(data) = directory_variable("XDG_DATA_HOME").filter(|p| p.is_absolute()) {
        return Ok(data.join("bryo"));
    }
    let home = directory_variable("HOME").or_else(home_of_passwd);
    let home = home.context("no place for the store: neither BRYO_ROOT nor HOME is set")?;
    Ok(home.join(".local/share/bryo"))
}

/// The directory for sockets of running containers: `$XDG_RUNTIME_DIR/bryo`,
/// else `/tmp/bryo-UID`. It is made if it is missing.
///
/// # Errors
/// The directory belongs to somebody else or is open to others.
pub fn runtime_dir() -> Result<PathBuf> {
    match directory_variable("XDG_RUNTIME_DIR").filter(|p| p.is_dir()) {
        Some(dir) => private_directory(&dir.join("bryo")),
        None => {
            let uid = nix::unistd::getuid();
            private_directory(Path::new(&format!("/tmp/bryo-{uid}")))
        }
    }
}

fn directory_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value: &OsString| !value.is_empty())
        .map(PathBuf::from)
}

/// The user's home by `/etc/passwd`; NSS is out of reach of a static binary.
fn home_of_passwd() -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    let uid = nix::unistd::getuid().as_raw();
    let user = super::user::find_by_uid(&passwd, uid)?;
    Some(PathBuf::from(user.home))
}

/// Makes `path` with mode 0700 if it is missing, and proves that it is the
/// user's own and nobody else's.
fn private_directory(path: &Path) -> Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("create {}", path.display())),
    }
    let meta = std::fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    if !meta.is_dir() {
        bail!("{} is not a directory", path.display());
    }
    if meta.uid() != nix::unistd::getuid().as_raw() {
        bail!(
            "{} belongs to user {}, not to you",
            path.display(),
            meta.uid()
        );
    }
    if meta.mode() & 0o077 != 0 {
        bail!(
            "{} is open to other users (mode {:04o}): chmod 700 it",
            path.display(),
            meta.mode() & 0o7777
        );
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        assert!(private_directory(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = private_directory(&path).unwrap_err().to_string();
        assert!(error.contains("open to other users"), "{error}");
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(dir.path(), &path).unwrap();
        assert!(private_directory(&path).is_err());
    }
}
