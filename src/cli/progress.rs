//! Progress bars, on a terminal only.

use std::io::{IsTerminal, stderr};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::image::progress::{Meter, Progress, Quiet};

/// Bars on standard error if that is a terminal, else nothing.
pub fn new(quiet: bool) -> Box<dyn Progress> {
    if quiet || !stderr().is_terminal() {
        Box::new(Quiet)
    } else {
        Box::new(Bars(MultiProgress::new()))
    }
}

/// One bar below the other for all work that goes on at once.
struct Bars(MultiProgress);

impl Progress for Bars {
    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Meter> {
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{prefix:16} {wide_bar} {bytes}/{total_bytes} {eta}",
            ),
            None => (
                ProgressBar::no_length(),
                "{prefix:16} {spinner} {bytes} {bytes_per_sec}",
            ),
        };
        let bar = self.0.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Box::new(Bar(bar))
    }
}

struct Bar(ProgressBar);

impl Meter for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
