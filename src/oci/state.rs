//! What is known of containers between two commands: a directory for each, with
//! `config.json` as it was when the container was created, `state.json`, the gate at
//! which its process waits until it is started, and the file `lock`, which whoever
//! changes it holds by flock(2).
//!
//! A command that is killed leaves a directory whose state says what it had come
//! to: [`Status::Creating`] with a process or without, which `delete` removes.

use super::document;
use super::group;
use crate::cgroup::place::Placed;
use crate::error::{refusal, refuse};
use crate::process::ProcessId;
use crate::runtime::gate::Key;
use crate::sys::fs::{create_private, make_private, write_private};
use crate::sys::replace::replace;
use crate::sys::{pidfd, wait};
use anyhow::{Context, Error, Result};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::unistd::{Uid, geteuid};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// That control groups are made, which are not recorded yet.
const GROUP: &str = "group";

/// How long a process that is killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest id, since it is the name of a directory, and of one that is removed.
const MOST_ID: usize = 250;

/// How often another command may be first.
const TURNS: u32 = 100;

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
        // One that was created is its owner's to remove.
        let exists = || match self.find(id) {
            Ok(container) => container.record.ready,
            Err(_) => dir.join(STATE).exists(),
        };
        for _ in 0..TURNS {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e).with_context(what),
                Err(_) if exists() => return Err(taken()),
                _ => {}
            }
            // Who is about to make it, or has been killed a moment ago, is waited for.
            let Some(lock) = lock(&dir)? else {
                continue;
            };
            if exists() {
                return Err(taken());
            }
            // What a killed command left.
            if let Ok(container) = self.find(id) {
                container.end()?;
                if let Some(placed) = &container.record.placed {
                    placed.remove()?;
                }
            }
            forget_group(&dir, id)?;
            empty(&dir).with_context(what)?;
            return Ok((dir, lock));
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

    /// Whether something is recorded of a container that cannot be made sense of.
    pub fn is_unreadable(&self, id: &str) -> bool {
        let text = check_id(id).and_then(|()| Ok(std::fs::read(self.root.join(id).join(STATE))?));
        text.is_ok_and(|text| serde_json::from_slice::<Record>(&text).is_err())
    }

    /// Finds a container and locks it; another command that has it locked is
    /// waited for.
    ///
    /// # Errors
    /// As of [`find`](Self::find).
    pub fn find_locked(&self, id: &str) -> Result<(Container, Lock)> {
        for _ in 0..TURNS {
            let container = self.find(id)?;
            if let Some(lock) = lock(&container.dir)? {
                // As it is now.
                return Ok((self.find(id)?, lock));
            }
        }
        Err(not_found(id))
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

    /// Removes what is left of a container that has no state. False if by now there
    /// is one, since another command was about to make it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_leftover(&self, id: &str) -> Result<bool> {
        check_id(id)?;
        let dir = self.root.join(id);
        for _ in 0..TURNS {
            if !dir.exists() {
                return clear(&trash(&dir)).map(|()| true);
            }
            let Some(_lock) = lock(&dir)? else {
                continue;
            };
            if self.find(id).is_ok() {
                return Ok(false);
            }
            forget_group(&dir, id)?;
            remove(&dir)?;
        }
        Ok(false)
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

    /// Notes that its control groups are made from now on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn intend_group(dir: &Path) -> Result<()> {
        let path = dir.join(GROUP);
        write_private(&path, b"").with_context(|| path.display().to_string())
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

    /// Kills its process, and returns when that has ended.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&self) -> Result<()> {
        let Some(process) = self.process()? else {
            return Ok(());
        };
        match pidfd::kill(&process, libc::SIGKILL) {
            Err(e) if e.errno != Errno::ESRCH => return Err(e.into()),
            _ => {}
        }
        if !wait::readable(&process, wait::within(PATIENCE)) {
            refuse!(
                Timeout,
                "container {}: its process has not ended {} seconds after SIGKILL",
                self.record.id,
                PATIENCE.as_secs()
            );
        }
        Ok(())
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
    document::spec(&text)
        .map(|(spec, _)| spec)
        .with_context(what)
}

/// Removes the group of a container that has come no further.
fn forget_group(dir: &Path, id: &str) -> Result<()> {
    match kept(dir) {
        Ok(spec) if dir.join(GROUP).exists() => group::remove_leftover(&spec, id),
        _ => Ok(()),
    }
}

/// Removes a container's directory: out of sight first, so that there is all of it
/// or nothing.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let trash = trash(dir);
    clear(&trash)?;
    match std::fs::rename(dir, &trash) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        renamed => {
            renamed.with_context(|| format!("remove {}", dir.display()))?;
            clear(&trash)
        }
    }
}

/// Where a directory is while it is removed; no id is such a name.
fn trash(dir: &Path) -> PathBuf {
    let mut name = OsString::from("~");
    name.push(dir.file_name().unwrap_or_default());
    dir.with_file_name(name)
}

fn clear(trash: &Path) -> Result<()> {
    match std::fs::remove_dir_all(trash) {
        // Another command does the same.
        Err(_) if !trash.exists() => Ok(()),
        cleared => cleared.with_context(|| format!("remove {}", trash.display())),
    }
}

/// Removes all but the lock.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in dir.read_dir()? {
        let entry = entry?;
        if entry.file_name() != LOCK {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Locks a container's directory, and waits for who has it locked. `None` if it is
/// gone by then, or another one.
fn lock(dir: &Path) -> Result<Option<Lock>> {
    let what = || format!("lock {}", dir.display());
    match dir.symlink_metadata() {
        Ok(meta) if !meta.is_dir() => {
            refuse!(
                Conflict,
                "{}: it is no directory of a container",
                dir.display()
            )
        }
        _ => {}
    }
    let path = dir.join(LOCK);
    let file = match create_private(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(what)?,
    };
    file.lock().with_context(what)?;
    let own = file.metadata().with_context(what)?;
    let same = |there: std::fs::Metadata| (there.dev(), there.ino()) == (own.dev(), own.ino());
    Ok(path.metadata().is_ok_and(same).then_some(Lock(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn ids_are_names_of_directories() {
        for good in ["a", "-x", "A.b_c+d-1", &"x".repeat(250)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\n", "ä", &"x".repeat(251)] {
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
        // Killed before it had a process.
        Container::keep(&dir, b"{}").unwrap();
        drop(lock);
        let missing = states.find("a").unwrap_err();
        assert_eq!(Kind::of(&missing), Some(Kind::NotFound));
        let (_, lock) = states.reserve("a").unwrap();
        assert!(!dir.join(CONFIG).exists());
        drop(lock);
        assert!(states.remove_leftover("a").unwrap());
        assert!(!dir.exists());
        assert!(states.remove_leftover("a").unwrap());
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
