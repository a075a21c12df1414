//! Credentials: capability sets as bit masks, and the session keyring.

use super::error::{Context, Result};
use nix::errno::Errno;

/// Capability sets of a thread, one bit per capability number
/// (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What execve(2) may ever grant.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What the thread may make effective.
    pub permitted: u64,
    /// What files may keep across execve(2).
    pub inheritable: u64,
    /// What is kept across execve(2) without root.
    pub ambient: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn prctl(option: i32, a: u64, b: u64) -> nix::Result<i32> {
    // SAFETY: the options used here take plain integers.
    let ret = unsafe { libc::prctl(option, a, b, 0, 0) };
    Errno::result(ret)
}

/// Drops from the bounding set all that is not in `keep`. Ends at the first
/// number that the kernel does not know.
///
/// # Errors
/// EPERM without CAP_SETPCAP in the thread's user namespace.
pub fn limit_bounding(keep: u64) -> Result<()> {
    for cap in 0..64u64 {
        if keep & (1 << cap) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, cap, 0) {
            Err(Errno::EINVAL) => break,
            other => other.call("prctl", || format!("PR_CAPBSET_DROP, {cap}"))?,
        };
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets at once: capset(2).
pub fn set_capabilities(caps: &Capabilities) -> Result<()> {
    let mut header = CapHeader {
        version: LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (caps.effective >> shift) as u32,
        permitted: (caps.permitted >> shift) as u32,
        inheritable: (caps.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes a header and two data structs, both valid here.
    let ret = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(ret).map(drop).call("capset", || {
        format!(
            "e {:#x}, p {:#x}, i {:#x}",
            caps.effective, caps.permitted, caps.inheritable
        )
    })
}

/// Raises each capability of `set` in the ambient set.
pub fn raise_ambient(set: u64) -> Result<()> {
    for cap in (0..64u64).filter(|c| set & (1 << c) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, cap)
            .call("prctl", || format!("PR_CAP_AMBIENT_RAISE, {cap}"))?;
    }
    Ok(())
}

/// The highest capability number that this kernel knows.
pub fn last_capability() -> u32 {
    let known = |cap: u64| prctl(libc::PR_CAPBSET_READ, cap, 0).is_ok();
    // CAP_CHECKPOINT_RESTORE, the last one of Linux 5.9 and since.
    let mut last = 40;
    while last > 0 && !known(last) {
        last -= 1;
    }
    while last < 63 && known(last + 1) {
        last += 1;
    }
    last as u32
}

/// Leaves the caller's session keyring for an empty one of our own:
/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`.
///
/// # Errors
/// EDQUOT when the user's number of keys is used up, ENOSYS without keyrings.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    Errno::result(ret)
        .map(drop)
        .call("keyctl", || "KEYCTL_JOIN_SESSION_KEYRING")
}
