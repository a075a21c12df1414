//! Router advertisements (RFC 4861, 4.2): what a host on the link needs for
//! IPv6 without being told otherwise. Pure.

use super::dhcp::domains;
use std::net::Ipv6Addr;

/// ICMPv6 type of a router solicitation.
pub const SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ADVERTISEMENT: u8 = 134;

/// What is advertised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Our hardware address.
    pub mac: [u8; 6],
    /// The network.
    pub prefix: Ipv6Addr,
    /// Bits of it that count.
    pub length: u8,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Name servers (RFC 8106).
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// How long all of it holds, in seconds.
    pub seconds: u16,
}

/// Whether an ICMPv6 message asks for an advertisement (RFC 4861, 6.1.1). Its
/// hop limit, which has to be 255, is the caller's to look at.
pub fn is_solicitation(message: &[u8]) -> bool {
    if message.len() < 8 || message[..2] != [SOLICITATION, 0] {
        return false;
    }
    let mut options = &message[8..];
    while let Some(length) = options.get(1) {
        let length = usize::from(*length) * 8;
        if length == 0 || length > options.len() {
            return false;
        }
        options = &options[length..];
    }
    options.is_empty()
}

/// The advertisement, an ICMPv6 message whose checksum is still 0.
pub fn advertisement(router: &Router) -> Vec<u8> {
    // Hop limit 64; addresses and all else are to be had by DHCPv6.
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, 0xc0];
    message.extend(router.seconds.to_be_bytes());
    message.extend([0; 8]);
    // Source link-layer address.
    message.extend([1, 1]);
    message.extend(router.mac);
    message.extend([5, 1, 0, 0]);
    message.extend(router.mtu.to_be_bytes());
    let seconds = u32::from(router.seconds).to_be_bytes();
    // On the link, and not for addresses of the hosts' own making (4.6.2): what
    // comes from another than the one is dropped.
    message.extend([3, 4, router.length, 0x80]);
    message.extend(seconds);
    message.extend(seconds);
    message.extend([0; 4]);
    message.extend(masked(router.prefix, router.length).octets());
    // An option's length is one byte, in units of eight.
    let servers = &router.dns[..router.dns.len().min(127)];
    if !servers.is_empty() {
        message.extend([25, 1 + 2 * servers.len() as u8, 0, 0]);
        message.extend(seconds);
        message.extend(servers.iter().flat_map(|dns| dns.octets()));
    }
    let mut search = domains(&router.search);
    search.resize(search.len().next_multiple_of(8), 0);
    if let Ok(length @ 2..) = u8::try_from(1 + search.len() / 8) {
        message.extend([31, length, 0, 0]);
        message.extend(seconds);
        message.extend(search);
    }
    message
}

fn masked(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128)));
    Ipv6Addr::from_bits(address.to_bits() & mask.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [kind, length, ..] = *bytes {
            let (option, rest) = bytes.split_at(usize::from(length) * 8);
            found.push((kind, option));
            bytes = rest;
        }
        found
    }

    proptest! {
        #[test]
        fn an_advertisement_is_sound(
            prefix: u128,
            length in 0u8..=128,
            dns in proptest::collection::vec(any::<u128>(), 0..200),
            search in proptest::collection::vec("[a-z.]{0,70}", 0..40),
        ) {
            let router = Router {
                mac: [2, 0, 0, 0, 0, 9],
                prefix: Ipv6Addr::from_bits(prefix),
                length,
                mtu: 1500,
                dns: dns.iter().copied().map(Ipv6Addr::from_bits).collect(),
                search,
                seconds: 1800,
            };
            let message = advertisement(&router);
            prop_assert_eq!(message.len() % 8, 0);
            let options = options(&message[16..]);
            let kinds: Vec<u8> = options.iter().map(|o| o.0).collect();
            prop_assert_eq!(&kinds[..3], &[1, 5, 3]);
            prop_assert_eq!(kinds.contains(&25), !dns.is_empty());
            let shown = Ipv6Addr::from(<[u8; 16]>::try_from(&options[2].1[16..]).unwrap());
            prop_assert!(length == 128 || shown.to_bits() << length == 0);
        }

        #[test]
        fn any_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = is_solicitation(&bytes);
            let mut asked = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            prop_assert!(is_solicitation(&asked));
            asked.extend(bytes);
            let _ = is_solicitation(&asked);
        }
    }
}
