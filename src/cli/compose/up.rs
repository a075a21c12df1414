//! `bryo compose up`.

use super::attached::{self, Abort, Attached};
use super::images::{self, How};
use super::{Args, project, report};
use crate::cli::logs::Names;
use crate::cli::{Context, error, output};
use crate::compose::Project;
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
    #[command(flatten)]
    make: MakeArgs,

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

    /// Make what services depend on anew too
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,

    /// Make anonymous volumes anew with their containers
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,

    /// Leave what services depend on as it is
    #[arg(long)]
    no_deps: bool,

    /// Create containers without starting them
    #[arg(long)]
    no_start: bool,

    /// Seconds to wait before containers are killed
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
}

/// Make containers, networks and volumes as the files say, and start nothing
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    make: MakeArgs,
}

/// Change how many containers services have
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    /// How many a service is to have
    #[arg(value_name = "SERVICE=NUMBER", required = true)]
    scale: Vec<String>,

    /// Leave what services depend on as it is
    #[arg(long)]
    no_deps: bool,
}

/// What is made, and of which images
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
struct MakeArgs {
    /// These services only, and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    #[command(flatten)]
    images: ImageArgs,

    /// Make all containers anew
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,

    /// Make no container anew, whatever has changed
    #[arg(long)]
    no_recreate: bool,

    /// Remove containers of services that the files do not have
    #[arg(long)]
    remove_orphans: bool,

    /// How many containers a service has
    #[arg(long, value_name = "SERVICE=NUMBER")]
    scale: Vec<String>,

    /// Ask nothing: bryo never does here
    #[arg(short, long)]
    yes: bool,
}

/// Where images come from
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
struct ImageArgs {
    /// Build images first
    #[arg(long, conflicts_with = "no_build")]
    build: bool,

    /// Build no image
    #[arg(long)]
    no_build: bool,

    /// When to fetch images: always, missing, never, build, or policy, as the services say
    #[arg(long, value_name = "WHEN", default_value = "policy",
        value_parser = PULL)]
    pull: String,

    /// Show no progress of fetching
    #[arg(long)]
    quiet_pull: bool,
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

/// How far what is made is started.
enum Then<'a> {
    /// Not at all.
    Nothing,
    /// It is started; with a value, its health is waited for, so long.
    Start(Option<Option<Duration>>),
    /// It is started and shown.
    Stay(&'a StayArgs),
}

/// What is done with a project.
struct Wish<'a> {
    make: &'a MakeArgs,
    no_deps: bool,
    always_recreate_deps: bool,
    renew_volumes: bool,
    patience: Option<i64>,
    then: Then<'a>,
}

/// Makes the project what its files say, and starts it.
pub fn run(args: &Args, own: &UpArgs, context: &Context) -> Result<i32> {
    if own.stay.watch {
        refuse!(
            Unsupported,
            "--watch is not done: nothing is made anew when files change; bryo compose up -d --build \
             does it when it is said"
        );
    }
    let wish = Wish {
        make: &own.make,
        no_deps: own.no_deps,
        always_recreate_deps: own.always_recreate_deps,
        renew_volumes: own.renew_anon_volumes,
        patience: own.timeout,
        then: match (own.no_start, own.wait, own.detach) {
            (true, ..) => Then::Nothing,
            (_, true, _) => Then::Start(Some(own.wait_timeout.map(Duration::from_secs))),
            (.., true) => Then::Start(None),
            _ => Then::Stay(&own.stay),
        },
    };
    bring(args, &wish, context)
}

/// Makes the project what its files say.
pub fn create(args: &Args, own: &CreateArgs, context: &Context) -> Result<i32> {
    let wish = Wish {
        make: &own.make,
        no_deps: false,
        always_recreate_deps: false,
        renew_volumes: false,
        patience: None,
        then: Then::Nothing,
    };
    bring(args, &wish, context)
}

/// Makes or removes containers of services.
pub fn scale(args: &Args, own: &ScaleArgs, context: &Context) -> Result<i32> {
    let name = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
    let make = MakeArgs {
        services: own.scale.iter().map(name).collect(),
        scale: own.scale.clone(),
        ..MakeArgs::default()
    };
    let wish = Wish {
        make: &make,
        no_deps: own.no_deps,
        always_recreate_deps: false,
        renew_volumes: false,
        patience: None,
        then: Then::Start(None),
    };
    bring(args, &wish, context)
}

fn bring(args: &Args, wish: &Wish, context: &Context) -> Result<i32> {
    let make = wish.make;
    let project = project(args, &make.services, false)?;
    let mut services = services(&project)?;
    if wish.no_deps && !make.services.is_empty() {
        services.retain(|name, _| make.services.contains(name));
    }
    let attached = match &wish.then {
        Then::Stay(stay) => Some(stay.attached(&services, &make.services)?),
        _ => None,
    };
    let scale = scales(&make.scale, &services)?;
    let store = context.store()?;
    let alone = lock(&store, &project.name)?;
    let images = images::ensure(context, &store, &project, &services, make.images.how())?;
    let recreate = match (make.force_recreate, make.no_recreate) {
        (true, _) => Recreate::Always,
        (_, true) => Recreate::Never,
        _ => Recreate::Changed,
    };
    let up = Up {
        store: &store,
        project: &project,
        services: &services,
        images: &images,
        named: &make.services,
        scale: &scale,
        recreate,
        recreate_others: match (wish.always_recreate_deps, recreate) {
            (true, _) => Recreate::Always,
            (_, Recreate::Always) => Recreate::Changed,
            (_, other) => other,
        },
        renew_volumes: wish.renew_volumes,
        remove_orphans: make.remove_orphans,
        patience: wish.patience,
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
    if let Then::Start(wait) = &wish.then {
        up.start(&made)?;
        drop(alone);
        if let Some(patience) = wait {
            up.wait(&made, patience.map(|patience| Instant::now() + patience))?;
        }
    }
    Ok(0)
}

impl ImageArgs {
    fn how(&self) -> How {
        How {
            build: self.build,
            no_build: self.no_build,
            pull: pull_word(&self.pull),
            quiet: self.quiet_pull,
        }
    }
}

/// Words of `--pull`.
pub const PULL: [&str; 5] = ["always", "missing", "never", "build", "policy"];

/// When images are fetched, if a word of `--pull` says so.
pub fn pull_word(word: &str) -> Option<Pull> {
    match word {
        "always" => Some(Pull::Always),
        "missing" => Some(Pull::Missing),
        "never" => Some(Pull::Never),
        "build" => Some(Pull::Build),
        _ => None,
    }
}

/// The services of a project, with a warning for each that changes nothing here.
///
/// # Errors
/// What is not done here, with its place.
pub fn services(project: &Project) -> Result<BTreeMap<String, Service>> {
    let mut warnings = Vec::new();
    let services = service::services(project, &mut warnings);
    let services = services.map_err(|fault| refusal!(Unsupported, "{fault}"))?;
    warnings.iter().for_each(|warning| error::warn(warning));
    Ok(services)
}

/// Reads how many containers services are to have.
fn scales(
    texts: &[String],
    services: &BTreeMap<String, Service>,
) -> Result<BTreeMap<String, usize>> {
    let mut scale = BTreeMap::new();
    for text in texts {
        let pair = text
            .split_once('=')
            .and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let Some((name, number)) = pair else {
            refuse!(Invalid, "{text}: SERVICE=NUMBER is wanted");
        };
        if !services.contains_key(name) {
            refuse!(NotFound, "{text}: there is no service {name:?}");
        }
        scale.insert(name.to_owned(), number);
    }
    Ok(scale)
}
