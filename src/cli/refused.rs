//! What docker 28 and podman 5 have and bryo has not: named where it is asked for,
//! with what to use instead. `docs/parity.md` is this table, and the suite holds it
//! against the helps of both.

mod flags;
mod verbs;

use self::flags::FLAGS;
use self::verbs::VERBS;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::fmt::Write;
use std::sync::OnceLock;

/// A verb, or flags of verbs, that there are not.
#[derive(Debug)]
pub struct Row {
    /// Verbs, by their shortest names; `*` for any.
    pub verbs: &'static [&'static str],
    /// Flags of them; none where the verbs are meant with all that is below.
    pub flags: &'static [&'static str],
    /// What to use instead, or why nothing is needed.
    pub instead: &'static str,
}

/// All of it. What stands first is taken.
fn table() -> impl Iterator<Item = &'static Row> {
    VERBS.iter().chain(FLAGS)
}

/// A verb by its shortest name.
fn canonical(words: &[&str]) -> String {
    let words = match words {
        ["container", "ls" | "list" | "ps", ..] => vec!["ps"],
        [
            "container",
            verb @ ("exists" | "prune" | "checkpoint" | "restore" | "cleanup" | "clone" | "init"
            | "mount" | "unmount" | "runlabel"),
            ..,
        ] => vec!["container", *verb],
        ["container", rest @ ..] if !rest.is_empty() => rest.to_vec(),
        ["image", "ls" | "list", ..] => vec!["images"],
        ["image", "rm" | "remove", ..] => vec!["rmi"],
        [
            "image",
            verb @ ("pull" | "push" | "save" | "load" | "import" | "history" | "tag" | "untag"),
            ..,
        ] => {
            vec![*verb]
        }
        ["system", verb @ ("info" | "events"), ..] => vec![*verb],
        ["volume" | "network" | "secret", "list" | "remove", ..] => {
            vec![words[0], if words[1] == "list" { "ls" } else { "rm" }]
        }
        ["list", ..] => vec!["ps"],
        other => other.to_vec(),
    };
    words.join(" ")
}

/// What to use instead of a verb, or of its flag; `None` of what is not in the
/// table.
pub fn instead(words: &[&str], flag: Option<&str>) -> Option<&'static str> {
    let verb = canonical(words);
    let whole = |row: &&Row| {
        row.flags.is_empty()
            && row.verbs.iter().any(|of| {
                let rest = verb.strip_prefix(of);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
    };
    let row = match flag {
        None => table().find(whole),
        Some(flag) => table().find(|row| {
            let of = |of: &&str| *of == "*" || *of == verb;
            row.flags.contains(&flag) && row.verbs.iter().any(of)
        }),
    };
    Some(row?.instead)
}

/// What to say of an error about a verb or flag that docker or podman have and
/// bryo does not; `None` for any other error. `words` is the command line.
pub fn explain(error: &clap::Error, words: &[String]) -> Option<String> {
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let wrong = text(ContextKind::InvalidSubcommand)?;
            let end = words.iter().position(|word| *word == wrong)? + 1;
            let verb: Vec<&str> = words[..end]
                .iter()
                .copied()
                .filter(|w| !w.starts_with('-'))
                .collect();
            // Verbs of two words are named by both.
            let longer = words.get(end).map(|next| [&verb[..], &[*next]].concat());
            let found = instead(&verb, None).or_else(|| instead(&longer?, None))?;
            Some(format!(
                "{}: bryo has no such verb: {found}",
                verb.join(" ")
            ))
        }
        ErrorKind::UnknownArgument => {
            let flag = text(ContextKind::InvalidArg)?.split('=').next()?;
            let verb: Vec<&str> = words
                .iter()
                .copied()
                .take_while(|w| !w.starts_with('-'))
                .collect();
            let lengths = (1..=verb.len().min(2)).rev();
            let found = lengths.map(|n| instead(&verb[..n], Some(flag)));
            let found = found
                .flatten()
                .next()
                .or_else(|| instead(&[], Some(flag)))?;
            Some(format!("{flag}: bryo has no such flag: {found}"))
        }
        _ => None,
    }
}

/// The table as it stands in the documentation.
pub fn document() -> String {
    let mut text = String::from(
        "# What docker and podman have and bryo has not\n\n\
         Every verb and flag in the helps of docker 28 and podman 5 is either taken by bryo or in this\n\
         table. Whoever uses one of these is told what stands here. The suite makes it from\n\
         `src/cli/refused`.\n\n| of | what | instead |\n|---|---|---|\n",
    );
    let code = |words: &[&str]| {
        let all: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        all.join(" ")
    };
    for row in table() {
        let instead = row.instead.replace('|', "\\|");
        let (of, what) = match (row.verbs, row.flags) {
            (verbs, []) => (String::new(), verbs),
            (["*"], flags) => ("any verb".to_owned(), flags),
            (verbs, flags) => (code(verbs), flags),
        };
        let _ = writeln!(text, "| {of} | {} | {instead} |", code(what));
    }
    text
}

/// Whether there is a verb, and of it a flag if one is named: `--long` or `-s`.
pub fn is_taken(words: &[&str], flag: Option<&str>) -> bool {
    use clap::CommandFactory;
    static COMMAND: OnceLock<clap::Command> = OnceLock::new();
    let mut at = COMMAND.get_or_init(|| {
        let mut command = super::Cli::command();
        command.build();
        command
    });
    for word in words {
        match at.find_subcommand(word) {
            Some(next) => at = next,
            None => return *words == ["help"],
        }
    }
    let Some(flag) = flag else { return true };
    let has = |argument: &clap::Arg| match (flag.strip_prefix("--"), flag.strip_prefix('-')) {
        (Some(long), _) => {
            let aliases = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(long) || aliases.contains(&long)
        }
        (None, Some(short)) => {
            let aliases = argument.get_all_short_aliases().unwrap_or_default();
            let is = |c: char| short.chars().eq([c]);
            argument.get_short().is_some_and(is) || aliases.into_iter().any(is)
        }
        _ => false,
    };
    at.get_arguments().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_any_name_of_its_verb() {
        for (words, flag) in [
            (&["swarm", "init"][..], None),
            (&["container", "checkpoint"], None),
            (&["container", "run"], Some("--gpus")),
            (&["create"], Some("--link")),
            (&["image", "rm"], Some("--no-prune")),
            (&["ps"], Some("--disable-content-trust")),
        ] {
            assert!(instead(words, flag).is_some(), "{words:?} {flag:?}");
        }
        for (words, flag) in [
            (&["swarmy"][..], None),
            (&["container"], None),
            (&["run"], None),
            (&["ps"], Some("--gpus")),
        ] {
            assert_eq!(instead(words, flag), None, "{words:?} {flag:?}");
        }
    }

    #[test]
    fn errors_name_what_to_use() {
        let said = |line: &str| {
            use clap::Parser;
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = crate::cli::Cli::try_parse_from(&words).unwrap_err();
            explain(&error, &words)
        };
        for (line, begin) in [
            (
                "bryo swarm init",
                "swarm: bryo has no such verb: bryo has no clusters",
            ),
            (
                "bryo run --gpus all deb",
                "--gpus: bryo has no such flag: --device",
            ),
            (
                "bryo container run --link a deb",
                "--link: bryo has no such flag",
            ),
            (
                "bryo volume export v",
                "volume export: bryo has no such verb",
            ),
        ] {
            let text = said(line).unwrap_or_default();
            assert!(text.starts_with(begin), "{line}: {text}");
        }
        assert_eq!(said("bryo run --nothing deb"), None);
        assert_eq!(said("bryo nothing"), None);
    }
}
