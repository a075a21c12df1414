//! The images of a project's services: fetched, or built.

use crate::cli::{Context, build, pull, registry};
use crate::compose::Project;
use crate::compose::node::{Node, Value};
use crate::compose::service::{Pull, Service};
use crate::compose::up::ImageOf;
use crate::engine::create::root::is_built_in;
use crate::error::{refusal, refuse};
use crate::image::registry::pull::{Policy, Wanted};
use crate::image::store::Store;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

/// What flags say of images.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Those that can be built are.
    pub build: bool,
    /// None is.
    pub no_build: bool,
    /// In place of the services' own words.
    pub pull: Option<Pull>,
    /// No progress is shown.
    pub quiet: bool,
}

/// Sees to it that all images are there, and returns them by service.
///
/// # Errors
/// One cannot be had.
pub fn ensure(
    context: &Context,
    store: &Store,
    project: &Project,
    services: &BTreeMap<String, Service>,
    how: How,
) -> Result<BTreeMap<String, ImageOf>> {
    let mut all = BTreeMap::new();
    let flags = registry::Flags::default();
    for (name, service) in services {
        let what = || format!("services.{name}");
        let policy = how.pull.unwrap_or(service.pull);
        let is_here = store.has(&service.image)?;
        let builds = service.is_built
            && !how.no_build
            && (how.build || policy == Pull::Build || (!is_here && policy != Pull::Always));
        if builds {
            self::build(context, project, name, service, how.quiet).with_context(what)?;
        }
        let policy = match policy {
            _ if builds => Policy::Never,
            Pull::Always => Policy::Always,
            Pull::Missing | Pull::Build => Policy::Missing,
            Pull::Never => Policy::Never,
        };
        let wanted = Wanted {
            platform: service.platform.as_ref(),
            ..Wanted::default()
        };
        let found = pull::before_run(store, &flags, &service.image, wanted, policy, how.quiet);
        let found = found.with_context(what)?;
        let id = match store.find(&found)? {
            Some(image) => image.id.to_string(),
            // Made when it is needed.
            None if is_built_in(&service.image) => String::new(),
            None => {
                return Err(refusal!(
                    NotFound,
                    "services.{name}: no such image: {} (bryo pull or bryo load brings one in)",
                    service.image
                ));
            }
        };
        // As it was written, where the store knows it so.
        let own = match store.find(&service.image)?.is_some() {
            true => service.image.clone(),
            false => found,
        };
        all.insert(name.clone(), ImageOf { name: own, id });
    }
    Ok(all)
}

/// Keys of `build` that are done.
const DONE: &[&str] = &[
    "context",
    "dockerfile",
    "args",
    "labels",
    "no_cache",
    "pull",
    "target",
    "tags",
];

/// Builds the image of a service.
pub fn build(
    context: &Context,
    project: &Project,
    name: &str,
    service: &Service,
    quiet: bool,
) -> Result<()> {
    let services = project.services();
    let Some(node) = services.get(name).and_then(|node| node.given("build")) else {
        return Ok(());
    };
    for (key, value) in node.entries() {
        let is_known = DONE.contains(&key.name.as_str()) || key.name.starts_with("x-");
        let is_empty = value.value == Value::Bool(false) || value.value == Value::Null;
        if !is_known && !is_empty {
            refuse!(
                Unsupported,
                "{}: build.{}: builds of services do not do that yet: bryo build may",
                value.mark,
                key.name
            );
        }
    }
    let texts = |key: &str| -> Vec<String> {
        let items = node.get(key).map(Node::items).unwrap_or_default();
        items.iter().filter_map(|item| item.value.shown()).collect()
    };
    let pairs = |key: &str| -> Vec<String> {
        let entries = node.get(key).map(Node::entries).unwrap_or_default().iter();
        let pair = |(key, node): &(crate::compose::node::Key, Node)| match &node.value {
            Value::Null => key.name.clone(),
            value => format!("{}={}", key.name, value.shown().unwrap_or_default()),
        };
        entries.map(pair).collect()
    };
    let is = |key: &str| {
        node.get(key)
            .is_some_and(|node| node.value == Value::Bool(true))
    };
    let mut tags = vec![service.image.clone()];
    tags.extend(texts("tags"));
    let mut labels = pairs("labels");
    labels.push(format!(
        "{}={}",
        crate::compose::labels::PROJECT,
        project.name
    ));
    labels.push(format!("{}={name}", crate::compose::labels::SERVICE));
    let place = node.text_of("context").unwrap_or(".");
    super::report("Image", &service.image, "Building");
    build::of_service(
        context,
        build::OfService {
            context: place.into(),
            file: node
                .text_of("dockerfile")
                .map(|file| std::path::Path::new(place).join(file)),
            arguments: pairs("args"),
            tags,
            labels,
            target: node.text_of("target").map(str::to_owned),
            no_cache: is("no_cache"),
            pull: is("pull"),
            quiet,
        },
    )
}
