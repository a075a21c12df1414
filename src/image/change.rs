//! Instructions that change an image's configuration, in the words of a
//! Dockerfile: `import --change` and `commit --change`.
//!
//! Pure: text in, JSON out.

use crate::error::{demand, refusal, refuse};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::duration::parse_duration;
use super::expand::{expand, split};
use crate::sys::fs::clean;
use crate::sys::signals;

/// One instruction. What it says may have variables, which are those of the
/// image that it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    text: String,
    instruction: Instruction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Instruction {
    /// Arguments run by default.
    Cmd(Vec<String>),
    /// The program that gets the arguments.
    Entrypoint(Vec<String>),
    /// Environment variables.
    Env(Vec<(String, String)>),
    /// Ports, as `80/tcp`.
    Expose(Vec<String>),
    /// The health check, as docker writes it.
    Healthcheck(Value),
    /// Labels.
    Label(Vec<(String, String)>),
    /// An instruction for who builds on the image.
    OnBuild(String),
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
        let change = || {
            let text = text.trim().to_owned();
            let instruction = parse(&text)?;
            let change = Change { text, instruction };
            // What holds whatever the variables are is said at once.
            if !change.text.contains('$') {
                change.apply(&mut Map::new())?;
            }
            Ok(change)
        };
        // In one line, for it is a flag's error.
        change().map_err(|why: anyhow::Error| refusal!(Invalid, "change {text:?}: {why:#}"))
    }
}

fn parse(text: &str) -> Result<Instruction> {
    // "CMD=x" is podman's.
    let end = text.find(|c: char| c.is_whitespace() || c == '=');
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let word = word.to_ascii_uppercase();
    demand!(
        Invalid,
        !word.is_empty(),
        "an instruction is missing, as CMD"
    );
    let known = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    demand!(
        Invalid,
        known.contains(&word.as_str()),
        "{word} is not one of {}",
        known.join(", ")
    );
    demand!(Invalid, !rest.is_empty(), "{word} needs a value");
    Ok(match word.as_str() {
        "CMD" => Instruction::Cmd(command(rest)),
        "ENTRYPOINT" => Instruction::Entrypoint(command(rest)),
        "ENV" => Instruction::Env(pairs(rest)?),
        "EXPOSE" => Instruction::Expose(split(rest)?),
        "HEALTHCHECK" => Instruction::Healthcheck(health_check(rest)?),
        "LABEL" => Instruction::Label(pairs(rest)?),
        "ONBUILD" => Instruction::OnBuild(trigger(rest)?),
        "STOPSIGNAL" => Instruction::StopSignal(rest.to_owned()),
        "USER" => Instruction::User(rest.to_owned()),
        "VOLUME" if rest.starts_with('[') => Instruction::Volume(list(rest)?),
        "VOLUME" => Instruction::Volume(split(rest)?),
        _ => Instruction::WorkingDir(rest.to_owned()),
    })
}

/// The exec form (a JSON list), or else the shell form.
fn command(text: &str) -> Vec<String> {
    if text.starts_with('[')
        && let Ok(list) = list(text)
    {
        return list;
    }
    vec!["/bin/sh".into(), "-c".into(), text.into()]
}

fn list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).context("not a list of strings, as [\"a\", \"b\"]")
}

/// A port or a range of some, each by itself as docker writes them.
fn ports(text: &str) -> Result<impl Iterator<Item = String>> {
    let what = || format!("{text:?} is no port, as 80, 53/udp or 8000-8010");
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = number.split_once('-').unwrap_or((number, number));
    let first: u16 = first.parse().with_context(what)?;
    let last: u16 = last.parse().with_context(what)?;
    let known = ["tcp", "udp", "sctp"].contains(&protocol.as_str());
    demand!(Invalid, known && first <= last, "{}", what());
    Ok((first..=last).map(move |port| format!("{port}/{protocol}")))
}

/// `[--interval=…] … CMD …`, or `NONE`.
fn health_check(text: &str) -> Result<Value> {
    let mut check = Map::new();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) = flag
            .split_once('=')
            .with_context(|| format!("--{flag} needs a value, as --{flag}=…"))?;
        let key = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => {
                let count: u32 = value
                    .parse()
                    .with_context(|| format!("--retries={value}: a number is wanted"))?;
                check.insert("Retries".into(), count.into());
                continue;
            }
            _ => refuse!(
                Invalid,
                "--{name} is not one of --interval, --timeout, --start-period, \
                 --start-interval, --retries"
            ),
        };
        let time = match value {
            "0" => Duration::ZERO,
            value => parse_duration(value).with_context(|| format!("--{name}={value}"))?,
        };
        demand!(
            Invalid,
            time.is_zero() || time >= Duration::from_millis(1),
            "--{name}={value}: it cannot be less than 1ms"
        );
        check.insert(key.into(), u64::try_from(time.as_nanos())?.into());
    }
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let test = match word.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() && check.is_empty() => vec!["NONE".to_owned()],
        "CMD" if rest.is_empty() => refuse!(Invalid, "a command is missing behind CMD"),
        "CMD" => match list(rest) {
            Ok(words) if rest.starts_with('[') => {
                std::iter::once("CMD".to_owned()).chain(words).collect()
            }
            _ => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        },
        _ => refuse!(
            Invalid,
            "{word:?}: it is CMD and a command, behind its flags, or NONE alone"
        ),
    };
    check.insert("Test".into(), json!(test));
    Ok(Value::Object(check))
}

/// An instruction that is kept for later.
fn trigger(text: &str) -> Result<String> {
    let word = text.split_whitespace().next().unwrap_or_default();
    let word = word.to_ascii_uppercase();
    demand!(
        Invalid,
        !["ONBUILD", "FROM", "MAINTAINER"].contains(&word.as_str()),
        "{word} cannot stand behind ONBUILD"
    );
    Ok(text.to_owned())
}

/// `KEY=VALUE …` with quotes and backslashes, or the old form `KEY VALUE`;
/// both as they are written.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let wanted = "KEY=VALUE is wanted";
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace).context(wanted)?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in split(text)? {
        let (key, value) = word
            .split_once('=')
            .with_context(|| format!("{word}: {wanted}"))?;
        demand!(Invalid, !key.is_empty(), "{word}: {wanted}");
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// The `config` object after all `changes`, of which later ones win.
///
/// # Errors
/// A port, a signal or a variable that is none, named with its instruction.
pub fn apply(changes: &[Change]) -> Result<Value> {
    Ok(Value::Object(apply_to(Map::new(), changes)?))
}

/// The same for an image that has one already. An entry point without a
/// command takes the command that was meant for another.
pub fn apply_to(mut config: Map<String, Value>, changes: &[Change]) -> Result<Map<String, Value>> {
    let has = |wanted: fn(&Instruction) -> bool| changes.iter().any(|c| wanted(&c.instruction));
    if has(|i| matches!(i, Instruction::Entrypoint(_)))
        && !has(|i| matches!(i, Instruction::Cmd(_)))
    {
        config.remove("Cmd");
    }
    // Null stands for nothing in what docker writes.
    config.retain(|_, value| !value.is_null());
    for change in changes {
        change
            .apply(&mut config)
            .with_context(|| format!("change {:?}", change.text))?;
    }
    Ok(config)
}

impl Change {
    fn apply(&self, config: &mut Map<String, Value>) -> Result<()> {
        let env = variables(config);
        let lookup = |name: &str| {
            let found = env.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let plain = |text: &str| expand(text, &lookup);
        match &self.instruction {
            Instruction::Cmd(words) => set(config, "Cmd", json!(words)),
            Instruction::Entrypoint(words) => set(config, "Entrypoint", json!(words)),
            Instruction::Healthcheck(check) => set(config, "Healthcheck", check.clone()),
            Instruction::OnBuild(text) => {
                let list = config.entry("OnBuild").or_insert_with(|| json!([]));
                list.as_array_mut()
                    .context("OnBuild is no list")?
                    .push(json!(text));
            }
            Instruction::StopSignal(text) => {
                let signal = plain(text)?;
                signals::parse(&signal)?;
                set(config, "StopSignal", json!(signal));
            }
            Instruction::User(text) => set(config, "User", json!(plain(text)?)),
            Instruction::WorkingDir(text) => {
                let before = config.get("WorkingDir").and_then(Value::as_str);
                let before = Path::new("/").join(before.unwrap_or_default());
                let path = clean(&before.join(plain(text)?));
                set(config, "WorkingDir", json!(path));
            }
            Instruction::Env(pairs) => {
                let mut all = env.clone();
                for (key, value) in pairs {
                    let (key, value) = (plain(key)?, plain(value)?);
                    demand!(Invalid, !key.is_empty(), "a variable without a name");
                    all.retain(|(known, _)| *known != key);
                    all.push((key, value));
                }
                let all = all.iter().map(|(key, value)| format!("{key}={value}"));
                let all: Vec<String> = all.collect();
                set(config, "Env", json!(all));
            }
            Instruction::Label(pairs) => {
                let labels = config.entry("Labels").or_insert_with(|| json!({}));
                for (key, value) in pairs {
                    labels[plain(key)?] = json!(plain(value)?);
                }
            }
            Instruction::Expose(words) => {
                let mut ports = Vec::new();
                for word in words {
                    for text in plain(word)?.split_whitespace() {
                        ports.extend(self::ports(text)?);
                    }
                }
                add_keys(config, "ExposedPorts", &ports);
            }
            Instruction::Volume(paths) => {
                let paths = paths.iter().map(|path| plain(path));
                let paths = paths.collect::<Result<Vec<_>>>()?;
                demand!(
                    Invalid,
                    paths.iter().all(|path| !path.is_empty()),
                    "a volume is a path, and cannot be empty"
                );
                add_keys(config, "Volumes", &paths);
            }
        }
        Ok(())
    }
}

/// The variables that a configuration sets.
fn variables(config: &Map<String, Value>) -> Vec<(String, String)> {
    let env = config.get("Env").and_then(Value::as_array);
    let entries = env.into_iter().flatten().filter_map(Value::as_str);
    let pairs = entries.map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
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
            apply(&changes).unwrap(),
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
            "VOLUME \"\"",
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK NONE x",
        ] {
            assert!(text.parse::<Change>().is_err(), "{text:?}");
        }
    }

    fn changed(config: Value, texts: &[&str]) -> Result<Value> {
        let changes = texts.iter().map(|text| text.parse());
        let changes: Vec<Change> = changes.collect::<Result<_>>()?;
        let Value::Object(config) = config else {
            panic!("no object")
        };
        Ok(Value::Object(apply_to(config, &changes)?))
    }

    #[test]
    fn variables_are_those_of_the_image() {
        let config = json!({"Env": ["X=x", "P=8080", "EMPTY="], "WorkingDir": "/srv"});
        let changes = [
            "ENV X=new OLD=$X PATH=${X}:${Y:-/bin}",
            "ENV TWO \"$X  $OLD\" '$X'",
            "LABEL l$X=${EMPTY:-none} m=${P:+set}",
            "EXPOSE $P ${P}/udp",
            "USER $X",
            "VOLUME /v/$X [\"no\"]",
            "WORKDIR $X/../y",
            "WORKDIR z",
            "STOPSIGNAL ${SIG:-SIGQUIT}",
            "CMD echo $X",
            "ONBUILD RUN echo $X",
        ];
        assert_eq!(
            changed(config, &changes).unwrap(),
            json!({
                "Env": ["P=8080", "EMPTY=", "X=new", "OLD=x", "PATH=x:/bin", "TWO=new  x $X"],
                "Labels": {"lnew": "none", "m": "set"},
                "ExposedPorts": {"8080/tcp": {}, "8080/udp": {}},
                "User": "new",
                "Volumes": {"/v/new": {}, "[no]": {}},
                "WorkingDir": "/srv/y/z",
                "StopSignal": "SIGQUIT",
                "Cmd": ["/bin/sh", "-c", "echo $X"],
                "OnBuild": ["RUN echo $X"],
            })
        );
    }

    #[test]
    fn health_checks_and_the_form_with_an_equals_sign() {
        let health = "HEALTHCHECK --interval=5s --retries=2 --start-period=0 CMD true";
        assert_eq!(
            changed(
                json!({}),
                &[health, "CMD=[\"a\"]", "env=A=1", "LABEL=x=y=z"]
            )
            .unwrap(),
            json!({
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "true"],
                    "Interval": 5_000_000_000u64,
                    "Retries": 2,
                    "StartPeriod": 0,
                },
                "Cmd": ["a"],
                "Env": ["A=1"],
                "Labels": {"x": "y=z"},
            })
        );
        let ports = changed(json!({}), &["EXPOSE 80/UDP 8000-8002"]).unwrap();
        assert_eq!(
            ports["ExposedPorts"],
            json!({"80/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}})
        );
        let test = |text: &str| changed(json!({}), &[text]).unwrap()["Healthcheck"]["Test"].clone();
        assert_eq!(test("HEALTHCHECK NONE"), json!(["NONE"]));
        assert_eq!(
            test("healthcheck cmd [\"a\", \"b\"]"),
            json!(["CMD", "a", "b"])
        );
    }

    #[test]
    fn refusals_say_why() {
        for (text, why) in [
            ("STOPSIGNAL SIGFOO", "signal 'SIGFOO'"),
            ("STOPSIGNAL $X", "signal 'x'"),
            ("RUN x", "RUN is not one of CMD"),
            ("ENV", "ENV needs a value"),
            ("ENV A", "KEY=VALUE is wanted"),
            ("ENV A=1 B", "B: KEY=VALUE is wanted"),
            ("EXPOSE x", "\"x\" is no port"),
            ("EXPOSE $X", "\"x\" is no port"),
            ("EXPOSE 90-80", "\"90-80\" is no port"),
            ("LABEL a=\"b", "a quote is not closed"),
            ("USER ${NONE:?name it}", "NONE: name it"),
            ("ENV A=${X", "not closed"),
            ("HEALTHCHECK x", "it is CMD and a command"),
            ("HEALTHCHECK --often=1s CMD x", "--often is not one of"),
            ("HEALTHCHECK --retries=x CMD y", "a number is wanted"),
            ("ONBUILD FROM x", "FROM cannot stand behind ONBUILD"),
            ("VOLUME [1]", "not a list of strings"),
        ] {
            let error = changed(json!({"Env": ["X=x"]}), &[text]).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.contains(why) && error.contains(&format!("{text:?}")),
                "{error}"
            );
        }
    }
}
