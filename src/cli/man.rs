//! `bryo man`: manual pages, in roff as man(7) has it, of the same
//! definitions that make the help.

use super::Cli;
use crate::image::output::{self, Output};
use anyhow::{Context as _, Result};
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;

/// Write manual pages
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to, as ~/.local/share/man/man1
    directory: PathBuf,
}

/// Writes `bryo.1`, and `bryo-VERB.1` for each verb.
pub fn run(args: &Args) -> Result<()> {
    let mut top = Cli::command();
    top.build();
    let directory = &args.directory;
    let mut pages = vec![("bryo".to_owned(), page("bryo", &top))];
    collect(&mut pages, "bryo", &top);
    output::directory(directory, || {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        pages.iter().try_for_each(|(name, text)| {
            let path = directory.join(format!("{name}.1"));
            let output = Output::new(&path)?;
            let written = (&output).write_all(text.as_bytes());
            written.with_context(|| format!("write {}", path.display()))?;
            output.finish()
        })
    })?;
    Ok(super::output::line(format_args!(
        "{} pages in {}",
        pages.len(),
        directory.display()
    ))?)
}

fn collect(pages: &mut Vec<(String, String)>, above: &str, command: &Command) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("{above}-{}", verb.get_name());
        pages.push((name.clone(), page(&name, verb)));
        collect(pages, &name, verb);
    }
}

fn page(name: &str, command: &Command) -> String {
    let mut out = format!(
        ".TH {} 1 \"\" \"bryo {}\"\n.SH NAME\n{} \\- ",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escape(name)
    );
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let _ = writeln!(out, "{}\n.SH SYNOPSIS", escape(&about));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage: ").to_owned();
    let _ = writeln!(out, "{}", escape(&usage));
    if let Some(long) = command.get_long_about() {
        let _ = writeln!(out, ".SH DESCRIPTION\n{}", escape(&long.to_string()));
    }
    let shown = |arg: &&Arg| !arg.is_hide_set();
    section(
        &mut out,
        "ARGUMENTS",
        command.get_positionals().filter(shown),
    );
    let flags = command.get_arguments().filter(|arg| !arg.is_positional());
    let (shared, own): (Vec<&Arg>, Vec<&Arg>) =
        flags.filter(shown).partition(|arg| arg.is_global_set());
    section(&mut out, "OPTIONS", own.into_iter().chain(shared));
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for (number, verb) in verbs.enumerate() {
        if number == 0 {
            out.push_str(".SH COMMANDS\n");
        }
        let about = verb
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let page = format!("{name}-{}(1)", verb.get_name());
        let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{}", escape(&page), escape(&about));
    }
    out
}

fn section<'a>(out: &mut String, head: &str, args: impl Iterator<Item = &'a Arg>) {
    for (number, arg) in args.enumerate() {
        if number == 0 {
            let _ = writeln!(out, ".SH {head}");
        }
        let help = arg.get_long_help().or(arg.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            out,
            ".TP\n\\fB{}\\fR\n{}",
            escape(&arg.to_string()),
            escape(&help)
        );
    }
}

/// Text that roff shows as it is.
fn escape(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
