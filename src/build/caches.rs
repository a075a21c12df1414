//! Directories of `RUN --mount=type=cache`: `caches/KEY` of the store, which later builds
//! find as they were left, and a lock beside each.

use super::dockerfile::mount::Sharing;
use crate::engine::container::volumes::give_tree;
use crate::engine::ids::userns::Mapping;
use crate::image::digest;
use crate::image::store::Store;
use crate::sys::fs::{make_private, make_public, private};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where they are, in a store.
const DIRECTORY: &str = "caches";

/// A cache that is in use for as long as this lives.
pub struct Cache {
    /// Its directory.
    pub directory: PathBuf,
    _lock: Flock<File>,
}

/// The cache called `id`, made where it is not there, with this owner and mode.
///
/// # Errors
/// The store cannot be written to.
pub fn open(
    store: &Store,
    mapping: &Mapping,
    id: &str,
    sharing: Sharing,
    (owner, mode): ((u32, u32), u32),
) -> Result<Cache> {
    let all = store.root().join(DIRECTORY);
    make_private(&all).with_context(|| format!("create {}", all.display()))?;
    let key = digest::sha256(id.as_bytes()).digest().to_owned();
    let how = match sharing {
        Sharing::Shared => FlockArg::LockShared,
        Sharing::Locked => FlockArg::LockExclusive,
        Sharing::Private => FlockArg::LockExclusiveNonblock,
    };
    for number in 0.. {
        // Who wants one alone takes the first that nobody uses.
        let name = match number {
            0 => key.clone(),
            number => format!("{key}.{number}"),
        };
        let what = || format!("cache {id}");
        let mut options = private();
        let options = options.read(true).write(true).create(true).truncate(false);
        let lock = options
            .open(all.join(format!("{name}.lock")))
            .with_context(what)?;
        let Ok(lock) = Flock::lock(lock, how) else {
            continue;
        };
        let directory = all.join(&name);
        if !directory.exists() {
            // Whole or not at all.
            let session = store.session()?;
            let new = session.path("cache")?;
            let make = || {
                make_public(&new)?;
                std::fs::set_permissions(&new, Permissions::from_mode(mode))
            };
            make().with_context(what)?;
            give_tree(mapping, &new, owner).with_context(what)?;
            match std::fs::rename(&new, &directory) {
                Err(error) if directory.exists() => drop(error),
                other => other.with_context(what)?,
            }
        }
        return Ok(Cache {
            directory,
            _lock: lock,
        });
    }
    unreachable!("there are more numbers than locks")
}

/// Moves all caches to the trash. Nothing builds.
///
/// # Errors
/// The store cannot be written to.
pub fn forget(store: &Store) -> Result<()> {
    let all = store.root().join(DIRECTORY);
    forget_in(store, &all).with_context(|| format!("remove {}", all.display()))
}

fn forget_in(store: &Store, all: &Path) -> Result<()> {
    match std::fs::metadata(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => store.trash(all).map(drop),
    }
}
