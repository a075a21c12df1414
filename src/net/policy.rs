//! Where the container may send to, and what an address of its network stands
//! for on the host. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A network: an address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// An address of it.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

impl Cidr {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// What the container may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The host's loopback, at the gateway's address.
    pub host_loopback: bool,
    /// Not the host's own addresses.
    pub block_host: bool,
    /// If there are any, these networks alone, each with one port or all.
    pub allow: Vec<(Cidr, Option<u16>)>,
}

/// The addresses at the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The container's network.
    pub network: Cidr,
    /// The container.
    pub guest: IpAddr,
    /// We.
    pub gateway: IpAddr,
    /// What stands for the host's own address, whatever that is by now.
    pub host: IpAddr,
}

/// What becomes of what is sent somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to this address of the host's world.
    To(SocketAddr),
    /// It goes to the host's own address, of which another decision is made.
    Host,
    /// A question to the name server, which is us.
    Names,
    /// Nobody is there.
    Unreachable,
    /// It is not allowed.
    Prohibited,
    /// It is nobody's in particular; there is no answer.
    Ignored,
}

/// The port of name servers.
pub const DNS: u16 = 53;

impl Policy {
    /// What becomes of something that the container sends to `to`.
    pub fn decide(&self, ends: &Ends, to: SocketAddr) -> Verdict {
        let address = to.ip();
        if address == ends.gateway {
            return match (to.port(), self.host_loopback) {
                (DNS, _) => Verdict::Names,
                (port, true) => Verdict::To(SocketAddr::new(loopback(address), port)),
                (_, false) => Verdict::Unreachable,
            };
        }
        if address == ends.host {
            return match self.block_host {
                true => Verdict::Prohibited,
                false => Verdict::Host,
            };
        }
        if ends.network.contains(address) {
            return match address {
                IpAddr::V4(a) if is_broadcast(a, ends.network) => Verdict::Ignored,
                _ => Verdict::Unreachable,
            };
        }
        match canonical(address) {
            Class::Ordinary => {}
            Class::Host => return Verdict::Prohibited,
            Class::Many => return Verdict::Ignored,
            Class::Nobody => return Verdict::Unreachable,
        }
        let allowed = |(cidr, port): &(Cidr, Option<u16>)| {
            cidr.contains(address) && port.is_none_or(|port| port == to.port())
        };
        if !self.allow.is_empty() && !self.allow.iter().any(allowed) {
            return Verdict::Prohibited;
        }
        Verdict::To(to)
    }
}

fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

fn is_broadcast(address: Ipv4Addr, network: Cidr) -> bool {
    address.to_bits() | u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0)
        == address.to_bits()
}

enum Class {
    Ordinary,
    /// The host's loopback, by any name.
    Host,
    Many,
    Nobody,
}

/// What kind of address the host's kernel would take it for.
fn canonical(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(a) if a.is_loopback() || a.octets()[0] == 0 => Class::Host,
        IpAddr::V4(a) if a.is_multicast() || a.is_broadcast() => Class::Many,
        // Class E.
        IpAddr::V4(a) if a.octets()[0] >= 240 => Class::Nobody,
        IpAddr::V4(_) => Class::Ordinary,
        IpAddr::V6(a) if a.is_loopback() || a.is_unspecified() => Class::Host,
        IpAddr::V6(a) if a.is_multicast() => Class::Many,
        // Without an interface it means nothing.
        IpAddr::V6(a) if a.is_unicast_link_local() => Class::Nobody,
        // ::ffff:a.b.c.d is IPv4 to a socket, ::a.b.c.d was; neither is seen
        // on a wire.
        IpAddr::V6(a) if a.segments()[..5] == [0; 5] => Class::Host,
        IpAddr::V6(_) => Class::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(address: &str) -> Ends {
        match address.contains(':') {
            false => Ends {
                network: Cidr {
                    address: "10.0.2.0".parse().unwrap(),
                    prefix: 24,
                },
                guest: "10.0.2.100".parse().unwrap(),
                gateway: "10.0.2.2".parse().unwrap(),
                host: "10.0.2.3".parse().unwrap(),
            },
            true => Ends {
                network: Cidr {
                    address: "fd00::".parse().unwrap(),
                    prefix: 64,
                },
                guest: "fd00::100".parse().unwrap(),
                gateway: "fd00::2".parse().unwrap(),
                host: "fd00::3".parse().unwrap(),
            },
        }
    }

    fn decide(policy: &Policy, address: &str, port: u16) -> Verdict {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        policy.decide(&ends(address), to)
    }

    #[test]
    fn the_hosts_loopback_is_out_of_reach_by_any_name() {
        let (closed, open) = (
            Policy::default(),
            Policy {
                host_loopback: true,
                ..Policy::default()
            },
        );
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "10.0.2.2",
            "fd00::2",
        ] {
            let verdict = decide(&closed, address, 80);
            assert!(
                matches!(verdict, Verdict::Prohibited | Verdict::Unreachable),
                "{address}"
            );
            if !address.ends_with(".2.2") && !address.starts_with('f') {
                assert_eq!(decide(&open, address, 80), Verdict::Prohibited, "{address}");
            }
        }
        let there = |text: &str| Verdict::To(text.parse().unwrap());
        assert_eq!(decide(&open, "10.0.2.2", 80), there("127.0.0.1:80"));
        assert_eq!(decide(&open, "fd00::2", 80), there("[::1]:80"));
        assert_eq!(decide(&closed, "10.0.2.2", 53), Verdict::Names);
        let blocked = Policy {
            block_host: true,
            ..Policy::default()
        };
        for address in ["10.0.2.3", "fd00::3"] {
            assert_eq!(decide(&closed, address, 80), Verdict::Host);
            assert_eq!(decide(&blocked, address, 80), Verdict::Prohibited);
        }
    }

    #[test]
    fn what_is_nobodys_has_no_answer() {
        let policy = Policy::default();
        for (address, verdict) in [
            ("10.0.2.7", Verdict::Unreachable),
            ("10.0.2.255", Verdict::Ignored),
            ("224.0.0.251", Verdict::Ignored),
            ("255.255.255.255", Verdict::Ignored),
            ("ff02::fb", Verdict::Ignored),
            ("fe80::1", Verdict::Unreachable),
            ("250.1.1.1", Verdict::Unreachable),
        ] {
            assert_eq!(decide(&policy, address, 80), verdict, "{address}");
        }
    }

    #[test]
    fn a_list_allows_what_is_in_it() {
        let cidr = |address: &str, prefix| Cidr {
            address: address.parse().unwrap(),
            prefix,
        };
        let policy = Policy {
            allow: vec![
                (cidr("192.0.2.0", 24), Some(443)),
                (cidr("2001:db8::", 32), None),
            ],
            ..Policy::default()
        };
        assert!(matches!(decide(&policy, "192.0.2.9", 443), Verdict::To(_)));
        assert_eq!(decide(&policy, "192.0.2.9", 80), Verdict::Prohibited);
        assert_eq!(decide(&policy, "192.0.3.9", 443), Verdict::Prohibited);
        assert!(matches!(decide(&policy, "2001:db8::1", 80), Verdict::To(_)));
        assert_eq!(decide(&policy, "10.0.2.2", 53), Verdict::Names);
        assert!(cidr("0.0.0.0", 0).contains("9.9.9.9".parse().unwrap()));
    }
}
