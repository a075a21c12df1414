//! `bryo save`

use crate::error::refuse;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use super::progress;
use crate::engine::container::events;
use crate::engine::create::images;
use crate::image::parcel::Parcel;
use crate::image::reference::Reference;
use crate::image::save::{self, Form};
use crate::image::store::Image;

/// Write images to an archive
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids or digests; only the names given are in the archive
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Write this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// docker-archive, oci-archive, or oci-dir: a directory
    #[arg(long, default_value = "docker-archive", value_parser = form)]
    format: Form,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

fn form(text: &str) -> Result<Form> {
    Ok(match text {
        "docker-archive" | "docker" => Form::DockerArchive,
        "oci-archive" | "oci" => Form::OciArchive,
        "oci-dir" => Form::OciDir,
        _ => refuse!(Invalid, "there are docker-archive, oci-archive and oci-dir"),
    })
}

/// What an image is called in the archive that was asked for by a digest, be it
/// that of an index. The tag that was given with it stays; docker takes no other
/// name from an archive of its own format.
fn by_digest(name: &Reference, image: &Image, format: Form) -> Option<Reference> {
    match name.tag() {
        Some(tag) => name.with_tag(tag).ok(),
        None => (format != Form::DockerArchive).then(|| name.with_digest(&image.manifest)),
    }
}

/// Writes the archive.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.output.is_none() && stdout().is_terminal() {
        refuse!(
            Invalid,
            "standard output is a terminal: name a file with --output"
        );
    }
    let store = context.store()?;
    let _lock = store.lock_shared()?;
    let mut parcels: Vec<Parcel> = Vec::new();
    for name in &args.images {
        let image = images::find(&store, name)?;
        events::emit_of_image(&store, "save", &image.id, name);
        let mut parcel = Parcel::of_store(&store, &image)?;
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        let wanted = reference.ok().and_then(|wanted| {
            if wanted.digest().is_some() && store.has(name).is_ok_and(|has| has) {
                return by_digest(&wanted, &image, args.format);
            }
            let known = |known: &&Reference| {
                **known == wanted || wanted.local().is_some_and(|local| **known == local)
            };
            parcel.names.iter().find(known).cloned()
        });
        // By its id, an image has no name there, as with docker.
        parcel.names = wanted.into_iter().collect();
        match parcels.iter_mut().find(|p| p.manifest == parcel.manifest) {
            Some(known) => known.names.append(&mut parcel.names),
            None => parcels.push(parcel),
        }
    }
    let session = store.session_if_needed();
    let progress = progress::new(args.quiet);
    let output = args.output.as_deref();
    save::save(parcels, args.format, output, None, &session, &*progress)
        .with_context(|| format!("save {}", args.images.join(", ")))
}
