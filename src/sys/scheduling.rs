//! What processors, disks and memory a process gets, and which kind of system it
//! sees. All of it is inherited and survives execve(2).

use super::error::{Context, Result};
use nix::errno::Errno;

/// How a process is scheduled (`struct sched_attr`, sched_setattr(2)).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Bytes of this structure; set by [`set_scheduling`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value, -20 to 19.
    pub nice: i32,
    /// Priority of `SCHED_FIFO` and `SCHED_RR`, 1 to 99.
    pub priority: u32,
    /// Nanoseconds of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Likewise.
    pub deadline: u64,
    /// Likewise.
    pub period: u64,
}

fn call(name: &'static str, number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<()> {
    let [a, b, c] = arguments;
    // SAFETY: who calls this gives pointers that live as long as the call, of the
    // sizes that the call is told, which it only reads.
    let ret = unsafe { libc::syscall(number, a, b, c) };
    Errno::result(ret).map(drop).call(name, String::new)
}

/// Sets the calling thread's scheduling: sched_setattr(2).
///
/// # Errors
/// EPERM for more than it may have, EINVAL for values that are none.
pub fn set_scheduling(scheduling: &Scheduling) -> Result<()> {
    let full = Scheduling {
        size: size_of::<Scheduling>() as u32,
        ..*scheduling
    };
    let at = &raw const full as libc::c_long;
    call("sched_setattr", libc::SYS_sched_setattr, [0, at, 0])
}

/// Sets the processors that the calling thread may run on, a bit each:
/// sched_setaffinity(2).
///
/// # Errors
/// EINVAL where none of them is there for it.
pub fn set_affinity(processors: &[u64]) -> Result<()> {
    let bytes = size_of_val(processors) as libc::c_long;
    let at = processors.as_ptr() as libc::c_long;
    call(
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        [0, bytes, at],
    )
}

/// Sets the calling thread's priority at disks, class and level as ioprio_set(2)
/// has them in one number.
///
/// # Errors
/// EPERM for more than it may have.
pub fn set_io_priority(priority: u32) -> Result<()> {
    const PROCESS: libc::c_long = 1;
    let arguments = [PROCESS, 0, priority.into()];
    call("ioprio_set", libc::SYS_ioprio_set, arguments)
}

/// Sets where the calling thread's memory is, `MPOL_*` with its flags and a bit for
/// each node: set_mempolicy(2).
///
/// # Errors
/// EINVAL for nodes that are not there; ENOSYS of a kernel without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let at = match nodes {
        [] => 0,
        nodes => nodes.as_ptr() as libc::c_long,
    };
    // The kernel reads one bit less than it is told.
    let bits = match nodes.len() as libc::c_long * 64 {
        0 => 0,
        bits => bits + 1,
    };
    let arguments = [mode.into(), at, bits];
    call("set_mempolicy", libc::SYS_set_mempolicy, arguments)
}

/// Sets the kind of system that the process sees: personality(2).
///
/// # Errors
/// What the kernel does not have.
pub fn set_personality(domain: u32) -> Result<()> {
    let arguments = [domain.into(), 0, 0];
    call("personality", libc::SYS_personality, arguments)
}
