//! Docker's `json-file`: `{"log":"text\n","stream":"stdout","time":"…"}`, one
//! object a line. Text in JSON is Unicode; where a record is not, the field
//! `bytes` has it once more in base 64, which other readers skip. Pure.

use super::Record;
use super::Stream;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Appends a record as a line.
pub fn encode(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend(b"{\"log\":\"");
    let whole = match std::str::from_utf8(record.data) {
        Ok(text) => {
            escape(out, text.as_bytes());
            true
        }
        Err(_) => {
            escape(out, String::from_utf8_lossy(record.data).as_bytes());
            false
        }
    };
    out.extend(b"\",\"stream\":\"");
    out.extend(record.stream.name().as_bytes());
    if !record.details.is_empty() {
        out.extend(b"\",\"attrs\":{");
        for (number, (key, value)) in record.details.iter().enumerate() {
            out.extend(if number == 0 { &b"\""[..] } else { &b",\""[..] });
            escape(out, key.as_bytes());
            out.extend(b"\":\"");
            escape(out, value.as_bytes());
            out.push(b'"');
        }
        out.extend(b"},\"time\":\"");
    } else {
        out.extend(b"\",\"time\":\"");
    }
    out.extend(record.time.as_bytes());
    if !whole {
        out.extend(b"\",\"bytes\":\"");
        base64(out, record.data);
    }
    out.extend(b"\"}\n");
}

/// Appends UTF-8 text as the inside of a JSON string (RFC 8259).
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' && *byte != 0x7f {
            continue;
        }
        out.extend(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            other => {
                let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
                out.extend([
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(other >> 4),
                    digit(other & 15),
                ]);
            }
        }
    }
    out.extend(&text[plain..]);
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends base 64 (RFC 4648, section 4).
fn base64(out: &mut Vec<u8>, data: &[u8]) {
    for group in data.chunks(3) {
        let at = |n: usize| u32::from(*group.get(n).unwrap_or(&0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            out.push(match n <= group.len() {
                true => DIGITS[(bits >> (18 - 6 * n) & 63) as usize],
                false => b'=',
            });
        }
    }
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = DIGITS.iter().position(|d| d == digit)?;
            bits = bits << 6 | value as u32;
        }
        bits <<= 6 * (4 - group.len());
        data.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(data)
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    stream: Stream,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: Timestamp,
    bytes: Option<String>,
}

/// Reads a line.
///
/// # Errors
/// It is not such an object: the writer was killed while it wrote.
pub fn decode(line: &[u8]) -> Result<super::read::Entry> {
    let line: Line = serde_json::from_slice(line)?;
    let data = match &line.bytes {
        Some(text) => unbase64(text).context("bytes: not base 64")?,
        None => line.log.into_bytes(),
    };
    Ok(super::read::Entry {
        time: line.time,
        stream: line.stream,
        data,
        details: line.attrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(data: &[u8], details: &BTreeMap<String, String>) -> String {
        let mut line = Vec::new();
        let record = Record {
            time: "2026-01-02T03:04:05.000000006Z",
            stream: Stream::Stderr,
            data,
            details,
        };
        encode(&mut line, &record);
        let entry = decode(&line).unwrap();
        assert_eq!(entry.data, data);
        assert_eq!(entry.stream, Stream::Stderr);
        assert_eq!(&entry.details, details);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn it_is_dockers_format() {
        let line = round("a\"\\\u{1}é\n".as_bytes(), &BTreeMap::new());
        assert_eq!(
            line,
            "{\"log\":\"a\\\"\\\\\\u0001é\\n\",\"stream\":\"stderr\",\
             \"time\":\"2026-01-02T03:04:05.000000006Z\"}\n"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_bytes_survive(data: Vec<u8>, key: String, value: String) {
            let line = round(&data, &BTreeMap::from([(key, value)]));
            prop_assert_eq!(line.matches('\n').count(), 1);
        }

        #[test]
        fn any_line_is_an_entry_or_an_error(line: Vec<u8>) {
            let _ = decode(&line);
        }
    }
}
