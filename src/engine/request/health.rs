//! `--health-…` and `--no-healthcheck`. What the image's check makes of them is
//! in [`health`](crate::engine::container::health).

use crate::error::refuse;
use crate::image::duration::parse_duration;
use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// The flags about health. A time or number that is none or 0 is the image's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// `--no-healthcheck`.
    pub off: bool,
    /// `--health-cmd`.
    pub command: Option<HealthCommand>,
    /// `--health-interval`.
    pub interval: Option<Duration>,
    /// `--health-timeout`.
    pub timeout: Option<Duration>,
    /// `--health-start-period`.
    pub start_period: Option<Duration>,
    /// `--health-start-interval`.
    pub start_interval: Option<Duration>,
    /// `--health-retries`.
    pub retries: Option<u32>,
    /// `--health-on-failure`.
    pub on_failure: OnFailure,
}

/// `--health-cmd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCommand {
    /// `none`: nothing is run.
    Off,
    /// Nothing was said: the image's.
    OfImage,
    /// A program and its arguments.
    Words(Vec<String>),
    /// A line for a shell.
    Shell(String),
}

impl FromStr for HealthCommand {
    type Err = Error;

    /// Reads a line for a shell, or a JSON list.
    fn from_str(text: &str) -> Result<HealthCommand> {
        Ok(match text {
            "" => HealthCommand::OfImage,
            "none" => HealthCommand::Off,
            list if list.starts_with('[') => {
                let words = serde_json::from_str(list);
                HealthCommand::Words(words.with_context(|| format!("--health-cmd {list}"))?)
            }
            line => HealthCommand::Shell(line.to_owned()),
        })
    }
}

/// `--health-on-failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    #[default]
    None,
    /// It is killed; its restart policy holds.
    Kill,
    /// It is killed and started again.
    Restart,
    /// It is asked to stop.
    Stop,
}

/// Reads a time of the flag `--health-NAME`.
///
/// # Errors
/// What is none, negative, or less than a millisecond.
pub fn time(name: &str, text: &str) -> Result<Duration> {
    let what = || format!("--health-{name} {text}");
    if text.starts_with('-') {
        refuse!(Invalid, "{}: it cannot be negative", what());
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let time = parse_duration(text).with_context(what)?;
    if !time.is_zero() && time < Duration::from_millis(1) {
        refuse!(Invalid, "{}: it cannot be less than 1ms", what());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines_or_lists() {
        let words = |list: &[&str]| {
            HealthCommand::Words(list.iter().map(|word| (*word).to_owned()).collect())
        };
        for (text, wanted) in [
            ("", HealthCommand::OfImage),
            ("none", HealthCommand::Off),
            ("[]", words(&[])),
            (r#"["a", "b c"]"#, words(&["a", "b c"])),
            ("a b", HealthCommand::Shell("a b".into())),
        ] {
            assert_eq!(text.parse::<HealthCommand>().unwrap(), wanted);
        }
        let error = "[a".parse::<HealthCommand>().unwrap_err().to_string();
        assert_eq!(error, "--health-cmd [a");
    }

    #[test]
    fn times_are_read() {
        for (text, millis) in [("0", 0), ("0s", 0), ("1ms", 1), ("1m30s", 90_000)] {
            let wanted = Duration::from_millis(millis);
            assert_eq!(time("timeout", text).unwrap(), wanted, "{text}");
        }
        for (text, why) in [
            ("-1s", ": it cannot be negative"),
            ("1us", ": it cannot be less than 1ms"),
            ("soon", ""),
        ] {
            let error = time("timeout", text).unwrap_err().to_string();
            assert_eq!(error, format!("--health-timeout {text}{why}"));
        }
    }
}
