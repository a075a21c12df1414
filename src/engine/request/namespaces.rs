//! `--pid`, `--ipc`, `--uts`, `--cgroupns`: whose namespaces a container is in.

use crate::error::refuse;
use anyhow::Result;

/// Whose namespace a container is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

impl Sharing {
    /// Reads the value of the flag that is named.
    ///
    /// # Errors
    /// Any other mode.
    pub fn read(flag: &str, text: &str) -> Result<Sharing> {
        match text {
            "private" | "shareable" | "" => Ok(Sharing::Private),
            "host" => Ok(Sharing::Host),
            other => refuse!(
                Invalid,
                "--{flag} {other}: not supported yet; there are private and host"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_its_own_or_the_hosts() {
        for text in ["private", "shareable", ""] {
            assert_eq!(Sharing::read("ipc", text).unwrap(), Sharing::Private);
        }
        assert_eq!(Sharing::read("pid", "host").unwrap(), Sharing::Host);
        let error = Sharing::read("pid", "container:x").unwrap_err();
        let said = "--pid container:x: not supported yet; there are private and host";
        assert_eq!(error.to_string(), said);
    }
}
