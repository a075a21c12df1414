//! `--stop-signal`, and the signal that an image says.

use crate::sys::signals;
use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The signal that asks a container to stop. Records have it as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct StopSignal {
    text: String,
    number: i32,
}

impl StopSignal {
    /// Its number on this machine.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl FromStr for StopSignal {
    type Err = Error;

    /// Reads a name or a number.
    fn from_str(text: &str) -> Result<StopSignal> {
        Ok(StopSignal {
            number: signals::parse(text)?,
            text: text.to_owned(),
        })
    }
}

impl From<String> for StopSignal {
    /// What images and records say, which is `SIGTERM` if it is none.
    fn from(text: String) -> StopSignal {
        let number = signals::parse(&text).unwrap_or(libc::SIGTERM);
        StopSignal { text, number }
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> String {
        signal.text
    }
}

impl fmt::Display for StopSignal {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_and_written() {
        for (text, number) in [
            ("SIGQUIT", libc::SIGQUIT),
            ("int", libc::SIGINT),
            ("15", libc::SIGTERM),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
        ] {
            let signal: StopSignal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string()), (number, text.into()));
            let json = serde_json::to_string(&signal).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<StopSignal>(&json).unwrap(), signal);
        }
        let error = "SIGX".parse::<StopSignal>().unwrap_err().to_string();
        assert_eq!(error, "signal 'SIGX': signal(7) has none so");
        let unknown = StopSignal::from("SIGX".to_owned());
        assert_eq!(unknown.number(), libc::SIGTERM);
        assert_eq!(unknown.to_string(), "SIGX");
    }
}
