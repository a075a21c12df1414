//! What went wrong between us and a registry, and whether it is worth another
//! attempt.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::challenge::Challenge;
use crate::error::Kind;

/// Longest part of a registry's own words that is shown, in characters.
const MAX_TEXT: usize = 300;

/// Why a request got no good answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The connection could not be made, or it broke or stood still.
    Broken(String),
    /// The server could not show that it is who we want to talk to.
    Untrusted(String),
    /// The server answered with an error.
    Status(Status),
    /// What the server wants is not done, or what it says makes no sense.
    Refused(String),
}

/// An answer that says no.
#[derive(Clone, Debug)]
pub struct Status {
    /// The code (RFC 9110, section 15).
    pub code: u16,
    /// The registry's own words; often empty.
    pub text: String,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    /// How it wants to be asked.
    pub challenges: Vec<Challenge>,
}

impl Failure {
    /// Whether the same request may succeed a little later.
    pub fn passes(&self) -> bool {
        match self {
            Failure::Broken(_) => true,
            Failure::Status(status) => matches!(status.code, 408 | 429 | 500 | 502 | 503 | 504),
            Failure::Untrusted(_) | Failure::Refused(_) => false,
        }
    }

    /// What it means to who wanted something of the registry.
    pub fn kind(&self) -> Kind {
        match self {
            Failure::Broken(_) | Failure::Refused(_) => Kind::Unavailable,
            Failure::Untrusted(_) => Kind::Forbidden,
            Failure::Status(status) => match status.code {
                401 | 403 => Kind::Forbidden,
                404 => Kind::NotFound,
                _ => Kind::Unavailable,
            },
        }
    }

    /// The status code, if the server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Status(status) => Some(status.code),
            _ => None,
        }
    }
}

impl Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(why) | Failure::Untrusted(why) | Failure::Refused(why) => {
                f.write_str(why)
            }
            Failure::Status(status) => status.fmt(f),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.code {
            401 => "the registry wants another login",
            403 => "the registry denies it",
            404 => "the registry does not have it",
            408 => "the registry gave up waiting",
            429 => "the registry limits how much it answers",
            500..=599 => "the registry is out of order",
            _ => "the registry refuses",
        };
        write!(f, "{words} (status {}", self.code)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        f.write_str(")")?;
        if let Some(wait) = self.retry_after {
            write!(f, "; it may be asked again in {} seconds", wait.as_secs())?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Item>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What the body of an error says (distribution specification, "Error
/// codes"), fit to be shown.
pub fn words(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors, details }) => {
            let items = errors
                .into_iter()
                .map(|item| match item.message.is_empty() {
                    true => item.code,
                    false => item.message,
                });
            let mut items: Vec<String> = items.collect();
            items.extend(details);
            items.join(", ")
        }
        // A page for people says nothing that the code does not.
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    clean(&text)
}

/// Text of others for our terminal: short, and without control characters.
pub fn clean(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_registries_are_shown_safely() {
        let body = br#"{"errors":[{"code":"X","message":"no\u001b[2J"},{"code":"Y"}]}"#;
        assert_eq!(words(body), "no [2J, Y");
        assert_eq!(words(b"<html>x"), "");
        assert_eq!(words(b" plain\n"), "plain");
        assert_eq!(words(&[b'x'; 9999]).len(), MAX_TEXT);
        let status = |code| {
            Failure::Status(Status {
                code,
                text: String::new(),
                retry_after: Some(Duration::from_secs(7)),
                challenges: Vec::new(),
            })
        };
        assert!(status(429).passes() && status(503).passes() && !status(404).passes());
        assert!(status(429).to_string().ends_with("in 7 seconds"));
    }
}
