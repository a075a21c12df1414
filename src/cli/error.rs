//! Errors as people see them: what failed, and a hint what to do.

use super::format::Unreadable;
use crate::engine::create::limits;
use crate::engine::ground::paths::{self, Unsafe};
use crate::engine::machine::room::{self, Lack};
use crate::engine::machine::{NamespaceLimits, remedy};
use crate::engine::supervise::attach::start_error;
use crate::engine::view::failure;
use crate::error;
use crate::image::registry::failure::Failure;
use crate::process::Reported;
use crate::runtime::{StartError, Step};
use crate::sys;
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Verbs by what docker's exit code is where they fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `run`: its exit code is the command's, and what is none has one that
    /// commands hardly have.
    Run,
    /// `create` and `update`, whose flags say at length what a container is: in
    /// docker the client reads them, which refuses wrong ones as it does unknown
    /// ones.
    Describing,
    /// All others.
    Other,
}

/// The exit code of a command line that is wrong before any verb looks at it: a
/// flag that there is not, or with a value that it does not take.
pub const WRONG_FLAG: u8 = 125;

/// The exit code of a template for one thing, as of `inspect`, that cannot be
/// understood.
const WRONG_TEMPLATE: u8 = 64;

/// Docker's exit code for a failure of a verb. There is no other place that
/// decides one.
pub fn exit_code(verb: Family, error: &anyhow::Error) -> u8 {
    use error::Kind::{Invalid, NotFound};
    if error.is::<Unreadable>() {
        return WRONG_TEMPLATE;
    }
    let kind = failure::kind(error);
    match (failure::is_of_command(error), kind, verb) {
        (true, NotFound, _) => 127,
        (true, _, _) => 126,
        (false, _, Family::Run) => 125,
        (false, Invalid, Family::Describing) => WRONG_FLAG,
        (false, _, _) => 1,
    }
}

/// Prints `error` with a hint, if there is one, unless a process of bryo's has
/// done so.
pub fn report(error: &anyhow::Error) {
    if error.is::<Reported>() {
        return;
    }
    eprintln!("error: {error:#}");
    let start = start_error(error);
    // First: the limits of namespaces are called as a full disk is.
    let hint = clone_hint(error).or_else(|| storage_hint(error));
    let hint = hint.or_else(|| start.and_then(self::hint));
    let hint = hint.or_else(|| {
        let unlimited = error.chain().any(|e| e.is::<limits::Unlimited>());
        unlimited.then(|| limits::advice().hint())
    });
    let hint = hint.or_else(|| {
        let unsafe_place = error.chain().any(|e| e.is::<Unsafe>());
        unsafe_place.then(|| {
            let cause = "bryo's sockets need a directory that nobody else can enter";
            remedy::bad_runtime_dir(cause).hint()
        })
    });
    let hint = hint.or_else(|| registry_hint(error));
    let hint = hint.or_else(|| errno_hint(start, error).map(str::to_owned));
    let hint = hint.or_else(|| refused_call(start, error));
    if let Some(hint) = hint {
        let mut lines = hint.lines();
        eprintln!("hint:  {}", lines.next().unwrap_or_default());
        for line in lines {
            eprintln!("       {line}");
        }
    }
}

/// Whether something that was named is not there.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    error::Kind::said(error) == Some(error::Kind::NotFound)
}

/// What to do about a failed start.
fn hint(error: &StartError) -> Option<String> {
    if error.step == Step::Limit {
        return Some(limits::advice().hint());
    }
    if error.step == Step::Unsupported {
        return Some(
            "leave it out of config.json: what bryo does not do is never passed over in silence"
                .into(),
        );
    }
    let limits = NamespaceLimits::read;
    // The page that executes the command is made before there is a process.
    let in_memory = error.text.contains("memfd_create");
    match (error.step, error.errno?) {
        (_, Errno::EACCES) if in_memory => Some(remedy::programs_in_memory().hint()),
        (Step::Clone | Step::Map, errno) if !in_memory => {
            remedy::namespaces(errno, &limits()).map(|advice| advice.hint())
        }
        // AppArmor lets the namespace be made and then forbids all in it.
        (Step::Identity | Step::Root | Step::Overlay, Errno::EPERM | Errno::EACCES)
            if limits().apparmor_restricts == Some(true) =>
        {
            Some(remedy::apparmor(&limits().program).hint())
        }
        (Step::Overlay, _) => Some(remedy::overlay(None).hint()),
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
        (Step::Credentials, Errno::EPERM) if error.text.contains("RLIMIT_") => Some(
            "a hard limit can only be lowered: ulimit -H -a shows those that bryo was started with"
                .into(),
        ),
        (Step::Protect, Errno::EINVAL | Errno::ERANGE) if error.text.contains("sysctl") => {
            Some("that is no value of this kernel parameter".into())
        }
        (Step::Mount, Errno::ENOENT) => Some("the source of a mount must exist on the host".into()),
        _ => None,
    }
}

/// What to do if not even a plain process can be cloned.
fn clone_hint(error: &anyhow::Error) -> Option<String> {
    let mut calls = error.chain().filter_map(|e| e.downcast_ref::<sys::Error>());
    let failed = calls.find(|e| e.call == "clone3" && e.errno == Errno::ENOSYS)?;
    remedy::namespaces(failed.errno, &NamespaceLimits::read()).map(|advice| advice.hint())
}

/// Where the store is, for hints.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Tells where the store is: hints name it.
pub fn store_is_at(root: &Path) {
    let _ = ROOT.set(root.to_owned());
}

/// What the kernel said. What reads a client's own files tells it in words.
fn errno(error: &anyhow::Error) -> Option<Errno> {
    error::errno(error).or_else(|| {
        let text = format!("{error:#}");
        let (_, number) = text.rsplit_once("(os error ")?;
        let (number, _) = number.split_once(')')?;
        Some(Errno::from_raw(number.parse().ok()?))
    })
}

/// What the kernel's word for it means here, where nothing better is known.
fn errno_hint(start: Option<&StartError>, error: &anyhow::Error) -> Option<&'static str> {
    let mounting = start.is_some_and(|start| start.step == Step::Mount);
    let said = start.and_then(|start| start.errno);
    Some(match said.or_else(|| errno(error))? {
        Errno::ENOENT => {
            "there is nothing of that name: see the path, which begins in the current directory \
             unless it starts with a slash"
        }
        Errno::ENOTDIR if mounting => {
            "a part of that path is a file in the container, or a directory is to be mounted on a \
             file"
        }
        Errno::ENOTDIR => "a part of that path is a file where a directory has to be",
        Errno::EISDIR => "that is a directory, and a file is wanted",
        Errno::EACCES => {
            "you may not: see the mode and owner of it and of the directories above (namei -l PATH)"
        }
        Errno::ENAMETOOLONG => "a name has 255 bytes at most, and a path 4095",
        Errno::ELOOP => "links on that path point to each other in a circle",
        Errno::EEXIST => "it is there already: remove it, or choose another name",
        Errno::ENXIO => "that is a socket, or a device or pipe with nobody at its other end",
        Errno::EBUSY => "something is mounted there, or somebody uses it",
        Errno::EMFILE | Errno::ENFILE => "too many files are open: ulimit -n says how many may be",
        Errno::EINVAL if mounting => {
            "an option that this file system does not know, or a file and a directory: what is \
             mounted and its place have to be of one kind"
        }
        _ => return None,
    })
}

/// What to do about a call that this kernel does not have, or that a sandbox
/// around bryo refuses; the error names it.
fn refused_call(start: Option<&StartError>, error: &anyhow::Error) -> Option<String> {
    let said = start.and_then(|start| start.errno);
    let errno = said.or_else(|| errno(error))?;
    // Files are refused by that name too, but not by a call of `sys`.
    let named = start.is_some() || error.chain().any(|e| e.is::<sys::Error>());
    if errno == Errno::EPERM && !named {
        return None;
    }
    remedy::refused_call(errno, &NamespaceLimits::read()).map(|advice| advice.hint())
}

/// What to do about a disk that is full or read-only.
fn storage_hint(error: &anyhow::Error) -> Option<String> {
    // Where the kernel has other limits of that name, and other hints.
    let limits = |step| {
        use Step::{Clone, Group, Identity, Join, Limit, Map, Network};
        matches!(
            step,
            Clone | Group | Identity | Join | Limit | Map | Network
        )
    };
    let text = format!("{error:#}");
    let said = match start_error(error) {
        Some(start) if limits(start.step) => errno(error),
        Some(start) => errno(error).or(start.errno),
        None => errno(error),
    };
    let lack = match said? {
        Errno::ENOSPC => Lack::Room,
        Errno::EDQUOT => Lack::Quota,
        Errno::EROFS => Lack::Writing,
        _ => return None,
    };
    let runtime = paths::runtime_place();
    Some(room::advice(&text, ROOT.get()?, Some(&runtime), lack).hint())
}

/// What to do about a registry that does not do what is wanted.
fn registry_hint(error: &anyhow::Error) -> Option<String> {
    let failure = error.chain().find_map(|e| e.downcast_ref::<Failure>())?;
    let hint = match (failure, failure.code()) {
        (_, Some(401 | 403)) => "log in with bryo login, or see whether the name is right",
        (_, Some(429)) => "who is logged in may often ask more: bryo login",
        (Failure::Untrusted(_), _) => {
            "if the registry has an authority of its own, put its certificate into \
             ~/.config/containers/certs.d/HOST:PORT/ca.crt; --tls-verify=false trusts anybody"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Prints what is less than was asked for.
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use anyhow::anyhow;

    #[test]
    fn exit_codes_are_of_verbs_and_kinds() {
        use Family::{Describing, Other, Run};
        for (kind, wanted) in [
            (Kind::Invalid, [125, 125, 1]),
            (Kind::NotFound, [125, 1, 1]),
            (Kind::Conflict, [125, 1, 1]),
            (Kind::AlreadySo, [125, 1, 1]),
            (Kind::NoSpace, [125, 1, 1]),
            (Kind::Internal, [125, 1, 1]),
        ] {
            let error = anyhow!(kind.says("x")).context("c");
            let codes = [Run, Describing, Other].map(|verb| exit_code(verb, &error));
            assert_eq!(codes, wanted, "{kind:?}");
        }
        let command = |errno| {
            let (step, errno, text) = (Step::Execute, Some(errno), "x".to_owned());
            let said = None;
            let error = anyhow!(StartError {
                step,
                errno,
                said,
                text
            });
            [Run, Describing, Other].map(|verb| exit_code(verb, &error))
        };
        assert_eq!(command(Errno::ENOENT), [127; 3]);
        assert_eq!(command(Errno::ENOTDIR), [127; 3]);
        assert_eq!(command(Errno::EACCES), [126; 3]);
        assert_eq!(command(Errno::ENOEXEC), [126; 3]);
    }
}
