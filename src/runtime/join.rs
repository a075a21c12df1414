//! A further process in a container that runs: `exec`.

use super::init::{give_up, open_terminal};
use super::message::{StartError, Step};
use super::process::ProcessPlan;
use super::start::{Started, by_helper, hear};
use super::stdio::Stdio;
use crate::error::refusal;
use crate::sys;
use crate::sys::channel::Channel;
use crate::sys::clone::{CloneFlags, NewProcess, Parent, clone3_into};
use anyhow::{Context, anyhow};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags as Namespaces;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Starts `process` in the namespaces `kinds` (`CLONE_NEW*`) of the process
/// `target` and the control group `group`, with `stdio` as
/// descriptors 0 to 2 unless it has a terminal.
/// The caller must have one thread; the process ends with it.
///
/// # Errors
/// The first step that failed; no process is left then.
pub fn join(
    target: &OwnedFd,
    kinds: CloneFlags,
    process: &ProcessPlan,
    stdio: &Stdio,
    group: Option<BorrowedFd<'_>>,
) -> Result<Started, StartError> {
    let failed = |e: sys::Error| StartError::new(Step::Join, &e.into());
    let page = process.page(false).map_err(failed)?;
    let (ours, theirs) = Channel::pair().map_err(failed)?;
    // In the child: a copy of our end would hide this process's death from it.
    let ours = Cell::new(Some(ours));
    // Where namespaces of control groups are borders (nsdelegate), nobody can
    // be cloned across one: the command joins that namespace when it is there.
    let later = match group {
        Some(_) => kinds & libc::CLONE_NEWCGROUP as CloneFlags,
        None => 0,
    };
    let kinds = kinds & !later;
    let enter = || -> anyhow::Result<()> {
        // By the host's own /proc, while it is in sight and ours to write to.
        process.set_oom_score()?;
        process.treatment.settle(false)?;
        // From here on processes of the container could see this one.
        prctl::set_dumpable(false).context("set dumpable")?;
        let kinds = Namespaces::from_bits_retain(kinds as i32);
        nix::sched::setns(target, kinds).context("setns")
    };
    let child = by_helper(
        || {
            enter().map_err(|e| StartError::new(Step::Join, &e))?;
            clone3_into(0, Parent::Grandparent, group).map_err(failed)
        },
        |new| {
            drop(ours.take());
            if later != 0
                && let Err(e) = nix::sched::setns(target, Namespaces::CLONE_NEWCGROUP)
            {
                give_up(&theirs, Step::Join, &anyhow!(e).context("setns"));
            }
            run(&new, process, stdio, &theirs, &page)
        },
    )?;
    drop(theirs);
    let lost = || StartError::new(Step::Join, &refusal!(Internal, "no channel"));
    hear(child, &ours.take().ok_or_else(lost)?, process, None)
}

/// Becomes the command of `process` in a process that is where it belongs.
pub(super) fn run(
    new: &NewProcess,
    process: &ProcessPlan,
    stdio: &Stdio,
    channel: &Channel,
    page: &OwnedFd,
) -> ! {
    let prepare = || -> anyhow::Result<()> {
        stdio.place(new)?;
        prctl::set_pdeathsig(Signal::SIGKILL).context("set parent-death signal")?;
        nix::unistd::setsid().context("setsid")?;
        sys::signal::reset()?;
        nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
        process.treatment.settle(true)?;
        // A kernel without keyrings, or a quota that is used up: as at the
        // container's start.
        let _ = sys::cred::new_session_keyring();
        Ok(())
    };
    if let Err(e) = prepare() {
        give_up(channel, Step::Identity, &e);
    }
    if let Some(size) = process.terminal {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let terminal = nix::fcntl::open("/", flags, Mode::empty())
            .map_err(|e| anyhow!(e))
            .and_then(|root| open_terminal(new, &root, size, process, channel, false));
        if let Err(e) = terminal {
            give_up(channel, Step::Device, &e);
        }
    }
    let (step, error) = process.execute(new, page, channel, None);
    give_up(channel, step, &error)
}
