//! The file system of a container, in three phases: what comes from outside
//! is [gathered](gather) as detached mounts while the host is in sight; the
//! root is [changed](enter_root) and the host detached; then every mount is
//! [attached](attach_all) to a place that is resolved inside the new root,
//! where no link can lead anywhere else.

use super::options::{Attributes, Bind, MountOptions};
use super::outside::Outside;
use super::plan::{Device, Mount, MountSource, Plan, RootMount};
use super::{copyup, kernelfs, overlay, place, remount};
use crate::error::refuse;
use crate::sys::mount::{self, FsContext, MountAttr, attr};
use crate::sys::{self, fd::open_in_root};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A mount that is ready to be attached.
#[derive(Debug)]
pub struct Gathered<'a> {
    tree: OwnedFd,
    directory: bool,
    destination: &'a Path,
    options: Option<&'a MountOptions>,
}

/// Tells of something that is less than what was asked for.
pub type Warn<'a> = &'a mut dyn FnMut(String);

/// Makes what is mounted already unable to tell the host of changes.
pub fn isolate(propagation: u64) -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::from_bits_truncate(propagation);
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("make mounts private")
}

/// Gives the root file system its own propagation type.
pub fn propagate(propagation: u64) -> Result<()> {
    let flags = MsFlags::from_bits_truncate(propagation);
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("linux.rootfsPropagation")
}

/// Mounts the root file system at `plan.root` and returns it.
pub fn mount_root(plan: &Plan, outside: &mut Option<Outside>) -> Result<OwnedFd> {
    if let Some(outside) = outside {
        return mount_opened_root(plan, outside);
    }
    match &plan.root_mount {
        Some(RootMount::Overlay(overlay)) if overlay.in_memory => {
            let overlay = overlay::in_memory(overlay, &plan.root)?;
            let root = plan.root.join("root");
            overlay::mount_at(&overlay, &root)?;
            open_directory(&root)
        }
        Some(RootMount::Overlay(overlay)) => {
            overlay::mount_at(overlay, &plan.root)?;
            open_directory(&plan.root)
        }
        Some(RootMount::Bind { source, options }) => {
            bind_root(source, options, &open_directory(&plan.root)?)
        }
        None => {
            let options = MountOptions::default();
            let source = CString::new(plan.root.as_os_str().as_bytes())?;
            bind_root(&source, &options, &open_directory(&plan.root)?)
        }
    }
}

fn mount_opened_root(plan: &Plan, outside: &mut Outside) -> Result<OwnedFd> {
    let plain = MountOptions::default();
    let (tree, options) = match &plan.root_mount {
        Some(RootMount::Overlay(overlay)) if overlay.in_memory => {
            let overlay = overlay::in_opened_memory(overlay, &plan.root, outside)?;
            (overlay::of_opened(&overlay, outside)?, &plain)
        }
        Some(RootMount::Overlay(overlay)) => (overlay::of_opened(overlay, outside)?, &plain),
        Some(RootMount::Bind { options, .. }) => (outside.take_root().context("root")?, options),
        None => (outside.take_root().context("root")?, &plain),
    };
    attach_root(&tree, options, outside.directory(&plan.root)?)?;
    Ok(tree)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).with_context(|| path.display().to_string())
}

fn bind_root(source: &CStr, options: &MountOptions, target: &OwnedFd) -> Result<OwnedFd> {
    let recursive = options.bind != Some(Bind::Single);
    let tree = mount::clone_tree(AT_FDCWD, source, recursive)?;
    attach_root(&tree, options, target)?;
    Ok(tree)
}

/// Gives the mount `tree` its options and attaches it to the directory `target`.
fn attach_root(tree: &OwnedFd, options: &MountOptions, target: impl AsFd) -> Result<()> {
    let set = set_options(tree, options);
    let without = set.as_ref().is_err_and(lacks_mount_setattr);
    if !without {
        set?;
    }
    mount::attach(tree, &target, "root")?;
    if without {
        let place = remount::path_of(tree.as_fd())?;
        remount::apply(&open_directory(Path::new("/"))?, tree, &place, options)?;
    }
    Ok(())
}

/// Makes every mount and opens every device of the plan, detached.
pub fn gather<'a>(
    plan: &'a Plan,
    outside: &mut Option<Outside>,
    warn: Warn<'_>,
) -> Result<(Vec<Gathered<'a>>, Vec<Gathered<'a>>)> {
    let mut mounts = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        if mount.options.bind.is_some() && mount.options.tells_others() {
            warn(format!(
                "what is mounted below /{} in the container is not seen outside: the kernel \
                 keeps it in the container's user namespace",
                mount.destination.display()
            ));
        }
        match gather_mount(mount, &plan.root, outside, warn) {
            Ok(gathered) => mounts.extend(gathered),
            Err(error) if mount.options.nofail && is_gone(&error) => {}
            Err(error) if mount.options.nofail => {
                warn(format!(
                    "/{} is not shown: {error:#}",
                    mount.destination.display()
                ));
            }
            Err(error) => {
                return Err(error.context(format!("/{}", mount.destination.display())));
            }
        }
    }
    let mut devices = Vec::with_capacity(plan.devices.len());
    for device in &plan.devices {
        let opened = outside.as_mut().and_then(Outside::take_device);
        let tree =
            gather_device(device, opened).with_context(|| format!("/{}", device.path.display()))?;
        devices.push(Gathered {
            tree,
            directory: false,
            destination: &device.path,
            options: None,
        });
    }
    Ok((mounts, devices))
}

/// Whether what was to be mounted is not there.
fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<sys::Error>();
    error.is_some_and(|error| error.errno == Errno::ENOENT)
}

fn gather_mount<'a>(
    mount: &'a Mount,
    scratch: &Path,
    outside: &mut Option<Outside>,
    warn: Warn<'_>,
) -> Result<Option<Gathered<'a>>> {
    let (tree, directory) = match &mount.source {
        MountSource::Bind(source) => {
            let tree = match outside.as_mut().and_then(Outside::take_bind) {
                Some(tree) => tree,
                None => clone_bind(source, &mount.options)?,
            };
            let directory = is_directory(&tree)?;
            (tree, directory)
        }
        MountSource::Overlay(overlay) => match outside {
            Some(outside) => (overlay::of_opened(overlay, outside)?, true),
            None => (overlay::detached(overlay, scratch)?, true),
        },
        MountSource::New { fstype, source } => {
            match new_file_system(mount, fstype, source, outside.as_ref()) {
                Ok(tree) => (tree, true),
                Err(e) => match substitute(fstype, &e, warn)? {
                    Some(tree) => (tree, true),
                    None => return Ok(None),
                },
            }
        }
    };
    Ok(Some(Gathered {
        tree,
        directory,
        destination: &mount.destination,
        options: Some(&mount.options),
    }))
}

/// Clones what is at `source`, or a part of it, to be attached elsewhere. The
/// part is looked up as if `source` were the root directory: what writes there
/// may be hostile.
pub fn clone_bind(source: &CStr, options: &MountOptions) -> Result<OwnedFd> {
    let recursive = options.bind == Some(Bind::Recursive);
    let name = source.to_string_lossy();
    let cloned = match &options.subpath {
        None => mount::clone_tree(AT_FDCWD, source, recursive),
        Some(path) => {
            let root = open_directory(Path::new(OsStr::from_bytes(source.to_bytes())))?;
            let part = open_in_root(&root, path, OFlag::O_PATH)
                .with_context(|| format!("bind {name}: subpath {}", path.display()))?;
            mount::clone_tree(part, c"", recursive)
        }
    };
    cloned.map_err(|e| {
        let hint = match e.errno {
            // A mount with others locked on it cannot be shown without them.
            Errno::EINVAL if !recursive => " (it has mounts below it: use rbind)",
            _ => "",
        };
        anyhow!(e).context(format!("bind {name}{hint}"))
    })
}

fn new_file_system(
    mount: &Mount,
    fstype: &CStr,
    source: &CStr,
    outside: Option<&Outside>,
) -> sys::Result<OwnedFd> {
    let fs = FsContext::open(fstype)?;
    // Only seen in mountinfo; file systems without a device may refuse it.
    let _ = fs.set(c"source", Some(source));
    for (name, value) in &mount.options.parameters {
        match (value, outside) {
            (Some(value), Some(outside)) => fs.set(name, Some(&outside.value(name, value)))?,
            _ => fs.set(name, value.as_deref())?,
        }
    }
    let Attributes { set, .. } = mount.options.own;
    // A file system in memory is filled before it becomes read-only.
    let keep_writable = mount.options.tmpcopyup;
    fs.mount(if keep_writable {
        set & !attr::RDONLY
    } else {
        set
    })
}

/// What to show where the kernel refuses a new instance of a file system: the
/// host's, as far as that is visible here.
fn substitute(fstype: &CStr, error: &sys::Error, warn: Warn<'_>) -> Result<Option<OwnedFd>> {
    let refused = matches!(error.errno, Errno::EPERM | Errno::EACCES | Errno::EBUSY);
    let path = match fstype.to_bytes() {
        b"proc" => c"/proc",
        b"sysfs" => c"/sys",
        b"mqueue" => c"/dev/mqueue",
        b"cgroup2" => c"/sys/fs/cgroup",
        _ => return Err(anyhow!(error.clone())),
    };
    let optional = fstype == c"cgroup2" || fstype == c"mqueue";
    let absent = optional && error.errno == Errno::ENODEV;
    if !refused && !absent {
        return Err(anyhow!(error.clone()));
    }
    match mount::clone_tree(AT_FDCWD, path, true) {
        Ok(tree) => {
            if fstype == c"proc" {
                warn(format!(
                    "/proc is the one of outside and shows its processes: a new one was refused \
                     ({error})"
                ));
            }
            Ok(Some(tree))
        }
        Err(_) if optional => Ok(None),
        Err(_) => Err(anyhow!(error.clone())),
    }
}

fn gather_device(device: &Device, opened: Option<OwnedFd>) -> Result<OwnedFd> {
    let source = device.source.to_string_lossy();
    let tree = match opened {
        Some(tree) => tree,
        None => mount::clone_tree(AT_FDCWD, &device.source, false)
            .with_context(|| format!("device {source}"))?,
    };
    let stat = fstat(&tree).with_context(|| format!("device {source}"))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFCHR && kind != SFlag::S_IFBLK {
        refuse!(Invalid, "device {source}: not a device node");
    }
    let number = (
        nix::sys::stat::major(stat.st_rdev) as u32,
        nix::sys::stat::minor(stat.st_rdev) as u32,
    );
    if device.number.is_some_and(|wanted| wanted != number) {
        refuse!(
            Forbidden,
            "device {source}: it is {}:{} on this host, and a user cannot make another",
            number.0,
            number.1
        );
    }
    Ok(tree)
}

/// Makes `root` the root directory and takes everything else out of sight.
pub fn enter_root(root: &OwnedFd) -> Result<()> {
    nix::unistd::fchdir(root).context("enter root")?;
    // Both roots are stacked at one place; the old one is then on top
    // (pivot_root(2), "pivot_root(".", ".")").
    nix::unistd::pivot_root(".", ".").context("pivot_root")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH).context("detach the host")?;
    nix::unistd::chdir("/").context("enter root")
}

/// Attaches mounts in order. Missing mount points are made. `entered` says whether
/// the root directory is `root` by now.
pub fn attach_all(root: &OwnedFd, mounts: &[Gathered<'_>], entered: bool) -> Result<()> {
    for mount in mounts {
        attach(root, mount, entered)
            .with_context(|| format!("/{}", mount.destination.display()))?;
    }
    Ok(())
}

fn attach(root: &OwnedFd, mount: &Gathered<'_>, entered: bool) -> Result<()> {
    let target = match place::open(root, mount.destination, mount.directory) {
        // This process has all capabilities that the container can have.
        Err(why) if mount.options.is_some_and(|o| o.hides) && is_shut(&why) => return Ok(()),
        other => other.map_err(|why| kernelfs::explain(root, mount.destination, why))?,
    };
    if !mount.directory && is_directory(&target)? {
        refuse!(
            Invalid,
            "what is mounted there is a file, and the container has a directory in its place"
        );
    }
    kernelfs::check(root, &target, mount.destination, &mount.tree)?;
    if mount.options.is_some_and(|o| o.tmpcopyup) && !kernelfs::is_shown(&target)? {
        copyup::copy_into(target.as_fd(), mount.tree.as_fd())?;
    }
    let set = match mount.options {
        Some(options) => set_options(&mount.tree, options),
        None => Ok(()),
    };
    // The other way finds what is mounted below by paths from the root directory.
    let known = entered || mount.options.is_none_or(|o| o.all.is_empty());
    let without = known && set.as_ref().is_err_and(lacks_mount_setattr);
    if !without {
        set?;
    }
    mount::attach(&mount.tree, &target, &mount.destination.to_string_lossy())?;
    if let (true, Some(options)) = (without, mount.options) {
        remount::apply(root, &mount.tree, mount.destination, options)?;
    }
    Ok(())
}

fn is_shut(error: &anyhow::Error) -> bool {
    let call = error.downcast_ref::<sys::Error>();
    call.is_some_and(|call| call.errno == Errno::EACCES)
}

/// Whether a sandbox around bryo hides mount_setattr(2), by either of the
/// errors for that. The second may be about an attribute: then the older way
/// is refused as well.
fn lacks_mount_setattr(error: &anyhow::Error) -> bool {
    let call = error.downcast_ref::<sys::Error>();
    let hidden = |errno| matches!(errno, Errno::ENOSYS | Errno::EPERM);
    call.is_some_and(|e| e.call == "mount_setattr" && hidden(e.errno))
}

/// Sets attributes and propagation of a detached tree.
fn set_options(tree: &OwnedFd, options: &MountOptions) -> Result<()> {
    let (propagation, propagation_below) = options.propagation.unwrap_or((0, false));
    let all = MountAttr {
        set: options.all.set,
        clear: options.all.clear,
        propagation: if propagation_below { propagation } else { 0 },
        userns_fd: 0,
    };
    if all != MountAttr::default() {
        change(tree, &all, true)?;
    }
    let binds = options.bind.is_some() || options.tmpcopyup;
    let own = MountAttr {
        set: if binds { options.own.set } else { 0 },
        clear: if binds { options.own.clear } else { 0 },
        propagation: if propagation_below { 0 } else { propagation },
        userns_fd: 0,
    };
    if own.set != 0 || own.propagation != 0 {
        return change(tree, &own, false);
    }
    // "rw" and the like alone: often the default written out, and refused for
    // a mount that the host has locked; then the mount stays as it is.
    if own.clear != 0 {
        match mount::set_attributes(tree, &own, false) {
            Err(e) if e.errno == Errno::EPERM && own.clear & !attr::ATIME != attr::RDONLY => {
                return Err(anyhow!(e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn change(tree: &OwnedFd, attributes: &MountAttr, recursive: bool) -> Result<()> {
    Ok(mount::set_attributes(tree, attributes, recursive)?)
}

/// Puts the links that every `/dev` has into a fresh one (runtime-spec,
/// config-linux.md, "Default filesystems").
pub fn link_dev(root: &OwnedFd) -> Result<()> {
    let dev = open_in_root(root, Path::new("dev"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        match nix::unistd::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e).with_context(|| format!("link /dev/{name}")),
        }
    }
    Ok(())
}

/// Hides `paths`: files behind the null device, directories behind an empty
/// read-only one. What does not exist needs no hiding. `null` is the mounted
/// null device, if there is one.
pub fn mask(root: &OwnedFd, paths: &[PathBuf], null: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let what = || format!("mask /{}", path.display());
        let target = match open_in_root(root, path, OFlag::O_PATH) {
            Ok(fd) => fd,
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(e) => return Err(e).with_context(what),
        };
        let tree = if is_directory(&target)? {
            match &empty {
                Some(first) => mount::clone_tree(first, c"", false).with_context(what)?,
                None => {
                    let fs = FsContext::open(c"tmpfs").with_context(what)?;
                    fs.set(c"size", Some(c"0")).with_context(what)?;
                    fs.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)
                        .with_context(what)?
                }
            }
        } else {
            let null = null
                .context("no /dev/null to mask with")
                .with_context(what)?;
            mount::clone_tree(null, c"", false).with_context(what)?
        };
        mount::attach(&tree, &target, &path.to_string_lossy()).with_context(what)?;
        if empty.is_none() && is_directory(&tree)? {
            empty = Some(tree);
        }
    }
    Ok(())
}

/// Makes `paths` read-only by binding each onto itself.
pub fn make_readonly(root: &OwnedFd, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let what = || format!("make /{} read-only", path.display());
        let target = match open_in_root(root, path, OFlag::O_PATH) {
            Ok(fd) => fd,
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(e) => return Err(e).with_context(what),
        };
        let tree = mount::clone_tree(&target, c"", true).with_context(what)?;
        let options = read_only();
        let set = set_options(&tree, &options);
        let without = set.as_ref().is_err_and(lacks_mount_setattr);
        if !without {
            set.with_context(what)?;
        }
        mount::attach(&tree, &target, &path.to_string_lossy()).with_context(what)?;
        if without {
            remount::apply(root, &tree, path, &options).with_context(what)?;
        }
    }
    Ok(())
}

/// Read-only with all that is mounted below.
fn read_only() -> MountOptions {
    MountOptions {
        all: Attributes {
            set: attr::RDONLY,
            clear: 0,
        },
        ..MountOptions::default()
    }
}

/// Makes the root file system itself read-only, not what is mounted below.
pub fn make_root_readonly(root: &OwnedFd) -> Result<()> {
    let readonly = MountAttr {
        set: attr::RDONLY,
        ..MountAttr::default()
    };
    match change(root, &readonly, false) {
        Err(e) if lacks_mount_setattr(&e) => remount::add(root.as_fd(), attr::RDONLY, 0),
        other => other,
    }
    .context("make / read-only")
}

/// Writes kernel parameters, each proven to be one: what is at the place must
/// be on a proc file system (CVE-2025-52881).
pub fn write_sysctls(root: &OwnedFd, parameters: &[(PathBuf, String)]) -> Result<()> {
    for (path, value) in parameters {
        let what = || format!("sysctl {}", path.display().to_string().replace('/', "."));
        let full = Path::new("proc/sys").join(path);
        let file = open_in_root(root, &full, OFlag::O_WRONLY).with_context(what)?;
        let fs = nix::sys::statfs::fstatfs(&file).with_context(what)?;
        if fs.filesystem_type() != nix::sys::statfs::PROC_SUPER_MAGIC {
            refuse!(Invalid, "{}: /proc/sys is not a proc file system", what());
        }
        nix::unistd::write(&file, value.as_bytes()).with_context(what)?;
    }
    Ok(())
}

/// Whether `fd` is a directory.
pub fn is_directory(fd: impl AsFd) -> Result<bool> {
    let mode = fstat(&fd).context("fstat")?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

impl Gathered<'_> {
    /// The mount, attached or not.
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// Where it belongs, from the container's root.
    pub fn destination(&self) -> &Path {
        self.destination
    }
}
