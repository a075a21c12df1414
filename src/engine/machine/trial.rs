//! What the kernel lets an ordinary user do, found out by doing it: a child
//! in new namespaces tries one thing after the other and tells the results.

use super::Tried;
use crate::idmap::write::Setgroups;
use crate::idmap::{self, IdMap};
use crate::sys::channel::Channel;
use crate::sys::clone::{Child, Forked, Parent, clone3, exit_now};
use crate::sys::error::Result;
use crate::sys::mount::{FsContext, MountAttr, attr, clone_tree, set_attributes};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use serde::Serialize;
use std::ffi::CStr;
use std::path::Path;

/// A kind of namespace that a container has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Kind {
    /// Its name in `/proc/PID/ns`.
    pub name: &'static str,
    /// Whether one can be made.
    pub tried: Tried,
}

/// The results of the trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trial {
    /// A user namespace can be made.
    pub user_namespace: Tried,
    /// The other kinds of namespaces can be made in it.
    pub namespaces: Vec<Kind>,
    /// The user's own ids can be mapped.
    pub map: Tried,
    /// Mounts can be changed: security modules may forbid that alone.
    pub mount: Tried,
    /// A new proc can be mounted.
    pub proc: Tried,
    /// A new sysfs can be mounted.
    pub sysfs: Tried,
    /// A new cgroup2 can be mounted.
    pub cgroup2: Tried,
    /// Mounts can be made read-only with all below them (mount_setattr(2)).
    pub mount_setattr: Tried,
    /// Overlays of the store's file system can be mounted.
    pub overlay: Tried,
    /// They can be written to as well: files removed, directories replaced.
    pub overlay_write: Tried,
    /// Their layers can be named one by one (Linux 6.8).
    pub overlay_layers: Tried,
}

/// What the child tries, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Map,
    Mount,
    Proc,
    Sysfs,
    Cgroup2,
    MountSetattr,
    Overlay,
    OverlayWrite,
    OverlayLayers,
}

const STEPS: [Step; 9] = [
    Step::Map,
    Step::Mount,
    Step::Proc,
    Step::Sysfs,
    Step::Cgroup2,
    Step::MountSetattr,
    Step::Overlay,
    Step::OverlayWrite,
    Step::OverlayLayers,
];

const KINDS: [(&str, libc::c_int); 7] = [
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
];

impl Trial {
    fn set(&mut self, step: Step, result: Tried) {
        *match step {
            Step::Map => &mut self.map,
            Step::Mount => &mut self.mount,
            Step::Proc => &mut self.proc,
            Step::Sysfs => &mut self.sysfs,
            Step::Cgroup2 => &mut self.cgroup2,
            Step::MountSetattr => &mut self.mount_setattr,
            Step::Overlay => &mut self.overlay,
            Step::OverlayWrite => &mut self.overlay_write,
            Step::OverlayLayers => &mut self.overlay_layers,
        } = result;
    }

    /// Whether namespaces can be made, mapped and mounted in: without that
    /// there are no containers.
    pub fn isolates(&self) -> bool {
        let mnt = self.namespaces.iter().find(|kind| kind.name == "mnt");
        let made = mnt.is_some_and(|kind| kind.tried == Tried::Works);
        made && self.map == Tried::Works && self.mount == Tried::Works
    }

    /// Why there are no containers, if that is so: the first thing refused.
    pub fn obstacle(&self) -> Option<Errno> {
        let mnt = self.namespaces.iter().find(|kind| kind.name == "mnt");
        let tried = [
            Some(self.user_namespace),
            mnt.map(|kind| kind.tried),
            Some(self.map),
            Some(self.mount),
        ];
        tried.into_iter().flatten().find_map(Tried::errno)
    }

    /// Whether images can be used without a copy.
    pub fn overlay_works(&self) -> bool {
        self.overlay == Tried::Works && self.overlay_write == Tried::Works
    }
}

/// Tries it all. `scratch` is an empty directory on the store's file system,
/// if there is one. The caller must have one thread.
pub fn run(scratch: Option<&Path>) -> Trial {
    let mut trial = Trial::default();
    let scratch = scratch.filter(|directory| prepare(directory).is_ok());
    let user = libc::CLONE_NEWUSER as u64;
    let all = KINDS.iter().fold(user, |all, (_, flag)| all | *flag as u64);
    if attempt(&mut trial, all, scratch).is_ok() {
        trial.user_namespace = Tried::Works;
        trial.namespaces = kinds(|_| Tried::Works);
        return trial;
    }
    // Which one is it?
    trial.user_namespace = one(user);
    if trial.user_namespace != Tried::Works {
        return trial;
    }
    trial.namespaces = kinds(|flag| one(user | flag));
    let works = |name: &str| {
        let mut kinds = trial.namespaces.iter();
        kinds.any(|kind| kind.name == name && kind.tried == Tried::Works)
    };
    let possible = KINDS.iter().filter(|(name, _)| works(name));
    let flags = possible.fold(user, |all, (_, flag)| all | *flag as u64);
    if works("mnt") {
        // It has just worked kind by kind.
        let _ = attempt(&mut trial, flags, scratch);
    }
    trial
}

fn kinds(tried: impl Fn(u64) -> Tried) -> Vec<Kind> {
    let kind = |(name, flag): &(&'static str, libc::c_int)| Kind {
        name,
        tried: tried(*flag as u64),
    };
    KINDS.iter().map(kind).collect()
}

/// Makes namespaces and nothing else.
fn one(flags: u64) -> Tried {
    match clone3(flags, Parent::Caller) {
        Ok(Forked::Child(_)) => exit_now(0),
        Ok(Forked::Parent(child)) => {
            reap(&child);
            Tried::Works
        }
        Err(error) => Tried::Refused(error.errno),
    }
}

fn reap(child: &Child) {
    while let Err(Errno::EINTR) = nix::sys::wait::waitpid(child.pid, None) {}
}

/// Makes the namespaces `flags` and tries the rest in them.
fn attempt(trial: &mut Trial, flags: u64, scratch: Option<&Path>) -> Result<()> {
    let ids = (nix::unistd::geteuid(), nix::unistd::getegid());
    let (ours, theirs) = Channel::pair()?;
    let child = match clone3(flags, Parent::Caller)? {
        Forked::Parent(child) => child,
        Forked::Child(_) => {
            drop(ours);
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL);
            let tell = |step: Step, result: nix::Result<()>| {
                let errno = result.err().map_or(0, |errno| errno as i32);
                let message = [&[step as u8][..], &errno.to_ne_bytes()].concat();
                // Nobody is left to tell when this fails.
                let _ = theirs.send(&message, None);
                result.is_ok()
            };
            inside((ids.0.as_raw(), ids.1.as_raw()), scratch, tell);
            exit_now(0)
        }
    };
    drop(theirs);
    loop {
        let message = match ours.receive() {
            Ok(Some(message)) => message.data,
            Err(error) if error.errno == Errno::EINTR => continue,
            Ok(None) | Err(_) => break,
        };
        let Some((step, errno)) = message.split_first() else {
            continue;
        };
        let errno = <[u8; 4]>::try_from(errno).map(i32::from_ne_bytes);
        if let (Some(step), Ok(errno)) = (STEPS.get(usize::from(*step)), errno) {
            let result = match errno {
                0 => Tried::Works,
                errno => Tried::Refused(Errno::from_raw(errno)),
            };
            trial.set(*step, result);
        }
    }
    reap(&child);
    Ok(())
}

/// The child: each step's result is told; what depends on a step that failed
/// is not tried.
fn inside(
    (uid, gid): (u32, u32),
    scratch: Option<&Path>,
    tell: impl Fn(Step, nix::Result<()>) -> bool,
) {
    let errno = |result: Result<()>| result.map_err(|error| error.errno);
    if !tell(Step::Map, errno(map(uid, gid))) || !tell(Step::Mount, isolate()) {
        return;
    }
    for (step, fstype) in [
        (Step::Proc, c"proc"),
        (Step::Sysfs, c"sysfs"),
        (Step::Cgroup2, c"cgroup2"),
    ] {
        tell(step, errno(fresh(fstype)));
    }
    tell(Step::MountSetattr, errno(make_read_only()));
    let Some(scratch) = scratch else { return };
    // By names relative to it: its path may have what would need quoting.
    if let Err(errno) = nix::unistd::chdir(scratch) {
        tell(Step::Overlay, Err(errno));
        return;
    }
    if tell(Step::Overlay, mount_overlay()) {
        let written = write_overlay().map_err(|error| {
            let errno = error.raw_os_error();
            errno.map_or(Errno::EIO, Errno::from_raw)
        });
        tell(Step::OverlayWrite, written);
    }
    let layers = FsContext::open(c"overlay");
    let layers = layers.and_then(|overlay| overlay.set(c"lowerdir+", Some(c"lower")));
    tell(Step::OverlayLayers, errno(layers));
}

fn map(uid: u32, gid: u32) -> Result<()> {
    let one = |id| [IdMap::new(0, id, 1)];
    idmap::write::write("self", &one(uid), &one(gid), Setgroups::Denied)
}

fn isolate() -> nix::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
}

/// A mount that is nowhere, so that no place is needed for it; the kernel's
/// checks are the same.
fn fresh(fstype: &CStr) -> Result<()> {
    let flags = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    FsContext::open(fstype)?.mount(flags).map(drop)
}

fn make_read_only() -> Result<()> {
    let tree = clone_tree(AT_FDCWD, c"/", true)?;
    let read_only = MountAttr {
        set: attr::RDONLY,
        ..MountAttr::default()
    };
    set_attributes(&tree, &read_only, true)
}

/// Makes what the overlay is of, before the child is made.
fn prepare(scratch: &Path) -> std::io::Result<()> {
    for name in ["lower", "lower/directory", "upper", "work", "merged"] {
        std::fs::create_dir(scratch.join(name))?;
    }
    std::fs::write(scratch.join("lower/file"), "")
}

fn mount_overlay() -> nix::Result<()> {
    let data = "userxattr,lowerdir=lower,upperdir=upper,workdir=work";
    let flags = MsFlags::empty();
    mount(
        Some("overlay"),
        "merged",
        Some("overlay"),
        flags,
        Some(data),
    )
}

/// What changes of an image do: a white-out, a directory that hides one.
fn write_overlay() -> std::io::Result<()> {
    std::fs::remove_file("merged/file")?;
    std::fs::remove_dir("merged/directory")?;
    std::fs::create_dir("merged/directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_in_order() {
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, index);
        }
    }

    #[test]
    fn the_first_obstacle_is_named() {
        let mut trial = Trial {
            user_namespace: Tried::Works,
            namespaces: kinds(|_| Tried::Works),
            ..Trial::default()
        };
        assert!(!trial.isolates());
        trial.set(Step::Map, Tried::Works);
        trial.set(Step::Mount, Tried::Refused(Errno::EACCES));
        assert!(!trial.isolates());
        assert_eq!(trial.obstacle(), Some(Errno::EACCES));
        trial.set(Step::Mount, Tried::Works);
        assert!(trial.isolates());
        assert_eq!(trial.obstacle(), None);
        trial.set(Step::Overlay, Tried::Works);
        assert!(!trial.overlay_works());
    }
}
