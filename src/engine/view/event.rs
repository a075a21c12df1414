//! What happens.

use crate::engine::container::events;
use serde::Serialize;
use std::collections::BTreeMap;

/// Something that happened: docker's fields, and what podman has beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event<'a> {
    /// What, by its older name.
    #[serde(rename = "status")]
    pub status: &'a str,
    /// The thing's id, by its older name.
    #[serde(rename = "id")]
    pub id: &'a str,
    /// The image of a container; empty for other things.
    #[serde(rename = "from")]
    pub from: &'a str,
    /// To what kind of thing.
    #[serde(rename = "Type")]
    pub kind: &'a str,
    /// What.
    pub action: &'a str,
    /// To which thing.
    pub actor: Actor<'a>,
    /// There is one: `local`.
    #[serde(rename = "scope")]
    pub scope: &'static str,
    /// When, in seconds since 1970.
    #[serde(rename = "time")]
    pub time: i64,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
    /// The thing's name.
    pub name: &'a str,
    /// The image of a container; empty for other things.
    pub image: &'a str,
    /// The actor's.
    pub attributes: &'a BTreeMap<String, String>,
}

/// A thing that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Actor<'a> {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: &'a str,
    /// Its name, image, labels, and what else is known.
    #[serde(rename = "Attributes")]
    pub attributes: &'a BTreeMap<String, String>,
}

impl<'a> Event<'a> {
    /// How an event is shown.
    pub fn of(event: &'a events::Event) -> Event<'a> {
        let attribute = |key| event.attributes.get(key).map_or("", String::as_str);
        Event {
            status: &event.action,
            id: &event.id,
            from: attribute("image"),
            kind: &event.kind,
            action: &event.action,
            actor: Actor {
                id: &event.id,
                attributes: &event.attributes,
            },
            scope: "local",
            time: event.time.as_second(),
            time_nano: event.time.as_nanosecond() as i64,
            name: attribute("name"),
            image: attribute("image"),
            attributes: &event.attributes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_dockers_fields_and_podmans() {
        let attributes = [("image", "busybox"), ("name", "web"), ("exitCode", "3")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let event = events::Event {
            time: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
            kind: "container".into(),
            action: "die".into(),
            id: "ab".into(),
            attributes: attributes.into(),
        };
        let attributes = json!({"image": "busybox", "name": "web", "exitCode": "3"});
        assert_eq!(
            serde_json::to_value(Event::of(&event)).unwrap(),
            json!({
                "status": "die",
                "id": "ab",
                "from": "busybox",
                "Type": "container",
                "Action": "die",
                "Actor": {"ID": "ab", "Attributes": attributes},
                "scope": "local",
                "time": 1_767_323_045,
                "timeNano": 1_767_323_045_000_000_006_i64,
                "Name": "web",
                "Image": "busybox",
                "Attributes": attributes,
            })
        );
    }
}
