//! How a container is looked after, as it was asked for when it was created.

use crate::engine::container::health::HealthCheck;
use crate::engine::log::{Driver, LogConfig};
use crate::engine::request::attachment::Attachment;
use crate::engine::request::restart::Restart;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// How a container is looked after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keeping {
    /// `--restart`.
    pub restart: Restart,
    /// `--stop-timeout`: seconds between the stop signal and the end.
    pub stop_timeout: Option<u32>,
    /// `--timeout`: seconds that it may run, each time that it is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// What becomes of its output.
    pub log: LogConfig,
    /// How its health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Its health is not checked, though its image may have a check.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_health: bool,
    /// `-i`: its input is kept open.
    pub interactive: bool,
    /// Its input ends when who was attached first leaves.
    pub input_once: bool,
    /// `-t`.
    pub tty: bool,
    /// `--cidfile`: gets the id.
    pub cidfile: Option<PathBuf>,
    /// `--pidfile`: gets the first process's id at each start.
    pub pidfile: Option<PathBuf>,
    /// The named networks that it is on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Attachment>,
    /// `--dns`: whom the name servers of these networks ask for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

/// Docker's time between the stop signal and the end, in seconds.
pub const STOP_TIMEOUT: u32 = 10;

impl Keeping {
    /// Whether its output is kept.
    pub fn is_logged(&self) -> bool {
        self.log.driver != Driver::None
    }

    /// Seconds between the stop signal and the end.
    pub fn patience(&self) -> u32 {
        self.stop_timeout.unwrap_or(STOP_TIMEOUT)
    }
}
