//! A question before something is removed.

use anyhow::Result;
use std::io::{BufRead, Write};

/// Tells what is about to happen and asks whether it shall, as docker does;
/// anything but `y` is no.
pub fn confirm(what: &str) -> Result<bool> {
    eprint!("WARNING! {what}\nAre you sure you want to continue? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
