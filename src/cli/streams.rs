//! Standard streams by name, for the flag `--attach`.
use crate::engine::container::control::WantedStreams;

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
