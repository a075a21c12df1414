//! The `bryo` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    bryo::cli::main()
}
