//! Sizes, wherever docker has one: `--memory`, `--shm-size`, `tmpfs-size=`,
//! `max-size=`, `--max-layer-size`.

use crate::error::{refusal, refuse};
use anyhow::Result;

/// Reads a number of bytes as docker's go-units does: with a unit in powers of
/// 1024 (`b`, `k`, `m`, `g`, `t`, `p`, with `b` or `ib` behind it) and, if there is
/// one, with a fraction.
///
/// # Errors
/// Anything else; what does not fit.
pub fn bytes(text: &str) -> Result<u64> {
    let wrong = || {
        refusal!(
            Invalid,
            "'{text}' is no amount of bytes: a number with b, k, m, g, t or p is wanted, as \
             512m or 1.5g"
        )
    };
    let large = || refusal!(Invalid, "'{text}' is more than any machine has");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let digits = digits.trim_end();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    if !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(large);
    }
    let value: f64 = digits.parse().map_err(|_| wrong())?;
    let value = value * (1u64 << shift) as f64;
    match value < u64::MAX as f64 {
        true => Ok(value as u64),
        false => refuse!(Invalid, "'{text}' is more than any machine has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, wanted) in [
            ("0", 0),
            ("7", 7),
            ("7b", 7),
            ("512k", 512 << 10),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GiB", 1 << 30),
            ("1.5g", 3 << 29),
            ("2Tb", 2 << 40),
            ("0.5p", 1 << 49),
        ] {
            assert_eq!(bytes(text).unwrap(), wanted, "{text}");
        }
        for bad in [
            "", "m", "1x", "1ib", "-1", "1e3", "nan", "1.2.3", "+1", "1 2", ".", "1kk", "1mibb",
        ] {
            let error = bytes(bad).unwrap_err();
            assert_eq!(Kind::said(&error), Some(Kind::Invalid));
            let says = format!("'{bad}' is no amount of bytes");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
        for large in ["99999999t", "99999999999999999999999", "17000000.5t"] {
            let error = bytes(large).unwrap_err().to_string();
            assert!(error.ends_with("more than any machine has"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_survived(text in "[0-9.,kmgtpib -]{0,12}|\\PC{0,8}") {
            let _ = bytes(&text);
        }
    }
}
