//! What a look at packets shows: files in the format of pcap(3), or a line for
//! each. Pure.

use super::wire::{self, Ip, Segment, flag, protocol};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The longest packet in such a file.
pub const LONGEST: u32 = 262_144;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// The beginning of a file, with times in nanoseconds (pcap-savefile(5)).
pub fn file_header() -> Vec<u8> {
    let mut bytes = 0xa1b2_3c4d_u32.to_ne_bytes().to_vec();
    for number in [2u16, 4] {
        bytes.extend(number.to_ne_bytes());
    }
    for number in [0, 0, LONGEST, ETHERNET] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes
}

/// What goes before a packet of `length` bytes, of which `kept` follow.
pub fn packet_header(at: Duration, length: usize, kept: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    let numbers = [
        at.as_secs() as u32,
        at.subsec_nanos(),
        kept as u32,
        length as u32,
    ];
    for (place, number) in bytes.chunks_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    bytes
}

/// A packet in words, from its Ethernet header on; it may be cut short.
pub fn describe(frame: &[u8]) -> String {
    let (Some(kind), Some(rest)) = (frame.get(12..14), frame.get(14..)) else {
        return format!("{} bytes", frame.len());
    };
    let text = match u16::from_be_bytes([kind[0], kind[1]]) {
        wire::ETHERTYPE_ARP => arp(rest),
        wire::ETHERTYPE_IPV4 => Ip::parse_v4(rest).map(|ip| packet(&ip)),
        wire::ETHERTYPE_IPV6 => Ip::parse_v6(rest).map(|ip| packet(&ip)),
        other => Some(format!("protocol 0x{other:04x}, {} bytes", rest.len())),
    };
    text.unwrap_or_else(|| format!("{} bytes that are cut short or malformed", frame.len()))
}

fn arp(bytes: &[u8]) -> Option<String> {
    let address = |at: usize| {
        let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let (sender, wanted) = (address(14)?, address(24)?);
    Some(match bytes[6..8] {
        [0, 1] => format!("ARP who has {wanted}? tell {sender}"),
        _ => format!("ARP {sender} is here"),
    })
}

fn packet(ip: &Ip) -> String {
    let (from, to) = (ip.source, ip.destination);
    if let Some(part) = ip.fragment {
        let more = if part.more { ", more follow" } else { "" };
        let length = ip.payload.len();
        return format!(
            "{from} > {to} part at {}, {length} bytes{more}",
            part.offset
        );
    }
    let ports = |a, b| format!("{} > {}", SocketAddr::new(from, a), SocketAddr::new(to, b));
    match ip.protocol {
        protocol::TCP => match Segment::parse(ip.payload) {
            Some(segment) => {
                let mut text = ports(segment.source, segment.destination);
                text += " TCP";
                for (bit, name) in [
                    (flag::SYN, "SYN"),
                    (flag::FIN, "FIN"),
                    (flag::RST, "RST"),
                    (flag::PSH, "PSH"),
                    (flag::ACK, "ACK"),
                ] {
                    if segment.has(bit) {
                        let _ = write!(text, " {name}");
                    }
                }
                let _ = write!(
                    text,
                    " seq {} ack {} window {}, {} bytes",
                    segment.seq,
                    segment.ack,
                    segment.window,
                    segment.payload.len()
                );
                text
            }
            None => format!("{from} > {to} TCP, malformed"),
        },
        protocol::UDP => match wire::parse_udp(ip.payload) {
            Some((source, destination, data)) => {
                format!("{} UDP, {} bytes", ports(source, destination), data.len())
            }
            None => format!("{from} > {to} UDP, malformed"),
        },
        protocol::ICMP | protocol::ICMPV6 => {
            let kind = ip.payload.first().copied().unwrap_or_default();
            format!("{from} > {to} {}", icmp(ip.protocol, kind))
        }
        other => format!("{from} > {to} protocol {other}, {} bytes", ip.payload.len()),
    }
}

fn icmp(version: u8, kind: u8) -> String {
    let name = match (version, kind) {
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => "echo reply",
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => "echo request",
        (protocol::ICMP, 3) | (protocol::ICMPV6, 1) => "unreachable",
        (protocol::ICMPV6, 2) => "too big",
        (protocol::ICMP, 11) | (protocol::ICMPV6, 3) => "time exceeded",
        (protocol::ICMPV6, 133) => "router solicitation",
        (protocol::ICMPV6, 134) => "router advertisement",
        (protocol::ICMPV6, 135) => "neighbour solicitation",
        (protocol::ICMPV6, 136) => "neighbour advertisement",
        (protocol::ICMP, _) => return format!("ICMP type {kind}"),
        _ => return format!("ICMPv6 type {kind}"),
    };
    match version {
        protocol::ICMP => format!("ICMP {name}"),
        _ => format!("ICMPv6 {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wire::{Head, Link, TcpHead, VNET, write_tcp};
    use proptest::prelude::*;

    #[test]
    fn packets_are_told_in_words() {
        let link = Link {
            guest: [2; 6],
            own: [4; 6],
        };
        let (from, to) = ("192.0.2.1".parse().unwrap(), "10.0.2.100".parse().unwrap());
        let head = Head::new(link, from, to, protocol::TCP);
        let tcp = TcpHead {
            seq: 7,
            flags: flag::SYN,
            window: 99,
            ..TcpHead::default()
        };
        let mut frame = [0; 100];
        let end = write_tcp(&mut frame, &head, (80, 4000), &tcp, 0);
        assert_eq!(
            describe(&frame[VNET..end]),
            "192.0.2.1:80 > 10.0.2.100:4000 TCP SYN seq 7 ack 0 window 99, 0 bytes"
        );
        assert_eq!(file_header().len(), 24);
        let header = packet_header(Duration::new(1, 2), 100, 50);
        assert_eq!(header[8..12], 50u32.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_survive(kind in 0x0800u16..0x0807, bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let mut frame = vec![0; 12];
            frame.extend(kind.to_be_bytes());
            frame.extend(&bytes);
            let _ = describe(&frame);
            let _ = describe(&bytes);
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            let _ = describe(&frame);
        }
    }
}
