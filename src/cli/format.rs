//! `--format`: a table, JSON, or a template, the same for all lists.

use super::output::{self, Table};
use super::template::Template;
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::Value;

/// A form of output.
#[derive(Debug, Clone)]
pub enum Form {
    /// The verb's own table.
    Table,
    /// A JSON list.
    Json,
    /// A line for each row.
    Template(Template),
}

impl std::str::FromStr for Form {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Form> {
        Ok(match text {
            "table" | "" => Form::Table,
            "json" => Form::Json,
            template => Form::Template(
                // In one line, for it is a flag's error.
                Template::parse(template).map_err(|why| anyhow!("{why:#}"))?,
            ),
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
    match form {
        Form::Template(template) => by_template(template, found, head),
        _ => Ok(output::line(serde_json::to_string_pretty(found)?)?),
    }
}

/// Prints what the engine shows as a list, but for a table.
pub fn list(form: &Form, shown: impl IntoIterator<Item = impl Serialize>) -> Result<()> {
    let values = shown.into_iter().map(value);
    found(form, &values.collect::<Result<Vec<_>>>()?)
}

/// Prints rows by a template; `head` names the columns.
pub fn by_template(
    template: &Template,
    rows: &[Value],
    head: impl Fn(&str) -> String,
) -> Result<()> {
    if !template.table {
        return rows
            .iter()
            .try_for_each(|row| Ok(output::line(template.render(row)?)?));
    }
    let fields = template.fields();
    let heads = fields
        .iter()
        .map(|field| field.as_deref().map(&head).unwrap_or_default());
    let heads: Vec<String> = heads.collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
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
