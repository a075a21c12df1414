//! Who has which address on the link: ARP (RFC 826) and neighbour discovery
//! (RFC 4861).

use super::{Stack, is_link_local};
use crate::net::host::{Context, Host, Millis};
use crate::net::policy::Ends;
use crate::net::wire::{self, Frame, Ip};
use crate::net::{ra, udp};
use std::net::{IpAddr, Ipv6Addr};

impl<H: Host> Stack<H> {
    /// Answers who asks for an address of ours.
    pub(super) fn arp(&mut self, frame: &Frame, io: &mut H) {
        let ours = |address| {
            let ends = self.ends(IpAddr::V4(address));
            ends.is_some_and(|ends| ends.guest != IpAddr::V4(address))
        };
        if let Some(answer) = wire::answer_arp(frame.payload, self.config.link, ours) {
            context!(self, io, 0).transmit(&answer);
        }
    }

    /// Answers who asks for neighbours and routers (RFC 4861). True if that
    /// is what the packet is about.
    pub(super) fn neighbour(&mut self, ip: &Ip, ends: &Ends, now: Millis, io: &mut H) -> bool {
        let message = ip.payload;
        let Some(kind @ 133..=137) = message.first().copied() else {
            // Reports of multicast listeners are of no interest.
            return matches!(message.first(), Some(130..=132 | 143));
        };
        if kind == ra::SOLICITATION && ip.hops == 255 && ip.payload_is_sound() {
            self.advertise(ip, ends, now, io);
            return true;
        }
        if kind != 135 || ip.hops != 255 || message.len() < 24 || !ip.payload_is_sound() {
            return true;
        }
        let octets: [u8; 16] = message[8..24].try_into().unwrap_or_default();
        let target = IpAddr::V6(Ipv6Addr::from(octets));
        // Who asks whether an address is in use has none yet.
        let silent = ip.source.is_unspecified() || target == ends.guest;
        if silent || !(ends.network.contains(target) || is_link_local(target)) {
            return true;
        }
        let mut reply = vec![136, 0, 0, 0, 0xe0, 0, 0, 0];
        reply.extend_from_slice(&message[8..24]);
        reply.extend_from_slice(&[2, 1]);
        reply.extend_from_slice(&self.config.link.own);
        udp::icmp(target, ip.source, &mut reply, context!(self, io, now));
        true
    }
}
