//! Standard streams by name, for the flag `--attach`.
use crate::engine::container::control::Wanted;

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
pub fn wanted(names: &[StreamName]) -> Wanted {
    let has = |name| names.is_empty() || names.contains(&name);
    Wanted {
        input: has(StreamName::Stdin),
        output: has(StreamName::Stdout),
        errors: has(StreamName::Stderr),
    }
}
