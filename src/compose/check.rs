//! Whether a tree is what the table of shapes allows.

use super::node::{Fault, Key, Node, Path, Result, Value};
use super::shape::{DEVICE_REQUEST, ENV_FILE, Record, Shape};
use crate::engine::request::nearest::nearest;
use std::collections::HashSet;

/// Checks the mapping of a whole file, or of what has these keys.
pub fn record(node: &Node, record: &Record, path: &Path) -> Result<()> {
    let Value::Map(entries) = &node.value else {
        return Err(wanted(node, path, "a mapping"));
    };
    for (key, value) in entries {
        let path = path.to(&key.name);
        match record.fields.iter().find(|(name, _)| *name == key.name) {
            Some((_, shape)) => check(value, shape, &path)?,
            None if key.name.starts_with("x-") && record.is_open => {}
            None => return Err(unknown(key, record, &path)),
        }
    }
    for name in record.required {
        if node.get(name).is_none() {
            return Err(node.fault(format!("the key {name} is missing")).of(path));
        }
    }
    Ok(())
}

/// A key that nobody knows.
fn unknown(key: &Key, record: &Record, path: &Path) -> Fault {
    let mut known = record.fields.iter().map(|(name, _)| *name);
    let hint = match nearest(&key.name, known.clone()) {
        Some(word) => format!("; did you mean {word}?"),
        None if known.len() <= 12 => {
            let known: Vec<&str> = known.by_ref().collect();
            format!("; there are {}", known.join(", "))
        }
        None => String::new(),
    };
    let text = format!("there is no key {:?}{hint}", key.name);
    Fault::new(text).at(&key.mark).of(path)
}

/// A value of another kind than the one that is wanted.
fn wanted(node: &Node, path: &Path, what: &str) -> Fault {
    let hint = match (&node.value, what) {
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), "a string") => ": put it in quotes",
        _ => "",
    };
    let kind = node.value.kind();
    node.fault(format!("it has to be {what}, and is {kind}{hint}"))
        .of(path)
}

/// Checks a value.
pub fn check(node: &Node, shape: &Shape, path: &Path) -> Result<()> {
    use Value::{Bool, Float, Int, List, Map, Null, Text};
    let value = &node.value;
    let need = |is: bool, what: &str| match is {
        true => Ok(()),
        false => Err(wanted(node, path, what)),
    };
    match shape {
        Shape::Text | Shape::SizeText | Shape::Duration => {
            need(matches!(value, Text(_)), "a string")
        }
        Shape::TextOrNull => need(matches!(value, Text(_) | Null), "a string"),
        Shape::Choice(words) => {
            need(matches!(value, Text(_)), "a string")?;
            let text = node.as_text().unwrap_or_default();
            if words.contains(&text) {
                return Ok(());
            }
            let text = format!("{text:?} is none of {}", words.join(", "));
            Err(node.fault(text).of(path))
        }
        Shape::ContainerName => {
            need(matches!(value, Text(_)), "a string")?;
            let text = node.as_text().unwrap_or_default();
            let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            let pairs = text.as_bytes().windows(2);
            let mut pairs = pairs.filter(|pair| pair[0].is_ascii_alphanumeric());
            if pairs.any(|pair| is_inner(pair[1])) {
                return Ok(());
            }
            let text = format!("{text:?} is no name of a container: it has two letters or more");
            Err(node.fault(text).of(path))
        }
        Shape::PullPolicy => {
            need(matches!(value, Text(_)), "a string")?;
            let text = node.as_text().unwrap_or_default();
            let words = [
                "always",
                "never",
                "build",
                "if_not_present",
                "missing",
                "refresh",
                "daily",
                "weekly",
            ];
            if words.contains(&text) || text.starts_with("every_") {
                return Ok(());
            }
            let text = format!("{text:?} is none of {}, every_TIME", words.join(", "));
            Err(node.fault(text).of(path))
        }
        Shape::Bool | Shape::TextOrBool => {
            need(matches!(value, Bool(_) | Text(_)), "a boolean or a string")
        }
        Shape::Strict => need(matches!(value, Bool(_)), "a boolean"),
        Shape::Int(least, most) => match value {
            Int(number) if !(least..=most).contains(&number) => Err(node
                .fault(format!("{number} is not from {least} to {most}"))
                .of(path)),
            Float(number) => need(number.fract() == 0.0, "a whole number"),
            _ => need(matches!(value, Int(_) | Text(_)), "a number or a string"),
        },
        Shape::TextOrInt
        | Shape::Number
        | Shape::Float
        | Shape::Size
        | Shape::Mode
        | Shape::PlainMode
        | Shape::Count => need(
            matches!(value, Int(_) | Float(_) | Text(_)),
            "a number or a string",
        ),
        Shape::Command => match value {
            Null | Text(_) => Ok(()),
            _ => texts(node, path, "a string or a list of them", false),
        },
        Shape::Test | Shape::TextOrTexts => match value {
            Text(_) => Ok(()),
            _ => texts(node, path, "a string or a list of them", false),
        },
        Shape::Texts(is_unique) => texts(node, path, "a list", *is_unique),
        Shape::Scalars => {
            need(matches!(value, List(_)), "a list")?;
            for item in node.items() {
                if !matches!(item.value, Text(_) | Int(_) | Float(_)) {
                    return Err(wanted(item, path, "a string or a number"));
                }
            }
            Ok(())
        }
        Shape::Pairs(_) | Shape::Ssh => match value {
            Map(entries) => entries.iter().try_for_each(|(key, node)| match node.value {
                Value::Time(_) | List(_) | Map(_) => Err(wanted(
                    node,
                    &path.to(&key.name),
                    "a string, a number, a boolean or null",
                )),
                _ => Ok(()),
            }),
            _ => texts(node, path, "a mapping or a list", true),
        },
        Shape::Options | Shape::MultiOptions => {
            need(matches!(value, Map(_)), "a mapping")?;
            let is_multiple = matches!(shape, Shape::MultiOptions);
            for (key, node) in node.entries() {
                let is_fine = match node.value {
                    Text(_) | Int(_) | Float(_) | Null => true,
                    Bool(_) | List(_) => is_multiple,
                    _ => false,
                };
                if !is_fine {
                    return Err(wanted(node, &path.to(&key.name), "a string or a number"));
                }
            }
            Ok(())
        }
        Shape::Hosts => match value {
            Map(entries) => entries.iter().try_for_each(|(key, node)| match node.value {
                Text(_) => Ok(()),
                _ => texts(node, &path.to(&key.name), "a string or a list", false),
            }),
            _ => texts(node, path, "a mapping or a list", true),
        },
        Shape::Ulimit => match value {
            Map(_) => record(node, &super::shape::ULIMIT, path),
            _ => need(
                matches!(value, Int(_) | Text(_)),
                "a number, or soft and hard",
            ),
        },
        Shape::External => match value {
            Map(_) => record(node, &super::shape::EXTERNAL, path),
            _ => need(matches!(value, Bool(_) | Text(_)), "a boolean"),
        },
        Shape::EnvFiles => match value {
            Text(_) => Ok(()),
            List(items) => items.iter().try_for_each(|item| match item.value {
                Text(_) => Ok(()),
                _ => record(item, &ENV_FILE, &path.to("[]")),
            }),
            _ => Err(wanted(node, path, "a string or a list")),
        },
        Shape::Gpus => match value {
            Text(text) if text == "all" => Ok(()),
            List(items) => items
                .iter()
                .try_for_each(|item| record(item, &DEVICE_REQUEST, &path.to("[]"))),
            _ => Err(wanted(node, path, "a list, or all")),
        },
        Shape::Record(fields) => record(node, fields, path),
        Shape::Each(inner) => each(node, inner, path, "a mapping"),
        Shape::EachOrNames(inner) => match value {
            List(_) => texts(node, path, "a list", true),
            _ => each(node, inner, path, "a mapping or a list of names"),
        },
        Shape::List(inner) => {
            need(matches!(value, List(_)), "a list")?;
            let items = node.items().iter();
            let mut items = items.zip(0..);
            items.try_for_each(|(item, at)| check(item, inner, &path.to(&format!("[{at}]"))))
        }
        Shape::OrText(inner) => match value {
            Text(_) => Ok(()),
            Map(_) => check(node, inner, path),
            _ => Err(wanted(node, path, "a string or a mapping")),
        },
        Shape::OrScalar(inner) => match value {
            Text(_) | Int(_) => Ok(()),
            Map(_) => check(node, inner, path),
            _ => Err(wanted(node, path, "a string, a whole number or a mapping")),
        },
        Shape::OrNull(inner) => match value {
            Null => Ok(()),
            _ => check(node, inner, path),
        },
        Shape::Kept(inner) => check(node, inner, path),
    }
}

/// Checks the values of names that the user gives.
fn each(node: &Node, shape: &Shape, path: &Path, what: &str) -> Result<()> {
    let Value::Map(entries) = &node.value else {
        return Err(wanted(node, path, what));
    };
    for (key, node) in entries {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if key.name.is_empty() || !key.name.chars().all(is_name) {
            let text = format!("{:?} is no name: letters, digits and . _ - are", key.name);
            return Err(Fault::new(text).at(&key.mark).of(path));
        }
        check(node, shape, &path.to(&key.name))?;
    }
    Ok(())
}

/// Checks that a value is a list of strings.
fn texts(node: &Node, path: &Path, what: &str, is_unique: bool) -> Result<()> {
    let Value::List(items) = &node.value else {
        return Err(wanted(node, path, what));
    };
    let mut seen = HashSet::new();
    for (item, at) in items.iter().zip(0..) {
        let Value::Text(text) = &item.value else {
            return Err(wanted(item, &path.to(&format!("[{at}]")), "a string"));
        };
        if is_unique && !seen.insert(text) {
            return Err(item.fault(format!("{text:?} is there twice")).of(path));
        }
    }
    Ok(())
}
