//! Kinds of errors.

use super::errno::errno;
use anyhow::Error;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an error means to who asked for something: what a status or an exit
/// code can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What was named is not there.
    NotFound,
    /// It is there, but in a state, or in a use, that does not allow it.
    Conflict,
    /// It is as it was to be already.
    AlreadySo,
    /// What was asked for makes no sense.
    Invalid,
    /// The user may not.
    Forbidden,
    /// This machine, or bryo, cannot do it.
    Unsupported,
    /// The disk is full, or a quota used up.
    NoSpace,
    /// Who has to answer, a registry say, does not.
    Unavailable,
    /// It has taken too long.
    Timeout,
    /// What should not happen.
    Internal,
}

/// An error of a kind that is known where it arises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The kind.
    pub kind: Kind,
    /// What it says.
    pub text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Said {}

impl Kind {
    /// An error of this kind.
    pub fn says(self, text: impl Into<String>) -> Said {
        Said {
            kind: self,
            text: text.into(),
        }
    }

    /// The kind that an error was given where it arose.
    pub fn said(error: &Error) -> Option<Kind> {
        // What a missing value was given as a context is no cause in the chain.
        let said = error.chain().find_map(|e| e.downcast_ref::<Said>());
        let said = said.or_else(|| error.downcast_ref());
        said.map(|said| said.kind)
    }

    /// The kind that an error was given, or what the kernel's number means where
    /// that says enough.
    pub fn of(error: &Error) -> Option<Kind> {
        Kind::said(error).or_else(|| {
            Some(match errno(error)? {
                Errno::ENOENT | Errno::ESRCH => Kind::NotFound,
                Errno::EEXIST | Errno::EBUSY | Errno::EADDRINUSE | Errno::ENOTEMPTY => {
                    Kind::Conflict
                }
                Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Forbidden,
                Errno::ENOSPC | Errno::EDQUOT => Kind::NoSpace,
                Errno::ENOSYS | Errno::EOPNOTSUPP => Kind::Unsupported,
                Errno::ETIMEDOUT => Kind::Timeout,
                Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH => Kind::Unavailable,
                Errno::ENOTDIR | Errno::EISDIR | Errno::ENAMETOOLONG | Errno::ELOOP => {
                    Kind::Invalid
                }
                _ => return None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn what_was_said_goes_before_numbers() {
        let numbered = anyhow!(Errno::ENOSPC).context("write x");
        assert_eq!(Kind::of(&numbered), Some(Kind::NoSpace));
        let said = anyhow!(Kind::Conflict.says("it is in use")).context("remove x");
        assert_eq!(Kind::of(&said), Some(Kind::Conflict));
        assert_eq!(format!("{said:#}"), "remove x: it is in use");
        assert_eq!(Kind::of(&anyhow!("x")), None);
        let missing = None::<()>.context(Kind::NotFound.says("no x"));
        let missing = missing.context("look").unwrap_err();
        assert_eq!(Kind::of(&missing), Some(Kind::NotFound));
    }
}
