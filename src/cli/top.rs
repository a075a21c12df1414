//! `bryo top`.

use super::Context;
use super::output::{self, Table};
use crate::engine::processes::{Census, Process, TICKS, processes, started};
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Show the processes of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,

    /// Options of ps(1), which then shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Prints the processes, with their ids on the host.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let mut container = context.containers()?.find(&args.container)?;
    let all = processes(&mut container, &mut Census::default())?;
    if !args.options.is_empty() {
        return by_ps(&args.options, &all);
    }
    let heads = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let mut table = Table::new(&heads);
    for process in &all {
        let since = started(process);
        let seconds = process.ticks / TICKS;
        table.row(vec![
            process.uid.to_string(),
            process.pid.to_string(),
            process.parent.to_string(),
            "0".into(),
            since.map_or_else(String::new, |time| time.strftime("%H:%M").to_string()),
            match process.terminal {
                0 => "?".into(),
                // The terminals of devpts have major numbers from 136 up.
                device => format!("pts/{}", device & 0xff),
            },
            format!(
                "{:02}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            ),
            process.command.clone(),
        ]);
    }
    Ok(table.print()?)
}

/// Runs the host's ps and shows of what it prints the lines that are meant.
fn by_ps(options: &[String], all: &[Process]) -> Result<()> {
    let done = Command::new("ps")
        .args(options)
        .output()
        .context("run ps")?;
    if !done.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let column = column.context("ps: its options leave out the column PID")?;
    output::line(head)?;
    for line in lines {
        let pid = line.split_whitespace().nth(column);
        let pid = pid.and_then(|word| word.parse::<i32>().ok());
        if all.iter().any(|process| Some(process.pid) == pid) {
            output::line(line)?;
        }
    }
    Ok(())
}
