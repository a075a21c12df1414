//! Errors as people see them: what failed, and a hint what to do.

use crate::engine::attach::start_error;
use crate::runtime::{StartError, Step};
use crate::sys;
use nix::errno::Errno;
use std::path::Path;
use std::process::ExitCode;

/// Prints `error` with a hint, if there is one, and returns the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let start = start_error(error);
    let hint = start.and_then(hint).or_else(|| clone_hint(error));
    if let Some(hint) = hint.or_else(|| storage_hint(error)) {
        let mut lines = hint.lines();
        eprintln!("hint:  {}", lines.next().unwrap_or_default());
        for line in lines {
            eprintln!("       {line}");
        }
    }
    match start {
        Some(start) => ExitCode::from(u8::try_from(start.exit_code()).unwrap_or(125)),
        None => ExitCode::from(125),
    }
}

/// What to do about a failed start.
fn hint(error: &StartError) -> Option<String> {
    match (error.step, error.errno?) {
        (Step::Clone | Step::Map, errno) => namespace_hint(errno),
        (Step::Overlay, _) => Some(
            "overlay file systems for users need Linux 5.11 and a store on a local file system:\n\
             set BRYO_ROOT to a directory on a local disk"
                .into(),
        ),
        (Step::Execute, Errno::ENOENT) => Some(
            "the program, or the interpreter or loader that it names, is not in the image".into(),
        ),
        (Step::Execute, Errno::ENOEXEC) => {
            Some("the program is for another architecture, or a script without a #! line".into())
        }
        (Step::Execute, Errno::EACCES) => {
            Some("the file is a directory, lacks the x bit, or is on a noexec mount".into())
        }
        (Step::Credentials, Errno::EINVAL) => Some(
            "this id is not mapped into the container: with one id, --user of bryo run chooses it"
                .into(),
        ),
        (Step::Mount, Errno::ENOENT) => Some("the source of a mount must exist on the host".into()),
        _ => None,
    }
}

/// What to do if not even a plain process can be cloned.
fn clone_hint(error: &anyhow::Error) -> Option<String> {
    let mut calls = error.chain().filter_map(|e| e.downcast_ref::<sys::Error>());
    let failed = calls.find(|e| e.call == "clone3" && e.errno == Errno::ENOSYS)?;
    namespace_hint(failed.errno)
}

/// Why user namespaces are refused on this machine, by what it says itself.
pub fn namespace_hint(errno: Errno) -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |path: &str| read(path).trim().to_owned();
    match errno {
        Errno::ENOSPC | Errno::EUSERS => Some(format!(
            "the limit of user namespaces is reached (user.max_user_namespaces is {}; nesting\n\
             ends at 32). No disk is full. An administrator raises it with\n\
             sysctl -w user.max_user_namespaces=15000",
            value("/proc/sys/user/max_user_namespaces")
        )),
        Errno::EPERM | Errno::EACCES => {
            if value("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
                return Some(
                    "user namespaces are switched off for ordinary users. An administrator allows\n\
                     them with sysctl -w kernel.unprivileged_userns_clone=1"
                        .into(),
                );
            }
            if value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
                return Some(apparmor_hint());
            }
            Some(
                "this process may not make user namespaces: inside another container its seccomp\n\
                 profile forbids them, and in a chroot the kernel does"
                    .into(),
            )
        }
        Errno::EINVAL => Some("the kernel lacks a kind of namespace; Linux 5.11 has all".into()),
        Errno::ENOSYS => Some("clone3 is refused: Linux 5.3 has it, some sandboxes hide it".into()),
        _ => None,
    }
}

/// The AppArmor profile that lets this binary make user namespaces.
fn apparmor_hint() -> String {
    let this = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| Path::new("bryo").into());
    format!(
        "AppArmor allows user namespaces to programs with a profile alone. An administrator\n\
         writes this to /etc/apparmor.d/bryo and runs apparmor_parser -r /etc/apparmor.d/bryo:\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile bryo {} flags=(unconfined) {{\n\
         \x20 userns,\n\
         }}",
        this.display()
    )
}

/// What to do about a full or failing disk.
fn storage_hint(error: &anyhow::Error) -> Option<String> {
    let io = error.chain().find_map(|e| {
        let io = e
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        io.or_else(|| e.downcast_ref::<Errno>().map(|e| *e as i32))
    });
    match Errno::from_raw(io?) {
        Errno::ENOSPC | Errno::EDQUOT => Some(
            "the disk or your quota is full: bryo rmi and bryo rm make room, BRYO_ROOT moves the \
             store"
                .into(),
        ),
        Errno::EROFS => Some("set BRYO_ROOT to a directory that can be written".into()),
        _ => None,
    }
}

/// Prints what is less than was asked for.
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}
