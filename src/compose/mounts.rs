//! The short form of a volume: `[SOURCE:]TARGET[:OPTIONS]`.

use super::node::{Mark, Node, Value};

/// A short form, taken apart.
struct Short {
    source: String,
    target: String,
    options: String,
}

/// Splits at colons, but for one behind a single letter, which is a drive of Windows, and those
/// in variables.
fn split(text: &str) -> Result<Short, String> {
    let mut parts: Vec<String> = Vec::new();
    let mut part = String::new();
    let mut nested = 0_usize;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_drive = part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        match letter {
            '$' if letters.peek() == Some(&'{') => nested += 1,
            '}' if nested > 0 => nested -= 1,
            ':' if nested == 0 && !is_drive => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let wrong = |why: &str| Err(format!("the volume {text:?} {why}"));
    if parts.iter().any(String::is_empty) {
        return wrong("has nothing between two colons, or at an end");
    }
    let mut parts = parts.into_iter();
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    if parts.next().is_some() {
        return wrong("has too many colons: SOURCE:TARGET:OPTIONS is the form");
    }
    let first = first.unwrap_or_default();
    let (source, target) = match second {
        Some(second) => (first, second),
        None => (String::new(), first),
    };
    let options = third.unwrap_or_default();
    Ok(Short {
        source,
        target,
        options,
    })
}

/// Where in the container it is mounted.
pub fn target(text: &str) -> String {
    split(text).map_or_else(|_| text.to_owned(), |short| short.target)
}

/// The long form.
pub fn parse(text: &str, mark: &Mark) -> Result<Node, String> {
    if text.is_empty() {
        return Err("a volume is empty".into());
    }
    let short = match text.len() {
        1 | 2 => Short {
            source: String::new(),
            target: text.to_owned(),
            options: String::new(),
        },
        _ => split(text)?,
    };
    let is_bind = is_path(&short.source);
    let mut bind: Vec<(&str, Value)> = Vec::new();
    let mut volume: Vec<(&str, Value)> = Vec::new();
    let mut is_read_only = false;
    for option in short.options.split(',') {
        let text = || Value::Text(option.to_owned());
        match option {
            "ro" => is_read_only = true,
            "rw" => is_read_only = false,
            "nocopy" => volume.push(("nocopy", Value::Bool(true))),
            "z" | "Z" => {
                bind.retain(|(key, _)| *key != "selinux");
                bind.push(("selinux", text()));
            }
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                bind.retain(|(key, _)| *key != "propagation");
                bind.push(("propagation", text()));
            }
            _ => {}
        }
    }
    if is_bind {
        bind.push(("create_host_path", Value::Bool(true)));
    }
    let kind = if is_bind { "bind" } else { "volume" };
    let mut entries = vec![("type", Value::Text(kind.into()))];
    if !short.source.is_empty() {
        entries.push(("source", Value::Text(short.source)));
    }
    entries.push(("target", Value::Text(clean(&short.target))));
    if is_read_only {
        entries.push(("read_only", Value::Bool(true)));
    }
    let mut mount = Node::map(entries, mark);
    if is_bind || !bind.is_empty() {
        mount.set("bind", Node::map(bind, mark));
    }
    if !is_bind || !volume.is_empty() {
        mount.set("volume", Node::map(volume, mark));
    }
    Ok(mount)
}

/// Whether a source is a path, not the name of a volume.
fn is_path(source: &str) -> bool {
    let mut letters = source.chars();
    let first = letters.next();
    source.starts_with(['.', '/', '~'])
        || source.starts_with(r"\\")
        || (first.is_some_and(char::is_alphabetic) && letters.next() == Some(':'))
}

/// A path without what makes no difference: `.`, `..` and doubled slashes.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if is_absolute => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".into(),
        (false, path) => path,
    }
}
