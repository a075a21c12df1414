//! An instruction's text taken apart: keyword, flags, words, pairs of name and value,
//! lists in JSON. Nothing is expanded here, and quotes stay where expansion needs them.

/// Blanks between words of a line; a line break in what continues is none.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// An instruction's keyword, its flags, and the rest.
pub fn instruction(line: &str) -> (&str, Vec<String>, &str) {
    let line = line.trim();
    let Some(end) = line.find(is_blank) else {
        return (line, Vec::new(), "");
    };
    let (flags, rest) = flags(line[end..].trim_start_matches(is_blank));
    (&line[..end], flags, rest.trim())
}

/// The flags that a text starts with, without quotes, and what follows them. The word
/// `--` ends them.
fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start();
        if !start.starts_with("--") {
            return (flags, start);
        }
        let (word, behind) = flag(start);
        rest = behind;
        if word == "--" {
            return (flags, rest);
        }
        flags.push(word);
    }
}

/// The first word of a text that starts with one, without its quotes, and the rest. A
/// backslash takes the meaning from the character behind it, whatever `# escape=` says.
fn flag(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, &text[at..]),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('\\', _) => word.extend(chars.next().map(|(_, c)| c)),
            (c, _) => word.push(c),
        }
    }
    (word, "")
}

/// The words of a text, at blanks.
pub fn blanks(text: &str) -> Vec<String> {
    let words = text.split(is_blank).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The words of a text, at blanks outside quotes; quotes and `escape` stay in them.
pub fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        if c == escape && quote != Some('\'') {
            // One at the very end means nothing.
            if let Some(next) = chars.next() {
                word.push(c);
                word.push(next);
            }
            continue;
        }
        match quote {
            Some(q) if q == c => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    words.extend(word);
    words
}

/// Why a text is no list of pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairsError {
    /// There is a name alone.
    NoValue,
    /// This word has no `=`.
    NoEquals(String),
}

/// A name with its value as it was written.
pub type Pair = (String, String);

/// `NAME=VALUE…`, or `NAME VALUE` as of old: the pairs, and whether it was the old
/// form.
///
/// # Errors
/// It is neither.
pub fn pairs(text: &str, escape: char) -> Result<(Vec<Pair>, bool), PairsError> {
    let words = quoted(text, escape);
    let Some(first) = words.first() else {
        return Ok((Vec::new(), false));
    };
    if !first.contains('=') {
        let (name, value) = text.split_once(is_blank).ok_or(PairsError::NoValue)?;
        let value = value.trim_start_matches(is_blank);
        return Ok((vec![(name.to_owned(), value.to_owned())], true));
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(PairsError::NoEquals(word)),
    };
    let pairs: Result<_, _> = words.into_iter().map(pair).collect();
    Ok((pairs?, false))
}

/// What looks like a list in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// It is none.
    None,
    /// A list of strings.
    Strings(Vec<String>),
    /// A list that has something else in it.
    Other,
}

/// Reads a list in JSON; what follows it is ignored, as BuildKit does.
pub fn json(text: &str) -> List {
    use serde_json::Value;
    let text = text.trim_start();
    if !text.starts_with('[') {
        return List::None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let Some(Ok(Value::Array(values))) = values.next() else {
        return List::None;
    };
    let strings = values.into_iter().map(|value| match value {
        Value::String(text) => Some(text),
        _ => None,
    });
    match strings.collect() {
        Some(strings) => List::Strings(strings),
        None => List::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyword_flags_and_rest() {
        for (line, keyword, flags, rest) in [
            ("RUN", "RUN", &[][..], ""),
            ("run   a  b ", "run", &[], "a  b"),
            ("RUN --a=b  --c d --e", "RUN", &["--a=b", "--c"], "d --e"),
            ("RUN -- --foo", "RUN", &[], "--foo"),
            (
                r#"RUN --x="a b"\ c 'd e' f"#,
                "RUN",
                &["--x=a b c"],
                "'d e' f",
            ),
            ("COPY -x --y", "COPY", &[], "-x --y"),
            ("RUN\t--a\tb", "RUN", &["--a"], "b"),
        ] {
            let found = instruction(line);
            assert_eq!((found.0, found.2), (keyword, rest), "{line}");
            assert_eq!(found.1, flags, "{line}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        for (text, words) in [
            ("", &[][..]),
            (r#"a="b c" d"#, &[r#"a="b c""#, "d"]),
            (r"a=b\ c d", &[r"a=b\ c", "d"]),
            (r"'a\' b", &[r"'a\'", "b"]),
            (r#""a\" b" c\"#, &[r#""a\" b""#, "c"]),
            ("'a b", &["'a b"]),
            (r#"a="""#, &[r#"a="""#]),
        ] {
            assert_eq!(quoted(text, '\\'), words, "{text}");
        }
        assert_eq!(quoted("a` b c", '`'), ["a` b", "c"]);
    }

    #[test]
    fn pairs_of_both_forms() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let modern = pairs(r#"A=1 B="x y" C="#, '\\').unwrap();
        assert_eq!(
            modern,
            (
                vec![pair("A", "1"), pair("B", r#""x y""#), pair("C", "")],
                false
            )
        );
        let old = pairs("A  b c  d ", '\\').unwrap();
        assert_eq!(old, (vec![pair("A", "b c  d ")], true));
        assert_eq!(pairs("A", '\\'), Err(PairsError::NoValue));
        assert_eq!(pairs("A=1 B", '\\'), Err(PairsError::NoEquals("B".into())));
        assert_eq!(pairs("", '\\').unwrap().0, []);
    }

    #[test]
    fn lists_in_json() {
        let list = |words: &[&str]| List::Strings(words.iter().map(|&w| w.to_owned()).collect());
        assert_eq!(json(r#" [ "a", "b\u0041" ] junk"#), list(&["a", "bA"]));
        assert_eq!(json("[]"), list(&[]));
        assert_eq!(json(r#"["a", 5]"#), List::Other);
        assert_eq!(json("[a]"), List::None);
        assert_eq!(json(r#"["a""#), List::None);
        assert_eq!(json("echo"), List::None);
    }
}
