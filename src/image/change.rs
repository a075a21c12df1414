//! Instructions that change an image's configuration, in the words of a
//! Dockerfile: `import --change` and `commit --change`.
//!
//! Pure: text in, JSON out.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Arguments run by default.
    Cmd(Vec<String>),
    /// The program that gets the arguments.
    Entrypoint(Vec<String>),
    /// Environment variables.
    Env(Vec<(String, String)>),
    /// Ports, as `80/tcp`.
    Expose(Vec<String>),
    /// Labels.
    Label(Vec<(String, String)>),
    /// The signal that stops it.
    StopSignal(String),
    /// User and group.
    User(String),
    /// Directories that hold data.
    Volume(Vec<String>),
    /// The working directory.
    WorkingDir(String),
}

impl FromStr for Change {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Change> {
        parse(text.trim()).with_context(|| format!("change {text:?}"))
    }
}

fn parse(text: &str) -> Result<Change> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let word = word.to_ascii_uppercase();
    ensure!(!rest.is_empty(), "{word} needs a value");
    Ok(match word.as_str() {
        "CMD" => Change::Cmd(command(rest)?),
        "ENTRYPOINT" => Change::Entrypoint(command(rest)?),
        "ENV" => Change::Env(pairs(rest)?),
        "EXPOSE" => Change::Expose(
            rest.split_whitespace()
                .map(port)
                .collect::<Result<Vec<_>>>()?,
        ),
        "LABEL" => Change::Label(pairs(rest)?),
        "STOPSIGNAL" => Change::StopSignal(rest.to_owned()),
        "USER" => Change::User(rest.to_owned()),
        "VOLUME" if rest.starts_with('[') => Change::Volume(list(rest)?),
        "VOLUME" => Change::Volume(rest.split_whitespace().map(str::to_owned).collect()),
        "WORKDIR" => Change::WorkingDir(rest.to_owned()),
        _ => bail!(
            "{word} is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, \
             VOLUME, WORKDIR"
        ),
    })
}

/// The exec form (a JSON list), or else the shell form.
fn command(text: &str) -> Result<Vec<String>> {
    if text.starts_with('[')
        && let Ok(list) = list(text)
    {
        return Ok(list);
    }
    Ok(vec!["/bin/sh".into(), "-c".into(), text.into()])
}

fn list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).context("not a list of strings")
}

fn port(text: &str) -> Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let bounds: Vec<&str> = number.split('-').collect();
    let valid = bounds.len() <= 2 && bounds.iter().all(|n| n.parse::<u16>().is_ok());
    ensure!(
        valid && ["tcp", "udp", "sctp"].contains(&protocol),
        "{text:?} is no port"
    );
    Ok(format!("{number}/{protocol}"))
}

/// `KEY=VALUE …` with quotes and backslashes, or the old form `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .context("expected KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words(text)? {
        let (key, value) = word.split_once('=').context("expected KEY=VALUE")?;
        ensure!(!key.is_empty(), "expected KEY=VALUE");
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Splits at blanks that are neither quoted nor escaped.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let next = chars.next().context("nothing follows the last backslash")?;
                word.get_or_insert_default().push(next);
            }
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    words.extend(word);
    Ok(words)
}

/// The `config` object after all `changes`, of which later ones win.
pub fn apply(changes: &[Change]) -> Value {
    Value::Object(apply_to(Map::new(), changes))
}

/// The same for an image that has one already. An entry point without a
/// command takes the command that was meant for another.
pub fn apply_to(mut config: Map<String, Value>, changes: &[Change]) -> Map<String, Value> {
    let has = |wanted: fn(&Change) -> bool| changes.iter().any(wanted);
    if has(|c| matches!(c, Change::Entrypoint(_))) && !has(|c| matches!(c, Change::Cmd(_))) {
        config.remove("Cmd");
    }
    // Null stands for nothing in what docker writes.
    config.retain(|_, value| !value.is_null());
    for change in changes {
        match change {
            Change::Cmd(words) => set(&mut config, "Cmd", json!(words)),
            Change::Entrypoint(words) => set(&mut config, "Entrypoint", json!(words)),
            Change::StopSignal(signal) => set(&mut config, "StopSignal", json!(signal)),
            Change::User(user) => set(&mut config, "User", json!(user)),
            Change::WorkingDir(path) => set(&mut config, "WorkingDir", json!(path)),
            Change::Env(pairs) => {
                let env = config.entry("Env").or_insert_with(|| json!([]));
                let Some(env) = env.as_array_mut() else {
                    continue;
                };
                for (key, value) in pairs {
                    let start = format!("{key}=");
                    env.retain(|known| !known.as_str().is_some_and(|k| k.starts_with(&start)));
                    env.push(json!(start + value));
                }
            }
            Change::Label(pairs) => {
                let labels = config.entry("Labels").or_insert_with(|| json!({}));
                for (key, value) in pairs {
                    labels[key] = json!(value);
                }
            }
            Change::Expose(ports) => add_keys(&mut config, "ExposedPorts", ports),
            Change::Volume(paths) => add_keys(&mut config, "Volumes", paths),
        }
    }
    config
}

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

fn add_keys(config: &mut Map<String, Value>, key: &str, names: &[String]) {
    let set = config.entry(key).or_insert_with(|| json!({}));
    for name in names {
        set[name] = json!({});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_become_a_configuration() {
        let changes: Vec<Change> = [
            "CMD [\"sh\", \"-c\", \"a b\"]",
            "cmd echo hi",
            "ENTRYPOINT [\"/e\"]",
            "ENV A=1 B=\"two words\" C=d\\ e",
            "ENV A 3 4",
            "LABEL x=y 'q r'=s",
            "EXPOSE 80 53/udp",
            "VOLUME /a /b",
            "VOLUME [\"/c d\"]",
            "USER me:us",
            "WORKDIR /w",
            "STOPSIGNAL SIGQUIT",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        assert_eq!(
            apply(&changes),
            json!({
                "Cmd": ["/bin/sh", "-c", "echo hi"],
                "Entrypoint": ["/e"],
                "Env": ["B=two words", "C=d e", "A=3 4"],
                "Labels": {"x": "y", "q r": "s"},
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "Volumes": {"/a": {}, "/b": {}, "/c d": {}},
                "User": "me:us",
                "WorkingDir": "/w",
                "StopSignal": "SIGQUIT",
            })
        );
        for text in [
            "",
            "CMD",
            "RUN x",
            "ENV A",
            "EXPOSE x",
            "EXPOSE 1/x",
            "ENV A=\"b",
        ] {
            assert!(text.parse::<Change>().is_err(), "{text:?}");
        }
    }
}
