//! Go's `printf`, as far as values of templates go.

use super::value::{Empty, Item};

/// The widest field, and the most digits, which Go has too.
const WIDEST: usize = 1_000_000;

/// A directive's flags and numbers.
#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    sharp: bool,
    blank: bool,
    zeros: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// What a format makes of arguments.
pub fn format(format: &str, arguments: &[Item]) -> String {
    let mut out = String::new();
    let mut rest = format;
    let mut next = 0;
    let mut chosen = false;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut directive = Directive::default();
        while let Some(c) = rest.chars().next() {
            match c {
                '-' => directive.left = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => directive.blank = true,
                '0' => directive.zeros = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut bad_index = false;
        let mut index = |rest: &mut &str, next: &mut usize| {
            let Some((number, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
            else {
                return;
            };
            chosen = true;
            match number.parse::<usize>() {
                Ok(number) if (1..=arguments.len()).contains(&number) => *next = number - 1,
                _ => bad_index = true,
            }
            *rest = after;
        };
        index(&mut rest, &mut next);
        if let Some(width) = count(&mut rest, arguments, &mut next) {
            match width {
                Ok(width) if width < 0 => {
                    directive.left = true;
                    directive.width = usize::try_from(-width).ok();
                }
                Ok(width) => directive.width = usize::try_from(width).ok(),
                Err(()) => out.push_str("%!(BADWIDTH)"),
            }
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            index(&mut rest, &mut next);
            directive.precision = Some(0);
            match count(&mut rest, arguments, &mut next) {
                Some(Ok(number)) => directive.precision = usize::try_from(number).ok(),
                Some(Err(())) => {
                    directive.precision = None;
                    out.push_str("%!(BADPREC)");
                }
                None => {}
            }
        }
        index(&mut rest, &mut next);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
        } else if bad_index {
            out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(argument) = arguments.get(next) {
            next += 1;
            directive.show(verb, argument, &mut out);
        } else {
            out.push_str(&format!("%!{verb}(MISSING)"));
        }
    }
    out.push_str(rest);
    if next < arguments.len() && !chosen {
        let extra = arguments[next..].iter().map(|argument| {
            let mut text = String::new();
            argument.print(&mut text, &|text, out| out.push_str(text));
            match go_type(argument) {
                None => "<nil>".to_owned(),
                Some(name) => format!("{name}={text}"),
            }
        });
        let extra: Vec<String> = extra.collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// A width or precision: a number, or `*` for the next argument.
fn count(rest: &mut &str, arguments: &[Item], next: &mut usize) -> Option<Result<isize, ()>> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let argument = arguments.get(*next);
        *next += 1;
        return Some(match argument {
            Some(Item::Int(number)) => isize::try_from(*number)
                .ok()
                .filter(|n| n.unsigned_abs() <= WIDEST)
                .ok_or(()),
            _ => Err(()),
        });
    }
    let length = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (digits, after) = rest.split_at(length);
    if digits.is_empty() {
        return None;
    }
    *rest = after;
    let number = digits
        .parse()
        .ok()
        .filter(|n: &isize| n.unsigned_abs() <= WIDEST);
    Some(number.ok_or(()))
}

/// The name of a value's type in Go.
fn go_type(item: &Item) -> Option<&'static str> {
    Some(match item {
        Item::Missing | Item::Nil | Item::Empty(Empty::Pointer) => return None,
        Item::Bool(_) => "bool",
        Item::Int(_) => "int",
        Item::Float(_) => "float64",
        Item::Text(_) | Item::Empty(Empty::Text) => "string",
        Item::List(..) | Item::Words(_) | Item::Empty(Empty::List) => "[]string",
        Item::Object(..) | Item::Empty(Empty::Map) => "map[string]string",
    })
}

impl Directive {
    fn show(&self, verb: char, item: &Item, out: &mut String) {
        match (verb, item) {
            ('T', _) => self.pad(go_type(item).unwrap_or("<nil>"), out),
            ('v', Item::Missing | Item::Nil | Item::Empty(Empty::Pointer)) => {
                self.pad("<nil>", out);
            }
            (_, Item::Missing | Item::Nil | Item::Empty(Empty::Pointer)) => {
                out.push_str(&format!("%!{verb}(<nil>)"));
            }
            (_, Item::List(..) | Item::Words(_) | Item::Empty(Empty::List)) => {
                out.push('[');
                for (index, (_, value)) in item.elements().unwrap_or_default().iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    self.show(verb, value, out);
                }
                out.push(']');
            }
            (_, Item::Object(..) | Item::Empty(Empty::Map)) => {
                item.print(out, &|text, out| {
                    self.show(verb, &Item::from(text.to_owned()), out)
                });
            }
            (_, Item::Text(text)) => self.text(verb, text, out),
            (_, Item::Empty(Empty::Text)) => self.text(verb, "", out),
            ('v' | 't', Item::Bool(value)) => self.pad(&value.to_string(), out),
            (_, Item::Int(number)) => self.int(verb, *number, out),
            (_, Item::Float(number)) => self.float(verb, *number, out),
            (_, Item::Bool(_)) => bad(verb, item, out),
        }
    }

    /// Appends in a field as wide as asked for.
    fn pad(&self, text: &str, out: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let fill = if self.zeros && !self.left { "0" } else { " " };
        if !self.left {
            out.push_str(&fill.repeat(missing));
        }
        out.push_str(text);
        if self.left {
            out.push_str(&" ".repeat(missing));
        }
    }

    fn text(&self, verb: char, text: &str, out: &mut String) {
        let cut: String = match self.precision {
            Some(count) => text.chars().take(count).collect(),
            None => text.to_owned(),
        };
        match verb {
            'v' if self.sharp => self.pad(&quoted(&cut), out),
            'v' | 's' => self.pad(&cut, out),
            'q' if self.sharp && !cut.contains('`') => self.pad(&format!("`{cut}`"), out),
            'q' => self.pad(&quoted(&cut), out),
            'x' | 'X' => {
                let bytes = text.as_bytes();
                let bytes = &bytes[..self.precision.unwrap_or(bytes.len()).min(bytes.len())];
                let digits = bytes.iter().map(|byte| match verb {
                    'x' => format!("{byte:02x}"),
                    _ => format!("{byte:02X}"),
                });
                let digits: Vec<String> = digits.collect();
                let mark = match (self.sharp, verb) {
                    (false, _) => "",
                    (true, 'x') => "0x",
                    (true, _) => "0X",
                };
                let parted = if self.blank { " " } else { "" };
                let parted = format!("{parted}{}", if self.blank { mark } else { "" });
                self.pad(&format!("{mark}{}", digits.join(&parted)), out);
            }
            _ => bad(verb, &Item::from(text.to_owned()), out),
        }
    }

    fn int(&self, verb: char, number: i128, out: &mut String) {
        let size = number.unsigned_abs();
        let (mark, mut digits) = match verb {
            'v' | 'd' => ("", size.to_string()),
            'b' => ("0b", format!("{size:b}")),
            'o' => ("0", format!("{size:o}")),
            'O' => ("0o", format!("{size:o}")),
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'c' | 'q' | 'U' => {
                let c = u32::try_from(number).ok().and_then(char::from_u32);
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                let text = match verb {
                    'c' => c.to_string(),
                    'q' => format!("'{}'", escaped(&c.to_string(), '\'')),
                    _ => format!("U+{size:04X}"),
                };
                return self.pad(&text, out);
            }
            _ => return bad(verb, &Item::Int(number), out),
        };
        let mark = match verb {
            'O' => mark,
            _ if self.sharp => mark,
            _ => "",
        };
        let sign = match (number < 0, self.plus, self.blank) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let wanted = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zeros && !self.left => width - sign.len().min(width),
            _ => 0,
        };
        if self.precision == Some(0) && number == 0 {
            digits.clear();
        }
        let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
        let plain = Directive {
            zeros: false,
            left: self.left,
            width: self.width,
            ..Directive::default()
        };
        plain.pad(&format!("{sign}{mark}{zeros}{digits}"), out);
    }

    fn float(&self, verb: char, number: f64, out: &mut String) {
        let text = match (verb, self.precision) {
            ('f' | 'F', precision) => format!("{number:.*}", precision.unwrap_or(6)),
            ('e' | 'E', precision) => {
                let text = exponent(&format!("{number:.*e}", precision.unwrap_or(6)));
                match verb {
                    'e' => text,
                    _ => text.to_uppercase(),
                }
            }
            ('v' | 'g', None) => shortest(number),
            ('G', None) => shortest(number).to_uppercase(),
            ('v' | 'g' | 'G', Some(precision)) => significant(number, precision.max(1)),
            _ => return bad(verb, &Item::Float(number), out),
        };
        let sign = match (number.is_sign_negative(), self.plus, self.blank) {
            (true, ..) => "",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let text = format!("{sign}{text}");
        match text.strip_prefix(['+', '-', ' ']) {
            Some(digits) if self.zeros && !self.left => {
                let narrower = Directive {
                    zeros: true,
                    width: self.width.map(|width| width.saturating_sub(1)),
                    ..Directive::default()
                };
                out.push_str(&text[..1]);
                narrower.pad(digits, out);
            }
            _ => self.pad(&text, out),
        }
    }
}

/// What Go says of a verb that a value does not have.
fn bad(verb: char, item: &Item, out: &mut String) {
    let name = go_type(item).unwrap_or("<nil>");
    out.push_str(&format!("%!{verb}({name}="));
    item.print(out, &|text, out| out.push_str(text));
    out.push(')');
}

/// A fraction by as few digits as tell it from all others.
pub fn shortest(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            _ if number.is_nan() => "NaN".into(),
            _ if number > 0.0 => "+Inf".into(),
            _ => "-Inf".into(),
        };
    }
    let scientific = format!("{number:e}");
    let (_, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match power.parse::<i32>() {
        Ok(power) if !(-4..6).contains(&power) => exponent(&scientific),
        _ => format!("{number}"),
    }
}

/// A fraction by so many digits.
fn significant(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (_, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match usize::try_from(power + 4) {
        Ok(_) if power < i32::try_from(digits).unwrap_or(i32::MAX) => {
            let decimals = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - power;
            trimmed(&format!(
                "{number:.*}",
                usize::try_from(decimals).unwrap_or(0)
            ))
        }
        _ => {
            let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
            exponent(&format!("{}e{power}", trimmed(digits)))
        }
    }
}

/// An exponent as Go writes it: with a sign and two digits.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Text in Go's quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, '"'))
}

fn escaped(text: &str, quote: char) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
