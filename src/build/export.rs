//! What was built as plain files: a tar or a directory.

use crate::engine::RunOptions;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::operate::cp::{CopyOptions, Side, copy};
use crate::engine::operate::export::export;
use crate::engine::operate::lifecycle::finish_remove;
use crate::engine::operate::run::{Subject, create};
use crate::engine::operate::visit::Visit;
use crate::error::refuse;
use crate::image::progress::Quiet;
use crate::image::store::{LayerInfo, Store};
use crate::process::in_process;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::rc::Rc;

/// Writes the files of layers as a tar.
///
/// # Errors
/// They cannot be read, or the tar not be written.
pub fn to_tar(
    store: &Store,
    layers: &[LayerInfo],
    out: impl Write,
    warn: &dyn Fn(&str),
) -> Result<()> {
    shown(store, layers, warn, |container| {
        in_process(|| {
            let out = BufWriter::with_capacity(1 << 18, out);
            Ok(export(container, out)?.flush()?)
        })
    })
}

/// Copies the files of layers into a directory, as the caller's own.
///
/// # Errors
/// They cannot be read or written.
pub fn to_directory(
    store: &Store,
    layers: &[LayerInfo],
    directory: &Path,
    warn: &dyn Fn(&str),
) -> Result<()> {
    shown(store, layers, warn, |container| {
        in_process(|| {
            let visit = Rc::new(Visit::new(container.clone())?);
            let from = Side::Container(visit, "/.".into());
            let to = Side::Host(directory.display().to_string());
            copy(from, to, CopyOptions::default(), warn)
        })
    })
}

/// Does something with a container of the layers that is never started.
fn shown(
    store: &Store,
    layers: &[LayerInfo],
    warn: &dyn Fn(&str),
    act: impl FnOnce(&Container) -> Result<()>,
) -> Result<()> {
    if layers.is_empty() {
        refuse!(NotFound, "the image has no files");
    }
    let options = RunOptions {
        command: vec!["/".into()],
        labels: BTreeMap::from([(super::run::LABEL.to_owned(), String::new())]),
        ..RunOptions::default()
    };
    let subject = Subject::Layers(layers.to_vec());
    let (container, lock, _) = create(store, &subject, &options, None, &Quiet, warn)?;
    drop(lock);
    let done = act(&container);
    let removed = finish_remove(&Containers::open(store), &container, true, true);
    done?;
    removed
}
