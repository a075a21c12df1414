//! Signals by name.

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

/// A signal's number from its number or name, with or without `SIG`;
/// real-time signals as `RTMIN+n` and `RTMAX-n`.
///
/// # Errors
/// There is no such signal.
pub fn parse(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (min, max) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let real_time = |offset: &str| match offset.is_empty() {
        true => Some(0),
        false => offset[1..].parse::<i32>().ok(),
    };
    let number = if let Ok(number) = name.parse::<i32>() {
        Some(number)
    } else if let Some(offset) = name.strip_prefix("RTMIN") {
        real_time(offset).map(|n| min + n)
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        real_time(offset).map(|n| max - n)
    } else {
        format!("SIG{name}")
            .parse::<Signal>()
            .ok()
            .map(|s| s as i32)
    };
    number
        .filter(|n| (1..=max).contains(n))
        .with_context(|| format!("signal '{text}': signal(7) has none so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [("9", 9), ("kill", 9), ("SIGTERM", 15), ("sigusr1", 10)] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        assert_eq!(parse("RTMIN+1").unwrap(), libc::SIGRTMIN() + 1);
        for bad in ["0", "999", "SIGX", "", "RTMAX+x", "-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
