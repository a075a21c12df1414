//! The error of a failed system call.

use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt;

/// A system call that failed, with the arguments that matter to a reader.
///
/// Displays as `call(arguments): ERRNO, description`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Name of the system call, as in its man page.
    pub call: Cow<'static, str>,
    /// The arguments, printed for people.
    pub args: String,
    /// What the kernel answered.
    pub errno: Errno,
}

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `call`, its arguments rendered by `args`.
    pub fn new(call: impl Into<Cow<'static, str>>, args: impl Into<String>, errno: Errno) -> Self {
        Error {
            call: call.into(),
            args: args.into(),
            errno,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { call, args, errno } = self;
        write!(f, "{call}({args}): {errno:?}, {}", describe(*errno))
    }
}

impl std::error::Error for Error {}

/// The kernel's description of `errno`, in lower case as a part of a sentence.
pub fn describe(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text[1..].starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// Adds the name and arguments of a call to an [`Errno`].
pub trait Context<T> {
    /// Wraps the error as one of `call`, its arguments rendered lazily.
    fn call<A: Into<String>>(self, call: &'static str, args: impl FnOnce() -> A) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn call<A: Into<String>>(self, call: &'static str, args: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|errno| Error::new(call, args(), errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn call<A: Into<String>>(self, call: &'static str, args: impl FnOnce() -> A) -> Result<T> {
        self.map_err(|e| {
            let errno = e.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Error::new(call, args(), errno)
        })
    }
}
