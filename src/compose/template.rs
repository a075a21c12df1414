//! Variables in the values of compose files: `$NAME`, `${NAME}` and what may stand behind the
//! name: `:-` `-` `:?` `?` `:+` `+`, whose words may have variables themselves.

/// How deep variables may be in the words of others.
const MAX_DEPTH: usize = 50;

/// What the variables are, and what was found missing.
pub struct Variables<'a> {
    /// The value of a name.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What gets told the names without a value, which stand for nothing.
    pub missing: &'a dyn Fn(&str),
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// What begins with `${` is no variable.
    Form,
    /// A variable that has to be there is not; what was said of it.
    Required(String, String),
    /// Too deep.
    Deep,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Wrong::Form => f.write_str(
                "what begins with ${ is no variable; ${NAME} and ${NAME:-word} are, and $$ is a $",
            ),
            Wrong::Required(name, word) if word.is_empty() => {
                write!(f, "the variable {name} has to be set")
            }
            Wrong::Required(name, word) => write!(f, "the variable {name} has to be set: {word}"),
            Wrong::Deep => f.write_str("variables are too deep in the words of others"),
        }
    }
}

/// What may stand behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    /// `-`: the word in place of no value.
    Default,
    /// `?`: the word is why there has to be one.
    Required,
    /// `+`: the word in place of a value.
    Instead,
}

/// A variable in braces, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Braced<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is behind it: a modifier, whether an empty value is as none, and the word.
    pub rest: Option<(Modifier, bool, &'a str)>,
    /// How long all of it is, from `${` to `}`.
    pub length: usize,
}

/// The text with its variables replaced.
pub fn substitute(text: &str, variables: &Variables) -> Result<String, Wrong> {
    expand(text, variables, 0)
}

fn expand(text: &str, variables: &Variables, depth: usize) -> Result<String, Wrong> {
    if depth > MAX_DEPTH {
        return Err(Wrong::Deep);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let after = &rest[1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if after.starts_with('{') {
            let braced = braced(rest).ok_or(Wrong::Form)?;
            out.push_str(&value(&braced, variables, depth)?);
            rest = &rest[braced.length..];
        } else {
            let length = name_length(after);
            if length == 0 {
                out.push('$');
            } else {
                out.push_str(&plain(&after[..length], variables));
            }
            rest = &after[length..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of a variable of which nothing else is said.
fn plain(name: &str, variables: &Variables) -> String {
    (variables.lookup)(name).unwrap_or_else(|| {
        (variables.missing)(name);
        String::new()
    })
}

/// The value of a variable in braces.
fn value(braced: &Braced, variables: &Variables, depth: usize) -> Result<String, Wrong> {
    let Some((modifier, empty_is_none, word)) = braced.rest else {
        return Ok(plain(braced.name, variables));
    };
    // The word is looked at whether it is needed or not, as compose does.
    let word = expand(word, variables, depth + 1)?;
    let own = (variables.lookup)(braced.name);
    let counts = own
        .as_ref()
        .is_some_and(|own| !(empty_is_none && own.is_empty()));
    match modifier {
        Modifier::Default if counts => Ok(own.unwrap_or_default()),
        Modifier::Default => Ok(word),
        Modifier::Required if counts => Ok(own.unwrap_or_default()),
        Modifier::Required => Err(Wrong::Required(braced.name.to_owned(), word)),
        Modifier::Instead if counts => Ok(word),
        Modifier::Instead => Ok(own.unwrap_or_default()),
    }
}

/// How many bytes at the beginning are a name.
fn name_length(text: &str) -> usize {
    let is_name = |(at, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
    };
    let letters = text.bytes().enumerate().take_while(|&pair| is_name(pair));
    letters.count()
}

/// The variable in braces that a text begins with.
pub fn braced(text: &str) -> Option<Braced<'_>> {
    let inner = text.strip_prefix("${")?;
    let length = name_length(inner);
    if length == 0 {
        return None;
    }
    let (name, behind) = inner.split_at(length);
    if behind.starts_with('}') {
        let length = 2 + length + 1;
        let rest = None;
        return Some(Braced { name, rest, length });
    }
    let (empty_is_none, behind) = match behind.strip_prefix(':') {
        Some(behind) => (true, behind),
        None => (false, behind),
    };
    let modifier = match behind.as_bytes().first()? {
        b'-' => Modifier::Default,
        b'?' => Modifier::Required,
        b'+' => Modifier::Instead,
        _ => return None,
    };
    let line = &text[..text.find('\n').unwrap_or(text.len())];
    let end = closing(line).or_else(|| line.rfind('}'))?;
    let start = text.len() - behind.len() + 1;
    let word = text.get(start..end)?;
    Some(Braced {
        name,
        rest: Some((modifier, empty_is_none, word)),
        length: end + 1,
    })
}

/// Where the brace is that closes the first one; braces in between count, whose ever they are.
fn closing(line: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                // What is right behind one does not count.
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The names in a text, each with its modifier and word, nested ones included.
pub fn names<'a>(text: &'a str, found: &mut Vec<(&'a str, Option<(Modifier, &'a str)>)>) {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at..];
        if rest[1..].starts_with('$') {
            rest = &rest[2..];
        } else if let Some(braced) = braced(rest) {
            found.push((braced.name, braced.rest.map(|(kind, _, word)| (kind, word))));
            if let Some((_, _, word)) = braced.rest.filter(|(_, _, word)| word.contains('$')) {
                names(word, found);
            }
            rest = &rest[braced.length..];
        } else {
            let length = name_length(&rest[1..]);
            if length > 0 {
                found.push((&rest[1..=length], None));
            }
            rest = &rest[1 + length..];
        }
    }
}
