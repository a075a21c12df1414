//! Images on their way: from registries and to them, from archives and to them.

use super::progress::{Lines, Way, say};
use super::registry;
use super::route::Query;
use super::session::{Reply, Session};
use super::worker::{Content, Work, work};
use crate::engine::container::events;
use crate::engine::create::images::{find, named};
use crate::engine::ground::confine::Reach;
use crate::engine::operate::save::parcels;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{demand, refuse};
use crate::image::budget::Budget;
use crate::image::change::Change;
use crate::image::import::{ImportOptions, import as make};
use crate::image::load::load as bring;
use crate::image::platform::Platform;
use crate::image::progress::Quiet;
use crate::image::reference::Reference;
use crate::image::registry::client::Client;
use crate::image::registry::pull::{Policy, Wanted, ensure_pulled};
use crate::image::registry::push::push as send;
use crate::image::save::{self, Form};
use crate::image::store::Store;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use std::path::Path;

/// `POST /images/create`: pulled, if `fromImage` says which, or made of the body.
///
/// # Errors
/// It is neither; nothing of that name can be had.
pub fn create(session: &mut Session, query: &Query) -> Result<Reply> {
    if let Some(image) = query.get("fromImage") {
        return pull(session, image, query);
    }
    match query.get("fromSrc") {
        Some("-") => import(session, query),
        Some(_) => {
            session.pass_body()?;
            refuse!(
                Unsupported,
                "fromSrc: only - is read, the request's body: fetch the file, and send that"
            )
        }
        None => {
            session.pass_body()?;
            refuse!(Invalid, "fromImage or fromSrc is wanted")
        }
    }
}

fn platform(query: &Query) -> Result<Option<Platform>> {
    query.get("platform").map(str::parse).transpose()
}

/// The name that a name and a `tag`, which may be a digest, make together.
fn together(name: &str, tag: Option<&str>) -> String {
    match tag {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    }
}

fn pull(session: &mut Session, image: &str, query: &Query) -> Result<Reply> {
    let name = together(image, query.get("tag"));
    let reference: Reference = name.parse()?;
    let platform = platform(query)?;
    let client = registry::client(session)?;
    let store = session.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    let work_to_do = Work {
        content: Content::Lines,
        reads: false,
        unpacks: true,
        reach: Some(Reach::Registries),
    };
    work(session, work_to_do, |store| {
        let platform = platform.as_ref();
        if reference.tag().is_some() || reference.digest().is_some() {
            return one(store, &client, &client.conf.names(&name)?, platform);
        }
        // So it is with docker: without a tag, all of them are meant.
        let repository = client.repository(&client.conf.home(&reference)?)?;
        let tags = client.tags(&repository);
        for tag in tags.with_context(|| format!("list the tags of {reference}"))? {
            one(store, &client, &[reference.with_tag(&tag)?], platform)?;
        }
        Ok(())
    })
}

fn one(
    store: &Store,
    client: &Client,
    names: &[Reference],
    platform: Option<&Platform>,
) -> Result<()> {
    let name = names.first().context("there is a name")?;
    let digest = name.digest().map(|digest| digest.to_string());
    let first = json!({
        "status": format!("Pulling from {}", name.path()),
        "id": name.tag().map(str::to_owned).or(digest),
    });
    let lines = Lines::new(Way::Pull, first);
    let wanted = Wanted {
        platform,
        ..Wanted::default()
    };
    let (name, pulled) = ensure_pulled(store, client, names, wanted, Policy::Always, &lines)?;
    events::emit_of_image(store, "pull", &name, &name.to_string());
    lines.open();
    let pulled = pulled.context("it was asked for")?;
    say(&json!({"status": format!("Digest: {}", pulled.digest)}));
    let what = match pulled.fresh {
        true => "Downloaded newer image",
        false => "Image is up to date",
    };
    let reference = &pulled.reference;
    say(&json!({"status": format!("Status: {what} for {reference}")}));
    Ok(())
}

fn import(session: &mut Session, query: &Query) -> Result<Reply> {
    let changes = query.all("changes").map(str::parse::<Change>);
    let name = query.get("repo").map(|name| {
        let name: Reference = together(name, query.get("tag")).parse()?;
        demand!(
            Invalid,
            name.digest().is_none(),
            "{name}: a new image cannot be named by a digest"
        );
        Ok(name.or_latest())
    });
    let name = name.transpose()?;
    let options = ImportOptions {
        changes: changes.collect::<Result<_>>()?,
        message: query.get("message").map(str::to_owned),
        platform: platform(query)?,
        created: Timestamp::now().to_string(),
        budget: Budget::default(),
    };
    let work_to_do = Work {
        content: Content::Lines,
        reads: true,
        unpacks: true,
        reach: Some(Reach::Files),
    };
    let store = session.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    work(session, work_to_do, |store| {
        let image = make(store, Path::new("-"), name.as_ref(), &options, &Quiet)?;
        let name = name.map(|name| name.to_string());
        events::emit_of_image(store, "import", &image.id, &name.unwrap_or_default());
        say(&json!({"status": image.id.to_string()}));
        Ok(())
    })
}

/// `POST /images/load`
///
/// # Errors
/// The body is no archive of images.
pub fn load(session: &mut Session) -> Result<Reply> {
    let work_to_do = Work {
        content: Content::Lines,
        reads: true,
        unpacks: true,
        reach: Some(Reach::Files),
    };
    let store = session.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    work(session, work_to_do, |store| {
        for loaded in bring(store, Path::new("-"), None, Budget::default(), &Quiet)? {
            let id = &loaded.image.id;
            let name = loaded.names.first().map(ToString::to_string);
            events::emit_of_image(store, "load", id, &name.unwrap_or_default());
            if loaded.names.is_empty() {
                say(&json!({"stream": format!("Loaded image ID: {id}\n")}));
            }
            for name in &loaded.names {
                say(&json!({"stream": format!("Loaded image: {name}\n")}));
            }
        }
        Ok(())
    })
}

/// `GET /images/get` and `GET /images/NAME/get`: an archive as docker's.
///
/// # Errors
/// One of them is not there.
pub fn save(session: &mut Session, names: &[String]) -> Result<Reply> {
    if names.is_empty() {
        session.pass_body()?;
        refuse!(Invalid, "names: images are wanted");
    }
    let work_to_do = Work {
        content: Content::Tar,
        reads: false,
        unpacks: false,
        reach: None,
    };
    work(session, work_to_do, |store| {
        let _lock = store.lock_shared()?;
        let parcels = parcels(store, names, Form::DockerArchive)?;
        let spool = store.session_if_needed();
        save::save(parcels, Form::DockerArchive, None, None, &spool, &Quiet)
            .with_context(|| format!("save {}", names.join(", ")))
    })
}

/// `POST /images/NAME/push`
///
/// # Errors
/// There is no such image, or the registry does not take it.
pub fn push(session: &mut Session, name: &str, query: &Query) -> Result<Reply> {
    let name = together(name, query.get("tag"));
    let client = registry::client(session)?;
    let work_to_do = Work {
        content: Content::Lines,
        reads: false,
        unpacks: false,
        reach: Some(Reach::Transfers),
    };
    work(session, work_to_do, |store| {
        let reference: Reference = name.parse()?;
        let all = match reference.tag() {
            Some(_) => vec![(find(store, &name)?, reference)],
            None => named(store, &reference)?,
        };
        for (image, reference) in all {
            let place = reference.clone().or_latest();
            let place = format!("{}/{}", place.domain(), place.path());
            let first = json!({"status": format!("The push refers to repository [{place}]")});
            let lines = Lines::new(Way::Push, first);
            let digest = send(store, &client, &image, &reference, &lines)?;
            lines.open();
            events::emit_of_image(store, "push", &reference, &reference.to_string());
            let size = store.manifest_bytes(&image)?.0.len();
            let tag = reference.tag().unwrap_or("latest");
            say(&json!({"status": format!("{tag}: digest: {digest} size: {size}")}));
            let aux = json!({"Tag": tag, "Digest": digest.to_string(), "Size": size});
            say(&json!({"progressDetail": {}, "aux": aux}));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_a_digest() {
        assert_eq!(together("r.test:5/a", Some("1")), "r.test:5/a:1");
        assert_eq!(together("a", Some("sha256:0")), "a@sha256:0");
        assert_eq!(together("a:1", None), "a:1");
    }
}
