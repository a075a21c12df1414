//! `bryo update`.

use super::Context;
use super::error;
use super::limits::Limits;
use super::output;
use crate::engine::container::events::{self, Action};
use crate::engine::create::limits;
use crate::engine::operate::lifecycle;
use crate::engine::request::restart::Restart;
use crate::error::{Kind, OrKind, refuse};
use anyhow::Result;

/// Change how containers are looked after, and what they may use
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    containers: Vec<String>,

    /// When to start them again: no, on-failure[:TIMES], always,
    /// unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<Restart>,
    #[command(flatten)]
    limits: Limits,
}

/// Changes each container, and prints what it was called by.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let wanted = args.limits.read().or_kind(Kind::Invalid)?;
    let limited = wanted.any();
    if args.restart.is_none() && !limited {
        refuse!(
            AlreadySo,
            "nothing to change: give --restart or a limit, as --memory 512m"
        );
    }
    let containers = context.containers()?;
    super::each(&args.containers, |name| {
        let mut container = containers.find(name)?;
        container.await_start()?;
        if limited {
            limits::update(&mut container, &|resources| wanted.apply(resources))?;
            events::emit(&containers, Action::Update, &container, &[]);
        }
        if let Some(policy) = args.restart {
            let before = container.restart_policy();
            lifecycle::set_policy(&containers, &mut container, policy)?;
            if before == Restart::No && container.state.is_active() {
                error::warn(&format!("{name}: the policy holds from its next start on"));
            }
        }
        Ok(output::line(name)?)
    })
}
