//! `bryo compose run`: a container of a service for a single command.

use super::images::{self, How};
use super::up::{PULL, pull_word, services};
use super::{Args, Disk, project, report};
use crate::cli::{Context, error, output, streams};
use crate::compose::amounts;
use crate::compose::dotenv::Form;
use crate::compose::found::lock;
use crate::compose::load::Loader;
use crate::compose::node::Node;
use crate::compose::oneoff;
use crate::compose::plan::Recreate;
use crate::compose::service::Service;
use crate::compose::up::Up;
use crate::compose::{Fault, Project};
use crate::engine::container::containers::Containers;
use crate::engine::container::control::WantedStreams;
use crate::engine::ground::caller::Caller;
use crate::engine::log::Driver;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::request::mounts::{self, MountOption};
use crate::engine::request::{capabilities, detach_keys, names, pairs, publish};
use crate::engine::supervise::attach::End;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{Kind, OrKind, refusal};
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Run a single command in a new container of a service
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The service; behind it, command and arguments
    // One argument: no flag behind the service is ours, whatever it looks like.
    #[arg(
        id = "service",
        value_name = "SERVICE [COMMAND]",
        required = true,
        trailing_var_arg = true
    )]
    service_and_command: Vec<String>,

    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,

    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,

    /// Give the container a name
    #[arg(long)]
    name: Option<String>,

    /// Leave what the service depends on as it is
    #[arg(long)]
    no_deps: bool,

    #[command(flatten)]
    change: ChangeArgs,

    /// Pass standard input on
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    interactive: bool,

    /// Give the command no terminal; it gets one where standard input and output are one
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    no_tty: bool,

    /// Give the command a terminal: it gets one anyway
    #[arg(short, long, hide = true, conflicts_with = "no_tty")]
    tty: bool,

    /// Publish the service's ports
    #[arg(short = 'P', long, conflicts_with = "publish")]
    service_ports: bool,

    /// Have the names that the service has on its networks
    #[arg(long)]
    use_aliases: bool,

    /// Build images first
    #[arg(long)]
    build: bool,

    /// When to fetch images: always, missing, never, build, or policy, as the services say
    #[arg(long, value_name = "WHEN", default_value = "policy", value_parser = PULL)]
    pull: String,

    /// Show no progress of fetching
    #[arg(long)]
    quiet_pull: bool,

    /// Show no steps of building
    #[arg(long)]
    quiet_build: bool,

    /// Tell nothing of what is made and started
    #[arg(short, long)]
    quiet: bool,

    /// Remove containers of services that the files do not have
    #[arg(long)]
    remove_orphans: bool,
}

/// What is otherwise than the service has it
#[derive(Debug, clap::Args)]
#[group(skip)]
struct ChangeArgs {
    /// Run this in place of the entry point, without the service's command
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,

    /// Set a variable, or pass one on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_from_file: Vec<String>,

    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Mount a volume, by its name or a new one, or a file or directory of the host
    #[arg(short, long, value_name = "[NAME|HOST:]CONTAINER[:OPTIONS]")]
    volume: Vec<String>,

    /// Publish a port, or a range of ports, in place of the service's
    #[arg(short, long, value_name = "[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]")]
    publish: Vec<String>,

    /// Add a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
}

/// Runs the command; in the foreground its exit code is ours.
pub fn run(args: &Args, own: &RunArgs, context: &Context) -> Result<i32> {
    let (name, command) = own.service_and_command.split_first().expect("required");
    let project = project(args, std::slice::from_ref(name), false)?;
    let mut services = services(&project)?;
    if own.no_deps {
        services.retain(|other, _| other == name);
    }
    let service = services.get_mut(name);
    let service = service.ok_or_else(|| refusal!(NotFound, "there is no service {name:?}"))?;
    own.apply(service, command, &project)
        .or_kind(Kind::Invalid)?;
    let store = context.store()?;
    let alone = lock(&store, &project.name)?;
    let how = How {
        build: own.build,
        no_build: false,
        pull: pull_word(&own.pull),
        quiet: own.quiet || own.quiet_pull || own.quiet_build,
    };
    let images = images::ensure(context, &store, &project, &services, how)?;
    let service = services.remove(name).expect("it was there");
    let silent = |_: &str, _: &str, _: &str| {};
    let up = Up {
        store: &store,
        project: &project,
        services: &services,
        images: &images,
        named: &[],
        scale: &BTreeMap::new(),
        recreate: Recreate::Changed,
        recreate_others: Recreate::Changed,
        renew_volumes: false,
        remove_orphans: own.remove_orphans,
        patience: None,
        report: match own.quiet {
            true => &silent,
            false => &report,
        },
        warn: &error::warn,
        given_up: &AtomicBool::new(false),
    };
    let made = up.make();
    empty_trash_behind(&store)?;
    let made = made?;
    up.start(&made)?;
    let created = up.one_off(&service, own.name.as_deref(), &made)?;
    drop(alone);
    let id = created.0.record.id.clone();
    let how = Launch {
        attach: (!own.detach).then_some(WantedStreams {
            input: own.interactive,
            ..WantedStreams::OUTPUTS
        }),
        foreground: !own.detach,
        detach_keys: detach_keys::parse(detach_keys::DEFAULT)?,
        keep_signals: false,
        inherited: context.inherited.clone(),
        sockets: context.sockets.clone(),
    };
    let containers = Containers::open(&store);
    let caller = Caller::command()?;
    match lifecycle::start_new(&containers, created, &how, caller, &error::warn)? {
        End::Exited(code) => Ok(code),
        End::Left => {
            if own.detach {
                output::line(id)?;
            }
            Ok(0)
        }
    }
}

impl RunArgs {
    /// Makes of the service what the flags say.
    fn apply(&self, service: &mut Service, command: &[String], project: &Project) -> Result<()> {
        oneoff::single(service, self.service_ports, self.use_aliases);
        let options = &mut service.options;
        if let Some(name) = &self.name {
            names::container(name)?;
        }
        options.auto_remove = self.rm;
        options.interactive = self.interactive;
        options.tty =
            !self.no_tty && !self.detach && stdin().is_terminal() && stdout().is_terminal();
        options.window_size = options.tty.then(streams::window_size).flatten();
        options.keeping.input_once = self.interactive && !self.detach;
        if !self.detach && self.rm {
            // It would go with the container.
            options.keeping.log.driver = Driver::None;
        }
        if let Some(text) = &self.change.entrypoint {
            let words =
                amounts::words(text).map_err(|text| refusal!(Invalid, "--entrypoint: {text}"))?;
            options.entrypoint = Some(words.0);
            options.command = Vec::new();
        }
        if !command.is_empty() {
            options.command = command.to_vec();
        }
        self.change.apply(service, project)
    }
}

impl ChangeArgs {
    fn apply(&self, service: &mut Service, project: &Project) -> Result<()> {
        let options = &mut service.options;
        for (name, value) in self.variables(project)? {
            options.env.retain(|(own, _)| *own != name);
            options.env.push((name, Some(value)));
        }
        if let Some(user) = &self.user {
            options.user = Some(user.parse()?);
        }
        options.workdir = self.workdir.clone().or(options.workdir.take());
        for text in &self.volume {
            let mut mount = mounts::parse_volume(text)?;
            if let MountOption::Volume {
                name: Some(name), ..
            } = &mut mount
            {
                *name = own_name(project, name);
            }
            options
                .mounts
                .retain(|own| own.destination() != mount.destination());
            options.mounts.push(mount);
        }
        options.ports.extend(publish::parse_all(&self.publish)?);
        options.labels.extend(pairs::labels(&self.label));
        for text in &self.cap_add {
            let capability = capabilities::parse(text)?;
            options.capabilities.drop.retain(|own| *own != capability);
            options.capabilities.add.push(capability);
        }
        for text in &self.cap_drop {
            let capability = capabilities::parse(text)?;
            options.capabilities.add.retain(|own| *own != capability);
            options.capabilities.drop.push(capability);
        }
        Ok(())
    }

    /// Variables of files and flags; one without a value has the project's, or is left out.
    fn variables(&self, project: &Project) -> Result<BTreeMap<String, String>> {
        let lookup = |name: &str| project.environment.get(name).cloned();
        let mut found = BTreeMap::new();
        let loader = Loader::new(&Disk, None);
        let here = std::env::current_dir()?;
        for file in &self.env_from_file {
            let path: PathBuf = here.join(file);
            let read = loader.variables(&path, Form::Shell, &lookup, &mut found);
            read.map_err(|fault: Fault| refusal!(Invalid, "--env-from-file {file}: {fault}"))?;
        }
        for text in &self.env {
            match text.split_once('=') {
                Some((name, value)) => drop(found.insert(name.to_owned(), value.to_owned())),
                None => found.extend(lookup(text).map(|value| (text.clone(), value))),
            }
        }
        Ok(found)
    }
}

/// What a volume of the project is called in the store; the name itself if it has none of that
/// key.
fn own_name(project: &Project, key: &str) -> String {
    let volumes = project.root.get("volumes");
    let volume = volumes.and_then(|volumes| volumes.get(key));
    let name = volume.and_then(|volume: &Node| volume.text_of("name"));
    name.unwrap_or(key).to_owned()
}
