//! What is told to images that ask for an address (RFC 2131, RFC 8415) and for
//! routers (RFC 4861): nothing that the interface does not have anyway.

use super::Stack;
use crate::net::host::{Context, Host, Millis};
use crate::net::policy::Ends;
use crate::net::wire::{self, Ip, Mac};
use crate::net::{dhcp, dhcp6, ra, udp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How long a lease holds, in seconds: a day.
const LEASE: u32 = 24 * 60 * 60;
/// How long a router says it is one, in seconds.
const ROUTER: u16 = 1800;
/// All DHCP servers on the link (RFC 8415, 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// The link-local address that an interface with this hardware address makes
/// itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    let own = [word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)];
    Ipv6Addr::new(0xfe80, 0, 0, 0, own[0], own[1], own[2], own[3])
}

impl<H: Host> Stack<H> {
    /// Answers a client of DHCP; true if the packet is one's.
    pub(super) fn lease(&mut self, ip: &Ip, ends: &Ends, now: Millis, io: &mut H) -> bool {
        let Some((_, port, data)) = wire::parse_udp(ip.payload) else {
            return false;
        };
        match (port, ends.guest, ends.gateway, ip.destination) {
            (dhcp::SERVER, IpAddr::V4(address), IpAddr::V4(gateway), IpAddr::V4(to))
                if to == Ipv4Addr::BROADCAST || to == gateway =>
            {
                let lease = dhcp::Lease {
                    address,
                    prefix: ends.network.prefix,
                    gateway,
                    dns: vec![gateway],
                    search: self.config.search.clone(),
                    mtu: self.config.mtu,
                    seconds: LEASE,
                };
                if let Some(reply) = dhcp::answer(data, &lease) {
                    let from = SocketAddr::from((gateway, dhcp::SERVER));
                    let to = SocketAddr::from((reply.to, dhcp::CLIENT));
                    udp::deliver(from, to, &reply.payload, context!(self, io, now));
                }
                true
            }
            (dhcp6::SERVER, IpAddr::V6(address), IpAddr::V6(gateway), IpAddr::V6(SERVERS)) => {
                let lease = dhcp6::Lease {
                    address,
                    server: self.config.link.own,
                    dns: vec![gateway],
                    search: self.config.search.clone(),
                    seconds: LEASE,
                };
                if let Some(payload) = dhcp6::answer(data, &lease) {
                    let own = link_local(self.config.link.own);
                    let from = SocketAddr::from((own, dhcp6::SERVER));
                    let to = SocketAddr::new(ip.source, dhcp6::CLIENT);
                    udp::deliver(from, to, &payload, context!(self, io, now));
                }
                true
            }
            _ => false,
        }
    }

    /// Tells who asks for routers that we are one.
    pub(super) fn advertise(&mut self, ip: &Ip, ends: &Ends, now: Millis, io: &mut H) {
        let (IpAddr::V6(prefix), IpAddr::V6(gateway)) = (ends.network.address, ends.gateway) else {
            return;
        };
        if !ra::is_solicitation(ip.payload) {
            return;
        }
        let mut message = ra::advertisement(&ra::Router {
            mac: self.config.link.own,
            prefix,
            length: ends.network.prefix,
            mtu: self.config.mtu.into(),
            dns: vec![gateway],
            search: self.config.search.clone(),
            seconds: ROUTER,
        });
        let to = match ip.source.is_unspecified() {
            // All nodes.
            true => IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
            false => ip.source,
        };
        let own = link_local(self.config.link.own).into();
        udp::icmp(own, to, &mut message, context!(self, io, now));
    }
}
