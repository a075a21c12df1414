//! Hooks: programs that a spec wants run at points of a container's life
//! (runtime-spec 1.3, config.md, "POSIX-platform Hooks", and runtime.md,
//! "Lifecycle").
//!
//! Each gets the container's state on standard input. What it prints is only seen
//! if it fails.

use super::message::StartError;
use super::plan::c_string;
use super::process::ProcessPlan;
use super::start::{self, Started};
use super::stdio::Stdio;
use super::{Plan, join};
use crate::error::{demand, refuse};
use crate::process::exit_code;
use crate::sys::clone::Child;
use crate::sys::{pidfd, wait};
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::waitpid;
use oci_spec::runtime::{ContainerState, Hook as Written, Spec, StateBuilder};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// When hooks are run, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Once the namespaces and mounts are there and before the root is entered,
    /// outside; what older specs have for the next.
    Prestart,
    /// At the same moment, outside.
    CreateRuntime,
    /// At the same moment, inside, with the host's files still in sight.
    CreateContainer,
    /// Inside, when the process is released and before it executes.
    StartContainer,
    /// Outside, when it has executed.
    Poststart,
    /// Outside, when the container is deleted.
    Poststop,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        }
    }

    /// What the container's state is then.
    fn status(self) -> ContainerState {
        match self {
            Moment::Prestart | Moment::CreateRuntime | Moment::CreateContainer => {
                ContainerState::Creating
            }
            Moment::StartContainer => ContainerState::Created,
            Moment::Poststart => ContainerState::Running,
            Moment::Poststop => ContainerState::Stopped,
        }
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// How long it may take; without end if this is None.
    limit: Option<Duration>,
}

/// All hooks of a container, and what they are told of it.
#[derive(Debug, Default)]
pub struct Hooks {
    hooks: Vec<(Moment, Hook)>,
    /// What the container is called: not in its spec, so whoever runs the plan
    /// says it.
    pub id: String,
    version: String,
    bundle: PathBuf,
    annotations: HashMap<String, String>,
}

impl Hooks {
    /// Those of `spec`, whose bundle is at `bundle`.
    ///
    /// # Errors
    /// A path that is not absolute, a time that is none, a byte 0.
    pub(super) fn of(spec: &Spec, bundle: &Path) -> Result<Hooks> {
        let Some(written) = spec.hooks() else {
            return Ok(Hooks::default());
        };
        #[allow(deprecated, reason = "the spec still has it")]
        let prestart = written.prestart();
        let mut hooks = Vec::new();
        for (moment, list) in [
            (Moment::Prestart, prestart),
            (Moment::CreateRuntime, written.create_runtime()),
            (Moment::CreateContainer, written.create_container()),
            (Moment::StartContainer, written.start_container()),
            (Moment::Poststart, written.poststart()),
            (Moment::Poststop, written.poststop()),
        ] {
            for (number, hook) in list.iter().flatten().enumerate() {
                let hook = Hook::read(hook);
                let place = || format!("hooks.{}[{number}]", moment.name());
                hooks.push((moment, hook.with_context(place)?));
            }
        }
        if hooks.is_empty() {
            return Ok(Hooks::default());
        }
        Ok(Hooks {
            hooks,
            id: String::new(),
            version: spec.version().clone(),
            bundle: bundle.to_owned(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        })
    }

    fn at(&self, moment: Moment) -> impl Iterator<Item = &Hook> {
        let hooks = self.hooks.iter();
        hooks.filter_map(move |(at, hook)| (*at == moment).then_some(hook))
    }

    /// Whether there are any for that moment.
    pub fn any(&self, moment: Moment) -> bool {
        self.at(moment).next().is_some()
    }

    /// The field of the spec that has the first of them.
    pub fn first(&self) -> Option<String> {
        let (moment, _) = self.hooks.first()?;
        Some(format!("hooks.{}", moment.name()))
    }

    /// Whether the root has to be complete before it is entered, for hooks to see.
    pub(super) fn before_root(&self) -> bool {
        use Moment::{CreateContainer, CreateRuntime, Prestart};
        [Prestart, CreateRuntime, CreateContainer]
            .into_iter()
            .any(|moment| self.any(moment))
    }

    /// Runs those of `moment` where this process is, one after the other, and
    /// tells them that the container's process is `pid`.
    ///
    /// # Errors
    /// One fails, or takes too long; those after it are not run.
    pub fn run(&self, moment: Moment, pid: Option<i32>) -> Result<()> {
        self.each(moment, pid, start::here)
    }

    /// Runs those of [`Moment::StartContainer`] in the container of `plan`, whose
    /// process is `child`, as who its command is.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub(super) fn run_inside(&self, plan: &Plan, child: &Child) -> Result<()> {
        let moment = Moment::StartContainer;
        if !self.any(moment) {
            return Ok(());
        }
        let pid = pid_inside(child)?;
        let group = plan.group.as_ref().map(AsFd::as_fd);
        let kinds = plan.create | plan.join.iter().fold(0, |all, join| all | join.kind);
        self.each(moment, Some(pid), |hook, stdio| {
            let process = plan.process.lending(hook);
            join::join(&child.pidfd, kinds, &process, stdio, group)
        })
    }

    fn each(
        &self,
        moment: Moment,
        pid: Option<i32>,
        start: impl Fn(&ProcessPlan, &Stdio) -> Result<Started, StartError>,
    ) -> Result<()> {
        for hook in self.at(moment) {
            let run = || -> Result<()> {
                let (said, stdio) = streams(&self.state(moment, pid)?)?;
                let process = ProcessPlan::plain(&hook.path, &hook.args, &hook.env);
                let started = start(&process, &stdio)?;
                drop(stdio);
                attend(&started.child, said, hook.limit)
            };
            run().with_context(|| {
                let path = hook.path.to_string_lossy();
                format!("{} hook {path}", moment.name())
            })?;
        }
        Ok(())
    }

    /// The state of the container as JSON (runtime-spec, runtime.md, "State").
    fn state(&self, moment: Moment, pid: Option<i32>) -> Result<Vec<u8>> {
        let state = StateBuilder::default()
            .version(&self.version)
            .id(&self.id)
            .status(moment.status())
            .bundle(&self.bundle)
            .annotations(self.annotations.clone());
        let state = match pid {
            Some(pid) => state.pid(pid),
            None => state,
        };
        Ok(serde_json::to_vec(&state.build()?)?)
    }
}

impl Hook {
    fn read(written: &Written) -> Result<Hook> {
        let path = written.path();
        demand!(
            Invalid,
            path.is_absolute(),
            "{} is not absolute",
            path.display()
        );
        let strings = |list: &Option<Vec<String>>, what: &str| -> Result<Vec<CString>> {
            list.iter().flatten().map(|s| c_string(s, what)).collect()
        };
        let path = c_string(path.as_os_str().as_bytes(), "path")?;
        let mut args = strings(written.args(), "argument")?;
        if args.is_empty() {
            args.push(path.clone());
        }
        let limit = match written.timeout() {
            None => None,
            Some(seconds) => match u64::try_from(seconds) {
                Ok(seconds @ 1..) => Some(Duration::from_secs(seconds)),
                _ => refuse!(Invalid, "timeout {seconds}: it is to be more than 0"),
            },
        };
        Ok(Hook {
            path,
            args,
            env: strings(written.env(), "environment variable")?,
            limit,
        })
    }
}

/// The streams of a hook, which reads `state`, and what it prints.
fn streams(state: &[u8]) -> Result<(PipeReader, Stdio)> {
    let memory = memfd_create(c"state", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
    let mut memory = File::from(memory);
    memory.write_all(state).context("state")?;
    memory.rewind().context("state")?;
    let (said, teller) = std::io::pipe().context("pipe")?;
    let teller = Rc::new(OwnedFd::from(teller));
    let stdio = Stdio([Rc::new(memory.into()), teller.clone(), teller]);
    Ok((said, stdio))
}

/// What is kept of what a hook prints.
const MOST_SAID: usize = 512;

/// Waits for the end of a hook, a child of this process, which may take so long.
fn attend(child: &Child, mut said: PipeReader, limit: Option<Duration>) -> Result<()> {
    let until = limit.and_then(wait::within);
    let mut kept = Vec::new();
    let mut open = true;
    loop {
        let fds = [(child.pidfd.as_fd(), PollFlags::POLLIN)];
        let output = open.then_some((said.as_fd(), PollFlags::POLLIN));
        let seen = wait::wait(fds.into_iter().chain(output), until).context("poll")?;
        // First what it printed before it ended.
        if seen.get(1).is_some_and(|events| !events.is_empty()) {
            let mut buffer = [0; 4096];
            let count = said.read(&mut buffer).context("read")?;
            open = count > 0;
            let room = MOST_SAID.saturating_sub(kept.len());
            kept.extend(&buffer[..count.min(room)]);
        }
        if !seen[0].is_empty() {
            break;
        }
        if until.is_some_and(|end| end <= Instant::now()) {
            let _ = pidfd::kill(&child.pidfd, libc::SIGKILL);
            let _ = waitpid(child.pid, None);
            let seconds = limit.unwrap_or_default().as_secs();
            refuse!(Timeout, "it takes more than the {seconds} s that it may");
        }
    }
    let status = waitpid(child.pid, None).context("wait")?;
    let said = String::from_utf8_lossy(&kept);
    match (exit_code(status), said.trim()) {
        (0, _) => Ok(()),
        (code, "") => refuse!(Internal, "it ended with code {code}"),
        (code, said) => refuse!(Internal, "it ended with code {code}: {said}"),
    }
}

/// The number of `child` in its own PID namespace.
fn pid_inside(child: &Child) -> Result<i32> {
    let path = format!("/proc/{}/status", child.pid);
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let number = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    number.with_context(|| format!("{path}: no NSpid"))
}
