//! Points and spans of time as docker's users type them. Pure.

use crate::error::{Kind, OrKind};
use anyhow::{Context, Result};
use jiff::Timestamp;

pub use crate::image::duration::parse_duration;

/// Reads a point in time: RFC 3339, a date with or without time (UTC),
/// seconds since 1970, or how long before `now` it was.
///
/// # Errors
/// Of [`Kind::Invalid`]: it is none of these.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    time(text, now).or_kind(Kind::Invalid)
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let fail =
        || format!("time '{text}': RFC 3339, seconds since 1970 or a duration like 10m is wanted");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = (seconds * 1e9) as i128;
        return Timestamp::from_nanosecond(nanos).ok().with_context(fail);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        return time.map(|time| time.timestamp()).ok().with_context(fail);
    }
    let ago = parse_duration(text).ok().with_context(fail)?;
    now.checked_sub(ago).ok().with_context(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
            ("2026-01-01T12:00:00+01:00", "2026-01-01T11:00:00Z"),
            ("2026-01-01T12:00:00", "2026-01-01T12:00:00Z"),
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("1767225600", "2026-01-01T00:00:00Z"),
            ("24h", "2026-01-01T00:00:00Z"),
        ] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(parse_time(text, now).unwrap(), time, "{text}");
        }
        assert!(parse_time("yesterday", now).is_err());
    }
}
