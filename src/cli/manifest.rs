//! `bryo manifest`: lists of images for several platforms.

use crate::error::{demand, refusal, refuse};
use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Context;
use super::output;
use super::progress;
use super::registry::Flags;
use crate::engine::ground::confine::{Reach, go_on_confined};
use crate::image::budget::Budget;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::client::Client;
use crate::image::registry::lists::{self, List};
use crate::image::store::Store;

/// Put images for several platforms together under one name
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show a manifest or list: of this machine, else of a registry
    Inspect {
        /// Name
        image: String,
        #[command(flatten)]
        registry: Flags,
    },
    /// Start a list
    Create {
        /// Name of the list
        list: Reference,
        /// Images of the store, or of registries
        images: Vec<String>,
        /// Go on with a list that is there
        #[arg(short, long)]
        amend: bool,
        #[command(flatten)]
        add: Adding,
    },
    /// Add images to a list
    Add {
        /// Name of the list
        list: Reference,
        /// Images of the store, or of registries
        #[arg(required = true)]
        images: Vec<String>,
        /// Say that it is for this platform, as OS/ARCHITECTURE[/VARIANT]
        #[arg(long)]
        annotate: Option<Platform>,
        #[command(flatten)]
        add: Adding,
    },
    /// Take images out of a list
    Remove {
        /// Name of the list
        list: Reference,
        /// Digests of the images' manifests
        #[arg(required = true)]
        digests: Vec<String>,
    },
    /// Say what an image of a list is for
    Annotate {
        /// Name of the list
        list: Reference,
        /// Digest of the image's manifest
        digest: String,
        /// OS/ARCHITECTURE[/VARIANT]
        #[arg(long)]
        platform: Platform,
    },
    /// Remove lists
    Rm {
        /// Names
        #[arg(required = true)]
        lists: Vec<Reference>,
    },
    /// Send a list and all its images to a registry
    Push {
        /// Name of the list
        list: Reference,
        /// Name to send it under [default: the list's own]
        destination: Option<String>,
        /// Remove the list afterwards
        #[arg(long, visible_alias = "purge")]
        rm: bool,
        /// Print only the digest
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        registry: Flags,
    },
}

/// How images are added.
#[derive(Debug, clap::Args)]
struct Adding {
    /// Of an index, all images
    #[arg(long)]
    all: bool,
    /// Of an index, the image for this platform [default: this machine's]
    #[arg(long)]
    platform: Option<Platform>,
    #[command(flatten)]
    registry: Flags,
}

/// Does it.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let store = context.store()?;
    if let Verb::Inspect { .. } | Verb::Create { .. } | Verb::Add { .. } | Verb::Push { .. } =
        args.verb
    {
        go_on_confined(&store, &Budget::default(), Reach::Transfers)?;
    }
    match &args.verb {
        Verb::Inspect { image, registry } => inspect(&store, image, registry),
        Verb::Create {
            list,
            images,
            amend,
            add,
        } => {
            let name = list.clone().or_latest();
            let mut list = match List::find(&store, &name)? {
                Some(list) if *amend => list,
                Some(_) => refuse!(
                    Conflict,
                    "list {name} is there already: --amend goes on with it"
                ),
                None => List::new(&name),
            };
            put(&store, &mut list, images, add)?;
            list.save(&store)?;
            Ok(output::line(name.canonical())?)
        }
        Verb::Add {
            list,
            images,
            annotate,
            add,
        } => {
            let mut list = find(&store, list)?;
            put(&store, &mut list, images, add)?;
            if let Some(platform) = annotate {
                demand!(Invalid, images.len() == 1, "--annotate is about one image");
                let last = list.entries.last().context("the list is empty")?;
                let digest = last.descriptor.digest().to_string();
                list.annotate(&digest, platform)?;
            }
            list.save(&store)
        }
        Verb::Remove { list, digests } => {
            let mut list = find(&store, list)?;
            for digest in digests {
                list.take(digest)?;
            }
            list.save(&store)
        }
        Verb::Annotate {
            list,
            digest,
            platform,
        } => {
            let mut list = find(&store, list)?;
            list.annotate(digest, platform)?;
            list.save(&store)
        }
        Verb::Rm { lists } => lists.iter().try_for_each(|name| {
            let name = name.clone().or_latest();
            demand!(
                NotFound,
                List::remove(&store, &name)?,
                "no such list: {name}"
            );
            Ok(())
        }),
        Verb::Push {
            list: name,
            destination,
            rm,
            quiet,
            registry,
        } => {
            let list = find(&store, name)?;
            let target = match destination {
                Some(text) => {
                    let text = text.strip_prefix("docker://").unwrap_or(text);
                    text.parse::<Reference>()?.or_latest()
                }
                None => name.clone().or_latest(),
            };
            let progress = progress::new(*quiet);
            let digest = list.push(&store, &registry.client()?, &target, &*progress)?;
            drop(progress);
            if *rm {
                List::remove(&store, &name.clone().or_latest())?;
            }
            Ok(output::line(digest)?)
        }
    }
}

fn find(store: &Store, name: &Reference) -> Result<List> {
    let name = name.clone().or_latest();
    List::find(store, &name)?.ok_or_else(|| refusal!(NotFound, "no such list: {name}"))
}

fn put(store: &Store, list: &mut List, images: &[String], add: &Adding) -> Result<()> {
    let client = add.registry.client()?;
    for text in images {
        let name = text.strip_prefix("docker://");
        if name.is_none()
            && let Some(image) = store.find(text)?
        {
            list.add_local(store, &image)?;
            continue;
        }
        let mut failed = None;
        for reference in client.conf.names(name.unwrap_or(text))? {
            let added = list.add_remote(&client, &reference, add.platform.as_ref(), add.all);
            match added.with_context(|| format!("add {reference}")) {
                Ok(()) => {
                    failed = None;
                    break;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn inspect(store: &Store, text: &str, registry: &Flags) -> Result<()> {
    let bytes = match text.strip_prefix("docker://") {
        Some(name) => remote(&registry.client()?, name)?,
        None => match local(store, text)? {
            Some(bytes) => bytes,
            None => remote(&registry.client()?, text)?,
        },
    };
    let shown: Value = serde_json::from_slice(&bytes).context("parse the manifest")?;
    Ok(output::line(serde_json::to_string_pretty(&shown)?)?)
}

fn local(store: &Store, text: &str) -> Result<Option<Vec<u8>>> {
    if let Ok(name) = text.parse::<Reference>()
        && let Some(list) = List::find(store, &name.or_latest())?
    {
        return list.document().map(Some);
    }
    match store.find(text)? {
        Some(image) => Ok(Some(store.manifest_bytes(&image)?.0)),
        None => Ok(None),
    }
}

fn remote(client: &Client, text: &str) -> Result<Vec<u8>> {
    let mut failed = None;
    for reference in client.conf.names(text)? {
        match lists::raw(client, &reference) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.context("there is a name")?)
}
