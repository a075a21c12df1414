//! From the text of a template to its words, each with where it stands.

use super::Fault;
use std::ops::Range;

/// A word of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// What stands outside of braces.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    /// A keyword, `true`, `nil` or the name of a function.
    Word(String),
    Int(i64),
    Float(f64),
    Quoted(String),
    Left,
    Right,
    Bar,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// Blanks between two words, which part what is written without any:
    /// `(x).Y` is not `(x) .Y`.
    Space,
}

/// A word and its bytes in the template.
pub type Placed = (Token, Range<usize>);

/// Takes a template apart.
///
/// # Errors
/// Something between braces is no word.
pub fn lex(source: &str) -> Result<Vec<Placed>, Fault> {
    let mut lexer = Lexer {
        source,
        at: 0,
        words: Vec::new(),
    };
    lexer.text()?;
    Ok(lexer.words)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    words: Vec<Placed>,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token, length: usize) {
        self.words.push((token, self.at..self.at + length));
        self.at += length;
    }

    /// All text and all that stands in braces, to the end.
    fn text(&mut self) -> Result<(), Fault> {
        let mut trim = false;
        loop {
            let rest = self.rest();
            let length = rest.find("{{").unwrap_or(rest.len());
            let unescaped = rest[..length].replace("\\t", "\t").replace("\\n", "\n");
            let mut text = unescaped.as_str();
            if trim {
                text = text.trim_start_matches(is_blank);
            }
            let opened = rest.get(length + 2..).unwrap_or_default();
            let trims = opened
                .strip_prefix('-')
                .is_some_and(|s| s.starts_with(is_blank));
            if trims {
                text = text.trim_end_matches(is_blank);
            }
            if !text.is_empty() {
                self.words
                    .push((Token::Text(text.to_owned()), self.at..self.at + length));
            }
            self.at += length;
            if length == rest.len() {
                return Ok(());
            }
            let start = self.at;
            let inner = start + if trims { 4 } else { 2 };
            if self.source[inner..].starts_with("/*") {
                trim = self.comment(start, inner)?;
                continue;
            }
            self.push(Token::Open, inner - start);
            trim = self.action(start)?;
        }
    }

    /// Passes a comment; whether the text behind it is trimmed.
    fn comment(&mut self, start: usize, inner: usize) -> Result<bool, Fault> {
        let Some(length) = self.source[inner + 2..].find("*/") else {
            return Err(Fault::new(
                start..inner + 2,
                "this comment is not closed by */",
            ));
        };
        self.at = inner + 2 + length + 2;
        match self.closing() {
            Some((length, trims)) => {
                self.at += length;
                Ok(trims)
            }
            None => Err(Fault::new(
                start..self.at,
                "a comment is alone in its braces: {{/* … */}}",
            )),
        }
    }

    /// The length of the closing braces, if they are next, and whether they trim.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        let trimming = rest.starts_with(is_blank) && rest[1..].starts_with("-}}");
        match trimming {
            true => Some((4, true)),
            false => rest.starts_with("}}").then_some((2, false)),
        }
    }

    /// What stands in braces; whether the text behind them is trimmed.
    fn action(&mut self, start: usize) -> Result<bool, Fault> {
        let mut depth: usize = 0;
        loop {
            if let Some((length, trims)) = self.closing() {
                if depth > 0 {
                    return Err(Fault::new(start..self.at, "'(' without ')'"));
                }
                self.push(Token::Close, length);
                return Ok(trims);
            }
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(Fault::new(start..start + 2, "'{{' without '}}'"));
            };
            let next = rest[c.len_utf8()..].chars().next();
            match c {
                c if is_blank(c) => {
                    let length = rest.len() - rest.trim_start_matches(is_blank).len();
                    // Closing braces may trim, and have a blank of their own.
                    let length = match rest[length..].starts_with("-}}") {
                        true => length - 1,
                        false => length,
                    };
                    if length == 0 {
                        continue;
                    }
                    self.push(Token::Space, length);
                }
                '(' => {
                    depth += 1;
                    self.push(Token::Left, 1);
                }
                ')' if depth == 0 => {
                    return Err(Fault::new(self.at..self.at + 1, "')' without '('"));
                }
                ')' => {
                    depth -= 1;
                    self.push(Token::Right, 1);
                }
                '|' => self.push(Token::Bar, 1),
                ',' => self.push(Token::Comma, 1),
                ':' if next == Some('=') => self.push(Token::Declare, 2),
                '=' => self.push(Token::Assign, 1),
                '"' => self.quoted()?,
                '\'' => self.character()?,
                '`' => {
                    let Some(length) = rest[1..].find('`') else {
                        return Err(Fault::new(self.at..self.at + 1, "a quote is not closed"));
                    };
                    self.push(Token::Quoted(rest[1..=length].to_owned()), length + 2);
                }
                '.' if !next.is_some_and(|c| c.is_ascii_digit()) => {
                    self.name(|name| match name {
                        "" => Token::Dot,
                        name => Token::Field(name.to_owned()),
                    })?;
                }
                '$' => self.name(|name| Token::Variable(format!("${name}")))?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                c if is_letter(c) => {
                    let length = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
                    self.ends(length)?;
                    self.push(Token::Word(rest[..length].to_owned()), length);
                }
                c => {
                    return Err(Fault::new(
                        self.at..self.at + c.len_utf8(),
                        format!("{c:?} has no meaning here"),
                    ));
                }
            }
        }
    }

    /// What has a mark before its name.
    fn name(&mut self, token: impl Fn(&str) -> Token) -> Result<(), Fault> {
        let rest = self.rest();
        let length = rest[1..].find(|c| !is_letter(c)).unwrap_or(rest.len() - 1);
        self.ends(length + 1)?;
        self.push(token(&rest[1..=length]), length + 1);
        Ok(())
    }

    /// That a word ends where its letters do.
    fn ends(&self, length: usize) -> Result<(), Fault> {
        let rest = &self.rest()[length..];
        let at = self.at + length;
        match rest.chars().next() {
            Some(c) if !is_blank(c) && !".,|:=()".contains(c) && !rest.starts_with("}}") => {
                let says = match c {
                    '-' => "'-' is in no field's name: index . \"a-b\" finds such a key".to_owned(),
                    c => format!("{c:?} is in no name"),
                };
                Err(Fault::new(at..at + c.len_utf8(), says))
            }
            _ => Ok(()),
        }
    }

    /// Where the text that begins here with a quote ends, on its line.
    fn end_of_quote(&self) -> Result<usize, Fault> {
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        let mut escaped = false;
        for (index, c) in chars {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => break,
                c if Some(c) == quote => return Ok(index),
                _ => {}
            }
        }
        Err(Fault::new(self.at..self.at + 1, "a quote is not closed"))
    }

    fn quoted(&mut self) -> Result<(), Fault> {
        let end = self.end_of_quote()?;
        let text = unquoted(&self.rest()[1..end]).ok_or_else(|| {
            let place = self.at..self.at + end + 1;
            Fault::new(place, "an escape in this text is none of Go's")
        })?;
        self.push(Token::Quoted(text), end + 1);
        Ok(())
    }

    /// `'c'`, which is a number.
    fn character(&mut self) -> Result<(), Fault> {
        let end = self.end_of_quote()?;
        let text = unquoted(&self.rest()[1..end]);
        let mut chars = text.iter().flat_map(|text| text.chars());
        let (Some(c), None) = (chars.next(), chars.next()) else {
            let place = self.at..self.at + end + 1;
            return Err(Fault::new(
                place,
                "one character stands between ''; text is in \"\"",
            ));
        };
        self.push(Token::Int(i64::from(u32::from(c))), end + 1);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let mut before = ' ';
        let length = rest.find(|c: char| {
            let sign = "+-".contains(c) && (before == ' ' || "eEpP".contains(before));
            before = c;
            !(is_letter(c) || c == '.' || sign)
        });
        let length = length.unwrap_or(rest.len());
        let text = &rest[..length];
        let Some(token) = number(text) else {
            let place = self.at..self.at + length;
            return Err(Fault::new(place, format!("'{text}' is no number")));
        };
        self.ends(length)?;
        self.push(token, length);
        Ok(())
    }
}

/// A number as Go writes it: with a base, and `_` between digits.
fn number(text: &str) -> Option<Token> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let (base, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1
            && lower.starts_with('0')
            && lower[1..].bytes().all(|b| b.is_ascii_digit()) =>
        {
            (8, &lower[1..])
        }
        _ => (10, lower.as_str()),
    };
    if body.starts_with(['+', '-']) {
        return None;
    }
    let sign = sign.trim_start_matches('+');
    if let Ok(number) = i64::from_str_radix(&format!("{sign}{body}"), base) {
        return Some(Token::Int(number));
    }
    let float = base == 10
        && body
            .bytes()
            .all(|b| b.is_ascii_digit() || b".e+-".contains(&b));
    if !float || !body.contains(['.', 'e']) {
        return None;
    }
    let number: f64 = format!("{sign}{body}").parse().ok()?;
    number.is_finite().then_some(Token::Float(number))
}

/// The text that Go's quotes stand for.
fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let code = |chars: &mut std::str::Chars, first: Option<char>, count: usize, base| {
        let mut digits: String = first.into_iter().collect();
        digits.extend(chars.by_ref().take(count));
        let whole = digits.len() == count + usize::from(first.is_some());
        whole.then(|| u32::from_str_radix(&digits, base).ok())?
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(c);
            continue;
        }
        match chars.next()? {
            'a' => push('\x07'),
            'b' => push('\x08'),
            'f' => push('\x0c'),
            'n' => push('\n'),
            'r' => push('\r'),
            't' => push('\t'),
            'v' => push('\x0b'),
            c @ ('\\' | '"' | '\'') => push(c),
            'u' => push(char::from_u32(code(&mut chars, None, 4, 16)?)?),
            'U' => push(char::from_u32(code(&mut chars, None, 8, 16)?)?),
            // Of bytes, those that are letters of ASCII: all else would be no text.
            'x' => push(char::from(
                u8::try_from(code(&mut chars, None, 2, 16)?)
                    .ok()
                    .filter(u8::is_ascii)?,
            )),
            c @ '0'..='7' => {
                let byte = u8::try_from(code(&mut chars, Some(c), 2, 8)?).ok();
                push(char::from(byte.filter(u8::is_ascii)?));
            }
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}
