//! Amounts that flags of limits say: of memory, processors, processes.

use super::size;
use crate::cgroup::units::PERIOD;
use crate::error::{demand, refusal, refuse};
use anyhow::Result;

/// The least memory that docker limits a container to.
const LEAST_MEMORY: u64 = 6 << 20;

/// A limit in bytes: a [size](size::bytes) that is one.
///
/// # Errors
/// Zero, less, and what does not fit into a number of the kernel's.
pub fn limit(text: &str) -> Result<u64> {
    demand!(
        Invalid,
        !text.starts_with('-'),
        "'{text}' is negative: leave the flag out for no limit"
    );
    match size::bytes(text)? {
        0 => refuse!(
            Invalid,
            "'{text}' is nothing: leave the flag out for no limit"
        ),
        count if i64::try_from(count).is_err() => {
            refuse!(Invalid, "'{text}' is more than any machine has")
        }
        count => Ok(count),
    }
}

/// A limit in bytes, or `-1` for any.
pub fn limit_or_any(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => Ok(limit(text)? as i64),
    }
}

/// A memory limit.
pub fn memory(text: &str) -> Result<i64> {
    let count = limit(text)?;
    demand!(
        Invalid,
        count >= LEAST_MEMORY,
        "'{text}' is too little for a container: 6m is the least"
    );
    Ok(count as i64)
}

/// Processors, as `1.5`: microseconds in each [`PERIOD`].
pub fn cpus(text: &str) -> Result<i64> {
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    demand!(
        Invalid,
        !text.starts_with('-'),
        "'{text}' is negative: leave the flag out for no limit"
    );
    let count = text.parse::<f64>().ok();
    let Some(count) = count.filter(|_| text.chars().all(plain)) else {
        refuse!(
            Invalid,
            "'{text}' is no number of processors: 0.5 or 2 is one"
        )
    };
    let quota = (count * PERIOD as f64).round();
    match quota {
        _ if count == 0.0 => refuse!(
            Invalid,
            "'{text}' is nothing: leave the flag out for no limit"
        ),
        _ if quota < 1000.0 => refuse!(Invalid, "'{text}' is too little: 0.01 is the least"),
        _ if quota > 1e15 => refuse!(Invalid, "'{text}' is more than any machine has"),
        _ => Ok(quota as i64),
    }
}

/// A number in a range.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64> {
    let value = text.parse::<u64>().ok();
    value
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| refusal!(Invalid, "'{text}' is no number from {least} to {most}"))
}

/// How many processes: `-1` and 0 are any number (docker).
pub fn pids(text: &str) -> Result<i64> {
    match text {
        "-1" | "0" => Ok(-1),
        // The kernel's PID_MAX_LIMIT.
        _ => Ok(number(text, 1, 1 << 22)? as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_something() {
        assert_eq!(limit("1.5g").unwrap(), 3 << 29);
        for (bad, says) in [
            ("0", "'0' is nothing"),
            ("0g", "'0g' is nothing"),
            ("-1m", "'-1m' is negative"),
            ("9999999t", "'9999999t'"),
            ("1x", "'1x'"),
        ] {
            let error = limit(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(limit_or_any("-1").unwrap(), -1);
        assert!(limit_or_any("-2").is_err());
        assert!(memory("5m").is_err());
        assert_eq!(memory("6m").unwrap(), 6 << 20);
    }

    #[test]
    fn processors_and_processes() {
        assert_eq!(cpus("1.5").unwrap(), 150_000);
        assert_eq!(cpus("0.1").unwrap(), 10_000);
        for bad in ["", "0", "-1", "x", "1.2.3", "0.001", "inf", "1e9"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!((pids("-1").unwrap(), pids("7").unwrap()), (-1, 7));
        assert!(pids("-2").is_err() && pids("x").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_survived(text in "[0-9.,kmgtpib -]{0,12}|\\PC{0,8}") {
            let _ = (limit(&text), limit_or_any(&text), cpus(&text), pids(&text));
        }
    }
}
