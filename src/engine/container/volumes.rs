//! Volumes: directories of the store that outlive the containers that use
//! them. `volumes/<name>/` holds `volume.json` and `_data`, the content.
//!
//! Who looks a volume up for a container holds the file `volumes/lock`
//! shared until the container's record says that it is in use; who removes
//! volumes holds it alone. A volume that belongs to a container which is still
//! being created is called `.<name>`; it gets its name when the container is
//! complete.

use crate::engine::container::containers::{Containers, is_old};
use crate::engine::container::events;
use crate::engine::ground::json::{read_json, replace_json, write_json};
use crate::engine::ids::userns::Mapping;
use crate::engine::machine::storage::bytes_below;
use crate::engine::request::filter::{Filters, VolumeFilter};
use crate::engine::request::mounts::{Kind, Mounted};
use crate::engine::request::names;
use crate::error;
use crate::error::refuse;
use crate::image::copy::{chown_tree, copy_directory};
use crate::image::store::Store;
use crate::sys::fs::private;
use crate::sys::replace::is_unwritable;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// All volumes of the user.
#[derive(Debug, Clone)]
pub struct Volumes {
    store: Store,
}

/// A volume. `volume.json` in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`s.
    pub labels: BTreeMap<String, String>,
    /// Nobody gave it a name: it goes with its container, if that is wished.
    pub anonymous: bool,
    /// The container that it was made for.
    pub container: Option<String>,
    /// A container has used it: it is not filled from an image any more.
    pub used: bool,
}

impl Default for Volume {
    fn default() -> Volume {
        Volume {
            name: String::new(),
            created: Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            anonymous: false,
            container: None,
            used: false,
        }
    }
}

/// What a new volume is like for the container that uses it first.
pub struct First<'a> {
    /// The image's layers, the topmost first, if there is something to copy.
    pub lowers: &'a [PathBuf],
    /// Where the volume is in the container.
    pub destination: &'a Path,
    /// Who runs the container: user and group.
    pub user: (u32, u32),
    /// Its ids.
    pub mapping: &'a Mapping,
}

/// A lock on all volumes, held until dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    /// None where there is no room for one, and so for no new user of a volume.
    _lock: Option<Flock<File>>,
}

/// Whether a path looks like that of a volume's content, from whichever root.
pub fn is_volume(path: &Path) -> bool {
    let above = path.parent().and_then(Path::parent);
    path.ends_with(DATA) && above.is_some_and(|above| above.ends_with("volumes"))
}

const FILE: &str = "volume.json";
const DATA: &str = "_data";

impl Volumes {
    /// The store that they are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The volumes of `store`.
    pub fn open(store: &Store) -> Volumes {
        Volumes {
            store: store.clone(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("volumes")
    }

    /// Where the content of a volume is.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory().join(name).join(DATA)
    }

    /// Waits until nobody removes volumes, and keeps it so.
    pub fn lock_shared(&self) -> Result<Guard> {
        self.lock(FlockArg::LockShared)
    }

    fn lock(&self, how: FlockArg) -> Result<Guard> {
        let directory = self.directory();
        let what = || format!("lock {}", directory.display());
        let locked = make_directory(&directory, 0o700).and_then(|()| {
            let file = lock_file(&directory.join("lock"), how)?;
            Ok(Guard { _lock: Some(file) })
        });
        match locked {
            // Who only removes is not to be hindered by a full disk.
            Err(error) if how == FlockArg::LockExclusive && is_unwritable_error(&error) => {
                Ok(Guard { _lock: None })
            }
            other => other.with_context(what),
        }
    }

    /// Makes a volume; one that is there stays as it is.
    pub fn create(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<Volume> {
        names::volume(name)?;
        let new = Volume {
            name: name.to_owned(),
            created: Timestamp::now(),
            labels: labels.clone(),
            ..Volume::default()
        };
        for _ in 0..8 {
            match self.find(name) {
                Err(e) if error::Kind::said(&e) == Some(error::Kind::NotFound) => {}
                other => return other,
            }
            // With a name that no volume can have, until it is complete.
            let half = self
                .directory()
                .join(format!(".{}", crate::engine::ground::names::new_id()?));
            self.make(&half, &new)?;
            // A directory that has something is replaced by no other (rename(2)).
            match std::fs::rename(&half, self.directory().join(name)) {
                Ok(()) => {
                    self.emit("create", name);
                    return Ok(new);
                }
                Err(error) => {
                    self.store.trash(&half)?;
                    // Another process was faster.
                    let taken = [ErrorKind::DirectoryNotEmpty, ErrorKind::AlreadyExists];
                    if !taken.contains(&error.kind()) {
                        return Err(error).with_context(|| format!("create volume {name}"));
                    }
                }
            }
        }
        refuse!(Internal, "volume {name} comes and goes too often")
    }

    /// Makes a volume of the container `id`'s own, which has to be
    /// [published](Volumes::publish) when the container is complete.
    pub fn create_anonymous(&self, id: &str) -> Result<Volume> {
        let new = Volume {
            name: crate::engine::ground::names::new_id()?,
            created: Timestamp::now(),
            anonymous: true,
            container: Some(id.to_owned()),
            ..Volume::default()
        };
        self.make(&self.directory().join(format!(".{}", new.name)), &new)?;
        Ok(new)
    }

    fn make(&self, directory: &Path, volume: &Volume) -> Result<()> {
        let make = || -> Result<()> {
            make_directory(directory, 0o700)?;
            make_directory(&directory.join(DATA), 0o755)?;
            write_json(&directory.join(FILE), volume)
        };
        make().with_context(|| format!("create volume {}", volume.name))
    }

    /// Gives an anonymous volume its name.
    pub fn publish(&self, name: &str) -> Result<()> {
        let place = self.directory().join(name);
        match std::fs::rename(self.directory().join(format!(".{name}")), &place) {
            // Somebody has found it complete, see `sweep`.
            Err(e) if e.kind() == ErrorKind::NotFound && place.exists() => Ok(()),
            other => other.with_context(|| format!("create volume {name}")),
        }
        .inspect(|()| self.emit("create", name))
    }

    /// Removes an anonymous volume whose container could not be created.
    pub fn discard(&self, name: &str) {
        let _ = self.store.trash(&self.directory().join(format!(".{name}")));
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound).
    pub fn find(&self, name: &str) -> Result<Volume> {
        let directory = self.directory().join(name);
        if names::volume(name).is_err() || !directory.exists() {
            refuse!(
                NotFound,
                "get {name}: no such volume (bryo volume ls lists them)"
            );
        }
        Ok(self.read(&directory, name))
    }

    fn read(&self, directory: &Path, name: &str) -> Volume {
        let file: Option<Volume> = read_json(&directory.join(FILE)).ok().flatten();
        let mut volume = file.unwrap_or_default();
        // The content counts, even if what is said of it was lost.
        name.clone_into(&mut volume.name);
        volume
    }

    /// All volumes by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut all = Vec::new();
        for (name, path) in self.entries()? {
            if !name.starts_with('.') {
                all.push(self.read(&path, &name));
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn entries(&self) -> Result<Vec<(String, PathBuf)>> {
        let directory = self.directory();
        let what = || format!("list {}", directory.display());
        let entries = match std::fs::read_dir(&directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(what)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(what)?;
            if let Ok(name) = entry.file_name().into_string()
                && name != "lock"
            {
                found.push((name, entry.path()));
            }
        }
        Ok(found)
    }

    /// Makes a volume ready for a container that uses it first: it gets what
    /// the image has in its place, with the owners and the mode of that, or is
    /// given to the container's user. The caller holds the lock.
    pub fn fill(&self, volume: &Volume, first: &First) -> Result<()> {
        let what = || format!("fill volume {}", volume.name);
        let final_place = self.directory().join(&volume.name);
        let directory = match volume.container {
            Some(_) if !final_place.exists() => self.directory().join(format!(".{}", volume.name)),
            _ => final_place,
        };
        // Against another container that is being created.
        let lock = lock_file(&directory.join("lock"), FlockArg::LockExclusive);
        let _lock = lock.with_context(what)?;
        let now = self.read(&directory, &volume.name);
        if now.used {
            return Ok(());
        }
        let data = directory.join(DATA);
        let empty = std::fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            let copy = directory.join("copy");
            if copy.exists() {
                // Of one that was killed.
                let trash = || self.store.trash(&copy).map(drop);
                first.mapping.inside(trash).with_context(what)?;
            }
            let mut copied = false;
            if !first.lowers.is_empty() {
                let path = std::os::unix::ffi::OsStrExt::as_bytes(first.destination.as_os_str());
                let act = || {
                    Ok(match copy_directory(first.lowers, path, &copy)? {
                        true => b"y".to_vec(),
                        false => Vec::new(),
                    })
                };
                copied = first.mapping.run_inside(act).with_context(what)? == b"y";
            }
            match copied {
                // In place of the empty one, at once.
                true => std::fs::rename(&copy, &data).with_context(what)?,
                false => give(first.mapping, &data, first.user).with_context(what)?,
            }
        }
        replace_json(&directory.join(FILE), &Volume { used: true, ..now }).with_context(what)
    }

    /// By the names of volumes, the names of the containers that use them.
    pub fn users(&self) -> HashMap<String, Vec<String>> {
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for record in Containers::open(&self.store).records() {
            for mounted in record.mounts.iter().filter(|m| m.kind == Kind::Volume) {
                let of = users.entry(mounted.source.clone()).or_default();
                of.push(record.name.clone());
            }
        }
        users
    }

    /// Those that pass.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn filtered(&self, filters: &Filters<VolumeFilter>) -> Result<Vec<Volume>> {
        let users = self.users();
        let mut passed = Vec::new();
        for volume in self.list()? {
            let holds = |filter: &VolumeFilter| {
                Ok(match filter {
                    VolumeFilter::Anonymous(wanted) => volume.anonymous == *wanted,
                    VolumeFilter::Dangling(wanted) => users.contains_key(&volume.name) != *wanted,
                    VolumeFilter::Driver(name) => name == "local",
                    VolumeFilter::Label(label) => label.holds_of(&volume.labels),
                    VolumeFilter::Name(part) => volume.name.contains(part),
                    VolumeFilter::Scope(scope) => scope == "local",
                    VolumeFilter::Since(time) => volume.created > *time,
                    VolumeFilter::Until(time) => volume.created < *time,
                })
            };
            if filters.pass(holds)? {
                passed.push(volume);
            }
        }
        Ok(passed)
    }

    /// Removes volumes that no container uses; with `force` what is not there
    /// is no error.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        match self.find(name) {
            Err(e) if force && error::Kind::said(&e) == Some(error::Kind::NotFound) => {
                return Ok(());
            }
            other => other?,
        };
        let _lock = self.lock(FlockArg::LockExclusive)?;
        if let Some(users) = self.users().remove(name) {
            refuse!(
                Conflict,
                "volume {name} is used by container {}: remove that first",
                users.join(", ")
            );
        }
        self.remove_unused(name)
    }

    fn remove_unused(&self, name: &str) -> Result<()> {
        self.store.trash(&self.directory().join(name))?;
        self.emit("destroy", name);
        Ok(())
    }

    /// Removes all volumes without a user that `wanted` is for, and returns
    /// them with their sizes in bytes.
    pub fn prune(&self, wanted: impl Fn(&Volume) -> bool) -> Result<Vec<(String, u64)>> {
        let _lock = self.lock(FlockArg::LockExclusive)?;
        let users = self.users();
        let mut gone = Vec::new();
        for volume in self.list()? {
            if !users.contains_key(&volume.name) && wanted(&volume) {
                let size = bytes_below(&self.data(&volume.name));
                self.remove_unused(&volume.name)?;
                gone.push((volume.name, size));
            }
        }
        Ok(gone)
    }

    /// Removes the anonymous ones among a container's volumes that no other
    /// container uses. Returns what is to be deleted.
    pub fn release(&self, id: &str, mounts: &[Mounted]) -> Result<Vec<PathBuf>> {
        let mut anonymous = Vec::new();
        for mounted in mounts.iter().filter(|m| m.kind == Kind::Volume) {
            if self.find(&mounted.source).is_ok_and(|v| v.anonymous) {
                anonymous.push(mounted.source.as_str());
            }
        }
        if anonymous.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.lock(FlockArg::LockExclusive)?;
        let mut trash = Vec::new();
        let others = Containers::open(&self.store).records();
        for name in anonymous {
            let uses = |m: &Mounted| m.kind == Kind::Volume && m.source == name;
            let mut others = others.iter().filter(|record| record.id != id);
            if !others.any(|record| record.mounts.iter().any(uses)) {
                trash.push(self.store.trash(&self.directory().join(name))?);
                self.emit("destroy", name);
            }
        }
        Ok(trash)
    }

    /// Finishes or removes what killed creations left.
    pub fn sweep(&self) -> Result<()> {
        for (name, path) in self.entries()? {
            let Some(rest) = name.strip_prefix('.') else {
                continue;
            };
            let volume = self.read(&path, rest);
            let containers = self.store.root().join("containers");
            let container = volume.container.unwrap_or_default();
            if !container.is_empty() && containers.join(&container).exists() {
                let _ = std::fs::rename(&path, self.directory().join(rest));
            } else if is_old(std::fs::metadata(&path))
                && (container.is_empty() || !containers.join(format!(".{container}")).exists())
            {
                self.store.trash(&path)?;
            }
        }
        Ok(())
    }

    fn emit(&self, action: &str, name: &str) {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        events::emit_of("volume", action, self.store.root(), name, attributes);
    }
}

/// Gives a directory to a user of the container.
fn give(mapping: &Mapping, path: &Path, user: (u32, u32)) -> Result<()> {
    let Some((uid, gid)) = mapping.here(user)? else {
        return Ok(());
    };
    mapping.inside(|| Ok(std::os::unix::fs::lchown(path, Some(uid), Some(gid))?))
}

/// Gives a tree to a user of the container. With one id it is his already.
pub fn give_tree(mapping: &Mapping, path: &Path, user: (u32, u32)) -> Result<()> {
    let Some((uid, gid)) = mapping.here(user)? else {
        return Ok(());
    };
    mapping.inside(|| chown_tree(path, uid, gid))
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    made.with_context(|| format!("create {}", path.display()))?;
    // Whatever the caller's mask.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    match mode & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, permissions)
            .with_context(|| format!("create {}", path.display())),
    }
}

fn is_unwritable_error(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|e| e.downcast_ref());
    causes.any(is_unwritable)
}

fn lock_file(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    Flock::lock(file, how).map_err(|(_, errno)| errno.into())
}
