//! A build: which stages are needed, and their steps one after the other.

use super::config::Config;
use super::digests::{self, Remembered};
use super::dockerfile::Dockerfile;
use super::dockerfile::fault::{Fault, Lines, excerpt};
use super::dockerfile::instruction::{Instruction, Source, Transfer};
use super::dockerfile::mount::{Kind, Mount};
use super::dockerfile::stage::{Located, Stage};
use super::ignore::Ignore;
use super::keys::{self, key};
use super::report::Report;
use super::run::{Bind, Running, sweep};
use super::scope::{PLATFORM_ARGUMENTS, Scope};
use super::secrets::Secrets;
use super::state::{Given, State, Work};
use super::transfer::{Transferring, directory};
use crate::engine::container::containers::Containers;
use crate::engine::create::root::lowers_of;
use crate::engine::ids::userns::Mapping;
use crate::engine::operate::commit::{enter_to_read, make_layer};
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::userns::UserNs;
use crate::engine::view::failure::kind;
use crate::error::refusal;
use crate::image::commit::put_image;
use crate::image::export::Tree;
use crate::image::platform::Platform;
use crate::image::progress::Quiet;
use crate::image::reference::Reference;
use crate::image::store::{Image, LayerInfo, LockGuard, Step, Store};
use crate::process::in_process;
use crate::sys::fs::clean;
use crate::sys::fs::make_private;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    /// `--no-cache`: all steps are taken.
    pub no_cache: bool,
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

/// A stage as far as it is built.
#[derive(Clone)]
struct Built {
    state: State,
    layers: Vec<LayerInfo>,
    /// Names what its files are.
    key: String,
    /// When its last step was taken, in RFC 3339.
    created: String,
}

impl Built {
    /// Goes on with what a step made.
    fn take(&mut self, key: String, step: Step) {
        self.layers = step.layers;
        self.created = step.created;
        self.key = key;
    }
}

struct Builder<'a> {
    build: &'a Build<'a>,
    store: Store,
    mapping: Mapping,
    given: Given,
    stages: RefCell<Vec<Option<Built>>>,
    numbers: Cell<usize>,
    context: RefCell<Option<Remembered>>,
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
    let diff_ids: Vec<_> = built
        .layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    let document = built.state.config.document(&diff_ids, &built.created);
    let _lock = store.lock_shared()?;
    put_image(store, document, &built.layers, build.names).context("write the image")
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

fn fault(build: &Build<'_>, fault: &Fault) -> anyhow::Error {
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

    /// An error with the lines that it is about.
    fn at(&self, lines: Lines, error: anyhow::Error) -> anyhow::Error {
        let (name, text) = self.build.source;
        let excerpt = excerpt(text, lines, None);
        let says = format!("{name}:{}: {error:#}\n{}", lines.first, excerpt.trim_end());
        kind(&error).says(says).into()
    }

    /// Builds a stage and those that it needs, each once.
    fn stage(&self, index: usize) -> Result<Built> {
        if let Some(built) = &self.stages.borrow()[index] {
            return Ok(built.clone());
        }
        let stage = &self.build.file.stages[index];
        let mut built = self.base(stage, index)?;
        let triggers = built.state.take_triggers();
        for trigger in &triggers {
            let file = Dockerfile::parse(&format!("FROM scratch\n{trigger}"));
            let wrong = |f: Fault| refusal!(Invalid, "ONBUILD {trigger}: {}", f.text);
            for located in &file.map_err(wrong)?.stages[0].instructions {
                let located = Located {
                    lines: stage.lines,
                    ..located.clone()
                };
                self.step(&mut built, &located, index, trigger)?;
            }
        }
        for located in &stage.instructions {
            let said = self.said(located.lines);
            self.step(&mut built, located, index, &said)?;
        }
        self.stages.borrow_mut()[index] = Some(built.clone());
        Ok(built)
    }

    /// A statement as it was written.
    fn said(&self, lines: Lines) -> String {
        let statements = &self.build.file.statements;
        let found = statements.iter().find(|statement| statement.lines == lines);
        found.map_or_else(String::new, |statement| statement.text.clone())
    }

    /// What a stage stands on.
    fn base(&self, stage: &Stage, index: usize) -> Result<Built> {
        let expand = |text: &str| {
            let expanded = self.given.global.expand(text, self.given.escape);
            let expanded = expanded.map_err(|says| Fault::new(stage.lines, says).at(text));
            expanded
                .map(|expanded| expanded.text)
                .map_err(|f| fault(self.build, &f))
        };
        let name = expand(&stage.from.base)?;
        if name.is_empty() {
            let empty = Fault::new(
                stage.lines,
                format!("base name ({}) should not be blank", stage.from.base),
            );
            return Err(fault(self.build, &empty));
        }
        if let Some(earlier) = self.build.file.find(&name, index, false) {
            let built = self.stage(earlier)?;
            return Ok(Built {
                state: built.state.as_base(),
                ..built
            });
        }
        let platform = stage.from.platform.as_deref().map(expand).transpose()?;
        let platform: Option<Platform> = match platform.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|error| self.at(stage.lines, error))?),
        };
        if name == "scratch" {
            let host = Platform::host();
            let state = State::new(Config::scratch(platform.as_ref().unwrap_or(&host)));
            return self.begin(state, Vec::new(), "scratch");
        }
        let number = self.number();
        self.build.report.begin(number, &format!("FROM {name}"));
        let (image, document) = self.image(&name, platform.as_ref(), stage.lines)?;
        self.build.report.done(number);
        let state = State::new(Config::of_image(document, &Platform::host()));
        self.begin(state, image.layers, &name)
    }

    fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        lines: Lines,
    ) -> Result<(Image, serde_json::Map<String, Value>)> {
        let found = (self.build.obtain)(name, platform);
        let image = found.map_err(|error| self.at(lines, error))?;
        let document = match self.store.config_json(&image)? {
            Value::Object(document) => document,
            _ => Default::default(),
        };
        Ok((image, document))
    }

    /// A stage that begins: its layers stay in the store from here on.
    fn begin(&self, state: State, layers: Vec<LayerInfo>, what: &str) -> Result<Built> {
        let ids: Vec<_> = layers
            .iter()
            .map(|layer| layer.diff_id.to_string())
            .collect();
        let key = key("", &json!(["from", ids]));
        let _lock = self.store.lock_shared()?;
        let step = match self.store.recall(&key)? {
            Some(step) => step,
            None => {
                let step = Step {
                    what: format!("FROM {what}"),
                    created: Timestamp::now().to_string(),
                    layers,
                };
                self.store.remember(&key, &step)?;
                step
            }
        };
        Ok(Built {
            state,
            layers: step.layers,
            key,
            created: step.created,
        })
    }

    fn number(&self) -> usize {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// One instruction.
    fn step(&self, built: &mut Built, located: &Located, index: usize, said: &str) -> Result<()> {
        let done = built.state.apply(located, &self.given);
        let done = done.map_err(|f| fault(self.build, &f))?;
        let is_layer = done.work != Work::Nothing;
        if is_layer {
            let mut source = From::Context;
            let mut binds = Vec::new();
            match &done.work {
                Work::Transfer { transfer, .. } => {
                    source = self.source(transfer.from.as_deref(), index, located.lines)?;
                }
                Work::Run(command) => {
                    let all = command.mounts.iter();
                    for mount in all.filter(|mount| mount.kind == Kind::Bind) {
                        binds.push(self.bind(mount, index, located.lines)?);
                    }
                }
                _ => {}
            }
            let number = self.number();
            let name = self.build.file.stages[index].from.name.as_deref();
            let stage = name.map_or_else(|| index.to_string(), str::to_owned);
            self.build
                .report
                .begin(number, &format!("[{stage}] {said}"));
            let worked = self.work(built, &done.work, (&source, &binds), number, said);
            worked.map_err(|error| self.at(located.lines, error))?;
        }
        if let Some(created_by) = done.created_by {
            built
                .state
                .config
                .record(&created_by, &built.created, is_layer);
        }
        Ok(())
    }

    fn work(
        &self,
        built: &mut Built,
        work: &Work,
        (source, binds): (&From, &[Bind]),
        number: usize,
        said: &str,
    ) -> Result<()> {
        let now = Timestamp::now();
        match work {
            Work::Nothing => Ok(()),
            Work::Directory { path, user } => {
                let key = key(&built.key, &json!(["workdir", path, user]));
                let layers = built.layers.clone();
                self.made(built, key, number, said, || {
                    let lock = self.store.lock_shared()?;
                    let lowers = self.lowers(&layers)?;
                    let layer = make_layer(&self.store, &self.mapping, &layers, |out| {
                        let root = self.tree(&lowers)?;
                        directory(path, user, root.as_ref(), now.as_second(), out)
                    })?;
                    Ok((layer, lock))
                })
            }
            Work::Run(command) => {
                let sources: Vec<_> = binds.iter().map(|bind| (&bind.key, &bind.part)).collect();
                let parts = json!([keys::of_command(command), sources]);
                let key = key(&built.key, &parts);
                let layers = built.layers.clone();
                self.made(built, key, number, said, || {
                    let running = Running {
                        store: &self.store,
                        mapping: &self.mapping,
                        secrets: self.build.secrets,
                        report: self.build.report,
                        warn: self.build.warn,
                    };
                    let session = self.store.session()?;
                    let scratch = session.path("run")?;
                    make_private(&scratch).context("make a directory")?;
                    running.run(number, command, (&layers, binds), &scratch)
                })
            }
            Work::Transfer { transfer, is_add } => {
                self.transfer(built, (transfer, *is_add), source, number, said)
            }
        }
    }

    /// The result of a step: the one that is there, or a new one.
    fn made(
        &self,
        built: &mut Built,
        key: String,
        number: usize,
        said: &str,
        make: impl FnOnce() -> Result<(LayerInfo, LockGuard)>,
    ) -> Result<()> {
        let recalled = match self.build.no_cache {
            true => None,
            false => self.store.recall(&key)?,
        };
        let step = match recalled {
            Some(step) => {
                self.build.report.cached(number);
                step
            }
            None => {
                // From when the layer is made until something names it.
                let (layer, _lock) = make()?;
                let step = Step {
                    what: said.to_owned(),
                    created: Timestamp::now().to_string(),
                    layers: built.layers.iter().cloned().chain([layer]).collect(),
                };
                self.store.remember(&key, &step)?;
                self.build.report.done(number);
                step
            }
        };
        built.take(key, step);
        Ok(())
    }

    /// The trees of layers, the topmost first; none of none.
    fn lowers(&self, layers: &[LayerInfo]) -> Result<Vec<PathBuf>> {
        match layers {
            [] => Ok(Vec::new()),
            layers => lowers_of(&self.store, layers, &self.mapping, &Quiet),
        }
    }

    fn tree(&self, lowers: &[PathBuf]) -> Result<Option<Tree<'_>>> {
        match lowers {
            [] => Ok(None),
            lowers => Tree::new(lowers, self.store.flavour().owners()).map(Some),
        }
    }

    fn transfer(
        &self,
        built: &mut Built,
        (transfer, is_add): (&Transfer, bool),
        source: &From,
        number: usize,
        said: &str,
    ) -> Result<()> {
        let mut parts = keys::of_transfer(transfer, is_add);
        // What is linked does not depend on what is below. A mode is given to what is there.
        let is_apart = transfer.link && transfer.chmod.is_none();
        let parent = built.key.clone();
        let now = Timestamp::now().as_second();
        // What does not change has one digest, which is known by what it is.
        let by_layers = match source {
            From::Layers { key: from, .. } => {
                let key = key(&parent, &json!([parts, "of", from]));
                match self.build.no_cache {
                    true => None,
                    false => self.store.recall(&key)?.map(|step| (key, step)),
                }
            }
            From::Context => None,
        };
        if let Some((key, step)) = by_layers {
            self.build.report.cached(number);
            built.take(key, step);
            return Ok(());
        }
        let lowers = match source {
            From::Context => vec![self.build.context.to_owned()],
            From::Layers { layers, .. } => self.lowers(layers)?,
        };
        let is_context = matches!(source, From::Context);
        let owners = self.store.flavour().owners().filter(|_| !is_context);
        let ignore = self.build.ignore.filter(|_| is_context);
        let digest = |remembered: &mut Remembered| {
            let transferring = Transferring {
                transfer,
                is_add,
                from: &Tree::new(&lowers, owners)?,
                is_context,
                ignore,
                now,
            };
            transferring.digest(remembered)
        };
        let sum = match is_context {
            true => {
                let mut context = self.context.borrow_mut();
                if context.is_none() {
                    let place = digests::place(self.store.root(), self.build.context);
                    let place = place.context("remember digests of files")?;
                    *context = Some(Remembered::read(place));
                }
                digest(context.as_mut().expect("it was read"))?
            }
            false => {
                let sum = in_process(|| {
                    enter_to_read(&self.mapping)?;
                    Ok(digest(&mut Remembered::default())?.into_bytes())
                })?;
                String::from_utf8(sum).context("the digest")?
            }
        };
        let of_layers = parts.clone();
        parts["content"] = json!(sum);
        let by_content = key(&parent, &parts);
        let layers = built.layers.clone();
        self.made(built, by_content, number, said, || {
            let lock = self.store.lock_shared()?;
            let below = self.lowers(&layers)?;
            let layer = make_layer(&self.store, &self.mapping, &layers, |out| {
                let root = self.tree(&below)?;
                let transferring = Transferring {
                    transfer,
                    is_add,
                    from: &Tree::new(&lowers, owners)?,
                    is_context,
                    ignore,
                    now,
                };
                transferring.write(root.as_ref(), is_apart, out)
            })?;
            Ok((layer, lock))
        })?;
        if let From::Layers { key: from, .. } = source {
            let key = key(&parent, &json!([of_layers, "of", from]));
            let step = Step {
                what: said.to_owned(),
                created: built.created.clone(),
                layers: built.layers.clone(),
            };
            self.store.remember(&key, &step)?;
        }
        Ok(())
    }

    /// What a mount of the type bind shows.
    fn bind(&self, mount: &Mount, index: usize, lines: Lines) -> Result<Bind> {
        let part = mount.source.as_deref().unwrap_or_default();
        let part = clean(&Path::new("/").join(part)).display().to_string();
        let part = part.trim_start_matches('/');
        let (layers, key) = match self.source(mount.from.as_deref(), index, lines)? {
            From::Layers { layers, key } => (layers, key),
            From::Context => self.context_layer(part, lines)?,
        };
        Ok(Bind {
            layers,
            part: Some(part.to_owned()).filter(|part| !part.is_empty()),
            key,
        })
    }

    /// A part of the context as a layer.
    fn context_layer(&self, part: &str, lines: Lines) -> Result<(Vec<LayerInfo>, String)> {
        let transfer = Transfer {
            sources: vec![Source::Path(part.to_owned())],
            destination: format!("/{part}"),
            ..Transfer::default()
        };
        let mut built = Built {
            state: State::new(Config::scratch(&Platform::host())),
            layers: Vec::new(),
            key: "context".into(),
            created: String::new(),
        };
        let number = self.number();
        let said = format!("[context] {}", if part.is_empty() { "." } else { part });
        self.build.report.begin(number, &said);
        let made = self.transfer(
            &mut built,
            (&transfer, false),
            &From::Context,
            number,
            &said,
        );
        made.map_err(|error| self.at(lines, error))?;
        Ok((built.layers, built.key))
    }

    /// What COPY takes from.
    fn source(&self, from: Option<&str>, index: usize, lines: Lines) -> Result<From> {
        let Some(name) = from else {
            return Ok(From::Context);
        };
        if let Some(earlier) = self.build.file.find(name, index, true) {
            let built = self.stage(earlier)?;
            return Ok(From::Layers {
                layers: built.layers,
                key: built.key,
            });
        }
        let stages = &self.build.file.stages;
        if let Some(later) = self.build.file.find(name, stages.len(), true) {
            let current = stages[index].from.name.clone();
            let current = current.unwrap_or_else(|| index.to_string());
            let what = match later == index {
                true => "a stage cannot copy from itself".to_owned(),
                false => format!("it needs to be defined before current stage \"{current}\""),
            };
            let error = refusal!(Invalid, "cannot copy from stage \"{name}\", {what}");
            return Err(self.at(lines, error));
        }
        let (image, _) = self.image(name, None, lines)?;
        if image.layers.is_empty() {
            let error = refusal!(NotFound, "--from={name}: the image has no files");
            return Err(self.at(lines, error));
        }
        let state = State::new(Config::scratch(&Platform::host()));
        let built = self.begin(state, image.layers, name)?;
        Ok(From::Layers {
            layers: built.layers,
            key: built.key,
        })
    }
}

/// What files are taken from.
enum From {
    /// The context.
    Context,
    /// A stage or an image.
    Layers {
        /// Its layers.
        layers: Vec<LayerInfo>,
        /// Names what its files are.
        key: String,
    },
}
