//! `bryo attach`.

use super::Context;
use super::streams::input_is_a_terminal;
use crate::engine::container::control::WantedStreams;
use crate::engine::container::events::{self, Action};
use crate::engine::container::record::State;
use crate::engine::ground::caller::Caller;
use crate::engine::request::detach_keys;
use crate::engine::supervise::attach::{End, attachment, join};
use crate::error::refuse;
use anyhow::Result;

/// Connect to the standard streams of a container that runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    container: String,

    /// Keys that leave a container with a terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: String,
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

/// Stays until the container ends, and exits as it does.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let detach_keys = detach_keys::parse(&args.detach_keys)?;
    let containers = context.containers()?;
    let mut container = containers.find(&args.container)?;
    container.running_process()?;
    if let State::Paused { .. } = container.state {
        refuse!(
            Conflict,
            "container {} is paused: bryo unpause lets it go on",
            container.record.name
        );
    }
    let wanted = WantedStreams {
        input: !args.no_stdin,
        ..WantedStreams::OUTPUTS
    };
    if container.record.keeping.tty && container.record.keeping.interactive && wanted.input {
        input_is_a_terminal()?;
    }
    let mut attachment = attachment(&container, Caller::command()?, wanted)?;
    attachment.detach_keys = detach_keys;
    attachment.keep_signals = !args.sig_proxy;
    events::emit(&containers, Action::Attach, &container, &[]);
    match join(attachment)? {
        End::Exited(code) => Ok(code),
        End::Left => {
            events::emit(&containers, Action::Detach, &container, &[]);
            Ok(0)
        }
    }
}
