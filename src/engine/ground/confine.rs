//! Verbs that read what strangers wrote go on in a process made for it: it has
//! limits that the kernel keeps, and where it asks nobody elsewhere, it writes
//! to the store alone.

use crate::image::budget::Budget;
use crate::image::session::private_dir;
use crate::image::store::Store;
use crate::process;
use crate::sys::clone::{Forked, Parent, clone3, exit_now};
use crate::sys::landlock::{EXECUTE, Ruleset, WRITE};
use crate::sys::seccomp::{self, Instruction};
use anyhow::{Context, Result};
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
    /// The same, and what comes is handed on to another registry or to a file,
    /// of any size: the time that takes has no bound.
    Transfers,
}

/// Lets the verb go on in a process of its own, with a budget: this call
/// returns there alone. The caller, which must have one thread, waits for that
/// and ends as it does.
///
/// # Errors
/// In the caller: no process can be made, or it was killed. In the new one: it
/// cannot be confined.
pub fn go_on_confined(store: &Store, budget: &Budget, reach: Reach) -> Result<()> {
    go_on(|| confine(store, budget, reach))
}

/// The same for a verb that has to do with registries alone.
///
/// # Errors
/// As of [`go_on_confined`].
pub fn go_on_limited(budget: &Budget) -> Result<()> {
    go_on(|| limit_for(budget, Reach::Registries))
}

fn go_on(confine: impl FnOnce() -> Result<()>) -> Result<()> {
    let parent = getpid();
    let child = match clone3(0, Parent::Caller).context("start a process")? {
        Forked::Parent(child) => child,
        Forked::Child(_) => {
            confine()?;
            if getppid() != parent {
                exit_now(1);
            }
            return Ok(());
        }
    };
    let status = waitpid(child.pid, None).context("wait")?;
    if let WaitStatus::Signaled(
        _,
        signal @ (Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP),
        _,
    ) = status
    {
        // As if this process had been meant.
        let _ = raise(signal);
    }
    exit_now(process::code(status)?)
}

/// Confines this process, which was made for it and does not outlive who made
/// it.
///
/// # Errors
/// The kernel refuses, or the store cannot be opened.
pub fn confine(store: &Store, budget: &Budget, reach: Reach) -> Result<()> {
    limit_for(budget, reach)?;
    if reach == Reach::Files {
        let root = store.root();
        private_dir(root)?;
        let root = File::open(root).with_context(|| format!("open {}", root.display()))?;
        write_only_to(&[root.as_fd()])?;
    }
    Ok(())
}

/// The limits of what a process has to do, and its end with its maker's.
fn limit_for(budget: &Budget, reach: Reach) -> Result<()> {
    // Who writes files of the user's removes what is not finished.
    let end = match reach {
        Reach::Transfers => Signal::SIGTERM,
        Reach::Files | Reach::Registries => Signal::SIGKILL,
    };
    prctl::set_pdeathsig(end).context("set parent-death signal")?;
    match reach {
        Reach::Transfers => limit_memory(budget)?,
        Reach::Files | Reach::Registries => limit(budget)?,
    }
    Ok(())
}

/// Sets the limits that the kernel keeps for this process, which was made for
/// it: no dump of its memory, a bound of that, and of the processor's time, which
/// grows with what is read or written ([`Earning`](crate::image::layer::Earning)).
///
/// # Errors
/// The kernel refuses.
pub fn limit(budget: &Budget) -> Result<()> {
    limit_memory(budget)?;
    // More is allowed with what is read; a limit of the user's own stays.
    let (soft, hard) = getrlimit(Resource::RLIMIT_CPU).context("limit of processor time")?;
    if let (Some(seconds), RLIM_INFINITY) = (budget.seconds(0), soft) {
        setrlimit(Resource::RLIMIT_CPU, seconds.min(hard), hard).context("limit processor time")?;
    }
    Ok(())
}

fn limit_memory(budget: &Budget) -> Result<()> {
    // A limit of the user's own may be lower.
    let limit = |what, most: u64| -> Result<()> {
        let (soft, hard) = getrlimit(what)?;
        setrlimit(what, most.min(soft), most.min(hard)).context("limit what a process may use")
    };
    limit(Resource::RLIMIT_CORE, 0)?;
    if *budget != Budget::UNLIMITED {
        limit(Resource::RLIMIT_DATA, MEMORY)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::landlock;
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    #[test]
    fn who_reads_archives_writes_to_the_store_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, "before").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let (inside, outside) = (&inside, &outside);
            scope.spawn(move || {
                let root = File::open(inside).unwrap();
                write_only_to(&[root.as_fd()]).unwrap();
                fs::create_dir(inside.join("d")).unwrap();
                fs::write(inside.join("d/f"), "x").unwrap();
                fs::rename(inside.join("d/f"), inside.join("g")).unwrap();
                fs::remove_dir(inside.join("d")).unwrap();
                // What is read is chosen by the user.
                assert_eq!(fs::read_to_string(outside).unwrap(), "before");
                let denied = ErrorKind::PermissionDenied;
                assert_eq!(UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(), denied);
                let tcp = std::net::TcpStream::connect(address);
                assert_eq!(tcp.unwrap_err().kind(), denied);
                assert_eq!(UnixStream::pair().unwrap_err().kind(), denied);
                assert!(Command::new("/bin/true").status().is_err());
                assert!(nix::unistd::chroot(inside).is_err());
                assert!(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_err());
                if landlock::version().is_some_and(|version| version > 1) {
                    let written = fs::write(outside, "");
                    assert_eq!(written.unwrap_err().kind(), denied);
                    assert!(fs::remove_file(outside).is_err());
                    assert!(fs::rename(inside.join("g"), dir_of(outside).join("g")).is_err());
                    assert!(fs::write(dir_of(outside).join("new"), "").is_err());
                }
            });
        });
        assert_eq!(fs::read_to_string(&outside).unwrap(), "before");
    }

    fn dir_of(path: &std::path::Path) -> &std::path::Path {
        path.parent().unwrap()
    }
}
