//! Writing the id maps of a process in a new user namespace.

use super::{IdMap, lines};
use crate::sys::error::Result;
use crate::sys::fd::write_file;

/// Whether processes of a user namespace may change their supplementary
/// groups (user_namespaces(7), `/proc/PID/setgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setgroups {
    /// They may.
    Allowed,
    /// They may not, which the kernel demands where the map is written by who
    /// has no privilege but over his own group.
    Denied,
}

/// Writes the maps of a process's user namespace; `process` is its name in
/// `/proc`, a number or `self`.
///
/// # Errors
/// EPERM where the writer may not map these ids, EINVAL where they overlap or
/// are too many.
pub fn write(process: &str, uids: &[IdMap], gids: &[IdMap], setgroups: Setgroups) -> Result<()> {
    let file = |name| format!("/proc/{process}/{name}");
    if setgroups == Setgroups::Denied {
        write_file(&file("setgroups"), b"deny")?;
    }
    write_file(&file("gid_map"), lines(gids).as_bytes())?;
    write_file(&file("uid_map"), lines(uids).as_bytes())
}
