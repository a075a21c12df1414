//! Amounts as docker's command line writes them. Pure.

use anyhow::{Context, Result, bail};

/// Length of the period in which a quota of processors is given, in
/// microseconds, unless another is asked for (the kernel's and docker's).
pub const PERIOD: u64 = 100_000;

/// The least memory that docker limits a container to.
pub const LEAST_MEMORY: u64 = 6 << 20;

/// Parses an amount of bytes: a number, with a unit in powers of 1024 (docker's
/// go-units: `b`, `k`, `m`, `g`, `t`, `p`, with `b` or `ib` behind it).
///
/// # Errors
/// Anything else; zero, less, and what does not fit.
pub fn bytes(text: &str) -> Result<u64> {
    let wrong = || format!("'{text}' is no amount of bytes: 512m or 1.5g is one");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let digits = digits.trim_end();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" if !unit.starts_with('i') => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => bail!(wrong()),
    };
    if digits.starts_with('-') {
        bail!("'{text}' is negative: leave the flag out for no limit");
    }
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if !digits.chars().all(plain) {
        bail!(wrong());
    }
    let count = match digits.parse::<u64>() {
        Ok(whole) => whole
            .checked_mul(1 << shift)
            .with_context(|| format!("'{text}' is more than any machine has"))?,
        Err(_) => {
            let value: f64 = digits.parse().ok().with_context(wrong)?;
            let value = value
                * f64::from(2u32.pow(shift.min(30)))
                * f64::from(1u32 << (shift.max(30) - 30));
            if value >= i64::MAX as f64 {
                bail!("'{text}' is more than any machine has");
            }
            value as u64
        }
    };
    if count == 0 {
        bail!("'{text}' is nothing: leave the flag out for no limit");
    }
    if i64::try_from(count).is_err() {
        bail!("'{text}' is more than any machine has");
    }
    Ok(count)
}

/// An amount of bytes, or `-1` for any.
pub fn bytes_or_unlimited(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => Ok(bytes(text)? as i64),
    }
}

/// A memory limit.
pub fn memory(text: &str) -> Result<i64> {
    let count = bytes(text)?;
    if count < LEAST_MEMORY {
        bail!("'{text}' is too little for a container: 6m is the least");
    }
    Ok(count as i64)
}

/// Processors, as `1.5`: microseconds in each [`PERIOD`].
pub fn cpus(text: &str) -> Result<i64> {
    let wrong = || format!("'{text}' is no number of processors: 0.5 or 2 is one");
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if text.starts_with('-') {
        bail!("'{text}' is negative: leave the flag out for no limit");
    }
    if !text.chars().all(plain) {
        bail!(wrong());
    }
    let count: f64 = text.parse().ok().with_context(wrong)?;
    let quota = (count * PERIOD as f64).round();
    if count == 0.0 {
        bail!("'{text}' is nothing: leave the flag out for no limit");
    }
    if quota < 1000.0 {
        bail!("'{text}' is too little: 0.01 is the least");
    }
    if quota > 1e15 {
        bail!("'{text}' is more than any machine has");
    }
    Ok(quota as i64)
}

/// A number in a range.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64> {
    let value = text.parse::<u64>().ok();
    value
        .filter(|n| (least..=most).contains(n))
        .with_context(|| format!("'{text}' is no number from {least} to {most}"))
}

/// How many processes: `-1` and 0 are any number (docker).
pub fn pids(text: &str) -> Result<i64> {
    match text {
        "-1" | "0" => Ok(-1),
        // The kernel's PID_MAX_LIMIT.
        _ => Ok(number(text, 1, 1 << 22)? as i64),
    }
}

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
            bail!(wrong());
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
    fn bytes_as_docker_reads_them() {
        for (text, count) in [
            ("1", 1),
            ("512k", 512 << 10),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1.5g", 3 << 29),
            ("2Tb", 2 << 40),
            ("0.5p", 1 << 49),
            ("10b", 10),
        ] {
            assert_eq!(bytes(text).unwrap(), count, "{text}");
        }
        for bad in [
            "", "m", "1x", "1ib", "-1m", "0", "0g", "1e3", "nan", "1.2.3", "9999999t", "+1", "1 2",
        ] {
            let error = bytes(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("'{bad}'")), "{error}");
        }
        assert_eq!(bytes_or_unlimited("-1").unwrap(), -1);
        assert!(memory("5m").is_err());
    }

    #[test]
    fn processors() {
        assert_eq!(cpus("1.5").unwrap(), 150_000);
        assert_eq!(cpus("0.1").unwrap(), 10_000);
        for bad in ["", "0", "-1", "x", "1.2.3", "0.001", "inf", "1e9"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(set("0-2,5,1").unwrap(), [0, 1, 2, 5]);
        for bad in ["", "a", "2-1", "1-", "-1", "0,,1", "99999"] {
            assert!(set(bad).is_err(), "{bad}");
        }
        assert_eq!((pids("-1").unwrap(), pids("7").unwrap()), (-1, 7));
        assert!(pids("-2").is_err() && pids("x").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_survived(text in "[0-9.,kmgtpib -]{0,12}|\\PC{0,8}") {
            let _ = (bytes(&text), cpus(&text), pids(&text), set(&text), bytes_or_unlimited(&text));
        }
    }
}
