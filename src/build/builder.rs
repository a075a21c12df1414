//! A build: what it is to make, and the image that comes of it.

use super::context::Context;
use super::digests::Remembered;
use super::dockerfile::Dockerfile;
use super::dockerfile::fault::{Fault, Lines};
use super::graph::{Node, graph};
use super::keys::key;
use super::report::Report;
use super::run::{sweep, sweep_of};
use super::schedule::{self, Made};
use super::scope::{PLATFORM_ARGUMENTS, Scope};
use super::secrets::Secrets;
use super::state::{Given, State};
use crate::engine::container::containers::Containers;
use crate::engine::create::options::RunOptions;
use crate::engine::ids::userns::Mapping;
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::userns::UserNs;
use crate::error::refusal;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Image, LayerInfo, Step, Store};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// What is to be built.
pub struct Build<'a> {
    /// The Dockerfile.
    pub file: &'a Dockerfile,
    /// Its name and its text.
    pub source: (&'a str, &'a str),
    /// What COPY and ADD take from.
    pub context: &'a Context,
    /// `--build-arg`.
    pub arguments: &'a BTreeMap<String, String>,
    /// `--secret` and `--ssh`.
    pub secrets: &'a Secrets,
    /// `--target`: a stage's name; the last stage if None.
    pub target: Option<&'a str>,
    /// What is taken anew, whatever is known of it.
    pub anew: &'a Anew,
    /// What all commands have: their limits, network and the like.
    pub run: &'a RunOptions,
    /// `--label`.
    pub labels: &'a BTreeMap<String, String>,
    /// `-t`.
    pub names: &'a [Reference],
    /// Finds an image by its name, and fetches it where it is not in the store.
    pub obtain: &'a dyn Fn(&str, Option<&Platform>) -> Result<Image>,
    /// Who listens.
    pub report: &'a dyn Report,
    /// What is told to people.
    pub warn: &'a dyn Fn(&str),
}

/// Which steps are taken, though what they would make may be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Anew {
    /// None.
    #[default]
    Nothing,
    /// `--no-cache-filter`: those of stages with these names or numbers.
    Stages(Vec<String>),
    /// `--no-cache`: all.
    All,
}

impl Anew {
    pub(super) fn has(&self, index: usize, name: Option<&str>) -> bool {
        match self {
            Anew::Nothing => false,
            Anew::All => true,
            Anew::Stages(stages) => stages.iter().any(|stage| {
                *stage == index.to_string() || name.is_some_and(|n| stage.eq_ignore_ascii_case(n))
            }),
        }
    }
}

/// A stage as far as it is built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Built {
    pub(super) state: State,
    pub(super) layers: Vec<LayerInfo>,
    /// When its last step was taken, in RFC 3339.
    pub(super) created: String,
    /// Its steps are taken, whatever is known.
    pub(super) is_anew: bool,
}

impl Built {
    /// Goes on with what a step made.
    pub(super) fn take(&mut self, step: Step) {
        self.layers = step.layers;
        self.created = step.created;
    }

    /// Names what its files are: what stands on a step that was taken anew, and came to
    /// something else, is not what stood on it before.
    pub(super) fn key(&self) -> String {
        let ids = self.layers.iter().map(|layer| layer.diff_id.to_string());
        key("", &json!(["from", ids.collect::<Vec<_>>()]))
    }
}

pub(super) struct Builder<'a> {
    pub(super) build: &'a Build<'a>,
    /// Who listens.
    pub(super) report: &'a dyn Report,
    pub(super) store: Store,
    pub(super) mapping: &'a Mapping,
    pub(super) given: Given,
    pub(super) stages: RefCell<Vec<Option<Built>>>,
    /// Ids of the images that were looked for.
    pub(super) images: RefCell<BTreeMap<Node, String>>,
    pub(super) numbers: Cell<usize>,
    /// The process that began the build.
    pub(super) id: u32,
    /// The stage that this process makes.
    pub(super) index: usize,
    pub(super) context: RefCell<Option<Remembered>>,
}

/// Builds an image, and gives it its names.
///
/// # Errors
/// What is wrong with the Dockerfile, with lines; a step that fails.
pub fn build(store: &Store, build: &Build<'_>) -> Result<Image> {
    store.sweep()?;
    if let Some(_alone) = store.try_lock_builds()? {
        sweep(&Containers::open(store))?;
    }
    let _builds = store.lock_builds()?;
    let mapping = Mapping::decide(&UserNs::Auto, EmulationOption::Auto, store, build.warn)?;
    let builder = Builder {
        build,
        report: build.report,
        store: store.clone().with_flavour(mapping.flavour()),
        mapping: &mapping,
        given: given(build)?,
        stages: RefCell::new(vec![None; build.file.stages.len()]),
        images: RefCell::default(),
        numbers: Cell::new(0),
        id: std::process::id(),
        index: 0,
        context: RefCell::new(None),
    };
    let target = builder.target()?;
    let expand = |text: &str| {
        let expanded = builder.given.global.expand(text, builder.given.escape);
        expanded.ok().map(|expanded| expanded.text)
    };
    let all = schedule::run(&builder, graph(build.file, target, &expand));
    if all.is_err() {
        // What the others ran when they were ended.
        sweep_of(&Containers::open(store), builder.id)?;
    }
    all?;
    let mut built = builder.stage(target)?;
    for (name, value) in build.labels {
        built.state.config.insert("Labels", name, json!(value));
    }
    builder.image_of(&built, build.names)
}

/// What all stages have.
fn given(build: &Build<'_>) -> Result<Given> {
    let escape = build.file.directives.escape;
    let host = Platform::host();
    let platform = host.to_string();
    let value = |name: &str| match name
        .trim_start_matches("BUILD")
        .trim_start_matches("TARGET")
    {
        "PLATFORM" => platform.clone(),
        "OS" => host.os.clone(),
        "ARCH" => host.architecture.clone(),
        "VARIANT" => host.variant.clone(),
        "STAGE" => build.target.unwrap_or("default").to_owned(),
        _ => String::new(),
    };
    let mut global = Scope::of(PLATFORM_ARGUMENTS.map(|name| (name, value(name))));
    for (argument, lines) in &build.file.arguments {
        let declared = global.declare(argument, build.arguments, None, escape);
        declared.map_err(|says| fault(build, &Fault::new(*lines, says).at(&argument.name)))?;
    }
    Ok(Given {
        arguments: build.arguments.clone(),
        global,
        escape,
    })
}

pub(super) fn fault(build: &Build<'_>, fault: &Fault) -> anyhow::Error {
    let (name, text) = build.source;
    refusal!(Invalid, "{}", fault.show(name, text).trim_end())
}

impl Builder<'_> {
    fn target(&self) -> Result<usize> {
        let stages = &self.build.file.stages;
        let Some(name) = self.build.target else {
            return Ok(stages.len() - 1);
        };
        let found = self.build.file.find(name, stages.len(), false);
        let known: Vec<_> = stages
            .iter()
            .filter_map(|stage| stage.from.name.as_deref())
            .collect();
        found.ok_or_else(|| {
            let known = match known.as_slice() {
                [] => "no stage has a name".to_owned(),
                known => format!("there are {}", known.join(", ")),
            };
            refusal!(
                NotFound,
                "--target {name}: target stage could not be found: {known}"
            )
        })
    }

    /// The same, for a process that tells another one what it does.
    pub(super) fn for_node<'b>(&'b self, node: &Node, report: &'b dyn Report) -> Builder<'b> {
        Builder {
            build: self.build,
            report,
            store: self.store.clone(),
            mapping: self.mapping,
            given: self.given.clone(),
            stages: self.stages.clone(),
            images: self.images.clone(),
            numbers: Cell::new(0),
            id: self.id,
            index: match node {
                Node::Stage(index) => *index,
                Node::Image { .. } => 0,
            },
            context: RefCell::new(None),
        }
    }

    /// Makes a stage, or sees to it that an image is there.
    pub(super) fn make(&self, node: &Node, lines: Lines) -> Result<Made> {
        match node {
            Node::Stage(index) => {
                let built = self.stage(*index)?;
                if let Some(remembered) = self.context.borrow().as_ref() {
                    remembered.write();
                }
                Ok(Made::Stage(Box::new(built)))
            }
            Node::Image { name, platform } => {
                let image = self.found(name, platform.as_deref(), lines)?;
                Ok(Made::Image(image.id.to_string()))
            }
        }
    }

    /// Goes on with what a process made.
    pub(super) fn keep(&self, node: &Node, made: Made) {
        match (node, made) {
            (Node::Stage(index), Made::Stage(built)) => {
                self.stages.borrow_mut()[*index] = Some(*built);
            }
            (image, Made::Image(id)) => drop(self.images.borrow_mut().insert(image.clone(), id)),
            _ => {}
        }
    }
}
