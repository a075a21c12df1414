//! `create` and `run`: from a bundle to a process that waits, or runs.

use super::bundle::{self, Bundle};
use super::group;
use super::state::{Container, Lock, Record, States, remove};
use super::{connect_console, connect_pidfd, own_streams, send_pidfd, write_pid};
use crate::cgroup::place::{Manager, Placed};
use crate::process::ProcessId;
use crate::runtime::gate::Gate;
use crate::runtime::{self, Plan, Started};
use crate::sys::clone::Child;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::unistd::geteuid;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// How a container is made.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// Its bundle.
    pub bundle: PathBuf,
    /// A socket to whose listener the master side of its terminal goes.
    pub console: Option<PathBuf>,
    /// Gets the id of its process.
    pub pid_file: Option<PathBuf>,
    /// A socket to whose listener a descriptor of its process goes.
    pub pidfd: Option<PathBuf>,
    /// How many sockets from 3 on it gets, and is told of (sd_listen_fds(3)).
    pub activated: u32,
    /// How many of the caller's descriptors behind those it gets.
    pub preserved: u32,
    /// Who makes its control groups; nobody named means who can.
    pub manager: Option<Manager>,
}

/// Makes a container; its process waits to be started. `warn` hears of what is
/// less than the bundle asks for.
///
/// # Errors
/// What keeps it from being made; nothing of it is left then.
pub fn create(states: &States, id: &str, how: &How, warn: &dyn Fn(&str)) -> Result<()> {
    make(states, id, how, false, warn).map(drop)
}

/// As [`create`]; the process is a child of this one, which may attend to it.
pub(super) fn make(
    states: &States,
    id: &str,
    how: &How,
    attends: bool,
    warn: &dyn Fn(&str),
) -> Result<(Container, Started, Lock)> {
    let bundle = Bundle::read(&how.bundle)?;
    bundle.warnings.iter().for_each(|text| warn(text));
    let mut plan = bundle::plan(&bundle.spec, &bundle.dir, id)?;
    plan.process.sockets = (how.activated, None);
    plan.process.preserved = how.preserved;
    connect_console(&mut plan.process, how.console.as_deref(), attends)?;
    let pidfd = connect_pidfd(how.pidfd.as_deref())?;
    let (dir, lock) = states.reserve(id)?;
    let mut placed = None;
    let prepared = prepare(id, &dir, &bundle, &mut plan, how, &mut placed);
    let told = prepared.and_then(|(container, started)| {
        let sent = send_pidfd(pidfd.as_ref(), &started.child.pidfd);
        if sent.is_err() {
            let _ = crate::sys::pidfd::end(&started.child.pidfd);
        }
        sent.map(|()| (container, started))
    });
    match told {
        Ok((container, started)) => {
            started.warnings.iter().for_each(|text| warn(text));
            Ok((container, started, lock))
        }
        Err(error) => {
            let _ = placed.as_ref().map(Placed::remove);
            let _ = remove(&dir);
            Err(error)
        }
    }
}

/// Makes what there is of a container: its groups, which are `placed`, its process,
/// and what is recorded of it.
fn prepare(
    id: &str,
    dir: &Path,
    bundle: &Bundle,
    plan: &mut Plan,
    how: &How,
    placed: &mut Option<Placed>,
) -> Result<(Container, Started)> {
    Container::keep(dir, &bundle.text)?;
    let gate = Gate::make(dir)?;
    let streams = own_streams()?;
    let intends = || Container::intend_group(dir);
    *placed = group::make(&bundle.spec, id, how.manager, intends)?;
    let payload = placed.as_ref().map(Placed::payload);
    plan.group = payload.map(|group| group.open()).transpose()?;
    let annotations = bundle.spec.annotations().clone().unwrap_or_default();
    let container = RefCell::new(None);
    // From here on it is known by whom to end.
    let during = |child: &Child| {
        let noted = Container {
            dir: dir.to_owned(),
            record: Record {
                id: id.to_owned(),
                oci_version: bundle.spec.version().clone(),
                bundle: bundle.dir.clone(),
                rootfs: bundle.rootfs(),
                created: Timestamp::now(),
                annotations: annotations.clone().into_iter().collect(),
                owner: geteuid().as_raw(),
                process: ProcessId::of(child.pid)?,
                ready: false,
                placed: placed.clone(),
            },
        };
        noted.note()?;
        container.replace(Some(noted));
        Ok(())
    };
    let started = runtime::prepare(plan, &streams, Some(&during), &gate)?;
    let mut container = container.into_inner().context("the process is not noted")?;
    container.record.ready = true;
    let recorded = container.note();
    let told = recorded.and_then(|()| match &how.pid_file {
        Some(path) => write_pid(path, container.record.process.pid),
        None => Ok(()),
    });
    if told.is_err() {
        let _ = crate::sys::pidfd::end(&started.child.pidfd);
    }
    told.map(|()| (container, started))
}
