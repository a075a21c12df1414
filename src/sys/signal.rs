//! Signals taken synchronously: every signal that can be passed on is blocked
//! and read from a signalfd(2).

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A descriptor that yields the process's signals.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks all signals but those of faults, and opens the descriptor.
    pub fn new() -> Result<Self> {
        let mut set = SigSet::all();
        for fault in [
            nix::sys::signal::SIGSEGV,
            nix::sys::signal::SIGBUS,
            nix::sys::signal::SIGILL,
            nix::sys::signal::SIGFPE,
            nix::sys::signal::SIGABRT,
            nix::sys::signal::SIGTRAP,
            nix::sys::signal::SIGSYS,
        ] {
            set.remove(fault);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None).call("sigprocmask", String::new)?;
        // SAFETY: the set is valid; a success is a new descriptor.
        let raw =
            unsafe { libc::signalfd(-1, set.as_ref(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        let raw = Errno::result(raw).call("signalfd", String::new)?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(SignalFd { fd })
    }

    /// The next pending signal number, if any.
    pub fn next(&self) -> Option<i32> {
        // SAFETY: signalfd_siginfo is plain data for which zero is valid.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = std::mem::size_of_val(&info);
        // SAFETY: the buffer is valid for `size` bytes.
        let n = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (n as usize == size).then_some(info.ssi_signo as i32)
    }
}

impl std::os::fd::AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the kernel keep the ends of children for who waits for them: whoever
/// started this process may have left SIGCHLD ignored, and then it does not
/// (wait(2), Notes).
pub fn await_children() {
    // SAFETY: restoring the default action needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Puts every signal back to its default action and unblocks all: what a
/// process expects at its start. A caller may have left any of them ignored
/// (nohup(1), a shell's background jobs, Python's SIGPIPE and SIGXFSZ), and
/// execve(2) keeps that and the mask. The two that the C library has for itself (nptl(7)),
/// and touches for nobody, are among them: hence the system call.
pub fn reset() -> Result<()> {
    // The kernel's `struct sigaction`: SIG_DFL, no flag, no restorer, an empty mask.
    let default = [0_u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the structure is as long as the kernel's; restoring the default action
        // needs no handler. Those that cannot be set are refused.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                std::mem::size_of::<u64>(),
            )
        };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .call("sigprocmask", String::new)
}

/// Sends signal number `number` (real-time ones too) to process `pid`:
/// kill(2).
pub fn kill(pid: nix::unistd::Pid, number: i32) -> Result<()> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::kill(pid.as_raw(), number) };
    Errno::result(ret)
        .map(drop)
        .call("kill", || format!("{pid}, {number}"))
}

/// A file that goes when this process is ended by SIGTERM, SIGINT or SIGHUP,
/// or when this is dropped. There can be one at a time.
#[derive(Debug)]
pub struct RemovedBySignal {
    path: std::path::PathBuf,
}

/// What the handler removes: a path that ends in NUL.
static REMOVED: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn remove(signal: i32) {
    let path = REMOVED.swap(std::ptr::null_mut(), Ordering::SeqCst);
    if !path.is_null() {
        // SAFETY: the path was leaked by who stored it; unlink(2) may be called
        // by handlers (signal-safety(7)).
        unsafe { libc::unlink(path) };
    }
    // SAFETY: both may be called by handlers. The signal, blocked while its
    // handler runs, then ends the process by its default action.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

impl RemovedBySignal {
    /// From here on; the file need not be there yet.
    ///
    /// # Errors
    /// The path holds a NUL byte.
    pub fn new(path: std::path::PathBuf) -> std::io::Result<RemovedBySignal> {
        let text = CString::new(path.as_os_str().as_bytes())?;
        REMOVED.store(text.into_raw(), Ordering::SeqCst);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            let handler = remove as extern "C" fn(i32);
            // SAFETY: the handler does nothing that handlers may not.
            let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
            if before == libc::SIG_IGN {
                // SAFETY: what was ignored (nohup(1)) stays so.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
        }
        Ok(RemovedBySignal { path })
    }

    /// Where the file is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for RemovedBySignal {
    fn drop(&mut self) {
        REMOVED.store(std::ptr::null_mut(), Ordering::SeqCst);
        let _ = std::fs::remove_file(&self.path);
    }
}
