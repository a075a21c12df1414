//! `.dockerignore`: which files of a context are left out. Patterns are those of Go's
//! `filepath.Match` and `**`, relative to the context.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// This character.
    Exactly(char),
    /// `?`: one character of a name.
    One,
    /// `[…]`: one character of these ranges, or of none of them.
    Class(Vec<(char, char)>, bool),
    /// `*`: any of a name.
    Any,
    /// `**`: any of a path.
    Deep,
    /// `**/`: nothing, or any that ends with a slash.
    DeepSlash,
}

/// A pattern for one name, as Go's `filepath.Match` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Piece>);

impl Glob {
    /// Reads it; None if it is malformed.
    pub fn parse(pattern: &str) -> Option<Glob> {
        Some(Glob(pieces(pattern)?))
    }

    /// Whether a name is one.
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

/// A line that says what is left out, or taken in again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pieces: Vec<Piece>,
    includes: bool,
}

/// What is left out of a context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

/// A line that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub text: String,
}

impl Ignore {
    /// Reads the file's lines.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn parse(text: &str) -> Result<Ignore, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.starts_with('#') {
                continue;
            }
            let bad = |text: &str| BadPattern {
                line: number,
                text: text.to_owned(),
            };
            let pattern = line.trim();
            let (includes, pattern) = match pattern.strip_prefix('!') {
                Some("") => return Err(bad("illegal exclusion pattern: \"!\"")),
                Some(pattern) => (true, pattern.trim()),
                None => (false, pattern),
            };
            let cleaned = clean(pattern);
            if pattern.is_empty() || cleaned.is_empty() {
                continue;
            }
            let pieces = pieces(&cleaned)
                .ok_or_else(|| bad(&format!("syntax error in pattern: {pattern}")))?;
            rules.push(Rule { pieces, includes });
        }
        Ok(Ignore { rules })
    }

    /// Patterns that are flags' values, each a line's.
    ///
    /// # Errors
    /// As [`Ignore::parse`].
    pub fn of_patterns(patterns: &[String]) -> Result<Ignore, BadPattern> {
        let mut rules = Vec::new();
        for pattern in patterns {
            // Only in a file does # begin a comment.
            let text = format!(" {}", pattern.replace('\n', " "));
            rules.extend(Ignore::parse(&text)?.rules);
        }
        Ok(Ignore { rules })
    }

    /// Whether a path, relative to the context, is left out. The last rule that matches
    /// it or a directory above it decides.
    pub fn is_ignored(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            if rule.includes == ignored && matches(&rule.pieces, path) {
                ignored = !rule.includes;
            }
        }
        ignored
    }

    /// Whether nothing below a directory that is left out can be taken in again, so that
    /// nobody needs to look.
    pub fn is_closed(&self, directory: &str) -> bool {
        self.is_ignored(directory) && !self.rules.iter().any(|rule| rule.includes)
    }
}

/// A path without `.`, `..` and slashes at its ends, which means the context's root.
fn clean(pattern: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}

/// The pieces of a pattern; None for one that Go calls malformed.
fn pieces(pattern: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                while chars.next_if_eq(&'*').is_some() {}
                match chars.next_if_eq(&'/') {
                    Some(_) => Piece::DeepSlash,
                    None => Piece::Deep,
                }
            }
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Exactly(chars.next()?),
            '[' => class(&mut chars)?,
            c => Piece::Exactly(c),
        });
    }
    Some(pieces)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.peek() != Some(&']') {
        let first = member(chars)?;
        let last = match chars.next_if_eq(&'-') {
            Some(_) => member(chars)?,
            None => first,
        };
        ranges.push((first, last));
    }
    chars.next();
    Some(Piece::Class(ranges, negated))
}

fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

/// Whether pieces match a whole path, or one above it. Time grows with the product of
/// both lengths.
fn matches(pieces: &[Piece], path: &str) -> bool {
    let mut states = vec![false; pieces.len() + 1];
    states[0] = true;
    skip(pieces, &mut states, true);
    for c in path.chars() {
        if c == '/' && states[pieces.len()] {
            return true;
        }
        let mut next = vec![false; states.len()];
        for (i, piece) in pieces.iter().enumerate().filter(|(i, _)| states[*i]) {
            match piece {
                Piece::Exactly(wanted) => next[i + 1] |= *wanted == c,
                Piece::One => next[i + 1] |= c != '/',
                Piece::Class(ranges, negated) => {
                    let within = ranges.iter().any(|(a, z)| (*a..=*z).contains(&c));
                    next[i + 1] |= c != '/' && within != *negated;
                }
                Piece::Any => next[i] |= c != '/',
                Piece::Deep => next[i] = true,
                Piece::DeepSlash => {
                    next[i] = true;
                    next[i + 1] |= c == '/';
                }
            }
        }
        // What `**/` has begun to take must end with a slash.
        skip(pieces, &mut next, c == '/');
        states = next;
    }
    states[pieces.len()]
}

/// What may match nothing does; `**/` only where a name begins.
fn skip(pieces: &[Piece], states: &mut [bool], at_name: bool) {
    for (i, piece) in pieces.iter().enumerate() {
        let empty = match piece {
            Piece::Any | Piece::Deep => true,
            Piece::DeepSlash => at_name,
            _ => false,
        };
        if states[i] && empty {
            states[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).unwrap().is_ignored(path)
    }

    #[test]
    fn patterns() {
        for (rules, path, left_out) in [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a", true),
            ("./a//b/../c", "a/c", true),
            ("../x", "x", true),
            ("/", "a", false),
            (".", "a", false),
            ("*.o", "x.o", true),
            ("*.o", "d/x.o", false),
            ("**/*.o", "x.o", true),
            ("**/*.o", "d/e/x.o", true),
            ("d/**", "d/e", true),
            ("d/**", "d", false),
            ("s/**", "s/t/u", true),
            ("**", "a/b", true),
            ("a**b", "a/x/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("#a\n b ", "b", true),
            ("#a", "#a", false),
            (" #a", "#a", true),
            ("**/a/b", "xa/b", false),
            ("**/a/b", "x/a/b", true),
        ] {
            assert_eq!(ignored(rules, path), left_out, "{rules:?} {path}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        for (path, left_out) in [
            ("a", true),
            ("a/x", true),
            ("a/b", false),
            ("a/b/c", false),
            ("a/b/c.o", true),
        ] {
            assert_eq!(ignored("*\n! a/b\n**/*.o", path), left_out, "{path}");
        }
        let all = Ignore::parse("a\n!a/b").unwrap();
        assert!(!all.is_closed("a"));
        assert!(Ignore::parse("a").unwrap().is_closed("a"));
    }

    #[test]
    fn faults() {
        for (text, line, says) in [
            ("a\n!", 2, "illegal exclusion pattern: \"!\""),
            ("[a", 1, "syntax error in pattern: [a"),
            ("[]a]", 1, "syntax error in pattern: []a]"),
            ("a\\", 1, "syntax error in pattern: a\\"),
        ] {
            let text = Ignore::parse(text).unwrap_err();
            assert_eq!((text.line, text.text.as_str()), (line, says));
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let stars = "**/a".repeat(2000);
        assert!(!ignored(&stars, &"a/".repeat(1000)));
    }
}
