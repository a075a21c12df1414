//! Subnets and the addresses in them. Pure.

use crate::error::{refusal, refuse};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address, and how many of its bits are its network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// How many bits.
    pub prefix: u8,
}

impl Subnet {
    fn bits(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The network alone: the other bits are zero.
    pub fn network(&self) -> Subnet {
        let host = u32::from(self.bits() - self.prefix);
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        Subnet {
            address: with_value(self.address, value(self.address) & mask),
            ..*self
        }
    }

    /// Whether the address is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let other = Subnet { address, ..*self };
        self.address.is_ipv4() == address.is_ipv4() && other.network() == self.network()
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
            || other.contains(self.address) && other.prefix <= self.prefix
    }

    /// The address with this number; 0 is the network itself.
    pub fn nth(&self, number: u128) -> Option<IpAddr> {
        let found = value(self.network().address).checked_add(number)?;
        let fits = self.bits() == 128 || found <= u128::from(u32::MAX);
        let address = with_value(self.address, found);
        (fits && self.contains(address)).then_some(address)
    }

    /// The number of an address of this network.
    pub fn number(&self, address: IpAddr) -> u128 {
        value(address) - value(self.network().address)
    }

    /// Whether the address can be an interface's: it is in the network, and
    /// neither the network itself nor everybody in it.
    pub fn is_host(&self, address: IpAddr) -> bool {
        let last = match address {
            IpAddr::V4(_) => u128::from(u32::MAX) >> self.prefix,
            IpAddr::V6(_) => u128::MAX,
        };
        self.contains(address) && self.number(address) != 0 && self.number(address) != last
    }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// An address of the same family.
fn with_value(like: IpAddr, value: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(value as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(value).into(),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Subnet> {
        let wanted = || format!("'{text}': ADDRESS/BITS is wanted, as 10.90.0.0/24");
        let (address, prefix) = text.split_once('/').with_context(wanted)?;
        let subnet = Subnet {
            address: address.parse().ok().with_context(wanted)?,
            prefix: prefix.parse().ok().with_context(wanted)?,
        };
        if subnet.prefix > subnet.bits() {
            refuse!(Invalid, "{}", wanted());
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Subnet> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

/// The first of the networks of /24 from 10.89.0.0 on that has nothing in
/// common with those that are taken.
pub fn free(taken: &[Subnet]) -> Option<Subnet> {
    let candidates = (89u8..=255).flat_map(|second| (0u8..=255).map(move |third| (second, third)));
    let mut candidates = candidates.map(|(second, third)| Subnet {
        address: Ipv4Addr::new(10, second, third, 0).into(),
        prefix: 24,
    });
    candidates.find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
}

/// A network of /64 that nobody else will have chosen (RFC 4193, 3.2.2).
pub fn unique(random: [u8; 5]) -> Subnet {
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&random);
    Subnet {
        address: Ipv6Addr::from(bytes).into(),
        prefix: 64,
    }
}

/// Destinations that the machine has a route to: `/proc/net/route`, whose
/// numbers are hexadecimal in the machine's byte order (proc_pid_net(5)). The
/// default route does not count.
pub fn routes(table: &str) -> Vec<Subnet> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let mask = number(7)?;
        (mask != 0).then_some(Subnet {
            address: Ipv4Addr::from(number(1)?.to_ne_bytes()).into(),
            prefix: mask.count_ones() as u8,
        })
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// An address for somebody: the one that is wanted, else the one that was his
/// before if it is free, else the first free one behind `last`, so that one
/// that was given back rests for a while.
///
/// # Errors
/// What is wanted is not of the network, or taken; there is none left.
pub fn choose(
    subnet: &Subnet,
    taken: &BTreeSet<IpAddr>,
    wanted: Option<IpAddr>,
    before: Option<IpAddr>,
    last: u128,
) -> Result<IpAddr> {
    if let Some(wanted) = wanted {
        if !subnet.is_host(wanted) {
            refuse!(
                Invalid,
                "{wanted} is not an address of {}",
                subnet.network()
            );
        }
        if taken.contains(&wanted) {
            refuse!(Conflict, "the address {wanted} is taken");
        }
        return Ok(wanted);
    }
    let free = |address: &IpAddr| subnet.is_host(*address) && !taken.contains(address);
    if let Some(before) = before.filter(free) {
        return Ok(before);
    }
    // Among one more than are taken, one is free: then two for the network
    // and everybody in it.
    let enough = taken.len() as u128 + 3;
    let behind = (1..=enough).filter_map(|n| subnet.nth(last.checked_add(n)?));
    let from_start = (1..=enough).filter_map(|n| subnet.nth(n));
    let found = behind.chain(from_start).find(free);
    found.ok_or_else(|| refusal!(Conflict, "no address of {} is left", subnet.network()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_and_compared() {
        assert_eq!(subnet("10.1.2.3/8").network().to_string(), "10.0.0.0/8");
        assert_eq!(subnet("fd00:1::5/64").network().to_string(), "fd00:1::/64");
        assert!(subnet("10.0.0.0/8").overlaps(&subnet("10.89.1.0/24")));
        assert!(subnet("10.89.1.0/24").overlaps(&subnet("10.0.0.0/8")));
        assert!(!subnet("10.89.1.0/24").overlaps(&subnet("10.89.2.0/24")));
        assert!(!subnet("::/0").overlaps(&subnet("10.89.2.0/24")));
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "/8"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        let small = subnet("10.0.0.0/30");
        assert_eq!(small.nth(1), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(small.nth(4), None);
        assert!(!small.is_host("10.0.0.0".parse().unwrap()));
        assert!(!small.is_host("10.0.0.3".parse().unwrap()));
    }

    #[test]
    fn a_free_subnet_avoids_the_machines_routes() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     tun0\t0000590A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let taken = routes(table);
        assert_eq!(taken, [subnet("10.89.0.0/16")]);
        assert_eq!(free(&taken), Some(subnet("10.90.0.0/24")));
        assert_eq!(free(&[]), Some(subnet("10.89.0.0/24")));
        assert_eq!(free(&[subnet("10.0.0.0/8")]), None);
        assert_eq!(unique([1, 2, 3, 4, 5]).to_string(), "fd01:203:405::/64");
    }

    #[test]
    fn an_address_that_was_given_back_rests() {
        let net = subnet("10.0.0.0/29");
        let address = |n: u128| net.nth(n).unwrap();
        let taken = BTreeSet::from([address(1), address(3)]);
        let choose = |wanted, before, last| choose(&net, &taken, wanted, before, last);
        assert_eq!(choose(None, None, 1).unwrap(), address(2));
        assert_eq!(choose(None, None, 2).unwrap(), address(4));
        assert_eq!(choose(None, None, 6).unwrap(), address(2));
        assert_eq!(choose(None, Some(address(5)), 1).unwrap(), address(5));
        assert_eq!(choose(None, Some(address(3)), 1).unwrap(), address(2));
        assert_eq!(choose(Some(address(6)), None, 1).unwrap(), address(6));
        assert!(choose(Some(address(3)), None, 1).is_err());
        assert!(choose(Some(address(7)), None, 1).is_err());
        assert!(choose(Some("10.0.1.1".parse().unwrap()), None, 1).is_err());
    }

    proptest! {
        #[test]
        fn all_addresses_are_given_out_once(prefix in 25u8..31, last in 0u128..300) {
            let net = Subnet { prefix, ..subnet("10.7.0.0/24") };
            let mut taken = BTreeSet::new();
            while let Ok(address) = choose(&net, &taken, None, None, last) {
                prop_assert!(net.is_host(address) && taken.insert(address));
            }
            prop_assert_eq!(taken.len(), (1 << (32 - prefix)) - 2);
        }

        #[test]
        fn any_text_survives(text in ".{0,40}") {
            let _ = text.parse::<Subnet>();
            let _ = routes(&text);
        }
    }
}
