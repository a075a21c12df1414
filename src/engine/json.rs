//! JSON files: records and states.

use crate::sys::fs::write_private;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Reads a JSON file; `None` if there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(data) => serde_json::from_slice(&data)
            .map(Some)
            .with_context(|| path.display().to_string()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Writes a JSON file so that a reader sees the old or the new one.
pub fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    write_json(&new, value)?;
    std::fs::rename(&new, path).with_context(|| path.display().to_string())
}

/// Writes a JSON file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let data = serde_json::to_vec(value).with_context(|| path.display().to_string())?;
    write_private(path, data).with_context(|| path.display().to_string())
}
