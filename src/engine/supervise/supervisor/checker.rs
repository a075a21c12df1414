//! The process beside the supervisor that runs health checks.

use crate::engine::container::containers::Container;
use crate::engine::container::health::{Finding, HealthCheck};
use crate::engine::ground::names::short;
use crate::engine::supervise::exec::probe;
use crate::process::{Resident, Until, spawn};
use crate::sys::clone::Child;
use crate::sys::socket;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Bytes of a check's output that are kept.
const MAX_OUTPUT: usize = 4096;

/// A process that checks, and where it tells what it found.
#[derive(Debug)]
pub struct Checker {
    /// A [`Finding`] as JSON in each message.
    pub findings: OwnedFd,
    _process: Child,
}

/// Starts a process that checks a container as long as it and the calling
/// process run.
pub fn start(container: &Container, check: &HealthCheck) -> Result<Checker> {
    let (ours, theirs) = socket::pair()?;
    let process = spawn(|process| {
        let resident = Resident {
            name: c"bryo-health",
            role: &format!("health checks {}", short(&container.record.id)),
            until: Until::MakersEnd,
            hidden: false,
            keeps: Some(&[theirs.as_raw_fd()]),
        };
        resident.begin(process)?;
        let mut container = container.clone();
        super::confine_starter(&container);
        let begun = Instant::now();
        let mut passed = false;
        loop {
            let starting = !passed && begun.elapsed() < check.start_period;
            std::thread::sleep(match starting {
                true => check.start_interval,
                false => check.interval,
            });
            let finding = check_once(&mut container, check);
            passed |= finding.exit_code == 0;
            // Who answered for the check's command ends after it.
            let wait = Some(WaitPidFlag::WNOHANG);
            while matches!(waitpid(None, wait), Ok(status) if status.pid().is_some()) {}
            // Nobody listens any more.
            socket::send_all(&theirs, &serde_json::to_vec(&finding)?)?;
        }
    });
    Ok(Checker {
        findings: ours,
        _process: process.context("start health checks")?,
    })
}

/// Runs a check now, and says what it found.
pub fn check_once(container: &mut Container, check: &HealthCheck) -> Finding {
    let start = Timestamp::now();
    let deadline = Instant::now() + check.timeout;
    let found = probe(container, &check.command, deadline, MAX_OUTPUT);
    let (exit_code, output) = match found {
        Ok((Some(code), output)) => (code, output),
        Ok((None, _)) => {
            let text = format!("Health check exceeded timeout ({:?})", check.timeout);
            (-1, text.into_bytes())
        }
        Err(error) => (1, format!("{error:#}").into_bytes()),
    };
    Finding {
        start,
        end: Timestamp::now(),
        exit_code,
        output: String::from_utf8_lossy(&output).into_owned(),
    }
}
