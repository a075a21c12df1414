//! `bryo-idmap`: writes the id maps of a user namespace for somebody who may
//! not do so himself. It carries the file capabilities CAP_SETUID and
//! CAP_SETGID, so all that its caller can choose is hostile.
//!
//! The caller chooses: the two arguments ([`super::request`]), standard input,
//! which has to be a pidfd, the environment, which is not looked at, and the
//! moment at which he or the target does something else. The administrator
//! chooses: `/etc/passwd`, `/etc/subuid`, `/etc/subgid`, and what `/proc` is.
//!
//! A map is written only if the process behind the pidfd is the caller's by
//! all its ids and is in a user namespace that the caller made right below
//! the one that both are in. Capabilities are effective only while the three
//! files of the target are opened and written to; the kernel itself then
//! demands that the namespace has no map yet.

use super::grant::Grant;
use super::request::Request;
use super::{IdMap, lines, subid};
use crate::sys::{ns, pidfd};
use anyhow::{Context, Result, bail, ensure};
use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{getegid, geteuid, getgid, getuid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

/// The file that grants users.
pub const SUBUID: &str = "/etc/subuid";
/// The file that grants groups.
pub const SUBGID: &str = "/etc/subgid";
/// Longest of the administrator's files that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Does what the arguments ask for, or says why not.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening.
            let _ = writeln!(std::io::stderr(), "bryo-idmap: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    shed()?;
    let arguments: Vec<Vec<u8>> = std::env::args_os()
        .skip(1)
        .take(3)
        .map(OsStringExt::into_vec)
        .collect();
    let request = Request::parse(&arguments)?;
    let stdin = std::io::stdin();
    let target = Target::open(stdin.as_fd())?;

    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let nsswitch = trusted("/etc/nsswitch.conf")?;
    if let Some(source) = subid::source(&String::from_utf8_lossy(&nsswitch)) {
        bail!("/etc/nsswitch.conf: subordinate ids come from {source}, not from files");
    }
    let name = subid::login_name(&trusted("/etc/passwd")?, uid);
    let grant = |file, own| -> Result<Grant> {
        Ok(Grant::of(file, &trusted(file)?, name.as_deref(), uid, own))
    };
    grant(SUBUID, uid)?.check(&request.uids)?;
    let groups_granted = grant(SUBGID, gid)?.check(&request.gids)?;
    target.write(&request, groups_granted)
}

/// The capabilities that are kept, effective only in [`with_capabilities`].
fn kept() -> CapsHashSet {
    CapsHashSet::from([Capability::CAP_SETUID, Capability::CAP_SETGID])
}

/// Gives up all that is not needed.
fn shed() -> Result<()> {
    ensure!(
        getuid() == geteuid() && getgid() == getegid(),
        "this program must not be setuid or setgid: it wants file capabilities"
    );
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Inheritable)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    ensure!(
        permitted.is_superset(&kept()),
        "this program lacks its capabilities: setcap cap_setuid,cap_setgid=ep on it, on a file \
         system that is not mounted nosuid"
    );
    caps::set(None, CapSet::Permitted, &kept())?;
    nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
    nix::sys::prctl::set_dumpable(false).context("set dumpable")
}

/// Runs `act` with the capabilities in effect.
fn with_capabilities<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    caps::set(None, CapSet::Effective, &kept())?;
    let result = act();
    caps::clear(None, CapSet::Effective)?;
    result
}

/// The content of a file that only the administrator can have written; empty
/// if there is none.
fn trusted(path: &'static str) -> Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        other => File::from(other.context(path)?),
    };
    let meta = file.metadata().context(path)?;
    ensure!(
        meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0,
        "{path}: not a file that root alone can write"
    );
    ensure!(meta.len() <= MAX_FILE, "{path}: too long");
    let mut content = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .context(path)?;
    Ok(content)
}

/// The process whose namespace gets the maps.
struct Target<'a> {
    process: BorrowedFd<'a>,
    proc: OwnedFd,
    /// Its directory in `proc`.
    directory: OwnedFd,
}

impl<'a> Target<'a> {
    /// The process behind the pidfd `process`, proven to be the caller's.
    fn open(process: BorrowedFd<'a>) -> Result<Target<'a>> {
        let proc = open_proc()?;
        let info = read_in(&proc, "self/fdinfo/0").context("standard input")?;
        let pid = value(&info, "Pid").and_then(|pid| pid.parse::<i32>().ok());
        let pid = pid.context("standard input is not a pidfd")?;
        ensure!(pid > 0, "the process has ended or is out of sight");
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open_in(&proc, &pid.to_string(), flags)?;
        let target = Target {
            process,
            proc,
            directory,
        };
        // It was there after its directory was opened: nobody else has got
        // its number meanwhile.
        target.is_alive()?;
        target.is_the_callers()?;
        target.is_in_a_child_namespace()?;
        Ok(target)
    }

    fn is_alive(&self) -> Result<()> {
        pidfd::kill(self.process, 0).context("the process is not the caller's or has ended")
    }

    /// By all its ids, and it is no program that gained privileges.
    fn is_the_callers(&self) -> Result<()> {
        let status = read_in(&self.directory, "status")?;
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let all = |key, id: u32| {
            let ids = value(&status, key).map(|ids| ids.split_ascii_whitespace());
            ids.is_some_and(|ids| {
                ids.clone().count() == 4 && ids.clone().all(|i| i.parse() == Ok(id))
            })
        };
        let owner = fstat(&self.directory).context("the process's directory")?;
        ensure!(
            all("Uid", uid) && all("Gid", gid) && owner.st_uid == uid && owner.st_gid == gid,
            "the process belongs to somebody else"
        );
        Ok(())
    }

    fn is_in_a_child_namespace(&self) -> Result<()> {
        // A link that leads out of /proc: not for openat2's restrictions.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let its = openat(&self.directory, "ns/user", flags, Mode::empty());
        let its = its.context("the process's user namespace")?;
        let link = open_in(&self.proc, "self/ns", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let own = openat(&link, "user", flags, Mode::empty()).context("own user namespace")?;
        let child = ns::parent(&its).and_then(|parent| ns::same(&parent, &own));
        ensure!(
            child.is_ok_and(|child| child),
            "the process is not in a user namespace right below the caller's"
        );
        ensure!(
            ns::owner(&its)? == getuid().as_raw(),
            "the process is in a user namespace that somebody else made"
        );
        Ok(())
    }

    fn write(&self, request: &Request, groups_granted: bool) -> Result<()> {
        with_capabilities(|| {
            let open = |name| -> Result<File> {
                Ok(open_in(&self.directory, name, OFlag::O_WRONLY)?.into())
            };
            let (mut uids, mut gids) = (open("uid_map")?, open("gid_map")?);
            let mut setgroups = open("setgroups")?;
            // A process can go from a namespace to one below, never back: if
            // it still is where it was, the files are of that namespace.
            self.is_alive()?;
            self.is_the_callers()?;
            self.is_in_a_child_namespace()?;
            let write = |file: &mut File, name, map: &[IdMap]| {
                // At once: the kernel takes one write.
                let written = file.write(lines(map).as_bytes());
                written.map(drop).context(name)
            };
            if !groups_granted {
                // Else he could leave a group that keeps him out of files.
                setgroups.write(b"deny").context("setgroups")?;
            }
            write(&mut gids, "gid_map", &request.gids)?;
            write(&mut uids, "uid_map", &request.uids)
        })
    }
}

/// Opens `/proc`, which must be one.
fn open_proc() -> Result<OwnedFd> {
    /// Of the root of every instance (`PROC_ROOT_INO`).
    const ROOT: u64 = 1;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let proc = open("/proc", flags, Mode::empty()).context("/proc")?;
    let kind = fstatfs(&proc).context("/proc")?.filesystem_type();
    ensure!(
        kind == PROC_SUPER_MAGIC && fstat(&proc).context("/proc")?.st_ino == ROOT,
        "/proc is not what it should be"
    );
    Ok(proc)
}

/// Opens a path below a directory of `/proc`, through nothing that is mounted
/// there and no magic link.
fn open_in(directory: &OwnedFd, path: &str, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    openat2(directory, path, how).with_context(|| format!("/proc: {path}"))
}

fn read_in(directory: &OwnedFd, path: &str) -> Result<String> {
    let mut text = String::new();
    let file = File::from(open_in(directory, path, OFlag::O_RDONLY)?);
    file.take(1 << 16)
        .read_to_string(&mut text)
        .with_context(|| format!("/proc: {path}"))?;
    Ok(text)
}

/// The value of the line `key:` of a file of `/proc`.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = text.lines();
    lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}
