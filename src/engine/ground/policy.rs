//! When a container that has ended is started again. Pure.

use crate::engine::request::restart::Restart;
use std::time::Duration;

impl Restart {
    /// Whether a container is started again that ended with `code` after so
    /// many restarts, and that the user did or did not ask to stop.
    pub fn again(&self, code: i32, restarts: u32, stopped: bool) -> bool {
        match self {
            _ if stopped => false,
            Restart::No => false,
            Restart::OnFailure(max) => code != 0 && max.is_none_or(|max| restarts < max),
            Restart::Always | Restart::UnlessStopped => true,
        }
    }

    /// Whether `start --all` brings it back after a reboot: a container that
    /// last ended with `code`, and that the user stopped or not.
    pub fn comes_back(&self, code: i32, stopped: bool) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure(_) => code != 0 && !stopped,
            Restart::Always => true,
            Restart::UnlessStopped => !stopped,
        }
    }
}

/// A container that ran so long is taken to have run well.
pub const RAN_WELL: Duration = Duration::from_secs(10);

/// How long to wait before the restart with this number, counted from the
/// last time that the container ran well: 100 ms, doubled each time, a minute
/// at most.
pub fn back_off(number: u32) -> Duration {
    let wait = Duration::from_millis(100) * 2u32.saturating_pow(number.min(10));
    wait.min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_dockers() {
        let twice = Restart::OnFailure(Some(2));
        assert!(twice.again(1, 1, false));
        assert!(!twice.again(1, 2, false));
        assert!(!twice.again(0, 0, false));
        assert!(Restart::Always.again(0, 99, false));
        assert!(!Restart::Always.again(0, 0, true));
        assert!(Restart::Always.comes_back(0, true));
        assert!(!Restart::UnlessStopped.comes_back(0, true));
        assert!(!Restart::No.again(1, 0, false) && !Restart::No.comes_back(1, false));
    }

    #[test]
    fn waits_grow_to_a_minute() {
        assert_eq!(back_off(0), Duration::from_millis(100));
        assert_eq!(back_off(3), Duration::from_millis(800));
        assert_eq!(back_off(40), Duration::from_secs(60));
    }
}
