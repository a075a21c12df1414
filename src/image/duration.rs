//! Spans of time as Go writes them. Pure.

use anyhow::{Context, Result};
use std::time::Duration;

/// Reads a duration as Go writes it: `300ms`, `1.5h`, `2h45m`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let fail = || format!("duration '{text}': one like 1h30m, 10s or 500ms is wanted");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(digits.with_context(fail)?);
        let number: f64 = number.parse().ok().with_context(fail)?;
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let unit = units.iter().find(|(name, _)| {
            after
                .strip_prefix(name)
                .is_some_and(|left| !left.starts_with(|c: char| c.is_alphabetic()))
        });
        let (name, factor) = unit.with_context(fail)?;
        seconds += number * factor;
        rest = &after[name.len()..];
    }
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    Duration::try_from_secs_f64(seconds).ok().with_context(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("", 0),
            ("0s", 0),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            ("1m30s", 90_000),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
        }
        for bad in ["5", "s", "1x", "-1s", "1e9h", "1sx", "é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
