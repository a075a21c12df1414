//! `exec`: a further process in a container.

use super::bundle::may_set_groups;
use super::lifecycle::attend;
use super::state::{States, Status};
use super::{own_streams, write_pid};
use crate::error::refuse;
use crate::idmap::IdMap;
use crate::runtime::join::join;
use crate::runtime::plan::{allows_setgroups, namespaces};
use crate::runtime::process::{ProcessPlan, Seccomp};
use crate::sys::signal::SignalFd;
use anyhow::{Context, Result};
use oci_spec::runtime::{Process, Spec};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

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
    /// whether it has a terminal.
    pub tty: bool,
    /// A socket to whose listener the master side of its terminal goes.
    pub console: Option<PathBuf>,
    /// Gets the id of the process.
    pub pid_file: Option<PathBuf>,
    /// How many of the caller's descriptors from 3 on it gets.
    pub preserved: u32,
    /// It outlives this command.
    pub detached: bool,
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
        (Status::Creating, _) => refuse!(Conflict, "container {id} was not created to the end"),
        _ => refuse!(Conflict, "cannot exec in a stopped container: {id}"),
    };
    let spec = container.spec()?;
    let process = process(&spec, how)?;
    let linux = spec.linux().as_ref();
    let maps = linux.and_then(|l| l.gid_mappings().as_ref());
    let maps: Vec<IdMap> = maps
        .into_iter()
        .flatten()
        .map(|m| IdMap::new(m.container_id(), m.host_id(), m.size()))
        .collect();
    let setgroups = match maps.is_empty() {
        true => may_set_groups(),
        false => allows_setgroups(&maps),
    };
    let filter = Seccomp::of(linux.and_then(|l| l.seccomp().as_ref()), false);
    let mut plan = ProcessPlan::new(&process, filter, setgroups, None)?;
    plan.sockets = (how.preserved, None);
    if how.detached {
        plan.death_signal = None;
    }
    match (&how.console, plan.terminal) {
        (Some(path), Some(_)) => {
            let what = || format!("--console-socket {}", path.display());
            plan.console = Some(UnixStream::connect(path).with_context(what)?.into());
        }
        (None, Some(_)) => refuse!(
            Invalid,
            "cannot allocate tty if runc will detach without setting console socket"
        ),
        _ => {}
    }
    let signals = match how.detached {
        true => None,
        false => Some(SignalFd::new()?),
    };
    let started = join(&target, namespaces(&spec), &plan, &own_streams()?, None)?;
    started.warnings.iter().for_each(|text| warn(text));
    if let Some(path) = &how.pid_file {
        write_pid(path, started.child.pid.as_raw())?;
    }
    match signals {
        Some(signals) => attend(&started.child, &signals),
        None => Ok(0),
    }
}

fn process(spec: &Spec, how: &How) -> Result<Process> {
    if let Some(path) = &how.process {
        let what = || format!("--process {}", path.display());
        let text = std::fs::read(path).with_context(what)?;
        return match serde_json::from_slice(&text) {
            Ok(process) => Ok(process),
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
    if let Some((uid, gid)) = how.user {
        let mut user = process.user().clone();
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(0));
        process.set_user(user);
    }
    Ok(process)
}
