//! `--tz`: the time zone of a container.

use crate::error::refuse;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where the zones of the machine are (tzset(3)).
const ZONES: &str = "/usr/share/zoneinfo";

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeZone {
    /// `local`: the machine's.
    Local,
    /// By its name, as `Europe/Berlin`.
    Named(String),
}

impl TimeZone {
    /// Reads a name, or `local`.
    ///
    /// # Errors
    /// What cannot be a name.
    pub fn read(text: &str) -> Result<TimeZone> {
        let sound = |part: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
            !part.is_empty() && part.chars().all(letter)
        };
        match text {
            "local" => Ok(TimeZone::Local),
            name if name.split('/').all(sound) => Ok(TimeZone::Named(name.to_owned())),
            _ => refuse!(
                Invalid,
                "--tz {text}: a name as Europe/Berlin is wanted, or local"
            ),
        }
    }

    /// Its file (tzfile(5)): what `/etc/localtime` is to be; nothing where the
    /// machine's is UTC and so needs none.
    ///
    /// # Errors
    /// The machine has none of that name.
    pub fn file(&self) -> Result<Vec<u8>> {
        let (path, name) = match self {
            TimeZone::Local => (PathBuf::from("/etc/localtime"), "local"),
            TimeZone::Named(name) => (Path::new(ZONES).join(name), name.as_str()),
        };
        match std::fs::read(&path) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && *self == TimeZone::Local => {
                Ok(Vec::new())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => refuse!(
                NotFound,
                "--tz {name}: this machine has no such time zone in {ZONES}"
            ),
            Err(e) => Err(e).with_context(|| format!("--tz {name}: {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_names_and_no_paths() {
        assert_eq!(TimeZone::read("local").unwrap(), TimeZone::Local);
        for name in ["UTC", "Etc/GMT+1", "America/Argentina/Buenos_Aires"] {
            assert_eq!(TimeZone::read(name).unwrap(), TimeZone::Named(name.into()));
        }
        for text in ["", "/etc/passwd", "../x", "a//b", "Europe/"] {
            assert!(TimeZone::read(text).is_err(), "{text}");
        }
        let error = TimeZone::Named("No/Where".into()).file().unwrap_err();
        assert!(error.to_string().contains("no such time zone"), "{error}");
    }
}
