//! Datagrams: what goes from one address and port of the container to one of
//! the world shares a socket, as long as anything comes or goes.

use super::host::{Context, Host, Kind, Millis};
use super::policy::DNS;
use super::wire::{self, ETHERNET, Fragment, Head, VNET, protocol};
use nix::errno::Errno;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

/// A socket and the addresses it stands for.
#[derive(Debug)]
pub struct Flow<S> {
    /// Datagrams or echo requests.
    pub kind: Kind,
    /// The container's end; for echo requests the port is their identifier.
    pub guest: SocketAddr,
    /// The other end, as the container sees it.
    pub remote: SocketAddr,
    socket: S,
    /// When it is closed if nothing happens.
    pub deadline: Option<Millis>,
    /// Datagrams went there, and came.
    sent: bool,
    received: bool,
    /// When something was first sent.
    since: Option<Millis>,
    /// The beginning of what was sent last, for errors about it.
    last: Vec<u8>,
}

/// How long a question of names may take, something without an answer, and a
/// conversation pause (RFC 4787, REQ-5).
const NAMES: Millis = 10_000;
const UNANSWERED: Millis = 30_000;
const CONVERSATION: Millis = 180_000;
const ECHO: Millis = 10_000;
/// How long a name server may take.
const PATIENCE: Millis = 2_000;
/// Datagrams read for one flow before it is another's turn.
const TURN: usize = 32;

impl<S> Flow<S> {
    /// A new flow.
    pub fn new(kind: Kind, guest: SocketAddr, remote: SocketAddr, socket: S) -> Flow<S> {
        Flow {
            kind,
            guest,
            remote,
            socket,
            deadline: None,
            sent: false,
            received: false,
            since: None,
            last: Vec::new(),
        }
    }

    /// Whether it is a question that has had no answer for long.
    pub fn is_in_vain(&self, now: Millis) -> bool {
        let long = self.since.is_some_and(|since| since + PATIENCE <= now);
        self.kind == Kind::Udp && self.remote.port() == DNS && !self.received && long
    }

    /// How long nothing may happen.
    fn time(&self) -> Millis {
        match (self.kind, self.remote.port()) {
            (Kind::Ping, _) => ECHO,
            (_, DNS) => NAMES,
            _ if self.sent && self.received => CONVERSATION,
            _ => UNANSWERED,
        }
    }

    fn touch(&mut self, now: Millis) {
        self.deadline = Some(now + self.time());
    }

    /// For how much of its time, of a thousand parts, nothing has happened.
    pub fn rested(&self, now: Millis) -> Millis {
        let left = self.deadline.map_or(0, |at| at.saturating_sub(now));
        1000 - left.min(self.time()) * 1000 / self.time()
    }

    /// Passes on what the container sent. `packet` is what it was in.
    pub fn send<H: Host<Socket = S>>(
        &mut self,
        data: &[u8],
        segment: Option<u16>,
        packet: &[u8],
        cx: &mut Context<H>,
    ) {
        self.sent = true;
        self.touch(cx.now);
        self.since.get_or_insert(cx.now);
        self.last.clear();
        self.last.extend_from_slice(&packet[..packet.len().min(64)]);
        match cx.io.send_datagrams(&self.socket, data, segment) {
            Ok(()) => {}
            // A full queue, or one that lost some: so are networks.
            Err(Errno::EAGAIN | Errno::ENOBUFS) => cx.counters.dropped += 1,
            // The error may be about an earlier one, and is told once.
            Err(errno) => {
                self.fail(errno, cx);
                let _ = cx.io.send_datagrams(&self.socket, data, segment);
            }
        }
    }

    /// Passes on what came for the container by another way.
    pub fn deliver<H: Host<Socket = S>>(&mut self, data: &[u8], cx: &mut Context<H>) {
        self.received = true;
        self.touch(cx.now);
        deliver(self.remote, self.guest, data, cx);
    }

    /// Reads what came for the container. True if there may be more.
    pub fn run<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> bool {
        let mut buffer = cx.buffers.take();
        let mut again = true;
        for _ in 0..TURN {
            let mut whole = [IoSliceMut::new(&mut buffer)];
            match cx.io.receive(&self.socket, &mut whole) {
                Ok(length) => {
                    self.received = true;
                    self.touch(cx.now);
                    match self.kind {
                        Kind::Ping => self.echo_reply(&mut buffer[..length], cx),
                        _ if length <= wire::MAX_PACKET - 48 => {
                            deliver(self.remote, self.guest, &buffer[..length], cx);
                        }
                        _ => cx.counters.dropped += 1,
                    }
                }
                Err(Errno::EAGAIN) => {
                    again = false;
                    break;
                }
                Err(errno) => self.fail(errno, cx),
            }
        }
        cx.buffers.give(buffer);
        again
    }

    fn fail<H: Host<Socket = S>>(&mut self, errno: Errno, cx: &mut Context<H>) {
        if let Some(why) = Why::of(errno) {
            let last = std::mem::take(&mut self.last);
            unreachable(self.remote.ip(), self.guest.ip(), why, &last, cx);
            self.last = last;
        }
    }

    /// The kernel gave the socket another identifier than the container uses.
    fn echo_reply<H: Host<Socket = S>>(&mut self, message: &mut [u8], cx: &mut Context<H>) {
        if message.len() < 8 {
            return;
        }
        message[4..6].copy_from_slice(&self.guest.port().to_be_bytes());
        icmp(self.remote.ip(), self.guest.ip(), message, cx);
    }
}

/// Gives the container a datagram, in parts if it is longer than its interface
/// takes.
pub fn deliver<H: Host>(from: SocketAddr, to: SocketAddr, data: &[u8], cx: &mut Context<H>) {
    let datagram = wire::udp_datagram(from, to, data);
    packet(from.ip(), to.ip(), protocol::UDP, &datagram, cx);
}

/// Gives the container an ICMP message, whose checksum is written here.
pub fn icmp<H: Host>(from: IpAddr, to: IpAddr, message: &mut [u8], cx: &mut Context<H>) {
    let kind = match to {
        IpAddr::V4(_) => protocol::ICMP,
        IpAddr::V6(_) => protocol::ICMPV6,
    };
    let head = Head {
        // What neighbours say is believed from neighbours alone.
        hops: if message[0] >= 133 { 255 } else { 64 },
        ..Head::new(cx.link, from, to, kind)
    };
    wire::seal_icmp(&head, message);
    packet_with(head, message, cx);
}

fn packet<H: Host>(from: IpAddr, to: IpAddr, kind: u8, payload: &[u8], cx: &mut Context<H>) {
    packet_with(Head::new(cx.link, from, to, kind), payload, cx);
}

fn packet_with<H: Host>(mut head: Head, payload: &[u8], cx: &mut Context<H>) {
    let mut buffer = cx.buffers.take();
    let header = wire::ip_offset(head.source) - VNET - ETHERNET;
    let mtu = usize::from(cx.mtu);
    if header + payload.len() <= mtu {
        let at = head.write(&mut buffer, payload.len());
        buffer[at..at + payload.len()].copy_from_slice(payload);
        cx.transmit(&buffer[..at + payload.len()]);
    } else {
        let id = cx.io.random();
        let most = (mtu - header - 8) / 8 * 8;
        for (number, part) in payload.chunks(most).enumerate() {
            let offset = number * most;
            head.fragment = Some(Fragment {
                id,
                offset,
                more: offset + part.len() < payload.len(),
            });
            let at = head.write(&mut buffer, part.len());
            buffer[at..at + part.len()].copy_from_slice(part);
            cx.transmit(&buffer[..at + part.len()]);
        }
    }
    cx.buffers.give(buffer);
}

/// Why something did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No way leads there.
    Network,
    /// It does not answer.
    Host,
    /// Nobody listens.
    Port,
    /// It is not allowed.
    Prohibited,
    /// It is longer than this many bytes.
    TooBig(u16),
}

impl Why {
    /// What an error of a socket says; `None` for what is not worth telling.
    pub fn of(errno: Errno) -> Option<Why> {
        Some(match errno {
            Errno::ECONNREFUSED => Why::Port,
            Errno::EHOSTUNREACH | Errno::EHOSTDOWN => Why::Host,
            Errno::ENETUNREACH | Errno::ENETDOWN | Errno::EADDRNOTAVAIL => Why::Network,
            Errno::EACCES | Errno::EPERM => Why::Prohibited,
            Errno::EMSGSIZE => Why::TooBig(1280),
            _ => return None,
        })
    }

    /// Type, code and the four bytes behind the checksum: of ICMP (RFC 792,
    /// 1812) or of ICMPv6 (RFC 4443).
    fn header(self, v4: bool) -> (u8, u8, u32) {
        match (self, v4) {
            (Why::Network, true) => (3, 0, 0),
            (Why::Host, true) => (3, 1, 0),
            (Why::Port, true) => (3, 3, 0),
            (Why::Prohibited, true) => (3, 13, 0),
            (Why::TooBig(mtu), true) => (3, 4, mtu.into()),
            (Why::Network, false) => (1, 0, 0),
            (Why::Host, false) => (1, 3, 0),
            (Why::Port, false) => (1, 4, 0),
            (Why::Prohibited, false) => (1, 1, 0),
            (Why::TooBig(mtu), false) => (2, 0, mtu.into()),
        }
    }
}

/// Tells the container that `packet`, which it sent, did not arrive.
pub fn unreachable<H: Host>(
    from: IpAddr,
    to: IpAddr,
    why: Why,
    packet: &[u8],
    cx: &mut Context<H>,
) {
    let (kind, code, rest) = why.header(to.is_ipv4());
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest.to_be_bytes());
    message.extend_from_slice(&packet[..packet.len().min(512)]);
    icmp(from, to, &mut message, cx);
}
