//! User-mode networking: the interface, addresses and policy that `--network
//! user[:OPTIONS]` makes. Pure, but for the look at what works here
//! ([`settle`]) and at the host's own networks ([`UserNetwork::settle`]).

pub mod translator;

use crate::engine::request::network::Network;
use crate::engine::request::user_network::UserNetwork;
use crate::net::own;
use crate::net::policy::{Cidr, Ends};
use crate::net::stack::Config;
use crate::net::wire::{Link, Mac};
use crate::runtime::interface::Interface;
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// What is to be had in the place of the network that was asked for.
///
/// # Errors
/// User-mode networking that was asked for and does not work here.
pub fn settle(network: Network, warn: &dyn Fn(&str)) -> Result<Network> {
    let (asked, mut user) = match network {
        Network::Default => (false, UserNetwork::default()),
        Network::User(user) => (true, user),
        other => return Ok(other),
    };
    if let Err(error) = crate::sys::tap::probe() {
        if asked {
            return Err(error).context("--network user");
        }
        warn(&format!(
            "no network of its own, the host's is used: {error}; --network host is without \
             this warning, --network none without network"
        ));
        return Ok(Network::Host);
    }
    user.settle();
    Ok(Network::User(user))
}

impl UserNetwork {
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
            guest: self.mac.map_or_else(|| mac(GUEST), |given| given.0),
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
    fn addresses_follow_from_the_options() {
        let network: UserNetwork = "ipv6=off,cidr=10.9.0.0/16".parse().unwrap();
        assert_eq!(network.address().to_string(), "10.9.0.100");
        assert_eq!(network.interface().addresses.len(), 1);
        let default = UserNetwork::default();
        assert_eq!(default.ends()[1].guest.to_string(), "fd62:7279:6f00::100");
    }
}
