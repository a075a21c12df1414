//! Containers in a list: `ps`.

use super::container::Mount;
use super::network::{self, Endpoint, endpoints};
use super::port::{self, Port};
use super::words::{self, duration, ellipsis, quote, size};
use crate::engine::container::containers::Container;
use crate::engine::container::health::Health;
use crate::engine::container::record::State;
use crate::engine::container::volumes::Volumes;
use crate::engine::ground::names::short;
use crate::engine::operate::changes::written;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// A container in a list: docker's fields, and what podman has beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// Its name, behind a slash.
    pub names: [String; 1],
    /// The image as it was asked for.
    pub image: String,
    /// The image's id; empty if it had none.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// What it runs.
    pub command: String,
    /// When it was created, in seconds since 1970.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub created: Timestamp,
    /// Where its ports are published.
    pub ports: Vec<Port>,
    /// Bytes that it wrote, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Docker's word for how it is.
    pub state: &'static str,
    /// The same in more words, as `Up 2 minutes`.
    pub status: String,
    /// What was asked of the machine.
    pub host_config: HostConfig,
    /// Its networks.
    pub network_settings: Networks,
    /// What was asked to be mounted.
    pub mounts: Vec<Mount>,
    /// Its first process on the host, if it runs.
    pub pid: Option<i32>,
    /// How it ended, if it did.
    pub exit_code: Option<i32>,
    /// How often its policy started it again.
    pub restarts: u32,
}

/// What a list shows of what was asked of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// The network, as it was asked for.
    pub network_mode: String,
}

/// What a list shows of a container's networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Networks {
    /// What it has on each, by their names.
    pub networks: BTreeMap<String, Endpoint>,
}

/// A container's line in a table, with docker's names of columns.
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
    /// Its first process on the host; 0 is none.
    pub pid: i32,
    /// How it ended, or 0.
    pub exit_code: i32,
    /// Labels in one line.
    pub labels: String,
    /// How often its policy started it again.
    pub restarts: u32,
    /// How much it wrote; `0B` too where that was not asked for.
    pub size: String,
    /// The image's id.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Its mounts, by volume or place, in one line.
    pub mounts: String,
    /// How many of them are volumes.
    pub local_volumes: String,
    /// Its networks, in one line.
    pub networks: String,
    /// It ran, and does no more.
    pub exited: bool,
    /// There is one: `linux`.
    pub platform: &'static str,
}

/// Longest command that a table shows, in characters.
const WIDTH: usize = 20;

impl Summary {
    /// How a container is listed at a moment; with `size` how much it wrote,
    /// which takes time to measure.
    pub fn of(container: &Container, volumes: &Volumes, now: Timestamp, size: bool) -> Summary {
        let (record, history) = (&container.record, &container.history);
        let ports = container.published().iter().map(Port::from);
        let mounts = record.mounts.iter();
        Summary {
            id: record.id.clone(),
            names: [format!("/{}", record.name)],
            image: record.image.clone(),
            image_id: record.image_id.clone().unwrap_or_default(),
            command: command(&record.command),
            created: record.created,
            ports: ports.collect(),
            size_rw: size.then(|| written(container)),
            labels: record.labels.clone(),
            state: container.state.name(),
            status: status(&container.state, history.health.as_ref(), now),
            host_config: HostConfig {
                network_mode: network::mode(container),
            },
            network_settings: Networks {
                networks: endpoints(container),
            },
            mounts: mounts.map(|mount| Mount::of(mount, volumes)).collect(),
            pid: container.state.process().map(|process| process.pid),
            exit_code: match &container.state {
                State::Exited { code, .. } => Some(*code),
                _ => None,
            },
            restarts: history.restarts,
        }
    }
}

impl Row {
    /// A container's line in a table at a moment; id and command are short
    /// unless the `whole` is wanted.
    pub fn of(summary: Summary, now: Timestamp, whole: bool) -> Row {
        let [name] = summary.names;
        let mounts = summary.mounts.iter();
        let volumes = mounts.clone().filter(|mount| mount.name.is_some());
        let mounts = mounts.map(|mount| mount.name.as_ref().unwrap_or(&mount.source));
        let mounts: Vec<&str> = mounts.map(String::as_str).collect();
        let networks = summary.network_settings.networks.keys();
        let networks: Vec<&str> = networks.map(String::as_str).collect();
        Row {
            id: match whole {
                true => summary.id,
                false => short(&summary.id).to_owned(),
            },
            names: name.trim_start_matches('/').to_owned(),
            image: summary.image,
            command: match whole {
                true => quote(&summary.command),
                false => quote(&ellipsis(&summary.command, WIDTH)),
            },
            created_at: summary.created,
            running_for: since(summary.created, now) + " ago",
            state: summary.state,
            status: summary.status,
            ports: port::line(&summary.ports),
            pid: summary.pid.unwrap_or(0),
            exit_code: summary.exit_code.unwrap_or(0),
            labels: words::labels(&summary.labels),
            restarts: summary.restarts,
            size: size(summary.size_rw.unwrap_or(0)),
            image_id: summary.image_id,
            mounts: mounts.join(","),
            local_volumes: volumes.count().to_string(),
            networks: match networks.is_empty() {
                true => summary.host_config.network_mode,
                false => networks.join(","),
            },
            exited: summary.state == "exited",
            platform: "linux",
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
    use crate::engine::container::containers::Changes;
    use crate::engine::container::health;
    use crate::engine::container::record::{History, Published, Record};
    use crate::engine::request::publish::Transport;
    use crate::image::store::Store;
    use crate::process::ProcessId;
    use serde_json::{json, to_value};

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
    fn a_container_is_listed_with_dockers_fields() {
        let created: Timestamp = "2026-01-02T11:58:00.5Z".parse().unwrap();
        let mut record = Record::unknown("0123456789abcdef");
        record.created = created;
        record.name = "web".into();
        record.image = "debian".into();
        record.image_id = Some("sha256:ab".into());
        record.command = ["sh", "-c", "echo one two three"].map(str::to_owned).into();
        record.labels = [("a".into(), "1".into()), ("b".into(), String::new())].into();
        record.network = "none".to_owned().into();
        let container = Container {
            dir: "/nowhere".into(),
            record,
            state: State::Running {
                process: process(),
                since: created,
                user_namespace: None,
            },
            history: History {
                published: vec![Published {
                    host: "127.0.0.1:8080".parse().unwrap(),
                    container: 80,
                    transport: Transport::Tcp,
                }],
                ..History::default()
            },
            changes: Changes::default(),
        };
        let directory = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(&Store::open(directory.path()).unwrap());
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let summary = |size| Summary::of(&container, &volumes, now, size);
        assert_eq!(
            to_value(summary(false)).unwrap(),
            json!({
                "Id": "0123456789abcdef",
                "Names": ["/web"],
                "Image": "debian",
                "ImageID": "sha256:ab",
                "Command": "sh -c 'echo one two three'",
                "Created": 1_767_355_080,
                "Ports": [
                    {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}
                ],
                "Labels": {"a": "1", "b": ""},
                "State": "running",
                "Status": "Up 2 minutes",
                "HostConfig": {"NetworkMode": "none"},
                "NetworkSettings": {"Networks": {}},
                "Mounts": [],
                "Pid": 42,
                "ExitCode": null,
                "Restarts": 0,
            })
        );
        assert_eq!(
            to_value(Row::of(summary(false), now, false)).unwrap(),
            json!({
                "ID": "0123456789ab",
                "Names": "web",
                "Image": "debian",
                "Command": "\"sh -c 'echo one two…\"",
                "CreatedAt": "2026-01-02T11:58:00.5Z",
                "RunningFor": "2 minutes ago",
                "State": "running",
                "Status": "Up 2 minutes",
                "Ports": "127.0.0.1:8080->80/tcp",
                "Pid": 42,
                "ExitCode": 0,
                "Labels": "a=1,b=",
                "Restarts": 0,
                "Size": "0B",
                "ImageID": "sha256:ab",
                "Mounts": "",
                "LocalVolumes": "0",
                "Networks": "none",
                "Exited": false,
                "Platform": "linux",
            })
        );
        assert_eq!(to_value(summary(true)).unwrap()["SizeRw"], 0);
        let whole = Row::of(summary(true), now, true);
        assert_eq!(whole.id, "0123456789abcdef");
        assert_eq!(whole.command, "\"sh -c 'echo one two three'\"");
        assert_eq!(whole.size, "0B");
    }
}
