//! Names of containers, networks, volumes and hosts, as docker allows them.

use crate::error::refuse;
use anyhow::{Context, Result};

/// Accepts what docker accepts as a container's name: a letter or digit, then letters,
/// digits, `_`, `.` and `-`.
pub fn container(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !first || !rest || name.len() > 128 {
        refuse!(
            Invalid,
            "name '{name}': a name starts with a letter or digit and has only letters, digits, \
             '_', '.' and '-'"
        );
    }
    Ok(())
}

/// Refuses what cannot be a network's name, or stands for something else.
pub fn network(name: &str) -> Result<()> {
    container(name).with_context(|| format!("network '{name}'"))?;
    if super::network::is_reserved(name) {
        refuse!(
            Invalid,
            "network '{name}': this name stands for something else"
        );
    }
    Ok(())
}

/// Whether a volume can have this name: as docker's, letters, digits, `_`,
/// `.` and `-`, the first one a letter or digit.
pub fn volume(name: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric();
    let rest = |c: char| word(c) || matches!(c, '_' | '.' | '-');
    if !name.starts_with(word) || !name.chars().all(rest) || name.len() > 255 {
        refuse!(
            Invalid,
            "volume name '{name}': letters, digits, '_', '.' and '-' are allowed, and the first \
             is a letter or digit; a path starts with '/' or '.'"
        );
    }
    Ok(())
}

/// Whether a secret can have this name: as a volume's.
pub fn secret(name: &str) -> Result<()> {
    container(name).with_context(|| format!("secret '{name}'"))
}

/// Whether a host can have this name (sethostname(2)).
pub fn hostname(name: &str) -> Result<()> {
    if name.len() > 64 {
        refuse!(Invalid, "-h {name}: a host name has 64 bytes at most");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["a", "a_b.c-d", "0"] {
            container(good).unwrap();
            network(good).unwrap();
            volume(good).unwrap();
        }
        for bad in ["", "-x", ".x", "a/b", "a b", "ä"] {
            for check in [container, network, volume] {
                assert!(check(bad).is_err(), "{bad}");
            }
        }
        let error = |name| network(name).unwrap_err().to_string();
        for taken in [
            "host",
            "none",
            "user",
            "container",
            "ns",
            "private",
            "default",
        ] {
            let said = format!("network '{taken}': this name stands for something else");
            assert_eq!(error(taken), said);
        }
        let host = "a".repeat(65);
        let said = format!("-h {host}: a host name has 64 bytes at most");
        assert_eq!(hostname(&host).unwrap_err().to_string(), said);
        assert!(hostname(&host[1..]).is_ok() && hostname("").is_ok());
        let long = "a".repeat(129);
        assert!(container(&long).is_err() && volume(&long).is_ok());
        assert!(volume(&"a".repeat(256)).is_err());
    }
}
