//! A container's moves from one state to another: start, stop, kill, wait,
//! rename, remove. Whatever cannot be from where it is, is an error that
//! names its state.

use crate::engine::container::containers::{Container, Containers, Lock, not_found};
use crate::engine::container::control::{Reply, Request};
use crate::engine::container::events::{self, Action};
use crate::engine::container::record::State;
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::{Launch, launch};
use crate::engine::request::restart::Restart;
use crate::engine::supervise::attach::{End, start_error};
use crate::error::refuse;
use crate::runtime::Step;
use crate::sys::channel::Channel;
use crate::sys::{self, pidfd, wait};
use anyhow::Result;
use nix::errno::Errno;
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long another command may take with a container.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a container that does not run; one that runs is left as it is.
///
/// # Errors
/// It is paused or dead; it could not be started.
pub fn start(
    containers: &Containers,
    mut container: Container,
    how: &Launch,
    caller: Caller<'_>,
    warn: &dyn Fn(&str),
) -> Result<End> {
    match &container.state {
        State::Running { .. } | State::Restarting { .. } => return Ok(End::Left),
        State::Paused { .. } => refuse!(
            Conflict,
            "container {} is paused, not stopped: bryo unpause lets it go on",
            container.record.name
        ),
        State::Dead { why } => refuse!(
            Conflict,
            "container {} is dead: {why}",
            container.record.name
        ),
        State::Created | State::Exited { .. } => {}
    }
    let Some(lock) = take_lock(&container)? else {
        refuse!(
            Conflict,
            "container {} is being started or removed by another bryo",
            container.record.name
        )
    };
    container.read_state()?;
    container.ask_stop(false)?;
    container.history.restarts = 0;
    let spec = container.spec()?;
    launch(containers, container, lock, spec, how, caller, warn)
}

/// The lock of a container that does not run; another command may be about
/// to let go of it.
pub(in crate::engine) fn take_lock(container: &Container) -> Result<Option<Lock>> {
    let patience = Instant::now() + Duration::from_secs(1);
    loop {
        match container.try_lock() {
            Ok(None) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(1)),
            Err(_) if !container.dir.exists() => {
                return Err(not_found(&container.record.name).into());
            }
            other => return other,
        }
    }
}

/// A container that was asked to stop.
#[derive(Debug)]
pub struct Stopping {
    container: Container,
    /// Its first process, if it has one.
    process: Option<OwnedFd>,
    /// Closes when its supervisor is done.
    supervisor: Option<Channel>,
    /// When it is killed.
    deadline: Option<Instant>,
}

/// Asks a container to stop, with `signal` or its own stop signal, and gives
/// it so many seconds (its own patience by default; less than none is for
/// ever). With `keep_policy` its restart policy goes on to hold.
///
/// # Errors
/// It is paused or dead.
pub fn begin_stop(
    containers: &Containers,
    mut container: Container,
    signal: Option<i32>,
    seconds: Option<i64>,
    keep_policy: bool,
) -> Result<Stopping> {
    container.await_start()?;
    let name = container.record.name.clone();
    match &container.state {
        State::Paused { .. } => {
            refuse!(
                Conflict,
                "container {name} is paused: bryo unpause it before it is stopped"
            )
        }
        State::Dead { why } => refuse!(Conflict, "container {name} is dead: {why}"),
        _ => {}
    }
    let mut stopping = Stopping {
        supervisor: None,
        process: None,
        deadline: None,
        container,
    };
    let container = &mut stopping.container;
    if !container.state.is_active() {
        return Ok(stopping);
    }
    if !keep_policy {
        container.ask_stop(true)?;
    }
    stopping.supervisor = hear_end(container);
    // Whatever it is doing, it is not to start the container again.
    if let Some(supervisor) = &stopping.supervisor {
        let _ = supervisor.send(&Request::End.encode(), None);
    }
    if let State::Running { .. } = container.state {
        let process = match container.running_process() {
            // Whether it is there cannot be told.
            Err(error) if error.is::<sys::Error>() => return Err(error),
            other => other.ok(),
        };
        let signal = signal.unwrap_or_else(|| container.stop_signal());
        if let Some(process) = &process {
            match pidfd::kill(process, signal) {
                Err(e) if e.errno != Errno::ESRCH => return Err(e.into()),
                _ => {}
            }
            let number = signal.to_string();
            events::emit(containers, Action::Kill, container, &[("signal", &number)]);
        }
        let seconds = seconds.unwrap_or_else(|| container.record.keeping.patience().into());
        let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
        stopping.deadline = patience.map(|patience| Instant::now() + patience);
        stopping.process = process;
    }
    Ok(stopping)
}

/// Waits until it has stopped; kills it when its time is over.
pub fn finish_stop(containers: &Containers, stopping: Stopping) -> Result<()> {
    let container = &stopping.container;
    if let Some(process) = &stopping.process {
        if !wait::readable(process, stopping.deadline) {
            if !container.kill_all() {
                pidfd::end(process)?;
            }
            events::emit(containers, Action::Kill, container, &[("signal", "9")]);
            wait::readable(process, None);
        }
    } else if !container.state.is_active() {
        return Ok(());
    }
    await_supervisor(container, stopping.supervisor);
    events::emit(containers, Action::Stop, container, &[]);
    Ok(())
}

/// A connection that its supervisor closes when it is done.
pub fn hear_end(container: &Container) -> Option<Channel> {
    let channel = Channel::from(container.connect().ok()?);
    channel.send(&Request::Wait.encode(), None).ok()?;
    Some(channel)
}

/// Waits until a supervisor has recorded the end and let go of its container.
fn await_supervisor(container: &Container, supervisor: Option<Channel>) {
    if let Some(channel) = supervisor {
        let patience = wait::within(PATIENCE);
        while wait::readable(&channel, patience) && matches!(channel.receive(), Ok(Some(_))) {}
    }
    let patience = Instant::now() + PATIENCE;
    while matches!(container.try_lock(), Ok(None)) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal to a container's first process. One that ends it is taken
/// for a wish that it stays ended.
pub fn kill(containers: &Containers, container: &mut Container, signal: i32) -> Result<()> {
    let process = container.running_process()?;
    if signal == libc::SIGKILL || signal == container.stop_signal() {
        container.ask_stop(true)?;
    }
    if signal != libc::SIGKILL || !container.kill_all() {
        pidfd::kill(process, signal)?;
    }
    let number = signal.to_string();
    events::emit(containers, Action::Kill, container, &[("signal", &number)]);
    Ok(())
}

/// Waits for a container's end; returns its exit code, 0 for one that was
/// never started.
pub fn wait(containers: &Containers, mut container: Container) -> Result<i32> {
    loop {
        container.await_start()?;
        match &container.state {
            State::Exited { code, .. } => return Ok(*code),
            State::Dead { why } => refuse!(
                Conflict,
                "container {} is dead: {why}",
                container.record.name
            ),
            State::Created => return Ok(0),
            State::Running { .. } | State::Paused { .. } | State::Restarting { .. } => {}
        }
        match hear_end(&container) {
            Some(channel) => {
                while let Ok(Some(message)) = channel.receive() {
                    if let Some(Reply::Exited(code)) = Reply::decode(&message.data) {
                        return Ok(code);
                    }
                }
            }
            // It has just ended, or its supervisor was killed.
            None => std::thread::sleep(Duration::from_millis(2)),
        }
        container = containers.find(&container.record.id)?;
    }
}

/// Gives a container another name.
pub fn rename(containers: &Containers, container: &mut Container, name: &str) -> Result<()> {
    crate::engine::request::names::container(name)?;
    let old = container.record.name.clone();
    if old == name {
        refuse!(AlreadySo, "container {name} has this name already");
    }
    containers.rename(container, name)?;
    let details = [("oldName", old.as_str())];
    events::emit(containers, Action::Rename, container, &details);
    // Names are answered on its networks.
    match container.state.is_active() && !container.record.keeping.networks.is_empty() {
        true => crate::engine::container::asking::ask(container, Request::Networks),
        false => Ok(()),
    }
}

/// Changes when a container is started again.
pub fn set_policy(
    containers: &Containers,
    container: &mut Container,
    policy: Restart,
) -> Result<()> {
    if container.record.auto_remove && policy != Restart::No {
        refuse!(
            Conflict,
            "container {} is removed when it ends (--rm): it cannot be started again",
            container.record.name
        );
    }
    container.changes.restart = Some(policy);
    container.save_changes()?;
    events::emit(containers, Action::Update, container, &[]);
    Ok(())
}

/// Prepares to remove a container: one that runs is killed, with `force`.
///
/// # Errors
/// It runs.
pub fn begin_remove(container: &mut Container, force: bool) -> Result<()> {
    container.await_start()?;
    if !container.state.is_active() {
        return Ok(());
    }
    if !force {
        refuse!(
            Conflict,
            "container {} is {}: stop it first, or use -f",
            container.record.name,
            container.state.name()
        );
    }
    container.ask_stop(true)?;
    match container.running_process() {
        Ok(_) if container.kill_all() => {}
        Ok(process) => pidfd::end(process)?,
        Err(error) if error.is::<sys::Error>() => return Err(error),
        Err(_) => {
            if let Ok(connection) = container.connect() {
                let _ = Channel::from(connection).send(&Request::End.encode(), None);
            }
        }
    }
    Ok(())
}

/// Starts a container that was made for this alone. One whose limits cannot be had
/// is gone again then: its name is free for another try with other limits.
///
/// # Errors
/// It could not be started; but for its limits, its state says so.
pub fn start_new(
    containers: &Containers,
    (container, lock, spec): (Container, Lock, Spec),
    how: &Launch,
    caller: Caller<'_>,
    warn: &dyn Fn(&str),
) -> Result<End> {
    let new = container.clone();
    let end = launch(containers, container, lock, spec, how, caller, warn);
    if let Err(error) = &end
        && start_error(error).is_some_and(|e| matches!(e.step, Step::Limit | Step::Group))
    {
        // What was said is why; that this failed too helps nobody.
        let _ = finish_remove(containers, &new, false, true);
    }
    end
}

/// Removes a container that does not run, or is about to end, with `volumes`
/// also those that were made for it alone.
pub fn finish_remove(
    containers: &Containers,
    container: &Container,
    force: bool,
    volumes: bool,
) -> Result<()> {
    // Its supervisor lets go of it once it has recorded the end.
    let patience = match force {
        true => PATIENCE,
        false => Duration::from_secs(1),
    };
    let patience = Instant::now() + patience;
    let lock = loop {
        match container.try_lock() {
            Ok(Some(lock)) => break lock,
            // With --rm the supervisor removes it first.
            Err(_) if !container.dir.exists() => return Ok(()),
            Err(e) => return Err(e),
            Ok(None) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(None) => refuse!(
                Conflict,
                "container {} is in use by another bryo",
                container.record.name
            ),
        }
    };
    if !container.dir.exists() {
        return Ok(());
    }
    if volumes {
        containers.release_volumes(container)?;
    }
    // Its supervisor may have been killed just now, or when it was started
    // anew, which the state does not tell yet.
    container.clone().remove_groups_of_the_dead();
    containers.remove(container, &lock)?;
    events::emit(containers, Action::Destroy, container, &[]);
    Ok(())
}
