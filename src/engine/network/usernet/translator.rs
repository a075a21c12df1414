//! The process that translates for one container: made by its supervisor,
//! confined before it sees the first packet.

use super::UserNetwork;
use crate::error::{Fault, refuse};
use crate::net::dns::ResolvConf;
use crate::net::own;
use crate::net::policy::DNS;
use crate::net::stack::Config;
use crate::net::worker::{self, Family, Listener, Order, Report, Task};
use crate::process::{Resident, Until, in_process, spawn};
use crate::runtime::seccomp;
use crate::sys::channel::{Channel, MAX_MESSAGE};
use crate::sys::clone::{Child, NewProcess};
use crate::sys::fs::create_private;
use crate::sys::inet::{self, Protocol};
use crate::sys::memory::Forgettable;
use crate::sys::{cred, ns, socket, tap, wait};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A translator at work. It ends when this is dropped, once what its container
/// had sent by then has arrived.
#[derive(Debug)]
pub struct Translator {
    /// The process.
    pub process: Child,
    network: UserNetwork,
    control: OwnedFd,
    tap: OwnedFd,
    since: Instant,
}

/// How long it may take to let go of ports.
const LETTING_GO: Duration = Duration::from_secs(1);
/// Memory that it may map, in bytes.
const MEMORY: u64 = 1 << 30;

impl Translator {
    /// Starts one for a container whose network has its other end in `tap`.
    /// `empty` is an empty directory, the only one that it sees; what it does is
    /// told in `report`.
    ///
    /// # Errors
    /// The process could not be made.
    pub fn start(
        network: &UserNetwork,
        tap: OwnedFd,
        listeners: &[Listener],
        empty: &Path,
        report: &Path,
    ) -> Result<Translator> {
        let report = create_private(report).with_context(|| report.display().to_string())?;
        let (ours, theirs) = socket::pair()?;
        let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let process = spawn(|process| {
            let own = [theirs, told, report.into()];
            serve(process, network, &tap, own, listeners, empty)
        })
        .context("start the network's process")?;
        // Nothing of the container's is read before it is confined.
        let mut said = [0; MAX_MESSAGE];
        let length = nix::unistd::read(&ready, &mut said).context("network's process")?;
        match &said[..length] {
            b"ready" => {}
            b"" => refuse!(Internal, "the network's process was killed"),
            said => {
                return Err(Fault::decode(said).context("confine the network's process"));
            }
        }
        Ok(Translator {
            process,
            network: network.clone(),
            control: ours,
            tap,
            since: Instant::now(),
        })
    }

    /// Where it asks.
    pub fn control(&self) -> &OwnedFd {
        &self.control
    }

    /// Answers what it asks.
    pub fn answer(&self) {
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = socket::try_receive(&self.control, &mut buffer) {
            self.reply(&buffer[..length]);
        }
    }

    fn reply(&self, question: &[u8]) {
        let asks_for = |family: &Family| question == family.question();
        if question == worker::NAME_SERVERS {
            let servers = worker::encode_name_servers(&name_servers(&self.network));
            let _ = socket::try_send(&self.control, &servers);
        } else if let Some(family) = [Family::V4, Family::V6].into_iter().find(asks_for)
            && in_process(|| self.give_sockets(family)).is_err()
        {
            self.tell(&Order::Inside(family), None);
        }
    }

    /// Hands it sockets of the network that the tap is in. This process, made
    /// for it, moves there.
    fn give_sockets(&self, family: Family) -> Result<()> {
        // The container may have capabilities over the namespace it goes to.
        nix::sys::prctl::set_dumpable(false).context("set dumpable")?;
        let namespace = tap::namespace(&self.tap)?;
        let owner = ns::owning(&namespace)?;
        if !ns::same(&owner, &ns::open_file("/proc/self/ns/user")?)? {
            setns(&owner, CloneFlags::CLONE_NEWUSER).context("join the network's owner")?;
        }
        setns(&namespace, CloneFlags::CLONE_NEWNET).context("join the network")?;
        let like: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let words = serde_json::to_vec(&Order::Inside(family))?;
        let control = Channel::from(self.control.try_clone()?);
        for _ in 0..worker::SOCKETS {
            let socket = inet::open(Protocol::Tcp, like).context("socket")?;
            // A container that is gone from its network has said no farewell.
            inet::keep_alive(&socket)?;
            control.send(&words, Some(socket.as_fd()))?;
        }
        Ok(())
    }

    /// How long it has been at work.
    pub fn lived(&self) -> Duration {
        self.since.elapsed()
    }

    /// Tells it that the container has ended, and waits a moment until it has
    /// let go of the published ports.
    pub fn close_ports(&self) {
        inet::finish(&self.control);
        self.await_release(|_| {});
    }

    /// Has ports that lead to these addresses published no more, and waits a
    /// moment until it has let go of them.
    pub fn take_back(&self, addresses: Vec<IpAddr>) {
        self.tell(&Order::TakeBack(addresses), None);
        // It may serve others, and ask something for them.
        self.await_release(|question| self.reply(question));
    }

    fn await_release(&self, reply: impl Fn(&[u8])) {
        let end = wait::within(LETTING_GO);
        let mut buffer = [0; 64];
        while wait::readable(&self.control, end) {
            match socket::try_receive(&self.control, &mut buffer) {
                Ok(length @ 1..) if &buffer[..length] == worker::RELEASED => return,
                Ok(length @ 1..) => reply(&buffer[..length]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Waits until what the container had sent has arrived.
    pub fn finish(self) {
        let Translator {
            process,
            control,
            tap,
            ..
        } = self;
        drop((control, tap));
        let _ = nix::sys::wait::waitpid(process.pid, None);
    }

    /// Tells it something, with a socket if it is about one. One that does not
    /// listen is about to end.
    pub fn tell(&self, order: &Order, socket: Option<BorrowedFd<'_>>) {
        let words = serde_json::to_vec(order).unwrap_or_default();
        let control = self.control.try_clone().map(Channel::from);
        let _ = control.map(|control| control.send(&words, socket));
    }

    /// What it consists of here, for who closes all else.
    pub fn descriptors(&self) -> [i32; 3] {
        let fds = [&self.process.pidfd, &self.control, &self.tap];
        fds.map(AsRawFd::as_raw_fd)
    }

    /// Gives the tap back, for another translator.
    pub fn into_tap(self) -> OwnedFd {
        self.tap
    }
}

/// The file in which the translator of the container with this directory says
/// what it does.
pub fn report_of(container: &Path) -> PathBuf {
    container.join("traffic")
}

/// What a translator said last in this file, if there is one.
pub fn report(file: &Path) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Runs in the new process.
fn serve(
    process: &NewProcess,
    network: &UserNetwork,
    tap: &OwnedFd,
    [control, told, report]: [OwnedFd; 3],
    listeners: &[Listener],
    empty: &Path,
) -> Result<()> {
    let prepare = || -> Result<Task> {
        let tap = tap.try_clone().context("tap")?;
        let copy = |l: &Listener| {
            Ok(Listener {
                protocol: l.protocol,
                socket: l.socket.try_clone().context("published port")?,
                port: l.port,
            })
        };
        let listeners = listeners.iter().map(copy).collect::<Result<Vec<_>>>()?;
        // Nothing but these: a port is free when its last descriptor is closed.
        let mut kept = vec![
            tap.as_raw_fd(),
            control.as_raw_fd(),
            told.as_raw_fd(),
            report.as_raw_fd(),
        ];
        kept.extend(listeners.iter().map(|l| l.socket.as_raw_fd()));
        let resident = Resident {
            name: c"bryo-net",
            role: "translator",
            // It lets go of ports and delivers what is under way.
            until: Until::Done,
            hidden: true,
            keeps: Some(&kept),
        };
        resident.begin(process)?;
        let task = Task {
            config: Config {
                search: host_resolver().search,
                ..network.config()
            },
            tap,
            control,
            listeners,
            name_servers: name_servers(network),
            outbound: network.outbound.clone(),
            own: own::of_interfaces(),
            descriptors: getrlimit(Resource::RLIMIT_NOFILE)
                .context("limit of descriptors")?
                .1 as usize,
            forgettable: Forgettable::find(),
            report,
        };
        confine(empty)?;
        Ok(task)
    };
    let task = match prepare() {
        Ok(task) => task,
        Err(error) => {
            let _ = nix::unistd::write(&told, &Fault::of(&error).message());
            return Err(error);
        }
    };
    nix::unistd::write(&told, b"ready").context("ready")?;
    drop(told);
    Ok(worker::run(task)?)
}

/// Leaves the process nothing but its descriptors and new sockets: no file, no
/// capability, few system calls.
pub fn confine(empty: &Path) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of descriptors")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("limit of descriptors")?;
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).context("limit of memory")?;
    unshare(CloneFlags::CLONE_NEWUSER).context("unshare user namespace")?;
    nix::unistd::chroot(empty).with_context(|| format!("chroot {}", empty.display()))?;
    nix::unistd::chdir("/").context("chdir /")?;
    cred::limit_bounding(0)?;
    cred::set_capabilities(&cred::Capabilities::default())?;
    nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
    crate::sys::seccomp::install(seccomp::TRANSLATOR, 0)?;
    Ok(())
}

/// What the host says about names.
fn host_resolver() -> ResolvConf {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    ResolvConf::parse(&text)
}

/// Who is asked about names: those given, else the host's.
fn name_servers(network: &UserNetwork) -> Vec<SocketAddr> {
    let servers = match network.dns.as_slice() {
        [] => host_resolver().servers,
        given => given.to_vec(),
    };
    let with_port = |ip| SocketAddr::new(ip, DNS);
    servers.into_iter().map(with_port).collect()
}
