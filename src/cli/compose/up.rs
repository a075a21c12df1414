//! `bryo compose up`.

use super::images::{self, How};
use super::{Args, project, report};
use crate::cli::{Context, error};
use crate::compose::found::lock;
use crate::compose::plan::Recreate;
use crate::compose::service::{self, Pull};
use crate::compose::up::Up;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{refusal, refuse};
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Make containers, networks and volumes as the files say, and start what does not run
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// These services only, and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Leave the containers running
    #[arg(short, long)]
    detach: bool,

    /// Wait until services run, and those with a health check are healthy
    #[arg(long)]
    wait: bool,

    /// For how many seconds to wait
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u64>,

    /// Build images first
    #[arg(long, conflicts_with = "no_build")]
    build: bool,

    /// Build no image
    #[arg(long)]
    no_build: bool,

    /// When to fetch images: always, missing, never or policy, as the services say
    #[arg(long, value_name = "WHEN", default_value = "policy",
        value_parser = ["always", "missing", "never", "policy"])]
    pull: String,

    /// Show no progress of fetching
    #[arg(long)]
    quiet_pull: bool,

    /// Make all containers anew
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,

    /// Make no container anew, whatever has changed
    #[arg(long)]
    no_recreate: bool,

    /// Make what services depend on anew too
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,

    /// Make anonymous volumes anew with their containers
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,

    /// Remove containers of services that the files do not have
    #[arg(long)]
    remove_orphans: bool,

    /// Leave what services depend on as it is
    #[arg(long)]
    no_deps: bool,

    /// Create containers without starting them
    #[arg(long)]
    no_start: bool,

    /// How many containers a service has
    #[arg(long, value_name = "SERVICE=NUMBER")]
    scale: Vec<String>,

    /// Seconds to wait before containers are killed
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
}

/// Makes the project what its files say.
pub fn run(args: &Args, own: &UpArgs, context: &Context) -> Result<()> {
    if !own.detach && !own.wait && !own.no_start {
        refuse!(
            Unsupported,
            "up without -d is not done yet: bryo compose up -d, and bryo logs -f shows what a \
             container prints"
        );
    }
    let project = project(args, &own.services, false)?;
    let mut warnings = Vec::new();
    let services = service::services(&project, &mut warnings);
    let mut services = services.map_err(|fault| refusal!(Unsupported, "{fault}"))?;
    warnings.iter().for_each(|warning| error::warn(warning));
    if own.no_deps && !own.services.is_empty() {
        services.retain(|name, _| own.services.contains(name));
    }
    let mut scale = BTreeMap::new();
    for text in &own.scale {
        let pair = text
            .split_once('=')
            .and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let Some((name, number)) = pair else {
            refuse!(Invalid, "--scale {text}: SERVICE=NUMBER is wanted");
        };
        if !services.contains_key(name) {
            refuse!(NotFound, "--scale {text}: there is no service {name:?}");
        }
        scale.insert(name.to_owned(), number);
    }
    let store = context.store()?;
    let alone = lock(&store, &project.name)?;
    let how = How {
        build: own.build,
        no_build: own.no_build,
        pull: match own.pull.as_str() {
            "always" => Some(Pull::Always),
            "missing" => Some(Pull::Missing),
            "never" => Some(Pull::Never),
            _ => None,
        },
        quiet: own.quiet_pull,
    };
    let images = images::ensure(context, &store, &project, &services, how)?;
    let recreate = match (own.force_recreate, own.no_recreate) {
        (true, _) => Recreate::Always,
        (_, true) => Recreate::Never,
        _ => Recreate::Changed,
    };
    let up = Up {
        store: &store,
        project: &project,
        services: &services,
        images: &images,
        named: &own.services,
        scale: &scale,
        recreate,
        recreate_others: match (own.always_recreate_deps, recreate) {
            (true, _) => Recreate::Always,
            (_, Recreate::Always) => Recreate::Changed,
            (_, other) => other,
        },
        renew_volumes: own.renew_anon_volumes,
        remove_orphans: own.remove_orphans,
        start: !own.no_start,
        patience: own.timeout,
        report: &report,
        warn: &error::warn,
    };
    let made = up.run();
    empty_trash_behind(&store)?;
    let made = made?;
    drop(alone);
    if own.wait {
        let until = own
            .wait_timeout
            .map(|seconds| Instant::now() + Duration::from_secs(seconds));
        up.wait(&made, until)?;
    }
    Ok(())
}
