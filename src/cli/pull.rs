//! `bryo pull`

use crate::error::{demand, refusal};
use anyhow::{Context as _, Result};

use super::Context;
use super::output;
use super::progress;
use super::registry::Flags;
use crate::engine::container::events;
use crate::engine::create::root::is_built_in;
use crate::engine::ids::userns::{Reach, unpacking_beside, unpacking_confined};
use crate::engine::request::pull::policy;
use crate::engine::request::size;
use crate::engine::request::userns::UserNs;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::image::budget::{Budget, Limit};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::client::Client;
use crate::image::registry::pull::{Policy, Pulled, Wanted, ensure_pulled};
use crate::image::source::Source;
use crate::image::store::Store;
use crate::process::Reported;

/// Fetch images from registries
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images, as [REGISTRY/]NAME[:TAG][@DIGEST]
    #[arg(required = true)]
    images: Vec<String>,

    /// All tags of the repositories
    #[arg(short, long)]
    all_tags: bool,

    /// Take images for this platform, as OS/ARCHITECTURE[/VARIANT]
    #[arg(long)]
    platform: Option<Platform>,

    /// When to ask the registry: always, missing (in the store), newer (than
    /// in the store, if it can be asked) or never
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = policy)]
    policy: Policy,

    #[command(flatten)]
    budget: BudgetFlags,

    /// For which ids to unpack: auto (a range where there is one), range, or
    /// single, which records owners beyond the range
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = UserNs::of_images)]
    userns: UserNs,

    /// Print only the names of the images
    #[arg(short, long)]
    quiet: bool,

    /// Show progress: auto (bars if standard error is a terminal), json
    /// (lines on standard error) or none
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: progress::Mode,

    #[command(flatten)]
    registry: Flags,
}

/// How much the image of a stranger may ask for.
#[derive(Debug, Default, clap::Args)]
pub struct BudgetFlags {
    /// Largest size that a layer may have when it is unpacked, or `unlimited`
    /// [default: 100 times what is read, but at least 1 GiB]
    #[arg(long, value_name = "BYTES", value_parser = limit)]
    max_layer_size: Option<Limit>,

    /// Any number of files, attributes, variables and so on, as they are in no
    /// usual image
    #[arg(long)]
    unlimited: bool,
}

impl BudgetFlags {
    /// What they say.
    pub fn get(&self) -> Budget {
        Budget::new(self.max_layer_size, self.unlimited)
    }
}

/// Reads a largest size.
fn limit(text: &str) -> Result<Limit> {
    Limit::parse(text, size::bytes)
}

/// Pulls one image after the other; their layers come in parallel.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let store = ctx.store()?;
    store.sweep()?;
    empty_trash_behind(&store)?;
    let client = args.registry.client()?;
    let budget = args.budget.get();
    let store = unpacking_confined(store, &args.userns, &budget, Reach::Registries)?;
    super::each(&args.images, |name| {
        if !args.all_tags {
            return one(args, &store, &client, &client.conf.names(name)?);
        }
        for reference in tags(&client, &name.parse()?)? {
            one(args, &store, &client, &[reference])?;
        }
        Ok(())
    })
}

fn one(args: &Args, store: &Store, client: &Client, names: &[Reference]) -> Result<()> {
    let wanted = Wanted {
        platform: args.platform.as_ref(),
        budget: args.budget.get(),
        name: None,
    };
    let mode = match args.quiet {
        true => progress::Mode::None,
        false => args.progress,
    };
    let progress = progress::with(mode);
    let (name, pulled) = ensure_pulled(store, client, names, wanted, args.policy, &*progress)?;
    drop(progress);
    if pulled.is_some() {
        events::emit_of_image(store, "pull", &name, &name.to_string());
    }
    if !args.quiet
        && let Some(pulled) = &pulled
    {
        report(pulled)?;
    }
    output::line(name.canonical())?;
    Ok(())
}

fn report(pulled: &Pulled) -> Result<()> {
    output::line(format!("Digest: {}", pulled.digest))?;
    let reference = &pulled.reference;
    output::line(match pulled.fresh {
        true => format!("Status: Downloaded newer image for {reference}"),
        false => format!("Status: Image is up to date for {reference}"),
    })?;
    Ok(())
}

/// The repository's name with all its tags.
fn tags(client: &Client, reference: &Reference) -> Result<Vec<Reference>> {
    demand!(
        Invalid,
        reference.tag().is_none() && reference.digest().is_none(),
        "{reference}: with --all-tags, no tag or digest can be given"
    );
    let list = || {
        let repository = client.repository(&client.conf.home(reference)?)?;
        client.tags(&repository)
    };
    let tags = list().with_context(|| format!("list the tags of {reference}"))?;
    demand!(Invalid, !tags.is_empty(), "{reference} has no tags");
    let tags = tags.iter().map(|tag| reference.with_tag(tag));
    tags.collect::<Result<_>>()
        .with_context(|| format!("the tags of {reference}"))
}

/// Fetches the image `name` for `run` if `policy` says so, and returns the
/// name that it has in the store. Archives and directories, ids, and what is
/// built in are in no registry.
pub fn before_run(
    store: &Store,
    registry: &Flags,
    name: &str,
    wanted: Wanted,
    policy: Policy,
    quiet: bool,
) -> Result<String> {
    let unchanged = || Ok(name.to_owned());
    let (Source::Store(_), Ok(reference)) = (Source::parse(name)?, name.parse::<Reference>())
    else {
        return unchanged();
    };
    let here = store.has(name)?;
    if here && policy == Policy::Missing && wanted.platform.is_none() {
        return unchanged();
    }
    let named = store.has(&reference.stored().canonical())?;
    let nowhere = !here && (is_built_in(name) || policy == Policy::Never);
    if here && !named || nowhere {
        return unchanged();
    }
    let client = registry.client()?;
    let names = client.conf.names(name)?;
    let known = || -> Result<Option<String>> {
        for name in &names {
            let name = name.clone().stored().canonical();
            if store.has(&name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    };
    if policy == Policy::Missing
        && wanted.platform.is_none()
        && let Some(known) = known()?
    {
        return Ok(known);
    }
    unpacking_beside(store, &wanted.budget, |store| {
        let progress = progress::new(quiet);
        let pulled = ensure_pulled(store, &client, &names, wanted, policy, &*progress);
        drop(progress);
        match pulled {
            Ok((name, Some(_))) => events::emit_of_image(store, "pull", &name, &name.to_string()),
            Ok(_) => {}
            // As text the caller could not tell what is to be done about it.
            Err(error) => {
                super::error::report(&error);
                return Err(Reported(1).into());
            }
        }
        Ok(())
    })?;
    let gone = || refusal!(NotFound, "image {name} was removed meanwhile");
    known()?.ok_or_else(gone)
}
