//! Waiting until containers are as a service that depends on them has it.

use super::service::Condition;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::health::Status;
use crate::engine::container::record::State;
use crate::engine::ground::watch::Watch;
use crate::error::refuse;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How far a container is.
enum Far {
    Yet,
    There,
}

/// Waits for a container; with `checked` it has to have a health check if health is waited for.
/// That it was given up is seen within a second.
///
/// # Errors
/// It will not come to that any more, it takes too long, or it was given up.
pub fn wait(
    containers: &Containers,
    id: &str,
    condition: Condition,
    checked: bool,
    until: Option<Instant>,
    given_up: &AtomicBool,
) -> Result<()> {
    let watch = Watch::new()?;
    watch.add(&containers.find(id)?.dir)?;
    loop {
        let container = containers.find(id)?;
        if let Far::There = far(&container, condition, checked)? {
            return Ok(());
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            refuse!(
                Timeout,
                "container {} is not ready in the time that --wait-timeout gives it: it goes on, \
                 and bryo logs shows what it says",
                container.record.name
            );
        }
        if given_up.load(Ordering::Relaxed) {
            let name = &container.record.name;
            refuse!(
                Conflict,
                "container {name} is not waited for: it was given up"
            );
        }
        watch.wait();
    }
}

fn far(container: &Container, condition: Condition, checked: bool) -> Result<Far> {
    let name = &container.record.name;
    match (&container.state, condition) {
        (State::Dead { why }, _) => refuse!(Conflict, "container {name} is dead: {why}"),
        (State::Exited { code: 0, .. }, Condition::Completed) => Ok(Far::There),
        (State::Exited { code, .. }, _) => refuse!(
            Conflict,
            "container {name} has ended ({code}): bryo logs {name} shows what it said"
        ),
        (State::Running { .. } | State::Paused { .. }, Condition::Started) => Ok(Far::There),
        (State::Running { .. }, Condition::Healthy) => {
            if container.record.keeping.health.is_none() {
                match checked {
                    true => refuse!(
                        Invalid,
                        "container {name} has no health check, so it never becomes healthy: give \
                         its service a healthcheck, or wait for service_started"
                    ),
                    false => return Ok(Far::There),
                }
            }
            match container
                .history
                .health
                .as_ref()
                .map(|health| health.status)
            {
                Some(Status::Healthy) => Ok(Far::There),
                Some(Status::Unhealthy) => refuse!(
                    Conflict,
                    "container {name} is unhealthy: bryo inspect {name} shows what its check said"
                ),
                _ => Ok(Far::Yet),
            }
        }
        _ => Ok(Far::Yet),
    }
}
