//! The `bryo-idmap` command: see `src/idmap/helper.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bryo::idmap::helper::main()
}
