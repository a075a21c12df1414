//! Making processes.

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Kernel namespaces and other flags of [`clone3`](https://man7.org/linux/man-pages/man2/clone3.2.html).
pub type CloneFlags = u64;

/// Linux 5.7; the libc crate's constant does not fit its type.
const CLONE_INTO_CGROUP: CloneFlags = 1 << 33;

/// Proof that this process was made by [`clone3`] for something that it ends
/// with: it has one thread, and the descriptors of its maker that it closes or
/// replaces are copies, which nobody else here uses.
#[derive(Debug)]
pub struct NewProcess(PhantomData<*const ()>);

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child(NewProcess),
    /// The caller, with the new process.
    Parent(Child),
}

/// A child of this process, held by pid and by descriptor.
#[derive(Debug)]
pub struct Child {
    /// Process id in the caller's PID namespace.
    pub pid: Pid,
    /// A pidfd of the child: poll it for the end, signal through it.
    pub pidfd: OwnedFd,
}

/// How a clone's parent is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller; it gets SIGCHLD.
    Caller,
    /// The caller's own parent (`CLONE_PARENT`).
    Grandparent,
}

/// Clones the process (its memory copied) into new namespaces.
///
/// The child is a full copy, as after fork(2), but that nobody sees the
/// caller's command line and environment in it (see [`title`](super::title)).
/// A caller with other threads gets one by fork(3), which leaves the allocator
/// usable, if it asks for nothing but a process.
///
/// # Errors
/// EINVAL if a caller with other threads asks for more. EPERM where user namespaces are refused, ENOSPC or EUSERS where their
/// number is limited, EINVAL for flags that the kernel does not know.
pub fn clone3(namespaces: CloneFlags, parent: Parent) -> Result<Forked> {
    clone3_into(namespaces, parent, None)
}

/// As [`clone3`], into the control group of version 2 that `group` is the
/// directory of (Linux 5.7).
///
/// # Errors
/// As of clone3; EACCES where the caller may not move processes to the group
/// from its own.
pub fn clone3_into(
    namespaces: CloneFlags,
    parent: Parent,
    group: Option<BorrowedFd<'_>>,
) -> Result<Forked> {
    if !is_alone() {
        if namespaces != 0 || parent != Parent::Caller || group.is_some() {
            return Err(Errno::EINVAL).call("clone3", || "of a process with other threads");
        }
        return fork();
    }
    let mut pidfd: i32 = -1;
    let mut args = libc::clone_args {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    if parent == Parent::Grandparent {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0;
    }
    // SAFETY: `args` is valid for its size and outlives the call; without
    // CLONE_VM the child has its own copy of all memory, on the same stack.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    let pid = Errno::result(ret).call("clone3", || format!("{namespaces:#x}"))?;
    if pid == 0 {
        return Ok(Forked::Child(NewProcess::begin()));
    }
    // SAFETY: on success the kernel stored a new descriptor that is ours.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent(Child {
        pid: Pid::from_raw(pid as i32),
        pidfd,
    }))
}

/// Ends the process at once: no destructors, no atexit handlers, no flush.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

impl NewProcess {
    fn begin() -> NewProcess {
        super::title::hide();
        NewProcess(PhantomData)
    }
}

/// A child of a process with other threads.
fn fork() -> Result<Forked> {
    // SAFETY: the C library's own locks are free in the child; it has the
    // calling thread alone.
    let pid = unsafe { libc::fork() };
    match Errno::result(pid).call("fork", String::new)? {
        0 => Ok(Forked::Child(NewProcess::begin())),
        pid => {
            let pid = Pid::from_raw(pid);
            // Nobody has waited for it yet: the number is its own.
            let pidfd = super::pidfd::open(pid)?;
            Ok(Forked::Parent(Child { pid, pidfd }))
        }
    }
}

/// Whether this process has no other threads: the kernel says so of one that
/// asks for a thread group of its own (unshare(2), `CLONE_THREAD`).
fn is_alone() -> bool {
    // SAFETY: no pointers; where it succeeds, nothing has changed.
    let ret = unsafe { libc::unshare(libc::CLONE_THREAD) };
    match Errno::result(ret) {
        Ok(_) => true,
        Err(Errno::EINVAL) => false,
        // A filter in between.
        Err(_) => std::fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.count()) == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};

    /// As the threads of this test's own runner are.
    #[test]
    fn a_process_with_threads_makes_one_without() {
        assert!(!is_alone());
        let refused = clone3(libc::CLONE_NEWUSER as u64, Parent::Caller).unwrap_err();
        assert_eq!(refused.errno, Errno::EINVAL);
        match clone3(0, Parent::Caller).unwrap() {
            Forked::Child(_) => exit_now(if is_alone() { 7 } else { 8 }),
            Forked::Parent(child) => {
                let status = waitpid(child.pid, None).unwrap();
                assert_eq!(status, WaitStatus::Exited(child.pid, 7));
            }
        }
    }
}
