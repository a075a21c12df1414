//! Starting a container that is created: forks its supervisor, and stays
//! attached to it or not.

use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::control::{Reply, WantedStreams};
use crate::engine::ground::activation::Sockets;
use crate::engine::ground::caller::Caller;
use crate::engine::ground::pump::Pump;
use crate::engine::supervise::attach::{self, Attachment, End};
use crate::engine::supervise::supervisor::Supervisor;
use crate::runtime::{StartError, Step};
use crate::sys::channel::Channel;
use crate::sys::clone::exit_now;
use crate::sys::socket;
use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};

/// How a container is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The caller stays for these.
    pub attach: Option<WantedStreams>,
    /// The container is its caller's: it ends when that is killed.
    pub foreground: bool,
    /// Keys that end the attachment.
    pub detach_keys: Vec<u8>,
    /// Do not pass signals on.
    pub keep_signals: bool,
    /// Descriptors that the caller was given by its own, none of which a
    /// container that outlives it may keep.
    pub inherited: Vec<i32>,
    /// Those of them that are for the container.
    pub sockets: Sockets,
}

/// Starts `container`. Returns once its command has been executed, or, if
/// the caller stays attached, when it has ended or was left.
///
/// # Errors
/// It could not be started; its state says so.
pub fn launch(
    containers: &Containers,
    container: Container,
    lock: Lock,
    spec: Spec,
    how: &Launch,
    caller: Caller<'_>,
    warn: &dyn Fn(&str),
) -> Result<End> {
    let keeping = &container.record.keeping;
    let wanted = how.attach;
    let name = container.record.name.clone();
    let input = wanted.is_some_and(|w| w.input) && keeping.interactive;
    let terminal = match keeping.tty && input {
        true => caller.terminal(),
        false => None,
    };
    let tty = keeping.tty;
    // Without a log and a terminal the caller carries its streams alone, unless
    // it may be started again, to other pipes.
    let direct = how.foreground && !tty && !keeping.is_logged() && !container.may_come_again();
    let (pump, carried) = match direct {
        true => {
            let (pump, carried) = Pump::new(&caller, input)?;
            (Some(pump), Some(carried))
        }
        false => (None, None),
    };
    let (ours, theirs) = Channel::pair()?;
    let (data, attached) = match wanted.filter(|_| !direct) {
        Some(wanted) => {
            let (ours, theirs) = socket::pair()?;
            (Some(ours), Some((theirs, wanted)))
        }
        None => (None, None),
    };
    match caller.make_process().context("start the supervisor")? {
        Some(process) => {
            drop((ours, data, pump));
            let made = (|| {
                let terminal = match terminal {
                    Some(settings) => Some((settings, caller.input.try_clone_to_owned()?)),
                    None => None,
                };
                let mut kept = vec![lock.as_fd().as_raw_fd(), theirs.as_fd().as_raw_fd()];
                kept.extend(attached.iter().map(|(fd, _)| fd.as_raw_fd()));
                let carried = carried.iter().flat_map(|stdio| &stdio.0);
                kept.extend(carried.map(|fd| fd.as_raw_fd()));
                kept.extend(terminal.iter().map(|(_, fd)| fd.as_raw_fd()));
                kept.extend(how.sockets.numbers());
                let others = how.inherited.iter().copied();
                let others = others.filter(|fd| !how.foreground && !how.sockets.has(*fd));
                caller.leave(&process, &kept, &others.collect::<Vec<_>>())?;
                Ok((terminal, caller.signals()?))
            })();
            let (terminal, signals) = match made {
                Ok(made) => made,
                Err(error) => {
                    let error = StartError::new(Step::Supervise, &error);
                    let _ = theirs.send(&Reply::Failed(error).encode(), None);
                    exit_now(1)
                }
            };
            let supervisor = Supervisor {
                process,
                containers: containers.clone(),
                container,
                lock,
                spec,
                caller: theirs,
                attached,
                carried,
                foreground: how.foreground,
                sockets: how.sockets.clone(),
                terminal,
                signals,
            };
            supervisor.run()
        }
        None => {
            drop((theirs, attached, carried, lock));
            let person = how.foreground && caller.errors.is_terminal();
            let attachment = Attachment {
                caller,
                control: ours,
                data,
                pump,
                input,
                tty,
                terminal,
                detach_keys: how.detach_keys.clone(),
                keep_signals: how.keep_signals,
                stays: wanted.is_some(),
                advice: person.then(|| advice(&name)),
            };
            attach::follow(attachment, warn)
        }
    }
}

/// What is told to who interrupts a container that goes on: its first process may
/// have no handler, and then the kernel drops the signal (pid_namespaces(7)).
fn advice(name: &str) -> String {
    format!(
        "bryo: the container has got the interrupt and goes on: twice more ends it at once, \
         bryo stop {name} ends it too\n"
    )
}
