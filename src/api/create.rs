//! `POST /containers/create`: docker's description of a container, as a request to
//! the engine.

mod config;
mod host_config;
mod mounts;
mod networking;
mod values;

use super::answer::Answer;
use super::route::Query;
use super::session::Session;
use crate::engine::container::volumes::Volumes;
use crate::engine::create::images::find;
use crate::engine::create::limits::{LimitOptions, check};
use crate::engine::create::options::RunOptions;
use crate::engine::create::root::is_built_in;
use crate::engine::network::Networks;
use crate::engine::operate::run::{Subject, create as make};
use crate::engine::request::group::{Parent, Strictness};
use crate::engine::request::limits::Limits;
use crate::engine::request::network::Network;
use crate::engine::request::restart::Restart;
use crate::engine::request::security::Unmask;
use crate::engine::request::{mounts as requested, names, publish};
use crate::engine::view::failure;
use crate::error::{Kind, OrKind, refuse};
use crate::image::platform::Platform;
use crate::image::progress::Quiet;
use crate::image::reference::Reference;
use crate::image::store::Store;
use anyhow::{Context, Result};
use networking::Wanted;
use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use values::{each, object};

/// Most bytes of a description.
const MOST: usize = 4 << 20;

/// What is known of a container while its description is read.
#[derive(Debug, Default)]
struct Draft {
    /// Its image.
    image: String,
    /// What the engine is asked for.
    options: RunOptions,
    /// What it may use.
    limits: Limits,
    /// Where its control group is.
    parent: Option<Parent>,
    /// Its networks.
    networking: Wanted,
    /// Ports, as `-p` has them.
    ports: Vec<String>,
    /// Mounts, as `-v` has them.
    binds: Vec<String>,
    /// Where it gets volumes of its own, unless something else is there.
    volumes: Vec<String>,
    /// Labels of volumes that are made for it.
    labels: Vec<(String, BTreeMap<String, String>)>,
    /// `MaskedPaths` or `ReadonlyPaths` is an empty list: that there are none is said
    /// by both.
    unmasked: [bool; 2],
    /// What is less than was asked for.
    warnings: Vec<String>,
}

/// What is done with a key of a description.
enum Take {
    /// It is read.
    By(fn(&mut Draft, &Value) -> Result<()>),
    /// It changes nothing here, nor with docker.
    Nothing,
    /// It is not done, for this reason, if it says anything.
    Refused(&'static str),
    /// It is not done, and that is told as docker does, if it says anything.
    Told(&'static str),
}

/// A key and what is done with it.
type Key = (&'static str, Take);

/// `POST /containers/create`
///
/// # Errors
/// There is no such image (404), the name is taken (409), or the description asks for
/// what cannot be.
pub fn create(session: &mut Session, query: &Query) -> Result<Answer> {
    let body = session.whole_body(MOST)?;
    let description: Value = serde_json::from_slice(&body)
        .with_context(|| Kind::Invalid.says("the description of a container is no JSON"))?;
    let mut draft = read(&description).or_kind(Kind::Invalid)?;
    if let Some(name) = query.get("name") {
        let name = name.trim_start_matches('/');
        names::container(name).or_kind(Kind::Invalid)?;
        draft.options.name = Some(name.to_owned());
    }
    let platform: Option<Platform> = query.get("platform").map(str::parse).transpose()?;
    let store = session.store()?;
    has_image(&store, &draft.image)?;
    let networks = Networks::open(store.root());
    let of_id = |name: &str| Ok(networks.find(name)?.name);
    let asked = finish(&mut draft, &store, &of_id).or_kind(Kind::Invalid);
    asked.map_err(of_no_image)?;
    let warnings = RefCell::new(std::mem::take(&mut draft.warnings));
    let subject = Subject::Image(draft.image);
    let warn = |text: &str| warnings.borrow_mut().push(text.to_owned());
    let options = &draft.options;
    let made = make(&store, &subject, options, platform.as_ref(), &Quiet, &warn);
    let (container, ..) = made.map_err(of_no_image)?;
    let id = &container.record.id;
    let mut answer = Answer::json(&json!({"Id": id, "Warnings": warnings.take()}))?;
    answer.status = 201;
    Ok(answer)
}

/// Docker's client takes all that is not found for the image, and pulls that: what else
/// is not there is what is wrong with the description.
fn of_no_image(error: anyhow::Error) -> anyhow::Error {
    match failure::kind(&error) {
        Kind::NotFound => Kind::Invalid.says(format!("{error:#}")).into(),
        _ => error,
    }
}

/// Reads a description. Nothing is looked up yet.
fn read(description: &Value) -> Result<Draft> {
    let mut draft = Draft::default();
    let all = object(description)?;
    for (name, value) in all {
        match name.as_str() {
            "HostConfig" if !value.is_null() => {
                let done = take(&mut draft, value, host_config::KEYS);
                done.context("HostConfig")?;
            }
            "NetworkingConfig" if !value.is_null() => {
                let done = networking::read(&mut draft, value);
                done.context("NetworkingConfig")?;
            }
            _ => {}
        }
    }
    take(&mut draft, description, config::KEYS)?;
    if draft.image.is_empty() {
        refuse!(Invalid, "Image: a container is made of an image");
    }
    if draft.options.auto_remove && draft.options.keeping.restart != Restart::No {
        refuse!(
            Invalid,
            "can't create 'AutoRemove' container with restart policy"
        );
    }
    Ok(draft)
}

/// Reads the keys of an object; what it has beside those says nothing, as with docker.
fn take(draft: &mut Draft, from: &Value, keys: &[Key]) -> Result<()> {
    for (name, value) in object(from)? {
        // So docker's reader of JSON takes them.
        let known = keys.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let Some((key, how)) = known.filter(|_| !value.is_null()) else {
            continue;
        };
        match how {
            Take::By(read) => read(draft, value).with_context(|| key.to_string())?,
            Take::Refused(why) if values::says_something(value) => {
                refuse!(Unsupported, "{key}: bryo does not do that: {why}")
            }
            Take::Told(what) if values::says_something(value) => {
                draft.warnings.push((*what).to_owned());
            }
            Take::Nothing | Take::Refused(_) | Take::Told(_) => {}
        }
    }
    Ok(())
}

/// Sees to it that the image is there: what clients pull if it is not.
fn has_image(store: &Store, name: &str) -> Result<()> {
    if is_built_in(name) || find(store, name).is_ok() {
        return Ok(());
    }
    let full = name.parse::<Reference>();
    let full = full.map_or_else(|_| name.to_owned(), |name| name.or_latest().to_string());
    refuse!(NotFound, "No such image: {full}")
}

/// Makes of all that was read what the engine takes: where one key depends on another,
/// and on what there is.
fn finish(draft: &mut Draft, store: &Store, of_id: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    networking::finish(draft, of_id)?;
    if matches!(draft.options.network, Network::None | Network::Host) {
        // So it is with docker.
        if draft.options.network == Network::Host && !draft.ports.is_empty() {
            let text = "Published ports are discarded when using host network mode";
            draft.warnings.push(text.to_owned());
        }
        draft.ports.clear();
        draft.options.publish_all = false;
    }
    draft.options.ports = publish::parse_all(&draft.ports)?;
    let place = |error: anyhow::Error| error.context("HostConfig.Binds");
    for bind in &draft.binds {
        let bind = mounts::bind(bind).map_err(place)?;
        draft.options.mounts.push(bind);
    }
    for path in &draft.volumes {
        let path = requested::absolute(path).context("Volumes")?;
        let mut all = draft.options.mounts.iter();
        if all.all(|mount| mount.destination() != path) {
            let volume = requested::MountOption::anonymous(&path);
            draft.options.mounts.push(volume);
        }
    }
    let volumes = Volumes::open(store);
    for (name, labels) in &draft.labels {
        if volumes.find(name).is_err() {
            volumes.create(name, labels)?;
        }
    }
    if draft.unmasked == [true; 2] {
        draft.options.unmask = Unmask::Everything;
    }
    let mut resources = LinuxResources::default();
    draft.limits.apply(&mut resources)?;
    let asked = resources != LinuxResources::default();
    if asked {
        check(&resources)?;
    }
    draft.options.limits = LimitOptions {
        resources: asked.then_some(resources),
        parent: draft.parent.take(),
        // Docker tells of limits that it cannot have, and goes on without.
        strictness: Strictness::BestEffort,
        ..LimitOptions::default()
    };
    Ok(())
}

/// Does something for each text of a list, and says for which one it cannot be done.
fn for_each(value: &Value, mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    each(value)?.iter().try_for_each(|text| act(text))
}

#[cfg(test)]
mod tests;
