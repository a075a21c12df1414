//! A stage: what it stands on, and its instructions one after the other.

use super::builder::{Builder, Built, fault};
use super::config::Config;
use super::dockerfile::Dockerfile;
use super::dockerfile::fault::{Fault, Lines, excerpt};
use super::dockerfile::stage::{Located, Stage};
use super::graph::Node;
use super::state::State;
use crate::engine::view::failure::kind;
use crate::error::refusal;
use crate::image::commit::put_image;
use crate::image::digest::short;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Image, LayerInfo, Step};
use crate::process::Reported;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

impl Builder<'_> {
    /// An error of a command with what shows the files as it found them: the stage so far
    /// becomes an image without a name.
    pub(super) fn with_way_in(&self, error: anyhow::Error, built: &Built) -> anyhow::Error {
        if built.layers.is_empty() || error.is::<Reported>() {
            return error;
        }
        match self.image_of(built, &[]) {
            Ok(image) => kind(&error)
                .says(format!(
                    "{error:#}\nto look around: bryo run --rm -it --entrypoint /bin/sh {}",
                    short(&image.id)
                ))
                .into(),
            Err(_) => error,
        }
    }

    /// The image of a stage as far as it is built.
    pub(super) fn image_of(&self, built: &Built, names: &[Reference]) -> Result<Image> {
        let ids = built.layers.iter().map(|layer| layer.diff_id.to_string());
        let ids: Vec<_> = ids.collect();
        let document = built.state.config.document(&ids, &built.created);
        let _lock = self.store.lock_shared()?;
        put_image(&self.store, document, &built.layers, names).context("write the image")
    }

    /// An error with the lines that it is about.
    pub(super) fn at(&self, lines: Lines, error: anyhow::Error) -> anyhow::Error {
        // It was said already.
        if error.is::<Reported>() {
            return error;
        }
        let (name, text) = self.build.source;
        let excerpt = excerpt(text, lines, None);
        let says = format!("{name}:{}: {error:#}\n{}", lines.first, excerpt.trim_end());
        kind(&error).says(says).into()
    }

    /// Builds a stage and those that it needs, each once.
    pub(super) fn stage(&self, index: usize) -> Result<Built> {
        if let Some(built) = &self.stages.borrow()[index] {
            return Ok(built.clone());
        }
        let stage = &self.build.file.stages[index];
        let mut built = self.base(stage, index)?;
        built.is_anew = self.build.anew.has(index, stage.from.name.as_deref());
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
    pub(super) fn said(&self, lines: Lines) -> String {
        let statements = &self.build.file.statements;
        let found = statements.iter().find(|statement| statement.lines == lines);
        found.map_or_else(String::new, |statement| statement.text.clone())
    }

    /// What a stage stands on.
    pub(super) fn base(&self, stage: &Stage, index: usize) -> Result<Built> {
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
        let text = stage.from.platform.as_deref().map(expand).transpose()?;
        let text = text.filter(|text| !text.is_empty());
        let platform = self.platform(text.as_deref(), stage.lines)?;
        if name == "scratch" {
            let host = Platform::host();
            let state = State::new(Config::scratch(platform.as_ref().unwrap_or(&host)));
            return self.begin(state, Vec::new(), "scratch");
        }
        let (image, document) = self.image(&name, text.as_deref(), stage.lines)?;
        let state = State::new(Config::of_image(document, &Platform::host()));
        self.begin(state, image.layers, &name)
    }

    fn platform(&self, text: Option<&str>, lines: Lines) -> Result<Option<Platform>> {
        let parsed = text.map(str::parse).transpose();
        parsed.map_err(|error| self.at(lines, error))
    }

    /// Looks for an image, and fetches it where it has to be.
    pub(super) fn found(&self, name: &str, platform: Option<&str>, lines: Lines) -> Result<Image> {
        let platform = self.platform(platform, lines)?;
        let number = self.number();
        self.report.begin(number, &format!("FROM {name}"));
        let found = (self.build.obtain)(name, platform.as_ref());
        let image = found.map_err(|error| self.at(lines, error))?;
        self.report.done(number);
        Ok(image)
    }

    /// An image with its configuration; it was found, if that could be known before.
    pub(super) fn image(
        &self,
        name: &str,
        platform: Option<&str>,
        lines: Lines,
    ) -> Result<(Image, serde_json::Map<String, Value>)> {
        let node = Node::Image {
            name: name.to_owned(),
            platform: platform.map(str::to_owned),
        };
        let known = self.images.borrow().get(&node).cloned();
        let known = known.map(|id| self.store.find(&id)).transpose()?.flatten();
        let image = match known {
            Some(image) => image,
            None => self.found(name, platform, lines)?,
        };
        let document = match self.store.config_json(&image)? {
            Value::Object(document) => document,
            _ => Default::default(),
        };
        Ok((image, document))
    }

    /// A stage that begins: its layers stay in the store from here on.
    pub(super) fn begin(&self, state: State, layers: Vec<LayerInfo>, what: &str) -> Result<Built> {
        let mut built = Built {
            state,
            layers,
            created: Timestamp::now().to_string(),
            is_anew: false,
        };
        let key = built.key();
        let _lock = self.store.lock_shared()?;
        match self.store.recall(&key)? {
            Some(step) => built.take(step),
            None => {
                let step = Step {
                    what: format!("FROM {what}"),
                    created: built.created.clone(),
                    layers: built.layers.clone(),
                };
                self.store.remember(&key, &step)?;
            }
        }
        Ok(built)
    }

    pub(super) fn number(&self) -> usize {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// What COPY takes from.
    pub(super) fn source(&self, from: Option<&str>, index: usize, lines: Lines) -> Result<From> {
        let Some(name) = from else {
            return Ok(From::Context);
        };
        if let Some(earlier) = self.build.file.find(name, index, true) {
            let built = self.stage(earlier)?;
            return Ok(From::Layers {
                key: built.key(),
                layers: built.layers,
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
            key: built.key(),
            layers: built.layers,
        })
    }
}

/// What files are taken from.
pub(super) enum From {
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
