//! The files of a container as it sees them, for a process outside of it:
//! those of a running one through its first process, those of another one
//! mounted as for its start.

use crate::engine::container::containers::{Container, Lock};
use crate::engine::create::root::stands_on;
use crate::engine::ids::userns;
use crate::engine::operate::export::become_root;
use crate::engine::operate::lifecycle::take_lock;
use crate::engine::supervise::exec::command_process;
use crate::error::refuse;
use crate::image::flavour;
use crate::image::owners::Owners;
use crate::runtime::{Plan, visit};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use oci_spec::runtime::{Mount, Spec};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A container whose files are to be looked at. While it lives, a container
/// that does not run is not started.
#[derive(Debug)]
pub struct Visit {
    container: Container,
    spec: Spec,
    /// The root of a running container.
    root: Option<OwnedFd>,
    _lock: Option<Lock>,
}

/// Its files, in the process that may see them all.
pub struct Files {
    /// Its root directory.
    pub root: OwnedFd,
    /// The owners of its files, if they are true ones.
    pub true_owners: Option<flavour::Owners>,
    /// Else what is recorded of those that cannot carry it.
    pub recorded: Owners,
}

impl Visit {
    /// Finds out where the files are.
    ///
    /// # Errors
    /// It is dead, or runs on another machine.
    pub fn new(mut container: Container) -> Result<Visit> {
        let spec = container.spec()?;
        let name = container.record.name.clone();
        container.await_start()?;
        if !container.state.is_active() {
            let Some(lock) = take_lock(&container)? else {
                refuse!(
                    Conflict,
                    "container {name} is being started or removed by another bryo"
                );
            };
            return Ok(Visit {
                container,
                spec,
                root: None,
                _lock: Some(lock),
            });
        }
        let process = container.running_process()?;
        let (pid, inner) = command_process(&container, &spec)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{pid}/root");
        let root = nix::fcntl::open(path.as_str(), flags, Mode::empty()).context(path)?;
        // Asked afterwards: it was that process's root, not a later one's.
        match crate::sys::pidfd::kill(inner.as_ref().unwrap_or(&process), 0) {
            Err(e) if e.errno == Errno::ESRCH => {
                refuse!(Conflict, "container {name} has just ended")
            }
            other => other?,
        }
        Ok(Visit {
            container,
            spec,
            root: Some(root),
            _lock: None,
        })
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.root.is_some()
    }

    /// A file without a name, for what is on its way.
    pub fn spool(&self) -> Result<File> {
        let mut options = File::options();
        let options = options.read(true).write(true).mode(0o600);
        let file = options
            .custom_flags(libc::O_TMPFILE)
            .open(&self.container.dir);
        file.with_context(|| format!("a file in {}", self.container.dir.display()))
    }

    /// Moves this process, which must be one made for it, to where it may see
    /// and, if it `writes`, change all of them. To look takes no room, nor a
    /// store that can be written.
    pub fn enter(&self, writes: bool) -> Result<Files> {
        // Before this process becomes somebody else.
        let mut recorded = Owners::open(&self.container.dir)?;
        let true_owners = userns::enter_owners(&self.spec)?;
        if true_owners.is_none() {
            become_root().context("unshare the user namespace")?;
            recorded.learn(&stands_on(&self.spec))?;
        }
        let root = match &self.root {
            Some(root) => root.try_clone()?,
            None => self.mount(writes)?,
        };
        // What is made here is to have its own mode.
        nix::sys::stat::umask(Mode::empty());
        Ok(Files {
            root,
            true_owners,
            recorded,
        })
    }

    fn mount(&self, writes: bool) -> Result<OwnedFd> {
        let what = || {
            format!(
                "mount the files of container {}",
                self.container.record.name
            )
        };
        unshare(CloneFlags::CLONE_NEWNS).with_context(what)?;
        let mut spec = self.spec.clone();
        let mounts = spec.mounts().iter().flatten();
        let kept = mounts.filter(|m| is_of_files(m)).cloned();
        let kept = kept.map(|mount| match writes {
            true => lasting(mount),
            false => unwritten(mount),
        });
        spec.set_mounts(Some(kept.collect()));
        let plan = Plan::new(&spec, &self.container.dir).with_context(what)?;
        visit::mount(&plan, &mut drop).with_context(what)
    }
}

/// Whether a mount shows files that are there while the container does not
/// run.
fn is_of_files(mount: &Mount) -> bool {
    let system = ["/proc", "/sys", "/dev"];
    let kind = mount.typ().as_deref();
    let source = mount.source().as_deref();
    matches!(kind, Some("bind" | "overlay"))
        && !system
            .iter()
            .any(|path| mount.destination().starts_with(path))
        && (kind == Some("overlay") || source.is_none_or(Path::exists))
}

/// A mount whose changes outlive this process.
fn lasting(mut mount: Mount) -> Mount {
    let words = mount.options().clone().unwrap_or_default();
    let words = words.into_iter().filter(|word| word != "volatile");
    mount.set_options(Some(words.collect()));
    mount
}

/// A mount that nothing is written to: for that the kernel makes a directory in
/// an overlay's `workdir`. What was written before is its topmost layer.
fn unwritten(mount: Mount) -> Mount {
    let mut mount = lasting(mount);
    let words = mount.options().clone().unwrap_or_default();
    let (written, others): (Vec<_>, Vec<_>) = words
        .into_iter()
        .filter(|word| !word.starts_with("workdir="))
        .partition(|word| word.starts_with("upperdir="));
    let written = written
        .iter()
        .filter_map(|word| word.strip_prefix("upperdir="));
    let layers = written.map(|path| format!("lowerdir={path}"));
    let words: Vec<String> = layers.chain(others).collect();
    mount.set_options(Some(words));
    mount
}
