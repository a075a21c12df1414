//! What a command finds when it begins: `--entrypoint`, `--umask`,
//! `--time-offset`.

use crate::error::refuse;
use anyhow::{Context, Result};
use std::fmt;

/// Reads a program, or a JSON list of program and arguments; nothing for none.
///
/// # Errors
/// What begins as a list and is none.
pub fn entrypoint(text: &str) -> Result<Vec<String>> {
    match text {
        "" => Ok(Vec::new()),
        list if list.starts_with('[') => {
            serde_json::from_str(list).with_context(|| format!("entrypoint {list}"))
        }
        program => Ok(vec![program.to_owned()]),
    }
}

/// Reads an octal mask.
///
/// # Errors
/// What is none, or has more than nine bits.
pub fn umask(text: &str) -> Result<u32> {
    let mask = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
    mask.with_context(|| format!("umask '{text}': an octal number up to 777 is wanted"))
}

/// A clock that can be shifted (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
}

impl fmt::Display for Clock {
    /// As the OCI spec names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::Monotonic => "monotonic",
            Clock::Boottime => "boottime",
        })
    }
}

/// Reads a clock and by how many seconds it is shifted.
///
/// # Errors
/// Another clock, what is no number.
pub fn time_offset(text: &str) -> Result<(Clock, i64)> {
    let fail = || format!("--time-offset {text}: CLOCK=SECONDS is wanted, as boottime=3600");
    let (clock, seconds) = text.split_once('=').with_context(fail)?;
    let clock = match clock {
        "monotonic" => Clock::Monotonic,
        "boottime" => Clock::Boottime,
        _ => refuse!(
            Invalid,
            "--time-offset {text}: there are the clocks monotonic and boottime"
        ),
    };
    Ok((clock, seconds.parse().ok().with_context(fail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_are_programs_or_lists() {
        for (text, wanted) in [
            ("", &[][..]),
            ("a b", &["a b"]),
            (r#"["a", "b c"]"#, &["a", "b c"]),
            ("[]", &[]),
        ] {
            assert_eq!(entrypoint(text).unwrap(), wanted, "{text}");
        }
        let error = entrypoint("[a").unwrap_err().to_string();
        assert_eq!(error, "entrypoint [a");
    }

    #[test]
    fn masks_are_octal() {
        for (text, wanted) in [("0", 0), ("022", 0o22), ("777", 0o777), ("0027", 0o27)] {
            assert_eq!(umask(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "8", "1000", "-1", "u=rwx"] {
            let said = format!("umask '{text}': an octal number up to 777 is wanted");
            assert_eq!(umask(text).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn clocks_are_shifted() {
        assert_eq!(time_offset("boottime=-7").unwrap(), (Clock::Boottime, -7));
        let (clock, seconds) = time_offset("monotonic=3600").unwrap();
        assert_eq!((clock.to_string(), seconds), ("monotonic".into(), 3600));
        for (text, why) in [
            ("boottime", "CLOCK=SECONDS is wanted, as boottime=3600"),
            ("boottime=x", "CLOCK=SECONDS is wanted, as boottime=3600"),
            ("real=1", "there are the clocks monotonic and boottime"),
        ] {
            let error = time_offset(text).unwrap_err().to_string();
            assert_eq!(error, format!("--time-offset {text}: {why}"));
        }
    }
}
