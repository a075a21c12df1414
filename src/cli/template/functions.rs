//! The functions of Go's templates, and docker's.

use super::printf;
use super::value::{Empty, Item};

macro_rules! functions {
    ($($function:ident $name:literal),+ $(,)?) => {
        /// A function.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Function { $($function),+ }

        /// The function of that name.
        pub fn named(name: &str) -> Option<Function> {
            match name {
                $($name => Some(Function::$function),)+
                _ => None,
            }
        }

        impl Function {
            pub fn name(self) -> &'static str {
                match self { $(Function::$function => $name),+ }
            }
        }
    };
}

functions! {
    And "and", Or "or", Not "not",
    Eq "eq", Ne "ne", Lt "lt", Le "le", Gt "gt", Ge "ge",
    Len "len", Index "index", Slice "slice",
    Print "print", Printf "printf", Println "println",
    Html "html", Js "js", Urlquery "urlquery", Call "call",
    Json "json", Split "split", Join "join",
    Title "title", Lower "lower", Upper "upper",
    Pad "pad", Truncate "truncate",
}

type Called<'a> = Result<Item<'a>, String>;

/// What a function makes of arguments.
///
/// # Errors
/// They are not what it takes.
pub fn call<'a>(function: Function, arguments: &[Item<'a>]) -> Called<'a> {
    use Function::*;
    Ok(match (function, arguments) {
        // Those that are not wanted are not computed: whoever asks does it.
        (And | Or, all) => pick(function, all).ok_or("an argument is missing")?.clone(),
        (Not, [value]) => Item::Bool(!value.truth()),
        (Eq, [first, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(first, other)? {
                    return Ok(Item::Bool(true));
                }
            }
            Item::Bool(false)
        }
        (Ne, [first, second]) => Item::Bool(!equal(first, second)?),
        (Lt | Le | Gt | Ge, [first, second]) => {
            let order = order(first, second)?;
            Item::Bool(match function {
                Lt => order.is_some_and(|order| order.is_lt()),
                Le => order.is_some_and(|order| order.is_le()),
                Gt => order.is_some_and(|order| order.is_gt()),
                _ => order.is_some_and(|order| order.is_ge()),
            })
        }
        (Len, [value]) => Item::Int(value.len()? as i128),
        (Index, [first, keys @ ..]) => {
            let mut here = first.clone();
            for key in keys {
                here = here.index(key)?;
            }
            here
        }
        (Slice, [value, bounds @ ..]) if bounds.len() <= 3 => slice(value, bounds)?,
        (Print, all) => printed(all).into(),
        (Println, all) => {
            let words: Vec<String> = all.iter().map(text).collect();
            (words.join(" ") + "\n").into()
        }
        (Printf, [Item::Text(format), values @ ..]) => printf::format(format, values).into(),
        (Html, all) => escaped(all, html).into(),
        (Js, all) => escaped(all, js).into(),
        (Urlquery, all) => escaped(all, query).into(),
        (Call, _) => return Err("there is no value that is a function".into()),
        (Json, [value]) => value.json().map_err(|error| error.to_string())?.into(),
        (Split, [value, separator]) => split(word(value)?, word(separator)?),
        (Join, [list, separator]) => join(list, word(separator)?)?.into(),
        (Title, [value]) => title(word(value)?).into(),
        (Lower, [value]) => word(value)?.to_lowercase().into(),
        (Upper, [value]) => word(value)?.to_uppercase().into(),
        (Pad, [value, before, behind]) => {
            let blanks = |count| Ok::<_, String>(" ".repeat(number(count)?.min(MAX_PAD)));
            let (value, before, behind) = (word(value)?, blanks(before)?, blanks(behind)?);
            match value {
                "" => "".into(),
                value => format!("{before}{value}{behind}").into(),
            }
        }
        (Truncate, [value, count]) => {
            let (value, count) = (word(value)?, number(count)?);
            value[..value.floor_char_boundary(count)].to_owned().into()
        }
        (function, all) => return Err(unfit(function, all)),
    })
}

/// More blanks are nobody's wish.
const MAX_PAD: usize = 1_000_000;

fn unfit(function: Function, arguments: &[Item]) -> String {
    use Function::*;
    let takes = match function {
        Not | Len | Json | Title | Lower | Upper => "one argument",
        Ne | Lt | Le | Gt | Ge => "two arguments",
        Eq => "two arguments or more",
        Index => "a list or a map, and keys",
        Slice => "text or a list, and at most three numbers",
        Printf => "text and what is to be put in it",
        Split => "text and what parts it",
        Join => "a list and what is to be between",
        Pad => "text and two numbers",
        Truncate => "text and a number",
        _ => "other arguments",
    };
    format!("takes {takes}, not {}", arguments.len())
}

/// The first value that decides, else the last one.
fn pick<'b, 'a>(function: Function, all: &'b [Item<'a>]) -> Option<&'b Item<'a>> {
    let wanted = function == Function::Or;
    let found = all.iter().find(|value| value.truth() == wanted);
    found.or(all.last())
}

fn word<'b>(item: &'b Item) -> Result<&'b str, String> {
    match item {
        Item::Text(text) => Ok(text),
        Item::Empty(Empty::Text) => Ok(""),
        other => Err(format!("takes text here, not {}", other.kind())),
    }
}

fn number(item: &Item) -> Result<usize, String> {
    match item {
        Item::Int(number) => usize::try_from(*number).map_err(|_| format!("{number} is no count")),
        other => Err(format!("takes a number here, not {}", other.kind())),
    }
}

fn text(item: &Item) -> String {
    let mut out = String::new();
    item.print(&mut out, &|text, out| out.push_str(text));
    out
}

/// As Go's Sprint: a blank between two that are no text.
fn printed(all: &[Item]) -> String {
    let mut out = String::new();
    let mut words = true;
    for (index, item) in all.iter().enumerate() {
        let is_word = matches!(item, Item::Text(_) | Item::Empty(Empty::Text));
        if index > 0 && !is_word && !words {
            out.push(' ');
        }
        words = is_word;
        out.push_str(&text(item));
    }
    out
}

#[derive(PartialEq)]
enum Basic<'b> {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'b str),
}

fn basic<'b>(item: &'b Item) -> Option<Basic<'b>> {
    match item {
        Item::Bool(value) => Some(Basic::Bool(*value)),
        Item::Int(number) => Some(Basic::Int(*number)),
        Item::Float(number) => Some(Basic::Float(*number)),
        Item::Text(text) => Some(Basic::Text(text)),
        Item::Empty(Empty::Text) => Some(Basic::Text("")),
        _ => None,
    }
}

fn equal(first: &Item, second: &Item) -> Result<bool, String> {
    let is_nil = |item: &Item| matches!(item, Item::Missing | Item::Nil | Item::Empty(_));
    let absent = |item: &Item| matches!(item, Item::Missing | Item::Nil);
    match (basic(first), basic(second)) {
        (Some(a), Some(b)) if std::mem::discriminant(&a) == std::mem::discriminant(&b) => {
            Ok(a == b)
        }
        (None, None) if is_nil(first) || is_nil(second) => Ok(is_nil(first) == is_nil(second)),
        _ if absent(first) || absent(second) => Ok(false),
        _ => Err(uncomparable(first, second)),
    }
}

fn order(first: &Item, second: &Item) -> Result<Option<std::cmp::Ordering>, String> {
    match (basic(first), basic(second)) {
        (Some(Basic::Int(a)), Some(Basic::Int(b))) => Ok(Some(a.cmp(&b))),
        (Some(Basic::Float(a)), Some(Basic::Float(b))) => Ok(a.partial_cmp(&b)),
        (Some(Basic::Text(a)), Some(Basic::Text(b))) => Ok(Some(a.cmp(b))),
        _ => Err(uncomparable(first, second)),
    }
}

fn uncomparable(first: &Item, second: &Item) -> String {
    format!("does not compare {} with {}", first.kind(), second.kind())
}

fn slice<'a>(value: &Item<'a>, bounds: &[Item<'a>]) -> Called<'a> {
    let length = value.len()?;
    if matches!(value, Item::Object(..) | Item::Empty(Empty::Map)) {
        return Err("takes text or a list, no map".into());
    }
    if bounds.len() == 3 && matches!(value, Item::Text(_)) {
        return Err("takes two numbers at most for text".into());
    }
    let mut numbers = [0, length, length];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = self::number(bound)?;
    }
    let [from, to, most] = numbers;
    if from > to || to > most || most > length {
        return Err(format!("{from} to {to} is not within its {length}"));
    }
    match value {
        Item::Text(text) => {
            let part = text.get(from..to).ok_or("would cut a letter in two")?;
            Ok(part.to_owned().into())
        }
        Item::List(list, shape) => Ok(Item::List(&list[from..to], *shape)),
        Item::Words(words) => Ok(Item::Words(words[from..to].into())),
        other => Ok(other.clone()),
    }
}

fn split<'a>(value: &str, separator: &str) -> Item<'a> {
    let words: Vec<String> = match separator {
        "" => value.chars().map(String::from).collect(),
        separator => value.split(separator).map(str::to_owned).collect(),
    };
    Item::Words(words.into())
}

fn join(list: &Item, separator: &str) -> Result<String, String> {
    if !matches!(list, Item::List(..) | Item::Words(_) | Item::Empty(_)) {
        return Err(format!("takes a list, not {}", list.kind()));
    }
    let elements = list.elements()?;
    let words = elements.iter().map(|(_, value)| word(value));
    Ok(words.collect::<Result<Vec<_>, _>>()?.join(separator))
}

/// The first letter of each word is a capital.
fn title(value: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in value.chars() {
        let starts = match before.is_ascii() {
            true => !before.is_ascii_alphanumeric() && before != '_',
            false => before.is_whitespace(),
        };
        match starts {
            true => out.extend(c.to_uppercase()),
            false => out.push(c),
        }
        before = c;
    }
    out
}

fn escaped(all: &[Item], escape: fn(char, &mut String)) -> String {
    let mut out = String::new();
    for c in printed(all).chars() {
        escape(c, &mut out);
    }
    out
}

fn html(c: char, out: &mut String) {
    match c {
        '\0' => out.push(char::REPLACEMENT_CHARACTER),
        '"' => out.push_str("&#34;"),
        '\'' => out.push_str("&#39;"),
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

fn js(c: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\'' => out.push_str("\\'"),
        '"' => out.push_str("\\\""),
        '<' | '>' | '&' | '=' | '\0'..='\x1f' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        c => out.push(c),
    }
}

fn query(c: char, out: &mut String) {
    match c {
        ' ' => out.push('+'),
        c if c.is_ascii_alphanumeric() || "-_.~".contains(c) => out.push(c),
        c => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}
