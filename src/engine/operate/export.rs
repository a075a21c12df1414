//! `export`: a container's root file system as a tar.

use crate::engine::container::containers::Container;
use crate::engine::container::record::State;
use crate::engine::create::mountpoints;
use crate::engine::ids::userns;
use crate::error::refuse;
use crate::image::export::export as write_tar;
use crate::image::owners::Owners;
use crate::image::tarwrite::TarWriter;
use crate::runtime::plan::TMPFS_UPPER;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::Spec;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes the root file system of `container`, which may run, without what is
/// mounted in it, to `out`. Of one that was never started that is its image: the
/// same bytes, whatever the store.
///
/// # Errors
/// Its changes are in memory; a file cannot be read.
pub fn export<W: Write>(container: &Container, out: W) -> Result<W> {
    let what = || format!("export container {}", container.record.name);
    // Nobody removes or starts it meanwhile; what runs is not removed.
    let _lock = container.try_lock()?;
    let mut trees = trees(&container.spec()?, container).with_context(what)?;
    if container.state == State::Created {
        // Nothing was mounted yet, and its own tree is like the image's root.
        let root = container.dir.parent().and_then(Path::parent);
        let points = root.map(mountpoints::place);
        trees.retain(|tree| Some(tree) != points.as_ref());
    }
    let mut owners = Owners::new(&container.dir);
    let true_owners = userns::enter_owners(&container.spec()?).with_context(what)?;
    if true_owners.is_none() {
        // Without it, files that their mode closes to their owner stay closed.
        let _ = become_root();
    }
    let out = TarWriter::sparse(out);
    write_tar(&trees, Some(&mut owners), true_owners.as_ref(), out).with_context(what)
}

/// The trees that make up the root file system, the topmost first.
pub fn trees(spec: &Spec, container: &Container) -> Result<Vec<PathBuf>> {
    let copy = container.dir.join("copy");
    if copy.exists() {
        return Ok(vec![copy]);
    }
    let mounts = spec.mounts().as_ref();
    let root = mounts.and_then(|m| m.iter().find(|m| m.destination() == Path::new("/")));
    let root = root.context("config.json has no root")?;
    let words = root.options().as_deref().unwrap_or_default();
    if words.iter().any(|w| w == TMPFS_UPPER) {
        refuse!(Conflict, "its changes are in memory only");
    }
    let value = |key: &'static str| words.iter().filter_map(move |w| w.strip_prefix(key));
    let upper = value("upperdir=").chain(value("lowerdir="));
    let trees: Vec<PathBuf> = upper.map(PathBuf::from).collect();
    match root.source() {
        Some(source) if trees.is_empty() => Ok(vec![source.clone()]),
        _ => Ok(trees),
    }
}

/// Makes this process root of a user namespace, where it may read all files of
/// its user. It must have one thread.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER)?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)?;
    }
    Ok(())
}
