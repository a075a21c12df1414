//! Standard streams: by name, for the flag `--attach`, and as terminals.

use crate::engine::container::control::WantedStreams;
use crate::engine::ground::caller;
use crate::error::refuse;
use anyhow::Result;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// A standard stream by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StreamName {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The streams by these names, all if there are none.
pub fn wanted(names: &[StreamName]) -> WantedStreams {
    let has = |name| names.is_empty() || names.contains(&name);
    WantedStreams {
        input: has(StreamName::Stdin),
        output: has(StreamName::Stdout),
        errors: has(StreamName::Stderr),
    }
}

/// Sees to it that who types has a terminal.
///
/// # Errors
/// Standard input is none.
pub fn input_is_a_terminal() -> Result<()> {
    if !std::io::stdin().is_terminal() {
        refuse!(
            Invalid,
            "-i and -t together need a terminal as standard input: leave out -t"
        );
    }
    Ok(())
}

/// Rows and columns of the terminal that standard output is, if it is one.
pub fn window_size() -> Option<(u16, u16)> {
    caller::window_size(std::io::stdout().as_fd())
}
