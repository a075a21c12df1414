//! `--format`: a table, JSON, or a template, the same for all verbs.

use super::output::{self, Table};
use super::template::{Malformed, Template};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A form of output.
#[derive(Debug, Clone)]
pub enum Form {
    /// The verb's own table.
    Table,
    /// JSON: of lists a line for each.
    Json,
    /// A template, not read yet: one that is wrong is no wrong flag.
    Template(String),
}

/// A template for one thing that cannot be understood, for which docker has an
/// exit code of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(Malformed);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreadable {}

impl Form {
    /// The template for one thing at a time, if it is one.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn template_of_one(&self) -> Result<Option<Template>, Unreadable> {
        match self {
            Form::Template(text) => Template::parse(text).map(Some).map_err(Unreadable),
            _ => Ok(None),
        }
    }
}

impl std::str::FromStr for Form {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Form, Self::Err> {
        Ok(match text {
            "table" | "" => Form::Table,
            "json" => Form::Json,
            template => Form::Template(template.to_owned()),
        })
    }
}

/// What the engine shows, as templates and JSON take it: with its fields in the
/// order of their names.
///
/// # Errors
/// It is none that JSON knows.
pub fn value(shown: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(shown)?)
}

/// Prints what `inspect` found: a JSON list, or a line for each by a template.
pub fn found(form: &Form, found: &[Value]) -> Result<()> {
    match form.template_of_one()? {
        Some(template) => by_template(&template, found, head),
        None => Ok(output::line(serde_json::to_string_pretty(found)?)?),
    }
}

/// Prints what the engine shows as a list, but for a table; `head` names the
/// columns of a template's.
pub fn list(
    form: &Form,
    shown: impl IntoIterator<Item = impl Serialize>,
    head: impl Fn(&str) -> String,
) -> Result<()> {
    let mut values = shown.into_iter().map(value);
    match form {
        Form::Template(template) => {
            let template = Template::parse(template)?;
            by_template(&template, &values.collect::<Result<Vec<_>>>()?, head)
        }
        _ => values.try_for_each(|row| Ok(output::line(row?)?)),
    }
}

/// Prints one value, but for a table.
pub fn one(form: &Form, shown: impl Serialize) -> Result<()> {
    let value = value(shown)?;
    match form.template_of_one()? {
        Some(template) => by_template(&template, &[value], head),
        None => Ok(output::line(value)?),
    }
}

/// Prints rows by a template; `head` names the columns.
pub fn by_template(
    template: &Template,
    rows: &[Value],
    head: impl Fn(&str) -> String,
) -> Result<()> {
    if !template.is_table() {
        return rows
            .iter()
            .try_for_each(|row| Ok(output::line(template.render(row)?)?));
    }
    let heads = template.heads(&head)?;
    let heads: Vec<&str> = heads.split('\t').collect();
    let mut table = Table::new(&heads);
    for row in rows {
        let line = template.render(row)?;
        table.row(line.split('\t').map(str::to_owned).collect());
    }
    Ok(table.print()?)
}

/// A field's name as the head of a column: `RunningFor` is `RUNNING FOR`.
pub fn head(field: &str) -> String {
    let mut head = String::new();
    let mut lower = false;
    for c in field.chars() {
        if c.is_uppercase() && lower {
            head.push(' ');
        }
        lower = c.is_lowercase();
        head.extend(c.to_uppercase());
    }
    head
}
