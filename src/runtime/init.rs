//! Inside: from the clone to execve, in the order in which the kernel allows
//! it. Runs in a copy of a single-threaded process.

use super::gate::Gate;
use super::hooks::Moment;
use super::message::{Message, StartError, Step};
use super::outside::{self, Outside};
use super::plan::{Plan, RootMount};
use super::process::ProcessPlan;
use super::stdio::Stdio;
use super::{reaper, rootfs};
use crate::error::refuse;
use crate::idmap::write::Setgroups;
use crate::idmap::{self, lines};
use crate::sys::channel::{Channel, send_to};
use crate::sys::clone::NewProcess;
use crate::sys::clone::exit_now;
use crate::sys::fd::{create_in_root, open_in_root};
use crate::sys::{self, mount, tty};
use anyhow::{Context, Result, anyhow};
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A step's result: where it failed, and why.
type Stepped<T> = std::result::Result<T, (Step, anyhow::Error)>;

trait At<T> {
    fn at(self, step: Step) -> Stepped<T>;
}

impl<T, E: Into<anyhow::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, step: Step) -> Stepped<T> {
        self.map_err(|e| (step, e.into()))
    }
}

/// Who the process is in a new user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The user, by maps that it writes itself.
    Own,
    /// The user, by maps that are written outside.
    Given,
    /// Nobody: the user is not among the ids.
    Nobodys,
}

/// What the last step takes.
#[derive(Debug, Clone, Copy)]
pub struct Last<'a> {
    /// The [page](crate::sys::trampoline) that the process becomes.
    pub page: &'a OwnedFd,
    /// Where that waits first, if it does.
    pub gate: Option<&'a Gate>,
}

/// Starts the container's command in the calling process; what fails is told
/// on `channel`.
pub fn run(
    new: NewProcess,
    plan: &Plan,
    stdio: &Stdio,
    ids: Ids,
    channel: &Channel,
    last: Last,
) -> ! {
    let (step, error) = match start(new, plan, stdio, ids, channel, last) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    give_up(channel, step, &error)
}

/// Tells what failed and ends the process.
pub fn give_up(channel: &Channel, step: Step, error: &anyhow::Error) -> ! {
    let failure = Message::Failed(StartError::new(step, error));
    // Nobody is left to tell when this fails.
    let _ = channel.send(&failure.encode(), None);
    exit_now(1)
}

fn start(
    mut new: NewProcess,
    plan: &Plan,
    stdio: &Stdio,
    ids: Ids,
    channel: &Channel,
    last: Last,
) -> Stepped<std::convert::Infallible> {
    let creates = |flag: i32| plan.create & flag as u64 != 0;
    let mut warn = |text: String| drop(channel.send(&Message::Warning(text).encode(), None));

    stdio.place(&new).at(Step::Identity)?;
    end_with_parent().at(Step::Identity)?;
    nix::unistd::setsid().context("setsid").at(Step::Identity)?;
    sys::signal::reset().at(Step::Identity)?;
    // For the mount points made here, and the command's unless it has another.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    if creates(libc::CLONE_NEWUSER) {
        match ids {
            // The kernel allows it for the one line that maps the writer's own
            // ids (user_namespaces(7)).
            Ids::Own => map_ids("self", plan, Setgroups::Denied),
            Ids::Given | Ids::Nobodys => hear(channel, &Message::Mapped),
        }
        .at(Step::Map)?;
    }
    set_identity(plan).at(Step::Identity)?;
    if let Some(interface) = &plan.interface {
        let tap = interface.make().at(Step::Network)?;
        channel
            .send(&Message::Tap.encode(), Some(tap.as_fd()))
            .at(Step::Network)?;
    }

    rootfs::isolate(plan.root_propagation).at(Step::Root)?;
    let mut outside = None;
    if ids == Ids::Nobodys {
        outside = Some(Outside::open(plan).at(Step::Root)?);
        outside::become_root().at(Step::Identity)?;
        // The kernel forgets it where ids change (prctl(2)).
        end_with_parent().at(Step::Identity)?;
    }
    let root_step = match &plan.root_mount {
        Some(RootMount::Overlay(_)) => Step::Overlay,
        _ => Step::Root,
    };
    let root = rootfs::mount_root(plan, &mut outside).at(root_step)?;
    let (mounts, devices) = rootfs::gather(plan, &mut outside, &mut warn).at(Step::Mount)?;
    let attach = |entered| {
        rootfs::attach_all(&root, &mounts, entered).at(Step::Mount)?;
        rootfs::attach_all(&root, &devices, entered).at(Step::Device)?;
        match plan.populate_dev {
            true => rootfs::link_dev(&root).at(Step::Device),
            false => Ok(()),
        }
    };
    let hooked = plan.hooks.before_root();
    if hooked {
        attach(false)?;
        channel
            .send(&Message::Mounted.encode(), None)
            .at(Step::Hook)?;
        hear(channel, &Message::Proceed).at(Step::Hook)?;
        let pid = std::process::id() as i32;
        let ran = plan.hooks.run(Moment::CreateContainer, Some(pid));
        ran.at(Step::Hook)?;
    }
    rootfs::enter_root(&root).at(Step::Root)?;
    if !hooked {
        // The descriptor is of the mount that is now "/".
        attach(true)?;
    }
    if let Some(size) = plan.process.terminal {
        open_terminal(&new, &root, size, &plan.process, channel, true).at(Step::Device)?;
    }

    rootfs::write_sysctls(&root, &plan.sysctl).at(Step::Protect)?;
    rootfs::make_readonly(&root, &plan.readonly).at(Step::Protect)?;
    let null = devices
        .iter()
        .find(|d| d.destination() == Path::new("dev/null"));
    rootfs::mask(&root, &plan.masked, null.map(|d| d.tree())).at(Step::Protect)?;
    if plan.root_readonly {
        rootfs::make_root_readonly(&root).at(Step::Protect)?;
    }
    if let Some(propagation) = plan.final_propagation {
        rootfs::propagate(propagation).at(Step::Root)?;
    }
    // The container must not hold its own root or a half-made mount.
    drop((mounts, devices, root, outside));

    match sys::cred::new_session_keyring() {
        // A kernel without keyrings, or a user whose quota is used up; the
        // default filter forbids the keyring calls anyway.
        Ok(()) | Err(_) => {}
    }
    if plan.init {
        new = reaper::split(new).at(Step::Execute)?;
    }
    let Last { page, gate } = last;
    Err(plan.process.execute(&new, page, channel, gate))
}

fn end_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("set parent-death signal")
}

/// Writes the maps of a process in a new user namespace of the plan's.
pub(super) fn map_ids(process: &str, plan: &Plan, setgroups: Setgroups) -> Result<()> {
    let (uids, gids) = (&plan.uid_map, &plan.gid_map);
    idmap::write::write(process, uids, gids, setgroups)
        .with_context(|| format!("map ids to {:?}, groups to {:?}", lines(uids), lines(gids)))
}

/// Waits until the process outside says that it has done its part.
fn hear(channel: &Channel, word: &Message) -> Result<()> {
    let received = channel.receive()?.context("bryo was killed")?;
    match Message::decode(&received.data, "") {
        Some(said) if said == *word => Ok(()),
        other => refuse!(Internal, "unexpected message {other:?}"),
    }
}

fn set_identity(plan: &Plan) -> Result<()> {
    if plan.group.is_some() && plan.create & libc::CLONE_NEWCGROUP as u64 != 0 {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
            .context("unshare cgroup namespace")?;
    }
    if !plan.time_offsets.is_empty() {
        // Offsets are fixed once a process is inside, so this process stays
        // outside and enters with execve (Linux 6.0) or with its child.
        nix::sched::unshare(nix::sched::CloneFlags::from_bits_retain(
            libc::CLONE_NEWTIME,
        ))
        .context("unshare time namespace")?;
        sys::fd::write_file("/proc/self/timens_offsets", plan.time_offsets.as_bytes())
            .with_context(|| format!("set time offsets {:?}", plan.time_offsets))?;
    }
    plan.process.set_oom_score()?;
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).with_context(|| format!("set host name '{name}'"))?;
    }
    if let Some(name) = &plan.domainname {
        sys::machine::set_domain_name(name)?;
    }
    if plan.create & libc::CLONE_NEWNET as u64 != 0 {
        sys::net::loopback_up()?;
    }
    Ok(())
}

/// Makes a pseudo-terminal of the container's own the process's controlling
/// terminal and descriptors 0 to 2, and `/dev/console` if it is the first
/// process's; sends its master side to who is to have it.
pub fn open_terminal(
    new: &NewProcess,
    root: &OwnedFd,
    size: Option<(u16, u16)>,
    process: &ProcessPlan,
    channel: &Channel,
    console: bool,
) -> Result<()> {
    let ptmx = Path::new("dev/pts/ptmx");
    let master =
        open_in_root(root, ptmx, OFlag::O_RDWR | OFlag::O_NOCTTY).context("open a terminal")?;
    let slave = tty::open_peer(&master)?;
    if let Some((columns, rows)) = size {
        let size = tty::WindowSize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tty::set_window_size(&slave, &size)?;
    }
    match &process.console {
        // As runc says it; who takes it looks at the descriptor alone.
        Some(receiver) => {
            send_to(receiver, b"/dev/ptmx", Some(master.as_fd())).context("pass the terminal on")?
        }
        None => channel.send(&Message::Console.encode(), Some(master.as_fd()))?,
    }

    if console {
        bind_console(root, &slave)?;
    }
    tty::set_controlling(&slave)?;
    for number in 0..3 {
        sys::fd::duplicate_to(new, &slave, number)?;
    }
    Ok(())
}

fn bind_console(root: &OwnedFd, slave: &OwnedFd) -> Result<()> {
    let console = Path::new("dev/console");
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
    create_in_root(root, console, flags, Mode::from_bits_truncate(0o600))
        .context("create /dev/console")?;
    let target = open_in_root(root, console, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let tree = mount::clone_tree(slave, c"", false).context("/dev/console")?;
    mount::attach(&tree, &target, "/dev/console")?;
    Ok(())
}

/// Joins the namespaces of `plan.join`, a user namespace first.
pub fn join(plan: &Plan) -> std::result::Result<(), StartError> {
    let all = || -> Result<()> {
        let mut files = Vec::new();
        for join in &plan.join {
            let file = std::fs::File::open(&join.path)
                .map_err(|e| anyhow!(e).context(join.path.display().to_string()))?;
            files.push((join, file));
        }
        for (join, file) in &files {
            let kind = nix::sched::CloneFlags::from_bits_retain(join.kind as i32);
            nix::sched::setns(file, kind)
                .with_context(|| format!("join {}", join.path.display()))?;
        }
        Ok(())
    };
    all().map_err(|e| StartError::new(Step::Join, &e))
}
