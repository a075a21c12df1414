//! `--filter KEY=VALUE` of lists and of what is removed from them: for each list
//! a table of keys, and of what their values mean.

use super::time::parse_time;
use crate::error::refuse;
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A key, and what reads its value; times may be told from now on backwards.
pub type Key<F> = (&'static str, fn(&str, Timestamp) -> Result<F>);

/// Filters of one list, read. Those of one key are alternatives, but for labels,
/// all of which have to hold; those of several keys have to hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters<F>(BTreeMap<&'static str, Vec<F>>);

impl<F> Filters<F> {
    /// Reads `KEY=VALUE`s.
    ///
    /// # Errors
    /// Of [`Invalid`](crate::error::Kind::Invalid): a key that is not in the
    /// table, whose keys are named; a value that it cannot have.
    pub fn read(texts: &[String], keys: &[Key<F>], now: Timestamp) -> Result<Filters<F>> {
        let mut all: BTreeMap<&'static str, Vec<F>> = BTreeMap::new();
        for text in texts {
            let (key, value) = pair(text)?;
            let Some((key, read)) = keys.iter().find(|(known, _)| *known == key) else {
                let keys: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
                refuse!(Invalid, "filter '{text}': there are {}", keys.join(", "))
            };
            match read(value, now) {
                Ok(filter) => all.entry(key).or_default().push(filter),
                Err(error) => refuse!(Invalid, "filter '{text}': {error:#}"),
            }
        }
        Ok(Filters(all))
    }

    /// Whether something passes of which one filter `holds` or does not.
    ///
    /// # Errors
    /// Those of `holds`.
    pub fn pass(&self, mut holds: impl FnMut(&F) -> Result<bool>) -> Result<bool> {
        for (key, filters) in &self.0 {
            let all = key.starts_with("label");
            let mut passes = all;
            for filter in filters {
                if holds(filter)? != all {
                    passes = !all;
                    break;
                }
            }
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &F> {
        self.0.values().flatten()
    }
}

/// Key and value of a filter.
///
/// # Errors
/// It has no value.
pub fn pair(text: &str) -> Result<(&str, &str)> {
    match text.split_once('=') {
        Some(pair) => Ok(pair),
        None => refuse!(Invalid, "filter '{text}': KEY=VALUE is wanted"),
    }
}

/// `label=KEY[=VALUE]`, and `label!=…` for what does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    key: String,
    /// Any, if there is none.
    value: Option<String>,
    missing: bool,
}

impl Label {
    /// One that has to be there.
    pub fn read(text: &str) -> Label {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        Label {
            key: key.to_owned(),
            value,
            missing: false,
        }
    }

    /// One that may not be there.
    pub fn missing(text: &str) -> Label {
        Label {
            missing: true,
            ..Label::read(text)
        }
    }

    /// Whether it holds where `value_of` says what a key's value is.
    pub fn holds<'a>(&self, value_of: impl FnOnce(&str) -> Option<&'a str>) -> bool {
        let found = value_of(&self.key);
        let has = found.is_some_and(|found| self.value.as_ref().is_none_or(|v| v == found));
        has != self.missing
    }

    /// Whether it holds of these labels.
    pub fn holds_of(&self, labels: &BTreeMap<String, String>) -> bool {
        self.holds(|key| labels.get(key).map(String::as_str))
    }
}

/// A filter of `network ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFilter {
    /// Whether no container is on it.
    Dangling(bool),
    /// What makes it; all are bridges.
    Driver(String),
    /// The beginning of its id.
    Id(String),
    /// A label.
    Label(Label),
    /// A part of its name.
    Name(String),
    /// Where it is; all are on this machine.
    Scope(String),
    /// Whether somebody made it; all were made by somebody.
    Custom(bool),
    /// Older than this.
    Until(Timestamp),
}

/// The keys of `network ls`.
pub const OF_NETWORKS: &[Key<NetworkFilter>] = &[
    ("dangling", |t, _| truth(t).map(NetworkFilter::Dangling)),
    ("driver", |t, _| Ok(NetworkFilter::Driver(t.to_owned()))),
    ("id", |t, _| Ok(NetworkFilter::Id(t.to_owned()))),
    ("label", |t, _| Ok(NetworkFilter::Label(Label::read(t)))),
    ("label!", |t, _| Ok(NetworkFilter::Label(Label::missing(t)))),
    ("name", |t, _| Ok(NetworkFilter::Name(t.to_owned()))),
    ("scope", |t, _| Ok(NetworkFilter::Scope(t.to_owned()))),
    ("type", |t, _| match t {
        "custom" => Ok(NetworkFilter::Custom(true)),
        "builtin" => Ok(NetworkFilter::Custom(false)),
        _ => refuse!(Invalid, "custom or builtin is wanted"),
    }),
    ("until", |t, now| {
        parse_time(t, now).map(NetworkFilter::Until)
    }),
];

/// A filter of `volume ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeFilter {
    /// Whether it has no name but a number.
    Anonymous(bool),
    /// Whether no container uses it.
    Dangling(bool),
    /// What keeps it; all are directories here.
    Driver(String),
    /// A label.
    Label(Label),
    /// A part of its name.
    Name(String),
    /// Where it is; all are on this machine.
    Scope(String),
    /// Older, and younger, than this.
    Until(Timestamp),
    /// See `Until`.
    Since(Timestamp),
}

/// The keys of `volume ls`.
pub const OF_VOLUMES: &[Key<VolumeFilter>] = &[
    ("anonymous", |t, _| truth(t).map(VolumeFilter::Anonymous)),
    ("dangling", |t, _| truth(t).map(VolumeFilter::Dangling)),
    ("driver", |t, _| Ok(VolumeFilter::Driver(t.to_owned()))),
    ("label", |t, _| Ok(VolumeFilter::Label(Label::read(t)))),
    ("label!", |t, _| Ok(VolumeFilter::Label(Label::missing(t)))),
    ("name", |t, _| Ok(VolumeFilter::Name(t.to_owned()))),
    ("scope", |t, _| Ok(VolumeFilter::Scope(t.to_owned()))),
    ("since", |t, now| {
        parse_time(t, now).map(VolumeFilter::Since)
    }),
    ("until", |t, now| {
        parse_time(t, now).map(VolumeFilter::Until)
    }),
];

/// A filter of `secret ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFilter {
    /// The beginning of the id.
    Id(String),
    /// A label.
    Label(Label),
    /// A part of the name.
    Name(String),
}

/// The keys of `secret ls`.
pub const OF_SECRETS: &[Key<SecretFilter>] = &[
    ("id", |t, _| Ok(SecretFilter::Id(t.to_owned()))),
    ("label", |t, _| Ok(SecretFilter::Label(Label::read(t)))),
    ("label!", |t, _| Ok(SecretFilter::Label(Label::missing(t)))),
    ("name", |t, _| Ok(SecretFilter::Name(t.to_owned()))),
];

/// A filter of `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    /// The name of a container, or the beginning of an id.
    Container(String),
    /// What happens.
    Event(String),
    /// The name or id of an image, or what a container was made of.
    Image(String),
    /// A label, or another attribute.
    Label(Label),
    /// Where it happens: here, all of it.
    Scope(String),
    /// To what it happens.
    Type(String),
    /// The name of a volume.
    Volume(String),
}

/// The keys of `events`.
pub const OF_EVENTS: &[Key<EventFilter>] = &[
    ("container", |t, _| Ok(EventFilter::Container(t.to_owned()))),
    ("event", |t, _| Ok(EventFilter::Event(t.to_owned()))),
    ("image", |t, _| Ok(EventFilter::Image(t.to_owned()))),
    ("label", |t, _| Ok(EventFilter::Label(Label::read(t)))),
    ("scope", |t, _| Ok(EventFilter::Scope(t.to_owned()))),
    ("type", |t, _| Ok(EventFilter::Type(t.to_owned()))),
    ("volume", |t, _| Ok(EventFilter::Volume(t.to_owned()))),
];

/// A filter of `volume prune`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumePruneFilter {
    /// Of its age or labels.
    Age(AgeFilter),
    /// Whether volumes go that somebody named.
    All(bool),
}

/// The keys of `volume prune`.
pub const OF_VOLUME_PRUNE: &[Key<VolumePruneFilter>] = &[
    ("all", |t, _| truth(t).map(VolumePruneFilter::All)),
    ("label", |t, _| {
        Ok(VolumePruneFilter::Age(AgeFilter::Label(Label::read(t))))
    }),
    ("label!", |t, _| {
        Ok(VolumePruneFilter::Age(AgeFilter::Label(Label::missing(t))))
    }),
    ("until", |t, now| {
        let time = parse_time(t, now)?;
        Ok(VolumePruneFilter::Age(AgeFilter::Until(time)))
    }),
];

/// A filter of `container prune` and `network prune`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgeFilter {
    /// A label.
    Label(Label),
    /// Older than this.
    Until(Timestamp),
    /// Of what only images have, in `system prune`.
    OfImages,
}

impl AgeFilter {
    /// Whether it holds of what has these labels and was made at that time.
    pub fn holds(&self, labels: &BTreeMap<String, String>, created: Timestamp) -> bool {
        match self {
            AgeFilter::Label(label) => label.holds_of(labels),
            AgeFilter::Until(time) => created < *time,
            AgeFilter::OfImages => false,
        }
    }
}

/// The keys of `container prune` and `network prune`.
pub const BY_AGE: &[Key<AgeFilter>] = &[
    ("label", |t, _| Ok(AgeFilter::Label(Label::read(t)))),
    ("label!", |t, _| Ok(AgeFilter::Label(Label::missing(t)))),
    ("until", |t, now| parse_time(t, now).map(AgeFilter::Until)),
];

/// The keys of `builder prune`: steps of builds have no labels.
pub const OF_STEPS: &[Key<AgeFilter>] = &[BY_AGE[2]];

/// The keys of `system prune`, whose images have more: what only they can have
/// keeps every container.
pub const OF_SYSTEM: &[Key<AgeFilter>] = &[
    BY_AGE[0],
    BY_AGE[1],
    BY_AGE[2],
    ("before", |_, _| Ok(AgeFilter::OfImages)),
    ("dangling", |_, _| Ok(AgeFilter::OfImages)),
    ("id", |_, _| Ok(AgeFilter::OfImages)),
    ("reference", |_, _| Ok(AgeFilter::OfImages)),
    ("since", |_, _| Ok(AgeFilter::OfImages)),
];

/// Reads a truth as docker has it.
///
/// # Errors
/// Another word.
pub fn truth(text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => refuse!(Invalid, "true or false is wanted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn texts(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn keys_are_alternatives_and_labels_are_not() {
        let volumes = |words: &str, name: &str, labels: &[(&str, &str)]| {
            let filters = Filters::read(&texts(words), OF_VOLUMES, now()).unwrap();
            let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            let labels: BTreeMap<String, String> = labels.collect();
            let holds = |filter: &VolumeFilter| {
                Ok(match filter {
                    VolumeFilter::Name(part) => name.contains(part),
                    VolumeFilter::Label(label) => label.holds_of(&labels),
                    _ => panic!("{filter:?}"),
                })
            };
            filters.pass(holds).unwrap()
        };
        assert!(volumes("", "a", &[]));
        assert!(volumes("name=a name=b", "b", &[]));
        assert!(!volumes("name=a name=b", "c", &[]));
        let labels = [("x", "1"), ("y", "")];
        assert!(volumes("label=x=1 label=y name=a", "a", &labels));
        assert!(!volumes("label=x=1 label=z name=a", "a", &labels));
        assert!(!volumes("label=x=1 label=y name=a", "b", &labels));
    }

    #[test]
    fn labels_have_values_or_any_or_may_not_be_there() {
        let labels = BTreeMap::from([("a".to_owned(), "1=2".to_owned())]);
        for (text, holds) in [("a", true), ("a=1=2", true), ("a=1", false), ("b", false)] {
            assert_eq!(Label::read(text).holds_of(&labels), holds, "{text}");
            assert_eq!(Label::missing(text).holds_of(&labels), !holds, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_there_is() {
        for (text, says) in [
            ("x=1", "filter 'x=1': there are label, label!, until"),
            ("label", "filter 'label': KEY=VALUE is wanted"),
            ("until=soon", "filter 'until=soon': time 'soon'"),
        ] {
            let error = Filters::read(&texts(text), BY_AGE, now()).unwrap_err();
            assert_eq!(Kind::said(&error), Some(Kind::Invalid));
            assert!(error.to_string().starts_with(says), "{error}");
        }
        let wrong = Filters::read(&texts("dangling=maybe"), OF_NETWORKS, now());
        let error = wrong.unwrap_err().to_string();
        assert_eq!(error, "filter 'dangling=maybe': true or false is wanted");
    }

    #[test]
    fn ages_are_counted_from_now() {
        let filters = Filters::read(&texts("until=24h"), BY_AGE, now()).unwrap();
        let pass = |time: &str| {
            let (labels, time) = (BTreeMap::new(), time.parse().unwrap());
            filters.pass(|f| Ok(f.holds(&labels, time))).unwrap()
        };
        assert!(pass("2025-12-31T23:59:59Z") && !pass("2026-01-01T00:00:01Z"));
        let images = Filters::read(&texts("dangling=true"), OF_SYSTEM, now()).unwrap();
        assert_eq!(images.all().collect::<Vec<_>>(), [&AgeFilter::OfImages]);
    }
}
