//! Health checks: a command that is run in the container now and then.

use crate::engine::request::health::{HealthCommand, HealthOptions, OnFailure};
use crate::error::refuse;
use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What is run, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Between two checks.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How long failures after the start do not count.
    pub start_period: Duration,
    /// Between two checks in that time, until one is passed.
    #[serde(default = "start_interval")]
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// What happens then.
    pub on_failure: OnFailure,
}

/// Docker's default, also for what was recorded before there was another.
fn start_interval() -> Duration {
    Duration::from_secs(5)
}

impl HealthOptions {
    /// The check that these flags and the image's `HEALTHCHECK` (docker's
    /// `Healthcheck` object, times in nanoseconds) make together.
    ///
    /// # Errors
    /// Flags that contradict each other; an action without a check.
    pub fn check(&self, image: Option<&Value>) -> Result<Option<HealthCheck>> {
        let none = || match self.on_failure {
            OnFailure::None => Ok(None),
            _ => refuse!(
                Invalid,
                "--health-on-failure: there is no health check; --health-cmd makes one"
            ),
        };
        if self.off {
            let times = [
                self.interval,
                self.timeout,
                self.start_period,
                self.start_interval,
            ];
            let given = times.iter().any(Option::is_some);
            if given || self.command.is_some() || self.retries.is_some() {
                refuse!(
                    Invalid,
                    "--no-healthcheck leaves no check out of which --health-… could make another"
                );
            }
            return none();
        }
        let words = image.and_then(|check| check["Test"].as_array());
        let words = words.into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<String> = words.map(str::to_owned).collect();
        let command = match (&self.command, words.split_first()) {
            (Some(HealthCommand::Off), _) => return none(),
            (Some(HealthCommand::Words(words)), _) => words.clone(),
            (Some(HealthCommand::Shell(line)), _) => shell(line),
            (_, Some((first, rest))) => match (first.as_str(), rest) {
                ("CMD", rest) => rest.to_vec(),
                ("CMD-SHELL", [text]) => shell(text),
                _ => return none(),
            },
            (_, None) => return none(),
        };
        if command.is_empty() {
            return none();
        }
        // None, or 0, is what the image says, and that docker's default.
        let time = |given: Option<Duration>, key: &str, default: Duration| {
            let of_image = image.and_then(|check| check[key].as_u64());
            let of_image = of_image.map(Duration::from_nanos);
            let mut known = [given, of_image].into_iter().flatten();
            known.find(|time| !time.is_zero()).unwrap_or(default)
        };
        let retries = image.and_then(|check| check["Retries"].as_u64());
        let retries = retries.and_then(|n| u32::try_from(n).ok());
        let mut retries = self.retries.into_iter().chain(retries);
        let usual = Duration::from_secs(30);
        Ok(Some(HealthCheck {
            command,
            interval: time(self.interval, "Interval", usual),
            timeout: time(self.timeout, "Timeout", usual),
            start_period: time(self.start_period, "StartPeriod", Duration::ZERO),
            start_interval: time(self.start_interval, "StartInterval", self::start_interval()),
            retries: retries.find(|n| *n > 0).unwrap_or(3),
            on_failure: self.on_failure,
        }))
    }
}

fn shell(text: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), text.into()]
}

/// How a container is, by its checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is not known yet.
    #[default]
    Starting,
    /// The last check was passed.
    Healthy,
    /// So many checks failed one after the other.
    Unhealthy,
}

impl Status {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        }
    }
}

/// What the checks found, with docker's field names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// How it is.
    pub status: Status,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last checks.
    pub log: Vec<Finding>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// When it began.
    pub start: Timestamp,
    /// When it was over.
    pub end: Timestamp,
    /// 0 is well; -1 is for one that took too long.
    pub exit_code: i32,
    /// What it printed, cut.
    pub output: String,
}

/// Findings that are kept.
const KEPT: usize = 5;

impl Health {
    /// As docker's `ps` words it.
    pub fn words(&self) -> &'static str {
        match self.status {
            Status::Starting => "health: starting",
            other => other.name(),
        }
    }

    /// Forgets what the checks printed, and remembers how they went.
    pub fn forget_output(&mut self) {
        self.log
            .iter_mut()
            .for_each(|finding| finding.output.clear());
    }

    /// Takes a finding; `grace` says that failures do not count yet. Returns
    /// the new status if it changed.
    pub fn take(&mut self, finding: Finding, retries: u32, grace: bool) -> Option<Status> {
        let before = self.status;
        if finding.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if !grace || before != Status::Starting {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(finding);
        if self.log.len() > KEPT {
            self.log.remove(0);
        }
        (self.status != before).then_some(self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding(exit_code: i32) -> Finding {
        Finding {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            exit_code,
            output: String::new(),
        }
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy() {
        let mut health = Health::default();
        assert_eq!(health.take(finding(1), 2, true), None);
        assert_eq!(health.failing_streak, 0);
        assert_eq!(health.take(finding(1), 2, false), None);
        assert_eq!(health.take(finding(0), 2, false), Some(Status::Healthy));
        assert_eq!(health.take(finding(1), 2, true), None);
        assert_eq!(health.take(finding(-1), 2, true), Some(Status::Unhealthy));
        assert_eq!(health.take(finding(1), 2, false), None);
        assert_eq!(health.take(finding(0), 2, false), Some(Status::Healthy));
        assert_eq!(health.log.len(), KEPT);
    }

    #[test]
    fn flags_go_before_the_image() {
        let image = json!({"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000u64});
        let check = |options: &HealthOptions| options.check(Some(&image)).unwrap();
        let found = check(&HealthOptions::default()).unwrap();
        assert_eq!(found.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((found.interval.as_secs(), found.retries), (5, 3));
        let flags = HealthOptions {
            command: Some("[\"a\"]".parse().unwrap()),
            interval: Some(Duration::from_secs(1)),
            retries: Some(1),
            ..HealthOptions::default()
        };
        let found = check(&flags).unwrap();
        assert_eq!(
            (found.command, found.interval.as_secs()),
            (vec!["a".into()], 1)
        );
        let zero = HealthOptions {
            interval: Some(Duration::ZERO),
            timeout: Some(Duration::ZERO),
            start_period: Some(Duration::from_secs(2)),
            retries: Some(0),
            ..HealthOptions::default()
        };
        let found = check(&zero).unwrap();
        assert_eq!(found.command, ["/bin/sh", "-c", "true"]);
        let times = [
            found.interval,
            found.timeout,
            found.start_period,
            found.start_interval,
        ];
        assert_eq!(times.map(|time| time.as_secs()), [5, 30, 2, 5]);
        assert_eq!(found.retries, 3);
        let contrary = HealthOptions {
            off: true,
            command: Some("true".parse().unwrap()),
            ..HealthOptions::default()
        };
        assert!(contrary.check(None).is_err());
        let off = HealthOptions {
            off: true,
            ..HealthOptions::default()
        };
        assert!(check(&off).is_none());
        assert!(
            HealthOptions::default()
                .check(Some(&json!({"Test": ["NONE"]})))
                .unwrap()
                .is_none()
        );
    }
}
