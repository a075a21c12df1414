//! How far work is: bars on a terminal, or lines for programs.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::image::progress::{Meter, Progress, Quiet};

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars if standard error is a terminal, else not at all.
    #[default]
    Auto,
    /// A line of JSON now and then.
    Json,
    /// Not at all.
    None,
}

/// Bars on standard error if that is a terminal, else nothing.
pub fn new(quiet: bool) -> Box<dyn Progress> {
    with(if quiet { Mode::None } else { Mode::Auto })
}

/// Progress of the wanted kind.
pub fn with(mode: Mode) -> Box<dyn Progress> {
    match mode {
        Mode::Auto if stderr().is_terminal() => Box::new(Bars::default()),
        Mode::Json => Box::new(Lines),
        Mode::Auto | Mode::None => Box::new(Quiet),
    }
}

/// One bar below the other for all work that goes on at once, and one for the
/// total if it is known.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    total: Mutex<Option<ProgressBar>>,
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

const BAR: &str = "{prefix:16} {wide_bar} {bytes}/{total_bytes} {eta}";

impl Progress for Bars {
    fn expect(&self, pieces: usize, bytes: u64) {
        if pieces < 2 {
            return;
        }
        let bar = self.all.add(ProgressBar::new(bytes));
        style(&bar, BAR);
        bar.set_prefix("total");
        let earlier = self.total.lock().expect("no thread panics").replace(bar);
        earlier.inspect(ProgressBar::finish_and_clear);
    }

    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Meter> {
        let total = self.total.lock().expect("no thread panics").clone();
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), BAR),
            None => (
                ProgressBar::no_length(),
                "{prefix:16} {spinner} {bytes} {bytes_per_sec}",
            ),
        };
        let bar = match &total {
            Some(total) => self.all.insert_before(total, bar),
            None => self.all.add(bar),
        };
        style(&bar, template);
        bar.set_prefix(what.to_owned());
        Box::new(Bar { bar, total })
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let total = self.total.lock().ok().and_then(|mut total| total.take());
        total.inspect(ProgressBar::finish_and_clear);
    }
}

struct Bar {
    bar: ProgressBar,
    total: Option<ProgressBar>,
}

impl Meter for Bar {
    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.total.iter().for_each(|total| total.inc(bytes));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Lines of JSON on standard error: `{"id":…,"current":…,"total":…}`, several
/// in a second at most for each piece, and one with `"done":true` at its end.
struct Lines;

/// Time between two lines about the same.
const PAUSE: Duration = Duration::from_millis(200);

impl Progress for Lines {
    fn expect(&self, pieces: usize, bytes: u64) {
        print(&json!({ "layers": pieces, "total": bytes }));
    }

    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Meter> {
        let line = Line {
            what: what.to_owned(),
            total: bytes,
            current: AtomicU64::new(0),
            last: Arc::new(Mutex::new(Instant::now())),
        };
        line.show(false);
        Box::new(line)
    }
}

struct Line {
    what: String,
    total: Option<u64>,
    current: AtomicU64,
    last: Arc<Mutex<Instant>>,
}

impl Line {
    fn show(&self, done: bool) {
        let current = self.current.load(Ordering::Relaxed);
        let mut line = json!({ "id": self.what, "current": current, "total": self.total });
        if done {
            line["done"] = json!(true);
        }
        print(&line);
    }
}

impl Meter for Line {
    fn advance(&self, bytes: u64) {
        self.current.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut last) = self.last.try_lock()
            && last.elapsed() > PAUSE
        {
            *last = Instant::now();
            self.show(false);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.show(true);
    }
}

/// Nobody who reads is no error.
fn print(line: &serde_json::Value) {
    let _ = writeln!(stderr().lock(), "{line}");
}
