//! Values as they are meant: strings that say numbers become numbers, amounts bytes, commands
//! words; and what says nothing is left out.

use super::amounts;
use super::node::{Key, Node, Path, Result, Value};
use super::scalar;
use super::shape::{DEVICE_REQUEST, ENV_FILE, Empty, Record, Shape, ULIMIT};
use crate::engine::request::size;

/// What decoding finds worth saying.
pub type Warnings = Vec<String>;

/// The keys of a mapping, each as it is meant, in the table's order.
pub fn record(node: &Node, record: &Record, path: &Path, warnings: &mut Warnings) -> Result<Node> {
    let mut out = Node::new(Value::Map(Vec::new()), &node.mark);
    for (name, shape) in record.fields {
        if let Some(inner) = node.get(name) {
            let path = path.to(name);
            if let Some(value) = decode(inner, shape, &path, false, warnings)? {
                out.set(name, Node::new(value, &inner.mark));
            }
        }
    }
    for (key, inner) in node.entries() {
        if key.name.starts_with("x-") && record.is_open {
            out.set(&key.name, inner.clone());
        }
    }
    Ok(out)
}

/// Puts keys that were added in the table's order.
pub fn arrange(node: &mut Node, record: &Record) {
    if let Value::Map(entries) = &mut node.value {
        let place = |key: &Key| record.fields.iter().position(|(name, _)| *name == key.name);
        entries.sort_by_key(|(key, _)| place(key).unwrap_or(usize::MAX));
    }
}

/// A value as it is meant; none if it says nothing.
fn decode(
    node: &Node,
    shape: &Shape,
    path: &Path,
    is_kept: bool,
    warnings: &mut Warnings,
) -> Result<Option<Value>> {
    use Value::{Bool, Float, Int, List, Map, Null, Text};
    let fault = |text: String| node.fault(text).of(path);
    let wrong = |text: String| Err(fault(text));
    let unless = |is_empty: bool, value: Value| Ok((is_kept || !is_empty).then_some(value));
    match (shape, &node.value) {
        (Shape::Kept(inner), _) => decode(node, inner, path, true, warnings),
        (Shape::OrText(inner) | Shape::OrScalar(inner) | Shape::OrNull(inner), _) => {
            decode(node, inner, path, is_kept, warnings)
        }
        (Shape::Record(fields), Map(_)) => {
            let inner = record(node, fields, path, warnings)?;
            let is_empty = fields.is_fleeting && inner.entries().is_empty();
            unless(is_empty, inner.value)
        }
        (Shape::Each(inner) | Shape::EachOrNames(inner), Map(entries)) => {
            let mut out = Vec::new();
            for (key, node) in entries {
                let path = path.to(&key.name);
                let value = decode(node, inner, &path, true, warnings)?;
                out.push((key.clone(), Node::new(value.unwrap_or(Null), &node.mark)));
            }
            unless(out.is_empty(), Map(out))
        }
        (Shape::List(inner), List(items)) => list(items, inner, path, warnings)
            .and_then(|items| unless(items.is_empty(), List(items))),
        (Shape::EnvFiles, List(items)) => {
            let shape = Shape::Record(&ENV_FILE);
            list(items, &shape, path, warnings)
                .and_then(|items| unless(items.is_empty(), List(items)))
        }
        (Shape::Gpus, List(items)) => {
            let shape = Shape::Record(&DEVICE_REQUEST);
            list(items, &shape, path, warnings)
                .and_then(|items| unless(items.is_empty(), List(items)))
        }
        (Shape::Ulimit, Map(_)) => Ok(Some(record(node, &ULIMIT, path, warnings)?.value)),
        (Shape::Command, Null) => Ok(None),
        (_, Null) => Ok(is_kept.then_some(Null)),
        (
            Shape::Text
            | Shape::TextOrNull
            | Shape::Choice(_)
            | Shape::ContainerName
            | Shape::PullPolicy
            | Shape::TextOrInt
            | Shape::TextOrBool,
            value,
        ) => match value.shown() {
            Some(text) => unless(text.is_empty(), Text(text)),
            None => wrong(format!("it cannot be {}", value.kind())),
        },
        (Shape::Bool | Shape::Strict | Shape::External, value) => {
            let is = match value {
                Bool(is) => *is,
                Text(text) => boolean(text, path, warnings).map_err(fault)?,
                other => return wrong(format!("it has to be a boolean, and is {}", other.kind())),
            };
            unless(!is, Bool(is))
        }
        (Shape::Int(least, most), value) => {
            let number = whole(value).map_err(fault)?;
            if !(least..=most).contains(&&number) {
                return wrong(format!("{number} is not from {least} to {most}"));
            }
            unless(number == 0, Int(number))
        }
        (Shape::Ulimit | Shape::Number, value) => {
            let number = whole(value).map_err(fault)?;
            unless(number == 0, Int(number))
        }
        (Shape::Float, value) => {
            let number = match value {
                Int(number) => *number as f32,
                Float(number) => *number as f32,
                Text(text) => match text.parse::<f32>() {
                    Ok(number) if number.is_finite() => number,
                    _ => return wrong(format!("{text:?} is no number")),
                },
                other => return wrong(format!("it has to be a number, and is {}", other.kind())),
            };
            // As many digits as half the precision has.
            let number = scalar::float32(number).parse().unwrap_or_default();
            unless(number == 0.0, Float(number))
        }
        (Shape::Size | Shape::SizeText, value) => {
            let bytes = match value {
                Int(number) => *number,
                Text(text) => match bytes(text) {
                    Ok(bytes) => bytes,
                    Err(error) => return wrong(error),
                },
                // As compose has it; but not in silence.
                Float(number) => {
                    let number = scalar::float(*number);
                    warnings.push(format!(
                        "{}: {path}: {number} without quotes is no amount, and counts for nothing; \
                         write \"{number}\"",
                        node.mark
                    ));
                    0
                }
                other => return wrong(format!("it cannot be {}", other.kind())),
            };
            unless(bytes == 0, Text(bytes.to_string()))
        }
        (Shape::Duration, value) => {
            let text = value.shown().unwrap_or_default();
            let length = amounts::duration(&text).map_err(fault)?;
            unless(length == 0, Text(amounts::show_duration(length)))
        }
        (Shape::Command, Text(text)) => {
            let (words, cut) = amounts::words(text).map_err(fault)?;
            if let Some(cut) = cut {
                warnings.push(format!(
                    "{}: {path}: {cut:?} and all behind it is not part of the command, since no \
                     shell reads it: write [sh, -c, {text:?}]",
                    node.mark
                ));
            }
            Ok(Some(texts(words, node)))
        }
        (Shape::Test, Text(text)) => Ok(Some(texts(vec!["CMD-SHELL".into(), text.clone()], node))),
        (Shape::TextOrTexts, Text(text)) => Ok(Some(texts(vec![text.clone()], node))),
        (Shape::Command, List(items)) => Ok(Some(List(items.clone()))),
        (Shape::Test | Shape::TextOrTexts | Shape::Texts(_) | Shape::Scalars, List(items)) => {
            let shown = items.iter().filter_map(|item| {
                let text = item.value.shown()?;
                Some(Node::text(text, &item.mark))
            });
            unless(items.is_empty(), List(shown.collect()))
        }
        (Shape::Mode | Shape::PlainMode, value) => {
            let mode = match value {
                Text(text) => match i64::from_str_radix(text, 8) {
                    Ok(mode) => mode,
                    Err(_) => return wrong(format!("{text:?} is no mode: 0440 is one")),
                },
                _ => whole(value).map_err(fault)?,
            };
            match shape {
                Shape::PlainMode => unless(mode == 0, Int(mode)),
                _ => Ok(Some(Text(format!("0{mode:o}")))),
            }
        }
        (Shape::Count, value) => {
            let count = match value {
                Text(text) if text.eq_ignore_ascii_case("all") => -1,
                _ => whole(value).map_err(fault)?,
            };
            unless(count == 0, Int(count))
        }
        (Shape::Pairs(empty), _) => pairs(node, *empty, path).map(|value| match &value {
            Map(entries) if entries.is_empty() && !is_kept => None,
            _ => Some(value),
        }),
        (Shape::Options | Shape::Ssh, Map(entries)) => {
            let entries = entries.iter().map(|(key, node)| {
                let text = node.value.shown().unwrap_or_default();
                (key.clone(), Node::text(text, &node.mark))
            });
            let entries: Vec<_> = entries.collect();
            unless(entries.is_empty(), Map(entries))
        }
        (Shape::MultiOptions, Map(entries)) => {
            let entries = entries.iter().map(|(key, node)| {
                let values = match &node.value {
                    List(items) => items.iter().filter_map(|item| item.value.shown()).collect(),
                    value => vec![value.shown().unwrap_or_default()],
                };
                (key.clone(), Node::new(texts(values, node), &node.mark))
            });
            let entries: Vec<_> = entries.collect();
            unless(entries.is_empty(), Map(entries))
        }
        (Shape::Hosts, _) => {
            let hosts = hosts(node).map_err(|fault| fault.of(path))?;
            unless(hosts.is_empty(), texts(hosts, node))
        }
        (_, other) => wrong(format!("it cannot be {}", other.kind())),
    }
}

fn list(items: &[Node], shape: &Shape, path: &Path, warnings: &mut Warnings) -> Result<Vec<Node>> {
    let mut out = Vec::new();
    for (item, at) in items.iter().zip(0..) {
        let path = path.to(&format!("[{at}]"));
        let value = decode(item, shape, &path, true, warnings)?;
        out.push(Node::new(value.unwrap_or(Value::Null), &item.mark));
    }
    Ok(out)
}

/// A list of texts that stand where something does.
fn texts(words: Vec<String>, node: &Node) -> Value {
    let words = words.into_iter();
    Value::List(words.map(|word| Node::text(word, &node.mark)).collect())
}

/// The boolean that a word says.
pub fn boolean(
    text: &str,
    path: &Path,
    warnings: &mut Warnings,
) -> std::result::Result<bool, String> {
    let is = match text.to_ascii_lowercase().as_str() {
        "true" => return Ok(true),
        "false" => return Ok(false),
        "y" | "yes" | "on" => true,
        "n" | "no" | "off" => false,
        _ => return Err(format!("{text:?} is no boolean: true and false are")),
    };
    warnings.push(format!("{path}: {text:?} is read as {is}: write {is}"));
    Ok(is)
}

/// The whole number that a value says.
fn whole(value: &Value) -> std::result::Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Float(number) => Ok(*number as i64),
        Value::Text(text) => {
            let plain = text.strip_prefix('+').unwrap_or(text);
            plain
                .parse()
                .map_err(|_| format!("{text:?} is no whole number"))
        }
        other => Err(format!("it has to be a number, and is {}", other.kind())),
    }
}

/// The bytes that a text says.
fn bytes(text: &str) -> std::result::Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = size::bytes(text).map_err(|error| error.to_string())?;
    i64::try_from(bytes).map_err(|_| format!("'{text}' is more than any machine has"))
}

/// Names with their values.
fn pairs(node: &Node, empty: Empty, path: &Path) -> Result<Value> {
    let none = |node: &Node| match empty {
        Empty::Unset => Node::new(Value::Null, &node.mark),
        Empty::Text => Node::text("", &node.mark),
    };
    let mut out = Node::new(Value::Map(Vec::new()), &node.mark);
    for (key, node) in node.entries() {
        let value = match (&node.value, node.value.shown()) {
            (Value::Null, _) => none(node),
            (Value::Time(_), _) => {
                let text = "a date has to be in quotes";
                return Err(node.fault(text).of(&path.to(&key.name)));
            }
            (_, Some(text)) => Node::text(text, &node.mark),
            (value, None) => {
                let text = format!("it cannot be {}", value.kind());
                return Err(node.fault(text).of(&path.to(&key.name)));
            }
        };
        out.set(&key.name, value);
    }
    for item in node.items() {
        let text = item.as_text().unwrap_or_default();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Node::text(value, &item.mark)),
            None => (text, none(item)),
        };
        if empty == Empty::Unset && name.ends_with(char::is_whitespace) {
            let text = format!("the name {name:?} has a blank at its end");
            return Err(item.fault(text).of(path));
        }
        out.set(name, value);
    }
    if let Value::Map(entries) = &mut out.value {
        entries.sort_by(|a: &(Key, Node), b| a.0.name.cmp(&b.0.name));
    }
    Ok(out.value)
}

/// Hosts as `NAME=ADDRESS`, sorted.
fn hosts(node: &Node) -> Result<Vec<String>> {
    let bare = |address: &str| {
        let inner = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        inner.unwrap_or(address).to_owned()
    };
    let mut all = Vec::new();
    for (key, node) in node.entries() {
        let addresses = match &node.value {
            Value::List(items) => items.iter().filter_map(|item| item.value.shown()).collect(),
            value => vec![value.shown().unwrap_or_default()],
        };
        all.extend(
            addresses
                .into_iter()
                .map(|address| (key.name.clone(), bare(&address), node)),
        );
    }
    for item in node.items() {
        let text = item.as_text().unwrap_or_default();
        let pair = text.split_once('=').or_else(|| text.split_once(':'));
        let Some((name, addresses)) = pair else {
            return Err(item.fault(format!("{text:?} has no address: NAME=ADDRESS does")));
        };
        let addresses = addresses.split(',');
        all.extend(addresses.map(|address| (name.to_owned(), bare(address), item)));
    }
    let mut shown = Vec::new();
    for (name, address, node) in all {
        if name.is_empty() || name.contains([':', '=']) {
            return Err(node.fault(format!("{name:?} is no name of a host")));
        }
        shown.push(format!("{name}={address}"));
    }
    shown.sort();
    Ok(shown)
}
