//! When a container that has ended is started again. Pure.

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// `--restart`, in docker's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// If it failed, so many times at most.
    OnFailure(Option<u32>),
    /// Unless the user stopped it; at the next `start --all` even then.
    Always,
    /// Unless the user stopped it.
    UnlessStopped,
}

impl FromStr for Restart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Restart> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (text, None),
        };
        Ok(match (name, count) {
            ("no" | "", None) => Restart::No,
            ("always", None) => Restart::Always,
            ("unless-stopped", None) => Restart::UnlessStopped,
            ("on-failure", None) => Restart::OnFailure(None),
            ("on-failure", Some(count)) => {
                let fail = || format!("restart policy '{text}': '{count}' is no number of times");
                Restart::OnFailure(Some(count.parse().ok().with_context(fail)?))
            }
            _ => bail!(
                "restart policy '{text}': it is one of no, on-failure[:TIMES], always, \
                 unless-stopped"
            ),
        })
    }
}

impl TryFrom<String> for Restart {
    type Error = Error;

    fn try_from(text: String) -> Result<Restart> {
        text.parse()
    }
}

impl From<Restart> for String {
    fn from(policy: Restart) -> String {
        policy.to_string()
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restart::OnFailure(Some(count)) => write!(f, "on-failure:{count}"),
            other => f.write_str(other.name()),
        }
    }
}

impl Restart {
    /// Its name without a count, as docker's `inspect` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure(_) => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }

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
    fn policies_are_read_and_written() {
        for text in [
            "no",
            "on-failure",
            "on-failure:3",
            "always",
            "unless-stopped",
        ] {
            assert_eq!(text.parse::<Restart>().unwrap().to_string(), text);
        }
        for text in ["yes", "on-failure:x", "always:3", "on-failure:-1"] {
            assert!(text.parse::<Restart>().is_err(), "{text}");
        }
    }

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
