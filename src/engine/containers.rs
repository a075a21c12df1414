//! The directory of containers: creating, finding, repairing, removing.
//!
//! `containers/<id>/` holds `record.json`, `config.json` (the OCI spec),
//! `state.json` once it was started, and what the container changed; it gets
//! that name only when it is complete. Whoever runs or changes the container holds a flock(2) on
//! its record, so a lock that is free means that nobody does, whatever the
//! state says. `names/<name>` is a link to the id.

use super::record::{Record, State};
use crate::image::remove::remove_tree;
use crate::image::store::Store;
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
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
}

/// The right to run, change or remove a container. It ends with the last
/// process that has the file open: a supervisor keeps what the process that
/// made it has locked.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// A container that is being created; its directory goes with the value
/// unless it is [completed](Creation::complete).
#[derive(Debug)]
pub struct Creation {
    staging: PathBuf,
    directory: PathBuf,
    name_link: Option<PathBuf>,
    lock: Option<Lock>,
}

/// No container has the name or id.
#[derive(Debug)]
pub struct NotFound(String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no such container: {}", self.0)
    }
}

impl std::error::Error for NotFound {}

fn make_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

impl Containers {
    /// The containers of `store`.
    pub fn open(store: &Store) -> Containers {
        Containers {
            store: store.clone(),
        }
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

    /// Starts to create the container `id`, in a directory of its own.
    pub fn create(&self, id: &str) -> Result<Creation> {
        let all = self.directory();
        let staging = all.join(format!(".{id}"));
        let make = || DirBuilder::new().mode(0o700).create(&staging);
        match make() {
            Err(e) if e.kind() == ErrorKind::NotFound => make_directory(&all)
                .and_then(|()| make_directory(&self.mount_point()))
                .and_then(|()| make()),
            other => other,
        }
        .with_context(|| format!("create {}", staging.display()))?;
        let record = staging.join("record.json");
        let file = File::create_new(&record).with_context(|| record.display().to_string())?;
        let lock = lock_now(file).with_context(|| record.display().to_string())?;
        let lock = lock.context("the new container is locked already")?;
        Ok(Creation {
            directory: all.join(id),
            staging,
            name_link: None,
            lock: Some(lock),
        })
    }

    /// Gives the name to container `id`.
    ///
    /// # Errors
    /// Another container has it.
    fn claim_name(&self, name: &str, id: &str) -> Result<PathBuf> {
        let link = self.names().join(name);
        for _ in 0..8 {
            match std::os::unix::fs::symlink(id, &link) {
                Ok(()) => return Ok(link),
                Err(e) if e.kind() == ErrorKind::NotFound => make_directory(&self.names())?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    let holder = std::fs::read_link(&link).unwrap_or_default();
                    let staging = format!(".{}", holder.display());
                    let staging = self.directory().join(staging);
                    // A creation that was killed holds no lock any more. This
                    // is looked at first: it gets its name in between.
                    let creating = matches!(try_lock(&staging), Ok(None));
                    let exists = self.directory().join(&holder).exists();
                    if exists || creating {
                        bail!(
                            "the name '{name}' is taken by container {}: remove that one or use \
                             another name",
                            short(&holder.to_string_lossy())
                        );
                    }
                    let _ = std::fs::remove_file(&link);
                }
                Err(e) => return Err(e).with_context(|| format!("name '{name}'")),
            }
        }
        bail!("the name '{name}' changes hands too often")
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
            }
        }
        self.sweep_names();
        all.sort_by_key(|c| std::cmp::Reverse(c.record.created));
        Ok(all)
    }

    /// Removes names of creations that were killed.
    fn sweep_names(&self) {
        for entry in std::fs::read_dir(self.names()).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let Ok(id) = std::fs::read_link(entry.path()) else {
                continue;
            };
            let staging = self.directory().join(format!(".{}", id.display()));
            let unused = !staging.exists() && !self.directory().join(&id).exists();
            if unused && is_old(entry.metadata()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what a killed creation left.
    fn sweep(&self, staging: &Path) {
        // Between its making and its lock a directory looks abandoned.
        // Killed before it could make its record, or after.
        let dead =
            !staging.join("record.json").exists() || matches!(try_lock(staging), Ok(Some(_)));
        if is_old(std::fs::metadata(staging)) && dead {
            let _ = self.discard(staging);
        }
    }

    /// Reads a container; `None` if it is gone by now.
    fn load(&self, dir: &Path) -> Result<Option<Container>> {
        let Some(record) = read_json::<Record>(&dir.join("record.json"))? else {
            return Ok(None);
        };
        let state = read_json(&dir.join("state.json"))?.unwrap_or(State::Created);
        let mut container = Container {
            dir: dir.to_owned(),
            record,
            state,
        };
        let ended_well = matches!(container.state, State::Exited { .. });
        if ended_well || container.record.host != hostname() {
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

    /// Ends what is left of a container whose supervisor is dead.
    fn repair(&self, container: &mut Container, lock: &Lock) -> Result<()> {
        // It may have ended in order between the reading and the lock.
        let state = read_json(&container.dir.join("state.json"))?;
        container.state = state.unwrap_or(State::Created);
        if let State::Running {
            process,
            user_namespace,
            ..
        } = &container.state
        {
            if let Some(process) = process.open() {
                let _ = crate::sys::pidfd::kill(&process, libc::SIGKILL);
            }
            if let Some(namespace) = user_namespace {
                super::record::end_all_in(*namespace);
            }
            container.state = State::Exited {
                code: 137,
                at: jiff::Timestamp::now(),
                error: Some("its supervisor was killed".into()),
            };
            container.save_state()?;
        }
        if container.record.auto_remove {
            self.remove(container, lock)?;
        }
        Ok(())
    }

    /// The container with this name, id or unambiguous start of an id.
    ///
    /// # Errors
    /// [`NotFound`]; several ids start so.
    pub fn find(&self, name: &str) -> Result<Container> {
        let not_found = || anyhow!(NotFound(name.to_owned()));
        let by_name = std::fs::read_link(self.names().join(name));
        if let (Ok(id), Ok(())) = (by_name, super::names::check(name)) {
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
                bail!("'{name}' is the start of several container ids");
            }
        }
        let found = found.ok_or_else(not_found)?;
        self.load(&found)?.ok_or_else(not_found)
    }

    /// Removes a container that does not run: out of sight at once. Returns
    /// what is left to be deleted. The lock goes with the directory.
    pub fn remove(&self, container: &Container, _lock: &Lock) -> Result<PathBuf> {
        let name = self.names().join(&container.record.name);
        if std::fs::read_link(&name).is_ok_and(|id| id.as_os_str() == container.record.id.as_str())
        {
            let _ = std::fs::remove_file(&name);
        }
        self.discard(&container.dir)
    }

    /// Moves a directory out of the way; its files are deleted later.
    fn discard(&self, dir: &Path) -> Result<PathBuf> {
        self.store.trash(dir)
    }
}

impl Creation {
    /// The directory while the container is being created.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// The directory that it will be.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Claims the container's name.
    pub fn name(&mut self, containers: &Containers, record: &Record) -> Result<()> {
        self.name_link = Some(containers.claim_name(&record.name, &record.id)?);
        Ok(())
    }

    /// Writes the record and gives the directory its name.
    pub fn complete(mut self, record: Record) -> Result<(Container, Lock)> {
        let mut lock = self.lock.take().context("creation without lock")?;
        let data = serde_json::to_vec(&record)?;
        let renamed = lock
            .file
            .write_all(&data)
            .and_then(|()| std::fs::rename(&self.staging, &self.directory));
        if let Err(e) = renamed {
            self.lock = Some(lock);
            return Err(e).with_context(|| format!("create {}", self.directory.display()));
        }
        let dir = self.directory.clone();
        let container = Container {
            dir,
            record,
            state: State::Created,
        };
        Ok((container, lock))
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.lock.is_some() {
            if let Some(link) = &self.name_link {
                let _ = std::fs::remove_file(link);
            }
            let _ = remove_tree(&self.staging);
        }
    }
}

impl Container {
    /// Writes the state, so that a reader sees the old or the new one.
    pub fn save_state(&self) -> Result<()> {
        let path = self.dir.join("state.json");
        let new = self.dir.join("state.json.new");
        write_json(&new, &self.state)?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())
    }

    /// Takes the container's lock, if nobody has it.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        try_lock(&self.dir)
    }

    /// Waits, if its supervisor is just starting it: its command may run
    /// already, while the state does not say so yet.
    fn await_start(&mut self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(10);
        while self.state == State::Created
            && self.record.host == hostname()
            && matches!(self.try_lock(), Ok(None))
            && Instant::now() < patience
        {
            std::thread::sleep(Duration::from_millis(1));
            if let Some(state) = read_json(&self.dir.join("state.json"))? {
                self.state = state;
            }
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
            anyhow!(
                "container {} is not running: it is {}",
                self.record.name,
                self.state.name()
            )
        };
        match &self.state {
            State::Running { .. } if self.record.host != hostname() => bail!(
                "container {} runs on {}, not on this machine",
                self.record.name,
                self.record.host
            ),
            State::Running { process, .. } => process.open().ok_or_else(not_running),
            _ => Err(not_running()),
        }
    }
}

/// Whether something was made long enough ago for its maker to be dead or
/// done with it: after two seconds.
fn is_old(metadata: std::io::Result<std::fs::Metadata>) -> bool {
    let age = metadata.and_then(|m| m.modified());
    let age = age.ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|age| age.as_secs() >= 2)
}

/// The first twelve digits of an id, as docker shows it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The machine's host name, or `localhost` if it has none.
pub fn hostname() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty());
    name.unwrap_or_else(|| "localhost".into())
}

fn try_lock(dir: &Path) -> Result<Option<Lock>> {
    // A file: NFS locks no directories.
    let what = || format!("lock {}", dir.display());
    let file = File::options().write(true).open(dir.join("record.json"));
    lock_now(file.with_context(what)?).with_context(what)
}

fn lock_now(file: File) -> std::io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Reads a JSON file; `None` if there is none.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(data) => serde_json::from_slice(&data)
            .map(Some)
            .with_context(|| path.display().to_string()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Writes a JSON file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let data = serde_json::to_vec(value).with_context(|| path.display().to_string())?;
    std::fs::write(path, data).with_context(|| path.display().to_string())
}
