//! Datagrams and echo requests.

use super::{Published, Stack, seen};
use crate::net::flows::{Flow, Key};
use crate::net::host::{Context, Host, Id, Kind, Millis};
use crate::net::policy::{Ends, Verdict};
use crate::net::udp::{self, Why};
use crate::net::wire::Ip;
use nix::errno::Errno;
use std::net::{IpAddr, SocketAddr};

impl<H: Host> Stack<H> {
    #[expect(clippy::too_many_arguments)]
    pub(super) fn datagram(
        &mut self,
        kind: Kind,
        guest: SocketAddr,
        remote: SocketAddr,
        (data, segment): (&[u8], Option<u16>),
        ip: &Ip,
        now: Millis,
        io: &mut H,
    ) {
        let key = Key::new(kind, guest, remote);
        let mut found = self.flows.find(key);
        if let Some(id) = found
            && let Some(Flow::Datagrams(flow)) = self.flows.get(id)
            && flow.is_in_vain(now)
        {
            // The name server does not answer: the next is asked.
            io.name_server(true);
            self.remove(id);
            found = None;
        }
        let id = match found {
            Some(id) => id,
            None => match self.open_datagrams(kind, guest, remote, ip, now, io) {
                Some(id) => id,
                None => return,
            },
        };
        if let Some(Flow::Datagrams(flow)) = self.flows.get(id) {
            flow.send(data, segment, ip.packet, context!(self, io, now));
        }
        self.flows.set_alarm(id);
    }

    fn open_datagrams(
        &mut self,
        kind: Kind,
        guest: SocketAddr,
        remote: SocketAddr,
        ip: &Ip,
        now: Millis,
        io: &mut H,
    ) -> Option<Id> {
        let ends = self.ends(guest.ip())?;
        let asked = match kind {
            // The port is an identifier, of which policies know nothing.
            Kind::Ping => SocketAddr::new(remote.ip(), 0),
            _ => remote,
        };
        let to = match self.decide(&ends, asked, io) {
            Verdict::To(to) => Ok(to),
            Verdict::Names => io.name_server(false).ok_or(Errno::ECONNREFUSED),
            Verdict::Unreachable if remote.ip() == ends.gateway => Err(Errno::ECONNREFUSED),
            Verdict::Unreachable | Verdict::Host => Err(Errno::EHOSTUNREACH),
            Verdict::Prohibited => Err(Errno::EACCES),
            Verdict::Ignored => return None,
        };
        if !self.has_room(guest.ip(), now, io) {
            self.counters.dropped += 1;
            return None;
        }
        let id = self.flows.next_id();
        match to.and_then(|to| io.open(id, kind, to)) {
            Ok(socket) => {
                let flow = udp::Flow::new(kind, guest, remote, socket);
                self.insert(id, Flow::Datagrams(Box::new(flow)));
                Some(id)
            }
            Err(errno) => {
                self.counters.dropped += 1;
                let why = Why::of(errno)?;
                udp::unreachable(
                    ends.gateway,
                    guest.ip(),
                    why,
                    ip.packet,
                    context!(self, io, now),
                );
                None
            }
        }
    }

    pub(super) fn echo(&mut self, ip: &Ip, ends: &Ends, now: Millis, io: &mut H) -> Option<()> {
        let request = match ip.source {
            IpAddr::V4(_) => 8,
            IpAddr::V6(_) => 128,
        };
        let message = ip.payload;
        if message.len() < 8 {
            return None;
        }
        if message[0] != request {
            // Errors that the container's kernel tells: its sockets are closed.
            return Some(());
        }
        if ip.destination == ends.gateway {
            let mut reply = message.to_vec();
            reply[0] = if request == 8 { 0 } else { 129 };
            udp::icmp(ends.gateway, ip.source, &mut reply, context!(self, io, now));
            return Some(());
        }
        let id = u16::from_be_bytes([message[4], message[5]]);
        let guest = SocketAddr::new(ip.source, id);
        let remote = SocketAddr::new(ip.destination, 0);
        self.datagram(Kind::Ping, guest, remote, (message, None), ip, now, io);
        Some(())
    }

    /// Somebody at `client` sent a datagram to the published port `to`;
    /// answers go by `socket`.
    pub fn deliver(
        &mut self,
        client: SocketAddr,
        to: &Published,
        data: &[u8],
        now: Millis,
        io: &mut H,
        socket: H::Socket,
    ) {
        let Some(ends) = self.ends(client.ip()) else {
            return;
        };
        let Some(guest) = self.published(client, to, &ends) else {
            return;
        };
        let remote = seen(client, &ends);
        let key = Key::new(Kind::Udp, guest, remote);
        let id = match self.flows.find(key) {
            Some(id) => id,
            None if !self.has_room(guest.ip(), now, io) => {
                self.counters.dropped += 1;
                return;
            }
            None => {
                let id = self.flows.next_id();
                let flow = udp::Flow::new(Kind::Udp, guest, remote, socket);
                self.insert(id, Flow::Datagrams(Box::new(flow)));
                id
            }
        };
        if let Some(Flow::Datagrams(flow)) = self.flows.get(id) {
            flow.deliver(data, context!(self, io, now));
        }
        self.flows.set_alarm(id);
    }

    /// Drops the datagrams' flows of addresses whose container has ended:
    /// published ports are bound as long as one of them has the socket.
    pub fn forget_datagrams(&mut self, of: impl Fn(IpAddr) -> bool) {
        for id in self.flows.datagrams(of) {
            self.remove(id);
        }
    }
}
