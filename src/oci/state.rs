//! What is known of containers between two commands: a directory for each, with
//! `config.json` as it was when the container was created, `state.json`, the gate at
//! which its process waits until it is started, and the file `lock`, which whoever
//! changes it holds by flock(2).
//!
//! A command that is killed leaves a directory whose state says what it had come
//! to: [`Status::Creating`] with a process or without, which `delete` removes.

use super::group;
use crate::cgroup::place::Placed;
use crate::error::{refusal, refuse};
use crate::process::ProcessId;
use crate::runtime::gate::Key;
use crate::sys::fs::{create_private, make_private, write_private};
use crate::sys::replace::replace;
use crate::sys::wait;
use anyhow::{Context, Error, Result};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::unistd::{Uid, geteuid};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// The longest id, since it is the name of a directory.
const MOST_ID: usize = 255;

/// The directory of all containers of a caller.
#[derive(Debug, Clone)]
pub struct States {
    root: PathBuf,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    /// What is recorded of it.
    pub record: Record,
    /// Its directory.
    pub dir: PathBuf,
}

/// What is recorded of a container: `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The version of the specification that its bundle is of.
    pub oci_version: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// Its root file system, absolute.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: Timestamp,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who created it.
    pub owner: u32,
    /// Its process.
    pub process: ProcessId,
    /// Its process waits to be started, or has been.
    pub ready: bool,
    /// Its control groups, if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Placed>,
}

/// How a container is (runtime-spec, runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its process does not wait yet, or who made it was killed before it did.
    Creating,
    /// Its process waits.
    Created,
    /// Its command runs.
    Running,
    /// Its processes are stopped where they are; the specification has no word
    /// for it.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl Status {
    /// The specification's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The state of a container as programs read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Shown {
    pub oci_version: String,
    pub id: String,
    /// Of its process; 0 if that has ended.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of who created it, its number if it has none.
    pub owner: String,
}

/// The right to change a container, until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it is held")] File);

/// As runc says it, by which engines tell this from other errors.
fn not_found(id: &str) -> Error {
    refusal!(NotFound, "container does not exist: {id}")
}

/// Refuses what runc does not take for an id either: it is the name of a
/// directory.
fn check_id(id: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    if id.is_empty() || id.len() > MOST_ID || !id.bytes().all(good) || matches!(id, "." | "..") {
        let shown: String = id.chars().take(64).collect();
        refuse!(
            Invalid,
            "invalid container ID format: '{shown}': letters, digits, _, +, - and . are wanted, {MOST_ID} \
             at most"
        );
    }
    Ok(())
}

impl States {
    /// Those in `root`, which is made if it is missing.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub fn open(root: &Path) -> Result<States> {
        let what = || format!("--root {}", root.display());
        let root = std::path::absolute(root).with_context(what)?;
        make_private(&root).with_context(what)?;
        let meta = root.metadata().with_context(what)?;
        if meta.uid() != geteuid().as_raw() {
            refuse!(Forbidden, "{}: it is somebody else's", what());
        }
        if meta.mode() & 0o022 != 0 {
            refuse!(Forbidden, "{}: others may write to it: chmod go-w", what());
        }
        Ok(States { root })
    }

    /// Makes the directory of a new container, locked.
    ///
    /// # Errors
    /// There is one with this id; the id is none.
    pub fn reserve(&self, id: &str) -> Result<(PathBuf, Lock)> {
        check_id(id)?;
        let dir = self.root.join(id);
        let taken = || refusal!(Conflict, "container with given ID already exists: {id}");
        let what = || format!("create {}", dir.display());
        for _ in 0..2 {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    // What a killed command left has no state and no lock.
                    let Some(lock) = try_lock(&dir)? else {
                        return Err(taken());
                    };
                    if dir.join(STATE).exists() {
                        return Err(taken());
                    }
                    forget_group(&dir, id);
                    empty(&dir).with_context(what)?;
                    return Ok((dir, lock));
                }
                Err(e) => return Err(e).with_context(what),
            }
            if let Some(lock) = try_lock(&dir)? {
                return Ok((dir, lock));
            }
        }
        Err(taken())
    }

    /// Finds a container.
    ///
    /// # Errors
    /// There is none, or what is recorded cannot be read.
    pub fn find(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let dir = self.root.join(id);
        let path = dir.join(STATE);
        let what = || path.display().to_string();
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(not_found(id)),
            text => text.with_context(what)?,
        };
        let record = serde_json::from_slice(&text).with_context(what)?;
        Ok(Container { record, dir })
    }

    /// Finds a container and locks it; another command that has it locked is
    /// waited for.
    ///
    /// # Errors
    /// As of [`find`](Self::find).
    pub fn find_locked(&self, id: &str) -> Result<(Container, Lock)> {
        let container = self.find(id)?;
        let file = match open_lock(&container.dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(not_found(id)),
            file => file.with_context(|| format!("lock {}", container.dir.display()))?,
        };
        file.lock().context("flock")?;
        // As it is now.
        Ok((self.find(id)?, Lock(file)))
    }

    /// All containers, by id.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        let what = || self.root.display().to_string();
        let mut all = Vec::new();
        for entry in self.root.read_dir().with_context(what)? {
            let name = entry.with_context(what)?.file_name();
            let found = name.to_str().map(|id| self.find(id));
            all.extend(found.and_then(Result::ok));
        }
        all.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        Ok(all)
    }

    /// Removes what is left of a container that has no state.
    ///
    /// # Errors
    /// It is being created.
    pub fn remove_leftover(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let dir = self.root.join(id);
        if !dir.exists() {
            return Ok(());
        }
        match try_lock(&dir)? {
            Some(_lock) => {
                forget_group(&dir, id);
                remove(&dir)
            }
            None => refuse!(
                Conflict,
                "container {id} is being created by another command"
            ),
        }
    }
}

impl Container {
    /// Records a container whose process is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self) -> Result<()> {
        let path = self.dir.join(STATE);
        let text = serde_json::to_vec(&self.record)?;
        replace(&path, &text).with_context(|| path.display().to_string())
    }

    /// Keeps the specification as it is now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(dir: &Path, spec: &[u8]) -> Result<()> {
        let path = dir.join(CONFIG);
        write_private(&path, spec).with_context(|| path.display().to_string())
    }

    /// The specification that it was created by.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn spec(&self) -> Result<Spec> {
        kept(&self.dir)
    }

    /// Its process, if that has not ended. One that nobody has waited for yet has
    /// ended.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn process(&self) -> Result<Option<OwnedFd>> {
        let process = self.record.process.open()?;
        Ok(process.filter(|process| !wait::is_readable(process)))
    }

    /// How it is.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn status(&self) -> Result<Status> {
        Ok(match (self.process()?, self.record.ready) {
            (None, _) => Status::Stopped,
            (Some(_), false) => Status::Creating,
            _ if self.group().is_some_and(|group| group.is_frozen()) => Status::Paused,
            (Some(_), true) => match Key::at(&self.dir) {
                Ok(Some(_)) => Status::Created,
                // Started a moment ago, or long ago.
                Ok(None) => Status::Running,
                Err(e) if e.downcast_ref() == Some(&Errno::ENOENT) => Status::Running,
                Err(e) => return Err(e),
            },
        })
    }

    /// How it is, for programs.
    ///
    /// # Errors
    /// As of [`status`](Self::status).
    pub fn shown(&self) -> Result<Shown> {
        let status = self.status()?;
        let record = self.record.clone();
        let user = nix::unistd::User::from_uid(Uid::from_raw(record.owner));
        let name = user.ok().flatten().map(|user| user.name);
        Ok(Shown {
            pid: match status {
                Status::Stopped => 0,
                _ => record.process.pid,
            },
            status: status.name(),
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner: name.unwrap_or_else(|| record.owner.to_string()),
        })
    }

    /// Forgets it, with its control groups and who is left in them.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> Result<()> {
        if let Some(placed) = &self.record.placed {
            placed.remove()?;
        }
        remove(&self.dir)
    }
}

/// The specification that is kept in a container's directory.
fn kept(dir: &Path) -> Result<Spec> {
    let path = dir.join(CONFIG);
    let what = || path.display().to_string();
    let text = std::fs::read(&path).with_context(what)?;
    serde_json::from_slice(&text).with_context(what)
}

/// Removes the group of a container that has come no further.
fn forget_group(dir: &Path, id: &str) {
    if let Ok(spec) = kept(dir) {
        group::remove_leftover(&spec, id);
    }
}

/// Removes a container's directory, its state last: until then it is known.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let what = || format!("remove {}", dir.display());
    let gone = |e: &std::io::Error| e.kind() == ErrorKind::NotFound;
    empty(dir).with_context(what)?;
    for last in [STATE, LOCK] {
        match std::fs::remove_file(dir.join(last)) {
            Err(e) if !gone(&e) => return Err(e).with_context(what),
            _ => {}
        }
    }
    match std::fs::remove_dir(dir) {
        Err(e) if !gone(&e) => Err(e).with_context(what),
        _ => Ok(()),
    }
}

/// Removes all but the lock and the state.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in dir.read_dir()? {
        let entry = entry?;
        if entry.file_name() != LOCK && entry.file_name() != STATE {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_lock(dir: &Path) -> std::io::Result<File> {
    create_private(&dir.join(LOCK))
}

fn try_lock(dir: &Path) -> Result<Option<Lock>> {
    let what = || format!("lock {}", dir.display());
    let file = match open_lock(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(what)?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e).with_context(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn ids_are_names_of_directories() {
        for good in ["a", "-x", "A.b_c+d-1", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\n", "ä", &"x".repeat(256)] {
            let error = check_id(bad).unwrap_err();
            assert_eq!(Kind::of(&error), Some(Kind::Invalid));
            assert!(error.to_string().starts_with("invalid container ID format"));
        }
    }

    #[test]
    fn an_id_is_taken_once_and_what_a_killed_command_left_is_not_in_the_way() {
        let place = tempfile::tempdir().unwrap();
        let states = States::open(&place.path().join("states")).unwrap();
        let (dir, lock) = states.reserve("a").unwrap();
        let taken = states.reserve("a").unwrap_err();
        assert_eq!(Kind::of(&taken), Some(Kind::Conflict));
        assert!(states.remove_leftover("a").is_err());
        // Killed before it had a process.
        Container::keep(&dir, b"{}").unwrap();
        drop(lock);
        let missing = states.find("a").unwrap_err();
        assert_eq!(Kind::of(&missing), Some(Kind::NotFound));
        let (_, lock) = states.reserve("a").unwrap();
        assert!(!dir.join(CONFIG).exists());
        drop(lock);
        states.remove_leftover("a").unwrap();
        assert!(!dir.exists());
        states.remove_leftover("a").unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_none() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = States::open(place.path()).unwrap_err();
        assert_eq!(Kind::of(&refused), Some(Kind::Forbidden));
    }
}
