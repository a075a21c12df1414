//! `exec`: a further process in a running container.

mod resident;

pub use resident::{How, create, start};

use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::events::{self, Action};
use crate::engine::container::record::State;
use crate::engine::create::secrets;
use crate::engine::create::spec::console_size;
use crate::engine::emulation::Emulator;
use crate::engine::ground::caller::Caller;
use crate::engine::ground::pump::Pump;
use crate::engine::ground::{names, pipes, user};
use crate::engine::request::capabilities::{self, CapabilityChanges};
use crate::engine::request::exec::ExecRequest;
use crate::engine::request::user::UserOption;
use crate::engine::supervise::attach;
use crate::error::refuse;
use crate::idmap::IdMap;
use crate::runtime::join::join;
use crate::runtime::plan::{
    ANNOTATION_EMULATE_ROOT, ANNOTATION_INIT, ANNOTATION_KEEP_GROUPS, ANNOTATION_SECCOMP,
    allows_setgroups,
};
use crate::runtime::process::{ProcessPlan, Seccomp};
use crate::runtime::seccomp::RootEmulation;
use crate::runtime::{StartError, Started, Stdio, Step};
use crate::sys::fd::{open_in_root, set_nonblocking};
use crate::sys::pidfd;
use crate::sys::wait::wait;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::{Capabilities, LinuxCapabilitiesBuilder, Spec};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Runs a command in `container` that is the caller's alone: he carries its
/// streams, and it has no terminal. Returns docker's exit code.
///
/// # Errors
/// The container does not run; the command cannot be started.
pub fn exec(
    containers: &Containers,
    container: &mut Container,
    request: &ExecRequest,
    caller: Caller<'_>,
) -> Result<i32> {
    let prepared = prepare(container, request)?;
    let (pump, stdio) = Pump::new(&caller, request.interactive)?;
    let id = names::new_id()?;
    let emit = |action, details: &[(&str, &str)]| {
        let all = [&[("execID", id.as_str())], details].concat();
        events::emit(containers, action, container, &all);
    };
    emit(Action::ExecCreate, &[]);
    let started = prepared.start(container, &stdio)?;
    emit(Action::ExecStart, &[]);
    // Our copies of its ends.
    drop(stdio);
    drop(prepared);
    let code = attach::carry_child(&started.child, caller.signals.as_ref(), pump)?;
    emit(Action::ExecDie, &[("exitCode", &code.to_string())]);
    Ok(code)
}

/// What it takes to run something in a container.
struct Prepared {
    /// The process to join.
    target: OwnedFd,
    /// Its number.
    pid: i32,
    /// What is to be run beside it.
    plan: ProcessPlan,
}

impl Prepared {
    /// Starts it, and what answers for the emulated root beside it. This process
    /// may be moved to where it can make one in the container's control group.
    fn start(&self, container: &Container, stdio: &Stdio) -> Result<Started, StartError> {
        let group = match &container.history.confinement.placed {
            Some(placed) => {
                let group = || {
                    placed.approach()?;
                    placed.entry(self.pid).open()
                };
                Some(group().map_err(|e| StartError::new(Step::Group, &e))?)
            }
            None => None,
        };
        let mut started = join(
            &self.target,
            container.record.namespaces,
            &self.plan,
            stdio,
            group.as_ref().map(AsFd::as_fd),
        )?;
        if let Some(listener) = started.listener.take() {
            let emulator = Emulator::new(listener, &container.dir);
            let beside = emulator.serve_beside(&self.target);
            beside.map_err(|e| StartError::new(Step::Supervise, &e))?;
        }
        Ok(started)
    }
}

fn prepare(container: &mut Container, request: &ExecRequest) -> Result<Prepared> {
    let mut target = container.running_process()?;
    if let State::Paused { .. } = container.state {
        refuse!(
            Conflict,
            "container {} is paused: bryo unpause lets it go on",
            container.record.name
        );
    }
    let spec = container.spec()?;
    let (pid, inner) = command_process(container, &spec)?;
    if let Some(inner) = inner {
        target = inner;
    }
    Ok(Prepared {
        target,
        pid,
        plan: {
            let with_secrets = secrets::with_variables(&spec, container)?;
            plan(pid, with_secrets.as_ref().unwrap_or(&spec), request)?
        },
    })
}

/// The process that runs a running container's command, and a descriptor of it
/// if that is not its first one.
pub(in crate::engine) fn command_process(
    container: &Container,
    spec: &Spec,
) -> Result<(i32, Option<OwnedFd>)> {
    let (State::Running { process, .. } | State::Paused { process, .. }) = &container.state else {
        refuse!(
            Conflict,
            "container {} is not running",
            container.record.name
        );
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

/// Runs a command in `container` to its end; returns docker's exit code,
/// nothing if it took longer than to `deadline` and was killed, and the first
/// `limit` bytes that it printed.
pub fn probe(
    container: &mut Container,
    command: &[String],
    deadline: Instant,
    limit: usize,
) -> Result<(Option<i32>, Vec<u8>)> {
    let request = ExecRequest {
        command: command.to_vec(),
        ..ExecRequest::default()
    };
    container.read_state()?;
    let prepared = prepare(container, &request)?;
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

fn plan(pid: i32, spec: &Spec, request: &ExecRequest) -> Result<ProcessPlan> {
    let process = spec
        .process()
        .as_ref()
        .context("config.json has no process")?;
    let mut process = process.clone();
    process.set_args(Some(request.command.clone()));
    process.set_terminal(Some(request.tty));
    if let Some(workdir) = &request.workdir {
        process.set_cwd(Path::new("/").join(workdir));
    }
    let mut env = process.env().clone().unwrap_or_default();
    let mut set = |key: &str, value: Option<&str>| {
        env.retain(|e| e.split_once('=').is_none_or(|(k, _)| k != key));
        env.extend(value.map(|value| format!("{key}={value}")));
    };
    if request.tty {
        set("TERM", Some("xterm"));
    }
    if let Some(asked) = &request.user {
        let user = find_user(pid, asked)?;
        set("HOME", Some(&user.home));
        let mut account = process.user().clone();
        account.set_uid(user.uid);
        account.set_gid(user.gid);
        account.set_additional_gids(Some(user.groups));
        process.set_user(account);
    }
    for (key, value) in &request.env {
        set(key, value.as_deref());
    }
    process.set_env(Some(env));
    if request.privileged {
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
    let size = request.window_size.filter(|_| request.tty);
    process.set_console_size(console_size(size.map(|(rows, columns)| (columns, rows)))?);
    let annotation = |key: &str| {
        let all = spec.annotations().as_ref();
        all.and_then(|a| a.get(key)).map(String::as_str)
    };
    let default = annotation(ANNOTATION_SECCOMP) == Some("default") && !request.privileged;
    let linux = spec.linux().as_ref();
    let profile = linux
        .and_then(|l| l.seccomp().as_ref())
        .filter(|_| !request.privileged);
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
