//! Sizes: `--shm-size`, `tmpfs-size=`, `max-size=`, `--max-layer-size`.

use anyhow::{Context, Result};

/// Reads a number of bytes as docker does: a suffix of `b`, `k`, `m`, `g`,
/// `t`, each a power of 1024.
pub fn bytes(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 't')) => (&lower[..at], 40),
        _ => (lower, 0),
    };
    let number: u64 = digits
        .parse()
        .ok()
        .with_context(|| format!("size '{text}': a number with b, k, m, g or t is wanted"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("size '{text}' is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, wanted) in [
            ("0", 0),
            ("7", 7),
            ("7b", 7),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("1GiB", 1 << 30),
            ("3k", 3 << 10),
            ("2t", 2 << 40),
        ] {
            assert_eq!(bytes(text).unwrap(), wanted, "{text}");
        }
        for (text, said) in [
            ("1x", "size '1x': a number with b, k, m, g or t is wanted"),
            ("", "size '': a number with b, k, m, g or t is wanted"),
            ("-1", "size '-1': a number with b, k, m, g or t is wanted"),
            ("99999999t", "size '99999999t' is too large"),
        ] {
            assert_eq!(bytes(text).unwrap_err().to_string(), said);
        }
    }
}
