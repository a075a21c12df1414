//! `bryo compose up`.

use super::attached::{self, Abort, Attached};
use super::images::{self, How};
use super::{Args, project, report};
use crate::cli::logs::Names;
use crate::cli::{Context, error, output};
use crate::compose::found::lock;
use crate::compose::plan::Recreate;
use crate::compose::service::{self, Pull, Service};
use crate::compose::up::Up;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{refusal, refuse};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Make containers, networks and volumes as the files say, and start what does not run
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// These services only, and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Leave the containers running, and do not wait for what they print
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    stay: StayArgs,

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

    /// Ask nothing: bryo never does here
    #[arg(short, long)]
    yes: bool,
}

/// What is shown while up stays
#[derive(Debug, clap::Args)]
#[group(skip)]
struct StayArgs {
    /// Stop all when one ends
    #[arg(long, conflicts_with_all = ["detach", "wait", "no_start"])]
    abort_on_container_exit: bool,

    /// Stop all when one ends with another code than 0
    #[arg(long, conflicts_with_all = ["detach", "wait", "no_start", "abort_on_container_exit"])]
    abort_on_container_failure: bool,

    /// End with the exit code of this service, and stop all when one ends
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait", "no_start"])]
    exit_code_from: Option<String>,

    /// Show what these services print, and no others
    #[arg(long, value_name = "SERVICE", conflicts_with = "attach_dependencies")]
    attach: Vec<String>,

    /// Show what services print that named ones depend on too
    #[arg(long)]
    attach_dependencies: bool,

    /// Do not show what these services print
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,

    /// No colours
    #[arg(long)]
    no_color: bool,

    /// Lines as they are, without names
    #[arg(long)]
    no_log_prefix: bool,

    /// Show when lines were printed
    #[arg(long)]
    timestamps: bool,

    /// Not done: nothing is watched
    #[arg(short, long, hide = true)]
    watch: bool,
}

impl StayArgs {
    /// What is shown of these services, of which some were named.
    fn attached(&self, services: &BTreeMap<String, Service>, named: &[String]) -> Result<Attached> {
        for name in self
            .attach
            .iter()
            .chain(&self.no_attach)
            .chain(&self.exit_code_from)
        {
            if !services.contains_key(name) {
                refuse!(
                    NotFound,
                    "there is no service {name:?} in what is brought up"
                );
            }
        }
        let is_named = |name: &String| named.is_empty() || named.contains(name);
        let is_shown = |(name, service): &(&String, &Service)| match self.attach.is_empty() {
            true => service.attach && (self.attach_dependencies || is_named(name)),
            false => self.attach.contains(name),
        };
        let shown = services.iter().filter(is_shown).map(|(name, _)| name);
        let shown = shown.filter(|name| !self.no_attach.contains(name));
        let shown: BTreeSet<String> = shown.cloned().collect();
        let awaited = match (named.is_empty(), shown.is_empty()) {
            (true, true) => services.keys().cloned().collect(),
            (true, false) => shown.clone(),
            (false, _) => named.iter().cloned().collect(),
        };
        Ok(Attached {
            shown,
            awaited,
            abort: match (
                self.abort_on_container_exit || self.exit_code_from.is_some(),
                self.abort_on_container_failure,
            ) {
                (true, _) => Abort::Exit,
                (false, true) => Abort::Failure,
                (false, false) => Abort::Never,
            },
            code_from: self.exit_code_from.clone(),
            names: match (self.no_log_prefix, self.no_color || !output::colours()) {
                (true, _) => Names::Without,
                (false, true) => Names::Plain,
                (false, false) => Names::Coloured,
            },
            timestamps: self.timestamps,
        })
    }
}

/// Makes the project what its files say.
pub fn run(args: &Args, own: &UpArgs, context: &Context) -> Result<i32> {
    if own.stay.watch {
        refuse!(
            Unsupported,
            "--watch is not done: nothing is made anew when files change; bryo compose up -d --build \
             does it when it is said"
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
    let attached = match own.detach || own.wait || own.no_start {
        true => None,
        false => Some(own.stay.attached(&services, &own.services)?),
    };
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
        patience: own.timeout,
        report: &report,
        warn: &error::warn,
        given_up: &AtomicBool::new(false),
    };
    let made = up.make();
    empty_trash_behind(&store)?;
    let made = made?;
    if let Some(attached) = attached {
        return attached::run(&up, &made, &attached, alone);
    }
    if !own.no_start {
        up.start(&made)?;
    }
    drop(alone);
    if own.wait {
        let until = own
            .wait_timeout
            .map(|seconds| Instant::now() + Duration::from_secs(seconds));
        up.wait(&made, until)?;
    }
    Ok(0)
}
