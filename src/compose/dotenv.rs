//! Files of variables, as `.env` and those of `env_file`.

use super::template::{Variables, substitute};
use std::collections::BTreeMap;

/// What is wrong with such a file: the line, and what.
pub type Wrong = (usize, String);

/// How such a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With quotes, escapes, comments and variables.
    Shell,
    /// Each line is a name and a value, as they are.
    Raw,
}

/// Adds what a file says to what was found; `variables` has what comes before that.
pub fn parse(
    text: &str,
    form: Form,
    variables: &Variables,
    found: &mut BTreeMap<String, String>,
) -> Result<(), Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match form {
        Form::Shell => shell(text, variables, found),
        Form::Raw => raw(text, variables, found),
    }
}

fn raw(
    text: &str,
    variables: &Variables,
    found: &mut BTreeMap<String, String>,
) -> Result<(), Wrong> {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, (variables.lookup)(line)),
        };
        if name.is_empty() {
            return Err((number, "a line has no name before its =".into()));
        }
        if name.contains(char::is_whitespace) {
            return Err((number, format!("the name {name:?} has a blank")));
        }
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(())
}

/// Blanks that end no line.
fn is_blank(letter: char) -> bool {
    letter != '\n' && letter.is_whitespace()
}

fn shell(
    text: &str,
    variables: &Variables,
    found: &mut BTreeMap<String, String>,
) -> Result<(), Wrong> {
    let line_of = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |at| &rest[at..]).trim_start();
            continue;
        }
        if let Some(after) = rest.strip_prefix("export")
            && after.starts_with(char::is_whitespace)
        {
            rest = after.trim_start_matches(is_blank);
        }
        let line = line_of(rest);
        let (name, after) = name(rest).map_err(|text| (line, text))?;
        let Some(after) = after else {
            rest = rest[name.len()..].trim_start();
            let name = name.trim_end();
            if let Some(value) = (variables.lookup)(name) {
                found.insert(name.to_owned(), value);
            }
            continue;
        };
        let name = name.trim_end();
        if name.contains(' ') {
            return Err((line, format!("the name {name:?} has a blank")));
        }
        let after = after.trim_start_matches(is_blank);
        let line = line_of(after);
        let lookup =
            |wanted: &str| (variables.lookup)(wanted).or_else(|| found.get(wanted).cloned());
        let known = Variables {
            lookup: &lookup,
            missing: variables.missing,
        };
        let expand = |text: &str| {
            substitute(text, &known).map_err(|wrong| (line, format!("{name}: {wrong}")))
        };
        let (value, behind) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (value, behind) = quoted(&after[1..], quote).ok_or_else(|| {
                    (
                        line,
                        format!("the value of {name} has no {quote} at its end"),
                    )
                })?;
                match quote {
                    '"' => (expand(&escapes(&value))?, behind),
                    _ => (value, behind),
                }
            }
            _ => {
                let (value, behind) = after.split_once('\n').unwrap_or((after, ""));
                let value = value.split(" #").next().unwrap_or_default().trim_end();
                (expand(value)?, behind)
            }
        };
        let name = name.to_owned();
        found.insert(name, value);
        rest = behind.trim_start();
    }
    Ok(())
}

/// The name that a text begins with, and what is behind its `=` or `:`; none if a line ends first.
fn name(text: &str) -> Result<(&str, Option<&str>), String> {
    for (at, letter) in text.char_indices() {
        match letter {
            '=' | ':' => return Ok((&text[..at], Some(&text[at + 1..]))),
            '\n' => return Ok((&text[..at], None)),
            '_' | '.' | '-' | '[' | ']' => {}
            letter if is_blank(letter) || letter.is_alphanumeric() => {}
            letter => {
                let line = text.lines().next().unwrap_or_default();
                return Err(format!("{letter:?} cannot be in a name: {line:?}"));
            }
        }
    }
    Ok((text, None))
}

/// What stands before the closing quote, and what is behind it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        if letter == quote && !is_escaped {
            return Some((value, &text[at + 1..]));
        }
        if letter == '\\' && !is_escaped {
            is_escaped = true;
            continue;
        }
        if is_escaped && letter != quote {
            value.push('\\');
        }
        is_escaped = false;
        value.push(letter);
    }
    None
}

/// What backslashes stand for between double quotes.
fn escapes(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.peek().copied() {
            Some('$') => out.push_str("$$"),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some(same @ ('"' | '\\')) => out.push(same),
            Some('0') => {
                letters.next();
                let mut digits = String::new();
                while let Some(digit) = letters.next_if(|d| d.is_digit(8) && digits.len() < 3) {
                    digits.push(digit);
                }
                match u8::from_str_radix(&digits, 8) {
                    Ok(byte) if digits.len() == 3 => out.push(char::from(byte)),
                    _ => out.push_str(&format!("\\0{digits}")),
                }
                continue;
            }
            _ => {
                out.push('\\');
                continue;
            }
        }
        letters.next();
    }
    out
}
