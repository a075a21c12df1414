//! The process that holds a network while it is in use: it has the namespaces,
//! gives addresses out and sees to it that names are answered.
//!
//! It listens at `networks/<name>.socket`. Who joins keeps his connection;
//! when that ends, what it stood for is free again. The holder ends some time
//! after the last member. It is started by whoever needs it and has the lock
//! on `networks/start`. If it is killed, the members, each of whom has the
//! network's namespace, start another one in its place and join again; what
//! they have is known from their directories until then.

use super::definition::{Definition, Networks};
use super::lease::{Ask, Lease, MAX_WORDS, Told, mac};
use super::members;
use super::nameserver::NameServer;
use super::namespace::{self, Made};
use super::subnet::{Subnet, choose};
use crate::engine::ground::names::short;
use crate::engine::ids::keeper::{Keeper, Maps};
use crate::engine::network::usernet::translator::Translator;
use crate::engine::request::user_network::UserNetwork;
use crate::error::refuse;
use crate::error::{Fault, Kind};
use crate::idmap::write::Setgroups;
use crate::idmap::{self, size};
use crate::net::dns::ResolvConf;
use crate::net::names::{MAX_TABLE, Special, Table};
use crate::net::stack::Published;
use crate::net::worker::Order;
use crate::process::{Resident, Until, orphan};
use crate::runtime::seccomp;
use crate::sys::channel::{Channel, Received};
use crate::sys::clone::{NewProcess, exit_now};
use crate::sys::fd::close_all_but;
use crate::sys::{self, socket, wait};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a holder waits for another member.
const IDLE: Duration = Duration::from_secs(2);

/// When it tries again to end, if somebody starts a holder just then.
const AGAIN: Duration = Duration::from_millis(50);

/// Where a network is made.
#[derive(Debug)]
pub enum Basis {
    /// It is there already: its network namespace.
    Existing(OwnedFd),
    /// In the user namespace that owns this network namespace.
    Beside(OwnedFd),
    /// In the keeper's.
    Kept(Keeper),
    /// In a new user namespace with these maps.
    New(Maps),
}

/// Starts a holder; the caller has the lock for it.
///
/// # Errors
/// What keeps the network from being made.
pub fn start(networks: &Networks, definition: &Definition, basis: Basis) -> Result<()> {
    let (ours, theirs) = Channel::pair()?;
    let maps = match &basis {
        Basis::New(maps) => Some(maps.clone()),
        _ => None,
    };
    let namespaces = match maps {
        Some(_) => libc::CLONE_NEWUSER as u64,
        None => 0,
    };
    // In the child: a copy of our end would hide this process's death from it.
    let ours = Cell::new(Some(ours));
    let child = orphan(namespaces, |process| {
        drop(ours.take());
        if let Err(error) = hold(&process, networks, definition, basis, &theirs) {
            let _ = theirs.send(&Fault::of(&error).message(), None);
        }
    })?;
    drop(theirs);
    let ours = ours.take().context("no channel")?;
    let started = || -> Result<()> {
        if let Some(maps) = &maps {
            let setgroups = match size(&maps.gids) {
                1 => Setgroups::Denied,
                _ => Setgroups::Allowed,
            };
            let process = child.pid.to_string();
            idmap::write::write(&process, &maps.uids, &maps.gids, setgroups)?;
        }
        ours.send(b"go", None)?;
        match ours.receive()? {
            Some(received) if received.data == b"ready" => Ok(()),
            Some(received) => Err(Fault::decode(&received.data)),
            None => refuse!(Internal, "it was killed"),
        }
    };
    started()
        .inspect_err(|_| drop(sys::pidfd::kill(&child.pidfd, libc::SIGKILL)))
        .with_context(|| format!("start network '{}'", definition.name))
}

/// A connection.
#[derive(Debug)]
struct Member {
    connection: Channel,
    role: Role,
}

/// What a connection is for.
#[derive(Debug)]
enum Role {
    /// It has asked for nothing that lasts.
    Asking,
    /// A container is here.
    Claim(Box<Claim>),
    /// Somebody wants to hear of names.
    Watching,
}

/// Another network, some container of which is on this one too.
#[derive(Debug)]
struct Neighbour {
    connection: Channel,
    names: Vec<(String, IpAddr)>,
}

#[derive(Debug)]
struct Claim {
    container: String,
    lease: Lease,
    dns: Vec<IpAddr>,
    also: Vec<String>,
    /// Its published ports: of TCP or of UDP, where they lead.
    ports: Vec<(bool, Published, OwnedFd)>,
}

struct Holder<'a> {
    definition: &'a Definition,
    made: Made,
    listener: OwnedFd,
    members: Vec<Member>,
    /// What containers have that joined a holder before this one.
    before: HashMap<String, Vec<IpAddr>>,
    /// The last number given out, of each kind of address.
    last: Vec<u128>,
    names: NameServer,
    /// Who translates for what goes out.
    translator: Option<Translator>,
    /// The host as its containers can reach it.
    host: Option<IpAddr>,
    networks: &'a Networks,
    neighbours: BTreeMap<String, Neighbour>,
    /// When somebody was here last.
    since: Instant,
    /// Another network has its name.
    outdated: bool,
}

/// The holder's whole life.
fn hold(
    process: &NewProcess,
    networks: &Networks,
    definition: &Definition,
    basis: Basis,
    starter: &Channel,
) -> Result<()> {
    let resident = Resident {
        name: c"bryo-network",
        role: &format!("network {}", definition.name),
        until: Until::Done,
        hidden: false,
        keeps: None,
    };
    resident.begin(process)?;
    // The maps are written, or the starter has died.
    if starter.receive()?.is_none() {
        return Ok(());
    }
    let existing = match &basis {
        Basis::Existing(namespace) | Basis::Beside(namespace) => {
            let owner = sys::ns::owning(namespace)?;
            enter(&owner)?;
            matches!(basis, Basis::Existing(_)).then_some(namespace)
        }
        Basis::Kept(keeper) => {
            keeper.join()?;
            None
        }
        Basis::New(_) => {
            nix::sys::prctl::set_dumpable(true).context("set dumpable")?;
            None
        }
    };
    let mut made = namespace::make(definition, existing)?;
    let way_out = definition.way_out()?;
    let tap = made.tap.take();
    let translator = match (&way_out, tap) {
        (Some(way_out), Some(tap)) => Some(translate(networks, definition, way_out, tap)?),
        _ => None,
    };
    let before = members::alive(networks.directory(), &definition.id);
    let names = NameServer::start(&made, &empty(networks))?;
    let socket = format!("{}.socket", definition.name);
    let listener = socket::listen(networks.directory(), &socket)?;
    starter.send(b"ready", None)?;
    let mut kept = vec![
        listener.as_raw_fd(),
        made.namespace.as_raw_fd(),
        names.child.pidfd.as_raw_fd(),
        names.updates.as_raw_fd(),
    ];
    kept.extend(made.udp.iter().map(AsRawFd::as_raw_fd));
    kept.extend(made.tcp.iter().map(AsRawFd::as_raw_fd));
    kept.extend(translator.iter().flat_map(Translator::descriptors));
    if let Basis::Kept(keeper) = &basis {
        kept.extend(keeper.descriptors());
    }
    close_all_but(process, &kept)?;
    let holder = Holder {
        definition,
        made,
        listener,
        members: Vec::new(),
        before,
        last: vec![0; definition.gateways.len()],
        names,
        host: way_out.and_then(|out| out.host_address()),
        translator,
        networks,
        neighbours: BTreeMap::new(),
        since: Instant::now(),
        outdated: false,
    };
    // It starts processes of bryo's alone.
    let _ = sys::seccomp::confine(seccomp::CARETAKER, true);
    let done = holder.run();
    // What else there was is closed already.
    exit_now(done.is_err().into())
}

/// A directory that is always empty.
fn empty(networks: &Networks) -> PathBuf {
    networks.directory().with_file_name("rootfs")
}

/// What a member published is published no more.
fn take_back(translator: Option<&Translator>, claim: &Claim) {
    if let (Some(translator), false) = (translator, claim.ports.is_empty()) {
        let addresses = claim.lease.addresses.iter().map(|a| a.address);
        translator.take_back(addresses.collect());
    }
}

/// Starts who translates for what goes out by `tap`.
fn translate(
    networks: &Networks,
    definition: &Definition,
    way_out: &UserNetwork,
    tap: OwnedFd,
) -> Result<Translator> {
    let way_out = UserNetwork {
        dns: definition.dns.clone(),
        ..way_out.clone()
    };
    let report = networks.traffic(&definition.name);
    Translator::start(&way_out, tap, &[], &empty(networks), &report)
}

/// Moves this process, which has one thread, into a user namespace, where it
/// is root, unless it is there.
pub fn enter(namespace: &OwnedFd) -> Result<()> {
    let own = sys::ns::open_file("/proc/self/ns/user")?;
    if sys::ns::same(namespace, &own)? {
        return Ok(());
    }
    setns(namespace, CloneFlags::CLONE_NEWUSER).context("join the network's user namespace")?;
    nix::sys::prctl::set_dumpable(true).context("set dumpable")
}

impl Holder<'_> {
    fn run(mut self) -> Result<()> {
        loop {
            let mut fds = vec![
                self.listener.as_fd(),
                self.names.child.pidfd.as_fd(),
                self.names.updates.as_fd(),
            ];
            if let Some(translator) = &self.translator {
                fds.push(translator.process.pidfd.as_fd());
                fds.push(translator.control().as_fd());
            }
            let first = fds.len();
            fds.extend(self.members.iter().map(|m| m.connection.as_fd()));
            fds.extend(self.neighbours.values().map(|n| n.connection.as_fd()));
            let until = match self.is_busy() {
                false => wait::within(IDLE.saturating_sub(self.since.elapsed()).max(AGAIN)),
                true => None,
            };
            let seen = wait::wait(fds.into_iter().map(|fd| (fd, PollFlags::POLLIN)), until)?;
            let ready: Vec<bool> = seen.iter().map(|events| !events.is_empty()).collect();
            if first == 5 && ready[3] {
                self.translate_again();
            } else if first == 5 && ready[4] {
                self.translator.iter().for_each(Translator::answer);
            }
            if ready[1] {
                let _ = waitpid(self.names.child.pid, None);
                self.names = NameServer::start(&self.made, &empty(self.networks))?;
                self.tell_names();
            } else if ready[2] {
                // It asks whether anything has changed.
                let mut word = [0; 64];
                while socket::try_receive(&self.names.updates, &mut word).is_ok_and(|n| n > 0) {}
                self.tell_names();
            }
            let mut gone = self.hear_neighbours(&ready[first + self.members.len()..]);
            // Those that leave first: what they had is free then.
            let mut number = first;
            let mut asked = Vec::new();
            self.members.retain(|member| {
                number += 1;
                if !ready[number - 1] {
                    return true;
                }
                match member.connection.receive_up_to(MAX_WORDS) {
                    Ok(Some(received)) => {
                        asked.push((member.connection.as_fd().as_raw_fd(), received));
                        true
                    }
                    Ok(None) => {
                        if let Role::Claim(claim) = &member.role {
                            gone = true;
                            take_back(self.translator.as_ref(), claim);
                        }
                        false
                    }
                    Err(e) => matches!(e.errno, Errno::EAGAIN | Errno::EINTR),
                }
            });
            for (fd, received) in asked {
                gone |= self.answer(fd, received)?;
            }
            if gone {
                self.tell_names();
            }
            if ready[0] {
                while let Some(fd) = socket::accept(&self.listener)? {
                    self.members.push(Member {
                        connection: fd.into(),
                        role: Role::Asking,
                    });
                }
            }
            if self.is_busy() {
                self.since = Instant::now();
            } else if (self.outdated || self.since.elapsed() >= IDLE) && self.end()? {
                return Ok(());
            }
        }
    }

    /// Who translated is dead: another one takes its place, unless that would
    /// be killed over and over. Connections end with it.
    fn translate_again(&mut self) {
        let Some(dead) = self.translator.take() else {
            return;
        };
        let _ = waitpid(dead.process.pid, None);
        if dead.lived() >= Duration::from_secs(1)
            && let Ok(Some(way_out)) = self.definition.way_out()
        {
            let tap = dead.into_tap();
            self.translator = translate(self.networks, self.definition, &way_out, tap).ok();
            let translator = self.translator.iter();
            for (translator, claim) in translator.flat_map(|t| self.claims().map(move |c| (t, c))) {
                for (tcp, to, socket) in &claim.ports {
                    translator.tell(&Order::Publish(*tcp, to.clone()), Some(socket.as_fd()));
                }
            }
        }
    }

    /// Whether somebody is here for more than names: two networks that watch
    /// each other would never end.
    fn is_busy(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| !matches!(member.role, Role::Watching))
    }

    /// Ends if nobody is about to come.
    fn end(&mut self) -> Result<bool> {
        let lock = self.networks.start_file()?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        if let Some(fd) = socket::accept(&self.listener)? {
            self.members.push(Member {
                connection: fd.into(),
                role: Role::Asking,
            });
            return Ok(false);
        }
        let socket = format!("{}.socket", self.definition.name);
        let _ = std::fs::remove_file(self.networks.directory().join(socket));
        let _ = std::fs::remove_file(self.networks.traffic(&self.definition.name));
        Ok(true)
    }

    /// Answers a member; whether names have changed.
    fn answer(&mut self, fd: i32, received: Received) -> Result<bool> {
        let number = |m: &Member| m.connection.as_fd().as_raw_fd() == fd;
        let Some(at) = self.members.iter().position(number) else {
            return Ok(false);
        };
        let (told, changed) = match serde_json::from_slice::<Ask>(&received.data) {
            Ok(Ask::Look) => (Told::Here, false),
            Ok(Ask::Publish(tcp, port)) => {
                self.publish(at, tcp, port, received.fd);
                (Told::Here, false)
            }
            Ok(Ask::TakeBack) => {
                self.take_back(at);
                (Told::Here, false)
            }
            Ok(Ask::Watch) => {
                self.members[at].role = Role::Watching;
                (Told::Names(self.all_names()), false)
            }
            Ok(Ask::Join { network, .. }) if network != self.definition.id => (Told::Gone, false),
            Ok(ask) => match self.join(at, ask) {
                Ok(lease) => (Told::Joined(lease), true),
                Err(error) => (Told::Refused(Fault::of(&error)), false),
            },
            Err(error) => {
                let unknown = Kind::Unsupported.says(error.to_string());
                (Told::Refused(Fault::of(&unknown.into())), false)
            }
        };
        let member = &self.members[at];
        let words = serde_json::to_vec(&told)?;
        let namespace = self.made.namespace.as_fd();
        self.outdated |= told == Told::Gone;
        if member.connection.send(&words, Some(namespace)).is_err() || told == Told::Gone {
            self.members.remove(at);
        }
        Ok(changed)
    }

    fn join(&mut self, at: usize, ask: Ask) -> Result<Lease> {
        let Ask::Join {
            container,
            names,
            wanted,
            before,
            dns,
            also,
            ..
        } = ask
        else {
            refuse!(Internal, "this is no wish to join");
        };
        // Who joins again has what it had; that may be of an earlier run.
        let reserved = self.before.remove(&container).unwrap_or(before);
        let others = self.claims().filter(|c| c.container != container);
        let others: Vec<&Claim> = others.collect();
        let addresses = |claim: &&Claim| {
            let all = claim.lease.addresses.iter();
            all.map(|a| a.address).collect::<Vec<_>>()
        };
        let mut taken: BTreeSet<IpAddr> = others.iter().flat_map(addresses).collect();
        taken.extend(self.before.values().flatten());
        taken.extend(self.definition.gateways.iter().map(|g| g.address));
        let mut given = Vec::new();
        for (gateway, last) in self.definition.gateways.iter().zip(&mut self.last) {
            let of_kind = |list: &[IpAddr]| {
                let same = |a: &&IpAddr| a.is_ipv4() == gateway.address.is_ipv4();
                list.iter().find(same).copied()
            };
            let (wanted, before) = (of_kind(&wanted), of_kind(&reserved));
            let address = choose(gateway, &taken, wanted, before, *last)?;
            if wanted.is_none() && before != Some(address) {
                *last = gateway.number(address);
            }
            given.push(Subnet {
                address,
                ..*gateway
            });
        }
        for address in &wanted {
            if !given.iter().any(|g| g.address == *address) {
                refuse!(
                    Invalid,
                    "the network has no addresses like {address}: make it with --ipv6"
                );
            }
        }
        let gateways: Vec<IpAddr> = self.definition.gateways.iter().map(|g| g.address).collect();
        let lease = Lease {
            network: self.definition.name.clone(),
            network_id: self.definition.id.clone(),
            mac: mac(given[0].address),
            addresses: given,
            routers: match self.definition.internal {
                true => Vec::new(),
                false => gateways.clone(),
            },
            name_servers: gateways,
            mtu: self.definition.mtu(),
            names,
            interface: String::new(),
        };
        self.watch(&also);
        // Who joins again keeps his ports.
        let ports = match std::mem::replace(&mut self.members[at].role, Role::Asking) {
            Role::Claim(claim) => claim.ports,
            _ => Vec::new(),
        };
        self.members[at].role = Role::Claim(Box::new(Claim {
            ports,
            container,
            lease: lease.clone(),
            dns,
            also,
        }));
        Ok(lease)
    }

    /// Publishes a port of a member.
    fn publish(&mut self, at: usize, tcp: bool, port: u16, socket: Option<OwnedFd>) {
        if let (Role::Claim(claim), Some(socket)) = (&mut self.members[at].role, socket) {
            let to = Published {
                port,
                addresses: claim.lease.addresses.iter().map(|a| a.address).collect(),
            };
            if let Some(translator) = &self.translator {
                translator.tell(&Order::Publish(tcp, to.clone()), Some(socket.as_fd()));
            }
            claim.ports.push((tcp, to, socket));
        }
    }

    /// Has a member's ports published no more, who is about to leave.
    fn take_back(&mut self, at: usize) {
        if let Role::Claim(claim) = &mut self.members[at].role {
            take_back(self.translator.as_ref(), claim);
            claim.ports.clear();
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.members.iter().filter_map(|member| match &member.role {
            Role::Claim(claim) => Some(&**claim),
            _ => None,
        })
    }

    /// Asks other networks for their names, without waiting for them: they
    /// may be asking here.
    fn watch(&mut self, others: &[String]) {
        for other in others {
            if *other == self.definition.name || self.neighbours.contains_key(other) {
                continue;
            }
            let socket = format!("{other}.socket");
            let connection = socket::connect(self.networks.directory(), &socket);
            let words = serde_json::to_vec(&Ask::Watch).unwrap_or_default();
            if let Ok(fd) = connection
                && socket::try_send(&fd, &words).is_ok()
            {
                let neighbour = Neighbour {
                    connection: fd.into(),
                    names: Vec::new(),
                };
                self.neighbours.insert(other.clone(), neighbour);
            }
        }
    }

    /// Takes what neighbours say; whether names have changed.
    fn hear_neighbours(&mut self, ready: &[bool]) -> bool {
        let mut ready = ready.iter();
        let before = self.neighbours.len();
        let mut changed = false;
        self.neighbours.retain(|_, neighbour| {
            if ready.next() != Some(&true) {
                return true;
            }
            match neighbour.connection.receive_up_to(MAX_TABLE) {
                Ok(Some(received)) => {
                    if let Ok(Told::Names(names)) = serde_json::from_slice(&received.data) {
                        neighbour.names = names;
                        changed = true;
                    }
                    true
                }
                _ => false,
            }
        });
        changed || self.neighbours.len() != before
    }

    /// The names that are known on this network.
    fn all_names(&self) -> Vec<(String, IpAddr)> {
        let mut all = Vec::new();
        for claim in self.claims() {
            let own = short(&claim.container).to_owned();
            let first = claim.lease.names.first();
            let full = first.map(|name| format!("{name}.{}", self.definition.name));
            for name in claim.lease.names.iter().chain(&full).chain([&own]) {
                let addresses = claim.lease.addresses.iter();
                all.extend(addresses.map(|a| (name.clone(), a.address)));
            }
        }
        all
    }

    /// Who is asked about other names: those of the definition, else those of
    /// the host as of now.
    fn servers(&self) -> Vec<IpAddr> {
        if !self.definition.dns.is_empty() {
            return self.definition.dns.clone();
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        ResolvConf::parse(&text).servers
    }

    /// Says to the name server, and to neighbours, what the names are now.
    fn tell_names(&mut self) {
        let names = self.all_names();
        let words = serde_json::to_vec(&Told::Names(names.clone())).unwrap_or_default();
        for member in &self.members {
            if matches!(member.role, Role::Watching) {
                // One that does not listen hears of the next change.
                let _ = socket::try_send(&member.connection, &words);
            }
        }
        let mut names = names;
        for host in ["host.containers.internal", "host.docker.internal"] {
            names.extend(self.host.map(|address| (host.to_owned(), address)));
        }
        let special = |claim: &Claim| {
            let also = claim.also.iter();
            let neighbours = also.filter_map(|name| self.neighbours.get(name));
            Special {
                addresses: claim.lease.addresses.iter().map(|a| a.address).collect(),
                servers: claim.dns.clone(),
                names: neighbours.flat_map(|n| n.names.clone()).collect(),
            }
        };
        let specials = self.claims().map(special);
        let different = |s: &Special| !s.servers.is_empty() || !s.names.is_empty();
        let table = Table {
            of_clients: specials.filter(different).collect(),
            names,
            servers: self.servers(),
            alone: self.definition.internal,
        };
        if !self.names.tell(&table) {
            // It does not listen; another one will.
            let _ = sys::pidfd::kill(&self.names.child.pidfd, libc::SIGKILL);
        }
    }
}

/// Where a network that is not in use can be made: beside another one, since
/// a container may be on both, else where the user's containers are.
pub fn basis(networks: &Networks, own: &str) -> Result<Basis> {
    use crate::engine::ids::userns::Base;
    for other in networks.list()? {
        if other.name != own
            && let Some((_, namespace)) = super::join::look(networks, &other.name)
        {
            return Ok(Basis::Beside(namespace));
        }
    }
    let base = Base::find();
    if let Base::Granted(maps) = &base {
        match Keeper::get(maps) {
            Ok(keeper) => return Ok(Basis::Kept(keeper)),
            Err(error) if error.is::<crate::engine::ids::keeper::Nobody>() => {}
            Err(error) => return Err(error),
        }
    }
    let base = match base {
        Base::Granted(_) => Base::Single,
        other => other,
    };
    Ok(Basis::New(base.maps()))
}
