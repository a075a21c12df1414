//! `commit`: an image from what a container changed.

use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::events::{self, Action};
use crate::engine::ground::confine::{Reach, confine, write_only_to};
use crate::engine::ids::userns::{self, Mapping};
use crate::engine::operate::changes::layers;
use crate::engine::operate::export::{become_root, trees};
use crate::engine::request::environment;
use crate::engine::request::userns::UserNs;
use crate::error::refuse;
use crate::idmap::size;
use crate::image::budget::Budget;
use crate::image::change::{Change, apply_to};
use crate::image::commit::{self, About};
use crate::image::export::{export, export_layer};
use crate::image::owners::Owners;
use crate::image::progress::{Progress, Quiet};
use crate::image::reference::Reference;
use crate::image::store::{Image, LayerInfo, Store};
use crate::image::tarwrite::TarWriter;
use crate::process::{Beside, in_process, unless_unread};
use anyhow::{Context, Result};
use jiff::Timestamp;
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::io::{BufWriter, PipeWriter, Write};
use std::path::Path;

/// How an image is made of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The image's name.
    pub name: Option<Reference>,
    /// Instructions that change its configuration.
    pub changes: Vec<Change>,
    /// Who made it.
    pub author: Option<String>,
    /// What its history says.
    pub message: Option<String>,
    /// All layers become one.
    pub squash: bool,
}

/// Makes an image of `container`, which may run. Moves this process, which
/// must have one thread, to where files of images have owners.
///
/// # Errors
/// Its image is not in the store, its changes are not apart from it.
pub fn commit(
    containers: &Containers,
    store: Store,
    container: &Container,
    options: &CommitOptions,
    progress: &dyn Fn() -> Box<dyn Progress>,
) -> Result<Image> {
    let what = || format!("commit container {}", container.record.name);
    // Nobody removes or starts it meanwhile; what runs is not removed.
    let _lock = container.try_lock()?;
    let spec = container.spec()?;
    let base = match &container.record.image_id {
        Some(id) => store.find(id)?,
        None => None,
    };
    let Some(base) = base else {
        refuse!(
            NotFound,
            "container {}: its image is not in the store; bryo export and bryo import make one of \
             all its files",
            container.record.name
        );
    };
    if !options.squash {
        layers(container).with_context(|| format!("{}: --squash takes all files", what()))?;
    }
    let base_config = store.config_json(&base)?;
    let config = apply_to(config(container, &spec, &base_config), &options.changes)?;
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let reader = Cell::new(Some(reader));
    let source = Beside::start(|| {
        // Else it would wait for itself when nobody reads on.
        drop(reader.take());
        unless_unread(write(container, &spec, options.squash, writer))
    })?;
    let reader = reader.take().context("pipe")?;
    let about = About {
        config,
        base: base_config,
        author: options.author.clone(),
        message: options.message.clone(),
        command: container.record.command.join(" "),
        created: Timestamp::now().to_string(),
    };
    let stack = if options.squash {
        &[]
    } else {
        &base.layers[..]
    };
    // Owners that only a record can have stay possible.
    let ids = match size(&userns::maps_of(&spec).uids) {
        0 | 1 => UserNs::Single,
        _ => UserNs::Auto,
    };
    let store = userns::unpacking(store, &ids)?;
    let names = options.name.as_slice();
    let image = commit::commit(&store, reader, stack, about, names, &*progress());
    // Its error is the cause of ours, if it has one.
    source.finish().with_context(what)?;
    let image = image.with_context(what)?;
    let id = image.id.to_string();
    events::emit(
        containers,
        Action::Commit,
        container,
        &[("imageID", id.as_str())],
    );
    Ok(image)
}

/// Makes a layer on those `below` of what `write` writes, which runs in a process of its
/// own that has moved to where files of `mapping` have owners. The caller holds the store's
/// lock, shared, until something names the layer.
///
/// # Errors
/// That of `write`, or what keeps the layer out of the store.
pub fn make_layer(
    store: &Store,
    mapping: &Mapping,
    below: &[LayerInfo],
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<LayerInfo> {
    between(store, mapping, below, |writer| {
        enter_to_read(mapping)?;
        // It reads archives of strangers.
        write_only_to(&[])?;
        let mut out = BufWriter::with_capacity(1 << 18, writer);
        write(&mut out)?;
        Ok(out.flush()?)
    })
}

/// Makes a layer of what a container that has ended changed.
///
/// # Errors
/// As [`make_layer`]; its changes are not apart from what it stands on.
pub fn layer_of(
    store: &Store,
    mapping: &Mapping,
    container: &Container,
    below: &[LayerInfo],
) -> Result<LayerInfo> {
    layers(container)?;
    let spec = container.spec()?;
    between(store, mapping, below, |writer| {
        write(container, &spec, false, writer)
    })
}

/// One process writes a layer, another takes it in.
fn between(
    store: &Store,
    mapping: &Mapping,
    below: &[LayerInfo],
    write: impl FnOnce(PipeWriter) -> Result<()>,
) -> Result<LayerInfo> {
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let reader = Cell::new(Some(reader));
    let writer = Cell::new(Some(writer));
    let source = Beside::start(|| {
        // Else it would wait for itself when nobody reads on.
        drop(reader.take());
        unless_unread(write(writer.take().context("pipe")?))
    })?;
    drop(writer);
    let reader = reader.take().context("pipe")?;
    let layer = in_process(|| {
        mapping.enter()?;
        confine(store, &Budget::UNLIMITED, Reach::Files)?;
        let layer = commit::put_layer(store, reader, below, &Quiet)?;
        Ok(serde_json::to_vec(&layer)?)
    });
    // Its error is the cause of ours, if it has one.
    source.finish()?;
    Ok(serde_json::from_slice(&layer?)?)
}

/// Moves this process, which must have one thread, to where it may read all files that
/// `mapping` knows.
///
/// # Errors
/// The ids are not to be had any more.
pub fn enter_to_read(mapping: &Mapping) -> Result<()> {
    match mapping {
        // Without it, files that their mode closes to their owner stay closed.
        Mapping::Single { .. } => drop(become_root()),
        Mapping::Mapped(_) => mapping.enter()?,
    }
    Ok(())
}

/// Writes the layer to a pipe.
fn write(container: &Container, spec: &Spec, squash: bool, out: PipeWriter) -> Result<()> {
    let trees = trees(spec, container)?;
    let mut owners = Owners::new(&container.dir);
    let true_owners = userns::enter_owners(spec)?;
    if true_owners.is_none() {
        // Without it, files that their mode closes to their owner stay closed.
        let _ = become_root();
    }
    let out = BufWriter::with_capacity(1 << 18, out);
    let mut out = match squash {
        true => {
            let out = TarWriter::new(out);
            export(&trees, Some(&mut owners), true_owners.as_ref(), out)?
        }
        false => {
            let (upper, lowers) = (&trees[0], &trees[1..]);
            export_layer(upper, lowers, &mut owners, true_owners.as_ref(), out)?
        }
    };
    Ok(out.flush()?)
}

/// Variables that bryo gives to every container; that it passes proxies on is of
/// this machine, too.
const OURS: [&str; 3] = ["HOME", "HOSTNAME", "TERM"];

/// What the container has in place of the image's configuration.
fn config(container: &Container, spec: &Spec, base: &Value) -> Map<String, Value> {
    let record = &container.record;
    let mut config = base["config"].as_object().cloned().unwrap_or_default();
    let (entrypoint, command) = record.split_command();
    let mut set = |key: &str, value: Value, given: bool| {
        match given {
            true => config.insert(key.to_owned(), value),
            false => config.remove(key),
        };
    };
    set("Entrypoint", json!(entrypoint), !entrypoint.is_empty());
    set("Cmd", json!(command), !command.is_empty());
    set("Labels", json!(record.labels), !record.labels.is_empty());
    set("User", json!(record.user), !record.user.is_empty());
    if let Some(signal) = &record.stop_signal {
        set("StopSignal", json!(signal), true);
    }
    let process = spec.process().as_ref();
    if let Some(directory) = process.map(|p| p.cwd()) {
        set("WorkingDir", json!(directory), directory != Path::new("/"));
    }
    let known = |entry: &String| {
        let key = entry.split('=').next().unwrap_or_default();
        let mut env = base["config"]["Env"].as_array().into_iter().flatten();
        let ours = OURS.contains(&key) || environment::is_proxy(key);
        !ours || env.any(|e| e.as_str().is_some_and(|e| e.starts_with(key)))
    };
    let env = process.and_then(|p| p.env().clone()).unwrap_or_default();
    let env: Vec<String> = env.into_iter().filter(known).collect();
    set("Env", json!(env), !env.is_empty());
    config
}
