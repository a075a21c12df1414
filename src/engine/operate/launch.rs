//! Starting a container that is created: forks its supervisor, and stays
//! attached to it or not.

use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::control::WantedStreams;
use crate::engine::ground::activation::Sockets;
use crate::engine::ground::pump::Pump;
use crate::engine::supervise::attach::{self, Attachment, End, terminal_settings};
use crate::engine::supervise::supervisor::Supervisor;
use crate::sys::channel::Channel;
use crate::sys::clone::{Forked, Parent, clone3};
use crate::sys::fd::close_inherited;
use crate::sys::signal::SignalFd;
use crate::sys::socket;
use anyhow::{Context, Result};
use oci_spec::runtime::Spec;

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
    warn: &dyn Fn(&str),
) -> Result<End> {
    let keeping = &container.record.keeping;
    let wanted = how.attach;
    let input = wanted.is_some_and(|w| w.input) && keeping.interactive;
    let terminal = match keeping.tty && input {
        true => Some(terminal_settings()?),
        false => None,
    };
    let tty = keeping.tty;
    // Without a log and a terminal the caller carries its streams alone, unless
    // it may be started again, to other pipes.
    let direct = how.foreground && !tty && !keeping.is_logged() && !container.may_come_again();
    let (pump, carried) = match direct {
        true => {
            let (pump, carried) = Pump::new(input)?;
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
    let signals = SignalFd::new()?;
    match clone3(0, Parent::Caller).context("start the supervisor")? {
        Forked::Child(process) => {
            drop((ours, data, pump));
            if !how.foreground {
                let others = how.inherited.iter().filter(|fd| !how.sockets.has(**fd));
                close_inherited(&process, &others.copied().collect::<Vec<_>>());
            }
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
        Forked::Parent(_) => {
            drop((theirs, attached, carried, lock));
            let attachment = Attachment {
                control: ours,
                data,
                pump,
                signals,
                input,
                tty,
                terminal,
                detach_keys: how.detach_keys.clone(),
                keep_signals: how.keep_signals,
                stays: wanted.is_some(),
            };
            attach::follow(attachment, warn)
        }
    }
}
