//! Deleting behind the user's back: what was removed is out of sight at once
//! and deleted by a process of its own, or by the next command if that one is
//! killed.

use super::supervisor::release_stdio;
use crate::image::store::Store;
use crate::sys::clone::{Forked, Parent, clone3, exit_now};
use anyhow::{Context, Result};

/// Starts to delete what is in the trash, and returns. The caller must have
/// one thread.
pub fn empty_trash_behind(store: &Store) -> Result<()> {
    if store.trash_is_empty() {
        return Ok(());
    }
    if let Forked::Child = clone3(0, Parent::Caller).context("start a process that deletes")? {
        // Neither the caller's terminal nor its pipes are kept open.
        let _ = nix::unistd::setsid();
        let _ = release_stdio();
        let _ = nix::sys::prctl::set_name(c"bryo-clean");
        let code = i32::from(store.empty_trash().is_err());
        exit_now(code)
    }
    Ok(())
}
