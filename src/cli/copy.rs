//! `bryo copy`

use crate::error::{demand, refuse};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use super::output;
use super::progress;
use super::pull::BudgetFlags;
use super::registry::Flags;
use crate::engine::create::images;
use crate::engine::ground::confine::{Reach, go_on_confined};
use crate::engine::ids::userns::unpacking_confined;
use crate::engine::request::userns::UserNs;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::digest::Digest;
use crate::image::load::load_from;
use crate::image::parcel::{self, Parcel};
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::reference::Reference;
use crate::image::registry::client::Client;
use crate::image::registry::pull::{Wanted, pull};
use crate::image::registry::transfer::{
    Which, parcel as fetch, send, transfer, transfer_from_layout, transfer_layout,
    transfer_to_layout,
};
use crate::image::save::{Form, pack_layout, save};
use crate::image::source::Source;
use crate::image::store::Store;

/// Copy an image from one place to another
///
/// Places: docker://NAME is a registry; docker-archive:FILE[:NAME],
/// oci-archive:FILE[:TAG], oci:DIRECTORY[:TAG] and dir:DIRECTORY are what other
/// tools write; a name alone, or store:NAME, is the store. From registry to registry
/// nothing is unpacked, and digests stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the image is
    source: String,

    /// Where it goes
    destination: String,

    /// All images of an index, attestations and the index itself, as they are,
    /// between registries, OCI layouts and their archives
    #[arg(short, long)]
    all: bool,

    /// Of an index take the image for this platform, as
    /// OS/ARCHITECTURE[/VARIANT]
    #[arg(long)]
    platform: Option<Platform>,

    /// Credentials for the source alone
    #[arg(long, value_name = "USER:PASSWORD")]
    src_creds: Option<String>,

    /// Credentials for the destination alone
    #[arg(long, value_name = "USER:PASSWORD")]
    dest_creds: Option<String>,

    #[command(flatten)]
    budget: BudgetFlags,

    /// For which ids to unpack: auto (a range where there is one), range, or
    /// single, which records owners beyond the range
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = UserNs::of_images)]
    userns: UserNs,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: Flags,
}

/// A place.
enum Transport {
    Registry(Reference),
    /// In the store; by no name of its own for a destination `store:`.
    Store(String),
    File(Form, PathBuf, Option<String>),
}

impl Transport {
    fn parse(text: &str, is_source: bool) -> Result<Transport> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Transport::Registry(name.parse()?));
        }
        for prefix in ["store:", "containers-storage:"] {
            if let Some(name) = text.strip_prefix(prefix) {
                return Ok(Transport::Store(name.to_owned()));
            }
        }
        let forms = [
            ("docker-archive:", Form::DockerArchive),
            ("oci-archive:", Form::OciArchive),
            ("oci:", Form::OciDir),
            ("dir:", Form::Dir),
        ];
        for (prefix, form) in forms {
            let Some(rest) = text.strip_prefix(prefix) else {
                continue;
            };
            if is_source {
                return Ok(match Source::parse(text)? {
                    Source::DockerArchive { path, name } => Transport::File(form, path, name),
                    Source::OciArchive { path, tag } | Source::OciDir { path, tag } => {
                        Transport::File(form, path, tag)
                    }
                    Source::Dir(path) => Transport::File(form, path, None),
                    _ => Transport::Store(text.to_owned()),
                });
            }
            if form == Form::Dir {
                demand!(Invalid, !rest.is_empty(), "{prefix} needs a path");
                return Ok(Transport::File(form, rest.into(), None));
            }
            // What is not there yet cannot tell which colon ends its path.
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag.to_owned())),
                None => (rest, None),
            };
            demand!(Invalid, !path.is_empty(), "{prefix} needs a path");
            return Ok(Transport::File(form, path.into(), tag));
        }
        for other in ["docker-daemon:", "tar:", "tarball:", "sif:", "ostree:"] {
            demand!(
                Invalid,
                !text.starts_with(other),
                "{text}: images are copied between docker://, docker-archive:, oci-archive:, \
                 oci:, dir: and the store"
            );
        }
        Ok(Transport::Store(text.to_owned()))
    }
}

/// Copies the image and prints its digest.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let source = Transport::parse(&args.source, true)?;
    let destination = Transport::parse(&args.destination, false)?;
    let store = context.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    if !matches!(destination, Transport::Store(_)) {
        go_on_confined(&store, &args.budget.get(), Reach::Transfers)?;
    }
    let progress = progress::new(args.quiet);
    let from = args.registry.client_as(args.src_creds.as_deref())?;
    let to = args.registry.client_as(args.dest_creds.as_deref())?;
    let platform = args.platform.as_ref();
    let digest = match (source, destination) {
        (
            source
            @ (Transport::Registry(_) | Transport::File(Form::OciDir | Form::OciArchive, ..)),
            destination,
        ) if args.all => copy_all(
            args,
            &store,
            (&from, source),
            (&to, destination),
            &*progress,
        )?,
        (Transport::Registry(source), Transport::Registry(target)) => {
            let which = Which::One(platform);
            transfer(&store, (&from, &source), (&to, &target), which, &*progress)?
        }
        (source, Transport::Store(name)) => {
            into_store(args, store, source, &name, &from, &*progress)?
        }
        (source, destination) => {
            let session = store.session_if_needed();
            let _lock;
            let parcel = match source {
                Transport::Registry(reference) => {
                    fetch(&store, &from, &reference, platform, &*progress)?
                }
                Transport::Store(name) => {
                    _lock = store.lock_shared()?;
                    let image = images::find(&store, &name)?;
                    let mut parcel = Parcel::of_store(&store, &image)?;
                    let asked = name.parse::<Reference>().map(Reference::or_latest).ok();
                    parcel.names.retain(|name| Some(name) == asked.as_ref());
                    parcel
                }
                Transport::File(..) => {
                    let budget = args.budget.get();
                    let source = Source::parse(&args.source)?;
                    parcel::of_file(&source, platform, budget, &session)
                        .with_context(|| args.source.clone())?
                }
            };
            write(parcel, destination, &to, &session, &*progress)?
        }
    };
    drop(progress);
    if !args.quiet {
        output::line(format!("Digest: {digest}"))?;
    }
    Ok(())
}

/// `--all`: whatever a name means, byte for byte.
fn copy_all(
    args: &Args,
    store: &Store,
    (from, source): (&Client, Transport),
    (to, destination): (&Client, Transport),
    progress: &dyn Progress,
) -> Result<Digest> {
    let context = || format!("copy {} to {}", args.source, args.destination);
    let session = store.session_if_needed();
    // An archive is a layout that is put together first.
    let (destination, archive) = match destination {
        Transport::File(Form::OciArchive, path, tag) => {
            let layout = session.path("layout")?;
            (Transport::File(Form::OciDir, layout, tag), Some(path))
        }
        other => (other, None),
    };
    let entry = || {
        let source = Source::parse(&args.source)?;
        let found = parcel::entry(&source, args.budget.get(), &session);
        found.with_context(|| args.source.clone())
    };
    let digest = match (source, &destination) {
        (Transport::Registry(source), Transport::Registry(target)) => {
            transfer(store, (from, &source), (to, target), Which::All, progress)
        }
        (Transport::Registry(source), Transport::File(Form::OciDir, path, tag)) => {
            transfer_to_layout(store, (from, &source), (path, tag.as_deref()), progress)
                .with_context(context)
        }
        (_, Transport::Registry(target)) => {
            let (files, entry) = entry()?;
            transfer_from_layout(&files, &entry, (to, target), progress).with_context(context)
        }
        (_, Transport::File(Form::OciDir, path, tag)) => {
            let (files, entry) = entry()?;
            transfer_layout(&files, &entry, (path, tag.as_deref()), progress).with_context(context)
        }
        _ => refuse!(Invalid, "--all copies to docker://, oci: or oci-archive:"),
    }?;
    if let (Transport::File(_, layout, _), Some(path)) = (&destination, &archive) {
        pack_layout(layout, path).with_context(|| path.display().to_string())?;
    }
    Ok(digest)
}

fn write(
    mut parcel: Parcel,
    destination: Transport,
    client: &Client,
    session: &crate::image::session::Session,
    progress: &dyn Progress,
) -> Result<Digest> {
    match destination {
        Transport::Registry(target) => {
            let parcel = parcel.compressed(session, progress)?;
            send(client, &parcel, &target, progress)
        }
        Transport::File(form, path, tag) => {
            let parcel = match form {
                Form::Dir => parcel,
                Form::DockerArchive => {
                    if let Some(name) = &tag {
                        parcel.names = vec![name.parse::<Reference>()?.or_latest()];
                    }
                    parcel
                }
                _ => parcel.into_oci()?,
            };
            let digest = parcel.digest();
            save(
                vec![parcel],
                form,
                Some(&path),
                tag.as_deref(),
                session,
                progress,
            )?;
            Ok(digest)
        }
        Transport::Store(_) => refuse!(Invalid, "the store takes images in its own way"),
    }
}

fn into_store(
    args: &Args,
    store: Store,
    source: Transport,
    name: &str,
    client: &Client,
    progress: &dyn Progress,
) -> Result<Digest> {
    let target = match name {
        "" => None,
        name => Some(name.parse::<Reference>()?.or_latest()),
    };
    let budget = args.budget.get();
    let platform = args.platform.as_ref();
    match source {
        Transport::Registry(reference) => {
            let store = unpacking_confined(store, &args.userns, &budget, Reach::Registries)?;
            let wanted = Wanted {
                platform,
                budget,
                name: target.as_ref(),
            };
            let pulled = pull(&store, client, &reference, wanted, progress)?;
            Ok(pulled.image.manifest)
        }
        Transport::Store(source) => {
            let _lock = store.lock_shared()?;
            let image = images::find(&store, &source)?;
            let target = target.context("the image is in the store: give it a name")?;
            store.tag(&image, &target)?;
            Ok(image.manifest)
        }
        Transport::File(..) => {
            let store = unpacking_confined(store, &args.userns, &budget, Reach::Files)?;
            let source = Source::parse(&args.source)?;
            let image = load_from(&store, &source, target.as_ref(), platform, budget, progress)
                .with_context(|| args.source.clone())?;
            Ok(image.manifest)
        }
    }
}
