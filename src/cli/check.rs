//! `bryo check`

use crate::error::{demand, refuse};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Context;
use super::format;
use super::output::{self, Format};
use super::progress;
use super::registry::Flags;
use crate::engine::create::images::users;
use crate::engine::create::root::stands_on;
use crate::engine::ids::userns::unpacking;
use crate::engine::request::userns::UserNs;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::check::{Fault, Findings, How, check, missing_trees};
use crate::image::progress::Quiet;
use crate::image::registry::mend;
use crate::image::store::Store;

/// Look for damage in the store, and mend it
///
/// Every blob is hashed, and every unpacked file is compared with its layer.
/// What a crash left is removed. With --repair, damaged blobs are fetched
/// again from where they came from, and damaged files are unpacked again; an
/// image that can be had neither way is removed. The exit code is 1 if damage
/// remains.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,

    /// Look only whether everything is there, with its size
    #[arg(long)]
    quick: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    registry: Flags,
}

/// Prints what was found; the exit code says whether damage remains.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let store = context.store()?;
    if !store.root().exists() {
        return report(args, &[]);
    }
    store.sweep()?;
    empty_trash_behind(&store)?;
    let containers = context.containers()?;
    let used = users(&containers)?;
    let all = containers.list()?;
    let trees: HashMap<String, Vec<PathBuf>> = all
        .iter()
        .map(|container| {
            // One that is being made has no specification yet.
            let mut trees = container
                .spec()
                .map_or_else(|_| Vec::new(), |s| stands_on(&s));
            trees.retain(|tree| tree.starts_with(store.root()));
            (container.record.name.clone(), trees)
        })
        .collect();
    let running: Vec<&String> = all
        .iter()
        .filter(|container| container.state.is_active())
        .map(|container| &container.record.name)
        .collect();
    let runs_on = |tree: &Path| -> Option<String> {
        let on = running.iter().find(|name| {
            trees
                .get(**name)
                .is_some_and(|trees| trees.iter().any(|known| known == tree))
        });
        on.map(|name| (*name).clone())
    };
    let client = args.registry.client()?;
    let store = unpacking(store, &UserNs::Auto)?;
    let progress = progress::new(args.quiet);
    let how = How {
        quick: args.quick,
        repair: args.repair,
        fetch: &|name, blob, is_manifest| mend::fetch(&store, &client, name, blob, is_manifest),
        users: &|id| used.get(id).cloned().unwrap_or_default(),
        runs_on: &runs_on,
        progress: &*progress,
    };
    let Findings {
        mut faults,
        not_compared,
    } = check(&store, &how)?;
    drop(progress);
    for (image, why) in not_compared {
        super::error::warn(&format!(
            "{image}: its files were not compared with its layers, which takes room for a while: \
             {why:#}"
        ));
    }
    let images: HashMap<&String, &String> = all
        .iter()
        .filter_map(|c| Some((&c.record.name, c.record.image_id.as_ref()?)))
        .collect();
    for (container, tree) in missing_trees(&trees) {
        let again = args.repair && unpack(&store, images.get(&container), &tree).is_ok();
        faults.push(Fault {
            object: format!("container {container}"),
            problem: format!("it stands on {}, which is missing", tree.display()),
            mended: again.then(|| "unpacked again".to_owned()),
        });
    }
    let code = report(args, &faults)?;
    empty_trash_behind(&store)?;
    Ok(code)
}

/// Unpacks an image whose tree is missing.
fn unpack(store: &Store, id: Option<&&String>, tree: &Path) -> Result<()> {
    let image = id.map(|id| store.find(id)).transpose()?.flatten();
    let Some(image) = image else {
        refuse!(NotFound, "its image is gone");
    };
    let _lock = store.lock_shared()?;
    store.unpack(&image, &Quiet)?;
    if !tree.exists() {
        store
            .clone()
            .with_flavour(crate::image::flavour::Flavour::Single)
            .unpack(&image, &Quiet)?;
    }
    demand!(NotFound, tree.exists(), "it is of another id map");
    Ok(())
}

fn report(args: &Args, faults: &[Fault]) -> Result<i32> {
    let left = faults.iter().filter(|fault| fault.mended.is_none()).count();
    if args.format == Format::Json {
        output::line(serde_json::to_string_pretty(&format::value(faults)?)?)?;
        return Ok(i32::from(left > 0));
    }
    for fault in faults {
        let mended = fault.mended.as_ref();
        let mended = mended.map_or(String::new(), |mended| format!(" ({mended})"));
        output::line(format!("{}: {}{mended}", fault.object, fault.problem))?;
    }
    match (faults.len(), left) {
        (0, _) => output::line("The store is sound.")?,
        (_, 0) => output::line("All of it is mended.")?,
        (_, left) if args.repair => output::line(format!("{left} of it could not be mended."))?,
        _ => output::line("`bryo check --repair` mends what can be mended.")?,
    }
    Ok(i32::from(left > 0))
}
