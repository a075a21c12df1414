//! The session keeper: one small process per user that holds the user
//! namespace with the user's subordinate ids, so that the maps are written
//! once and not for each container. It does nothing but be there.
//!
//! **Protocol.** `keeper` in the runtime directory says which process it is
//! and what it maps (`Entry`, JSON). Who needs the namespace holds a shared
//! flock(2) on that file and joins with setns(2). The keeper ends
//! when it gets the lock for itself and nobody has used it for `IDLE`, or
//! when its file is gone (at logout, or replaced by a later keeper's). What is
//! in the namespace then, or below it, stays: it does not need the keeper. A
//! file whose process is dead, or that maps other ids than are granted now, is
//! replaced by whoever needs a keeper and has the lock on `keeper.lock`.

use crate::engine::ground::paths;
use crate::engine::machine::ids::{Ids, Writer};
use crate::error::{Kind, refuse};
use crate::idmap::request::Request;
use crate::idmap::write::Setgroups;
use crate::idmap::{self, IdMap, lines};
use crate::process::{ProcessId, Resident, Until, orphan};
use crate::runtime::seccomp;
use crate::sys::channel::Channel;
use crate::sys::clone::{Child, NewProcess};
use crate::sys::fs::{create_private, private};
use crate::sys::{self, wait};
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// How long a keeper waits for another user.
const IDLE: Duration = Duration::from_secs(15);

/// A user namespace with subordinate ids, held while this value is.
#[derive(Debug)]
pub struct Keeper {
    namespace: OwnedFd,
    _in_use: File,
}

/// What the keeper's file says.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    process: ProcessId,
    #[serde(flatten)]
    maps: Maps,
}

/// There is no program that could write the maps.
#[derive(Debug)]
pub struct Nobody;

impl std::fmt::Display for Nobody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "nobody can map subordinate ids: there is neither newuidmap nor bryo-idmap with its \
             capabilities",
        )
    }
}

impl std::error::Error for Nobody {}

/// The maps of a keeper's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maps {
    /// Users: in the namespace, and as this process knows them.
    pub uids: Vec<IdMap>,
    /// Groups, as `uids`.
    pub gids: Vec<IdMap>,
}

impl Keeper {
    /// The keeper with these maps; it is started if there is none. The caller
    /// must have one thread.
    ///
    /// # Errors
    /// Nobody can write the maps: what each who was asked said.
    /// As [`paths::runtime_dir`].
    pub fn get(maps: &Maps) -> Result<Keeper> {
        let directory = paths::runtime_dir()?;
        for _ in 0..8 {
            if let Some(keeper) = Keeper::find(&directory, maps)? {
                return Ok(keeper);
            }
            let path = directory.join("keeper.lock");
            let lock = private()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .with_context(|| path.display().to_string())?;
            lock.lock().with_context(|| path.display().to_string())?;
            // Somebody else may have been faster.
            if let Some(keeper) = Keeper::find(&directory, maps)? {
                return Ok(keeper);
            }
            start(&directory, maps).context("start the keeper of subordinate ids")?;
        }
        refuse!(
            Internal,
            "the keeper of subordinate ids is killed as often as it is started"
        )
    }

    fn find(directory: &Path, maps: &Maps) -> Result<Option<Keeper>> {
        let path = directory.join("keeper");
        let what = || path.display().to_string();
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.with_context(what)?,
        };
        file.lock_shared().with_context(what)?;
        // A keeper that ends removes it first, under the lock.
        if !is_at(&file, &path) {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(what)?;
        let Ok(entry) = serde_json::from_slice::<Entry>(&text) else {
            return Ok(None);
        };
        let Some(process) = entry.process.open()?.filter(|_| entry.maps == *maps) else {
            return Ok(None);
        };
        let namespace = format!("/proc/{}/ns/user", entry.process.pid);
        let Ok(namespace) = sys::ns::open_file(&namespace) else {
            return Ok(None);
        };
        // If it lives still, then the namespace is its own. One that nobody
        // has waited for is not alive.
        if wait::is_readable(&process) {
            return Ok(None);
        }
        // A keeper counts from here.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(Keeper {
            namespace,
            _in_use: file,
        }))
    }

    /// What it consists of, for who closes all else.
    pub fn descriptors(&self) -> [i32; 2] {
        [self.namespace.as_raw_fd(), self._in_use.as_raw_fd()]
    }

    /// Moves this process, which must have one thread, into the namespace,
    /// where it is root. There is no way back.
    pub fn join(&self) -> Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWUSER).context("join the keeper's namespace")?;
        // Else its files in /proc, and its children's, would be the machine's
        // root's. The processes of containers are in namespaces below.
        nix::sys::prctl::set_dumpable(true).context("set dumpable")
    }
}

/// Whether `file` is what is at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// Starts a keeper and writes its file.
fn start(directory: &Path, maps: &Maps) -> Result<()> {
    let writers = Ids::look().writers;
    if writers.is_empty() {
        return Err(anyhow!(Nobody));
    }
    let (ours, theirs) = Channel::pair()?;
    let path = directory.join("keeper");
    let keeper = orphan(libc::CLONE_NEWUSER as u64, |process| {
        keep(&process, theirs, &path)
    })?;
    let started = || -> Result<()> {
        write_maps(&keeper, maps, &writers)?;
        let entry = Entry {
            process: ProcessId::of(keeper.pid)?,
            maps: maps.clone(),
        };
        let new = directory.join("keeper.new");
        let _ = std::fs::remove_file(&new);
        let mut file = create_private(&new).with_context(|| new.display().to_string())?;
        file.write_all(&serde_json::to_vec(&entry)?)?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())?;
        ours.send(b"go", None)?;
        Ok(())
    };
    started().inspect_err(|_| drop(sys::pidfd::kill(&keeper.pidfd, libc::SIGKILL)))
}

/// The keeper's whole life.
fn keep(process: &NewProcess, starter: Channel, path: &Path) {
    // Nothing of who started it is kept: no lock, pipe or terminal.
    let resident = Resident {
        name: c"bryo-keeper",
        role: "keeper of subordinate ids",
        until: Until::Done,
        hidden: false,
        keeps: Some(&[starter.as_fd().as_raw_fd()]),
    };
    if resident.begin(process).is_err() {
        return;
    }
    // The maps are written and the file is there, or the starter has died.
    if !matches!(starter.receive(), Ok(Some(_))) {
        return;
    }
    drop(starter);
    if let Ok(file) = File::open(path) {
        let _ = sys::seccomp::confine(seccomp::WAITER, true);
        let _ = wait_until_unused(&file, path);
    }
}

fn wait_until_unused(file: &File, path: &Path) -> Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    // Its number of links changes when it is removed or replaced.
    inotify.add_watch(path, AddWatchFlags::IN_ATTRIB)?;
    loop {
        if !is_at(file, path) {
            return Ok(());
        }
        let last = file.metadata()?.modified()?;
        let idle = last.elapsed().unwrap_or_default();
        if idle >= IDLE && file.try_lock().is_ok() {
            // Nobody finds it any more; who waits for the lock looks again.
            return Ok(std::fs::remove_file(path)?);
        }
        let left = IDLE.saturating_sub(idle).max(Duration::from_secs(1));
        wait::readable(&inotify, wait::within(left));
        while inotify.read_events().is_ok() {}
    }
}

/// Has the maps of `child` written by the first who can.
fn write_maps(child: &Child, maps: &Maps, writers: &[Writer]) -> Result<()> {
    let mut refusals: Vec<anyhow::Error> = Vec::new();
    for writer in writers {
        match writer.write(child, maps) {
            Ok(()) => return Ok(()),
            Err(error) => refusals.push(error),
        }
    }
    // The last one is who is asked where nobody else can.
    let kind = refusals.iter().rev().find_map(Kind::of);
    let texts: Vec<String> = refusals.iter().map(|e| format!("{e:#}")).collect();
    let kind = kind.unwrap_or(Kind::Forbidden);
    Err(kind.says(texts.join("; ")).into())
}

impl Writer {
    /// Writes the maps of the user namespace of `child`.
    fn write(&self, child: &Child, maps: &Maps) -> Result<()> {
        let pid = child.pid.to_string();
        match self {
            Writer::Itself => {
                let (uids, gids) = (&maps.uids, &maps.gids);
                Ok(idmap::write::write(&pid, uids, gids, Setgroups::Allowed)?)
            }
            Writer::Helper(path) => {
                let request = Request {
                    uids: maps.uids.clone(),
                    gids: maps.gids.clone(),
                };
                let process = child.pidfd.try_clone()?;
                let mut command = Command::new(path);
                run(command.args(request.arguments()).stdin(process))
            }
            Writer::Shadow(users, groups) => {
                let one = |path: &PathBuf, map: &[IdMap]| {
                    let mut command = Command::new(path);
                    let numbers = lines(map);
                    let numbers = numbers.split_ascii_whitespace();
                    run(command.arg(&pid).args(numbers).stdin(Stdio::null()))
                };
                one(groups, &maps.gids)?;
                one(users, &maps.uids)
            }
        }
    }
}

/// Runs a program that has privileges, in no environment.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env_clear().output().with_context(|| name.clone())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(400).collect();
    refuse!(Unsupported, "{name}: {} ({said})", output.status)
}
