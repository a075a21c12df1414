//! What the verbs print: tables and lines.

use std::io::{self, IsTerminal, Write};

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Whether who reads standard output is a person who wants colours (no-color.org).
pub fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}

/// A table with aligned columns, as docker prints them.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts with the column heads.
    pub fn new(heads: &[&str]) -> Table {
        Table {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    /// Starts without heads of columns.
    pub fn without_heads() -> Table {
        Table { rows: Vec::new() }
    }

    /// Adds a row. What an image says of itself moves no cursor.
    pub fn row(&mut self, mut cells: Vec<String>) {
        for cell in &mut cells {
            if cell.contains(char::is_control) {
                *cell = cell.escape_debug().to_string();
            }
        }
        self.rows.push(cells);
    }

    /// Writes the table; columns are as wide as their widest cell and three
    /// blanks apart.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}   "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Prints the table. A reader that went away (`| head`) is no error.
    pub fn print(&self) -> io::Result<()> {
        closed_is_fine(self.write(&mut io::stdout().lock()))
    }
}

/// Prints a line. A reader that went away is no error.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    closed_is_fine(writeln!(io::stdout().lock(), "{text}"))
}

/// A reader that went away is no error.
pub fn closed_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(vec!["wide é".to_owned(), String::new()]);
        table.row(vec![String::new(), "x\x1b".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "A        LONG\nwide é\n         x\\u{1b}\n"
        );
    }
}
