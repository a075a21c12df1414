//! Control groups: what the user may limit.

use super::text::{self, CgroupLayout};
use crate::sys::mountinfo::Mount;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Controllers that limits of containers need.
pub const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Control groups as they are for the user.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cgroups {
    /// The hierarchies.
    pub layout: CgroupLayout,
    /// The path of this process in the version 2 hierarchy.
    #[serde(serialize_with = "super::shown_if")]
    pub path: Option<PathBuf>,
    /// The subtree that the user may change.
    pub delegation: Option<Delegation>,
}

/// A subtree that belongs to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Delegation {
    /// Its topmost directory.
    #[serde(serialize_with = "super::shown")]
    pub directory: PathBuf,
    /// The controllers that can be used in it.
    pub controllers: Vec<String>,
    /// This process is in it; else systemd puts processes there.
    pub inside: bool,
}

impl Cgroups {
    /// Looks at them.
    pub fn look(mounts: &[Mount]) -> Cgroups {
        let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
        let path = text::own_cgroup(&own);
        let place = path
            .as_deref()
            .and_then(|path| text::cgroup_directory(mounts, path));
        Cgroups {
            layout: text::cgroup_layout(mounts),
            delegation: place.and_then(|(top, own)| delegation(&top, &own)),
            path,
        }
    }

    /// The wanted controllers that the user does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |name: &str| {
            let delegation = self.delegation.as_ref();
            delegation.is_some_and(|d| d.controllers.iter().any(|c| c == name))
        };
        WANTED.into_iter().filter(|name| !has(name)).collect()
    }
}

/// The subtree of the user: the one around `own`, or that of systemd's user
/// manager.
fn delegation(top: &Path, own: &Path) -> Option<Delegation> {
    let around = own.ancestors().take_while(|path| path.starts_with(top));
    let around: Vec<&Path> = around.take_while(|path| is_mine(path)).collect();
    if let Some(directory) = around.last() {
        return Some(Delegation {
            directory: directory.to_path_buf(),
            controllers: controllers(directory),
            inside: true,
        });
    }
    let uid = nix::unistd::geteuid();
    let manager = format!("user.slice/user-{uid}.slice/user@{uid}.service");
    let directory = top.join(manager);
    is_mine(&directory).then(|| Delegation {
        controllers: controllers(&directory),
        directory,
        inside: false,
    })
}

/// Whether groups can be made in the directory and processes moved there.
fn is_mine(directory: &Path) -> bool {
    let files = ["", "cgroup.procs", "cgroup.subtree_control"];
    let mut files = files.iter().map(|file| directory.join(file));
    files.all(|file| access(&file, AccessFlags::W_OK).is_ok())
}

fn controllers(directory: &Path) -> Vec<String> {
    let file = directory.join("cgroup.controllers");
    let text = super::read(&file.to_string_lossy());
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
