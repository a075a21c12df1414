//! Deleting behind the user's back: what was removed is out of sight at once
//! and deleted by a process of its own, or by the next command if that one is
//! killed.

use crate::engine::ids::userns;
use crate::image::store::Store;
use crate::process::{Resident, Until, spawn};
use anyhow::{Context, Result};

/// Starts to delete what is in the trash, and returns. The caller must have
/// one thread.
pub fn empty_trash_behind(store: &Store) -> Result<()> {
    if store.trash_is_empty() {
        return Ok(());
    }
    spawn(|process| {
        let resident = Resident {
            name: c"bryo-clean",
            role: "cleaner",
            until: Until::Done,
            hidden: false,
            keeps: None,
        };
        let _ = resident.begin(process);
        let mut result = store.empty_trash();
        if result.is_err() {
            // Files of subordinate ids can only be removed where they are
            // somebody.
            result = userns::enter_base().and_then(|()| store.empty_trash());
        }
        result
    })
    .map(drop)
    .context("delete what was removed")
}
