//! The directory of containers: creating, finding, repairing, removing.
//!
//! `containers/<id>/` holds `record.json`, `config.json` (the OCI spec),
//! `state.json` once it was started, and what the container changed; it gets
//! that name only when it is complete. Whoever runs or changes the container holds a flock(2) on
//! its record, so a lock that is free means that nobody does, whatever the
//! state says. `names/<name>` is a link to the id.

mod creation;

pub use creation::Creation;

use crate::engine::container::record::{History, Record, State};
use crate::engine::container::volumes::Volumes;
use crate::engine::ground::json::{read_json, replace_json};
use crate::engine::ground::names::{self, short};
use crate::engine::request;
use crate::engine::request::attachment::Attachment;
use crate::engine::request::health::OnFailure;
use crate::engine::request::restart::Restart;
use crate::engine::request::signal::StopSignal;
use crate::error::{self, Said};
use crate::error::{refusal, refuse};
use crate::image::store::Store;
use crate::sys::fs::{create_private, make_private};
use crate::sys::machine;
use crate::sys::replace::is_full;
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All containers of the user.
#[derive(Debug, Clone)]
pub struct Containers {
    store: Store,
}

/// A container whose directory is complete.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its directory.
    pub dir: PathBuf,
    /// What it was created as.
    pub record: Record,
    /// How it is, as of the last look.
    pub state: State,
    /// What was before.
    pub history: History,
    /// What was changed since it was created.
    pub changes: Changes,
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    state: State,
    #[serde(flatten)]
    history: History,
}

/// What was changed since a container was created: `changes.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// `rename`.
    pub name: Option<String>,
    /// `update --restart`.
    pub restart: Option<Restart>,
    /// `network connect` and `network disconnect`.
    pub networks: Option<Vec<Attachment>>,
}

/// The right to run, change or remove a container. It ends with the last
/// process that has the file open: a supervisor keeps what the process that
/// made it has locked.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// No container has this name or id.
pub fn not_found(name: &str) -> Said {
    error::Kind::NotFound.says(format!("No such container: {name} (bryo ps -a lists them)"))
}

impl Containers {
    /// The containers of `store`.
    pub fn open(store: &Store) -> Containers {
        Containers {
            store: store.clone(),
        }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("containers")
    }

    fn names(&self) -> PathBuf {
        self.store.root().join("names")
    }

    /// The empty directory on which each container mounts its root file
    /// system, in a mount namespace of its own.
    pub fn mount_point(&self) -> PathBuf {
        self.store.root().join("rootfs")
    }

    /// Gives the name to container `id`.
    ///
    /// # Errors
    /// Another container has it.
    fn claim_name(&self, name: &str, id: &str) -> Result<PathBuf> {
        let link = self.names().join(name);
        for _ in 0..8 {
            match std::os::unix::fs::symlink(names::to_link(id), &link) {
                Ok(()) => return Ok(link),
                Err(e) if e.kind() == ErrorKind::NotFound => make_private(&self.names())?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    // None: it was given up just now.
                    let Some(holder) = names::from_link(&link) else {
                        continue;
                    };
                    let staging = self.directory().join(format!(".{holder}"));
                    // A creation that was killed holds no lock any more. This
                    // is looked at first: it gets its name in between.
                    let creating = matches!(try_lock(&staging), Ok(None));
                    let exists = self.directory().join(&holder).exists();
                    if exists || creating {
                        refuse!(
                            Conflict,
                            "the name '{name}' is taken by container {}: remove that one or use \
                             another name",
                            short(&holder)
                        );
                    }
                    let _ = std::fs::remove_file(&link);
                }
                Err(e) => return Err(e).with_context(|| format!("name '{name}'")),
            }
        }
        refuse!(Conflict, "the name '{name}' changes hands too often")
    }

    /// All containers, repaired where their keepers were killed, the newest
    /// first.
    pub fn list(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        let entries = match std::fs::read_dir(self.directory()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(all),
            Err(e) => return Err(e).context(self.directory().display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.sweep(&path);
            } else if let Some(container) = self.load(&path)? {
                all.push(container);
            } else {
                // What is left of one whose removal was cut off.
                self.sweep(&path);
            }
        }
        self.sweep_names(&all);
        let _ = Volumes::open(&self.store).sweep();
        all.sort_by_key(|c| std::cmp::Reverse(c.record.created));
        Ok(all)
    }

    /// Removes names of creations that were killed, and those that containers
    /// had before they were renamed.
    fn sweep_names(&self, all: &[Container]) {
        let current: HashMap<&str, &str> = all
            .iter()
            .map(|c| (c.record.id.as_str(), c.record.name.as_str()))
            .collect();
        for entry in std::fs::read_dir(self.names()).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let Some(id) = names::from_link(&entry.path()) else {
                continue;
            };
            let staging = self.directory().join(format!(".{id}"));
            let unused = match current.get(id.as_str()) {
                Some(name) => entry.file_name() != *name,
                None => !staging.exists() && !self.directory().join(&id).exists(),
            };
            if unused && is_old(entry.metadata()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what a killed creation left.
    fn sweep(&self, staging: &Path) {
        // Between its making and its lock a directory looks abandoned.
        // Killed before it could make its record, or after.
        let dead = !staging.join(RECORD).exists() || matches!(try_lock(staging), Ok(Some(_)));
        if is_old(std::fs::metadata(staging)) && dead {
            let _ = self.discard(staging);
        }
    }

    /// Reads a container; `None` if it is gone by now.
    fn load(&self, dir: &Path) -> Result<Option<Container>> {
        let record = match read_json::<Record>(&dir.join(RECORD)) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Container::dead(dir, &error))),
        };
        let mut container = Container {
            dir: dir.to_owned(),
            record,
            state: State::Created,
            history: History::default(),
            changes: Changes::default(),
        };
        let mut unreadable = container.read_changes().err();
        if let Err(error) = container.read_state() {
            unreadable = Some(error);
        }
        if let Some(error) = unreadable {
            self.repair_unreadable(&mut container, &error)?;
            return Ok(Some(container));
        }
        let ended_well = matches!(container.state, State::Exited { .. });
        if ended_well || container.record.host != machine::name() {
            return Ok(Some(container));
        }
        match try_lock(dir) {
            // Somebody looks after it.
            Ok(None) => Ok(Some(container)),
            Ok(Some(lock)) => {
                self.repair(&mut container, &lock)?;
                Ok(dir.exists().then_some(container))
            }
            Err(_) if !dir.exists() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A crash of the machine left half a file: the container does not run.
    fn repair_unreadable(&self, container: &mut Container, error: &anyhow::Error) -> Result<()> {
        container.state = State::Exited {
            code: 255,
            at: jiff::Timestamp::now(),
            error: Some(format!("its state was lost: {error:#}")),
        };
        if let Some(_lock) = container.try_lock()? {
            // The next reader finds it again, if there is no room for it now.
            let _ = container
                .save_state()
                .and_then(|()| container.save_changes());
        }
        Ok(())
    }

    /// Ends what is left of a container whose supervisor is dead.
    fn repair(&self, container: &mut Container, lock: &Lock) -> Result<()> {
        // It may have ended in order between the reading and the lock.
        container.read_state()?;
        let mut code = 137;
        if let State::Running {
            process,
            user_namespace,
            ..
        }
        | State::Paused {
            process,
            user_namespace,
            ..
        } = &container.state
        {
            if let Some(process) = process.open()? {
                crate::sys::pidfd::end(&process)?;
            }
            if !process.is_of_this_boot() {
                code = 255;
            } else if let Some(namespace) = user_namespace {
                crate::engine::container::record::end_all_in(*namespace);
            }
        }
        container.remove_groups_of_the_dead();
        if container.state.is_active() {
            let why = match code {
                137 => "its supervisor was killed",
                _ => "the machine was restarted",
            };
            let now = jiff::Timestamp::now();
            container.state = State::Exited {
                code,
                at: now,
                error: Some(why.into()),
            };
            container.history.finished = Some(now);
            let _ = std::fs::remove_file(
                container
                    .dir
                    .join(crate::engine::container::control::SOCKET),
            );
            // Who only looks needs no room on the disk: without any, the next
            // reader finds the same.
            if container.save_state().is_ok() {
                let code = code.to_string();
                let details = [("exitCode", code.as_str())];
                crate::engine::container::events::emit(
                    self,
                    crate::engine::container::events::Action::Die,
                    container,
                    &details,
                );
            }
        }
        if container.record.auto_remove {
            let _ = self
                .release_volumes(container)
                .and_then(|_| self.remove(container, lock));
        }
        Ok(())
    }

    /// The container with this name, id or unambiguous start of an id.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound); several ids start so.
    pub fn find(&self, name: &str) -> Result<Container> {
        let not_found = || anyhow!(not_found(name));
        let by_name = names::from_link(&self.names().join(name));
        if let (Some(id), Ok(())) = (by_name, request::names::container(name)) {
            let found = self.load(&self.directory().join(id))?;
            return found.ok_or_else(not_found);
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut found = None;
        for entry in std::fs::read_dir(self.directory()).map_err(|_| not_found())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(name)
                && found.replace(entry.path()).is_some()
            {
                refuse!(Invalid, "'{name}' is the start of several container ids");
            }
        }
        let found = found.ok_or_else(not_found)?;
        self.load(&found)?.ok_or_else(not_found)
    }

    /// Removes a container that does not run: out of sight at once. Returns
    /// what is left to be deleted. The lock goes with the directory.
    pub fn remove(&self, container: &Container, _lock: &Lock) -> Result<PathBuf> {
        let mut current = container.clone();
        // It may have been renamed.
        let _ = current.read_changes();
        self.give_up_name(&current.record.name, &container.record.id);
        self.discard(&container.dir)
    }

    /// Removes the volumes that were made for a container alone. Returns what is
    /// left to be deleted. Before the container itself, which says which they
    /// are.
    pub fn release_volumes(&self, container: &Container) -> Result<Vec<PathBuf>> {
        let record = &container.record;
        Volumes::open(&self.store).release(&record.id, &record.mounts)
    }

    /// The records of all containers, as far as they can be read. Nothing is
    /// repaired.
    pub fn records(&self) -> Vec<Record> {
        let entries = std::fs::read_dir(self.directory());
        let entries = entries.into_iter().flatten().flatten();
        let complete = entries.filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."));
        let record = |path: PathBuf| read_json(&path.join(RECORD)).ok().flatten();
        complete.filter_map(|entry| record(entry.path())).collect()
    }

    fn give_up_name(&self, name: &str, id: &str) {
        let link = self.names().join(name);
        if names::from_link(&link).is_some_and(|holder| holder == id) {
            let _ = std::fs::remove_file(&link);
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// Another container has it.
    pub fn rename(&self, container: &mut Container, name: &str) -> Result<()> {
        let link = self.claim_name(name, &container.record.id)?;
        let old = std::mem::replace(&mut container.record.name, name.to_owned());
        container.changes.name = Some(name.to_owned());
        if let Err(error) = container.save_changes() {
            let _ = std::fs::remove_file(link);
            return Err(error);
        }
        self.give_up_name(&old, &container.record.id);
        Ok(())
    }

    /// Moves a directory out of the way; its files are deleted later.
    fn discard(&self, dir: &Path) -> Result<PathBuf> {
        self.store.trash(dir)
    }
}

impl Container {
    /// Writes the state, so that a reader sees the old or the new one.
    pub fn save_state(&self) -> Result<()> {
        let path = self.dir.join("state.json");
        let saved = Saved {
            state: self.state.clone(),
            history: self.history.clone(),
        };
        replace_json(&path, &saved)
    }

    /// Writes the state, as far as there is room: what looks after a container
    /// does not end for want of it. What health checks printed goes first.
    pub fn note_state(&mut self) -> Result<()> {
        self.save_state().or_else(|error| {
            let health = self.history.health.as_mut().ok_or(error)?;
            health.forget_output();
            self.save_state()
        })
    }

    /// Reads the state anew.
    pub fn read_state(&mut self) -> Result<()> {
        let saved: Option<Saved> = read_json(&self.dir.join("state.json"))?;
        if let Some(saved) = saved {
            (self.state, self.history) = (saved.state, saved.history);
        }
        Ok(())
    }

    /// Reads what was changed since it was created.
    pub fn read_changes(&mut self) -> Result<()> {
        self.changes = read_json(&self.dir.join("changes.json"))?.unwrap_or_default();
        if let Some(name) = &self.changes.name {
            self.record.name.clone_from(name);
        }
        Ok(())
    }

    /// Writes what was changed since it was created.
    pub fn save_changes(&self) -> Result<()> {
        replace_json(&self.dir.join("changes.json"), &self.changes)
    }

    /// Writes the OCI spec.
    pub fn save_spec(&self, spec: &oci_spec::runtime::Spec) -> Result<()> {
        replace_json(&self.dir.join("config.json"), spec)
    }

    /// A container of which nothing can be read but its id.
    fn dead(dir: &Path, error: &anyhow::Error) -> Container {
        let id = dir.file_name().unwrap_or_default().to_string_lossy();
        Container {
            dir: dir.to_owned(),
            record: Record::unknown(&id),
            state: State::Dead {
                why: format!("{error:#}"),
            },
            history: History::default(),
            changes: Changes::default(),
        }
    }

    /// When it is started again, as of now.
    pub fn restart_policy(&self) -> Restart {
        let changes: Option<Changes> = read_json(&self.dir.join("changes.json")).ok().flatten();
        let changed = changes.and_then(|changes| changes.restart);
        changed.unwrap_or(self.record.keeping.restart)
    }

    /// Whether it may have to be started a second time.
    pub fn may_come_again(&self) -> bool {
        let check = self.record.keeping.health.as_ref();
        check.is_some_and(|check| check.on_failure == OnFailure::Restart)
            || self.restart_policy() != Restart::No
    }

    /// Whether the user asked for its end: then it is not started again.
    pub fn stop_was_asked(&self) -> bool {
        self.dir.join(STOPPED).exists()
    }

    /// Remembers that the user asked for its end, or does not any more.
    pub fn ask_stop(&self, asked: bool) -> Result<()> {
        let path = self.dir.join(STOPPED);
        let done = match asked {
            true => create_private(&path).map(drop).or_else(|error| {
                match is_full(&error) {
                    // Another name takes no inode.
                    true => std::fs::hard_link(self.dir.join(RECORD), &path),
                    false => Err(error),
                }
            }),
            false => std::fs::remove_file(&path),
        };
        match done {
            Err(e) if asked && e.kind() == ErrorKind::AlreadyExists => Ok(()),
            // Its supervisor is told as well; nobody is locked out for this.
            Err(e) if asked && is_full(&e) => Ok(()),
            Err(e) if asked || e.kind() != ErrorKind::NotFound => {
                Err(e).with_context(|| path.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// Where its ports are published, while it runs.
    pub fn published(&self) -> &[crate::engine::container::record::Published] {
        match self.state.is_active() {
            true => &self.history.published,
            false => &[],
        }
    }

    /// The number of the signal that asks it to stop.
    pub fn stop_signal(&self) -> i32 {
        let signal = self.record.stop_signal.as_ref();
        signal.map_or(libc::SIGTERM, StopSignal::number)
    }

    /// What goes with every record of its log.
    pub fn log_details(&self) -> std::collections::BTreeMap<String, String> {
        let log = &self.record.keeping.log;
        let mut details = std::collections::BTreeMap::new();
        for key in &log.labels {
            if let Some(value) = self.record.labels.get(key) {
                details.insert(key.clone(), value.clone());
            }
        }
        let spec = (!log.env.is_empty()).then(|| self.spec().ok()).flatten();
        let process = spec.as_ref().and_then(|spec| spec.process().as_ref());
        for entry in process.and_then(|p| p.env().as_ref()).into_iter().flatten() {
            if let Some((key, value)) = entry.split_once('=')
                && log.env.iter().any(|wanted| wanted == key)
            {
                details.insert(key.into(), value.into());
            }
        }
        details
    }

    /// A connection to its supervisor.
    pub fn connect(&self) -> Result<std::os::fd::OwnedFd> {
        let connection =
            crate::sys::socket::connect(&self.dir, crate::engine::container::control::SOCKET);
        connection.with_context(|| format!("container {}: no supervisor", self.record.name))
    }

    /// Takes the container's lock, if nobody has it.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        try_lock(&self.dir)
    }

    /// Waits, if its supervisor is just starting it: its command may run
    /// already, while the state does not say so yet.
    pub fn await_start(&mut self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(10);
        while self.state == State::Created
            && self.record.host == machine::name()
            && matches!(self.try_lock(), Ok(None))
            && Instant::now() < patience
        {
            std::thread::sleep(Duration::from_millis(1));
            self.read_state()?;
        }
        Ok(())
    }

    /// The OCI spec that it runs by.
    pub fn spec(&self) -> Result<oci_spec::runtime::Spec> {
        let path = self.dir.join("config.json");
        read_json(&path)?.with_context(|| format!("{} is missing", path.display()))
    }

    /// A descriptor of the running first process.
    ///
    /// # Errors
    /// The container does not run; the error names its state.
    pub fn running_process(&mut self) -> Result<std::os::fd::OwnedFd> {
        self.await_start()?;
        let not_running = || {
            refusal!(
                Conflict,
                "container {} is not running: it is {}",
                self.record.name,
                self.state.name()
            )
        };
        match &self.state {
            State::Running { .. } | State::Paused { .. } if self.record.host != machine::name() => {
                refuse!(
                    Conflict,
                    "container {} runs on {}, not on this machine",
                    self.record.name,
                    self.record.host
                )
            }
            State::Running { process, .. } | State::Paused { process, .. } => {
                let ended = || refusal!(Conflict, "container {} has just ended", self.record.name);
                process.open()?.ok_or_else(ended)
            }
            _ => Err(not_running()),
        }
    }
}

/// The file that says what was created, and whose lock is the container's.
const RECORD: &str = "record.json";

/// The file that says that the user asked for the container's end.
const STOPPED: &str = "stopped";

/// Whether something was made long enough ago for its maker to be dead or
/// done with it: after two seconds.
pub(in crate::engine) fn is_old(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    let age = metadata.and_then(|m| m.modified());
    let age = age.ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|age| age.as_secs() >= 2)
}

fn try_lock(dir: &Path) -> Result<Option<Lock>> {
    // A file: NFS locks no directories, and no file that is open for reading
    // alone.
    let what = || format!("lock {}", dir.display());
    let path = dir.join(RECORD);
    let file = match File::options().write(true).open(&path) {
        Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem => File::open(&path),
        other => other,
    };
    lock_now(file.with_context(what)?).with_context(what)
}

fn lock_now(file: File) -> std::io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}
