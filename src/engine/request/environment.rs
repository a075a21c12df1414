//! `--env` and `--env-file`, read as docker reads them; `--env-host`,
//! `--http-proxy`, `--env-merge`.

use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use std::env::VarError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Bytes at the beginning of a file that say that it is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A variable; without a value it is taken away.
pub type Variable = (String, Option<String>);

/// What programs ask a proxy by, in lower case as in upper case.
const PROXIES: [&str; 5] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

/// Those of bryo's own variables that say which proxies there are.
pub fn proxies() -> Vec<Variable> {
    let mut own = of_host();
    own.retain(|(name, _)| is_proxy(name));
    own
}

/// Whether a variable says which proxies there are.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name.to_ascii_lowercase().as_str())
}

/// All of bryo's own variables, but for those that are not UTF-8.
pub fn of_host() -> Vec<Variable> {
    let all = std::env::vars_os();
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, Some(value.into_string().ok()?)))
    };
    all.filter_map(text).collect()
}

/// Reads `NAME=VALUE` of which the value may have `$OTHER` and `${OTHER}` in it.
///
/// # Errors
/// There is no name, or no value.
pub fn merge(text: &str) -> Result<(String, String)> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.with_context(|| {
        format!("--env-merge {text}: NAME=VALUE is wanted, as PATH=${{PATH}}:/opt/bin")
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The text with the variables that it names; one that there is not is empty.
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, after) = match behind.strip_prefix('{').and_then(|b| b.split_once('}')) {
            Some(parts) => parts,
            None => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                behind.split_at(behind.find(|c| !word(c)).unwrap_or(behind.len()))
            }
        };
        match name {
            "" => expanded.push('$'),
            name => expanded.push_str(&variable(name).unwrap_or_default()),
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// Reads files of labels, which are like files of variables.
///
/// # Errors
/// A file cannot be read; a line has no name.
pub fn label_files(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let what = || format!("--label-file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                refuse!(
                    Invalid,
                    "{}, line {number}: '{line}' begins with no label",
                    what()
                );
            }
            all.push(line.to_owned());
        }
    }
    Ok(all)
}

/// Variables of files, then of flags. A name alone passes ours on; where we
/// have none, that of a flag takes away what the image sets.
pub fn read(files: &[PathBuf], flags: &[String]) -> Result<Vec<Variable>> {
    let mut all = Vec::new();
    for path in files {
        let text = std::fs::read(path).with_context(|| format!("--env-file {}", path.display()))?;
        of_file(path, &text, &mut all)?;
    }
    for flag in flags {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag.as_str(), None),
        };
        demand!(
            Invalid,
            !name.is_empty(),
            "-e '{flag}': the variable has no name; NAME=VALUE or NAME is wanted"
        );
        let value = match value {
            Some(value) => Some(value),
            None => own(name).with_context(|| format!("-e {flag}"))?,
        };
        all.push((name.to_owned(), value));
    }
    Ok(all)
}

/// A line each: blanks before the name go, all behind `=` is the value, quotes
/// and `#` too.
fn of_file(path: &Path, text: &[u8], all: &mut Vec<Variable>) -> Result<()> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let what = || format!("--env-file {}, line {number}", path.display());
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = str::from_utf8(line)
            .with_context(what)?
            .trim_start_matches(char::is_whitespace);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            refuse!(Invalid, "{}: '{line}' has no name before the '='", what());
        }
        if name.contains(char::is_whitespace) {
            let hint = match name.split_once(char::is_whitespace) {
                Some(("export", _)) => "leave out 'export', this is no script",
                _ => "there can be none before the '='",
            };
            refuse!(
                Invalid,
                "{}: variable '{name}' contains blanks; {hint}",
                what()
            );
        }
        demand!(
            Invalid,
            !line.contains('\0'),
            "{}: variable '{name}' contains a zero byte",
            what()
        );
        match value {
            Some(value) => all.push((name.to_owned(), Some(value.to_owned()))),
            None => all.extend(
                own(name)
                    .with_context(what)?
                    .map(|value| (name.to_owned(), Some(value))),
            ),
        }
    }
    Ok(())
}

/// What the variable is in bryo's own environment.
fn own(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => refuse!(Invalid, "the value of '{name}' here is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Vec<Variable>> {
        let mut all = Vec::new();
        of_file(Path::new("f"), text, &mut all)?;
        Ok(all)
    }

    #[test]
    fn values_name_other_variables() {
        let variable = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, wanted) in [
            ("x$A:${A}y", "x1:1y"),
            ("$A1$B-", "-"),
            ("a$", "a$"),
            ("$$A", "$1"),
            ("${A", "${A"),
            ("${}", "$"),
        ] {
            assert_eq!(expand(text, variable), wanted, "{text}");
        }
        let pair = merge("PATH=$PATH:/x").unwrap();
        assert_eq!(pair, ("PATH".to_owned(), "$PATH:/x".to_owned()));
        assert!(merge("PATH").is_err() && merge("=1").is_err());
    }

    #[test]
    fn files_are_read_as_docker_reads_them() {
        for (text, wanted) in [
            (&b"A=1\nB=2"[..], &[("A", "1"), ("B", "2")][..]),
            (b"\xef\xbb\xbfA=1\n", &[("A", "1")]),
            (b"A=1\r\n \tB= x \r", &[("A", "1"), ("B", " x ")]),
            (b"A=\"q\" # c\n", &[("A", "\"q\" # c")]),
            (b"# A=1\n   # B=1\n\n", &[]),
            (b"A=\nB==\n", &[("A", ""), ("B", "=")]),
            ("\u{a0}A=1\n".as_bytes(), &[("A", "1")]),
            (
                "A=1\n\u{feff}B=1\n".as_bytes(),
                &[("A", "1"), ("\u{feff}B", "1")],
            ),
            (b"BRYO_IS_NOT_SET\n", &[]),
        ] {
            let wanted: Vec<Variable> = wanted
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned())))
                .collect();
            assert_eq!(parse(text).unwrap(), wanted, "{}", text.escape_ascii());
        }
        for (text, said) in [
            (&b"A=1\nexport B=1\n"[..], "line 2: variable 'export B'"),
            (b"A B=1\n", "line 1: variable 'A B' contains blanks"),
            (b"A =1\n", "'A '"),
            (b"A\tB\n", "blanks"),
            (b"\n=1\n", "line 2: '=1' has no name"),
            (b"A=\xff\n", "line 1: invalid utf-8"),
            (b"A=\0\n", "zero byte"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
