//! The configuration of an image that is being built, and its history, as BuildKit
//! writes them. Pure.

use crate::image::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What every history entry of BuildKit's says.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// What programs are looked for in where an image does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image's configuration (OCI image specification, config.md) without its layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config(Map<String, Value>);

impl Config {
    /// That of an image without files, for a platform.
    pub fn scratch(platform: &Platform) -> Config {
        let mut config = Config(Map::new());
        config.set_top("architecture", json!(platform.architecture));
        config.set_top("os", json!(platform.os));
        if !platform.variant.is_empty() {
            config.set_top("variant", json!(platform.variant));
        }
        config.set("WorkingDir", json!("/"));
        config.with_path()
    }

    /// That of an image, to be changed.
    pub fn of_image(mut document: Map<String, Value>, platform: &Platform) -> Config {
        // Docker's notes about the container that it was made of.
        for old in [
            "container",
            "container_config",
            "docker_version",
            "id",
            "parent",
            "created",
        ] {
            document.remove(old);
        }
        for (key, own) in [
            ("os", &platform.os),
            ("architecture", &platform.architecture),
        ] {
            let said = document.get(key).and_then(Value::as_str);
            if said.is_none_or(str::is_empty) {
                document.insert(key.into(), json!(own));
            }
        }
        Config(document).with_path()
    }

    fn with_path(mut self) -> Config {
        if !self.env().iter().any(|(name, _)| name == "PATH") {
            self.set_env("PATH", PATH);
        }
        self
    }

    fn set_top(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// Who made it.
    pub fn set_author(&mut self, author: &str) {
        self.set_top("author", json!(author));
    }

    fn inner(&mut self) -> &mut Map<String, Value> {
        let inner = self.0.entry("config").or_insert_with(|| json!({}));
        if !inner.is_object() {
            *inner = json!({});
        }
        inner.as_object_mut().expect("it was made an object")
    }

    /// A field of its `config` object.
    pub fn get(&self, key: &str) -> &Value {
        static NULL: Value = Value::Null;
        self.0
            .get("config")
            .and_then(|inner| inner.get(key))
            .unwrap_or(&NULL)
    }

    /// Sets one.
    pub fn set(&mut self, key: &str, value: Value) {
        self.inner().insert(key.to_owned(), value);
    }

    /// Takes one away.
    pub fn unset(&mut self, key: &str) {
        self.inner().remove(key);
    }

    /// A text among them; empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).as_str().unwrap_or_default()
    }

    /// A list of texts among them.
    pub fn list(&self, key: &str) -> Vec<String> {
        let all = self.get(key).as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Adds to a list.
    pub fn push(&mut self, key: &str, text: &str) {
        let mut all = self.list(key);
        all.push(text.to_owned());
        self.set(key, json!(all));
    }

    /// Adds to what is a set, or a table of texts.
    pub fn insert(&mut self, key: &str, name: &str, value: Value) {
        let table = self.inner().entry(key).or_insert_with(|| json!({}));
        if !table.is_object() {
            *table = json!({});
        }
        table[name] = value;
    }

    /// Its variables, in order.
    pub fn env(&self) -> Vec<(String, String)> {
        let pair = |text: String| {
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            (name.to_owned(), value.to_owned())
        };
        self.list("Env").into_iter().map(pair).collect()
    }

    /// Sets a variable, at its place if there is one of that name.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let mut all = self.env();
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value.to_owned(),
            None => all.push((name.to_owned(), value.to_owned())),
        }
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.set("Env", json!(all));
    }

    /// Adds to the history: what made it, when (RFC 3339), and whether there is a layer.
    pub fn record(&mut self, created_by: &str, created: &str, is_layer: bool) {
        let mut entry = json!({
            "created": created,
            "created_by": created_by,
            "comment": COMMENT,
        });
        if !is_layer {
            entry["empty_layer"] = json!(true);
        }
        let history = self.0.entry("history").or_insert_with(|| json!([]));
        match history.as_array_mut() {
            Some(history) => history.push(entry),
            None => *history = json!([entry]),
        }
    }

    /// The whole document for layers of these diff-ids, made at `created`.
    pub fn document(&self, diff_ids: &[String], created: &str) -> Vec<u8> {
        let mut document = self.0.clone();
        document.insert("created".into(), json!(created));
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        document.insert("rootfs".into(), rootfs);
        Value::Object(document).to_string().into_bytes()
    }
}

/// Texts as Go's `%q` writes a slice of them.
pub fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// A text as Go's `%q` writes it.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\u{7}' => quoted += "\\a",
            '\u{8}' => quoted += "\\b",
            '\u{c}' => quoted += "\\f",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\u{b}' => quoted += "\\v",
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                quoted += &format!("\\x{:02x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A small number as Go's `%q` writes it, which takes it for a character.
pub fn quoted_number(number: u32) -> String {
    match char::from_u32(number) {
        Some('\'') => "'\\''".into(),
        Some(c) => {
            let inner = quote(&c.to_string());
            let inner = inner.trim_matches('"').replace("\\\"", "\"");
            format!("'{inner}'")
        }
        None => "'\u{fffd}'".into(),
    }
}

/// A time as Go writes it: `1h2m3.5s`.
pub fn go_duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let fraction = |nanos: u128, unit: u128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let width = unit.ilog10() as usize;
        let rest = format!("{rest:0width$}");
        let rest = rest.trim_end_matches('0');
        match rest {
            "" => format!("{whole}{name}"),
            rest => format!("{whole}.{rest}{name}"),
        }
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanos, 1_000_000, "ms"),
        _ => {
            let seconds = time.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = nanos % 60_000_000_000;
            let rest = fraction(rest, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, minutes) => format!("{minutes}m{rest}"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_it() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500, "1.5µs"),
            (1_000_000, "1ms"),
            (5_000_000_000, "5s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(quoted_number(0), "'\\x00'");
        assert_eq!(quoted_number(3), "'\\x03'");
        assert_eq!(quoted_number(65), "'A'");
        let words = ["a \"b\"\n".to_owned(), "é".to_owned()];
        assert_eq!(quoted(&words), "[\"a \\\"b\\\"\\n\" \"é\"]");
    }

    #[test]
    fn variables_keep_their_places() {
        let mut config = Config::scratch(&Platform::host());
        assert_eq!(config.list("Env"), [format!("PATH={PATH}")]);
        config.set_env("A", "1");
        config.set_env("PATH", "/bin");
        config.set_env("A", "2");
        assert_eq!(config.list("Env"), ["PATH=/bin", "A=2"]);
    }
}
