//! Lists of processors, periods, and amounts as people read them. Pure.

use crate::error::refuse;
use anyhow::{Context, Result};

/// Length of the period in which a quota of processors is given, in
/// microseconds, unless another is asked for (the kernel's and docker's).
pub const PERIOD: u64 = 100_000;

/// A list of numbers and ranges, as `0-2,5`: the numbers.
pub fn set(text: &str) -> Result<Vec<u32>> {
    let wrong = || format!("'{text}' is no list of numbers: 0-2,5 is one");
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let value = text.parse::<u32>().ok().filter(|n| digits && *n < 8192);
            value.with_context(wrong)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            refuse!(Invalid, "{}", wrong());
        }
        all.extend(first..=last);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Bytes in powers of 1024, for people.
pub fn show(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value.fract() {
        0.0 => format!("{value} {}", units[unit]),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(set("0-2,5,1").unwrap(), [0, 1, 2, 5]);
        for bad in ["", "a", "2-1", "1-", "-1", "0,,1", "99999"] {
            assert!(set(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_survived(text in "[0-9, -]{0,12}|\\PC{0,8}") {
            let _ = set(&text);
        }
    }
}
