//! Images: `image inspect` and `images`.

use super::container::GraphDriver;
use super::df::Usage;
use super::words;
use crate::engine::create::images;
use crate::image::digest;
use crate::image::reference::Reference;
use crate::image::store::{self, ImageSummary, Store};
use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// An image, with docker's fields. What its own configuration says is shown as
/// it is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Its names.
    pub repo_tags: Vec<String>,
    /// Its names, each with the digest of its manifest in place of a tag.
    pub repo_digests: Vec<String>,
    /// Bytes of its files.
    pub size: u64,
    /// When it was made, in RFC 3339.
    pub created: Option<Value>,
    /// By whom.
    pub author: String,
    /// What was said of it.
    pub comment: String,
    /// What it was made of: nothing is known of that.
    pub parent: &'static str,
    /// For which processors.
    pub architecture: String,
    /// And of which kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// For which system.
    pub os: String,
    /// What its containers are like.
    pub config: Option<Value>,
    /// Its layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// Where its files are.
    pub graph_driver: GraphDriver,
    /// What is known of it that it does not say itself.
    pub metadata: Metadata,
    /// How it was made.
    pub history: Option<Value>,
}

/// What the store knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    /// When it was last given a name, which is not kept.
    #[serde(serialize_with = "words::time_or_zero")]
    pub last_tag_time: Option<Timestamp>,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// There is one: `layers`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// The digests of their plain tars, the bottom one first.
    pub layers: Vec<String>,
}

impl Image {
    /// The image of this name, id or digest.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound).
    pub fn find(name: &str, store: &Store) -> Result<Image> {
        let image = images::find(store, name)?;
        let trees = store.trees(&image);
        let shown = Image::of(&image, store.config_json(&image)?, store.size(&image))?;
        Ok(Image {
            graph_driver: GraphDriver::of_trees(&trees),
            ..shown
        })
    }

    /// How an image is shown that has this configuration and size.
    fn of(image: &store::Image, config: Value, size: u64) -> Result<Image> {
        let tags = image.references.iter().filter(|n| !n.contains('@'));
        let mut digests: Vec<String> = Vec::new();
        for name in &image.references {
            let name = name.parse::<Reference>().map(|name| name.familiar_name());
            let digest = format!("{}@{}", name?, image.manifest);
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        let layers = image.layers.iter().map(|layer| layer.diff_id.to_string());
        let said = |key| config.get(key).cloned();
        let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
        let last = config["history"].as_array().and_then(|steps| steps.last());
        let comment = last.and_then(|step| step["comment"].as_str());
        Ok(Image {
            id: image.id.to_string(),
            digest: image.manifest.to_string(),
            repo_tags: tags.cloned().collect(),
            repo_digests: digests,
            size,
            created: said("created"),
            author: text("author"),
            comment: comment.unwrap_or_default().to_owned(),
            parent: "",
            architecture: text("architecture"),
            variant: text("variant"),
            os: text("os"),
            config: said("config"),
            root_fs: RootFs {
                kind: "layers",
                layers: layers.collect(),
            },
            graph_driver: GraphDriver::of_trees(&[]),
            metadata: Metadata {
                last_tag_time: None,
            },
            history: said("history"),
        })
    }
}

/// An image under one of its names, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// The name without its tag.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
    /// When it was made, as it says itself.
    pub created_at: Option<String>,
    /// How long ago that is, in words.
    pub created_since: String,
    /// How large its files are, in words.
    pub size: String,
    /// The same in bytes.
    pub bytes: u64,
    /// Docker's older word for its size.
    pub virtual_size: String,
    /// How many containers use it, if that was asked for; else `N/A`.
    pub containers: String,
    /// What it takes of the disk and shares with other images, in words, if
    /// that was asked for.
    pub shared_size: String,
    /// What it takes for itself, in words, if that was asked for.
    pub unique_size: String,
    /// Names that it had, which are not kept.
    pub history: [String; 0],
    /// There are none in stores of others.
    pub read_only: bool,
}

impl Row {
    /// A row for each name of an image that `wanted` means, or for all, or one
    /// for an image without a name. Ages count from `now`; ids are short unless
    /// the `whole` is wanted. Who uses it is told of a `usage`.
    pub fn all(
        image: &ImageSummary,
        usage: Option<&Usage>,
        wanted: Option<&Reference>,
        whole: bool,
        now: Timestamp,
    ) -> Vec<Row> {
        let none = || "<none>".to_owned();
        let taken = usage.map(|usage| usage.of(image));
        let told = |one: fn((usize, u64, u64)) -> String| taken.map_or("N/A".to_owned(), one);
        let row = |name: Option<&Reference>| Row {
            repository: name.map_or_else(none, Reference::familiar_name),
            tag: (name.and_then(Reference::tag)).map_or_else(none, str::to_owned),
            id: match whole {
                true => image.id.to_string(),
                false => digest::short(&image.id).to_owned(),
            },
            digest: image.manifest.to_string(),
            created_at: image.created.clone(),
            created_since: words::age(image.created.as_deref(), now),
            size: words::size(image.size),
            bytes: image.size,
            virtual_size: words::size(image.size),
            containers: told(|(users, ..)| users.to_string()),
            shared_size: told(|(_, shared, _)| words::size(shared)),
            unique_size: told(|(_, _, unique)| words::size(unique)),
            history: [],
            read_only: false,
        };
        let names = image.references.iter().map(Some);
        let names = names.chain(image.references.is_empty().then_some(None));
        names
            .filter(|name| wanted.is_none_or(|wanted| is_meant(wanted, *name)))
            .map(row)
            .collect()
    }
}

/// Without a tag, a name stands for all its tags.
fn is_meant(wanted: &Reference, found: Option<&Reference>) -> bool {
    found.is_some_and(|found| {
        let same_name = wanted.familiar_name() == found.familiar_name();
        same_name && (wanted.tag().is_none() || wanted.tag() == found.tag())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::sha256;
    use crate::image::store::LayerInfo;
    use serde_json::json;

    #[test]
    fn an_image_has_dockers_fields() {
        let image = store::Image {
            id: sha256(b"config"),
            manifest: sha256(b"manifest"),
            references: vec!["deb:latest".into(), "deb:12".into()],
            config: Default::default(),
            layers: vec![LayerInfo {
                diff_id: sha256(b"tar"),
                chain_id: sha256(b"tar"),
                blob: sha256(b"blob"),
                size: 10,
                media_type: oci_spec::image::MediaType::ImageLayer,
                urls: Vec::new(),
            }],
        };
        let config = json!({
            "created": "2026-01-02T03:04:05Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "history": [{"created_by": "x"}],
        });
        let shown = Image::of(&image, config, 1234).unwrap();
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "Id": sha256(b"config").to_string(),
                "Digest": sha256(b"manifest").to_string(),
                "RepoTags": ["deb:latest", "deb:12"],
                "RepoDigests": [format!("deb@{}", sha256(b"manifest"))],
                "Size": 1234,
                "Created": "2026-01-02T03:04:05Z",
                "Author": "",
                "Comment": "",
                "Parent": "",
                "Architecture": "amd64",
                "Os": "linux",
                "GraphDriver": {"Name": "overlay", "Data": {}},
                "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
                "Config": {"Cmd": ["sh"]},
                "RootFS": {"Type": "layers", "Layers": [sha256(b"tar").to_string()]},
                "History": [{"created_by": "x"}],
            })
        );
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let mut image = ImageSummary {
            id: sha256(b"config"),
            manifest: sha256(b"manifest"),
            references: ["deb:12", "r.test/deb:12", "deb:13"]
                .map(|name| name.parse().unwrap())
                .into(),
            created: Some("2026-01-01T22:00:00Z".into()),
            size: 1_234_567,
            labels: Vec::new(),
        };
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let names = |image: &ImageSummary, wanted: Option<&str>| {
            let wanted = wanted.map(|name| name.parse::<Reference>().unwrap());
            let rows = Row::all(image, None, wanted.as_ref(), false, now).into_iter();
            let names = rows.map(|row| format!("{}:{}", row.repository, row.tag));
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&image, None), ["deb:12", "r.test/deb:12", "deb:13"]);
        assert_eq!(names(&image, Some("deb")), ["deb:12", "deb:13"]);
        assert_eq!(names(&image, Some("deb:13")), ["deb:13"]);
        assert_eq!(
            serde_json::to_value(&Row::all(&image, None, None, false, now)[0]).unwrap(),
            json!({
                "Repository": "deb",
                "Tag": "12",
                "ID": digest::short(&sha256(b"config")),
                "Digest": sha256(b"manifest").to_string(),
                "CreatedAt": "2026-01-01T22:00:00Z",
                "CreatedSince": "2 hours ago",
                "Size": "1.23MB",
                "Bytes": 1_234_567,
                "VirtualSize": "1.23MB",
                "Containers": "N/A",
                "SharedSize": "N/A",
                "UniqueSize": "N/A",
                "History": [],
                "ReadOnly": false,
            })
        );
        image.references.clear();
        assert_eq!(names(&image, None), ["<none>:<none>"]);
        assert!(names(&image, Some("deb")).is_empty());
    }
}
