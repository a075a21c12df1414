//! Where bryo keeps things: the user's data directory and the runtime
//! directory.

use crate::error::refuse;
use anyhow::{Context, Result, anyhow};
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
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

/// Makes sure that nobody else gets into a store that is there already;
/// returns what had to be done for that, in words.
///
/// # Errors
/// It belongs to somebody else, or is on a file system that has no modes.
pub fn close_store(root: &Path) -> Result<Option<String>> {
    let here = || root.display().to_string();
    let meta = match std::fs::metadata(root) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(here)?,
    };
    let uid = geteuid();
    // Root, whose everything is, may look after somebody else's.
    if !uid.is_root() && meta.uid() != uid.as_raw() {
        refuse!(
            Forbidden,
            "the store {} belongs to user {}, not to you: --root or BRYO_ROOT name another",
            here(),
            meta.uid()
        );
    }
    if meta.mode() & 0o077 == 0 || meta.uid() != uid.as_raw() {
        return Ok(None);
    }
    let closed = std::fs::set_permissions(root, PermissionsExt::from_mode(0o700));
    if closed.is_err() || std::fs::metadata(root).with_context(here)?.mode() & 0o077 != 0 {
        refuse!(
            Forbidden,
            "the store {} is open to other users, and its file system does not let it be closed: \
             --root or BRYO_ROOT name another",
            here()
        );
    }
    Ok(Some(format!(
        "the store {} was open to other users (mode {:04o}); it is yours alone now (0700)",
        here(),
        meta.mode() & 0o7777
    )))
}

/// There is no safe place for sockets, and why.
#[derive(Debug)]
pub struct Unsafe(String);

impl std::fmt::Display for Unsafe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsafe {}

/// The directory for sockets and the keeper: `$XDG_RUNTIME_DIR/bryo`, else
/// `/tmp/bryo-UID`. It is made if it is missing. A runtime directory of
/// somebody else's, which su(1) leaves in the environment, is none.
///
/// # Errors
/// [`Unsafe`]: the directory belongs to somebody else or is open to others.
pub fn runtime_dir() -> Result<PathBuf> {
    private_directory(&runtime_place())
}

/// Where that directory is or would be.
pub fn runtime_place() -> PathBuf {
    let own = |path: &PathBuf| {
        let meta = std::fs::metadata(path);
        meta.is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw())
    };
    match directory_variable("XDG_RUNTIME_DIR").filter(own) {
        Some(dir) => dir.join("bryo"),
        None => PathBuf::from(format!("/tmp/bryo-{}", geteuid())),
    }
}

fn directory_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value: &OsString| !value.is_empty())
        .map(PathBuf::from)
}

/// The user's home by `/etc/passwd`; NSS is out of reach of a static binary.
pub fn home_of_passwd() -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    let uid = geteuid().as_raw();
    let user = crate::engine::ground::user::find_by_uid(&passwd, uid)?;
    Some(PathBuf::from(user.home))
}

/// Makes `path` with mode 0700 if it is missing, and proves that it is the
/// user's own and nobody else's.
fn private_directory(path: &Path) -> Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("create {}", path.display())),
    }
    let meta = std::fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    let path_text = path.display();
    let fault = if !meta.is_dir() {
        format!("{path_text} is not a directory")
    } else if meta.uid() != geteuid().as_raw() {
        format!("{path_text} belongs to user {}, not to you", meta.uid())
    } else if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o7777;
        format!("{path_text} is open to other users (mode {mode:04o}): chmod 700 it")
    } else {
        return Ok(path.to_owned());
    };
    Err(anyhow!(Unsafe(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        // As if somebody had been there first.
        let error = private_directory(Path::new("/usr")).unwrap_err();
        let text = error.to_string();
        assert!(
            error.is::<Unsafe>() && text.contains("belongs to user 0"),
            "{text}"
        );
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
