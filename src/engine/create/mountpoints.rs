//! A tree with the places at which each container has something mounted. As
//! the lowest layer of each root it spares a container whose image lacks them
//! from having them made in its own changes.

use crate::image::remove::remove_tree;
use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
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

fn make(tree: &Path) -> std::io::Result<()> {
    // The caller's mask is not for what the container sees.
    let mask = umask(Mode::from_bits_truncate(0o022));
    let made = fill(tree);
    umask(mask);
    made
}

fn fill(tree: &Path) -> std::io::Result<()> {
    for name in DIRECTORIES {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(tree.join(name))?;
    }
    for name in crate::engine::create::spec::ETC_FILES {
        File::create(tree.join("etc").join(name))?;
    }
    Ok(())
}
