//! Docker's words for sizes, times and texts.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// At most `width` characters of a text; what is cut off leaves an ellipsis.
pub fn ellipsis(text: &str, width: usize) -> String {
    match text.char_indices().nth(width.saturating_sub(1)) {
        Some((at, last)) if at + last.len_utf8() < text.len() => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

/// A text in quotes on one line, as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if c == '\'' || is_printable(c) => quoted.push(c),
            c if c.is_ascii() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether it is a letter, a mark, a number, punctuation, a symbol or the
/// blank.
fn is_printable(c: char) -> bool {
    // A mark is one only behind something that it can mark.
    format!("x{c}").escape_debug().nth(2).is_none()
}

/// A size in bytes for people, in powers of a thousand with three digits, as
/// docker shows it: `1.23MB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + units[unit]
}

/// A size in bytes for people, in powers of 1024, as docker shows memory:
/// `1.50KiB`.
pub fn binary(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = match value {
        v if unit == 0 || v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    };
    text + units[unit]
}

/// How long ago something was, in docker's words: `3 hours ago`. What is not
/// a time is shown as nothing.
pub fn age(created: Option<&str>, now: Timestamp) -> String {
    let created = created.and_then(|text| text.parse::<Timestamp>().ok());
    created.map_or_else(String::new, |created| {
        duration(now.as_second().saturating_sub(created.as_second())) + " ago"
    })
}

/// A number of seconds in docker's words: `About an hour`.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 46 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Labels in one line, as docker's lists show them.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

/// A time; where there is none, what Go has for that.
pub fn time_or_zero<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => time.serialize(serializer),
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_read_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (117_900_000, "118MB"),
            (12_340_000_000, "12.3GB"),
            (999_900, "1MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.50KiB"),
            (200 << 20, "200MiB"),
            (5 << 40, "5.00TiB"),
            (5 << 50, "5120TiB"),
        ] {
            assert_eq!(binary(bytes), text);
        }
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 21, "3 weeks"),
            (86400 * 90, "3 months"),
            (86400 * 365 * 3, "3 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(age(Some("2026-01-01T22:00:00Z"), now), "2 hours ago");
        assert_eq!(age(None, now), "");
    }

    #[test]
    fn texts_are_quoted_and_cut_as_docker_does() {
        for (text, quoted) in [
            ("sh -c 'a b'", r#""sh -c 'a b'""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\nb\tc\rd", r#""a\nb\tc\rd""#),
            ("\x07\x08\x0b\x0c\x1b[31m\x7f", r#""\a\b\v\f\x1b[31m\x7f""#),
            ("é e\u{301} 漢 😀", "\"é e\u{301} 漢 😀\""),
            (
                "\u{85}\u{a0}\u{202e}\u{feff}",
                r#""\u0085\u00a0\u202e\ufeff""#,
            ),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(ellipsis("12345678901234567890", 20), "12345678901234567890");
        assert_eq!(
            ellipsis("123456789012345678901", 20),
            "1234567890123456789…"
        );
        assert_eq!(ellipsis("é".repeat(21).as_str(), 20), "é".repeat(19) + "…");
        assert_eq!(ellipsis("", 20), "");
    }
}
