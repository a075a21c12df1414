//! The other end of the tap: takes the container's frames and what happens to
//! the host's sockets, each at a time that it is told, and has a [`Host`] do
//! the rest. It waits for nothing, reads no clock and makes no system call.

use super::flows::{Flow, Flows, Key};
use super::fragments::Fragments;
use super::host::{Buffers, Context, Counters, Host, Id, Kind, Millis};
use super::policy::{Cidr, Ends, Policy, Verdict};
use super::shares::Room;
use super::tcp::{self, Fate};
use super::udp::{self, Why};
use super::wire::{
    self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Head, Ip, Link, Segment, TcpHead,
    flag, protocol,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// How a network looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The two interfaces.
    pub link: Link,
    /// Largest packet in bytes, 1280 to 65520.
    pub mtu: u16,
    /// IPv4 and IPv6, either of which may be missing.
    pub ends: Vec<Ends>,
    /// Networks that the other end is the router of.
    pub behind: Vec<Cidr>,
    /// What may be reached.
    pub policy: Policy,
    /// Domains that clients of DHCP are told to search.
    pub search: Vec<String>,
}

/// Where a published port leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The container's port.
    pub port: u16,
    /// The container's addresses, where it is not the guest.
    pub addresses: Vec<IpAddr>,
}

/// Connections that are being made at a time.
const HALF_OPEN: usize = 1024;
/// Flows at a time.
const FLOWS: usize = 32 << 10;
/// How long after none could make room one is looked for again.
const LOOK_AGAIN: Millis = 200;

/// The other end of a tap.
pub struct Stack<H: Host> {
    config: Config,
    flows: Flows<H::Socket>,
    /// Flows at a time.
    most: usize,
    /// Until then, none is looked for that could make room.
    full_until: Millis,
    fragments: Fragments,
    buffers: Buffers,
    counters: Counters,
}

macro_rules! context {
    ($stack:expr, $io:expr, $now:expr) => {
        &mut Context {
            io: $io,
            now: $now,
            link: $stack.config.link,
            mtu: $stack.config.mtu,
            buffers: &mut $stack.buffers,
            counters: &mut $stack.counters,
        }
    };
}

impl<H: Host> Stack<H> {
    /// A stack without flows.
    pub fn new(config: Config) -> Stack<H> {
        Stack {
            config,
            flows: Flows::default(),
            most: FLOWS,
            full_until: 0,
            fragments: Fragments::default(),
            buffers: Buffers::default(),
            counters: Counters::default(),
        }
    }

    /// Has no more flows than this at a time.
    pub fn limit_flows(&mut self, most: usize) {
        self.most = most.min(FLOWS);
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Flows there are now.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Connections among them.
    pub fn connections(&self) -> usize {
        let is_tcp = |flow: &&Flow<H::Socket>| matches!(flow, Flow::Tcp(_));
        self.flows.iter().filter(is_tcp).count()
    }

    /// Bytes that flows hold.
    pub fn held(&self) -> usize {
        self.buffers.held()
    }

    /// Whether the container may have sent, before it ended, what its host
    /// has yet to take.
    pub fn has_unsent(&self) -> bool {
        let mut flows = self.flows.iter();
        flows.any(|flow| matches!(flow, Flow::Tcp(flow) if flow.has_unsent()))
    }

    /// Gives back memory that is not used.
    pub fn trim(&mut self) {
        self.buffers.trim();
        self.flows.trim();
    }

    fn ends(&self, like: IpAddr) -> Option<Ends> {
        let mut all = self.config.ends.iter();
        all.find(|ends| ends.guest.is_ipv4() == like.is_ipv4())
            .copied()
    }

    /// What becomes of something that the container sends to `to`.
    fn decide(&self, ends: &Ends, to: SocketAddr, io: &mut H) -> Verdict {
        let policy = &self.config.policy;
        match policy.decide(ends, to) {
            Verdict::Host => match io.own_address(to.ip()) {
                Some(own) => policy.decide(ends, SocketAddr::new(own, to.port())),
                None => Verdict::Unreachable,
            },
            other => other,
        }
    }

    /// Takes a frame of the container, with its `virtio_net_hdr`.
    pub fn frame(&mut self, bytes: &[u8], now: Millis, io: &mut H) {
        self.counters.sent.0 += 1;
        self.counters.sent.1 += bytes.len().saturating_sub(wire::VNET) as u64;
        let done = Frame::parse(bytes).and_then(|frame| match frame.ethertype {
            ETHERTYPE_ARP => {
                self.arp(&frame, io);
                Some(())
            }
            ETHERTYPE_IPV4 => {
                Ip::parse_v4(frame.payload).and_then(|ip| self.ip(&ip, &frame, now, io))
            }
            ETHERTYPE_IPV6 => {
                Ip::parse_v6(frame.payload).and_then(|ip| self.ip(&ip, &frame, now, io))
            }
            _ => Some(()),
        });
        if done.is_none() {
            self.counters.malformed += 1;
        }
    }

    fn ip(&mut self, ip: &Ip, frame: &Frame, now: Millis, io: &mut H) -> Option<()> {
        let Some(ends) = self.ends(ip.source) else {
            self.counters.dropped += 1;
            return Some(());
        };
        let neighbour = ip.protocol == protocol::ICMPV6 && ip.fragment.is_none();
        if neighbour && self.neighbour(ip, &ends, now, io) {
            return Some(());
        }
        let sound = || frame.checked || ip.payload_is_sound() || is_bare_udp(ip);
        let whole_udp = ip.protocol == protocol::UDP && ip.fragment.is_none();
        if whole_udp && is_for_servers(ip) && sound() && self.lease(ip, &ends, now, io) {
            return Some(());
        }
        let mut behind = self.config.behind.iter();
        if ip.source != ends.guest && !behind.any(|network| network.contains(ip.source)) {
            self.counters.dropped += 1;
            return Some(());
        }
        if let Some(fragment) = ip.fragment {
            let payload = self.fragments.take(ip, fragment, now)?;
            let whole = Ip {
                payload: &payload,
                fragment: None,
                ..*ip
            };
            return match whole.payload_is_sound() {
                true => self.transport(&whole, None, &ends, now, io),
                false => None,
            };
        }
        if !sound() {
            return None;
        }
        self.transport(ip, frame.segment, &ends, now, io)
    }

    fn transport(
        &mut self,
        ip: &Ip,
        segment: Option<u16>,
        ends: &Ends,
        now: Millis,
        io: &mut H,
    ) -> Option<()> {
        match ip.protocol {
            protocol::TCP => self.tcp(ip, &Segment::parse(ip.payload)?, ends, now, io),
            protocol::UDP => {
                let (source, destination, data) = wire::parse_udp(ip.payload)?;
                let guest = SocketAddr::new(ip.source, source);
                let remote = SocketAddr::new(ip.destination, destination);
                self.datagram(Kind::Udp, guest, remote, (data, segment), ip, now, io);
            }
            protocol::ICMP | protocol::ICMPV6 => self.echo(ip, ends, now, io)?,
            _ => self.counters.dropped += 1,
        }
        Some(())
    }

    // ----- TCP

    fn tcp(&mut self, ip: &Ip, segment: &Segment, ends: &Ends, now: Millis, io: &mut H) {
        let guest = SocketAddr::new(ip.source, segment.source);
        let remote = SocketAddr::new(ip.destination, segment.destination);
        let key = Key::new(Kind::Tcp, guest, remote);
        if let Some(id) = self.flows.find(key)
            && let Some(Flow::Tcp(flow)) = self.flows.get(id)
        {
            if !flow.is_replaced_by(segment) {
                let fate = self.with_tcp(id, now, io, |flow, cx| flow.segment(segment, cx));
                return self.settle(id, fate);
            }
            self.remove(id);
        }
        if segment.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN {
            self.connect(ip, segment, ends, now, io);
        } else if !segment.has(flag::RST) {
            self.refuse(guest, remote, segment, now, io);
        }
    }

    /// Answers a segment of no connection (RFC 9293, 3.10.7.1).
    fn refuse(
        &mut self,
        guest: SocketAddr,
        remote: SocketAddr,
        segment: &Segment,
        now: Millis,
        io: &mut H,
    ) {
        let tcp = match segment.has(flag::ACK) {
            true => TcpHead {
                seq: segment.ack,
                flags: flag::RST,
                ..TcpHead::default()
            },
            false => TcpHead {
                ack: segment.seq.wrapping_add(segment.length()),
                flags: flag::RST | flag::ACK,
                ..TcpHead::default()
            },
        };
        let head = Head::new(self.config.link, remote.ip(), guest.ip(), protocol::TCP);
        let mut frame = [0; wire::VNET + wire::ETHERNET + 60];
        let ports = (remote.port(), guest.port());
        let end = wire::write_tcp(&mut frame, &head, ports, &tcp, 0);
        context!(self, io, now).transmit(&frame[..end]);
    }

    fn connect(&mut self, ip: &Ip, syn: &Segment, ends: &Ends, now: Millis, io: &mut H) {
        let guest = SocketAddr::new(ip.source, syn.source);
        let remote = SocketAddr::new(ip.destination, syn.destination);
        let to = match self.decide(ends, remote, io) {
            Verdict::To(to) => Ok(to),
            Verdict::Names => io.name_server(false).ok_or(Errno::ECONNREFUSED),
            Verdict::Unreachable if remote.ip() == ends.gateway => Err(Errno::ECONNREFUSED),
            Verdict::Unreachable | Verdict::Host => Err(Errno::EHOSTUNREACH),
            Verdict::Prohibited => Err(Errno::EACCES),
            Verdict::Ignored => return,
        };
        if !self.has_room_for_another(guest.ip(), now, io) {
            self.counters.dropped += 1;
            return;
        }
        let id = self.flows.next_id();
        match to.and_then(|to| io.open(id, Kind::Tcp, to)) {
            Ok(socket) => {
                let seq = io.random();
                let account = self.flows.account(guest.ip());
                let flow = tcp::Flow::outgoing(guest, remote, socket, syn, account, seq);
                self.insert(id, Flow::Tcp(Box::new(flow)));
            }
            Err(Errno::ECONNREFUSED) => self.refuse(guest, remote, syn, now, io),
            Err(errno) => match Why::of(errno) {
                Some(why) => udp::unreachable(
                    ends.gateway,
                    ip.source,
                    why,
                    ip.packet,
                    context!(self, io, now),
                ),
                // As many as there may be: it will ask again.
                None => self.counters.dropped += 1,
            },
        }
    }

    /// Where a published port leads for a client; the guest's own address if
    /// `to` has none.
    fn published(&self, client: SocketAddr, to: &Published, ends: &Ends) -> Option<SocketAddr> {
        let same = |address: &&IpAddr| address.is_ipv4() == client.is_ipv4();
        let address = match to.addresses.is_empty() {
            true => ends.guest,
            false => *to.addresses.iter().find(same)?,
        };
        Some(SocketAddr::new(address, to.port))
    }

    /// Where the published port `to` leads for a client, if it does.
    pub fn leads_to(&self, client: SocketAddr, to: &Published) -> Option<SocketAddr> {
        self.published(client, to, &self.ends(client.ip())?)
    }

    /// Somebody at `client` has connected to the published port `to`. `open` makes the socket known under its name.
    pub fn accept(
        &mut self,
        client: SocketAddr,
        to: &Published,
        now: Millis,
        io: &mut H,
        open: impl FnOnce(Id, &mut H) -> Option<H::Socket>,
    ) {
        let Some(ends) = self.ends(client.ip()) else {
            return;
        };
        let Some(guest) = self.published(client, to, &ends) else {
            return;
        };
        let mut remote = seen(client, &ends);
        let taken = |stack: &Self, remote| {
            stack
                .flows
                .find(Key::new(Kind::Tcp, guest, remote))
                .is_some()
        };
        for _ in 0..64 {
            if !taken(self, remote) {
                break;
            }
            remote.set_port(io.random() as u16 | 0x8000);
        }
        if taken(self, remote) || !self.has_room_for_another(guest.ip(), now, io) {
            self.counters.dropped += 1;
            return;
        }
        let id = self.flows.next_id();
        if let Some(socket) = open(id, io) {
            let seq = io.random();
            let account = self.flows.account(guest.ip());
            let flow = tcp::Flow::incoming(guest, remote, socket, account, seq);
            self.insert(id, Flow::Tcp(Box::new(flow)));
            let fate = self.with_tcp(id, now, io, |flow, cx| {
                flow.offer(cx);
                Fate::Lives
            });
            self.settle(id, fate);
        }
    }

    /// The connect of a flow has ended.
    fn connected(&mut self, id: Id, now: Millis, io: &mut H) {
        let Some(Flow::Tcp(flow)) = self.flows.get(id) else {
            return;
        };
        let (guest, remote, seq) = (flow.guest, flow.remote, flow.first_seq());
        let mut failure = None;
        let fate = self.with_tcp(id, now, io, |flow, cx| {
            failure = flow.connected(cx).err();
            match failure {
                Some(Errno::ECONNREFUSED | Errno::ECONNRESET) => flow.reset(cx),
                Some(_) => Fate::Ended,
                None => Fate::Lives,
            }
        });
        self.settle(id, fate);
        let why = match failure {
            // As if the first segment had been lost until the container gives up.
            None | Some(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ETIMEDOUT) => return,
            Some(errno) => Why::of(errno).unwrap_or(Why::Host),
        };
        let Some(ends) = self.ends(guest.ip()) else {
            return;
        };
        // The beginning of the segment that it is about.
        let head = Head::new(self.config.link, guest.ip(), remote.ip(), protocol::TCP);
        let tcp = TcpHead {
            seq,
            flags: flag::SYN,
            ..TcpHead::default()
        };
        let mut frame = [0; wire::VNET + wire::ETHERNET + 60];
        let ports = (guest.port(), remote.port());
        let end = wire::write_tcp(&mut frame, &head, ports, &tcp, 0);
        let packet = &frame[wire::VNET + wire::ETHERNET..end];
        udp::unreachable(
            ends.gateway,
            guest.ip(),
            why,
            packet,
            context!(self, io, now),
        );
    }

    fn with_tcp(
        &mut self,
        id: Id,
        now: Millis,
        io: &mut H,
        act: impl FnOnce(&mut tcp::Flow<H::Socket>, &mut Context<H>) -> Fate,
    ) -> Fate {
        let Some(Flow::Tcp(flow)) = self.flows.get(id) else {
            return Fate::Lives;
        };
        let before = flow.is_half_open();
        let fate = act(flow, context!(self, io, now));
        if before && !flow.is_half_open() {
            self.flows.opened(id);
        }
        fate
    }

    /// Drops a flow that is over, or sees to it that it is looked after.
    fn settle(&mut self, id: Id, fate: Fate) {
        match fate {
            Fate::Ended => self.remove(id),
            Fate::Lives => {
                self.flows.queue(id);
                self.flows.set_alarm(id);
            }
        }
    }

    // ----- Events

    /// A socket is ready: it can be read from or has an error, its other end
    /// hangs up, it can be written to.
    pub fn ready(&mut self, id: Id, ready: Readiness, now: Millis, io: &mut H) {
        let half_open = match self.flows.get(id) {
            Some(Flow::Tcp(flow)) => {
                flow.ready(ready.readable, ready.hangs_up);
                flow.is_half_open()
            }
            Some(Flow::Datagrams(_)) => false,
            None => return,
        };
        if half_open && (ready.writable || ready.hangs_up) {
            self.connected(id, now, io);
        } else {
            self.flows.queue(id);
        }
    }

    /// Does what is to be done by now. True if there is more to do.
    pub fn run(&mut self, now: Millis, io: &mut H) -> bool {
        while let Some(id) = self.flows.next_due(now) {
            let fate = match self.flows.get(id) {
                Some(Flow::Tcp(_)) => self.with_tcp(id, now, io, |flow, cx| flow.expire(cx)),
                _ => Fate::Ended,
            };
            self.settle(id, fate);
        }
        for _ in 0..self.flows.queued() {
            let Some(id) = self.flows.next_queued() else {
                break;
            };
            let (fate, again) = match self.flows.get(id) {
                Some(Flow::Tcp(flow)) => flow.run(context!(self, io, now)),
                Some(Flow::Datagrams(flow)) => (Fate::Lives, flow.run(context!(self, io, now))),
                None => continue,
            };
            match fate {
                Fate::Ended => self.remove(id),
                Fate::Lives => {
                    if again {
                        self.flows.queue(id);
                    }
                    self.flows.set_alarm(id);
                }
            }
        }
        self.flows.queued() > 0
    }

    /// When something is to be done next even if nothing happens.
    pub fn next_alarm(&self) -> Option<Millis> {
        self.flows.next_alarm()
    }

    /// Whether there may be another flow of the container at `guest`: if there
    /// are as many as may be, datagrams' that nobody uses any more make room,
    /// and then flows of whoever has more than it.
    fn has_room(&mut self, guest: IpAddr, now: Millis, io: &mut H) -> bool {
        if self.flows.len() >= self.most && now >= self.full_until {
            let idle = self.flows.idle(guest, now, self.most.div_ceil(16));
            if idle.is_empty() {
                // So that who sends much does not make us look all the time.
                self.full_until = now + LOOK_AGAIN;
            }
            for id in idle {
                self.remove(id);
            }
        }
        while self.flows.len() >= self.most
            && let Some(victim) = self.flows.victim(guest, Room::Flow)
        {
            self.evict(victim, now, io);
        }
        self.flows.len() < self.most
    }

    /// Whether the container at `guest` may have another connection made.
    fn has_room_for_another(&mut self, guest: IpAddr, now: Millis, io: &mut H) -> bool {
        if self.flows.half_open() >= HALF_OPEN
            && let Some(victim) = self.flows.victim(guest, Room::HalfOpen)
        {
            self.evict(victim, now, io);
        }
        self.flows.half_open() < HALF_OPEN && self.has_room(guest, now, io)
    }

    /// Drops a flow for another container's. One that is being made will be
    /// asked for again; who has one that is made is told.
    fn evict(&mut self, id: Id, now: Millis, io: &mut H) {
        let _ = self.with_tcp(id, now, io, |flow, cx| match flow.is_half_open() {
            true => Fate::Ended,
            false => flow.reset(cx),
        });
        self.remove(id);
    }

    fn insert(&mut self, id: Id, flow: Flow<H::Socket>) {
        self.counters.flows += 1;
        self.flows.insert(id, flow);
    }

    fn remove(&mut self, id: Id) {
        if let Some(Flow::Tcp(mut flow)) = self.flows.remove(id) {
            flow.release(&mut self.buffers);
        }
    }
}

/// The address by which the container sees a client: the client's own, unless
/// that would be its own too.
fn seen(client: SocketAddr, ends: &Ends) -> SocketAddr {
    match client.ip() {
        ip if ip.is_loopback() || ends.network.contains(ip) => {
            SocketAddr::new(ends.gateway, client.port())
        }
        _ => client,
    }
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// To be read from, or an error waits.
    pub readable: bool,
    /// To be written to.
    pub writable: bool,
    /// The other end closed it or failed.
    pub hangs_up: bool,
}

/// A datagram of IPv4 without a checksum, which it need not have.
fn is_bare_udp(ip: &Ip) -> bool {
    ip.protocol == protocol::UDP && ip.source.is_ipv4() && ip.payload.get(6..8) == Some(&[0, 0])
}

/// Whether it goes to a port of DHCP servers.
fn is_for_servers(ip: &Ip) -> bool {
    matches!(ip.payload.get(2..4), Some([0, 67] | [2, 35]))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

mod clients;
mod datagrams;
mod neighbours;
#[cfg(test)]
mod tests;
