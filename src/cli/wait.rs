//! `bryo wait`.

use super::chosen::Chosen;
use super::{Context, error, output};
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::health::Status;
use crate::engine::container::record::State;
use crate::engine::operate::lifecycle;
use crate::engine::request::health::time;
use anyhow::{Context as _, Result};
use std::time::Duration;

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,

    /// Wait until it is so, or one of these: exited (or stopped), created (or configured), running,
    /// paused, healthy, unhealthy, removing. Of what has not ended -1 is printed
    #[arg(long, value_name = "STATE", value_parser = super::words(Condition::WORDS, Condition::of))]
    condition: Vec<Condition>,
    /// How often to look, if it is for another state than the end
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    interval: String,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Exited,
    Created,
    Running,
    Paused,
    Healthy,
    Unhealthy,
    Removing,
}

impl Condition {
    /// Podman's words.
    const WORDS: [&'static str; 11] = [
        "exited",
        "stopped",
        "created",
        "configured",
        "initialized",
        "running",
        "paused",
        "healthy",
        "unhealthy",
        "removing",
        "stopping",
    ];

    fn of(word: &str) -> Condition {
        match word {
            "created" | "configured" | "initialized" => Condition::Created,
            "running" => Condition::Running,
            "paused" => Condition::Paused,
            "healthy" => Condition::Healthy,
            "unhealthy" => Condition::Unhealthy,
            "removing" => Condition::Removing,
            _ => Condition::Exited,
        }
    }

    /// Whether it is so of a container.
    fn holds(self, container: &Container) -> bool {
        let health = |status| {
            let health = container.history.health.as_ref();
            container.state.is_active() && health.is_some_and(|health| health.status == status)
        };
        match self {
            Condition::Exited => {
                matches!(container.state, State::Exited { .. } | State::Dead { .. })
            }
            Condition::Created => container.state == State::Created,
            Condition::Running => matches!(container.state, State::Running { .. }),
            Condition::Paused => matches!(container.state, State::Paused { .. }),
            Condition::Healthy => health(Status::Healthy),
            Condition::Unhealthy => health(Status::Unhealthy),
            Condition::Removing => false,
        }
    }
}

/// Waits for one container after the other.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let interval = interval(&args.interval)?;
    let names = args.chosen.names(context, |_| true)?;
    super::each(&names, |name| {
        let container = containers.find(name)?;
        let code = match args.condition.is_empty() {
            true => lifecycle::wait(&containers, container)?,
            false => until(&args.condition, &containers, container, interval)?,
        };
        Ok(output::line(code)?)
    })
}

/// Reads a time, as docker has it, or podman's number of milliseconds.
fn interval(text: &str) -> Result<Duration> {
    let read = match text.parse::<u64>() {
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        Err(_) => time("interval", text),
    };
    let read = read.with_context(|| format!("--interval {text}"))?;
    Ok(read.max(Duration::from_millis(1)))
}

/// Waits until one of these is so; -1 if it has not ended then.
fn until(
    wanted: &[Condition],
    containers: &Containers,
    mut container: Container,
    interval: Duration,
) -> Result<i32> {
    loop {
        if wanted.iter().any(|condition| condition.holds(&container)) {
            return Ok(match container.state {
                State::Exited { code, .. } => code,
                _ => -1,
            });
        }
        std::thread::sleep(interval);
        container = match containers.find(&container.record.id) {
            Err(e) if error::is_not_found(&e) && wanted.contains(&Condition::Removing) => {
                return Ok(-1);
            }
            other => other?,
        };
    }
}
