//! The steps of a build, for people.

use crate::build::report::Report;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Instant;

/// Steps as lines: a number, and what is said of it.
pub struct Steps {
    is_quiet: bool,
    /// When steps began, and what of a line they have printed.
    open: Mutex<HashMap<usize, (Instant, Vec<u8>)>>,
}

/// Longest line of output that is shown as one, in bytes.
const LINE: usize = 4096;

impl Steps {
    /// None of them; quiet ones say nothing.
    pub fn new(is_quiet: bool) -> Steps {
        Steps {
            is_quiet,
            open: Mutex::new(HashMap::new()),
        }
    }

    fn say(&self, number: usize, text: &str) {
        if !self.is_quiet {
            // Who does not listen any more still gets the image.
            let _ = writeln!(io::stderr(), "#{number} {text}");
        }
    }

    /// The seconds that a step took, and the rest of its output.
    fn close(&self, number: usize) -> f64 {
        let step = self.open.lock().expect("no thread panics").remove(&number);
        let Some((begun, rest)) = step else {
            return 0.0;
        };
        let took = begun.elapsed().as_secs_f64();
        if !rest.is_empty() {
            self.say(number, &format!("{took:.3} {}", shown(&rest)));
        }
        took
    }
}

/// A line without what a terminal would obey.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let visible = |c: &char| !c.is_control() || matches!(c, '\t' | '\u{1b}');
    text.chars().filter(visible).collect()
}

impl Report for Steps {
    fn begin(&self, number: usize, what: &str) {
        let mut open = self.open.lock().expect("no thread panics");
        open.insert(number, (Instant::now(), Vec::new()));
        drop(open);
        self.say(number, what.lines().next().unwrap_or_default());
    }

    fn output(&self, number: usize, text: &[u8]) {
        let mut open = self.open.lock().expect("no thread panics");
        let Some((begun, line)) = open.get_mut(&number) else {
            return;
        };
        for byte in text {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() == LINE {
                let took = begun.elapsed().as_secs_f64();
                self.say(number, &format!("{took:.3} {}", shown(line)));
                line.clear();
            }
        }
    }

    fn cached(&self, number: usize) {
        self.close(number);
        self.say(number, "CACHED");
    }

    fn done(&self, number: usize) {
        let took = self.close(number);
        self.say(number, &format!("DONE {took:.1}s"));
    }
}
