//! Patterns of the shell in `${NAME#PATTERN}` and the like: `*` and `?`, a backslash
//! before what stands for itself, no brackets.

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Exactly(char),
    One,
    Any,
}

/// A pattern and a text would take too long to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

/// How much may still be done.
struct Steps(u64);

impl Steps {
    fn new() -> Steps {
        Steps(50_000_000)
    }

    fn spend(&mut self, count: usize) -> Result<(), TooMuch> {
        self.0 = self.0.checked_sub(count as u64).ok_or(TooMuch)?;
        Ok(())
    }
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads one; every text is one.
    pub fn new(text: &str) -> Pattern {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' if pieces.last() == Some(&Piece::Any) => continue,
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Exactly(chars.next().unwrap_or('\\')),
                c => Piece::Exactly(c),
            });
        }
        Pattern(pieces)
    }

    /// How many characters at the start of `text` it matches: the fewest, or with
    /// `longest` the most. Time grows with the product of both lengths.
    fn prefix(
        &self,
        text: &[char],
        longest: bool,
        steps: &mut Steps,
    ) -> Result<Option<usize>, TooMuch> {
        // states[i]: the first i pieces match what was read so far.
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        self.skip_any(&mut states);
        let mut found = states[self.0.len()].then_some(0);
        for (read, c) in text.iter().enumerate() {
            if found.is_some() && !longest {
                break;
            }
            steps.spend(states.len())?;
            let mut next = vec![false; states.len()];
            for (i, piece) in self.0.iter().enumerate().filter(|(i, _)| states[*i]) {
                match piece {
                    Piece::Any => next[i] = true,
                    Piece::One => next[i + 1] = true,
                    Piece::Exactly(wanted) => next[i + 1] |= wanted == c,
                }
            }
            self.skip_any(&mut next);
            states = next;
            if states[self.0.len()] {
                found = Some(read + 1);
            }
            if !states.contains(&true) {
                break;
            }
        }
        Ok(found)
    }

    /// A star may match nothing.
    fn skip_any(&self, states: &mut [bool]) {
        for (i, piece) in self.0.iter().enumerate() {
            if states[i] && *piece == Piece::Any {
                states[i + 1] = true;
            }
        }
    }

    /// `text` without what the pattern matches at its start.
    ///
    /// # Errors
    /// It is too much work.
    pub fn strip_prefix(&self, text: &str, longest: bool) -> Result<String, TooMuch> {
        let text: Vec<char> = text.chars().collect();
        let matched = self.prefix(&text, longest, &mut Steps::new())?;
        Ok(text[matched.unwrap_or(0)..].iter().collect())
    }

    /// `text` without what the pattern matches at its end.
    ///
    /// # Errors
    /// It is too much work.
    pub fn strip_suffix(&self, text: &str, longest: bool) -> Result<String, TooMuch> {
        let reversed: Vec<char> = text.chars().rev().collect();
        let mirrored = Pattern(self.0.iter().rev().copied().collect());
        let matched = mirrored.prefix(&reversed, longest, &mut Steps::new())?;
        Ok(reversed[matched.unwrap_or(0)..].iter().rev().collect())
    }

    /// `text` with the first longest match, or `all` of them, replaced. An empty match
    /// is none.
    ///
    /// # Errors
    /// It is too much work.
    pub fn replace(&self, text: &str, with: &str, all: bool) -> Result<String, TooMuch> {
        let text: Vec<char> = text.chars().collect();
        let mut replaced = String::new();
        let mut steps = Steps::new();
        let mut at = 0;
        let mut done = false;
        while at < text.len() {
            let matched = match done {
                true => None,
                false => self
                    .prefix(&text[at..], true, &mut steps)?
                    .filter(|n| *n > 0),
            };
            match matched {
                Some(length) => {
                    replaced.push_str(with);
                    at += length;
                    done = !all;
                }
                None => {
                    replaced.push(text[at]);
                    at += 1;
                }
            }
        }
        Ok(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, TooMuch};

    #[test]
    fn prefixes_and_suffixes() {
        let name = "foo/bar/baz.tar.gz";
        for (pattern, longest, prefix, suffix) in [
            ("*/", false, "bar/baz.tar.gz", name),
            ("*/", true, "baz.tar.gz", name),
            (".*", false, name, "foo/bar/baz.tar"),
            (".*", true, name, "foo/bar/baz"),
            ("???", false, "/bar/baz.tar.gz", "foo/bar/baz.tar"),
            ("", true, name, name),
            ("*", true, "", ""),
            ("*", false, name, name),
            (r"\*", true, name, name),
            ("[f]", true, name, name),
        ] {
            let p = Pattern::new(pattern);
            assert_eq!(
                p.strip_prefix(name, longest).unwrap(),
                prefix,
                "{pattern} {longest}"
            );
            assert_eq!(
                p.strip_suffix(name, longest).unwrap(),
                suffix,
                "{pattern} {longest}"
            );
        }
    }

    #[test]
    fn replacements() {
        for (pattern, with, all, result) in [
            ("a", "A", false, "bAnana"),
            ("a", "A", true, "bAnAnA"),
            ("an*", "X", false, "bX"),
            ("?n", "-", true, "b--a"),
            ("", "X", true, "banana"),
            ("x", "Y", true, "banana"),
        ] {
            let replaced = Pattern::new(pattern).replace("banana", with, all);
            assert_eq!(replaced.unwrap(), result, "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let stars = "*a".repeat(200) + "b";
        let text = "a".repeat(400);
        assert_eq!(
            Pattern::new(&stars).strip_prefix(&text, true).unwrap(),
            text
        );
        let text = "a".repeat(60_000);
        assert_eq!(Pattern::new("a*b").replace(&text, "", true), Err(TooMuch));
    }
}
