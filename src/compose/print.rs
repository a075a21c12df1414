//! Trees as YAML and as JSON, as docker compose prints them.

use super::node::{Node, Value};
use super::scalar::{float, resolve};
use serde_json::{Map, Value as Json, json};

/// Whether the keys of a mapping are the table's, in its order, or the user's, sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
    Sorted,
}

/// The mappings whose keys are the user's.
const OWN_NAMES: &[&str] = &[
    "services",
    "networks",
    "volumes",
    "secrets",
    "configs",
    "models",
    "environment",
    "args",
    "labels",
    "annotations",
    "sysctls",
    "options",
    "driver_opts",
    "depends_on",
    "ulimits",
    "additional_contexts",
    "aux_addresses",
    "storage_opt",
    "ssh",
];

/// A project as YAML. Each `$` is doubled, since who reads this replaces variables.
pub fn yaml(root: &Node, doubles: bool) -> String {
    let mut out = String::new();
    let name = root.get("name");
    if let Some(name) = name {
        let name = name.as_text().unwrap_or_default();
        out.push_str(&format!("name: {}\n", scalar(name, 0)));
    }
    for (key, node) in root.entries().iter().filter(|(key, _)| key.name != "name") {
        entry(&key.name, node, 0, doubles, &mut out);
    }
    out
}

fn order(key: &str) -> Order {
    match OWN_NAMES.contains(&key) || key.starts_with("x-") {
        true => Order::Sorted,
        false => Order::Kept,
    }
}

/// A key with what it has.
fn entry(key: &str, node: &Node, depth: usize, doubles: bool, out: &mut String) {
    let indent = "  ".repeat(depth);
    let text = |text: &str| match doubles {
        true => text.replace('$', "$$"),
        false => text.to_owned(),
    };
    out.push_str(&format!("{indent}{}:", scalar(&text(key), 0)));
    match &node.value {
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(_) => {
            out.push('\n');
            mapping(key, node, depth + 1, doubles, out);
        }
        Value::List(items) => {
            out.push('\n');
            for item in items {
                list_item(item, depth + 1, doubles, out);
            }
        }
        value => out.push_str(&format!(" {}\n", shown(value, depth + 1, doubles))),
    }
}

fn mapping(key: &str, node: &Node, depth: usize, doubles: bool, out: &mut String) {
    let mut entries: Vec<_> = node.entries().iter().collect();
    if order(key) == Order::Sorted {
        entries.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    }
    for (key, node) in entries {
        entry(&key.name, node, depth, doubles, out);
    }
}

fn list_item(node: &Node, depth: usize, doubles: bool, out: &mut String) {
    let indent = "  ".repeat(depth);
    let mut inner = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            mapping("", node, depth + 1, doubles, &mut inner);
        }
        Value::List(items) if !items.is_empty() => {
            for item in items {
                list_item(item, depth + 1, doubles, &mut inner);
            }
        }
        Value::Map(_) => inner.push_str("{}\n"),
        Value::List(_) => inner.push_str("[]\n"),
        value => {
            inner.push_str(&shown(value, depth + 1, doubles));
            inner.push('\n');
        }
    }
    out.push_str(&format!("{indent}- {}", inner.trim_start_matches(' ')));
}

/// A scalar.
fn shown(value: &Value, depth: usize, doubles: bool) -> String {
    match value {
        Value::Text(text) if doubles => scalar(&text.replace('$', "$$"), depth),
        Value::Text(text) => scalar(text, depth),
        Value::Null => "null".into(),
        Value::Float(number) if number.is_nan() => ".nan".into(),
        Value::Float(number) if number.is_infinite() => match *number > 0.0 {
            true => ".inf".into(),
            false => "-.inf".into(),
        },
        Value::Float(number) => float(*number),
        value => value.shown().unwrap_or_default(),
    }
}

/// A string, in quotes if it would be something else without.
fn scalar(text: &str, depth: usize) -> String {
    let is_odd = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{85}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
    };
    let is_block = text.contains('\n')
        && depth > 0
        && !text.contains(is_odd)
        && !text.starts_with([' ', '\n'])
        && !text.contains(" \n");
    if is_block {
        let kept = text.trim_end_matches('\n');
        let mark = match text.len() - kept.len() {
            0 => "|-",
            1 => "|",
            _ => "|+",
        };
        let indent = "  ".repeat(depth);
        let mut lines: Vec<String> = text
            .split('\n')
            .map(|line| match line {
                "" => String::new(),
                line => format!("{indent}{line}"),
            })
            .collect();
        if text.ends_with('\n') {
            lines.pop();
        }
        return format!("{mark}\n{}", lines.join("\n"));
    }
    if text.contains('\n') || text.contains(is_odd) {
        let mut out = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                odd if is_odd(odd) && u32::from(odd) < 0x100 => {
                    out.push_str(&format!("\\x{:02x}", u32::from(odd)));
                }
                odd if is_odd(odd) => out.push_str(&format!("\\u{:04x}", u32::from(odd))),
                letter => out.push(letter),
            }
        }
        out.push('"');
        return out;
    }
    let words = [
        "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off",
        "OFF", "=", "<<",
    ];
    if !matches!(resolve(text), Value::Text(_)) || words.contains(&text) || is_sexagesimal(text) {
        return match text.is_empty() || text.chars().any(|c| c == '~') {
            _ if text.contains('"') => format!("'{text}'"),
            _ => format!("\"{text}\""),
        };
    }
    let is_special = text.starts_with([
        '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@',
        '`', ' ',
    ]) && !is_plain_dash(text)
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("...");
    match is_special {
        true => format!("'{}'", text.replace('\'', "''")),
        false => text.to_owned(),
    }
}

/// Whether a text may begin with a dash, colon or question mark: no blank is behind it.
fn is_plain_dash(text: &str) -> bool {
    let mut letters = text.chars();
    matches!(letters.next(), Some('-' | '?' | ':'))
        && letters.next().is_some_and(|next| next != ' ')
        && !text.starts_with("---")
}

/// Whether older readers take a text for a number in base 60.
fn is_sexagesimal(text: &str) -> bool {
    let plain = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = plain.split_once('.').map_or(plain, |(whole, _)| whole);
    let mut parts = plain.split(':');
    let first = parts.next().unwrap_or_default();
    let mut count = 0;
    let all = parts.all(|part| {
        count += 1;
        part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60)
    });
    let is_digits = first
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'_');
    all && count > 0 && first.starts_with(|c: char| c.is_ascii_digit()) && is_digits
}

/// A project as JSON, with what docker's has where nothing is said.
pub fn json(root: &Node, is_settled: bool) -> Json {
    let form = Form {
        doubles: is_settled,
        is_bare: is_settled,
    };
    let mut out = Map::new();
    for (key, node) in root.entries() {
        out.insert(key.name.clone(), value(&key.name, node, form));
    }
    if !is_settled {
        return Json::Object(out);
    }
    for service in objects(&mut out, "services") {
        for key in ["command", "entrypoint"] {
            service.entry(key).or_insert(Json::Null);
        }
        if let Some(Json::Object(deploy)) = service.get_mut("deploy") {
            for key in ["resources", "placement"] {
                deploy.entry(key).or_insert(json!({}));
            }
        }
        let develop = service.get_mut("develop").and_then(Json::as_object_mut);
        let watch = develop.and_then(|develop| develop.get_mut("watch")?.as_array_mut());
        for item in watch.into_iter().flatten() {
            if let Json::Object(item) = item {
                item.entry("exec").or_insert(json!({"command": null}));
            }
        }
    }
    for network in objects(&mut out, "networks") {
        network.entry("ipam").or_insert(json!({}));
    }
    Json::Object(out)
}

/// A part of a project as JSON, as it is.
pub fn object(node: &Node) -> Json {
    let form = Form {
        doubles: false,
        is_bare: false,
    };
    value("", node, form)
}

/// How JSON is made.
#[derive(Clone, Copy)]
struct Form {
    /// Whether each `$` is doubled.
    doubles: bool,
    /// Whether keys of which nothing is known (`x-`) are left out.
    is_bare: bool,
}

fn objects<'a>(
    out: &'a mut Map<String, Json>,
    section: &str,
) -> impl Iterator<Item = &'a mut Map<String, Json>> {
    let object = out.get_mut(section).and_then(Json::as_object_mut);
    let values = object.into_iter().flat_map(Map::values_mut);
    values.filter_map(Json::as_object_mut)
}

/// What a key has, as JSON.
fn value(key: &str, node: &Node, form: Form) -> Json {
    let text = |text: &str| match form.doubles {
        true => text.replace('$', "$$"),
        false => text.to_owned(),
    };
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(is) => json!(is),
        Value::Int(number) => json!(number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            json!(*number as i64)
        }
        Value::Float(number) => json!(number),
        Value::Text(own) | Value::Time(own) => json!(text(own)),
        Value::List(items) => items.iter().map(|item| value("", item, form)).collect(),
        Value::Map(entries) => {
            let may_be = |name: &str| {
                !form.is_bare || order(key) == Order::Sorted || !name.starts_with("x-")
            };
            let entries = entries.iter().filter(|(key, _)| may_be(&key.name));
            entries
                .map(|(key, node)| (text(&key.name), value(&key.name, node, form)))
                .collect()
        }
    }
}
