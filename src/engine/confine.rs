//! Verbs that read what strangers wrote go on in a process made for it: it has
//! limits that the kernel keeps, and where it asks nobody elsewhere, it writes
//! to the store alone.

use crate::error;
use crate::image::budget::Budget;
use crate::image::session::private_dir;
use crate::image::store::Store;
use crate::sys::clone::{Forked, Parent, clone3, exit_now};
use crate::sys::landlock::{EXECUTE, Ruleset, WRITE};
use crate::sys::seccomp::{self, Instruction};
use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{getpid, getppid};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// The filter (`load.json`): what changes other processes, mounts or asks the
/// network.
static LOAD: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/load.rs"));

/// For the generated code: short.
const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Bytes of memory that the process may have for itself.
const MEMORY: u64 = 4 << 30;

/// What the process has to do beside writing to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing but to read files.
    Files,
    /// It asks registries, and runs the user's programs for credentials.
    Registries,
}

/// Lets the verb go on in a process of its own, with a budget: this call
/// returns there alone. The caller, which must have one thread, waits for that
/// and ends as it does.
///
/// # Errors
/// In the caller: no process can be made. In the new one: it cannot be
/// confined. In the caller also when the processor time was used up.
pub fn go_on_confined(store: &Store, budget: &Budget, reach: Reach) -> Result<()> {
    let parent = getpid();
    let child = match clone3(0, Parent::Caller).context("start a process")? {
        Forked::Parent(child) => child,
        Forked::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL).context("set parent-death signal")?;
            if getppid() != parent {
                exit_now(1);
            }
            return confine(store, budget, reach);
        }
    };
    match waitpid(child.pid, None).context("wait")? {
        WaitStatus::Exited(_, code) => exit_now(code),
        WaitStatus::Signaled(_, Signal::SIGXCPU, _) => bail!(
            "it takes more of the processor's time than is likely: if it is to be trusted, \
             --unlimited allows any"
        ),
        WaitStatus::Signaled(_, signal, _) => {
            // As if this process had been meant.
            let _ = raise(signal);
            bail!(error::Kind::Internal.says(format!("a process of bryo's was killed ({signal})")))
        }
        other => bail!(
            error::Kind::Internal.says(format!("a process of bryo's ended strangely ({other:?})"))
        ),
    }
}

/// Confines this process, which was made for it.
fn confine(store: &Store, budget: &Budget, reach: Reach) -> Result<()> {
    // A limit of the user's own may be lower.
    let limit = |what, most: u64| -> Result<()> {
        let (soft, hard) = getrlimit(what)?;
        setrlimit(what, most.min(soft), most.min(hard)).context("limit what a process may use")
    };
    limit(Resource::RLIMIT_CORE, 0)?;
    if *budget != Budget::UNLIMITED {
        limit(Resource::RLIMIT_DATA, MEMORY)?;
    }
    // More is allowed with what is read; a limit of the user's own stays.
    let (soft, hard) = getrlimit(Resource::RLIMIT_CPU).context("limit of processor time")?;
    if let (Some(seconds), RLIM_INFINITY) = (budget.seconds(0), soft) {
        setrlimit(Resource::RLIMIT_CPU, seconds.min(hard), hard).context("limit processor time")?;
    }
    if reach == Reach::Files {
        let root = store.root();
        private_dir(root)?;
        let root = File::open(root).with_context(|| format!("open {}", root.display()))?;
        write_only_to(&[root.as_fd()])?;
    }
    Ok(())
}

/// From here on this process changes nothing but what is below these
/// directories, executes nothing, and asks nobody. Where the kernel has no
/// Landlock, it is not kept from writing elsewhere.
///
/// # Errors
/// The kernel refuses.
pub fn write_only_to(directories: &[BorrowedFd]) -> Result<()> {
    prctl::set_no_new_privs().context("set no_new_privs")?;
    if let Some(rules) = Ruleset::new(WRITE | EXECUTE)? {
        for directory in directories {
            rules.allow(directory, WRITE)?;
        }
        rules.enforce()?;
    }
    seccomp::install(LOAD, 0)?;
    Ok(())
}
