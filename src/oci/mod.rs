//! Containers as runc's command line has them: a bundle and an id, no image, no
//! network, no record in a store, and nobody beside them. Between two commands
//! there is the container's process and a directory ([`state`]).
//!
//! The door for other engines: podman, buildah, containerd and Slurm make bundles
//! and call a runtime.

pub mod bundle;
pub mod create;
pub mod events;
pub mod example;
pub mod exec;
pub mod features;
pub mod group;
pub mod lifecycle;
pub mod state;

use crate::runtime::Stdio;
use crate::sys::fd::standard;
use anyhow::{Context, Result};
use std::path::Path;
use std::rc::Rc;

/// The caller's own descriptors 0 to 2, which are those of the container here:
/// whoever calls a runtime has made them for it.
fn own_streams() -> Result<Stdio> {
    let [input, output, errors] = [0, 1, 2].map(|number| {
        let copy = standard(number).try_clone_to_owned();
        copy.map(Rc::new).context("copy a standard stream")
    });
    Ok(Stdio([input?, output?, errors?]))
}

/// Writes a process's id to a file, which is there as a whole or not at all.
fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let written = crate::sys::replace::replace(path, pid.to_string().as_bytes());
    written.with_context(|| format!("--pid-file {}", path.display()))
}
