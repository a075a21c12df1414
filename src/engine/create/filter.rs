//! `ps --filter`: docker's filters of containers. Those of one key are
//! alternatives, those of several have to hold together.

use crate::engine::container::containers::Container;
use crate::engine::container::record::{Record, State};
use crate::engine::network::members::wanted;
use crate::engine::request::filter::{self, Label};
use crate::engine::request::network::Network;
use crate::engine::request::publish::exposed;
use crate::engine::request::time::parse_time;
use crate::error::{refusal, refuse};
use crate::image::reference::Reference;
use crate::image::store::Store;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Filters, read.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
    /// Images of `ancestor`, each with all that stand on it, by their ids; none
    /// for one that is not in the store.
    ancestors: BTreeMap<String, BTreeSet<String>>,
    /// Created before, and after.
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

const STATES: [&str; 6] = [
    "created",
    "running",
    "paused",
    "restarting",
    "exited",
    "dead",
];

impl Filters {
    /// Reads `KEY=VALUE`s; `all` are the containers that they may refer to,
    /// `store` has the images.
    ///
    /// # Errors
    /// An unknown key, or a value that it cannot have.
    pub fn parse(texts: &[String], all: &[Container], store: &Store) -> Result<Filters> {
        let mut filters = Filters::default();
        for text in texts {
            let (key, value) = filter::pair(text)?;
            let created = || {
                let named = all.iter().find(|c| c.record.name == value);
                let meant = || all.iter().find(|c| c.record.id.starts_with(value));
                let found = named.or_else(meant).map(|c| c.record.created);
                let none = || refusal!(NotFound, "filter '{text}': No such container: {value}");
                found.ok_or_else(none)
            };
            match key {
                "before" => filters.before = Some(created()?),
                "since" => filters.since = Some(created()?),
                "status" if !STATES.contains(&value) => {
                    refuse!(
                        Invalid,
                        "filter '{text}': a status is one of {}",
                        STATES.join(", ")
                    )
                }
                "exited" if value.parse::<i32>().is_err() => {
                    refuse!(Invalid, "filter '{text}': an exit code is wanted")
                }
                "health" if !["none", "starting", "healthy", "unhealthy"].contains(&value) => {
                    refuse!(
                        Invalid,
                        "filter '{text}': none, starting, healthy or unhealthy is wanted"
                    )
                }
                "ancestor" => {
                    let found = store.with_descendants(value);
                    let found = found.with_context(|| format!("filter '{text}'"))?;
                    filters.ancestors.insert(value.to_owned(), found);
                }
                "until" => {
                    let time = parse_time(value, Timestamp::now());
                    let time = time.with_context(|| format!("filter '{text}'"))?;
                    filters.before = Some(filters.before.map_or(time, |other| other.min(time)));
                }
                "publish" | "expose" => {
                    let ports = exposed(value).with_context(|| format!("filter '{text}'"))?;
                    let names = ports
                        .iter()
                        .map(|p| format!("{}/{}", p.container, p.transport));
                    filters
                        .by_key
                        .entry(key.to_owned())
                        .or_default()
                        .extend(names);
                }
                "id" | "name" | "label" | "label!" | "status" | "exited" | "health" | "volume"
                | "network" | "restart-policy" | "command" => {
                    let values = filters.by_key.entry(key.to_owned()).or_default();
                    values.push(value.to_owned());
                }
                _ => refuse!(
                    Invalid,
                    "filter '{text}': there are id, name, label, ancestor, status, exited, \
                     health, volume, network, publish, expose, restart-policy, command, label!, \
                     before, since and until"
                ),
            }
        }
        Ok(filters)
    }

    /// Whether they ask for a state, so that others than running ones are
    /// meant.
    pub fn name_a_state(&self) -> bool {
        self.by_key.contains_key("status") || self.by_key.contains_key("exited")
    }

    /// Whether a container is meant.
    pub fn pass(&self, container: &Container) -> bool {
        let record = &container.record;
        let ages = self.before.is_none_or(|time| record.created < time)
            && self.since.is_none_or(|time| record.created > time);
        let stands_on = |(name, ids): (&String, &BTreeSet<String>)| match &record.image_id {
            Some(id) if !ids.is_empty() => ids.contains(id),
            // The image went, the container knows what it was.
            _ => was_of(record, name),
        };
        let ancestry = self.ancestors.is_empty() || self.ancestors.iter().any(stands_on);
        ages && ancestry
            && self.by_key.iter().all(|(key, values)| {
                // All labels have to be there, of all others one is enough.
                let one = |value: &String| passes(container, key, value);
                match key.as_str() {
                    "label" | "label!" => values.iter().all(one),
                    _ => values.iter().any(one),
                }
            })
    }
}

fn passes(container: &Container, key: &str, value: &str) -> bool {
    let record = &container.record;
    match key {
        "id" => record.id.starts_with(value),
        // Docker takes a regular expression: plain names and the anchors.
        "name" => {
            let start = value.strip_prefix('^').unwrap_or(value);
            let start = start.strip_prefix('/').unwrap_or(start);
            let plain = start.strip_suffix('$').unwrap_or(start);
            let name = record.name.as_str();
            match (value.starts_with('^'), value.ends_with('$')) {
                (true, true) => name == plain,
                (true, false) => name.starts_with(plain),
                (false, true) => name.ends_with(plain),
                (false, false) => name.contains(plain),
            }
        }
        "label" => Label::read(value).holds_of(&record.labels),
        "label!" => !Label::read(value).holds_of(&record.labels),
        "restart-policy" => container.restart_policy().name() == value,
        "command" => {
            let mut words = record.command.iter();
            words.next().is_some_and(|first| first == value) || record.command.join(" ") == value
        }
        // As docker has it, the host's port for one and the container's for the other.
        "publish" => {
            let mut ports = container.published().iter();
            ports.any(|p| format!("{}/{}", p.host.port(), p.transport) == value)
        }
        "expose" => record.asked.exposed.iter().any(|port| port == value),
        "volume" => {
            let place = std::path::Path::new(value);
            let mut mounts = record.mounts.iter();
            mounts.any(|m| m.source == value || m.destination == place)
        }
        "network" => match wanted(container) {
            [] => match &record.network {
                // Whatever its options are.
                Network::User(_) => value == "user" || record.network.to_string() == value,
                network => network.to_string() == value,
            },
            networks => networks.iter().any(|a| a.network == value),
        },
        "status" => container.state.name() == value,
        "exited" => match container.state {
            State::Exited { code, .. } => code.to_string() == value,
            _ => false,
        },
        "health" => {
            container
                .history
                .health
                .as_ref()
                .map_or("none", |h| h.status.name())
                == value
        }
        _ => false,
    }
}

/// Whether a container was made of an image of this name, id or beginning of an
/// id.
fn was_of(record: &Record, name: &str) -> bool {
    let id = record.image_id.as_deref().unwrap_or_default();
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let same = |wanted: &str| match (
        wanted.parse::<Reference>(),
        record.image.parse::<Reference>(),
    ) {
        (Ok(wanted), Ok(image)) => wanted.or_latest() == image.or_latest(),
        _ => false,
    };
    record.image == name || same(name) || hex.len() >= 6 && id.starts_with(hex)
}
