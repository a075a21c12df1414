//! Secrets: what containers are handed and nobody is shown. `secrets/<name>/` in
//! the store holds `secret.json`, what is said of it, and `data`, both for the
//! user alone. A container that is created has a copy of its own.

use crate::engine::ground::json::{read_json, write_json};
use crate::engine::ground::names::new_id;
use crate::engine::request::names;
use crate::error::{self, Kind, refuse};
use crate::image::store::Store;
use crate::sys::fs::{make_private, write_private};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// All secrets of the user.
#[derive(Debug, Clone)]
pub struct Secrets {
    store: Store,
}

/// What is said of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its id, 25 digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`s.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Most bytes of one; docker's and podman's.
pub const MAX: u64 = 512_000;

/// Digits of an id; docker's and podman's.
const ID: usize = 25;
const FILE: &str = "secret.json";
const DATA: &str = "data";

impl Secrets {
    /// Those of `store`.
    pub fn open(store: &Store) -> Secrets {
        Secrets {
            store: store.clone(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("secrets")
    }

    /// Makes a secret; another one of its name is replaced, if `replace` says so.
    ///
    /// # Errors
    /// The name is taken, or can be none; there is nothing in it, or too much.
    pub fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        data: &[u8],
        replace: bool,
    ) -> Result<Secret> {
        names::secret(name)?;
        if data.is_empty() || data.len() as u64 >= MAX {
            refuse!(
                Invalid,
                "secret {name}: it has {} bytes; from 1 to {} are allowed",
                data.len(),
                MAX - 1
            );
        }
        let mut id = new_id()?;
        id.truncate(ID);
        let secret = Secret {
            id,
            name: name.to_owned(),
            created: Timestamp::now(),
            labels,
        };
        let all = self.directory();
        let what = || format!("create secret {name}");
        if let Err(e) = make_private(&all)
            && e.kind() != ErrorKind::AlreadyExists
        {
            return Err(e).with_context(what);
        }
        // No secret's name, until it is complete.
        let half = all.join(format!(".{}", secret.id));
        let make = || -> Result<()> {
            make_private(&half)?;
            write_private(&half.join(DATA), data)?;
            write_json(&half.join(FILE), &secret)
        };
        let place = all.join(name);
        let made = make().with_context(what).and_then(|()| {
            if replace && place.exists() {
                self.store.trash(&place)?;
            }
            match std::fs::rename(&half, &place) {
                Ok(()) => Ok(()),
                Err(_) if place.exists() => refuse!(
                    Conflict,
                    "{name}: secret name in use: --replace puts this one in its place"
                ),
                Err(e) => Err(e).with_context(what),
            }
        });
        if made.is_err() {
            self.store.trash(&half)?;
        }
        made.map(|()| secret)
    }

    /// All, by name. What cannot be read is left out.
    pub fn list(&self) -> Result<Vec<Secret>> {
        let directory = self.directory();
        let what = || format!("list {}", directory.display());
        let entries = match std::fs::read_dir(&directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(what)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.with_context(what)?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                all.extend(read_json::<Secret>(&entry.path().join(FILE))?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one of this name, or whose id begins so.
    ///
    /// # Errors
    /// Of [`NotFound`](Kind::NotFound); several ids begin so.
    pub fn find(&self, name: &str) -> Result<Secret> {
        let all = self.list()?;
        if let Some(found) = all.iter().find(|secret| secret.name == name) {
            return Ok(found.clone());
        }
        let begins = |secret: &&Secret| !name.is_empty() && secret.id.starts_with(name);
        let found: Vec<&Secret> = all.iter().filter(begins).collect();
        match found[..] {
            [one] => Ok(one.clone()),
            [] => refuse!(
                NotFound,
                "no such secret: {name} (bryo secret ls lists them)"
            ),
            _ => refuse!(Invalid, "secret {name}: several ids begin so"),
        }
    }

    /// Whether there is one of this name or id.
    ///
    /// # Errors
    /// As of [`Secrets::find`], but that there is none.
    pub fn exists(&self, name: &str) -> Result<bool> {
        match self.find(name) {
            Err(e) if error::Kind::said(&e) == Some(Kind::NotFound) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// What it is.
    pub fn read(&self, secret: &Secret) -> Result<Vec<u8>> {
        let path = self.directory().join(&secret.name).join(DATA);
        std::fs::read(path).with_context(|| format!("secret {}", secret.name))
    }

    /// Removes one. Containers keep their copies.
    pub fn remove(&self, secret: &Secret) -> Result<()> {
        let path = self.directory().join(&secret.name);
        let gone = self.store.trash(&path).map(drop);
        gone.with_context(|| format!("remove secret {}", secret.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_the_users_alone() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&Store::open(directory.path()).unwrap());
        assert_eq!(secrets.list().unwrap(), []);
        let made = secrets.create("s", BTreeMap::new(), b"one", false).unwrap();
        assert_eq!((made.id.len(), made.name.as_str()), (ID, "s"));
        let path = directory.path().join("secrets/s");
        for (path, mode) in [(path.clone(), 0o700), (path.join(DATA), 0o600)] {
            let is = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(is, mode, "{}", path.display());
        }
        let taken = secrets.create("s", BTreeMap::new(), b"two", false);
        assert_eq!(Kind::of(&taken.unwrap_err()), Some(Kind::Conflict));
        assert_eq!(secrets.read(&made).unwrap(), b"one");
        let new = secrets.create("s", BTreeMap::new(), b"two", true).unwrap();
        assert_eq!(secrets.read(&new).unwrap(), b"two");
        assert_eq!(secrets.find(&new.id[..9]).unwrap(), new);
        assert!(secrets.exists("s").unwrap() && !secrets.exists("t").unwrap());
        for (name, data) in [("", &b"x"[..]), ("a/b", b"x"), (".a", b"x"), ("e", b"")] {
            let error = secrets.create(name, BTreeMap::new(), data, false);
            assert!(error.is_err(), "{name}");
        }
        let long = vec![0; MAX as usize];
        assert!(secrets.create("l", BTreeMap::new(), &long, false).is_err());
        secrets.remove(&new).unwrap();
        assert_eq!(secrets.list().unwrap(), []);
        let left = directory.path().join("secrets").read_dir().unwrap();
        assert_eq!(left.count(), 0);
    }
}
