//! Words of a Dockerfile's instruction: quotes, backslashes and variables
//! (Dockerfile reference, "Environment replacement"). Pure.

use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use std::iter::Peekable;
use std::str::Chars;

/// How deep a default may be of other defaults.
const MAX_DEPTH: usize = 32;

/// What a variable is, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Splits at blanks that are neither quoted nor escaped; the words keep quotes
/// and backslashes.
///
/// # Errors
/// A quote that is not closed, a backslash before nothing.
pub fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut braces = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(c);
                word.push(chars.next().context("nothing follows the last backslash")?);
                continue;
            }
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('$', _) if chars.peek() == Some(&'{') => braces += 1,
            ('}', _) if braces > 0 => braces -= 1,
            (c, None) if c.is_whitespace() && braces == 0 => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    demand!(Invalid, quote.is_none(), "a quote is not closed");
    words.extend((!word.is_empty()).then_some(word));
    Ok(words)
}

/// A text without its quotes and backslashes, variables replaced by what they
/// are: `$NAME`, `${NAME}`, and with `:-`, `:+`, `:?` a default, a
/// replacement or an error, which without the colon are for what is not set at
/// all.
///
/// # Errors
/// A quote or a brace that is not closed, an unknown form, what `?` says.
pub fn expand(text: &str, lookup: Lookup) -> Result<String> {
    let mut expander = Expander {
        chars: text.chars().peekable(),
        lookup,
        depth: 0,
    };
    expander.until(None)
}

struct Expander<'a> {
    chars: Peekable<Chars<'a>>,
    lookup: Lookup<'a>,
    depth: usize,
}

impl Expander<'_> {
    /// Reads up to `end`, which is taken, or to the end of all.
    fn until(&mut self, end: Option<char>) -> Result<String> {
        let mut out = String::new();
        loop {
            match self.chars.next() {
                None if end.is_none() => return Ok(out),
                None => refuse!(Invalid, "a '{{' is not closed"),
                Some(c) if Some(c) == end => return Ok(out),
                Some('\'') => loop {
                    match self.chars.next().context("a quote is not closed")? {
                        '\'' => break,
                        c => out.push(c),
                    }
                },
                Some('"') => self.quoted(&mut out)?,
                Some('$') => out.push_str(&self.variable()?),
                Some('\\') => {
                    let next = self.chars.next();
                    out.push(next.context("nothing follows the last backslash")?);
                }
                Some(c) => out.push(c),
            }
        }
    }

    /// What is in double quotes, of which the first is taken.
    fn quoted(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.chars.next().context("a quote is not closed")? {
                '"' => return Ok(()),
                '$' => out.push_str(&self.variable()?),
                '\\' => match self.chars.next().context("a quote is not closed")? {
                    c @ ('"' | '$' | '\\') => out.push(c),
                    c => out.extend(['\\', c]),
                },
                c => out.push(c),
            }
        }
    }

    /// What stands for a variable, behind the `$`.
    fn variable(&mut self) -> Result<String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => (self.lookup)(&name).unwrap_or_default(),
            });
        }
        let name = self.name();
        demand!(
            Invalid,
            !name.is_empty(),
            "a variable's name is missing in ${{…}}"
        );
        let value = (self.lookup)(&name);
        let colon = self.chars.next_if_eq(&':').is_some();
        let value = value.filter(|value| !(colon && value.is_empty()));
        let operator = match self.chars.next() {
            Some('}') if !colon => return Ok(value.unwrap_or_default()),
            Some(operator @ ('-' | '+' | '?')) => operator,
            Some(c) => refuse!(
                Invalid,
                "${{{name}…: '{c}' is not supported; there are :-, :+ and :?"
            ),
            None => refuse!(Invalid, "a '{{' is not closed"),
        };
        self.depth += 1;
        demand!(
            Invalid,
            self.depth <= MAX_DEPTH,
            "variables within variables, too many of them"
        );
        let word = self.until(Some('}'))?;
        self.depth -= 1;
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => refuse!(Invalid, "{name}: it is not set"),
            (_, None) => refuse!(Invalid, "{name}: {word}"),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let digits = self.chars.peek().is_some_and(char::is_ascii_digit);
        let part = |c: &char| match digits {
            true => c.is_ascii_digit(),
            false => c.is_ascii_alphanumeric() || *c == '_',
        };
        while let Some(c) = self.chars.next_if(part) {
            name.push(c);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(name: &str) -> Option<String> {
        match name {
            "X" => Some("x y".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_what_docker_makes_of_them() {
        for (text, wanted) in [
            ("$X", "x y"),
            ("${X}/a", "x y/a"),
            ("a$X.b", "ax y.b"),
            ("$NONE|${NONE}", "|"),
            ("\"$X\" '$X' \\$X", "x y $X $X"),
            ("\"\\$X \\a \\\"\"", "$X \\a \""),
            ("${NONE:-d $X}", "d x y"),
            ("${EMPTY:-d}|${EMPTY-d}|${NONE-d}", "d||d"),
            ("${X:+s}|${EMPTY:+s}|${EMPTY+s}|${NONE+s}", "s||s|"),
            ("${NONE:-${EMPTY:-${X}}}", "x y"),
            ("${X:?e}", "x y"),
            ("$ $- 5$", "$ $- 5$"),
            ("$1a", "a"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &known).unwrap(), wanted, "{text}");
        }
        for (text, word) in [
            ("${NONE:?give it}", "NONE: give it"),
            ("${NONE?}", "not set"),
            ("${X", "not closed"),
            ("${}", "name is missing"),
            ("${X#x}", "'#' is not supported"),
            ("\"x", "quote"),
            ("'x", "quote"),
        ] {
            let error = expand(text, &known).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        let words = split(r#"A=1  "b c"=d\ e ${X:-f g}"#).unwrap();
        assert_eq!(words, ["A=1", "\"b c\"=d\\ e", "${X:-f g}"]);
        assert!(split("\"a").is_err() && split("a\\").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_survived(text in "[$ {}:?+XY\"'a-]{0,60}\\PC{0,5}") {
            let _ = (expand(&text, &known), split(&text));
        }
    }
}
