//! How far something is, as docker's clients are told: a JSON object a line.

use crate::engine::view::words;
use crate::image::progress::{Meter, Progress};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::Once;
use std::time::{Duration, Instant};

/// Time between two lines about the same.
const PAUSE: Duration = Duration::from_millis(100);
/// How many characters a bar has.
const WIDTH: u64 = 50;

/// What is going on, and hence by which words it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Layers come.
    Pull,
    /// Blobs go.
    Push,
}

/// Lines on standard output.
pub struct Lines {
    way: Way,
    /// The first one, which is not written before there is something to tell: an
    /// error before that is an answer by itself.
    first: Value,
    begun: Once,
}

impl Lines {
    /// Lines that begin with this one.
    pub fn new(way: Way, first: Value) -> Lines {
        let begun = Once::new();
        Lines { way, first, begun }
    }

    /// The first line is written, if it was not.
    pub fn open(&self) {
        self.begun.call_once(|| say(&self.first));
    }
}

/// Writes a line. Whom nobody reads is ended by who made this process.
pub fn say(value: &Value) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{value}\r\n").and_then(|()| out.flush());
}

/// The last line of what failed.
pub fn failure(error: &anyhow::Error) -> Vec<u8> {
    let message = format!("{error:#}");
    let line = json!({"errorDetail": {"message": message}, "error": message});
    format!("{line}\r\n").into_bytes()
}

impl Progress for Lines {
    fn expect(&self, _: usize, _: u64) {
        self.open();
    }

    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Meter> {
        self.open();
        let status = match self.way {
            Way::Pull => "Pulling fs layer",
            Way::Push => "Preparing",
        };
        say(&json!({"status": status, "progressDetail": {}, "id": what}));
        Box::new(Line {
            way: self.way,
            what: what.to_owned(),
            total: bytes,
            seen: Mutex::new((0, Instant::now())),
        })
    }
}

/// A piece of work.
struct Line {
    way: Way,
    what: String,
    total: Option<u64>,
    /// Bytes, and when they were last told.
    seen: Mutex<(u64, Instant)>,
}

impl Meter for Line {
    fn advance(&self, bytes: u64) {
        let Ok(mut seen) = self.seen.lock() else {
            return;
        };
        seen.0 = seen.0.saturating_add(bytes);
        if seen.1.elapsed() > PAUSE {
            seen.1 = Instant::now();
            let status = match self.way {
                Way::Pull => "Downloading",
                Way::Push => "Pushing",
            };
            let mut line = json!({"status": status, "progressDetail": {"current": seen.0},
                "progress": bar(seen.0, self.total), "id": self.what});
            if let Some(total) = self.total {
                line["progressDetail"]["total"] = total.into();
            }
            say(&line);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let seen = self.seen.lock().map_or(0, |seen| seen.0);
        // What was given up is not complete.
        if self.total.is_none_or(|total| seen >= total) {
            let status = match self.way {
                Way::Pull => "Pull complete",
                Way::Push => "Pushed",
            };
            say(&json!({"status": status, "progressDetail": {}, "id": self.what}));
        }
    }
}

/// What clients print that do not draw themselves.
fn bar(current: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total >= current && *total > 0) else {
        return words::size(current);
    };
    let share = u128::from(current) * u128::from(WIDTH) / u128::from(total);
    let done = "=".repeat(usize::try_from(share).unwrap_or(0));
    let (current, total) = (words::size(current), words::size(total));
    let width = usize::try_from(WIDTH).unwrap_or(0) + 1;
    format!("[{:width$}] {current:>8}/{total}", done + ">")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn bars_are_of_one_length() {
        assert_eq!(bar(5, None), "5B");
        assert_eq!(bar(6, Some(5)), "6B");
        assert_eq!(
            bar(0, Some(1000)),
            format!("[>{}]       0B/1kB", " ".repeat(50))
        );
        assert_eq!(
            bar(1000, Some(1000)),
            format!("[{}>]      1kB/1kB", "=".repeat(50))
        );
        assert!(bar(u64::MAX - 1, Some(u64::MAX)).starts_with("[="));
    }

    #[test]
    fn what_fails_says_so_in_both_places() {
        let line = failure(&Kind::NotFound.says("no x").into());
        let wanted = "{\"error\":\"no x\",\"errorDetail\":{\"message\":\"no x\"}}\r\n";
        assert_eq!(String::from_utf8(line).unwrap(), wanted);
    }
}
