//! Containers in a list: `ps`.

use super::port;
use super::words::{self, duration, ellipsis, quote, size};
use crate::engine::changes::written;
use crate::engine::containers::Container;
use crate::engine::health::Health;
use crate::engine::names::short;
use crate::engine::record::State;
use jiff::Timestamp;
use serde::Serialize;

/// A container in a list, with docker's names of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name; it has one.
    pub names: String,
    /// The image as it was asked for.
    pub image: String,
    /// What it runs, in quotes.
    pub command: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// How long ago that is, in words.
    pub running_for: String,
    /// Docker's word for how it is.
    pub state: &'static str,
    /// The same in more words, as `Up 2 minutes`.
    pub status: String,
    /// Where its ports are published.
    pub ports: String,
    /// Its first process on the host, if it runs.
    pub pid: Option<i32>,
    /// How it ended, if it did.
    pub exit_code: Option<i32>,
    /// Labels in one line.
    pub labels: String,
    /// How often its policy started it again.
    pub restarts: u32,
    /// How much it wrote, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// How containers are listed.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// The moment from which ages count.
    pub now: Timestamp,
    /// Ids and commands are not shortened.
    pub whole: bool,
    /// With how much they wrote: to measure that takes time.
    pub size: bool,
}

/// Longest command that is shown, in characters.
const WIDTH: usize = 20;

impl Row {
    /// How a container is listed.
    pub fn of(container: &Container, listing: &Listing) -> Row {
        let record = &container.record;
        let command = command(&record.command);
        Row {
            id: match listing.whole {
                true => record.id.clone(),
                false => short(&record.id).to_owned(),
            },
            names: record.name.clone(),
            image: record.image.clone(),
            command: match listing.whole {
                true => quote(&command),
                false => quote(&ellipsis(&command, WIDTH)),
            },
            created_at: record.created,
            running_for: since(record.created, listing.now) + " ago",
            state: container.state.name(),
            status: status(
                &container.state,
                container.history.health.as_ref(),
                listing.now,
            ),
            ports: port::line(container.published()),
            pid: container.state.process().map(|process| process.pid),
            exit_code: match &container.state {
                State::Exited { code, .. } => Some(*code),
                _ => None,
            },
            labels: words::labels(&record.labels),
            restarts: container.history.restarts,
            // Docker has the field always.
            size: listing.size.then(|| size(written(container))),
        }
    }
}

/// A command as docker shows it: arguments with blanks in quotes of their own.
pub fn command(words: &[String]) -> String {
    let mut words = words.iter();
    let mut line = words.next().cloned().unwrap_or_default();
    for word in words {
        match word.contains(' ') {
            true => line.push_str(&format!(" '{word}'")),
            false => line.push_str(&format!(" {word}")),
        }
    }
    line
}

fn since(time: Timestamp, now: Timestamp) -> String {
    duration(now.as_second().saturating_sub(time.as_second()))
}

/// A state as docker words it: `Up 2 minutes`, `Exited (0) 3 hours ago`.
pub fn status(state: &State, health: Option<&Health>, now: Timestamp) -> String {
    match state {
        State::Created => "Created".into(),
        State::Running { since: then, .. } => {
            let up = format!("Up {}", since(*then, now));
            match health {
                Some(health) => format!("{up} ({})", health.words()),
                None => up,
            }
        }
        State::Paused { since: then, .. } => format!("Up {} (Paused)", since(*then, now)),
        State::Restarting { code, at } => {
            format!("Restarting ({code}) {} ago", since(*at, now))
        }
        State::Dead { .. } => "Dead".into(),
        State::Exited { code, at, .. } => format!("Exited ({code}) {} ago", since(*at, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::containers::Changes;
    use crate::engine::health;
    use crate::engine::record::{History, Record};
    use crate::process::ProcessId;
    use serde_json::json;

    fn process() -> ProcessId {
        ProcessId {
            pid: 42,
            start_time: 1,
            boot: 0,
        }
    }

    #[test]
    fn states_are_worded_as_docker_does() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let at: Timestamp = "2026-01-02T09:00:00Z".parse().unwrap();
        let running = State::Running {
            process: process(),
            since: at,
            user_namespace: None,
        };
        let paused = State::Paused {
            process: process(),
            since: at,
            user_namespace: None,
        };
        let exited = State::Exited {
            code: 3,
            at,
            error: None,
        };
        let dead = State::Dead { why: "x".into() };
        for (state, words) in [
            (&State::Created, "Created"),
            (&running, "Up 3 hours"),
            (&paused, "Up 3 hours (Paused)"),
            (
                &State::Restarting { code: 1, at },
                "Restarting (1) 3 hours ago",
            ),
            (&exited, "Exited (3) 3 hours ago"),
            (&dead, "Dead"),
        ] {
            assert_eq!(status(state, None, now), words);
        }
        let mut health = Health::default();
        assert_eq!(
            status(&running, Some(&health), now),
            "Up 3 hours (health: starting)"
        );
        health.status = health::Status::Healthy;
        assert_eq!(status(&running, Some(&health), now), "Up 3 hours (healthy)");
    }

    #[test]
    fn a_row_has_dockers_fields() {
        let created: Timestamp = "2026-01-02T11:58:00.5Z".parse().unwrap();
        let mut record = Record::unknown("0123456789abcdef");
        record.created = created;
        record.name = "web".into();
        record.image = "debian".into();
        record.command = ["sh", "-c", "echo one two three"].map(str::to_owned).into();
        record.labels = [("a".into(), "1".into()), ("b".into(), String::new())].into();
        let container = Container {
            dir: "/nowhere".into(),
            record,
            state: State::Running {
                process: process(),
                since: created,
                user_namespace: None,
            },
            history: History::default(),
            changes: Changes::default(),
        };
        let mut listing = Listing {
            now: "2026-01-02T12:00:00Z".parse().unwrap(),
            whole: false,
            size: false,
        };
        let row = |listing: &Listing| serde_json::to_value(Row::of(&container, listing)).unwrap();
        assert_eq!(
            row(&listing),
            json!({
                "ID": "0123456789ab",
                "Names": "web",
                "Image": "debian",
                "Command": "\"sh -c 'echo one two…\"",
                "CreatedAt": "2026-01-02T11:58:00.5Z",
                "RunningFor": "2 minutes ago",
                "State": "running",
                "Status": "Up 2 minutes",
                "Ports": "",
                "Pid": 42,
                "ExitCode": null,
                "Labels": "a=1,b=",
                "Restarts": 0,
            })
        );
        (listing.whole, listing.size) = (true, true);
        let whole = row(&listing);
        assert_eq!(whole["ID"], "0123456789abcdef");
        assert_eq!(whole["Command"], "\"sh -c 'echo one two three'\"");
        assert_eq!(whole["Size"], "0B");
    }
}
