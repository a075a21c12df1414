//! The command of a container: limits, ids, capabilities, seccomp, and the
//! last steps to execve. Shared by the first process and by `exec`.

use super::fields::{self, Unsupported};
use super::gate::Gate;
use super::message::{Message, Step};
use super::place;
use super::plan::c_string;
use super::seccomp::{self, Filter, RootEmulation};
use super::treatment::Treatment;
use crate::error::refuse;
use crate::sys::channel::Channel;
use crate::sys::clone::NewProcess;
use crate::sys::seccomp::install_with_listener;
use crate::sys::trampoline::Descriptors;
use crate::sys::{self, cred, trampoline};
use anyhow::{Context, Result, anyhow};
use caps::CapSet;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Gid, Uid};
use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxSeccomp, LinuxSeccompAction, PosixRlimitType, Process,
};
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// All that is known about a command before its process exists.
#[derive(Debug)]
pub struct ProcessPlan {
    /// The command and its arguments; never empty.
    pub args: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// Its working directory, absolute in the container.
    pub cwd: PathBuf,
    /// Its user id, in the container.
    pub uid: Uid,
    /// Its group id, in the container.
    pub gid: Gid,
    /// Supplementary groups to set; `None` where the id map forbids it.
    pub groups: Option<Vec<Gid>>,
    /// Its file mode creation mask.
    pub umask: Option<Mode>,
    /// Its resource limits: which, soft, hard.
    pub rlimits: Vec<(Resource, u64, u64)>,
    /// Its capability sets; `None` keeps what the user namespace gives.
    pub capabilities: Option<cred::Capabilities>,
    /// Whether execve may grant privileges no more.
    pub no_new_privileges: bool,
    /// Its system call filter.
    pub seccomp: Option<Filter>,
    /// Whether its first id is alone in the user namespace and stands for
    /// root: then what root alone may do is emulated.
    pub emulate_root: Option<RootEmulation>,
    /// Both of these in one filter, where there is one.
    pub emulating_seccomp: Option<Filter>,
    /// Its score for the out-of-memory killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// What it gets of processors, disks and memory.
    pub treatment: Treatment,
    /// Who is asked about the calls that its filter asks about.
    pub agent: Option<Agent>,
    /// Whether it gets a terminal, and how large: columns and rows.
    pub terminal: Option<Option<(u16, u16)>>,
    /// Descriptors from 3 on that it gets (sd_listen_fds(3)), and what they are
    /// called.
    pub sockets: (u32, Option<CString>),
    /// How many descriptors behind those it gets without being told.
    pub preserved: u32,
    /// The file to execute, where `args` does not name it.
    pub program: Option<CString>,
    /// The signal that it gets when the process ends that started it. Without one
    /// it outlives that; until it executes, or waits at its gate, it never does.
    pub death_signal: Option<Signal>,
    /// A connection whose other end gets the master side of its terminal, in the
    /// place of who starts it.
    pub console: Option<OwnedFd>,
}

impl Default for ProcessPlan {
    /// One without a command, as who starts it, that ends with that process.
    fn default() -> Self {
        ProcessPlan {
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            uid: nix::unistd::getuid(),
            gid: nix::unistd::getgid(),
            groups: None,
            umask: None,
            rlimits: Vec::new(),
            capabilities: None,
            no_new_privileges: false,
            seccomp: None,
            emulate_root: None,
            emulating_seccomp: None,
            oom_score_adj: None,
            treatment: Treatment::default(),
            agent: None,
            terminal: None,
            sockets: (0, None),
            preserved: 0,
            program: None,
            death_signal: Some(Signal::SIGKILL),
            console: None,
        }
    }
}

/// Another program that answers for calls (runtime-spec, config-linux.md,
/// "Seccomp").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The socket where it listens.
    pub path: PathBuf,
    /// What it is told besides.
    pub metadata: Option<String>,
    /// The container's state, without the process's id if that is its first one.
    /// Who makes containers without such a state has no agents.
    pub state: serde_json::Value,
}

/// Which system call filter a spec asks for.
#[derive(Debug, Clone, Copy)]
pub enum Seccomp<'a> {
    /// None.
    Off,
    /// The built-in profile for the process's bounding set.
    Default,
    /// The spec's own.
    Profile(&'a LinuxSeccomp),
}

impl<'a> Seccomp<'a> {
    /// The spec's profile if it has one, else the default one if that is
    /// asked for.
    pub fn of(profile: Option<&'a LinuxSeccomp>, default: bool) -> Self {
        match (profile, default) {
            (Some(profile), _) => Seccomp::Profile(profile),
            (None, true) => Seccomp::Default,
            (None, false) => Seccomp::Off,
        }
    }
}

/// The bit of a capability, by its number in capabilities(7).
pub fn capability_bit(capability: Capability) -> u64 {
    let number = match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    };
    1 << number
}

fn capabilities(sets: &LinuxCapabilities) -> cred::Capabilities {
    let mask = |set: &Option<std::collections::HashSet<Capability>>| {
        let bits = set.iter().flatten().map(|c| capability_bit(*c));
        bits.fold(0, |all, bit| all | bit)
    };
    let permitted = mask(sets.permitted());
    let inheritable = mask(sets.inheritable());
    cred::Capabilities {
        bounding: mask(sets.bounding()),
        // What is not permitted cannot be effective, and so on: the kernel
        // would refuse the whole set.
        effective: mask(sets.effective()) & permitted,
        permitted,
        inheritable,
        ambient: mask(sets.ambient()) & permitted & inheritable,
    }
}

fn asks_a_listener(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    let mut actions = rules
        .map(|rule| rule.action())
        .chain([profile.default_action()]);
    actions.any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

/// Who is asked by a profile that asks.
fn agent(profile: &LinuxSeccomp, emulate_root: Option<RootEmulation>) -> Result<Agent> {
    let unsupported = |why| Unsupported::new("linux.seccomp.syscalls", why).into();
    if emulate_root.is_some() {
        return Err(unsupported(
            "the calls of an emulated root are bryo's to answer",
        ));
    }
    let path = profile.listener_path().clone();
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Err(unsupported(
            "SCMP_ACT_NOTIFY without listenerPath asks nobody",
        ));
    };
    Ok(Agent {
        path,
        metadata: profile.listener_metadata().clone(),
        state: serde_json::Value::Null,
    })
}

/// Whether a file can be executed by what its mode says.
fn executable(file: &CStr) -> nix::Result<()> {
    // Not faccessat2(2), which the C library takes for anything more and sandboxes
    // hide.
    nix::unistd::access(file, AccessFlags::X_OK)?;
    match Path::new(OsStr::from_bytes(file.to_bytes())).is_dir() {
        true => Err(Errno::EACCES),
        false => Ok(()),
    }
}

/// The limit of setrlimit(2) that the specification calls so.
pub fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}

impl ProcessPlan {
    /// The plan of `process`. `setgroups` says whether the id map allows
    /// setgroups(2).
    ///
    /// # Errors
    /// What it leaves out or contradicts; [`Unsupported`] for what bryo does
    /// not do.
    pub fn new(
        process: &Process,
        filter: Seccomp<'_>,
        setgroups: bool,
        emulate_root: Option<RootEmulation>,
    ) -> Result<Self> {
        fields::check_process(process)?;
        Self::of_checked(process, filter, setgroups, emulate_root)
    }

    /// As [`new`](Self::new), of a process whose fields are known to be done.
    pub(super) fn of_checked(
        process: &Process,
        filter: Seccomp<'_>,
        setgroups: bool,
        emulate_root: Option<RootEmulation>,
    ) -> Result<Self> {
        let strings = |list: &Option<Vec<String>>, what| -> Result<Vec<CString>> {
            list.iter().flatten().map(|s| c_string(s, what)).collect()
        };
        let args = strings(process.args(), "argument")?;
        if args.first().is_none_or(|a| a.is_empty()) {
            refuse!(Invalid, "process.args: no command");
        }
        if !process.cwd().is_absolute() {
            refuse!(
                Invalid,
                "process.cwd: {} is not absolute",
                process.cwd().display()
            );
        }
        let user = process.user();
        let groups = user.additional_gids().iter().flatten();
        let capabilities = process.capabilities().as_ref().map(capabilities);
        let mut emulating_seccomp = None;
        let mut agent = None;
        let seccomp = match filter {
            Seccomp::Off => None,
            Seccomp::Default => {
                let sets = process.capabilities().as_ref();
                let bounding = sets.and_then(|s| s.bounding().clone()).unwrap_or_default();
                let both = |emulation| seccomp::default_emulating(&bounding, emulation);
                emulating_seccomp = emulate_root.and_then(both);
                Some(seccomp::default_filter(&bounding)?)
            }
            Seccomp::Profile(profile) => {
                if asks_a_listener(profile) {
                    agent = Some(self::agent(profile, emulate_root)?);
                }
                Some(seccomp::compile(profile, seccomp::NATIVE)?)
            }
        };
        let limits = process.rlimits().iter().flatten();
        let size = process.console_size().as_ref().map(|size| {
            let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            (clamp(size.width()), clamp(size.height()))
        });
        Ok(ProcessPlan {
            args,
            env: strings(process.env(), "environment variable")?,
            cwd: process.cwd().clone(),
            uid: Uid::from_raw(user.uid()),
            gid: Gid::from_raw(user.gid()),
            groups: setgroups.then(|| groups.map(|g| Gid::from_raw(*g)).collect()),
            umask: user.umask().map(Mode::from_bits_truncate),
            rlimits: limits
                .map(|l| (resource(l.typ()), l.soft(), l.hard()))
                .collect(),
            capabilities,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            emulate_root,
            emulating_seccomp,
            oom_score_adj: process.oom_score_adj(),
            treatment: Treatment::of(process)?,
            agent,
            terminal: process.terminal().unwrap_or(false).then_some(size),
            ..ProcessPlan::default()
        })
    }

    /// The plan of a program that is run as who starts it.
    pub(super) fn plain(program: &CStr, args: &[CString], env: &[CString]) -> Self {
        ProcessPlan {
            args: args.to_owned(),
            env: env.to_owned(),
            program: Some(program.to_owned()),
            ..ProcessPlan::default()
        }
    }

    /// The plan of `other` as who this one's command is, and with its limits.
    pub(super) fn lending(&self, other: &ProcessPlan) -> Self {
        ProcessPlan {
            args: other.args.clone(),
            env: other.env.clone(),
            program: other.program.clone(),
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
            umask: self.umask,
            rlimits: self.rlimits.clone(),
            capabilities: self.capabilities,
            no_new_privileges: self.no_new_privileges,
            seccomp: self.seccomp.clone(),
            treatment: self.treatment.clone(),
            agent: self.agent.clone(),
            ..ProcessPlan::default()
        }
    }

    /// The page that executes it, which waits first if it is to.
    pub(super) fn page(&self, waits: bool) -> sys::Result<OwnedFd> {
        trampoline::prepare(self.descriptors(waits))
    }

    /// The first descriptor that the command does not get.
    fn first_own(&self) -> u32 {
        3_u32
            .saturating_add(self.sockets.0)
            .saturating_add(self.preserved)
    }

    /// What is the page's comes behind what is the command's.
    fn descriptors(&self, waits: bool) -> Descriptors {
        let report = self.first_own() as i32;
        Descriptors {
            report,
            gate: waits.then_some(report + 1),
        }
    }

    /// The name of the command, for messages.
    pub fn name(&self) -> Cow<'_, str> {
        let program = self.program.as_ref().unwrap_or(&self.args[0]);
        program.to_string_lossy()
    }

    /// Sets the score of the calling process for the out-of-memory killer, which
    /// its children inherit.
    ///
    /// # Errors
    /// A score below the least that an administrator left it
    /// (proc_pid_oom_score_adj(5)).
    pub fn set_oom_score(&self) -> Result<()> {
        let Some(score) = self.oom_score_adj else {
            return Ok(());
        };
        sys::fd::write_file("/proc/self/oom_score_adj", score.to_string().as_bytes())
            .with_context(|| format!("set oom_score_adj {score}"))
    }

    /// Enters the working directory, which is made if it is missing.
    ///
    /// # Errors
    /// A directory that cannot be entered, or that is not below the
    /// container's root (CVE-2024-21626).
    pub fn enter_cwd(&self) -> Result<()> {
        let what = || self.cwd.display().to_string();
        match nix::unistd::chdir(&self.cwd) {
            Err(nix::errno::Errno::ENOENT) => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let root = nix::fcntl::open("/", flags, Mode::empty()).with_context(what)?;
                place::open(root, &self.cwd, true).with_context(what)?;
                nix::unistd::chdir(&self.cwd).with_context(what)?;
            }
            other => other.with_context(what)?,
        }
        // The kernel answers "(unreachable)…" or ENOENT for a directory that
        // is not below this root; such a one was reached by a descriptor.
        match nix::unistd::getcwd() {
            Ok(path) if path.is_absolute() => Ok(()),
            _ => refuse!(Invalid, "{}: leads out of the container", what()),
        }
    }

    /// Sets limits, mask, ids, capabilities and the filter, in the order in
    /// which each still may be set.
    fn apply_credentials(&self, report: &Channel) -> Result<()> {
        for (resource, soft, hard) in &self.rlimits {
            setrlimit(*resource, *soft, *hard)
                .with_context(|| format!("limit {resource:?} to {soft}:{hard}"))?;
        }
        self.treatment.apply()?;
        if let Some(mask) = self.umask {
            nix::sys::stat::umask(mask);
        }
        if let Some(caps) = &self.capabilities {
            cred::limit_bounding(caps.bounding)?;
        }
        let new_user = self.set_ids()?;
        if self.no_new_privileges {
            // As late as it can be: then it need not let the rest pass.
            self.set_capabilities()?;
            nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
            return self.install_filters(report);
        }
        // Without that bit a filter takes CAP_SYS_ADMIN (seccomp(2)), which a
        // new user id makes permitted only (capabilities(7)).
        if new_user && (self.emulate_root.is_some() || self.seccomp.is_some()) {
            caps::raise(None, CapSet::Effective, caps::Capability::CAP_SYS_ADMIN)
                .context("keep CAP_SYS_ADMIN for the filter")?;
        }
        self.install_filters(report)?;
        self.set_capabilities()
    }

    /// Sets what the spec grants, which a change of ids would take away again.
    fn set_capabilities(&self) -> Result<()> {
        if let Some(caps) = &self.capabilities {
            cred::set_capabilities(caps)?;
            cred::raise_ambient(caps.ambient)?;
        }
        Ok(())
    }

    /// Whether the user is another one than before.
    fn set_ids(&self) -> Result<bool> {
        if let Some(groups) = &self.groups {
            nix::unistd::setgroups(groups).context("set supplementary groups")?;
        }
        if nix::unistd::getgid() != self.gid {
            nix::unistd::setresgid(self.gid, self.gid, self.gid)
                .with_context(|| format!("set group id {}", self.gid))?;
        }
        let new_user = nix::unistd::getuid() != self.uid;
        if new_user {
            nix::sys::prctl::set_keepcaps(true).context("keep capabilities")?;
            nix::unistd::setresuid(self.uid, self.uid, self.uid)
                .with_context(|| format!("set user id {}", self.uid))?;
            nix::sys::prctl::set_keepcaps(false).context("keep capabilities")?;
        }
        Ok(new_user)
    }

    fn install_filters(&self, report: &Channel) -> Result<()> {
        if let Some(emulation) = self.emulate_root {
            let both = self.emulating_seccomp.as_ref();
            let installed = match both {
                Some(both) => install_with_listener(&both.program, both.flags.into()),
                // Before the profile's, which may forbid a further filter.
                None => install_with_listener(emulation.filter(), 0),
            };
            match installed {
                Ok(listener) => {
                    report.send(&Message::Listener.encode(), Some(listener.as_fd()))?;
                    if both.is_some() {
                        return Ok(());
                    }
                }
                // Inside a container whose root is emulated already.
                Err(e) if e.errno == Errno::EBUSY => {}
                Err(e) => return Err(e).context("emulate root"),
            }
        }
        if let Some(filter) = &self.seccomp {
            if filter.notify {
                let listener = install_with_listener(&filter.program, filter.flags.into())?;
                report.send(&Message::Listener.encode(), Some(listener.as_fd()))?;
                return Ok(());
            }
            sys::seccomp::install(&filter.program, filter.flags.into())?;
        }
        Ok(())
    }

    /// The file that execve is to run: the command itself if it has a slash,
    /// else the first executable of that name in the `PATH` of its own
    /// environment, as execvp(3) looks for it.
    ///
    /// # Errors
    /// ENOENT when there is none, EACCES when those found cannot be executed.
    pub fn find_program(&self) -> sys::Result<CString> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let name = self.args[0].as_bytes();
        if name.contains(&b'/') {
            return Ok(self.args[0].clone());
        }
        let path = self
            .env
            .iter()
            .rev()
            .find_map(|e| e.as_bytes().strip_prefix(b"PATH="));
        let path = path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut errno = Errno::ENOENT;
        for dir in path.split(|b| *b == b':') {
            let dir = if dir.is_empty() { b"." } else { dir };
            let file = Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name));
            let Ok(c_file) = CString::new(file.as_os_str().as_bytes()) else {
                continue;
            };
            match executable(&c_file) {
                Ok(()) => return Ok(c_file),
                Err(Errno::EACCES) if !file.is_dir() => errno = Errno::EACCES,
                Err(_) => {}
            }
        }
        Err(sys::Error::new("execve", self.name(), errno))
    }

    /// Leaves descriptors 0 to 2, the sockets and the page's own as the only ones
    /// that survive the next execve. Returns the page at a number that is not
    /// taken for that.
    fn hand_over(
        &self,
        new: &NewProcess,
        page: &OwnedFd,
        report: &Channel,
        gate: Option<&Gate>,
    ) -> Result<OwnedFd> {
        let its = self.descriptors(gate.is_some());
        let free = its.report + 2;
        let page = sys::fd::duplicate_from(page, free)?;
        sys::fd::close_on_exec_from(self.first_own())?;
        match (gate, its.gate) {
            (Some(gate), Some(number)) => {
                let [wait, report] = [&gate.wait, &gate.report];
                let (wait, report) = (
                    sys::fd::duplicate_from(wait, free)?,
                    sys::fd::duplicate_from(report, free)?,
                );
                sys::fd::duplicate_to(new, &wait, number)?;
                sys::fd::duplicate_to(new, &report, its.report)?;
            }
            _ => sys::fd::duplicate_to(new, report, its.report)?,
        }
        Ok(page)
    }

    /// The environment, with what is said about sockets.
    fn environment(&self) -> Cow<'_, [CString]> {
        let (count @ 1.., names) = &self.sockets else {
            return Cow::Borrowed(&self.env);
        };
        let mut env = self.env.clone();
        env.retain(|entry| !entry.to_bytes().starts_with(b"LISTEN_"));
        let pid = std::process::id();
        for text in [format!("LISTEN_FDS={count}"), format!("LISTEN_PID={pid}")] {
            env.extend(CString::new(text));
        }
        env.extend(names.clone());
        Cow::Owned(env)
    }

    /// Becomes the command: the last steps, none of which returns on success.
    /// `report` is the channel to bryo, `page` the [`trampoline`], which waits at
    /// `gate` if there is one.
    pub fn execute(
        &self,
        new: &NewProcess,
        page: &OwnedFd,
        report: &Channel,
        gate: Option<&Gate>,
    ) -> (Step, anyhow::Error) {
        let page = match self.hand_over(new, page, report, gate) {
            Ok(page) => page,
            Err(e) => return (Step::Execute, e),
        };
        if let Err(e) = self.apply_credentials(report) {
            return (Step::Credentials, e);
        }
        // The kernel forgets it when ids change.
        let _ = nix::sys::prctl::set_pdeathsig(self.death_signal);
        if let Err(e) = self.enter_cwd() {
            return (Step::WorkingDirectory, e);
        }
        let program = match self.find_program() {
            Ok(program) => program,
            Err(e) => return (Step::Execute, anyhow!(e)),
        };
        // Who prepares it hears of it, and not only who releases it.
        if gate.is_some()
            && let Err(errno) = executable(&program)
        {
            let error = sys::Error::new("execve", self.name(), errno);
            return (Step::Execute, anyhow!(error));
        }
        if let Err(e) = report.send(&Message::Ready.encode(), None) {
            return (Step::Execute, anyhow!(e));
        }
        let error = trampoline::execute(&page, &program, &self.args, &self.environment());
        (Step::Execute, anyhow!(error))
    }
}
