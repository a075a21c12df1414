//! Settings as the defaults of flags.

use crate::error::refusal;
use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::{Arg, Command, CommandFactory};

use super::Cli;
use crate::engine::ground::config::{self, KEYS, Key, Settings};
use crate::engine::view::info::Setting;

/// Groups whose verbs have the same flags as those of that name alone.
const GROUPS: [&str; 4] = ["image", "container", "system", "manifest"];

/// Verbs that work whatever the files say.
const TELLING: [&str; 6] = ["version", "info", "doctor", "completion", "complete", "man"];

/// The command line with the settings that concern the verb of `words`, if
/// there are any.
pub fn command(words: &[OsString]) -> Result<Option<Command>> {
    let path = verbs(words);
    let own_root = std::env::var_os("BRYO_ROOT").is_some_and(|root| !root.is_empty());
    let wanted = |key: &Key| match key.verbs {
        [] => !own_root,
        verbs => path.iter().any(|verb| verbs.contains(verb)),
    };
    let settings = match config::load(wanted) {
        // Those tell what is wrong.
        Err(_) if path.iter().any(|verb| TELLING.contains(verb)) => return Ok(None),
        settings => settings?,
    };
    if settings.is_empty() {
        return Ok(None);
    }
    let mut command = Cli::command();
    // Flags are there once it is built.
    command.build();
    with(command, &path, &settings).map(Some)
}

/// The verb that is called for, with its group.
fn verbs(words: &[OsString]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next().map(|word| word.to_str().unwrap_or_default()) {
        match word {
            "--root" => drop(words.next()),
            flag if flag.starts_with('-') => {}
            verb => {
                found.push(if verb == "ls" || verb == "list" {
                    "images"
                } else {
                    verb
                });
                if !GROUPS.contains(&verb) || found.len() > 1 {
                    break;
                }
            }
        }
    }
    found
}

fn with(mut command: Command, path: &[&str], settings: &Settings) -> Result<Command> {
    for (name, setting) in settings {
        let Some(key) = KEYS.iter().find(|key| key.name == *name) else {
            continue;
        };
        let set = |argument: Arg| -> Arg {
            match argument.get_id() == key.argument {
                true => argument.default_value(leaked(&setting.value)),
                false => argument,
            }
        };
        let check = |command: &Command| -> Result<bool> {
            let mut arguments = command.get_arguments();
            let Some(argument) = arguments.find(|argument| argument.get_id() == key.argument)
            else {
                return Ok(false);
            };
            valid(argument, &setting.value)
                .and_then(|()| key.check(&setting.value))
                .with_context(|| format!("{}: {name}", setting.file.display()))?;
            Ok(true)
        };
        if key.verbs.is_empty() {
            if check(&command)? {
                command = command.mut_args(set);
            }
            continue;
        }
        command = deep(command, path, &check, &|below| below.mut_args(set))?;
    }
    Ok(command)
}

/// Changes the command at the end of `path`, and those on the way that have
/// the flag.
fn deep(
    command: Command,
    path: &[&str],
    check: &dyn Fn(&Command) -> Result<bool>,
    change: &dyn Fn(Command) -> Command,
) -> Result<Command> {
    let command = match check(&command)? {
        true => change(command),
        false => command,
    };
    let Some((verb, rest)) = path.split_first() else {
        return Ok(command);
    };
    let found = command.get_subcommands().find(|below| {
        below.get_name() == *verb
            || below.get_all_aliases().any(|alias| alias == *verb)
            || *verb == "images" && below.get_name() == "ls"
    });
    let Some(name) = found.map(|below| below.get_name().to_owned()) else {
        return Ok(command);
    };
    let mut result = Ok(());
    let command = command.mut_subcommand(name, |below| {
        match deep(below.clone(), rest, check, change) {
            Ok(changed) => changed,
            Err(error) => {
                result = Err(error);
                below
            }
        }
    });
    result.map(|()| command)
}

/// The process ends before this matters.
fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

/// Fails unless the flag would take the value.
fn valid(argument: &Arg, value: &str) -> Result<()> {
    let long = argument.get_long().context("it is no flag")?;
    let alone = Command::new("bryo").arg(argument.clone());
    let words = ["bryo".to_owned(), format!("--{long}={value}")];
    alone
        .try_get_matches_from(words)
        .map(drop)
        .map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            refusal!(Invalid, "{}", line.strip_prefix("error: ").unwrap_or(line))
        })
}

/// All settings, each with its value and where that is from.
pub fn in_force() -> Result<Vec<Setting>> {
    let settings = config::load(|_| true)?;
    let mut top = Cli::command();
    top.build();
    let own_root = std::env::var("BRYO_ROOT")
        .ok()
        .filter(|root| !root.is_empty());
    let of_key = |key: &Key| -> Setting {
        if let ("root", Some(root)) = (key.name, &own_root) {
            return Setting {
                name: key.name,
                value: Some(root.clone()),
                from: "BRYO_ROOT".to_owned(),
            };
        }
        if let Some(setting) = settings.get(key.name) {
            return Setting {
                name: key.name,
                value: Some(setting.value.clone()),
                from: setting.file.display().to_string(),
            };
        }
        let command = match key.verbs.first() {
            Some(verb) => top.find_subcommand(verb),
            None => Some(&top),
        };
        let arguments = command.into_iter().flat_map(Command::get_arguments);
        let default = arguments
            .filter(|argument| argument.get_id() == key.argument)
            .find_map(|argument| argument.get_default_values().first().cloned());
        Setting {
            name: key.name,
            value: default.map(|value| value.to_string_lossy().into_owned()),
            from: "built in".to_owned(),
        }
    };
    Ok(KEYS.iter().map(of_key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key is the default of a flag that is there.
    #[test]
    fn keys_have_their_flags() {
        let mut top = Cli::command();
        top.build();
        for key in KEYS {
            let has = |command: &Command| {
                let mut arguments = command.get_arguments();
                arguments.any(|argument| argument.get_id() == key.argument)
            };
            let below = |verb: &str| {
                let command = top.find_subcommand(verb).unwrap();
                has(command) || command.get_subcommands().any(has)
            };
            let found = match key.verbs {
                [] => has(&top),
                verbs => verbs.iter().all(|verb| below(verb)),
            };
            assert!(found, "{}", key.name);
        }
    }

    /// What takes a value and is not about registries or who is attached.
    #[test]
    fn the_table_has_all_flags() {
        let mut top = Cli::command();
        top.build();
        let others = [
            "attach",
            "authfile",
            "cert-dir",
            "creds",
            "parallel",
            "retry",
            "retry-delay",
            "root",
            "sig-proxy",
            "stall-timeout",
            "tls-verify",
        ];
        let mut found = std::collections::BTreeSet::new();
        for verb in ["run", "create", "exec", "update"] {
            for argument in top.find_subcommand(verb).unwrap().get_arguments() {
                let long = argument.get_long().filter(|long| !others.contains(long));
                let takes = argument.get_action().takes_values();
                found.extend(long.filter(|_| takes).map(str::to_owned));
            }
        }
        let flags = crate::engine::request::flags::FLAGS.iter();
        let known = flags.map(|flag| flag.name.to_owned()).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn verbs_are_found() {
        let verbs = |line: &str| -> Vec<String> {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            super::verbs(&words)
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(verbs("bryo run -it x pull"), ["run"]);
        assert_eq!(verbs("bryo --root /x pull y"), ["pull"]);
        assert_eq!(verbs("bryo image pull y"), ["image", "pull"]);
        assert_eq!(verbs("bryo image ls"), ["image", "images"]);
        assert_eq!(verbs("bryo"), [""; 0]);
    }
}
