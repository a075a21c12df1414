//! What is wrong with a Dockerfile, and where.

use std::fmt;

/// Lines of a Dockerfile, counted from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lines {
    /// The first.
    pub first: usize,
    /// The last.
    pub last: usize,
}

impl Lines {
    /// One line.
    pub fn one(line: usize) -> Lines {
        Lines {
            first: line,
            last: line,
        }
    }
}

/// An error in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The instruction's lines, or the one that it is about.
    pub lines: Lines,
    /// The word that it is about, as it was written, if it is about one.
    pub word: Option<String>,
    /// What is wrong.
    pub text: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Fault {
    /// A fault that says this.
    pub fn new(lines: Lines, text: impl Into<String>) -> Fault {
        Fault {
            lines,
            word: None,
            text: text.into(),
            meant: None,
        }
    }

    /// It is about this word.
    pub fn at(mut self, word: impl Into<String>) -> Fault {
        self.word = Some(word.into());
        self
    }

    /// This was probably meant.
    pub fn meant(mut self, word: Option<&str>) -> Fault {
        self.meant = word.map(str::to_owned);
        self
    }

    /// Line and column, from 1, of what it is about: of the word if the text has it
    /// in these lines, else of the first line's first letter. Columns are characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let lines = text.split('\n').zip(1..);
        let mut lines = lines.skip(self.lines.first - 1);
        let mut start = (self.lines.first, 1);
        while let Some((line, number)) = lines.next().filter(|(_, n)| *n <= self.lines.last) {
            if number == self.lines.first {
                let blanks = line.len() - line.trim_start().len();
                start.1 = line[..blanks].chars().count() + 1;
            }
            let found = self.word.as_ref().and_then(|word| line.find(word.as_str()));
            if let Some(at) = found {
                return (number, line[..at].chars().count() + 1);
            }
        }
        start
    }

    /// The error with file, line and column, and the lines it is about.
    pub fn show(&self, file: &str, text: &str) -> String {
        let (line, column) = self.position(text);
        format!(
            "{file}:{line}:{column}: {self}\n{}",
            excerpt(text, self.lines, Some((line, column)))
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.meant {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// Lines of a text with their numbers, with up to two before and one behind them, the
/// lines themselves marked, and below one of them a caret.
pub fn excerpt(text: &str, lines: Lines, caret: Option<(usize, usize)>) -> String {
    const RULE: &str = "--------------------\n";
    // A heredoc may be long: its beginning is enough.
    let last = lines.last.min(lines.first + 7);
    let from = lines.first.saturating_sub(2).max(1);
    let mut shown = String::from(RULE);
    for (line, number) in text.split('\n').zip(1..).skip(from - 1) {
        if number > last + 1 {
            break;
        }
        let mark = match (lines.first..=last).contains(&number) {
            true => ">>>",
            false => "   ",
        };
        let line = printable(line.trim_end_matches('\r'));
        shown += &format!("{number:4} | {mark} {line}\n");
        if let Some((_, column)) = caret.filter(|(at, _)| *at == number) {
            shown += &format!("     |     {}^\n", " ".repeat(column - 1));
        }
    }
    shown + RULE
}

/// A line without what a terminal would obey, and not longer than people read.
fn printable(line: &str) -> String {
    const LONGEST: usize = 200;
    let visible = line.chars().take(LONGEST).map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    let mut shown: String = visible.collect();
    if line.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_where_it_is() {
        let text = "FROM a\nRUN x \\\n  --foo\nCMD b\n";
        let fault = Fault::new(Lines { first: 2, last: 3 }, "unknown flag: --foo").at("--foo");
        assert_eq!(fault.position(text), (3, 3));
        assert_eq!(
            fault.meant(Some("--fee")).show("D", text),
            "D:3:3: unknown flag: --foo (did you mean --fee?)\n\
             --------------------\n   1 |     FROM a\n   2 | >>> RUN x \\\n   3 | >>>   --foo\n     \
             |       ^\n   4 |     CMD b\n--------------------\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        let text = "RUN \u{1b}[2J\u{7}";
        let shown = excerpt(text, Lines::one(1), None);
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
            "{shown:?}"
        );
    }
}
