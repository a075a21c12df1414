//! The help of bryo itself, its verbs in groups as docker has them.

use super::output;
use anyhow::Result;
use clap::Command;
use std::ffi::OsString;
use std::fmt::Write;

/// What is typed every day.
const COMMON: [&str; 10] = [
    "run", "exec", "ps", "pull", "push", "images", "login", "logout", "info", "version",
];

/// Whether a command line asks for it.
pub fn is_wanted() -> bool {
    let mut words = std::env::args_os().skip(1);
    let first = words.next();
    let asks = first.is_none_or(|word| word == "--help" || word == "-h" || word == "help");
    asks && words.next().is_none()
}

/// `help VERB…` in the words of `VERB… --help`; `None` for any other line.
pub fn of_verb(words: &[OsString]) -> Option<Vec<OsString>> {
    match words {
        [program, help, verb @ ..] if help == "help" && !verb.is_empty() => {
            let mut all = vec![program.clone()];
            all.extend(verb.iter().cloned());
            all.push("--help".into());
            Some(all)
        }
        _ => None,
    }
}

/// Prints it.
pub fn print(command: Command) -> Result<()> {
    Ok(output::line(text(command).trim_end())?)
}

fn text(mut command: Command) -> String {
    command.build();
    let about = command.get_about().map(ToString::to_string);
    let mut text = format!(
        "{}\n\nUsage: bryo [OPTIONS] COMMAND\n",
        about.unwrap_or_default()
    );
    let verbs = || command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let is_common = |verb: &&Command| COMMON.contains(&verb.get_name());
    let common = COMMON
        .iter()
        .filter_map(|name| command.find_subcommand(name));
    section(&mut text, "Common Commands", common);
    let others = || verbs().filter(|verb| !is_common(verb));
    let groups = others().filter(|verb| verb.has_subcommands());
    section(&mut text, "Management Commands", groups);
    let rest = others().filter(|verb| !verb.has_subcommands());
    section(&mut text, "Commands", rest);
    text.push_str("\nOptions:\n");
    for option in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let help = option.get_help().map(ToString::to_string);
        let help = help.unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "  {:<14} {help}", option.to_string());
    }
    text.push_str("\nbryo COMMAND --help tells more of a command.\n");
    text
}

fn section<'a>(text: &mut String, head: &str, verbs: impl Iterator<Item = &'a Command>) {
    let _ = writeln!(text, "\n{head}:");
    for verb in verbs {
        let about = verb.get_about().map(ToString::to_string);
        let _ = writeln!(
            text,
            "  {:<12} {}",
            verb.get_name(),
            about.unwrap_or_default()
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn help_of_a_verb_is_its_flag() {
        let words = |text: &str| text.split(' ').map(Into::into).collect::<Vec<_>>();
        let read = super::of_verb(&words("bryo help volume ls"));
        assert_eq!(read, Some(words("bryo volume ls --help")));
        for other in ["bryo help", "bryo run help", "bryo"] {
            assert_eq!(super::of_verb(&words(other)), None, "{other}");
        }
    }

    #[test]
    fn every_verb_is_in_one_group() {
        let text = super::text(crate::cli::Cli::command());
        let command = crate::cli::Cli::command();
        let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        for verb in shown {
            let start = format!("\n  {} ", verb.get_name());
            assert_eq!(text.matches(&start).count(), 1, "{}", verb.get_name());
        }
        assert!(!text.contains("Complete") && text.contains("--root"));
    }
}
