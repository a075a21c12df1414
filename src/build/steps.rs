//! The steps of a stage: what was made before is found again, else it is made.

use super::builder::{Anew, Builder, Built, fault};
use super::config::Config;
use super::context;
use super::digests::{self, Remembered};
use super::dockerfile::fault::Lines;
use super::dockerfile::instruction::{Source, Transfer};
use super::dockerfile::mount::{Kind, Mount};
use super::dockerfile::stage::Located;
use super::keys::{self, key};
use super::remote::{Remotes, fetch_all};
use super::run::{Bind, Running};
use super::stage::From;
use super::state::{State, Work};
use super::transfer::{Files, Transferring, directory};
use crate::engine::create::root::lowers_of;
use crate::engine::operate::commit::{enter_to_read, make_layer};
use crate::image::export::Tree;
use crate::image::platform::Platform;
use crate::image::progress::Quiet;
use crate::image::store::{LayerInfo, LockGuard, Step};
use crate::process::in_process;
use crate::sys::fs::clean;
use crate::sys::fs::make_private;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};

impl Builder<'_> {
    /// One instruction.
    pub(super) fn step(
        &self,
        built: &mut Built,
        located: &Located,
        index: usize,
        said: &str,
    ) -> Result<()> {
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
            let stage = name.map_or_else(|| format!("stage-{index}"), str::to_owned);
            self.report.begin(number, &format!("[{stage}] {said}"));
            let worked = self.work(built, &done.work, (&source, &binds), number, said);
            worked.map_err(|error| {
                let error = self.at(located.lines, error);
                match done.work {
                    Work::Run(_) => self.with_way_in(error, built),
                    _ => error,
                }
            })?;
        }
        if let Some(created_by) = done.created_by {
            built
                .state
                .config
                .record(&created_by, &built.created, is_layer);
        }
        Ok(())
    }

    pub(super) fn work(
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
                let key = key(&built.key(), &json!(["workdir", path, user]));
                let layers = built.layers.clone();
                self.made(built, key, number, said, || {
                    let lock = self.store.lock_shared()?;
                    let lowers = self.lowers(&layers)?;
                    let layer = make_layer(&self.store, self.mapping, &layers, |out| {
                        let root = self.tree(&lowers)?;
                        directory(path, user, root.as_ref(), now.as_second(), out)
                    })?;
                    Ok((layer, lock))
                })
            }
            Work::Run(command) => {
                let sources: Vec<_> = binds.iter().map(|bind| (&bind.key, &bind.part)).collect();
                let parts = json!([keys::of_command(command), sources]);
                let key = key(&built.key(), &parts);
                let layers = built.layers.clone();
                self.made(built, key, number, said, || {
                    let running = Running {
                        store: &self.store,
                        mapping: self.mapping,
                        secrets: self.build.secrets,
                        report: self.report,
                        warn: self.build.warn,
                        build: self.id,
                        options: self.build.run,
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
    pub(super) fn made(
        &self,
        built: &mut Built,
        key: String,
        number: usize,
        said: &str,
        make: impl FnOnce() -> Result<(LayerInfo, LockGuard)>,
    ) -> Result<()> {
        let recalled = match built.is_anew {
            true => None,
            false => self.store.recall(&key)?,
        };
        let step = match recalled {
            Some(step) => {
                self.report.cached(number);
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
                self.report.done(number);
                step
            }
        };
        built.take(step);
        Ok(())
    }

    /// The trees of layers, the topmost first; none of none.
    pub(super) fn lowers(&self, layers: &[LayerInfo]) -> Result<Vec<PathBuf>> {
        match layers {
            [] => Ok(Vec::new()),
            layers => lowers_of(&self.store, layers, self.mapping, &Quiet),
        }
    }

    pub(super) fn tree(&self, lowers: &[PathBuf]) -> Result<Option<Tree<'_>>> {
        match lowers {
            [] => Ok(None),
            lowers => Tree::new(lowers, self.store.flavour().owners()).map(Some),
        }
    }

    pub(super) fn transfer(
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
        let parent = built.key();
        let now = Timestamp::now().as_second();
        // What does not change has one digest, which is known by what it is.
        let by_layers = match source {
            From::Layers { key: from, .. } => {
                let key = key(&parent, &json!([parts, "of", from]));
                match built.is_anew {
                    true => None,
                    false => self.store.recall(&key)?,
                }
            }
            From::Context => None,
        };
        if let Some(step) = by_layers {
            self.report.cached(number);
            built.take(step);
            return Ok(());
        }
        let lowers = match source {
            From::Context => Vec::new(),
            From::Layers { layers, .. } => self.lowers(layers)?,
        };
        let from = match source {
            From::Context => Files::Context(self.build.context),
            From::Layers { .. } => Files::Layers {
                lowers: &lowers,
                owners: self.store.flavour().owners(),
            },
        };
        let session = self.store.session()?;
        let remotes = match is_add {
            true => fetch_all(transfer, &session)?,
            false => Remotes::new(),
        };
        let transferring = Transferring {
            transfer,
            is_add,
            from,
            remotes: &remotes,
            now,
        };
        let sum = match source {
            From::Context if self.build.context.kind == context::Kind::Lasting => {
                let mut remembered = self.context.borrow_mut();
                let remembered = match &mut *remembered {
                    Some(remembered) => remembered,
                    none => none.insert(self.remembered()?),
                };
                transferring.digest(remembered)?
            }
            // Modes are no obstacle then.
            _ => {
                let sum = in_process(|| {
                    enter_to_read(self.mapping)?;
                    let sum = transferring.digest(&mut Remembered::default())?;
                    Ok(sum.into_bytes())
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
            let layer = make_layer(&self.store, self.mapping, &layers, |out| {
                let root = self.tree(&below)?;
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

    /// What is remembered of the files of a context that stays.
    fn remembered(&self) -> Result<Remembered> {
        let directory = &self.build.context.directory;
        let place = digests::place(self.store.root(), directory, self.index);
        Ok(Remembered::read(
            place.context("remember digests of files")?,
        ))
    }

    /// What a mount of the type bind shows.
    pub(super) fn bind(&self, mount: &Mount, index: usize, lines: Lines) -> Result<Bind> {
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
    pub(super) fn context_layer(
        &self,
        part: &str,
        lines: Lines,
    ) -> Result<(Vec<LayerInfo>, String)> {
        let transfer = Transfer {
            sources: vec![Source::Path(part.to_owned())],
            destination: format!("/{part}"),
            ..Transfer::default()
        };
        let mut built = Built {
            state: State::new(Config::scratch(&Platform::host())),
            layers: Vec::new(),
            created: String::new(),
            is_anew: self.build.anew == &Anew::All,
        };
        let number = self.number();
        let said = format!("[context] {}", if part.is_empty() { "." } else { part });
        self.report.begin(number, &said);
        let made = self.transfer(
            &mut built,
            (&transfer, false),
            &From::Context,
            number,
            &said,
        );
        made.map_err(|error| self.at(lines, error))?;
        let key = built.key();
        Ok((built.layers, key))
    }
}
