//! `bryo doctor`: what containers need, what is there, what to do.

use super::output::Format;
use super::{Context, output};
use crate::engine::machine::Machine;
use crate::engine::machine::diagnosis::{Diagnosis, Finding, Grade};
use anyhow::Result;
use std::fmt::Write;

/// Tell what keeps containers from running well here, and what to do about it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the diagnosis; the exit code is 1 if containers cannot run.
pub fn run(args: &Args, ctx: &Context) -> Result<i32> {
    let diagnosis = Machine::look(&ctx.root).diagnose();
    match args.format {
        Format::Json => output::line(serde_json::to_string(&diagnosis)?)?,
        Format::Table => output::line(screen(&diagnosis, output::colours()).trim_end())?,
    }
    Ok(if diagnosis.containers { 0 } else { 1 })
}

fn screen(diagnosis: &Diagnosis, colours: bool) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        lines(&mut text, finding, colours);
    }
    let verdict = match diagnosis.containers {
        true => "Containers can run.",
        false => "Containers cannot run.",
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

/// The width of what stands before the texts of advice.
const INDENT: usize = 10;

fn lines(text: &mut String, finding: &Finding, colours: bool) {
    let (word, colour) = match finding.grade {
        Grade::Good => ("good", 32),
        Grade::Degraded => ("degraded", 33),
        Grade::Missing => ("missing", 31),
    };
    let shown = format!("{word:<width$}", width = INDENT);
    let shown = match colours {
        true => format!("\x1b[{colour}m{shown}\x1b[0m"),
        false => shown,
    };
    let _ = writeln!(text, "{shown}{}: {}", finding.subject, finding.state);
    for advice in &finding.advice {
        indented(text, "", &advice.cause);
        for (who, what) in [("you", &advice.user), ("admin", &advice.administrator)] {
            if let Some(what) = what {
                indented(text, &format!("{who}: "), what);
            }
        }
    }
}

fn indented(text: &mut String, label: &str, what: &str) {
    for (index, line) in what.lines().enumerate() {
        // What goes on is set in, as a file's content is below its name.
        let (label, deeper) = match index {
            0 => (label, 2),
            _ => ("", 4),
        };
        let _ = writeln!(
            text,
            "{:indent$}{label}{line}",
            "",
            indent = INDENT + deeper
        );
    }
}
