//! `bryo healthcheck`.

use super::Context;
use super::output;
use crate::engine::supervise::supervisor::checker;
use crate::error::refuse;
use anyhow::Result;

/// Check the health of a container now
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run the container's health check, and tell by the exit code: 0 for
    /// healthy, 1 for unhealthy. It is not counted among those that are run by
    /// themselves
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Name or id
    container: String,
    /// A check that is failed is no error
    #[arg(long)]
    ignore_result: bool,
}

/// Runs the check.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let Verb::Run(args) = &args.verb;
    let mut container = context.containers()?.find(&args.container)?;
    let Some(check) = container.record.keeping.health.clone() else {
        refuse!(
            Invalid,
            "container {} has no health check: --health-cmd of run makes one",
            container.record.name
        );
    };
    // That it does not run is no finding.
    container.running_process()?;
    let finding = checker::check_once(&mut container, &check);
    if finding.exit_code == 0 {
        return Ok(0);
    }
    output::line("unhealthy")?;
    Ok(i32::from(!args.ignore_result))
}
