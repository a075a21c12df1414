//! Which images are meant: docker's filters, and who uses what.

use crate::engine::container::containers::Containers;
use crate::engine::request::filter::{self, Label};
use crate::engine::request::mounts::Kind;
use crate::engine::request::time::parse_time;
use crate::error;
use crate::error::{demand, refuse};
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageSummary, Store};
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

/// Filters of images, read. Several of one key have to hold together, but for
/// `reference` and `id`, where one is enough.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    dangling: Option<bool>,
    labels: Vec<Label>,
    /// Made before, and after.
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    references: Vec<String>,
    ids: Vec<String>,
}

impl Filters {
    /// Reads `KEY=VALUE`s; `all` are the images that they may refer to.
    ///
    /// # Errors
    /// An unknown key, or a value that it cannot have.
    pub fn parse(texts: &[String], all: &[ImageSummary], now: Timestamp) -> Result<Filters> {
        let mut filters = Filters::default();
        for text in texts {
            let (key, value) = filter::pair(text)?;
            let created = || {
                let Some(found) = all.iter().find(|image| is_called(image, value)) else {
                    refuse!(NotFound, "filter '{text}': No such image: {value}")
                };
                let unknown = || format!("image {value} does not say when it was made");
                made(found).with_context(unknown)
            };
            match key {
                "dangling" => {
                    let wanted =
                        filter::truth(value).map_err(|e| e.context(format!("filter '{text}'")));
                    filters.dangling = Some(wanted?);
                }
                "label" => filters.labels.push(Label::read(value)),
                "label!" => filters.labels.push(Label::missing(value)),
                "before" => filters.before = earliest(filters.before, created()?),
                "until" => filters.before = earliest(filters.before, parse_time(value, now)?),
                "since" | "after" => {
                    let time = created()?;
                    filters.since = Some(filters.since.map_or(time, |known| known.max(time)));
                }
                "reference" => filters.references.push(value.to_owned()),
                "id" => filters.ids.push(value.to_owned()),
                _ => refuse!(
                    Invalid,
                    "filter '{text}': there are dangling, label, label!, before, since, until, \
                     reference and id"
                ),
            }
        }
        Ok(filters)
    }

    /// Whether they say whether dangling images are meant.
    pub fn name_dangling(&self) -> bool {
        self.dangling.is_some()
    }

    /// Whether an image is meant.
    pub fn pass(&self, image: &ImageSummary) -> bool {
        let labels: HashMap<&str, &str> = image
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let label = |label: &Label| label.holds(|key| labels.get(key).copied());
        let id = image.id.digest();
        let made = made(image);
        self.dangling
            .is_none_or(|dangling| dangling == image.references.is_empty())
            && self.labels.iter().all(label)
            && (self.before).is_none_or(|time| made.is_some_and(|made| made < time))
            && (self.since).is_none_or(|time| made.is_some_and(|made| made > time))
            && (self.references.is_empty()
                || self
                    .references
                    .iter()
                    .any(|pattern| matches(image, pattern)))
            && (self.ids.is_empty()
                || self
                    .ids
                    .iter()
                    .any(|wanted| id.starts_with(wanted.strip_prefix("sha256:").unwrap_or(wanted))))
    }
}

fn earliest(known: Option<Timestamp>, time: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(time, |known| known.min(time)))
}

fn made(image: &ImageSummary) -> Option<Timestamp> {
    image.created.as_deref()?.parse().ok()
}

fn is_called(image: &ImageSummary, name: &str) -> bool {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    let by_id = id.len() >= 4 && image.id.digest().starts_with(id);
    let wanted = name.parse::<Reference>();
    let wanted = wanted.map(|reference| reference.or_latest());
    by_id || wanted.is_ok_and(|wanted| image.references.contains(&wanted))
}

/// Docker's pattern: of the name, with or without tag; `*` and `?` stand for
/// anything but slashes.
fn matches(image: &ImageSummary, pattern: &str) -> bool {
    image.references.iter().any(|reference| {
        [
            reference.familiar(),
            reference.familiar_name(),
            reference.canonical(),
        ]
        .iter()
        .any(|name| glob(pattern.as_bytes(), name.as_bytes()))
    })
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star was, and how much it stood for so far.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') if text[t] != b'/' => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, end)) if text[end] != b'/' => {
                    star = Some((at, end + 1));
                    (p, t) = (at + 1, end + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// The image of this name, id or digest.
///
/// # Errors
/// Of [`Kind::NotFound`](error::Kind::NotFound).
pub fn find(store: &Store, name: &str) -> Result<Image> {
    let none =
        || error::Kind::NotFound.says(format!("No such image: {name} (bryo images lists them)"));
    Ok(store.find(name)?.ok_or_else(none)?)
}

/// All images that have this name, whatever their tags, each with its own.
///
/// # Errors
/// Of [`Kind::NotFound`](error::Kind::NotFound).
pub fn named(store: &Store, name: &Reference) -> Result<Vec<(Image, Reference)>> {
    let names = [Some(name.clone()), name.local()];
    let names = names.map(|name| name.map(|name| name.familiar_name()));
    let images = store.list()?.into_iter();
    let all = images.flat_map(|image| image.references);
    let all =
        all.filter(|name| name.tag().is_some() && names.contains(&Some(name.familiar_name())));
    let mut found = Vec::new();
    for reference in all {
        found.push((find(store, &reference.to_string())?, reference));
    }
    demand!(NotFound, !found.is_empty(), "No such image: {name}");
    Ok(found)
}

/// Names of the containers that stand on each image or mount it, by its id.
pub fn users(containers: &Containers) -> Result<HashMap<String, Vec<String>>> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for container in containers.list()? {
        let record = container.record;
        let mounted = record.mounts.iter().filter(|m| m.kind == Kind::Image);
        let ids = mounted.map(|m| m.source.clone());
        let ids: HashSet<String> = ids.chain(record.image_id.clone()).collect();
        for id in ids {
            users.entry(id).or_default().push(record.name.clone());
        }
    }
    Ok(users)
}

/// Names of the containers that stand on an image or mount it.
pub fn users_of(containers: &Containers, image: &Image) -> Vec<String> {
    let mut users = users(containers).unwrap_or_default();
    users.remove(image.id.as_ref()).unwrap_or_default()
}

/// Removes images that no container uses: those without a name, or with `all`
/// any; only those that pass the filters.
pub fn prune(
    store: &Store,
    containers: &Containers,
    all: bool,
    filters: &Filters,
) -> Result<crate::image::store::Removed> {
    store.prune(&|image| {
        let meant =
            (all || filters.name_dangling() || image.references.is_empty()) && filters.pass(image);
        // Asked under the store's lock, so that none is added meanwhile.
        Ok(meant && !users(containers)?.contains_key(image.id.as_ref()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::sha256;

    fn image(name: &str, created: &str, labels: &[(&str, &str)]) -> ImageSummary {
        let labels = labels.iter();
        ImageSummary {
            id: sha256(name.as_bytes()),
            manifest: sha256(b"m"),
            references: name.parse().into_iter().collect(),
            created: Some(created.to_owned()),
            size: 0,
            labels: labels.map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn filters_are_dockers() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let all = [
            image("a:1", "2026-01-01T00:00:00Z", &[("x", "1")]),
            image("r.test/b/c:2", "2026-01-02T00:00:00Z", &[]),
            image("", "2026-01-02T12:00:00Z", &[("x", "2")]),
        ];
        let pass = |texts: &[&str]| -> Vec<usize> {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            let filters = Filters::parse(&texts, &all, now).unwrap();
            (0..3).filter(|n| filters.pass(&all[*n])).collect()
        };
        assert_eq!(pass(&[]), [0, 1, 2]);
        assert_eq!(pass(&["dangling=true"]), [2]);
        assert_eq!(pass(&["label=x"]), [0, 2]);
        assert_eq!(pass(&["label=x=1"]), [0]);
        assert_eq!(pass(&["label!=x"]), [1]);
        assert_eq!(pass(&["before=r.test/b/c:2"]), [0]);
        assert_eq!(pass(&["since=a:1"]), [1, 2]);
        assert_eq!(pass(&["until=13h"]), [0, 1]);
        assert_eq!(pass(&["reference=a"]), [0]);
        assert_eq!(pass(&["reference=*"]), [0]);
        assert_eq!(pass(&["reference=r.test/*/c:?", "reference=a:*"]), [0, 1]);
        for wrong in ["x", "x=1", "dangling=x", "before=none", "until=x"] {
            assert!(Filters::parse(&[wrong.to_owned()], &all, now).is_err());
        }
    }
}
