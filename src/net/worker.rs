//! The process that translates: it has a tap, sockets, and nothing else.

use super::host::{Counters, Id, Millis};
use super::polling::Polling;
use super::relay::{self, Carried, Relays};
use super::stack::{Config, Published, Readiness, Stack};
use super::wire::MAX_FRAME;
use crate::sys::channel;
use crate::sys::inet::{self, Protocol};
use crate::sys::memory::Forgettable;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

mod sockets;

pub use sockets::{NAME_SERVERS, encode_name_servers};
use sockets::{Socket, Sockets};

/// A port of the host at which the container can be reached.
#[derive(Debug)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// It listens, or is bound.
    pub socket: OwnedFd,
    /// The container's port.
    pub port: u16,
}

/// What a worker is made for.
#[derive(Debug)]
pub struct Task {
    /// The network.
    pub config: Config,
    /// The tap.
    pub tap: OwnedFd,
    /// The supervisor at its other end: as long as it sends there, there is a
    /// container. The worker's side ends when it has let go of published ports.
    pub control: OwnedFd,
    /// Published ports.
    pub listeners: Vec<Listener>,
    /// Who answers questions about names.
    pub name_servers: Vec<SocketAddr>,
    /// Addresses that connections come from, at most one of each family.
    pub outbound: Vec<IpAddr>,
    /// Addresses of the host's interfaces.
    pub own: Vec<IpAddr>,
    /// Descriptors that the process may have.
    pub descriptors: usize,
    /// Memory to give back at rest.
    pub forgettable: Forgettable,
    /// Where a [`Report`] is written, over and over.
    pub report: OwnedFd,
}

/// What a worker says of itself, as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What happened since it began.
    pub counters: Counters,
    /// Flows there are.
    pub flows: usize,
    /// Connections among them.
    pub connections: usize,
    /// What went past the tap.
    #[serde(default)]
    pub relayed: Carried,
}

/// What a worker is told while it runs, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The socket that comes along is a published port's: of TCP, or of UDP.
    Publish(bool, Published),
    /// Ports of these addresses, whose container has ended, are published no
    /// more; [`RELEASED`] is the answer.
    TakeBack(Vec<IpAddr>),
    /// The socket that comes along is one of the container's network, for this
    /// family, as was asked for; without one, there is none to be had.
    Inside(Family),
}

/// What a translator says when it has let go of ports.
pub const RELEASED: &[u8] = b"released";

/// Frames, and bytes, that are read before others have their turn.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// How long nothing may happen before memory is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How old a report may be, in milliseconds, while something happens.
const REPORT: Millis = 1000;
/// Its length in bytes; the rest is blank.
const REPORT_LENGTH: usize = 512;
/// How long what a container sent before it ended may take to arrive.
const FAREWELL: Duration = Duration::from_secs(5);

/// Marks a token that is no flow's [`Id`].
const SPECIAL: u64 = 1 << 31;
const TAP: u64 = SPECIAL;
const CONTROL: u64 = SPECIAL + 1;
const LISTENERS: u64 = SPECIAL + 2;
/// Marks a token of a relay, with its number below and its generation above.
const RELAY: u64 = SPECIAL | 1 << 30;

/// How many sockets of the container's network it asks for at a time.
pub const SOCKETS: usize = 16;
/// How many are left when it asks for more.
const FEW: usize = 4;
/// Clients that wait for such a socket.
const WAITING: usize = 1024;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// How a translator asks its supervisor for sockets of this family in the
    /// container's network; the answers are as many [`Order::Inside`].
    pub fn question(self) -> &'static [u8] {
        match self {
            Family::V4 => b"sockets of IPv4",
            Family::V6 => b"sockets of IPv6",
        }
    }
}

/// Sockets of the container's network, for connections past the stack, and
/// who waits for one.
#[derive(Debug, Default)]
struct Stock {
    sockets: Vec<OwnedFd>,
    /// How many were asked for and have not come.
    expected: usize,
    waiting: VecDeque<Client>,
    /// None can be had.
    closed: bool,
}

/// Somebody who has connected to a published port.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    address: SocketAddr,
    to: Published,
}

struct Worker {
    stack: Stack<Sockets>,
    sockets: Sockets,
    relays: Relays,
    /// For IPv4, and for IPv6.
    stocks: [Stock; 2],
    /// Descriptors for flows and relays.
    descriptors: usize,
    /// Each keeps its number; one that is taken back leaves a hole.
    listeners: Vec<Option<(Protocol, Rc<OwnedFd>, Published)>>,
    begin: Instant,
    frame: Vec<u8>,
    /// Once the container has ended: when this process does at the latest.
    end: Option<Instant>,
    report: OwnedFd,
    /// What was reported last, and when.
    reported: (Report, Millis),
}

/// Translates until the container has ended.
///
/// # Errors
/// What makes it impossible: a tap that is gone, no epoll.
pub fn run(task: Task) -> Result<(), Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&task.tap, EpollEvent::new(EpollFlags::EPOLLIN, TAP))?;
    epoll.add(&task.control, EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
    let mut worker = Worker {
        sockets: Sockets {
            epoll,
            tap: task.tap,
            name_servers: task.name_servers,
            outbound: task.outbound,
            own: task.own,
            block_host: task.config.policy.block_host,
            seed: u64::from_ne_bytes(crate::sys::random::bytes().map_err(|e| e.errno)?),
            control: task.control,
            asked: Some(Instant::now()),
        },
        stack: Stack::new(task.config),
        relays: Relays::default(),
        stocks: Default::default(),
        // There are a few others.
        descriptors: task.descriptors.saturating_sub(64),
        listeners: Vec::new(),
        begin: Instant::now(),
        frame: Vec::new(),
        end: None,
        report: task.report,
        reported: (Report::default(), 0),
    };
    worker.share_descriptors();
    for listener in task.listeners {
        let to = Published {
            port: listener.port,
            ..Published::default()
        };
        worker.publish(listener.protocol, listener.socket, to)?;
    }
    worker.work(&task.forgettable)
}

impl Worker {
    fn now(&self) -> Millis {
        self.begin.elapsed().as_millis() as Millis
    }

    fn work(mut self, forgettable: &Forgettable) -> Result<(), Errno> {
        let mut events = [EpollEvent::empty(); 128];
        let mut polling = Polling::default();
        let mut more = false;
        let mut rested = false;
        loop {
            let timeout = match (more, rested) {
                (true, _) => EpollTimeout::ZERO,
                (false, _) => self.timeout(rested),
            };
            let epoll = &self.sockets.epoll;
            let count = match polling.wait(epoll, &mut events, timeout) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            let now = self.now();
            for event in &events[..count] {
                match event.data() {
                    TAP => {
                        if !self.read_tap(now)? {
                            return Ok(());
                        }
                    }
                    CONTROL => self.hear(now),
                    token if token & RELAY == RELAY => {
                        let number = token as u32 & !(RELAY as u32);
                        self.relays.ready(number, (token >> 32) as u32);
                    }
                    token if token & SPECIAL != 0 => self.serve(token - LISTENERS, now),
                    token => {
                        let flags = event.events();
                        let any = |wanted| flags.intersects(wanted);
                        let gone =
                            EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
                        let ready = Readiness {
                            readable: any(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR),
                            writable: any(EpollFlags::EPOLLOUT),
                            hangs_up: any(gone),
                        };
                        let id = Id::from_bits(token);
                        self.stack.ready(id, ready, now, &mut self.sockets);
                    }
                }
            }
            let idle = count == 0 && !more;
            more = self.relays.run();
            more |= self.stack.run(now, &mut self.sockets);
            self.share_descriptors();
            if self.is_over() {
                return Ok(());
            }
            let resting = idle && !more;
            // Who rests may be woken by nothing for long.
            if resting || now >= self.reported.1 + REPORT {
                self.report(now);
            }
            rested = resting && (rested || self.rest(forgettable));
        }
    }

    /// Tells what happened, if anything has.
    fn report(&mut self, now: Millis) {
        let counters = self.stack.counters();
        let relayed = self.relays.carried();
        let flows = self.stack.flows() + self.relays.count();
        let last = &self.reported.0;
        if (last.counters, last.flows, last.relayed) == (counters, flows, relayed) {
            return;
        }
        let report = Report {
            counters,
            flows,
            connections: self.stack.connections() + self.relays.count(),
            relayed,
        };
        let mut text = serde_json::to_vec(&report).unwrap_or_default();
        text.resize(REPORT_LENGTH, b' ');
        // Where it cannot be written, nobody reads it.
        let _ = nix::sys::uio::pwrite(&self.report, &text, 0);
        self.reported = (report, now);
    }

    /// Gives memory back.
    fn rest(&mut self, forgettable: &Forgettable) -> bool {
        self.stack.trim();
        self.relays.trim();
        self.frame = Vec::new();
        forgettable.forget();
        true
    }

    fn timeout(&self, rested: bool) -> EpollTimeout {
        let alarm = self.stack.next_alarm();
        let alarm = alarm.map(|at| Duration::from_millis(at.saturating_sub(self.now())));
        let quiet = (!rested).then_some(QUIET);
        let end = self.end.map(|_| Duration::from_millis(20));
        match [alarm, quiet, end].into_iter().flatten().min() {
            Some(wait) => PollTimeout::try_from(wait)
                .ok()
                .and_then(|wait| EpollTimeout::try_from(i32::from(wait).max(1)).ok())
                .unwrap_or(EpollTimeout::NONE),
            None => EpollTimeout::NONE,
        }
    }

    /// Takes frames of the container; false when its network is gone.
    fn read_tap(&mut self, now: Millis) -> Result<bool, Errno> {
        self.frame.resize(MAX_FRAME, 0);
        let mut bytes = 0;
        for _ in 0..BATCH {
            match nix::unistd::read(&self.sockets.tap, &mut self.frame) {
                Ok(length) => {
                    let frame = &self.frame[..length];
                    self.stack.frame(frame, now, &mut self.sockets);
                    bytes += length;
                    if bytes >= BATCH_BYTES {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                // The interface was removed, or its namespace is gone.
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn hear(&mut self, now: Millis) {
        match channel::receive_from(&self.sockets.control, channel::MAX_MESSAGE) {
            Err(e) if matches!(e.errno, Errno::EAGAIN | Errno::EINTR) => {}
            Ok(Some(received)) => match serde_json::from_slice(&received.data) {
                Ok(order) => self.obey(order, received.fd, now),
                Err(_) => self.sockets.take_name_servers(&received.data),
            },
            Ok(None) | Err(_) => {
                let _ = self.sockets.epoll.delete(&self.sockets.control);
                self.listeners.clear();
                self.stocks = Default::default();
                self.stack.forget_datagrams(|_| true);
                // Who waits for the ports to be free sees it by this.
                inet::finish(&self.sockets.control);
                self.end = Some(Instant::now() + FAREWELL);
            }
        }
    }

    fn publish(&mut self, protocol: Protocol, socket: OwnedFd, to: Published) -> Result<(), Errno> {
        let hole = self.listeners.iter().position(Option::is_none);
        let number = hole.unwrap_or(self.listeners.len());
        let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENERS + number as u64);
        self.sockets.epoll.add(&socket, event)?;
        let entry = Some((protocol, Rc::new(socket), to));
        match self.listeners.get_mut(number) {
            Some(hole) => *hole = entry,
            None => self.listeners.push(entry),
        }
        Ok(())
    }

    /// Does what it is told while it runs.
    fn obey(&mut self, order: Order, socket: Option<OwnedFd>, now: Millis) {
        match (order, socket) {
            (Order::Publish(protocol, to), Some(socket)) => {
                let protocol = match protocol {
                    true => Protocol::Tcp,
                    false => Protocol::Udp,
                };
                let _ = self.publish(protocol, socket, to);
            }
            (Order::TakeBack(addresses), _) => {
                for entry in &mut self.listeners {
                    let gone = |to: &Published| {
                        let mut all = to.addresses.iter();
                        all.any(|address| addresses.contains(address))
                    };
                    if let Some((_, socket, _)) = entry.take_if(|(.., to)| gone(to)) {
                        let _ = self.sockets.epoll.delete(&*socket);
                    }
                }
                self.stack.forget_datagrams(|ip| addresses.contains(&ip));
                let _ = crate::sys::socket::try_send(&self.sockets.control, RELEASED);
            }
            (Order::Publish(..), None) => {}
            (Order::Inside(family), Some(socket)) => {
                let stock = &mut self.stocks[family as usize];
                stock.expected = stock.expected.saturating_sub(1);
                stock.sockets.push(socket);
                if let Some(client) = stock.waiting.pop_front() {
                    self.relay(client, now);
                }
            }
            (Order::Inside(family), None) => {
                let stock = &mut self.stocks[family as usize];
                stock.closed = true;
                for client in std::mem::take(&mut stock.waiting) {
                    self.accept(client, now);
                }
            }
        }
    }

    /// The container has ended, and what it sent has arrived.
    fn is_over(&self) -> bool {
        self.end
            .is_some_and(|end| !self.has_unsent() || Instant::now() >= end)
    }

    fn has_unsent(&self) -> bool {
        self.stack.has_unsent() || self.relays.has_unsent()
    }

    /// Each flow has a descriptor, and a relay has more.
    fn share_descriptors(&mut self) {
        let relays = self.relays.count() * relay::DESCRIPTORS;
        self.stack
            .limit_flows(self.descriptors.saturating_sub(relays));
    }

    /// Whether there is room for another relay: they may have a half.
    fn may_relay(&self) -> bool {
        let waiting = self.stocks.iter().map(|stock| stock.waiting.len());
        let all = self.relays.count() + waiting.sum::<usize>() + 1;
        all * relay::DESCRIPTORS * 2 <= self.descriptors
    }

    /// Connects a client on the host's loopback to the container past the
    /// stack, once there is a socket to do it with.
    fn relay(&mut self, client: Client, now: Millis) {
        let Some(to) = self.stack.leads_to(client.address, &client.to) else {
            return;
        };
        let family = Family::of(to.ip());
        let stock = &mut self.stocks[family as usize];
        let socket = stock.sockets.pop();
        if stock.sockets.len() < FEW && stock.expected == 0 {
            // Who cannot be asked now is asked by the next client.
            let control = &self.sockets.control;
            if crate::sys::socket::try_send(control, family.question()).is_ok() {
                stock.expected = SOCKETS;
            }
        }
        match socket {
            Some(inside) => {
                let epoll = &self.sockets.epoll;
                let token = |number: u32| RELAY | u64::from(number);
                // The client was told, by a reset.
                let _ = self.relays.begin(client.socket, inside, to, epoll, token);
            }
            None if stock.expected > 0 && stock.waiting.len() < WAITING => {
                stock.waiting.push_back(client);
            }
            None => self.accept(client, now),
        }
    }

    /// Connects a client to the container by the stack.
    fn accept(&mut self, client: Client, now: Millis) {
        let Client {
            socket,
            address,
            to,
        } = client;
        self.stack
            .accept(address, &to, now, &mut self.sockets, |id, sockets| {
                sockets.watch(&socket, id).ok()?;
                Some(Socket::Own(socket))
            });
    }

    /// Somebody connects or sends to a published port.
    fn serve(&mut self, number: u64, now: Millis) {
        let Some(Some(found)) = self.listeners.get(number as usize) else {
            return;
        };
        let (protocol, listener, to) = found.clone();
        for _ in 0..BATCH {
            match protocol {
                Protocol::Tcp => {
                    let Ok((socket, address)) = inet::accept(&*listener) else {
                        return;
                    };
                    let to = to.clone();
                    let client = Client {
                        socket,
                        address,
                        to,
                    };
                    let stock = &self.stocks[Family::of(address.ip()) as usize];
                    match address.ip().is_loopback() && !stock.closed && self.may_relay() {
                        true => self.relay(client, now),
                        false => self.accept(client, now),
                    }
                }
                _ => {
                    self.frame.resize(MAX_FRAME, 0);
                    let Ok((length, client)) = inet::receive_from(&*listener, &mut self.frame)
                    else {
                        return;
                    };
                    let data = &self.frame[..length];
                    let socket = Socket::Shared(listener.clone(), client);
                    self.stack
                        .deliver(client, &to, data, now, &mut self.sockets, socket);
                }
            }
        }
    }
}
