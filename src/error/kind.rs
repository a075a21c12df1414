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

    /// The kind that an error was given, or what the kernel's number means.
    pub fn of(error: &Error) -> Option<Kind> {
        Kind::said(error).or_else(|| errno(error).map(Kind::of_errno))
    }

    /// What the kernel's number means to who asked.
    pub fn of_errno(errno: Errno) -> Kind {
        match errno {
            Errno::ENOENT | Errno::ESRCH => Kind::NotFound,
            Errno::EEXIST | Errno::EBUSY | Errno::EADDRINUSE | Errno::ENOTEMPTY => Kind::Conflict,
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Forbidden,
            Errno::ENOSPC | Errno::EDQUOT => Kind::NoSpace,
            Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENODEV => Kind::Unsupported,
            Errno::ETIMEDOUT => Kind::Timeout,
            Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EAGAIN
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOMEM => Kind::Unavailable,
            Errno::EINVAL
            | Errno::ERANGE
            | Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::ENAMETOOLONG
            | Errno::ELOOP
            | Errno::ENOEXEC => Kind::Invalid,
            _ => Kind::Internal,
        }
    }
}

/// Gives a kind to errors that have none: one line for all that a parser says.
pub trait OrKind<T> {
    /// The same; an error of which neither who made it nor the kernel has said of
    /// what kind it is is of this one.
    ///
    /// # Errors
    /// The same.
    fn or_kind(self, kind: Kind) -> Result<T, Error>;
}

impl<T> OrKind<T> for Result<T, Error> {
    fn or_kind(self, kind: Kind) -> Result<T, Error> {
        self.map_err(|error| match Kind::of(&error) {
            Some(_) => error,
            None => kind.says(format!("{error:#}")).into(),
        })
    }
}

/// An error of a kind, as [`anyhow!`](anyhow::anyhow) makes one of none:
/// `refusal!(NotFound, "no user {name}")`.
macro_rules! refusal {
    ($kind:ident, $($says:tt)+) => {
        anyhow::Error::from($crate::error::Kind::$kind.says(format!($($says)+)))
    };
}

/// Returns an error of a kind, as [`bail!`](anyhow::bail) does one of none.
macro_rules! refuse {
    ($kind:ident, $($says:tt)+) => {
        return Err($crate::error::refusal!($kind, $($says)+))
    };
}

/// Returns an error of a kind unless something holds, as
/// [`ensure!`](anyhow::ensure) does one of none.
macro_rules! demand {
    ($kind:ident, $holds:expr, $($says:tt)+) => {
        if !$holds {
            $crate::error::refuse!($kind, $($says)+)
        }
    };
}

pub(crate) use {demand, refusal, refuse};

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

    #[test]
    fn only_what_has_no_kind_is_given_one() {
        let given = |error: Error| {
            let given = Err::<(), _>(error).or_kind(Kind::Invalid).unwrap_err();
            (Kind::of(&given).unwrap(), format!("{given:#}"))
        };
        let text = anyhow!("no digit").context("-p 8x");
        assert_eq!(given(text), (Kind::Invalid, "-p 8x: no digit".into()));
        let kernel = anyhow!(Errno::EACCES).context("--env-file f");
        let said = "--env-file f: EACCES: Permission denied".to_owned();
        assert_eq!(given(kernel), (Kind::Forbidden, said));
        let known = refusal!(NotFound, "no {}", "c");
        assert_eq!(given(known), (Kind::NotFound, "no c".into()));
    }
}
