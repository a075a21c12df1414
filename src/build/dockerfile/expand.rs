//! Variables, quotes and escapes in an instruction's words.

use super::pattern::{Pattern, TooMuch};
use std::collections::BTreeSet;

/// How deep `${A:-${B:-…}}` may go.
const MAX_DEPTH: usize = 64;

/// How long a text may get, in bytes.
const MAX_LENGTH: usize = 1 << 20;

/// What becomes of quotes and of what has no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Quotes mean nothing, as in a heredoc.
    pub ignores_quotes: bool,
    /// Quotes and escapes count, and stay in the result.
    pub keeps_quotes: bool,
    /// A variable without a value stays as it was written.
    pub keeps_unset: bool,
}

/// How words are expanded: what escapes, and what variables have for values.
pub struct Expander<'a> {
    /// `\`, or what `# escape=` says.
    pub escape: char,
    /// The value of a variable.
    pub value: &'a dyn Fn(&str) -> Option<String>,
    /// What is kept.
    pub keeping: Keeping,
}

/// A text that was expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// As one word.
    pub text: String,
    /// Its words: what is neither quoted nor escaped is split at blanks.
    pub words: Vec<String>,
    /// Variables that have no value and were used without a word for that case.
    pub unset: BTreeSet<String>,
}

impl Expander<'_> {
    /// Expands a text.
    ///
    /// # Errors
    /// Its syntax, as a text for people; a variable that has to have a value has none.
    pub fn expand(&self, text: &str) -> Result<Expanded, String> {
        let mut state = State {
            expander: self,
            chars: text.chars().collect(),
            at: 0,
            depth: 0,
            expanded: Expanded::default(),
            word: None,
        };
        let text = state.until(None, false, true)?;
        let mut expanded = state.expanded;
        expanded.words.extend(state.word);
        expanded.text = text;
        Ok(expanded)
    }
}

struct State<'a> {
    expander: &'a Expander<'a>,
    chars: Vec<char>,
    at: usize,
    depth: usize,
    expanded: Expanded,
    /// The word that has begun.
    word: Option<String>,
}

impl State<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Adds to the words: what may be split at blanks, or not.
    fn add(&mut self, text: &str, splits: bool) {
        if !splits {
            self.word.get_or_insert_default().push_str(text);
            return;
        }
        for c in text.chars() {
            match c.is_whitespace() {
                true => self.expanded.words.extend(self.word.take()),
                false => self.word.get_or_insert_default().push(c),
            }
        }
    }

    /// Expands up to `stop`, which is taken too, or to the end. `raw` keeps escapes,
    /// as patterns need them; `top` says that it is no part of a variable.
    fn until(&mut self, stop: Option<char>, raw: bool, top: bool) -> Result<String, String> {
        let mut result = String::new();
        loop {
            let Some(c) = self.peek() else {
                return match stop {
                    None => Ok(result),
                    Some(_) => Err(MISSING_BRACE.into()),
                };
            };
            if stop == Some(c) {
                self.at += 1;
                return Ok(result);
            }
            let Keeping {
                ignores_quotes,
                keeps_quotes,
                ..
            } = self.expander.keeping;
            let (piece, splits) = match c {
                '$' => (self.variable()?, true),
                '\'' if !ignores_quotes => (self.single(keeps_quotes)?, false),
                '"' if !ignores_quotes => (self.double(keeps_quotes)?, false),
                c if c == self.expander.escape => {
                    self.at += 1;
                    let mut piece = String::new();
                    let next = self.next();
                    if raw || keeps_quotes {
                        piece.push(c);
                    }
                    if next.is_none() && !(raw || keeps_quotes) {
                        continue;
                    }
                    piece.extend(next);
                    (piece, false)
                }
                c => {
                    self.at += 1;
                    (c.to_string(), true)
                }
            };
            if top {
                self.add(&piece, splits);
            }
            result.push_str(&piece);
            if result.len() > MAX_LENGTH {
                return Err(format!("a value is longer than {MAX_LENGTH} bytes"));
            }
        }
    }

    fn single(&mut self, keeps: bool) -> Result<String, String> {
        self.at += 1;
        let rest = &self.chars[self.at..];
        let Some(length) = rest.iter().position(|&c| c == '\'') else {
            return Err(
                "unexpected end of statement while looking for matching single-quote".into(),
            );
        };
        let inner: String = rest[..length].iter().collect();
        self.at += length + 1;
        Ok(match keeps {
            true => format!("'{inner}'"),
            false => inner,
        })
    }

    fn double(&mut self, keeps: bool) -> Result<String, String> {
        self.at += 1;
        let mut inner = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(
                    "unexpected end of statement while looking for matching double-quote".into(),
                );
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(match keeps {
                        true => format!("\"{inner}\""),
                        false => inner,
                    });
                }
                '$' => inner.push_str(&self.variable()?),
                c if c == self.expander.escape => {
                    self.at += 1;
                    // Before others it stands for itself.
                    let special = self.peek().filter(|&n| matches!(n, '"' | '$') || n == c);
                    if keeps || special.is_none() {
                        inner.push(c);
                    }
                    if let Some(next) = special {
                        self.at += 1;
                        inner.push(next);
                    }
                }
                c => {
                    self.at += 1;
                    inner.push(c);
                }
            }
        }
    }

    /// The name of a variable; a number and what the shell has for itself are names.
    fn name(&mut self) -> String {
        let rest = &self.chars[self.at..];
        let digits = rest.iter().take_while(|c| c.is_numeric()).count();
        let special = |c: &char| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        let length = match rest.first() {
            Some(c) if special(c) => 1,
            _ if digits > 0 => digits,
            _ => rest
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .count(),
        };
        self.at += length;
        self.chars[self.at - length..self.at].iter().collect()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        (self.expander.value)(name)
    }

    fn variable(&mut self) -> Result<String, String> {
        let start = self.at;
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".into(),
                false => self.plain(&name, start),
            });
        }
        self.at += 1;
        match self.peek() {
            None => return Err(MISSING_BRACE.into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "variables in each other, more than {MAX_DEPTH} deep"
            ));
        }
        let name = self.name();
        let value = self.modified(&name, start)?;
        self.depth -= 1;
        Ok(value)
    }

    /// `$NAME` or `${NAME}`, which began at `start`.
    fn plain(&mut self, name: &str, start: usize) -> String {
        match self.value(name) {
            Some(value) => value,
            None => {
                self.expanded.unset.insert(name.to_owned());
                match self.expander.keeping.keeps_unset {
                    true => self.written(start),
                    false => String::new(),
                }
            }
        }
    }

    fn written(&self, start: usize) -> String {
        self.chars[start..self.at].iter().collect()
    }

    /// The rest of `${NAME…}`, which began at `start`.
    fn modified(&mut self, name: &str, start: usize) -> Result<String, String> {
        let unsupported =
            |modifier: &str| Err(format!("unsupported modifier ({modifier}) in substitution"));
        let first = self.next();
        let (modifier, colon) = match first {
            None => return Err(MISSING_BRACE.into()),
            Some('}') => return Ok(self.plain(name, start)),
            Some(':') => (self.next(), true),
            Some(c) => (Some(c), false),
        };
        let Some(modifier) = modifier else {
            return Err(MISSING_BRACE.into());
        };
        if colon && !matches!(modifier, '-' | '+' | '?') {
            return unsupported(&format!(":{modifier}"));
        }
        let value = self.value(name);
        let unset = value.is_none();
        // With a colon, an empty value counts as none.
        let given = value.clone().filter(|v| !(colon && v.is_empty()));
        let result = match modifier {
            '-' | '+' | '?' => {
                let word = self.until(Some('}'), false, false)?;
                match (modifier, given) {
                    ('+', Some(_)) => word,
                    ('+', None) => String::new(),
                    (_, Some(value)) => value,
                    ('-', None) => word,
                    (_, None) if self.expander.keeping.keeps_unset => String::new(),
                    (_, None) => {
                        let state = if unset { "unset" } else { "empty" };
                        return Err(match word.is_empty() {
                            true => format!("{name}: not allowed to be {state}"),
                            false => format!("{name}: {word}"),
                        });
                    }
                }
            }
            '#' | '%' => {
                let longest = self.peek() == Some(modifier);
                self.at += usize::from(longest);
                let pattern = Pattern::new(&self.until(Some('}'), true, false)?);
                let value = value.unwrap_or_default();
                match modifier {
                    '#' => pattern.strip_prefix(&value, longest),
                    _ => pattern.strip_suffix(&value, longest),
                }
                .map_err(too_much)?
            }
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = Pattern::new(&self.until(Some('/'), true, false)?);
                let with = self.until(Some('}'), true, false)?;
                let replaced = pattern.replace(&value.unwrap_or_default(), &with, all);
                replaced.map_err(too_much)?
            }
            other => return unsupported(&other.to_string()),
        };
        match unset && self.expander.keeping.keeps_unset {
            true => Ok(self.written(start)),
            false => Ok(result),
        }
    }
}

const MISSING_BRACE: &str = "syntax error: missing '}'";

fn too_much(_: TooMuch) -> String {
    "a pattern and a value take too long to compare".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        let value = match name {
            "X" => "foo/bar/baz.tar.gz",
            "E" => "",
            "W" => "a  b",
            "1" => "one",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expander(keeping: Keeping) -> Expander<'static> {
        Expander {
            escape: '\\',
            value: &value,
            keeping,
        }
    }

    fn expand(text: &str) -> Result<String, String> {
        let expanded = expander(Keeping::default()).expand(text);
        expanded.map(|expanded| expanded.text)
    }

    #[test]
    fn modifiers() {
        for (text, result) in [
            ("${X:+y}", "y"),
            ("${X#*/}", "bar/baz.tar.gz"),
            ("${X##*/}", "baz.tar.gz"),
            ("${X%.*}", "foo/bar/baz.tar"),
            ("${X%%.*}", "foo/bar/baz"),
            ("${X/bar/Q}", "foo/Q/baz.tar.gz"),
            ("${X//a/A}", "foo/bAr/bAz.tAr.gz"),
            (r"${X//\//_}", "foo_bar_baz.tar.gz"),
            ("${N:-d}", "d"),
            ("${N-d}", "d"),
            ("${N+z}", ""),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${E+z}", "z"),
            ("${X:+${E:-in}}", "in"),
            ("${X:?no}", "foo/bar/baz.tar.gz"),
            ("${1}$1", "oneone"),
            ("$N.t", ".t"),
            ("$$", ""),
            ("a$", "a$"),
            ("$", "$"),
            ("${N:-'a b'}", "a b"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn faults() {
        for (text, says) in [
            ("${N:?need it}", "N: need it"),
            ("${N?}", "N: not allowed to be unset"),
            ("${E:?}", "E: not allowed to be empty"),
            ("${X:=q}", "unsupported modifier (:=) in substitution"),
            ("${X:#q}", "unsupported modifier (:#) in substitution"),
            ("${X^^}", "unsupported modifier (^) in substitution"),
            ("${X", "syntax error: missing '}'"),
            ("${", "syntax error: missing '}'"),
            ("${X:-a", "syntax error: missing '}'"),
            ("${X/a}", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${{X}}", "syntax error: bad substitution"),
            (
                "'a",
                "unexpected end of statement while looking for matching single-quote",
            ),
            (
                "\"a",
                "unexpected end of statement while looking for matching double-quote",
            ),
        ] {
            assert_eq!(expand(text), Err(says.to_owned()), "{text}");
        }
        assert!(expand(&("${N:-".repeat(1000) + &"}".repeat(1000))).is_err());
        let long = "x".repeat(MAX_LENGTH / 2 + 1);
        assert!(
            expand(&format!("{long}{long}"))
                .unwrap_err()
                .contains("longer than")
        );
    }

    #[test]
    fn quotes_and_escapes() {
        for (text, result) in [
            (r"a\nb", "anb"),
            (r#""a\nb""#, r"a\nb"),
            (r"'a\nb$X'", r"a\nb$X"),
            (r#""a\$X""#, "a$X"),
            (r"a\\b", r"a\b"),
            (r#""a\"b""#, "a\"b"),
            (r#"a\"b"#, "a\"b"),
            (r"\$X", "$X"),
            (r"a\", "a"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn words_split_where_nothing_is_quoted() {
        let words = |text: &str| expander(Keeping::default()).expand(text).unwrap().words;
        assert_eq!(
            words(r#" a $W "$W" 'c d' e\ f "" "#),
            ["a", "a", "b", "a  b", "c d", "e f", ""]
        );
        assert_eq!(words("$N"), [""; 0]);
    }

    #[test]
    fn what_is_kept() {
        let heredoc = Keeping {
            ignores_quotes: true,
            ..Keeping::default()
        };
        let kept = expander(heredoc).expand(r#"v=$E ${N:-q} \$V "q'"#).unwrap();
        assert_eq!(kept.text, r#"v= q $V "q'"#);
        let raw = Keeping {
            keeps_quotes: true,
            keeps_unset: true,
            ..Keeping::default()
        };
        let text = r#"a\ b "c $N" 'd' ${N:-x}"#;
        let kept = expander(raw).expand(text).unwrap();
        assert_eq!(kept.text, text);
        assert_eq!(kept.words, [r"a\ b", r#""c $N""#, "'d'", "${N:-x}"]);
    }

    #[test]
    fn what_has_no_value_is_told() {
        let expanded = expander(Keeping::default())
            .expand("$N ${M} ${O:-x} $X")
            .unwrap();
        assert_eq!(expanded.unset.into_iter().collect::<Vec<_>>(), ["M", "N"]);
    }
}
