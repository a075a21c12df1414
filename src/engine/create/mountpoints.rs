//! A tree with the places at which each container has something mounted. As
//! the lowest layer of each root it spares a container whose image lacks them
//! from having them made in its own changes.

use crate::image::remove::remove_tree;
use crate::sys::fs::{make_public, write_public};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// Where the store at `root` has the tree.
pub fn place(root: &Path) -> PathBuf {
    root.join("mountpoints")
}

/// The tree in the store at `root`, which is made if it is missing.
pub fn tree(root: &Path) -> Result<PathBuf> {
    let tree = place(root);
    if tree.exists() {
        return Ok(tree);
    }
    let new = tree.with_extension(std::process::id().to_string());
    let what = || format!("create {}", new.display());
    make(&new).with_context(what)?;
    if let Err(e) = std::fs::rename(&new, &tree) {
        let _ = remove_tree(&new);
        // Another one was faster: as good.
        if !tree.exists() {
            return Err(e).with_context(what);
        }
    }
    Ok(tree)
}

/// What the container sees is not the caller's mask (umask(2)).
fn make(tree: &Path) -> std::io::Result<()> {
    make_public(tree)?;
    for name in DIRECTORIES {
        make_public(&tree.join(name))?;
    }
    for name in crate::engine::create::spec::ETC_FILES {
        write_public(&tree.join("etc").join(name), [])?;
    }
    Ok(())
}
