//! The command line: one file per verb, each an `Args` and a `run`.

use std::process::ExitCode;

/// Parses the command line, runs the verb, prints its error, and returns the
/// exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
