//! `--env` and `--env-file`.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Variables of files, then of flags; a name alone passes ours on.
pub fn read(files: &[PathBuf], flags: &[String]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut add = |text: &str| match text.split_once('=') {
        Some(("", _)) => bail!("variable '{text}' has no name"),
        Some((key, value)) => {
            all.push((key.to_owned(), value.to_owned()));
            Ok(())
        }
        None => {
            all.extend(
                std::env::var(text)
                    .ok()
                    .map(|value| (text.to_owned(), value)),
            );
            Ok(())
        }
    };
    for path in files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--env-file {}", path.display()))?;
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|l| !l.is_empty() && !l.starts_with('#')) {
            add(line).with_context(|| format!("--env-file {}", path.display()))?;
        }
    }
    for flag in flags {
        add(flag)?;
    }
    Ok(all)
}
