//! `bryo stop` and `bryo restart`.

use super::Context;
use super::chosen::Chosen;
use super::error;
use super::output;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::events::{self, Action};
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle::{self, Stopping};
use crate::error::refuse;
use crate::sys::signals;
use anyhow::Result;

/// Stop containers: ask them to end, and kill those that do not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,

    /// Seconds to wait before they are killed; -1 is for ever [default: the
    /// container's --stop-timeout, else 10]
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    time: Option<i64>,
    /// The signal that asks [default: the container's]
    #[arg(short, long)]
    signal: Option<String>,
}

/// Stops the containers side by side, and prints what each was called by.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let names = args.chosen.names(context, |c| c.state.is_active())?;
    stop(&containers, &names, args, false, |name, _| {
        Ok(output::line(name)?)
    })
}

/// Restart containers
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    stop: Args,
}

/// Stops and starts the containers, and prints what each was called by.
pub fn restart(args: &RestartArgs, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let args = &args.stop;
    let names = args.chosen.names(context, |c| c.state.is_active())?;
    let how = Launch {
        inherited: context.inherited.clone(),
        sockets: context.sockets.clone(),
        ..Launch::default()
    };
    stop(&containers, &names, args, true, |name, container| {
        if container.record.auto_remove && container.state.is_active() {
            refuse!(
                NotFound,
                "container {name} was removed when it ended (--rm)"
            );
        }
        let container = containers.find(&container.record.id)?;
        let caller = Caller::command()?;
        lifecycle::start(&containers, container.clone(), &how, caller, &error::warn)?;
        events::emit(&containers, Action::Restart, &container, &[]);
        Ok(output::line(name)?)
    })
}

/// Asks all, then waits for each.
fn stop(
    containers: &Containers,
    names: &[String],
    args: &Args,
    keep_policy: bool,
    mut then: impl FnMut(&str, &Container) -> Result<()>,
) -> Result<()> {
    let signal = args.signal.as_deref().map(signals::parse).transpose()?;
    let mut asked: Vec<(String, Container, Stopping)> = Vec::new();
    let first = super::each(names, |name| {
        let container = containers.find(name)?;
        let stopping = lifecycle::begin_stop(
            containers,
            container.clone(),
            signal,
            args.time,
            keep_policy,
        )?;
        asked.push((name.to_owned(), container, stopping));
        Ok(())
    });
    let mut last = first;
    for (name, container, stopping) in asked {
        let done =
            lifecycle::finish_stop(containers, stopping).and_then(|()| then(&name, &container));
        if let Err(e) = done
            && let Err(earlier) = std::mem::replace(&mut last, Err(e))
        {
            error::report(&earlier);
        }
    }
    last
}
