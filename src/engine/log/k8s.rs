//! The log format of CRI, podman's `k8s-file`: `TIME STREAM F TEXT`, with `P`
//! for a record that the next one continues. Pure.

use super::Record;
use super::Stream;
use super::read::Entry;
use crate::error::refuse;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Appends a record as a line.
pub fn encode(out: &mut Vec<u8>, record: &Record<'_>) {
    let (data, tag) = match record.data.strip_suffix(b"\n") {
        Some(line) => (line, b" F "),
        None => (record.data, b" P "),
    };
    out.extend(record.time.as_bytes());
    out.push(b' ');
    out.extend(record.stream.name().as_bytes());
    out.extend(tag);
    out.extend(data);
    out.push(b'\n');
}

/// Reads a line.
///
/// # Errors
/// It is not of this form: the writer was killed while it wrote.
pub fn decode(line: &[u8]) -> Result<Entry> {
    let line = line.strip_suffix(b"\n").context("the line has no end")?;
    let mut parts = line.splitn(4, |b| *b == b' ');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let time = text().context("no time")?.parse()?;
    let stream = match text() {
        Some("stdout") => Stream::Stdout,
        Some("stderr") => Stream::Stderr,
        _ => refuse!(Invalid, "neither stdout nor stderr"),
    };
    let whole = match text() {
        Some("F") => true,
        Some("P") => false,
        _ => refuse!(Invalid, "neither F nor P"),
    };
    let mut data = parts.next().unwrap_or_default().to_vec();
    if whole {
        data.push(b'\n');
    }
    Ok(Entry {
        time,
        stream,
        data,
        details: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_bytes_survive(data: Vec<u8>, whole: bool) {
            let mut data: Vec<u8> = data.into_iter().filter(|b| *b != b'\n').collect();
            if whole {
                data.push(b'\n');
            }
            let mut line = Vec::new();
            let record = Record {
                time: "2026-01-02T03:04:05Z",
                stream: Stream::Stdout,
                data: &data,
                details: &BTreeMap::new(),
            };
            encode(&mut line, &record);
            prop_assert_eq!(decode(&line).unwrap().data, data);
        }

        #[test]
        fn any_line_is_an_entry_or_an_error(line: Vec<u8>) {
            let _ = decode(&line);
        }
    }
}
