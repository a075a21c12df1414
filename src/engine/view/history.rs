//! How images were made: `history`.

use super::words;
use crate::engine::create::images;
use crate::image::digest;
use crate::image::store::Store;
use anyhow::Result;
use jiff::Timestamp;
use oci_spec::image::History;
use serde::Serialize;

/// A step of the making of an image, with docker's names of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// The image's id; `<missing>` of steps below, which have no image of their
    /// own.
    #[serde(rename = "ID")]
    pub id: String,
    /// When, in RFC 3339.
    pub created_at: Option<String>,
    /// When, as it is wanted.
    pub created_since: String,
    /// By which command.
    pub created_by: String,
    /// How large its layer is, as it is wanted.
    pub size: String,
    /// The same in bytes.
    pub bytes: u64,
    /// What was said of it.
    pub comment: String,
}

/// How steps are shown.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// The moment from which ages count.
    pub now: Timestamp,
    /// Ids and commands are not shortened.
    pub whole: bool,
    /// Sizes and times are in words, not in bytes and RFC 3339.
    pub human: bool,
}

/// Longest command that is shown of a step, in characters.
const WIDTH: usize = 45;

/// The steps of the making of the image of this name, the last one first.
///
/// # Errors
/// Of [`NotFound`](crate::error::Kind::NotFound).
pub fn find(name: &str, store: &Store, listing: &Listing) -> Result<Vec<Row>> {
    let _lock = store.lock_shared()?;
    let image = images::find(store, name)?;
    let sizes = image.layers.iter().map(|layer| store.layer_size(layer));
    let sizes: Vec<u64> = sizes.collect();
    let id = match listing.whole {
        true => image.id.to_string(),
        false => digest::short(&image.id).to_owned(),
    };
    let steps = image.config.history().as_deref().unwrap_or_default();
    Ok(rows(steps, &sizes, &id, listing))
}

fn rows(steps: &[History], layers: &[u64], id: &str, listing: &Listing) -> Vec<Row> {
    let mut layers = layers.iter().copied();
    let mut rows: Vec<Row> = Vec::new();
    for step in steps {
        let size = match step.empty_layer() {
            Some(true) => 0,
            // A history may be shorter or longer than the layers.
            _ => layers.next().unwrap_or(0),
        };
        rows.push(Row::of(step, size, listing));
    }
    let nothing = History::default();
    rows.extend(layers.map(|size| Row::of(&nothing, size, listing)));
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        last.id = id.to_owned();
    }
    rows
}

impl Row {
    fn of(step: &History, size: u64, listing: &Listing) -> Row {
        let created = step.created().clone();
        let by = step.created_by().as_deref().unwrap_or_default();
        let by = by.replace(['\t', '\n'], " ");
        Row {
            id: "<missing>".to_owned(),
            created_since: match listing.human {
                true => words::age(created.as_deref(), listing.now),
                false => created.clone().unwrap_or_default(),
            },
            created_at: created,
            created_by: match listing.whole {
                true => by,
                false => words::ellipsis(&by, WIDTH),
            },
            size: match listing.human {
                true => words::size(size),
                false => size.to_string(),
            },
            bytes: size,
            comment: step.comment().clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::HistoryBuilder;
    use serde_json::json;

    #[test]
    fn steps_and_layers_are_brought_together() {
        let step = |by: &str, empty| {
            let step = HistoryBuilder::default().created_by(by).empty_layer(empty);
            step.created("2026-01-01T22:00:00Z").build().unwrap()
        };
        let steps = [step("ADD\tfile", false), step("CMD sh", true)];
        let mut listing = Listing {
            now: "2026-01-02T00:00:00Z".parse().unwrap(),
            whole: false,
            human: true,
        };
        // A layer more than there are steps with one.
        let shown = rows(&steps, &[2_000_000, 7], "ab", &listing);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!([
                {
                    "ID": "ab",
                    "CreatedAt": null,
                    "CreatedSince": "",
                    "CreatedBy": "",
                    "Size": "7B",
                    "Bytes": 7,
                    "Comment": "",
                },
                {
                    "ID": "<missing>",
                    "CreatedAt": "2026-01-01T22:00:00Z",
                    "CreatedSince": "2 hours ago",
                    "CreatedBy": "CMD sh",
                    "Size": "0B",
                    "Bytes": 0,
                    "Comment": "",
                },
                {
                    "ID": "<missing>",
                    "CreatedAt": "2026-01-01T22:00:00Z",
                    "CreatedSince": "2 hours ago",
                    "CreatedBy": "ADD file",
                    "Size": "2MB",
                    "Bytes": 2_000_000,
                    "Comment": "",
                },
            ])
        );
        let long = [step(&"x".repeat(50), false)];
        let by = |listing: &Listing| rows(&long, &[1500], "ab", listing)[0].clone();
        assert_eq!(by(&listing).created_by, "x".repeat(44) + "…");
        (listing.whole, listing.human) = (true, false);
        let plain = by(&listing);
        assert_eq!(plain.created_by, "x".repeat(50));
        assert_eq!(
            (&*plain.size, &*plain.created_since),
            ("1500", "2026-01-01T22:00:00Z")
        );
    }
}
