//! `--format` in Go's text/template, whole, with docker's functions, over JSON
//! values. Pure, and bounded in what it does: templates are input.
//!
//! What docker prints depends on Go's types, which JSON does not have: a map has
//! no entry and an object no field, which is an error. `value` has a table of
//! docker's maps. A field that is merely empty is never an error here, though it is in docker.

mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
mod value;

use self::parser::Tree;
use crate::error::Kind;
use anyhow::Error;
use serde_json::Value;
use std::fmt;
use std::ops::Range;

/// A template, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: String,
    /// Where what is no `table` begins.
    start: usize,
    tree: Tree,
}

/// Something that is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: Range<usize>,
    says: String,
}

impl Fault {
    fn new(place: Range<usize>, says: impl Into<String>) -> Fault {
        let says = says.into();
        Fault { place, says }
    }
}

/// A template that cannot be understood, whatever it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl Template {
    /// Reads a template. `\t` and `\n` between braces stand for what they do in
    /// C; if it begins with `table`, it is for one.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn parse(text: &str) -> Result<Template, Malformed> {
        let start = match text.strip_prefix("table") {
            Some("") => text.len(),
            Some(rest) if rest.starts_with([' ', '\t', '\n']) => {
                text.len() - rest.trim_start().len()
            }
            Some(rest) if rest.starts_with("\\t") || rest.starts_with("\\n") => {
                text.len() - rest.len() + 2
            }
            _ => 0,
        };
        match parser::parse(&text[start..]) {
            Ok(tree) => Ok(Template {
                source: text.to_owned(),
                start,
                tree,
            }),
            Err(fault) => Err(Malformed(shown(text, start, &fault))),
        }
    }

    /// Whether it began with `table`.
    pub fn is_table(&self) -> bool {
        self.start > 0
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// The value has not what it asks for, or it takes too long.
    pub fn render(&self, value: &Value) -> Result<String, Error> {
        eval::render(&self.tree, value).map_err(|fault| self.error(&fault))
    }

    /// The heads of its columns, with tabs between; `head` names them by the
    /// fields that they show.
    ///
    /// # Errors
    /// As of [`Template::render`].
    pub fn heads(&self, head: &dyn Fn(&str) -> String) -> Result<String, Error> {
        eval::heads(&self.tree, head).map_err(|fault| self.error(&fault))
    }

    fn error(&self, fault: &Fault) -> Error {
        Kind::Invalid
            .says(shown(&self.source, self.start, fault))
            .into()
    }
}

/// A fault with its line and column, the line itself, and a mark below.
fn shown(source: &str, start: usize, fault: &Fault) -> String {
    let at = source.floor_char_boundary(start + fault.place.start);
    let end = source.floor_char_boundary(start + fault.place.end);
    let begins = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = source[begins..].lines().next().unwrap_or_default();
    let number = source[..at].matches('\n').count() + 1;
    let column = source[begins..at].chars().count();
    let in_line = line.chars().count().saturating_sub(column);
    let marks = source[at..end.max(at)].chars().count().min(in_line).max(1);
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!(
        "template: {number}:{}: {}\n  {line}\n  {}{}",
        column + 1,
        fault.says,
        " ".repeat(column),
        "^".repeat(marks),
    )
}

#[cfg(test)]
mod tests;
