//! `run`: a container from options and an image, started in the foreground.

use super::attach::{self, Foreground};
use super::containers::{Container, Containers, Creation, Lock, hostname};
use super::options::{Network, RunOptions, SeccompOption};
use super::record::Record;
use super::root::{self, Resolved};
use super::spec::{self, Facts};
use super::supervisor::Supervisor;
use super::{etc, names, user};
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::store::Store;
use crate::runtime::seccomp;
use crate::sys::channel::Channel;
use crate::sys::clone::{Forked, Parent, clone3};
use crate::sys::signal::SignalFd;
use crate::sys::{cred, tty};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use oci_spec::runtime::{Capabilities, LinuxSeccomp, Spec};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An image by name, or an archive or directory as `tar:PATH`.
    Image(String),
    /// `--rootfs`: a directory, changed in place.
    Rootfs(PathBuf),
}

/// Creates and runs a container; returns docker's exit code.
///
/// # Errors
/// Whatever keeps the container from being created or started. Nothing is
/// left of it then, unless it was to be kept and could be created.
pub fn run(
    store: &Store,
    subject: &Subject,
    options: &RunOptions,
    platform: Option<&Platform>,
    progress: &dyn Progress,
    warn: &dyn Fn(&str),
) -> Result<i32> {
    let terminal = terminal_settings(options)?;
    let (container, lock, spec) = create(store, subject, options, platform, progress)?;
    let (ours, theirs) = Channel::pair()?;
    if !options.interactive {
        crate::sys::fd::duplicate_to(crate::runtime::process::open_null()?, 0)?;
    }
    let signals = SignalFd::new()?;
    match clone3(0, Parent::Caller).context("start the supervisor")? {
        Forked::Child => {
            drop((ours, signals));
            let supervisor = Supervisor {
                containers: Containers::open(store),
                container,
                lock,
                spec,
                caller: theirs,
                terminal,
            };
            supervisor.run()
        }
        Forked::Parent(_) => {
            drop((theirs, lock));
            let foreground = Foreground {
                signals,
                supervisor: ours,
                interactive: options.interactive,
                terminal,
            };
            attach::wait(foreground, warn)
        }
    }
}

/// The settings of the caller's terminal, if the container is to have it.
fn terminal_settings(options: &RunOptions) -> Result<Option<Termios>> {
    let stdin = std::io::stdin();
    if !options.tty || !options.interactive {
        return Ok(None);
    }
    if !stdin.is_terminal() {
        bail!("-i and -t together need a terminal as standard input: leave out -t");
    }
    Ok(Some(
        tcgetattr(stdin.as_fd()).context("read terminal settings")?,
    ))
}

fn create(
    store: &Store,
    subject: &Subject,
    options: &RunOptions,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<(Container, Lock, Spec)> {
    // What is found must not be removed before the record says it is in use.
    let _in_use = store.lock_shared()?;
    let mut resolved = match subject {
        Subject::Image(name) => root::resolve(store, name, platform, progress)?,
        Subject::Rootfs(path) => root::direct(path)?,
    };
    resolved.root.volatile = options.auto_remove;
    let id = names::new_id();
    let containers = Containers::open(store);
    let mut creation = containers.create(&id)?;
    let facts = facts(&id, &containers, &creation, &resolved, options)?;
    let spec = spec::build(options, &resolved.root, &resolved.defaults, &facts)?;
    let record = record(id, subject, &resolved, options, &spec);
    creation.name(&containers, &record)?;
    write_files(&creation, options, &spec)?;
    if let Some(parts) = &resolved.root.parts {
        parts.make(creation.staging())?;
    }
    super::containers::write_json(&creation.staging().join("config.json"), &spec)?;
    let (container, lock) = creation.complete(record)?;
    Ok((container, lock, spec))
}

fn facts(
    id: &str,
    containers: &Containers,
    creation: &Creation,
    resolved: &Resolved,
    options: &RunOptions,
) -> Result<Facts> {
    let file = |path| root::read_file(&resolved.root, path).map(Option::unwrap_or_default);
    let wanted = options.user.as_deref().unwrap_or(&resolved.defaults.user);
    let passwd = file("etc/passwd")?;
    // Root's groups are asked for by nobody, and a number needs no lookup.
    let group = match wanted {
        "" | "0" | "root" => Vec::new(),
        _ => file("etc/group")?,
    };
    let user = user::resolve(wanted, &passwd, &group)?;
    let capabilities = known_capabilities();
    let seccomp = match &options.seccomp {
        SeccompOption::File(path) if !options.privileged => {
            let bounding = options.capabilities.apply(false, &capabilities);
            Some(read_profile(path, &bounding)?)
        }
        _ => None,
    };
    let size = options
        .tty
        .then(|| tty::window_size(std::io::stdout()).ok())
        .flatten();
    Ok(Facts {
        id: id.to_owned(),
        directory: creation.directory().to_owned(),
        mount_point: containers.mount_point(),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        user,
        capabilities,
        seccomp,
        terminal: size.map(|s| (s.ws_col, s.ws_row)),
    })
}

/// The capabilities that this kernel knows.
pub fn known_capabilities() -> Capabilities {
    let last = cred::last_capability();
    caps::all()
        .into_iter()
        .filter(|c| u32::from(c.index()) <= last)
        .filter_map(|c| {
            super::options::parse_capability(&c.to_string())
                .ok()
                .flatten()
        })
        .collect()
}

fn read_profile(path: &Path, bounding: &Capabilities) -> Result<LinuxSeccomp> {
    let what = || format!("seccomp profile {}", path.display());
    let text = std::fs::read_to_string(path).with_context(what)?;
    let target = seccomp::Target {
        capabilities: bounding,
        arch: seccomp::NATIVE,
        kernel: kernel_version(),
    };
    let profile = seccomp::Profile::parse(&text).with_context(what)?;
    profile.resolve(target).with_context(what)
}

/// The running kernel's version: major, minor.
fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn record(
    id: String,
    subject: &Subject,
    resolved: &Resolved,
    options: &RunOptions,
    spec: &Spec,
) -> Record {
    let image = match subject {
        Subject::Image(name) => name.clone(),
        Subject::Rootfs(path) => path.display().to_string(),
    };
    let mut labels = resolved.defaults.labels.clone();
    labels.extend(options.labels.clone());
    let command = spec.process().as_ref().and_then(|p| p.args().clone());
    let layers = resolved.image.iter().flat_map(|i| &i.layers);
    Record {
        id,
        name: options.name.clone().unwrap_or_else(names::generate),
        created: Timestamp::now(),
        host: hostname(),
        image,
        image_id: resolved.image.as_ref().map(|i| i.id.to_string()),
        layers: layers.map(|l| l.diff_id.to_string()).collect(),
        command: command.unwrap_or_default(),
        labels,
        auto_remove: options.auto_remove,
        namespaces: super::exec::joined(spec),
        stop_signal: options
            .stop_signal
            .clone()
            .or(resolved.defaults.stop_signal.clone()),
    }
}

/// Makes the directories and files that the spec's mounts refer to.
fn write_files(creation: &Creation, options: &RunOptions, spec: &Spec) -> Result<()> {
    let dir = creation.staging();
    // The caller's mask is not for what the container sees.
    let mask = nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    // The mode of "upper" is that of the container's "/"; nobody but the user
    // gets as far as to these directories from outside.
    for name in ["upper", "work"] {
        let mode = Mode::from_bits_truncate(0o755);
        nix::unistd::mkdir(&dir.join(name), mode).with_context(|| format!("create {name}"))?;
    }
    let name = spec.hostname().clone().unwrap_or_default();
    let host_network = options.network == Network::Host;
    let host_hosts = host_network
        .then(|| std::fs::read_to_string("/etc/hosts").ok())
        .flatten();
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hosts = etc::hosts(&name, &options.add_hosts, host_hosts.as_deref());
    let name = if name.is_empty() { hostname() } else { name };
    for (file, text) in [
        ("hosts", hosts),
        ("hostname", format!("{name}\n")),
        (
            "resolv.conf",
            etc::resolv_conf(&options.dns, options.network, &resolv),
        ),
    ] {
        std::fs::write(dir.join(file), text).with_context(|| format!("write {file}"))?;
    }
    nix::sys::stat::umask(mask);
    Ok(())
}
