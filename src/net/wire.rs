//! Formats on the wire: what a tap device carries. Parsing takes any bytes;
//! writing makes legal ones only.
//!
//! Each frame begins with a `struct virtio_net_hdr` (<linux/virtio_net.h>):
//! it lets packets of up to 64 KiB cross in one piece whatever the MTU, and
//! leaves checksums to who needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the header before each frame.
pub const VNET: usize = 10;
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Longest IP packet.
pub const MAX_PACKET: usize = 65535;
/// Longest frame with its header.
pub const MAX_FRAME: usize = VNET + ETHERNET + MAX_PACKET;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// A hardware address.
pub type Mac = [u8; 6];

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Protocol numbers of IANA.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// TCP flags.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 16;
}

/// Who is at the two ends of the tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The container's interface.
    pub guest: Mac,
    /// Ours.
    pub own: Mac,
}

/// A frame of the container's.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its checksums are right or not needed.
    pub checked: bool,
    /// Bytes of payload in each datagram that this packet stands for.
    pub segment: Option<u16>,
    /// Hardware address of the sender.
    pub source: Mac,
    /// What follows.
    pub ethertype: u16,
    /// That.
    pub payload: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Frame<'a> {
    /// Reads a frame with its header; `None` if it is too short.
    pub fn parse(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let (vnet, frame) = bytes.split_at_checked(VNET)?;
        let (header, payload) = frame.split_at_checked(ETHERNET)?;
        let size = u16::from_ne_bytes([vnet[4], vnet[5]]);
        Some(Frame {
            checked: vnet[0] & (NEEDS_CSUM | DATA_VALID) != 0,
            segment: (vnet[1] & !GSO_ECN == GSO_UDP_L4 && size > 0).then_some(size),
            source: header[6..12].try_into().ok()?,
            ethertype: u16_at(header, 12)?,
            payload,
        })
    }
}

/// Which part of a packet a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Common to the fragments of one packet.
    pub id: u32,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Others follow.
    pub more: bool,
}

/// An IP packet.
#[derive(Debug, Clone, Copy)]
pub struct Ip<'a> {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    /// How many routers it may pass.
    pub hops: u8,
    /// It is a part of a packet.
    pub fragment: Option<Fragment>,
    /// What it carries.
    pub payload: &'a [u8],
    /// All of it.
    pub packet: &'a [u8],
}

impl<'a> Ip<'a> {
    /// Reads an IPv4 packet (RFC 791) with a right header checksum.
    pub fn parse_v4(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let first = *bytes.first()?;
        let header_length = usize::from(first & 15) * 4;
        if first >> 4 != 4 || header_length < 20 {
            return None;
        }
        let length = usize::from(u16_at(bytes, 2)?);
        let packet = bytes.get(..length)?;
        let (header, payload) = packet.split_at_checked(header_length)?;
        if checksum(0, header) != 0 {
            return None;
        }
        let parts = u16_at(header, 6)?;
        let (offset, more) = (usize::from(parts & 0x1fff) * 8, parts & 0x2000 != 0);
        let address = |at: usize| {
            let octets: [u8; 4] = header[at..at + 4].try_into().unwrap_or_default();
            IpAddr::V4(Ipv4Addr::from(octets))
        };
        Some(Ip {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            hops: header[8],
            fragment: (offset > 0 || more).then_some(Fragment {
                id: u32::from(u16_at(header, 4)?),
                offset,
                more,
            }),
            payload,
            packet,
        })
    }

    /// Reads an IPv6 packet (RFC 8200) and passes over extension headers that
    /// ask for nothing.
    pub fn parse_v6(bytes: &'a [u8]) -> Option<Ip<'a>> {
        let header = bytes.get(..40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let length = usize::from(u16_at(header, 4)?);
        let packet = bytes.get(..40 + length)?;
        let address = |at: usize| {
            let octets: [u8; 16] = header[at..at + 16].try_into().unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        let mut protocol = header[6];
        let mut payload = &packet[40..];
        let mut fragment = None;
        for _ in 0..8 {
            match protocol {
                // Hop-by-hop and destination options.
                0 | 60 => {
                    let length = 8 + usize::from(*payload.get(1)?) * 8;
                    protocol = payload[0];
                    payload = payload.get(length..)?;
                }
                44 if fragment.is_none() => {
                    let parts = u16_at(payload, 2)?;
                    let (offset, more) = (usize::from(parts & !7), parts & 1 != 0);
                    let id = u32_at(payload, 4)?;
                    protocol = payload[0];
                    payload = payload.get(8..)?;
                    if offset > 0 || more {
                        fragment = Some(Fragment { id, offset, more });
                        break;
                    }
                }
                _ => break,
            }
        }
        Some(Ip {
            source: address(8),
            destination: address(24),
            protocol,
            hops: header[7],
            fragment,
            payload,
            packet,
        })
    }

    /// Whether the checksum of its payload, a TCP, UDP or ICMPv6 message, is
    /// right.
    pub fn payload_is_sound(&self) -> bool {
        let start = match self.protocol {
            protocol::ICMP => 0,
            _ => pseudo(
                self.source,
                self.destination,
                self.protocol,
                self.payload.len(),
            ),
        };
        checksum(start, self.payload) == 0
    }
}

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Sender's port.
    pub source: u16,
    /// Receiver's port.
    pub destination: u16,
    /// Number of the first byte.
    pub seq: u32,
    /// Number of the byte expected next.
    pub ack: u32,
    /// See [`flag`].
    pub flags: u8,
    /// Bytes that may be sent, unscaled.
    pub window: u16,
    /// Largest segment wanted, if it says so.
    pub mss: Option<u16>,
    /// Shift of later windows, if it says so.
    pub scale: Option<u8>,
    /// It understands selective acknowledgments.
    pub sack: bool,
    /// Data.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a segment.
    pub fn parse(bytes: &'a [u8]) -> Option<Segment<'a>> {
        let length = usize::from(*bytes.get(12)? >> 4) * 4;
        if length < 20 {
            return None;
        }
        let (header, payload) = bytes.split_at_checked(length)?;
        let flags = header[13] & 0x3f;
        let (mut mss, mut scale, mut sack) = (None, None, false);
        let mut options = match flags & flag::SYN {
            0 => &[],
            _ => &header[20..],
        };
        while !options.is_empty() {
            match options {
                [1, rest @ ..] => options = rest,
                [2, 4, high, low, rest @ ..] => {
                    mss = Some(u16::from_be_bytes([*high, *low]));
                    options = rest;
                }
                [3, 3, shift, rest @ ..] => {
                    scale = Some((*shift).min(14));
                    options = rest;
                }
                [4, 2, rest @ ..] => {
                    sack = true;
                    options = rest;
                }
                [kind, length, ..] if *kind >= 2 && *length >= 2 => {
                    match options.get(usize::from(*length)..) {
                        Some(rest) => options = rest,
                        None => break,
                    }
                }
                _ => break,
            }
        }
        Some(Segment {
            source: u16_at(header, 0)?,
            destination: u16_at(header, 2)?,
            seq: u32_at(header, 4)?,
            ack: u32_at(header, 8)?,
            flags,
            window: u16_at(header, 14)?,
            mss,
            scale,
            sack,
            payload,
        })
    }

    /// Whether it has this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Numbers that it takes: its bytes, and one each for SYN and FIN.
    pub fn length(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }
}

/// A UDP datagram: ports and payload.
pub fn parse_udp(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let length = usize::from(u16_at(bytes, 4)?);
    // 0 in a packet of datagrams that are cut apart later.
    let end = if length == 0 { bytes.len() } else { length };
    Some((u16_at(bytes, 0)?, u16_at(bytes, 2)?, bytes.get(8..end)?))
}

/// The part of the Internet checksum (RFC 1071) that `bytes` contribute,
/// added to `sum`; not folded.
fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut rest = [0; 4];
    let tail = words.remainder();
    rest[..tail.len()].copy_from_slice(tail);
    sum + u64::from(u32::from_be_bytes(rest))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The Internet checksum of `bytes`; 0 if they contain a right one.
pub fn checksum(start: u64, bytes: &[u8]) -> u16 {
    !fold(add(start, bytes))
}

fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    let sum = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => add(add(0, &a.octets()), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => add(add(0, &a.octets()), &b.octets()),
        _ => 0,
    };
    sum + u64::from(protocol) + length as u64
}

/// Bytes before the payload of an IP packet between such addresses.
pub fn ip_offset(address: IpAddr) -> usize {
    VNET + ETHERNET + if address.is_ipv4() { 20 } else { 40 }
}

/// What is to be written before a payload.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Between which interfaces.
    pub link: Link,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    /// See [`Ip`].
    pub hops: u8,
    /// It is a part of a packet.
    pub fragment: Option<Fragment>,
}

impl Head {
    /// A head with what most have.
    pub fn new(link: Link, source: IpAddr, destination: IpAddr, protocol: u8) -> Head {
        Head {
            link,
            source,
            destination,
            protocol,
            hops: 64,
            fragment: None,
        }
    }

    /// Writes all headers up to the payload, of `length` bytes, to the
    /// beginning of `frame`; returns where the payload begins.
    pub fn write(&self, frame: &mut [u8], length: usize) -> usize {
        frame[..VNET].fill(0);
        ethernet(
            &mut frame[VNET..],
            self.link,
            match self.source {
                IpAddr::V4(_) => ETHERTYPE_IPV4,
                IpAddr::V6(_) => ETHERTYPE_IPV6,
            },
        );
        let ip = &mut frame[VNET + ETHERNET..];
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let parts = match self.fragment {
                    // Do not fragment.
                    None => 0x4000,
                    Some(f) => (f.offset / 8) as u16 | if f.more { 0x2000 } else { 0 },
                };
                let id = self.fragment.map_or(0, |f| f.id as u16);
                ip[..2].copy_from_slice(&[0x45, 0]);
                ip[2..4].copy_from_slice(&(20 + length as u16).to_be_bytes());
                ip[4..6].copy_from_slice(&id.to_be_bytes());
                ip[6..8].copy_from_slice(&parts.to_be_bytes());
                ip[8..12].copy_from_slice(&[self.hops, self.protocol, 0, 0]);
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                let sum = checksum(0, &ip[..20]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                VNET + ETHERNET + 20
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let extra = if self.fragment.is_some() { 8 } else { 0 };
                let next = self.fragment.map_or(self.protocol, |_| 44);
                ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
                ip[4..6].copy_from_slice(&(extra + length as u16).to_be_bytes());
                ip[6..8].copy_from_slice(&[next, self.hops]);
                ip[8..24].copy_from_slice(&source.octets());
                ip[24..40].copy_from_slice(&destination.octets());
                if let Some(f) = self.fragment {
                    let parts = f.offset as u16 | u16::from(f.more);
                    ip[40..42].copy_from_slice(&[self.protocol, 0]);
                    ip[42..44].copy_from_slice(&parts.to_be_bytes());
                    ip[44..48].copy_from_slice(&f.id.to_be_bytes());
                }
                VNET + ETHERNET + 40 + usize::from(extra)
            }
            // No packet has addresses of two families.
            _ => VNET + ETHERNET,
        }
    }

    fn pseudo(&self, length: usize) -> u64 {
        pseudo(self.source, self.destination, self.protocol, length)
    }
}

fn ethernet(frame: &mut [u8], link: Link, ethertype: u16) {
    frame[..6].copy_from_slice(&link.guest);
    frame[6..12].copy_from_slice(&link.own);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// The fields of a segment to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpHead<'a> {
    /// As in [`Segment`].
    pub seq: u32,
    /// As in [`Segment`].
    pub ack: u32,
    /// As in [`Segment`].
    pub flags: u8,
    /// As in [`Segment`].
    pub window: u16,
    /// What else it says.
    pub options: Options<'a>,
    /// Payload of each segment that this one stands for; 0 if it is one.
    pub gso: u16,
}

/// Options of a segment to be written (RFC 9293, 3.1; RFC 7323; RFC 2018).
#[derive(Debug, Clone, Copy, Default)]
pub enum Options<'a> {
    /// None.
    #[default]
    None,
    /// Those of a SYN, as in [`Segment`].
    Syn {
        /// Largest segment wanted.
        mss: u16,
        /// Shift of later windows.
        scale: Option<u8>,
        /// Selective acknowledgments are understood.
        sack: bool,
    },
    /// What came behind something that is missing: at most [`MAX_BLOCKS`]
    /// ranges, each the number of its first byte and of that behind its last.
    Sack(&'a [(u32, u32)]),
}

/// Bytes of a TCP header without options.
pub const TCP: usize = 20;
/// Bytes of its options at most.
pub const TCP_OPTIONS: usize = 40;
/// Ranges that fit into them.
pub const MAX_BLOCKS: usize = 4;

impl Options<'_> {
    fn length(&self) -> usize {
        match self {
            Options::None | Options::Sack([]) => 0,
            Options::Syn { scale, sack, .. } => {
                4 + 4 * usize::from(scale.is_some()) + 4 * usize::from(*sack)
            }
            Options::Sack(blocks) => 4 + 8 * blocks.len(),
        }
    }

    /// Writes them, filled up to whole words.
    fn write(&self, bytes: &mut [u8]) {
        match self {
            Options::None | Options::Sack([]) => {}
            Options::Syn { mss, scale, sack } => {
                bytes[..2].copy_from_slice(&[2, 4]);
                bytes[2..4].copy_from_slice(&mss.to_be_bytes());
                let mut at = 4;
                if let Some(shift) = scale {
                    bytes[at..at + 4].copy_from_slice(&[3, 3, *shift, 1]);
                    at += 4;
                }
                if *sack {
                    bytes[at..at + 4].copy_from_slice(&[1, 1, 4, 2]);
                }
            }
            Options::Sack(blocks) => {
                bytes[..4].copy_from_slice(&[1, 1, 5, (2 + 8 * blocks.len()) as u8]);
                let numbers = blocks.iter().flat_map(|(first, end)| [first, end]);
                for (place, number) in bytes[4..].chunks_exact_mut(4).zip(numbers) {
                    place.copy_from_slice(&number.to_be_bytes());
                }
            }
        }
    }
}

/// Writes a segment's headers before its payload of `length` bytes, which is
/// or will be where they end; returns the length of the frame. The kernel
/// adds the checksum if the segment leaves the machine.
pub fn write_tcp(
    frame: &mut [u8],
    head: &Head,
    ports: (u16, u16),
    tcp: &TcpHead,
    length: usize,
) -> usize {
    let options = tcp.options.length();
    let whole = TCP + options + length;
    let at = head.write(frame, whole);
    let bytes = &mut frame[at..];
    bytes[..2].copy_from_slice(&ports.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
    bytes[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
    bytes[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
    bytes[12..14].copy_from_slice(&[((TCP + options) << 2) as u8, tcp.flags]);
    bytes[14..16].copy_from_slice(&tcp.window.to_be_bytes());
    bytes[16..18].copy_from_slice(&fold(head.pseudo(whole)).to_be_bytes());
    bytes[18..20].fill(0);
    tcp.options.write(&mut bytes[TCP..]);
    let vnet = &mut frame[..VNET];
    vnet[0] = NEEDS_CSUM;
    if tcp.gso > 0 && length > usize::from(tcp.gso) {
        vnet[1] = if head.source.is_ipv4() {
            GSO_TCPV4
        } else {
            GSO_TCPV6
        };
        vnet[2..4].copy_from_slice(&((at - VNET + TCP + options) as u16).to_ne_bytes());
        vnet[4..6].copy_from_slice(&tcp.gso.to_ne_bytes());
    }
    partial(vnet, at, 16);
    at + whole
}

fn partial(vnet: &mut [u8], start: usize, offset: u16) {
    vnet[6..8].copy_from_slice(&((start - VNET) as u16).to_ne_bytes());
    vnet[8..10].copy_from_slice(&offset.to_ne_bytes());
}

/// Bytes of a UDP header.
pub const UDP: usize = 8;

/// Makes a UDP datagram, headers and checksum, without those of lower layers.
pub fn udp_datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = UDP + payload.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes.extend_from_slice(&(length as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    let sum = checksum(pseudo(from.ip(), to.ip(), protocol::UDP, length), &bytes);
    // 0 stands for none.
    let sum = if sum == 0 { 0xffff } else { sum };
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Writes the checksum of an ICMP message (RFC 792, RFC 4443).
pub fn seal_icmp(head: &Head, message: &mut [u8]) {
    message[2..4].fill(0);
    let start = match head.protocol {
        protocol::ICMP => 0,
        _ => head.pseudo(message.len()),
    };
    let sum = checksum(start, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// The answer to an ARP request (RFC 826) for an address that `ours` says is
/// ours, as a frame.
pub fn answer_arp(request: &[u8], link: Link, ours: impl Fn(Ipv4Addr) -> bool) -> Option<Vec<u8>> {
    let body = request.get(..28)?;
    if body[..8] != [0, 1, 8, 0, 6, 4, 0, 1] {
        return None;
    }
    let octets: [u8; 4] = body[24..28].try_into().ok()?;
    if !ours(octets.into()) {
        return None;
    }
    let mut frame = vec![0; VNET + ETHERNET + 28];
    ethernet(&mut frame[VNET..], link, ETHERTYPE_ARP);
    let reply = &mut frame[VNET + ETHERNET..];
    reply[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    reply[8..14].copy_from_slice(&link.own);
    reply[14..18].copy_from_slice(&body[24..28]);
    reply[18..28].copy_from_slice(&body[8..18]);
    Some(frame)
}

#[cfg(test)]
mod tests;
