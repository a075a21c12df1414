//! A build: which stages are needed, and their steps one after the other.

use super::digests::Remembered;
use super::dockerfile::Dockerfile;
use super::dockerfile::fault::Fault;
use super::dockerfile::instruction::Instruction;
use super::dockerfile::mount::Mount;
use super::dockerfile::stage::Located;
use super::ignore::Ignore;
use super::keys::key;
use super::report::Report;
use super::run::sweep;
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
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is to be built.
pub struct Build<'a> {
    /// The Dockerfile.
    pub file: &'a Dockerfile,
    /// Its name and its text.
    pub source: (&'a str, &'a str),
    /// The directory that COPY and ADD take from.
    pub context: &'a Path,
    /// What that leaves out.
    pub ignore: Option<&'a Ignore>,
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
#[derive(Clone)]
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
    pub(super) store: Store,
    pub(super) mapping: Mapping,
    pub(super) given: Given,
    pub(super) stages: RefCell<Vec<Option<Built>>>,
    pub(super) numbers: Cell<usize>,
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
        store: store.clone().with_flavour(mapping.flavour()),
        mapping,
        given: given(build)?,
        stages: RefCell::new(vec![None; build.file.stages.len()]),
        numbers: Cell::new(0),
        context: RefCell::new(None),
    };
    let target = builder.target()?;
    for index in builder.needed(target) {
        builder.stage(index)?;
    }
    let mut built = builder.stage(target)?;
    for (name, value) in build.labels {
        built.state.config.insert("Labels", name, json!(value));
    }
    if let Some(remembered) = builder.context.borrow().as_ref() {
        remembered.write();
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

    /// The stages that one needs, and itself, in their order.
    fn needed(&self, target: usize) -> BTreeSet<usize> {
        let file = self.build.file;
        let mut needed = BTreeSet::from([target]);
        let mut looked_at = Vec::from([target]);
        while let Some(index) = looked_at.pop() {
            let stage = &file.stages[index];
            let base = self
                .given
                .global
                .expand(&stage.from.base, self.given.escape);
            let base = base
                .ok()
                .and_then(|base| file.find(&base.text, index, false));
            let mut others: Vec<usize> = base.into_iter().collect();
            for Located { instruction, .. } in &stage.instructions {
                match instruction {
                    Instruction::Copy(transfer) => {
                        let from = transfer.from.as_ref();
                        others.extend(from.and_then(|from| file.find(from, index, true)));
                    }
                    Instruction::Run(run) => {
                        let mounts = run.mounts.iter().filter_map(|text| Mount::parse(text).ok());
                        let from = mounts.filter_map(|mount| mount.from);
                        others.extend(from.filter_map(|from| file.find(&from, index, true)));
                    }
                    _ => {}
                }
            }
            for other in others {
                if needed.insert(other) {
                    looked_at.push(other);
                }
            }
        }
        needed
    }
}
