//! Deleting behind the user's back: what was removed is out of sight at once
//! and deleted by a process of its own, or by the next command if that one is
//! killed.

use super::supervisor::release_stdio;
use super::userns;
use crate::image::store::Store;
use crate::sys::clone::{Forked, Parent, clone3, exit_now};
use crate::sys::title;
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
        title::set(c"bryo-clean", "cleaner");
        let mut result = store.empty_trash();
        if result.is_err() {
            // Files of subordinate ids can only be removed where they are
            // somebody.
            result = userns::enter_base().and_then(|()| store.empty_trash());
        }
        exit_now(i32::from(result.is_err()))
    }
    Ok(())
}
