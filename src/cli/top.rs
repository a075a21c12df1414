//! `bryo top`.

use super::Context;
use super::output::{self, Table};
use crate::engine::operate::processes::{Census, processes};
use crate::engine::view;
use anyhow::Result;

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
        let lines = view::top::by_ps(&args.options, &all)?;
        return lines.iter().try_for_each(|line| Ok(output::line(line)?));
    }
    let top = view::top::Top::of(&all);
    let titles: Vec<&str> = top.titles.iter().map(String::as_str).collect();
    let mut table = Table::new(&titles);
    for process in top.processes {
        table.row(process);
    }
    Ok(table.print()?)
}
