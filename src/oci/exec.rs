//! `exec`: a further process in a container.

use super::bundle::may_set_groups;
use super::lifecycle::attend;
use super::state::{Container, States, Status};
use super::{connect_console, connect_pidfd, document, own_streams, send_pidfd, write_pid};
use crate::cgroup::v2::Group;
use crate::error::refuse;
use crate::idmap::IdMap;
use crate::runtime::join::join;
use crate::runtime::plan::{allows_setgroups, namespaces};
use crate::runtime::process::{ProcessPlan, Seccomp};
use crate::sys::signal::SignalFd;
use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// What is to be run, and how.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// A file with the specification of the process.
    pub process: Option<PathBuf>,
    /// Without one: command and arguments,
    pub args: Vec<String>,
    /// further variables,
    pub env: Vec<String>,
    /// the working directory,
    pub cwd: Option<PathBuf>,
    /// user and group by number,
    pub user: Option<(u32, Option<u32>)>,
    /// further groups,
    pub groups: Vec<u32>,
    /// further capabilities,
    pub capabilities: Vec<Capability>,
    /// that no program gives privileges any more, if that is said,
    pub no_new_privileges: Option<bool>,
    /// profile and label of security modules,
    pub labels: (Option<String>, Option<String>),
    /// whether it has a terminal.
    pub tty: bool,
    /// A socket to whose listener the master side of its terminal goes.
    pub console: Option<PathBuf>,
    /// Gets the id of the process.
    pub pid_file: Option<PathBuf>,
    /// A socket to whose listener a descriptor of the process goes.
    pub pidfd: Option<PathBuf>,
    /// How many of the caller's descriptors from 3 on it gets.
    pub preserved: u32,
    /// It outlives this command.
    pub detached: bool,
    /// Also in a paused container, where it waits for that to go on.
    pub paused: bool,
    /// The group below the container's that it is in.
    pub group: Option<String>,
}

/// Runs a process in a container; returns its exit code, 0 if it is left.
///
/// # Errors
/// The container neither waits to be started nor runs; the process cannot be
/// executed.
pub fn exec(states: &States, id: &str, how: &How, warn: &dyn Fn(&str)) -> Result<i32> {
    let container = states.find(id)?;
    let target = match (container.status()?, container.process()?) {
        (Status::Created | Status::Running, Some(process)) => process,
        (Status::Paused, Some(process)) if how.paused => process,
        (Status::Paused, _) => refuse!(
            Conflict,
            "cannot exec in a paused container (use --ignore-paused to override): {id}"
        ),
        (Status::Creating, _) => refuse!(Conflict, "container {id} was not created to the end"),
        _ => refuse!(Conflict, "cannot exec in a stopped container: {id}"),
    };
    let spec = container.spec()?;
    let mut process = process(&spec, how, warn)?;
    if process.exec_cpu_affinity().is_none() {
        let own = spec.process().as_ref();
        process.set_exec_cpu_affinity(own.and_then(|own| own.exec_cpu_affinity().clone()));
    }
    if process.capabilities().is_none() {
        let own = spec.process().as_ref();
        process.set_capabilities(own.and_then(|own| own.capabilities().clone()));
    }
    let linux = spec.linux().as_ref();
    let maps = linux.and_then(|l| l.gid_mappings().as_ref());
    let maps: Vec<IdMap> = maps
        .into_iter()
        .flatten()
        .map(|m| IdMap::new(m.container_id(), m.host_id(), m.size()))
        .collect();
    let setgroups = match maps.is_empty() {
        true => may_set_groups(&spec),
        false => allows_setgroups(&maps),
    };
    if !setgroups && !how.groups.is_empty() {
        refuse!(
            Unsupported,
            "--additional-gids: cannot set any additional groups in a container of a single group"
        );
    }
    let filter = Seccomp::of(linux.and_then(|l| l.seccomp().as_ref()), false);
    let mut plan = ProcessPlan::new(&process, filter, setgroups, None)?;
    if let Some(linux) = linux {
        plan.treatment = plan.treatment.within(linux)?;
    }
    if let Some(agent) = &mut plan.agent {
        agent.state = serde_json::to_value(container.shown()?)?;
    }
    plan.capabilities.get_or_insert_default();
    plan.preserved = how.preserved;
    if how.detached {
        plan.death_signal = None;
    }
    connect_console(&mut plan, how.console.as_deref(), !how.detached)?;
    let pidfd = connect_pidfd(how.pidfd.as_deref())?;
    let signals = match how.detached {
        true => None,
        false => Some(SignalFd::new()?),
    };
    let group = group(&container, how.group.as_deref())?;
    let group = group.as_ref().map(AsFd::as_fd);
    let started = join(&target, namespaces(&spec), &plan, &own_streams()?, group)?;
    started.warnings.iter().for_each(|text| warn(text));
    send_pidfd(pidfd.as_ref(), &started.child.pidfd)?;
    if let Some(path) = &how.pid_file {
        write_pid(path, started.child.pid.as_raw())?;
    }
    match signals {
        Some(signals) => attend(started, &signals),
        None => Ok(0),
    }
}

/// The control group that it starts in.
fn group(container: &Container, below: Option<&str>) -> Result<Option<OwnedFd>> {
    let placed = container.record.placed.as_ref();
    let placed = placed.filter(|_| container.group().is_some());
    let Some(placed) = placed else {
        return match below {
            None | Some("" | "/") => Ok(None),
            Some(below) => refuse!(Unsupported, "--cgroup {below}: it has no control group"),
        };
    };
    placed.approach()?;
    let Some(below) = below else {
        return Ok(Some(placed.entry(container.record.process.pid).open()?));
    };
    let inside = Path::new(below.trim_start_matches('/'));
    if below.contains(':')
        || inside
            .components()
            .any(|c| !matches!(c, Component::Normal(_)))
    {
        refuse!(
            Invalid,
            "--cgroup {below}: a path below the container's group is wanted, without a controller"
        );
    }
    let group = Group::at(placed.payload.join(inside));
    Ok(Some(
        group.open().with_context(|| format!("--cgroup {below}"))?,
    ))
}

fn process(spec: &Spec, how: &How, warn: &dyn Fn(&str)) -> Result<Process> {
    if let Some(path) = &how.process {
        let what = || format!("--process {}", path.display());
        let text = std::fs::read(path).with_context(what)?;
        return match document::process(&text) {
            Ok((process, warnings)) => {
                warnings.iter().for_each(|text| warn(text));
                Ok(process)
            }
            Err(error) => refuse!(Invalid, "{}: {error}", what()),
        };
    }
    let mut process = spec
        .process()
        .clone()
        .context("config.json has no process")?;
    if how.args.is_empty() {
        refuse!(Invalid, "args must not be empty");
    }
    process.set_args(Some(how.args.clone()));
    process.set_terminal(Some(how.tty));
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(how.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(cwd) = &how.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut user = process.user().clone();
    if let Some((uid, gid)) = how.user {
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(0));
    }
    if !how.groups.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&how.groups);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    if let Some(set) = how.no_new_privileges {
        process.set_no_new_privileges(Some(set));
    }
    let (profile, label) = &how.labels;
    if profile.is_some() {
        process.set_apparmor_profile(profile.clone());
    }
    if label.is_some() {
        process.set_selinux_label(label.clone());
    }
    if !how.capabilities.is_empty() {
        process.set_capabilities(Some(with(
            process.capabilities().as_ref(),
            &how.capabilities,
        )));
    }
    Ok(process)
}

/// Capability sets with some more: they may be had, and are, as with runc.
fn with(sets: Option<&LinuxCapabilities>, more: &[Capability]) -> LinuxCapabilities {
    let add = |set: Option<&Option<HashSet<Capability>>>| {
        let all = set.and_then(Option::as_ref).into_iter().flatten();
        Some(all.chain(more).copied().collect())
    };
    let mut all = LinuxCapabilities::default();
    all.set_bounding(add(sets.map(LinuxCapabilities::bounding)));
    all.set_effective(add(sets.map(LinuxCapabilities::effective)));
    all.set_permitted(add(sets.map(LinuxCapabilities::permitted)));
    all.set_inheritable(sets.and_then(|sets| sets.inheritable().clone()));
    all.set_ambient(sets.and_then(|sets| sets.ambient().clone()));
    all
}
