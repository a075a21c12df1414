//! Installing seccomp filters: seccomp(2).

use super::error::{Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a jump's condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Installs `program` for the calling thread with `SECCOMP_FILTER_FLAG_*`
/// bits `flags`; returns what the kernel returns (a listener descriptor with
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, else 0).
///
/// # Errors
/// EACCES without no_new_privs or CAP_SYS_ADMIN; EINVAL for a bad program.
pub fn install(program: &[Instruction], flags: u64) -> Result<i32> {
    let len = u16::try_from(program.len())
        .map_err(|_| Errno::E2BIG)
        .call("seccomp", || format!("{} instructions", program.len()))?;
    let program = Program {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: `program` points to `len` instructions that outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    Errno::result(ret)
        .map(|fd| fd as i32)
        .call("seccomp", || format!("{len} instructions"))
}

/// Installs `program` for good: with no_new_privs where the process has no
/// capability that does without, if it may have that.
///
/// # Errors
/// EACCES if it may not; EINVAL for a bad program.
pub fn confine(program: &[Instruction], no_new_privs: bool) -> Result<()> {
    match install(program, 0) {
        Err(e) if e.errno == Errno::EACCES && no_new_privs => {
            nix::sys::prctl::set_no_new_privs().call("prctl", String::new)?;
            install(program, 0).map(drop)
        }
        other => other.map(drop),
    }
}

/// Installs `program` with `SECCOMP_FILTER_FLAG_*` bits `flags` and a listener
/// that answers its `RET_USER_NOTIF`s (seccomp_unotify(2)). A task may have one
/// listener alone.
///
/// # Errors
/// As [`install`]; EBUSY when a filter in force has a listener already.
pub fn install_with_listener(program: &[Instruction], flags: u64) -> Result<OwnedFd> {
    const WAIT_KILLABLE_RECV: u64 = 1 << 5;
    let listener = flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With the flag (Linux 5.19) a signal does not make the call start over.
    let raw = match install(program, listener | WAIT_KILLABLE_RECV) {
        Err(e) if e.errno == Errno::EINVAL => install(program, listener)?,
        other => other?,
    };
    // SAFETY: with a listener the kernel returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The side of a filter that answers.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A system call that waits for an answer (`struct seccomp_notif`).
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Names the call until it is answered.
    pub id: u64,
    /// The thread that made it, in the PID namespace of the listener's reader.
    pub tid: i32,
    /// Number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*` of the ABI it was made by.
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// An answer to a [`Notification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The call returns this.
    Return(i64),
    /// The call fails.
    Fail(Errno),
    /// The kernel executes the call.
    Continue,
}

impl Listener {
    /// Takes the descriptor that [`install_with_listener`] returned.
    pub fn new(fd: OwnedFd) -> Listener {
        // Who asks hands its processor to who answers (Linux 6.6); older kernels
        // answer a little later.
        const SYNC_WAKE_UP: libc::c_ulong = 1;
        let request = libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS;
        // SAFETY: the argument is a plain number.
        unsafe { libc::ioctl(fd.as_raw_fd(), request, SYNC_WAKE_UP) };
        Listener(fd)
    }

    /// The next call that waits.
    ///
    /// # Errors
    /// ENOENT when the thread was killed meanwhile; EINTR.
    pub fn receive(&self) -> Result<Notification> {
        // SAFETY: plain data; the kernel wants it zeroed.
        let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the kernel fills in a seccomp_notif.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut notif) };
        Errno::result(ret).call("ioctl", || "SECCOMP_IOCTL_NOTIF_RECV")?;
        Ok(Notification {
            id: notif.id,
            tid: notif.pid as i32,
            number: notif.data.nr,
            arch: notif.data.arch,
            args: notif.data.args,
        })
    }

    /// Whether the call still waits: what was looked up by its thread's
    /// number before was about that thread.
    pub fn is_valid(&self, id: u64) -> bool {
        let request = libc::SECCOMP_IOCTL_NOTIF_ID_VALID;
        // SAFETY: the kernel reads a u64.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const id) };
        ret == 0
    }

    /// Answers a call. One that is gone by now needs no answer.
    pub fn answer(&self, id: u64, answer: Answer) {
        let (val, error, flags) = match answer {
            Answer::Return(value) => (value, 0, 0),
            Answer::Fail(errno) => (0, -(errno as i32), 0),
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        };
        let response = libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: the kernel reads a seccomp_notif_resp.
        unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const response) };
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
