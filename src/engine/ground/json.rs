//! JSON files: records and states.

use crate::sys::fs::write_private;
use crate::sys::replace::replace;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Reads a JSON file; `None` if there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let what = || path.display().to_string();
    let mut looks = 0;
    loop {
        let data = match std::fs::read(path) {
            Ok(data) => data,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(what),
        };
        match serde_json::from_slice(&data) {
            Ok(value) => return Ok(Some(value)),
            // On a full disk it is written over at this moment.
            Err(_) if looks < 3 => looks += 1,
            Err(e) => return Err(e).with_context(what),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a JSON file so that a reader sees the old or the new one, also on a
/// full disk.
pub fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let what = || path.display().to_string();
    let data = serde_json::to_vec(value).with_context(what)?;
    replace(path, &data).with_context(what)
}

/// Writes a JSON file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let data = serde_json::to_vec(value).with_context(|| path.display().to_string())?;
    write_private(path, data).with_context(|| path.display().to_string())
}
