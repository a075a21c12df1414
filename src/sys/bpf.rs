//! Programs that decide about devices: bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`.

use super::error::{Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the lower four bits, source in the upper.
    pub registers: u8,
    /// Offset of an access or a jump.
    pub offset: i16,
    /// Operand.
    pub operand: i32,
}

const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Groups below may have further ones; all have to allow.
const ALLOW_MULTI: u32 = 2;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// For `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: i64, attributes: &T) -> nix::Result<i64> {
    // SAFETY: the attributes are those of the command, valid for their size, and
    // what they point to outlives the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<T>(),
        )
    };
    Errno::result(ret)
}

/// Has `program` decide about the devices of the processes in a control group of
/// version 2 and below, for as long as that is there.
///
/// # Errors
/// EPERM without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, over the machine;
/// EINVAL from a kernel that does not do that.
pub fn attach_device_program(group: impl AsFd, program: &[Instruction]) -> Result<()> {
    let what = || format!("{} instructions about devices", program.len());
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(program.len())
            .map_err(|_| Errno::E2BIG)
            .call("bpf", what)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    let loaded = bpf(PROG_LOAD, &load).call("bpf", what)?;
    // SAFETY: on success the kernel returned a new descriptor that is ours.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded as i32) };
    let attach = Attach {
        target: group.as_fd().as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attach).call("bpf", what).map(drop)
}
