//! `exec`: a further process in a running container.

use crate::engine::container::containers::Container;
use crate::engine::container::control::Reply;
use crate::engine::container::record::State;
use crate::engine::create::spec::console_size;
use crate::engine::emulation::Emulator;
use crate::engine::ground::names::short;
use crate::engine::ground::pump::Pump;
use crate::engine::ground::{pipes, user};
use crate::engine::request::capabilities::{self, CapabilityChanges};
use crate::engine::request::user::UserOption;
use crate::engine::supervise::attach;
use crate::error;
use crate::idmap::IdMap;
use crate::process::{Resident, Until};
use crate::runtime::join::join;
use crate::runtime::plan::{
    ANNOTATION_EMULATE_ROOT, ANNOTATION_INIT, ANNOTATION_KEEP_GROUPS, ANNOTATION_SECCOMP,
    allows_setgroups, clone_flag,
};
use crate::runtime::process::{ProcessPlan, Seccomp};
use crate::runtime::seccomp::RootEmulation;
use crate::runtime::{StartError, Started, Stdio, Step};
use crate::sys::channel::Channel;
use crate::sys::clone::{Forked, Parent, clone3, exit_now};
use crate::sys::fd::{open_in_root, set_nonblocking};
use crate::sys::signal::SignalFd;
use crate::sys::wait::wait;
use crate::sys::{pidfd, tty};
use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::sys::termios::tcgetattr;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::{Capabilities, LinuxCapabilitiesBuilder, Spec};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `exec` asks for.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Command and arguments.
    pub command: Vec<String>,
    /// Variables, after those of the container; one without a value takes that
    /// of the container away.
    pub env: Vec<(String, Option<String>)>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// `user[:group]`.
    pub user: Option<UserOption>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub tty: bool,
    /// `--privileged`.
    pub privileged: bool,
}

/// The namespaces (`CLONE_NEW*`) of a spec that are not the caller's.
pub fn joined(spec: &Spec) -> u64 {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let namespaces = namespaces.into_iter().flatten();
    namespaces.fold(0, |all, n| all | clone_flag(n.typ()))
}

/// Runs a command in `container`; returns docker's exit code.
///
/// # Errors
/// The container does not run; the command cannot be started.
pub fn exec(container: &mut Container, options: &ExecOptions) -> Result<i32> {
    let prepared = prepare(container, options)?;
    let terminal = match options.tty && options.interactive {
        true if !attach::stdin_is_terminal() => {
            bail!("-i and -t together need a terminal as standard input: leave out -t")
        }
        true => Some(tcgetattr(std::io::stdin().as_fd()).context("read terminal settings")?),
        false => None,
    };
    let (pump, stdio) = match options.tty {
        true => (None, Stdio::null()?),
        false => {
            let (pump, stdio) = Pump::new(options.interactive)?;
            (Some(pump), stdio)
        }
    };
    let signals = SignalFd::new()?;
    let started = prepared.start(container, &stdio)?;
    // Our copies of its ends.
    drop(stdio);
    drop(prepared);
    match pump {
        Some(pump) => attach::carry_child(&started.child, &signals, pump),
        None => attach::wait_for_child(started, &signals, options.interactive, terminal.as_ref()),
    }
}

/// What it takes to run something in a container.
struct Prepared {
    /// The process to join.
    target: OwnedFd,
    /// What is to be run beside it.
    plan: ProcessPlan,
    /// The container's control group.
    group: Option<OwnedFd>,
}

impl Prepared {
    /// Starts it, and what answers for the emulated root beside it.
    fn start(&self, container: &Container, stdio: &Stdio) -> Result<Started> {
        let mut started = join(
            &self.target,
            container.record.namespaces,
            &self.plan,
            stdio,
            borrowed(&self.group),
        )?;
        if let Some(listener) = started.listener.take() {
            Emulator::new(listener, &container.dir).serve_beside(&self.target)?;
        }
        Ok(started)
    }
}

fn borrowed(group: &Option<OwnedFd>) -> Option<BorrowedFd<'_>> {
    group.as_ref().map(AsFd::as_fd)
}

fn prepare(container: &mut Container, options: &ExecOptions) -> Result<Prepared> {
    let mut target = container.running_process()?;
    if let State::Paused { .. } = container.state {
        bail!(error::Kind::Conflict.says(format!(
            "container {} is paused: bryo unpause lets it go on",
            container.record.name
        )));
    }
    let spec = container.spec()?;
    let (pid, inner) = command_process(container, &spec)?;
    if let Some(inner) = inner {
        target = inner;
    }
    let group = match &container.history.confinement.placed {
        Some(placed) => {
            placed.approach()?;
            Some(placed.entry(pid).open()?)
        }
        None => None,
    };
    Ok(Prepared {
        target,
        plan: plan(pid, &spec, options)?,
        group,
    })
}

/// The process that runs a running container's command, and a descriptor of it
/// if that is not its first one.
pub(in crate::engine) fn command_process(
    container: &Container,
    spec: &Spec,
) -> Result<(i32, Option<OwnedFd>)> {
    let (State::Running { process, .. } | State::Paused { process, .. }) = &container.state else {
        bail!(error::Kind::Conflict.says(format!(
            "container {} is not running",
            container.record.name
        )))
    };
    let annotations = spec.annotations().as_ref();
    if annotations.and_then(|a| a.get(ANNOTATION_INIT)).is_none() {
        return Ok((process.pid, None));
    }
    // Nobody may look at the process of bryo's that is PID 1, nor enter
    // its namespaces; the command, its first child, has the same.
    let pid = first_child(process.pid).context("find the container's command")?;
    Ok((pid, Some(pidfd::open(Pid::from_raw(pid))?)))
}

/// Starts a command in `container` and leaves it running; what it prints is
/// nobody's. `inherited` are the caller's descriptors, of which none is kept.
///
/// # Errors
/// The container does not run; the command cannot be executed.
pub fn exec_detached(
    container: &mut Container,
    options: &ExecOptions,
    inherited: &[i32],
) -> Result<()> {
    let Prepared {
        target,
        plan,
        group,
    } = prepare(container, options)?;
    let (ours, theirs) = Channel::pair()?;
    match clone3(0, Parent::Caller)? {
        Forked::Child(process) => {
            drop(ours);
            crate::sys::fd::close_inherited(&process, inherited);
            let resident = Resident {
                name: c"bryo-exec",
                role: &format!("exec {}", short(&container.record.id)),
                until: Until::Done,
                hidden: false,
                keeps: None,
            };
            let started = resident
                .begin(&process)
                .map_err(|e| StartError::new(Step::Supervise, &e))
                .and_then(|()| {
                    let stdio = Stdio::null().map_err(|e| StartError::new(Step::Join, &e))?;
                    join(
                        &target,
                        container.record.namespaces,
                        &plan,
                        &stdio,
                        borrowed(&group),
                    )
                });
            let reply = match &started {
                Ok(_) => Reply::Started,
                Err(error) => Reply::Failed(error.clone()),
            };
            let _ = theirs.send(&reply.encode(), None);
            drop(theirs);
            // The command ends with the process that started it.
            let Ok(mut started) = started else {
                exit_now(1)
            };
            if let Some(listener) = started.listener.take() {
                let _ = Emulator::new(listener, &container.dir).serve_beside(&target);
            }
            drop(target);
            // Its terminal is read by nobody, but must not fill up.
            if let Some(master) = started.console.take() {
                let mut buffer = [0; 4096];
                while nix::unistd::read(&master, &mut buffer).is_ok_and(|count| count > 0) {}
            }
            let _ = waitpid(started.child.pid, None);
            exit_now(0)
        }
        Forked::Parent(_) => {
            drop(theirs);
            let reply = ours.receive()?.and_then(|m| Reply::decode(&m.data));
            match reply.context("the process that starts it was killed")? {
                Reply::Failed(error) => Err(anyhow!(error)),
                _ => Ok(()),
            }
        }
    }
}

/// Runs a command in `container` to its end; returns docker's exit code,
/// nothing if it took longer than to `deadline` and was killed, and the first
/// `limit` bytes that it printed.
pub fn probe(
    container: &mut Container,
    command: &[String],
    deadline: Instant,
    limit: usize,
) -> Result<(Option<i32>, Vec<u8>)> {
    let options = ExecOptions {
        command: command.to_vec(),
        ..ExecOptions::default()
    };
    container.read_state()?;
    let prepared = prepare(container, &options)?;
    let (ours, stdio) = pipes::make(false, true)?;
    let reader = ours.output;
    set_nonblocking(&reader)?;
    let started = prepared.start(container, &stdio)?;
    drop(stdio);
    let mut output = Vec::new();
    let mut reading = true;
    loop {
        let fds = [
            Some(started.child.pidfd.as_fd()),
            reading.then_some(reader.as_fd()),
        ];
        let fds = fds.into_iter().flatten().map(|fd| (fd, PollFlags::POLLIN));
        let seen = wait(fds, Some(deadline)).context("poll")?;
        let ended = !seen[0].is_empty();
        let mut buffer = [0; 4096];
        while let Ok(count) = nix::unistd::read(&reader, &mut buffer) {
            reading = count > 0;
            if count == 0 {
                break;
            }
            let room = limit.saturating_sub(output.len()).min(count);
            output.extend(&buffer[..room]);
        }
        if ended || Instant::now() >= deadline {
            let _ = pidfd::kill(&started.child.pidfd, libc::SIGKILL);
            let status = waitpid(started.child.pid, None).context("wait")?;
            let code = ended.then(|| crate::process::exit_code(status));
            return Ok((code, output));
        }
    }
}

fn plan(pid: i32, spec: &Spec, options: &ExecOptions) -> Result<ProcessPlan> {
    let process = spec
        .process()
        .as_ref()
        .context("config.json has no process")?;
    let mut process = process.clone();
    process.set_args(Some(options.command.clone()));
    process.set_terminal(Some(options.tty));
    if let Some(workdir) = &options.workdir {
        process.set_cwd(Path::new("/").join(workdir));
    }
    let mut env = process.env().clone().unwrap_or_default();
    let mut set = |key: &str, value: Option<&str>| {
        env.retain(|e| e.split_once('=').is_none_or(|(k, _)| k != key));
        env.extend(value.map(|value| format!("{key}={value}")));
    };
    if options.tty {
        set("TERM", Some("xterm"));
    }
    if let Some(asked) = &options.user {
        let user = find_user(pid, asked)?;
        set("HOME", Some(&user.home));
        let mut account = process.user().clone();
        account.set_uid(user.uid);
        account.set_gid(user.gid);
        account.set_additional_gids(Some(user.groups));
        process.set_user(account);
    }
    for (key, value) in &options.env {
        set(key, value.as_deref());
    }
    process.set_env(Some(env));
    if options.privileged {
        let all = CapabilityChanges::default().apply(true, &capabilities::known());
        let sets = LinuxCapabilitiesBuilder::default()
            .bounding(all.clone())
            .effective(all.clone())
            .permitted(all)
            .inheritable(Capabilities::new())
            .ambient(Capabilities::new());
        process.set_capabilities(Some(sets.build()?));
        process.set_no_new_privileges(Some(false));
    }
    let size = options
        .tty
        .then(|| tty::window_size(std::io::stdout()).ok())
        .flatten();
    process.set_console_size(console_size(size.map(|s| (s.ws_col, s.ws_row)))?);
    let annotation = |key: &str| {
        let all = spec.annotations().as_ref();
        all.and_then(|a| a.get(key)).map(String::as_str)
    };
    let default = annotation(ANNOTATION_SECCOMP) == Some("default") && !options.privileged;
    let linux = spec.linux().as_ref();
    let profile = linux
        .and_then(|l| l.seccomp().as_ref())
        .filter(|_| !options.privileged);
    let maps = linux
        .and_then(|l| l.gid_mappings().as_ref())
        .into_iter()
        .flatten();
    let maps: Vec<IdMap> = maps
        .map(|m| IdMap::new(m.container_id(), m.host_id(), m.size()))
        .collect();
    let setgroups = allows_setgroups(&maps) && annotation(ANNOTATION_KEEP_GROUPS) != Some("1");
    let emulate = annotation(ANNOTATION_EMULATE_ROOT).and_then(RootEmulation::parse);
    ProcessPlan::new(&process, Seccomp::of(profile, default), setgroups, emulate)
}

/// The oldest child of a process.
fn first_child(pid: i32) -> Result<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let first = children.split_ascii_whitespace().next();
    first
        .and_then(|pid| pid.parse().ok())
        .with_context(|| format!("{path} is empty"))
}

/// Looks a user up in the files that the running container sees.
fn find_user(pid: i32, asked: &UserOption) -> Result<user::User> {
    let root = format!("/proc/{pid}/root");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(root.as_str(), flags, Mode::empty()).context(root.clone())?;
    let file = |path: &str| -> Result<Vec<u8>> {
        match open_in_root(&root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => {
                let mut data = Vec::new();
                let file = std::fs::File::from(fd);
                file.take(16 << 20)
                    .read_to_end(&mut data)
                    .with_context(|| format!("/{path}"))?;
                Ok(data)
            }
            Err(e) if e.errno == nix::errno::Errno::ENOENT => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    };
    user::resolve(asked, &file("etc/passwd")?, &file("etc/group")?)
}
