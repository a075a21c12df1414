//! Images: listed, looked at, named and removed.

use super::answer::Answer;
use super::route::{Asked, Images, OfImage, Query};
use super::session::{Reply, Session};
use super::{registry, transfer};
use crate::engine::container::events;
use crate::engine::create::images::{self, Filters, find, users_of};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view::df::Usage;
use crate::engine::view::history::{self, Listing};
use crate::engine::view::image::Image;
use crate::error::{Kind, refuse};
use crate::image::reference::Reference;
use crate::image::store::{self, ImageSummary, Insist, Removed};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The oldest version in which an image without a name has none in lists.
const NAMELESS: (u32, u32) = (1, 43);
/// The first version without the field `VirtualSize`.
const ONE_SIZE: (u32, u32) = (1, 44);

/// Answers what is asked of images.
///
/// # Errors
/// There is no such image; it cannot be done.
pub fn answer(session: &mut Session, what: &Images, asked: &Asked) -> Result<Reply> {
    let query = &asked.query;
    match what {
        Images::Create => return transfer::create(session, query),
        Images::Load => return transfer::load(session),
        Images::Save => {
            let names = query.all("names").map(str::to_owned);
            return transfer::save(session, &names.collect::<Vec<_>>());
        }
        Images::Image(name, OfImage::Save) => {
            return transfer::save(session, std::slice::from_ref(name));
        }
        Images::Image(name, OfImage::Push) => return transfer::push(session, name, query),
        Images::Auth => return registry::auth(session),
        Images::Distribution(name) => return registry::distribution(session, name),
        _ => session.pass_body()?,
    }
    let answer = match what {
        Images::List => list(session, asked)?,
        Images::Prune => prune(session, query)?,
        Images::Image(name, OfImage::Inspect) => inspect(session, name, asked)?,
        Images::Image(name, OfImage::History) => steps(session, name)?,
        Images::Image(name, OfImage::Tag) => tag(session, name, query)?,
        Images::Image(name, OfImage::Remove) => remove(session, name, query)?,
        _ => refuse!(
            Unsupported,
            "bryo does not search registries: look for images at the registry's own pages"
        ),
    };
    Ok(Reply::Answer(answer))
}

/// `GET /images/json`
fn list(session: &Session, asked: &Asked) -> Result<Answer> {
    let query = &asked.query;
    let store = session.store()?;
    let lock = store.lock_shared()?;
    let mut all = store.list()?;
    drop(lock);
    let filters = Filters::parse(&texts(query)?, &all, Timestamp::now())?;
    all.retain(|image| filters.pass(image));
    let usage = query
        .is("shared-size")
        .then(|| Usage::look(&store))
        .transpose()?;
    let rows = all
        .iter()
        .map(|image| row(image, usage.as_ref(), asked.version));
    Ok(Answer::json(&rows.collect::<Vec<_>>())?)
}

/// The filters, as `KEY=VALUE`.
fn texts(query: &Query) -> Result<Vec<String>> {
    let texts = query.filters();
    texts.with_context(|| Kind::Invalid.says("invalid filters"))
}

/// An image in a list.
fn row(image: &ImageSummary, usage: Option<&Usage>, version: (u32, u32)) -> Value {
    let tagged = image.references.iter().filter(|name| name.tag().is_some());
    let mut tags: Vec<String> = tagged.map(Reference::familiar).collect();
    let mut digests: Vec<String> = Vec::new();
    for name in &image.references {
        let digest = format!("{}@{}", name.familiar_name(), image.manifest);
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    if image.references.is_empty() && version < NAMELESS {
        tags.push("<none>:<none>".to_owned());
        digests.push("<none>@<none>".to_owned());
    }
    let labels = image.labels.iter();
    let labels = labels.map(|(key, value)| (key.clone(), json!(value)));
    let (containers, shared) = match usage.map(|usage| usage.of(image)) {
        Some((users, shared, _)) => (json!(users), json!(shared)),
        None => (json!(-1), json!(-1)),
    };
    let mut row = json!({
        "Id": image.id.to_string(),
        "ParentId": "",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": seconds(image.created.as_deref()),
        "Size": image.size,
        "SharedSize": shared,
        "Labels": labels.collect::<serde_json::Map<_, _>>(),
        "Containers": containers,
    });
    if version < ONE_SIZE {
        row["VirtualSize"] = json!(image.size);
    }
    row
}

/// Seconds since 1970 of what is in RFC 3339; 0 if nothing is said.
fn seconds(time: Option<&str>) -> i64 {
    let time = time.and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or(0, Timestamp::as_second)
}

/// `GET /images/NAME/json`
fn inspect(session: &Session, name: &str, asked: &Asked) -> Result<Answer> {
    let mut shown = serde_json::to_value(Image::find(name, &session.store()?)?)?;
    let Some(fields) = shown.as_object_mut() else {
        return Ok(Answer::json(&shown)?);
    };
    // Ours and podman's.
    fields.remove("Digest");
    fields.remove("History");
    let said = fields.remove("Config");
    fields.insert("Config".to_owned(), whole_config(said.unwrap_or_default()));
    fields.insert("DockerVersion".to_owned(), json!(""));
    if asked.version < ONE_SIZE {
        let size = fields.get("Size").cloned();
        fields.insert("VirtualSize".to_owned(), size.unwrap_or_default());
    }
    Ok(Answer::json(&shown)?)
}

/// What an image's containers are like, with the fields that docker always has:
/// clients of languages without types read them unasked.
fn whole_config(said: Value) -> Value {
    let mut config = json!({
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": false,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": null,
        "Cmd": null,
        "Image": "",
        "Volumes": null,
        "WorkingDir": "",
        "Entrypoint": null,
        "OnBuild": null,
        "Labels": null,
    });
    if let (Some(config), Value::Object(said)) = (config.as_object_mut(), said) {
        config.extend(said);
    }
    config
}

/// `GET /images/NAME/history`
fn steps(session: &Session, name: &str) -> Result<Answer> {
    let store = session.store()?;
    let listing = Listing {
        now: Timestamp::now(),
        whole: true,
        human: false,
    };
    let rows = history::find(name, &store, &listing)?;
    let tags = find(&store, name)?.references;
    let shown = rows.iter().enumerate().map(|(number, row)| {
        json!({
            "Id": row.id,
            "Created": seconds(row.created_at.as_deref()),
            "CreatedBy": row.created_by,
            "Tags": (number == 0 && !tags.is_empty()).then_some(&tags),
            "Size": row.bytes,
            "Comment": row.comment,
        })
    });
    Ok(Answer::json(&shown.collect::<Vec<_>>())?)
}

/// `POST /images/NAME/tag`
fn tag(session: &Session, name: &str, query: &Query) -> Result<Answer> {
    let Some(repository) = query.get("repo") else {
        refuse!(Invalid, "repo: a name for the image is wanted");
    };
    let target: Reference = repository.parse()?;
    let target = match query.get("tag") {
        Some(tag) => target.with_tag(tag)?,
        None => target.or_latest(),
    };
    let store = session.store()?;
    let _lock = store.lock_shared()?;
    let image = find(&store, name)?;
    store.tag(&image, &target)?;
    events::emit_of_image(&store, "tag", &image.id, &target.to_string());
    Ok(Answer::empty(201))
}

/// `DELETE /images/NAME`
fn remove(session: &Session, name: &str, query: &Query) -> Result<Answer> {
    let store = session.store()?;
    store.sweep()?;
    let containers = session.containers()?;
    let insist = match query.is("force") {
        true => Insist::Force,
        false => Insist::No,
    };
    // Asked under the store's lock, so that none is added meanwhile.
    let users = |image: &store::Image| users_of(&containers, image);
    // What cannot be one's name is none's.
    find(&store, name)?;
    let removed = store.remove(name, insist, &users)?;
    events::emit_removal(&store, &removed);
    empty_trash_behind(&store)?;
    Ok(Answer::json(&told(&removed))?)
}

/// What went, a line each.
fn told(removed: &Removed) -> Vec<Value> {
    let untagged = removed
        .untagged
        .iter()
        .map(|name| json!({"Untagged": name}));
    let deleted = removed.deleted.iter();
    let deleted = deleted.map(|id| json!({"Deleted": id.to_string()}));
    untagged.chain(deleted).collect()
}

/// `POST /images/prune`: those without a name, or with `dangling=false` all that no
/// container uses.
fn prune(session: &Session, query: &Query) -> Result<Answer> {
    let mut all = false;
    let mut texts = texts(query)?;
    texts.retain(|text| match text.strip_prefix("dangling=") {
        Some(value) => {
            all = matches!(value, "false" | "0");
            // What is neither is told of.
            !matches!(value, "true" | "1" | "false" | "0")
        }
        None => true,
    });
    let store = session.store()?;
    store.sweep()?;
    let filters = Filters::parse(&texts, &store.list()?, Timestamp::now())?;
    let removed = images::prune(&store, &session.containers()?, all, &filters)?;
    events::emit_removal(&store, &removed);
    empty_trash_behind(&store)?;
    let told = told(&removed);
    Ok(Answer::json(&json!({
        "ImagesDeleted": (!told.is_empty()).then_some(told),
        "SpaceReclaimed": removed.reclaimed,
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::sha256;

    #[test]
    fn an_image_is_listed_as_the_clients_version_has_it() {
        let mut image = ImageSummary {
            id: sha256(b"config"),
            manifest: sha256(b"manifest"),
            references: ["deb:12", "r.test/deb:12"]
                .map(|name| name.parse().unwrap())
                .into(),
            created: Some("1970-01-01T00:01:00Z".into()),
            size: 7,
            labels: vec![("a".into(), "b".into())],
        };
        let digest = sha256(b"manifest");
        assert_eq!(
            row(&image, None, (1, 44)),
            json!({
                "Id": sha256(b"config").to_string(),
                "ParentId": "",
                "RepoTags": ["deb:12", "r.test/deb:12"],
                "RepoDigests": [format!("deb@{digest}"), format!("r.test/deb@{digest}")],
                "Created": 60,
                "Size": 7,
                "SharedSize": -1,
                "Labels": {"a": "b"},
                "Containers": -1,
            })
        );
        image.references.clear();
        assert_eq!(row(&image, None, (1, 43))["RepoTags"], json!([]));
        let old = row(&image, None, (1, 42));
        assert_eq!(old["RepoTags"], json!(["<none>:<none>"]));
        assert_eq!(old["RepoDigests"], json!(["<none>@<none>"]));
        assert_eq!(old["VirtualSize"], 7);
    }

    #[test]
    fn what_an_image_does_not_say_is_there() {
        let config = whole_config(json!({"Cmd": ["sh"], "User": "1"}));
        assert_eq!(config["Cmd"], json!(["sh"]));
        assert_eq!(config["User"], "1");
        assert!(config["Labels"].is_null() && config.get("Labels").is_some());
        assert_eq!(whole_config(Value::Null)["WorkingDir"], "");
    }
}
