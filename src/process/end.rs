//! How processes of bryo's ended.

use crate::error::refuse;
use anyhow::Result;
use nix::sys::resource::{RLIM_INFINITY, Resource, UsageWho, getrlimit, getrusage};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::fmt;

/// A process of bryo's has ended with this code, and has told the user
/// why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported(pub i32);

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a process of bryo's failed with code {}", self.0)
    }
}

impl std::error::Error for Reported {}

/// With which code a process of bryo's ended.
///
/// # Errors
/// It was killed: for want of the processor's time, where it is said how it may
/// have more, or by somebody.
pub fn code(status: WaitStatus) -> Result<i32> {
    let signal = match status {
        WaitStatus::Exited(_, code) => return Ok(code),
        WaitStatus::Signaled(_, signal, _) => signal,
        other => {
            refuse!(Internal, "a process of bryo's ended strangely ({other:?})")
        }
    };
    match (signal, own_seconds()) {
        (Signal::SIGXCPU | Signal::SIGKILL, Some(seconds)) if used_up(seconds) => {
            refuse!(
                Timeout,
                "it takes more of the processor's time than the {seconds} seconds that you may \
                 have: ulimit -t allows more"
            )
        }
        (Signal::SIGXCPU, _) => refuse!(
            Timeout,
            "it takes more of the processor's time than is likely: if it is to be trusted, \
             bryo pull, load, import, copy and cp allow any with --unlimited"
        ),
        _ => refuse!(Internal, "a process of bryo's was killed ({signal})"),
    }
}

/// Docker's exit code: the command's own, or 128 and the signal's number.
pub fn exit_code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => 125,
    }
}

/// The user's own limit of the processor's time, in seconds.
fn own_seconds() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_CPU).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Whether children that have ended took so many seconds of the processor's
/// time. The kernel's clock of the limit counts ticks and may be ahead.
fn used_up(seconds: u64) -> bool {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return false;
    };
    let times = [usage.user_time(), usage.system_time()];
    let taken: i64 = times
        .iter()
        .map(|t| t.tv_sec() * 1000 + t.tv_usec() / 1000)
        .sum();
    let taken = u64::try_from(taken).unwrap_or(0);
    taken + taken / 10 + 500 >= seconds.saturating_mul(1000)
}
