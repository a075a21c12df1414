//! User-mode networking: what `--network user[:OPTIONS]` asks for, and the
//! interface, addresses and policy that this makes. Pure, but for the look at
//! the host's own networks ([`UserNetwork::settle`]).

pub mod translator;

use crate::net::own;
use crate::net::policy::{Cidr, Ends, Policy};
use crate::net::stack::Config;
use crate::net::wire::{Link, Mac};
use crate::runtime::interface::Interface;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNetwork {
    /// `mtu=`: the largest packet inside, in bytes.
    pub mtu: u16,
    /// `cidr=`: the container's IPv4 network.
    pub cidr: Option<(Ipv4Addr, u8)>,
    /// `ipv6=off`.
    pub ipv6: bool,
    /// `outbound-addr=`: where connections come from.
    pub outbound: Vec<IpAddr>,
    /// `dns=`: name servers to ask in place of the host's.
    pub dns: Vec<IpAddr>,
    /// `host-loopback`, `block-host`, `allow=`.
    pub policy: Policy,
    /// Networks behind the one at the other end; not an option.
    pub behind: Vec<Cidr>,
}

/// The longest packet that the Linux loopback has too, less what no frame of
/// 64 KiB can hold.
const MTU: u16 = 65520;
/// The shortest that IPv6 allows (RFC 8200, 5).
const MIN_MTU: u16 = 1280;
/// The interface's name.
pub const INTERFACE: &str = "eth0";
/// Frames that may wait to be read; more than a window of 1 MiB has.
const QUEUE: u32 = 4096;
/// IPv4 networks to choose from: what other such programs have, and less
/// usual ones for hosts that are in it themselves.
const NETWORKS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 0, 2, 0),
    Ipv4Addr::new(10, 141, 2, 0),
    Ipv4Addr::new(192, 168, 141, 0),
];
/// A unique local network (RFC 4193): "bryo" in ASCII.
const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfd62, 0x7279, 0x6f00, 0, 0, 0, 0, 0);
/// Host parts of our address, of what stands for the host, and of the
/// container's address.
const GATEWAY: u32 = 2;
const HOST: u32 = 3;
const GUEST: u32 = 100;

impl Default for UserNetwork {
    fn default() -> UserNetwork {
        UserNetwork {
            mtu: MTU,
            cidr: None,
            ipv6: true,
            outbound: Vec::new(),
            dns: Vec::new(),
            policy: Policy::default(),
            behind: Vec::new(),
        }
    }
}

impl FromStr for UserNetwork {
    type Err = anyhow::Error;

    /// Reads the options, separated by commas.
    fn from_str(text: &str) -> Result<UserNetwork> {
        let mut network = UserNetwork::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            network
                .take(option)
                .with_context(|| format!("--network user:{option}"))?;
        }
        Ok(network)
    }
}

impl UserNetwork {
    fn take(&mut self, option: &str) -> Result<()> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (key, value) {
            ("host-loopback", "" | "on") => self.policy.host_loopback = true,
            ("host-loopback", "off") => self.policy.host_loopback = false,
            ("block-host", "" | "on") => self.policy.block_host = true,
            ("block-host", "off") => self.policy.block_host = false,
            ("ipv6", "off") => self.ipv6 = false,
            ("ipv6", "on") => self.ipv6 = true,
            ("mtu", number) => {
                let mtu = number.parse().ok();
                let mtu = mtu.filter(|mtu| (MIN_MTU..=MTU).contains(mtu));
                self.mtu =
                    mtu.with_context(|| format!("a number from {MIN_MTU} to {MTU} is wanted"))?;
            }
            ("cidr", cidr) => {
                let parsed = parse_cidr(cidr)?;
                let (IpAddr::V4(address), 8..=25) = (parsed.address, parsed.prefix) else {
                    bail!("an IPv4 network of 8 to 25 bits is wanted, as 10.0.2.0/24");
                };
                let mask = u32::MAX << (32 - u32::from(parsed.prefix));
                self.cidr = Some((Ipv4Addr::from_bits(address.to_bits() & mask), parsed.prefix));
            }
            ("outbound-addr", address) => self.outbound.push(parse_address(address)?),
            ("dns", address) => self.dns.push(parse_address(address)?),
            ("allow", rule) => self.policy.allow.push(parse_rule(rule)?),
            _ => bail!(
                "unknown; there are host-loopback, block-host, mtu=, cidr=, ipv6=off, \
                 outbound-addr=, dns=, allow=CIDR[:PORT]"
            ),
        }
        Ok(())
    }

    /// Chooses a network that the host is not in, unless the user has.
    pub fn settle(&mut self) {
        if self.cidr.is_none() {
            let free = NETWORKS.iter().find(|network| !is_near(**network));
            self.cidr = Some((*free.unwrap_or(&NETWORKS[0]), 24));
        }
    }

    fn v4(&self) -> (Ipv4Addr, u8) {
        self.cidr.unwrap_or((NETWORKS[0], 24))
    }

    /// The addresses: IPv4, then IPv6 if there is.
    pub fn ends(&self) -> Vec<Ends> {
        let (network, prefix) = self.v4();
        let v4 = |host: u32| IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() + host));
        let v6 = |host: u32| {
            let bits = u128::from_str_radix(&host.to_string(), 16).unwrap_or(u128::from(host));
            IpAddr::V6(Ipv6Addr::from_bits(NETWORK_V6.to_bits() | bits))
        };
        let mut all = vec![Ends {
            network: Cidr {
                address: network.into(),
                prefix,
            },
            guest: v4(GUEST),
            gateway: v4(GATEWAY),
            host: v4(HOST),
        }];
        if self.ipv6 {
            all.push(Ends {
                network: Cidr {
                    address: NETWORK_V6.into(),
                    prefix: 64,
                },
                // Written as in IPv4.
                guest: v6(GUEST),
                gateway: v6(GATEWAY),
                host: v6(HOST),
            });
        }
        all
    }

    fn link(&self) -> Link {
        let network = self.v4().0.to_bits();
        // Locally administered, and different for each address.
        let mac = |host: u32| -> Mac {
            let [a, b, c, d] = (network + host).to_be_bytes();
            [0x02, 0x42, a, b, c, d]
        };
        Link {
            guest: mac(GUEST),
            own: mac(GATEWAY),
        }
    }

    /// The interface of the container.
    pub fn interface(&self) -> Interface {
        let ends = self.ends();
        Interface {
            name: INTERFACE.to_owned(),
            mac: self.link().guest,
            mtu: self.mtu.into(),
            queue: QUEUE,
            addresses: ends
                .iter()
                .map(|ends| (ends.guest, ends.network.prefix))
                .collect(),
            gateways: ends.iter().map(|ends| ends.gateway).collect(),
            gateway_mac: self.link().own,
        }
    }

    /// What its translator is made for.
    pub fn config(&self) -> Config {
        Config {
            link: self.link(),
            mtu: self.mtu,
            ends: self.ends(),
            behind: self.behind.clone(),
            policy: self.policy.clone(),
            search: Vec::new(),
        }
    }

    /// The container's own address.
    pub fn address(&self) -> IpAddr {
        self.ends()[0].guest
    }

    /// Our address, at which the name server is.
    pub fn gateway(&self) -> IpAddr {
        self.ends()[0].gateway
    }

    /// The address of the host as the container can reach it, if it can.
    pub fn host_address(&self) -> Option<IpAddr> {
        match (self.policy.host_loopback, self.policy.block_host) {
            (true, _) => Some(self.gateway()),
            (false, true) => None,
            (false, false) => Some(self.ends()[0].host),
        }
    }
}

impl fmt::Display for UserNetwork {
    /// The options as they are read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        let mut flag = |on: bool, text: &str| {
            if on {
                options.push(text.to_owned());
            }
        };
        flag(self.policy.host_loopback, "host-loopback");
        flag(self.policy.block_host, "block-host");
        flag(!self.ipv6, "ipv6=off");
        if self.mtu != MTU {
            options.push(format!("mtu={}", self.mtu));
        }
        if let Some((address, prefix)) = self.cidr {
            options.push(format!("cidr={address}/{prefix}"));
        }
        options.extend(self.outbound.iter().map(|ip| format!("outbound-addr={ip}")));
        options.extend(self.dns.iter().map(|ip| format!("dns={ip}")));
        for (Cidr { address, prefix }, port) in &self.policy.allow {
            options.push(match port {
                Some(port) if address.is_ipv6() => format!("allow=[{address}/{prefix}]:{port}"),
                Some(port) => format!("allow={address}/{prefix}:{port}"),
                None => format!("allow={address}/{prefix}"),
            });
        }
        f.write_str(&options.join(","))
    }
}

fn parse_address(text: &str) -> Result<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .ok()
        .with_context(|| format!("'{text}' is no address"))
}

fn parse_cidr(text: &str) -> Result<Cidr> {
    let fail = || format!("'{text}' is no network; one is wanted as 192.0.2.0/24");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok().with_context(fail)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|p| *p <= most),
        None => Some(most),
    };
    Ok(Cidr {
        address,
        prefix: prefix.with_context(fail)?,
    })
}

/// `CIDR[:PORT]`; IPv6 in brackets if there is a port.
fn parse_rule(text: &str) -> Result<(Cidr, Option<u16>)> {
    let (cidr, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (cidr, rest) = rest.split_once(']').context("']' is missing")?;
            (cidr, rest.strip_prefix(':'))
        }
        None if text.matches(':').count() == 1 => {
            let (cidr, port) = text.split_once(':').unwrap_or((text, ""));
            (cidr, Some(port))
        }
        None => (text, None),
    };
    let number = |port: &str| {
        let port = port.parse::<u16>().ok();
        port.with_context(|| format!("'{text}' has no port that is one"))
    };
    Ok((parse_cidr(cidr)?, port.map(number).transpose()?))
}

/// Whether the host is in a network.
fn is_near(network: Ipv4Addr) -> bool {
    let gateway = Ipv4Addr::from_bits(network.to_bits() + GATEWAY);
    let cidr = Cidr {
        address: network.into(),
        prefix: 24,
    };
    own::towards(gateway.into()).is_ok_and(|own| cidr.contains(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        let text = "host-loopback,block-host,ipv6=off,mtu=1500,cidr=10.9.0.0/16,\
                    outbound-addr=192.0.2.7,dns=9.9.9.9,allow=192.0.2.0/24:443,\
                    allow=[2001:db8::/32]:80,allow=fd00::/8";
        let network: UserNetwork = text.parse().unwrap();
        assert_eq!(network.to_string(), text);
        assert_eq!(network.address().to_string(), "10.9.0.100");
        assert_eq!(network.interface().addresses.len(), 1);
        let default = UserNetwork::default();
        assert_eq!(default.to_string(), "");
        assert_eq!(default.ends()[1].guest.to_string(), "fd62:7279:6f00::100");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "mtu=68",
            "mtu=65536",
            "mtu=x",
            "cidr=10.0.0.0/26",
            "cidr=fd00::/64",
            "cidr=x",
            "ipv6=maybe",
            "outbound-addr=host",
            "dns=",
            "allow=1.2.3.0/33",
            "allow=[fd00::/8",
            "allow=1.2.3.4:http",
            "hostloopback",
        ] {
            assert!(text.parse::<UserNetwork>().is_err(), "{text}");
        }
    }
}
