//! Outside: makes the process, and hears from it until it has become the
//! container's command, at once or in two halves.

use super::fields::Unsupported;
use super::gate::{Gate, Key};
use super::hooks::{Hooks, Moment};
use super::init::{self, Ids, Last};
use super::join;
use super::message::{Message, StartError, Step};
use super::plan::Plan;
use super::process::{Agent, ProcessPlan};
use super::stdio::Stdio;
use crate::error::refusal;
use crate::idmap::write::Setgroups;
use crate::process::{Refused, through};
use crate::sys::channel::{Channel, send_to};
use crate::sys::clone::{Child, Forked, NewProcess, Parent, clone3, clone3_into, exit_now};
use crate::sys::seccomp::{Answer, Listener};
use crate::sys::wait::wait;
use anyhow::Context;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::{getegid, geteuid};
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A process that runs the command it was made for, or waits to do so.
#[derive(Debug)]
pub struct Started {
    /// The process, a child of the caller.
    pub child: Child,
    /// The master side of its terminal, if it asked for one.
    pub console: Option<OwnedFd>,
    /// The listener of its root emulation, if that is on.
    pub listener: Option<Listener>,
    /// The other end of its network interface, if it has one to be served.
    pub tap: Option<OwnedFd>,
    /// What is less than was asked for, in words.
    pub warnings: Vec<String>,
}

fn failed(step: Step) -> impl Fn(anyhow::Error) -> StartError {
    move |e| StartError::new(step, &e)
}

/// What is done about a process from outside.
pub type During<'a> = dyn Fn(&Child) -> anyhow::Result<()> + 'a;

/// Starts the first process of a container, with `stdio` as its descriptors 0
/// to 2 unless the plan has a terminal. Returns when the command has been
/// executed. The caller must have one thread; the container ends with it.
/// `during` is run once the process has its namespaces and before it does
/// anything in them.
///
/// # Errors
/// The first step that failed; no process is left then.
pub fn start(plan: &Plan, stdio: &Stdio, during: Option<&During>) -> Result<Started, StartError> {
    let (started, done) = match plan.hooks.any(Moment::StartContainer) {
        false => {
            let started = begin(plan, stdio, during, None)?;
            let done = finish(plan, &started.child);
            (started, done)
        }
        // They are run where the process is, and before it goes on.
        true => {
            let (gate, key) = Gate::pair().map_err(failed(Step::Execute))?;
            let started = begin(plan, stdio, during, Some(&gate))?;
            drop(gate);
            let done = release(plan, &started.child, key);
            (started, done)
        }
    };
    match done {
        Ok(()) => Ok(started),
        Err(error) => {
            reap(&started.child);
            Err(error)
        }
    }
}

/// The first half of [`start`]: all but to execute the command. The process is
/// left waiting at `gate`. Until then it ends with the caller whatever its plan
/// says: so whoever is to be able to find it again notes it `during` that.
///
/// # Errors
/// As of [`start`]. That the command cannot be executed is only seen later, but
/// not that there is none of that name.
pub fn prepare(
    plan: &Plan,
    stdio: &Stdio,
    during: Option<&During>,
    gate: &Gate,
) -> Result<Started, StartError> {
    begin(plan, stdio, during, Some(gate))
}

/// The second half: lets `child`, which was [prepared](prepare) by this process or
/// another one, execute the command of `plan`. The caller must have one thread.
///
/// # Errors
/// A hook fails, or the command cannot be executed; then the process is killed.
pub fn release(plan: &Plan, child: &Child, key: Key) -> Result<(), StartError> {
    let ran = plan.hooks.run_inside(plan, child);
    let released = ran
        .map_err(failed(Step::Hook))
        .and_then(|()| key.release(&plan.process.name()))
        .and_then(|()| finish(plan, child));
    if released.is_err() {
        let _ = crate::sys::pidfd::kill(&child.pidfd, libc::SIGKILL);
    }
    released
}

/// The command is executed: runs the hooks for that.
fn finish(plan: &Plan, child: &Child) -> Result<(), StartError> {
    let pid = child.pid.as_raw();
    let ran = plan.hooks.run(Moment::Poststart, Some(pid));
    ran.map_err(failed(Step::Hook))
}

fn begin(
    plan: &Plan,
    stdio: &Stdio,
    during: Option<&During>,
    gate: Option<&Gate>,
) -> Result<Started, StartError> {
    let clone_failed = failed(Step::Clone);
    let agent = plan.process.agent.as_ref();
    if agent.is_some_and(|agent| agent.state.is_null()) {
        let why = "bryo hands the calls of its own containers to no other program";
        let unsupported = Unsupported::new("linux.seccomp.listenerPath", why);
        return Err(failed(Step::Plan)(unsupported.into()));
    }
    let page = plan.process.page(gate.is_some());
    let page = page.map_err(|e| clone_failed(e.into()))?;
    let (ours, theirs) = Channel::pair().map_err(|e| clone_failed(e.into()))?;
    // In the child: a copy of our end would hide this process's death from it.
    let ours = Cell::new(Some(ours));
    let alone = plan.maps_alone(geteuid().as_raw(), getegid().as_raw());
    // Who waits for his maps can be kept waiting for more.
    let own_maps = alone && during.is_none();
    let ids = match plan.has_user(geteuid().as_raw(), getegid().as_raw()) {
        _ if own_maps => Ids::Own,
        true => Ids::Given,
        false => Ids::Nobodys,
    };
    let awaits_maps = !own_maps && plan.create & libc::CLONE_NEWUSER as u64 != 0;
    let run = |process| -> () {
        drop(ours.take());
        let last = Last { page: &page, gate };
        init::run(process, plan, stdio, ids, &theirs, last)
    };
    let child = if plan.join.is_empty() {
        match make(plan, own_maps, Parent::Caller)? {
            Forked::Child(process) => {
                run(process);
                exit_now(1)
            }
            Forked::Parent(child) => child,
        }
    } else {
        by_helper(
            || init::join(plan).and_then(|()| make(plan, own_maps, Parent::Grandparent)),
            run,
        )?
    };
    drop(theirs);
    let ours = ours
        .take()
        .ok_or_else(|| clone_failed(refusal!(Internal, "no channel")))?;
    if let Some(Err(error)) = during.map(|during| during(&child)) {
        reap(&child);
        return Err(failed(Step::Network)(error));
    }
    if awaits_maps && let Err(error) = ours.send(&Message::Mapped.encode(), None) {
        reap(&child);
        return Err(failed(Step::Map)(error.into()));
    }
    hear(child, &ours, &plan.process, Some(&plan.hooks))
}

/// Starts `process` where this process is; the caller must have one thread.
///
/// # Errors
/// The first step that failed; no process is left then.
pub(super) fn here(process: &ProcessPlan, stdio: &Stdio) -> Result<Started, StartError> {
    let clone_failed = |e: crate::sys::Error| failed(Step::Clone)(e.into());
    let page = process.page(false).map_err(clone_failed)?;
    let (ours, theirs) = Channel::pair().map_err(clone_failed)?;
    match clone3(0, Parent::Caller).map_err(clone_failed)? {
        Forked::Child(new) => {
            drop(ours);
            join::run(&new, process, stdio, &theirs, &page)
        }
        Forked::Parent(child) => {
            drop(theirs);
            hear(child, &ours, process, None)
        }
    }
}

/// Clones; where the new process cannot map its own ids, its maps are written
/// here.
fn make(plan: &Plan, own_maps: bool, parent: Parent) -> Result<Forked, StartError> {
    let mut flags = plan.create;
    if !plan.time_offsets.is_empty() {
        flags &= !(libc::CLONE_NEWTIME as u64);
    }
    let group = plan.group.as_ref().map(AsFd::as_fd);
    if group.is_some() {
        // The root of a namespace that is made with the process is the group
        // of who makes it; so the process makes it.
        flags &= !(libc::CLONE_NEWCGROUP as u64);
    }
    // A user namespace among others is always made first (clone(2)).
    let forked = clone3_into(flags, parent, group).map_err(|e| failed(Step::Clone)(e.into()))?;
    let new_ids = flags & libc::CLONE_NEWUSER as u64 != 0;
    if let (Forked::Parent(child), true, false) = (&forked, new_ids, own_maps) {
        let setgroups = match plan.maps_alone(geteuid().as_raw(), getegid().as_raw()) {
            // As it would have done itself.
            true => Setgroups::Denied,
            false => Setgroups::Allowed,
        };
        let mapped = init::map_ids(&child.pid.to_string(), plan, setgroups);
        mapped.map_err(|e| {
            reap(child);
            failed(Step::Map)(e)
        })?;
    }
    Ok(forked)
}

fn reap(child: &Child) {
    let _ = crate::sys::pidfd::kill(&child.pidfd, libc::SIGKILL);
    let _ = nix::sys::wait::waitpid(child.pid, None);
}

/// Joining changes the joiner for good, so a process of its own does it and
/// makes the container's as its sibling: `make` runs in that process and
/// clones with [`Parent::Grandparent`], `become_it` runs in the clone.
pub(super) fn by_helper(
    make: impl FnOnce() -> Result<Forked, StartError>,
    become_it: impl FnOnce(NewProcess),
) -> Result<Child, StartError> {
    let make = || make().map_err(|error| Message::Failed(error).encode());
    through(make, become_it).map_err(|refused| match refused {
        Refused::Lost(error) => failed(Step::Join)(error),
        Refused::Said(said) => match Message::decode(&said, "") {
            Some(Message::Failed(error)) => error,
            _ => failed(Step::Join)(refusal!(Internal, "the process that joins said nonsense")),
        },
    })
}

/// Reads the messages of `child` until it has executed or failed, or waits; a
/// failed one is reaped. `hooks` are those whose turn it may say it is.
pub(super) fn hear(
    child: Child,
    channel: &Channel,
    process: &ProcessPlan,
    hooks: Option<&Hooks>,
) -> Result<Started, StartError> {
    let mut console = None;
    let mut tap = None;
    let mut listener: Option<Listener> = None;
    let mut warnings = Vec::new();
    let mut ready = false;
    let error = loop {
        if let Some(listener) = &listener
            && !ready
        {
            let_own_calls_pass(listener, channel);
        }
        let received = match channel.receive() {
            Ok(Some(received)) => received,
            Ok(None) if ready => {
                return Ok(Started {
                    child,
                    console,
                    listener,
                    tap,
                    warnings,
                });
            }
            Ok(None) => {
                break StartError::new(
                    Step::Execute,
                    &refusal!(Internal, "the process was killed"),
                );
            }
            Err(e) if e.errno == Errno::EINTR => continue,
            Err(e) => break StartError::new(Step::Execute, &e.into()),
        };
        match (Message::decode(&received.data, &process.name()), hooks) {
            (Some(Message::Console), _) => console = received.fd,
            (Some(Message::Tap), _) => tap = received.fd,
            (Some(Message::Listener), _) => listener = received.fd.map(Listener::new),
            (Some(Message::Ready), _) => {
                let agent = process.agent.as_ref();
                let given = agent.and_then(|agent| Some((agent, listener.take()?)));
                if let Some((agent, listener)) = given
                    && let Err(error) = hand_over(agent, &listener, &child)
                {
                    break failed(Step::Credentials)(error);
                }
                ready = true;
            }
            (Some(Message::Warning(text)), _) => warnings.push(text),
            (Some(Message::Failed(error)), _) => break error,
            (Some(Message::Mounted), Some(hooks)) => {
                if let Err(error) = before_root(hooks, &child, channel) {
                    break failed(Step::Hook)(error);
                }
            }
            (Some(Message::Mapped | Message::Mounted | Message::Proceed) | None, _) => {
                break StartError::new(
                    Step::Execute,
                    &refusal!(Internal, "the process said nonsense"),
                );
            }
        }
    };
    reap(&child);
    Err(error)
}

/// Gives the listener of a process's filter to who answers its calls from now on
/// (runtime-spec, config-linux.md, "The Container Process State").
fn hand_over(agent: &Agent, listener: &Listener, child: &Child) -> anyhow::Result<()> {
    let pid = child.pid.as_raw();
    let mut state = agent.state.clone();
    if let Some(state) = state.as_object_mut() {
        state.entry("pid").or_insert(pid.into());
    }
    let mut told = serde_json::json!({"ociVersion": state["ociVersion"], "fds": ["seccompFd"],
        "pid": pid, "state": state});
    if let Some(metadata) = &agent.metadata {
        told["metadata"] = metadata.as_str().into();
    }
    let what = || format!("linux.seccomp.listenerPath {}", agent.path.display());
    let socket = UnixStream::connect(&agent.path).with_context(what)?;
    send_to(&socket, told.to_string().as_bytes(), Some(listener.as_fd())).with_context(what)
}

/// Runs the hooks that come before the root is entered, and says so.
fn before_root(hooks: &Hooks, child: &Child, channel: &Channel) -> anyhow::Result<()> {
    for moment in [Moment::Prestart, Moment::CreateRuntime] {
        hooks.run(moment, Some(child.pid.as_raw()))?;
    }
    Ok(channel.send(&Message::Proceed.encode(), None)?)
}

/// Until the command runs, calls that the listener hears of are bryo's own
/// and meant as they are. Returns when the channel has something to say.
fn let_own_calls_pass(listener: &Listener, channel: &Channel) {
    loop {
        // poll(2) looks at them in this order. A call of the command's comes
        // after the word that it is executed, which is then seen too.
        let both = [listener.as_fd(), channel.as_fd()].map(|fd| (fd, PollFlags::POLLIN));
        let Ok(seen) = wait(both, None) else { return };
        if !seen[1].is_empty() {
            return;
        }
        if !seen[0].is_empty()
            && let Ok(call) = listener.receive()
        {
            listener.answer(call.id, Answer::Continue);
        }
    }
}
