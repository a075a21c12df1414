//! `--restart`: whether a container that has ended is started again. What
//! follows from it is in [`policy`](crate::engine::ground::policy).

use crate::error::refuse;
use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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
            _ => refuse!(
                Invalid,
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
        assert_eq!("".parse::<Restart>().unwrap(), Restart::No);
        let times = Restart::OnFailure(Some(3));
        assert_eq!("on-failure:3".parse::<Restart>().unwrap(), times);
        assert_eq!(times.name(), "on-failure");
        assert_eq!(serde_json::to_string(&times).unwrap(), r#""on-failure:3""#);
        let error = |text: &str| text.parse::<Restart>().unwrap_err().to_string();
        for text in ["yes", "always:3", "no:1", "ON-FAILURE"] {
            assert_eq!(
                error(text),
                format!(
                    "restart policy '{text}': it is one of no, on-failure[:TIMES], always, \
                     unless-stopped"
                )
            );
        }
        for count in ["x", "-1", ""] {
            assert_eq!(
                error(&format!("on-failure:{count}")),
                format!("restart policy 'on-failure:{count}': '{count}' is no number of times")
            );
        }
    }
}
