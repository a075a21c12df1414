//! Installing seccomp filters: seccomp(2).

use super::error::{Context, Result};
use nix::errno::Errno;

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
