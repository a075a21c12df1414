//! The network interface of a container with user-mode networking: a tap, made
//! inside, whose other end goes out to who serves it.

use crate::sys::fd::write_file;
use crate::sys::netlink::{Netlink, Request, Setting};
use crate::sys::tap;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// How the interface is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Packets that may wait to be read.
    pub queue: u32,
    /// Its addresses, each with the length of its network's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where everything else goes, one of each family.
    pub gateways: Vec<IpAddr>,
    /// The hardware address of those.
    pub gateway_mac: [u8; 6],
}

impl Interface {
    /// Makes it in the caller's network namespace, complete with addresses,
    /// neighbours and routes; returns its other end.
    pub fn make(&self) -> Result<OwnedFd> {
        let tap = tap::create(&self.name)?;
        let mut netlink = Netlink::open()?;
        let link = netlink.link(&self.name)?;
        let settings = [
            Setting::Mac(self.mac),
            Setting::Mtu(self.mtu),
            Setting::TxQueueLen(self.queue),
            Setting::Up(true),
        ];
        let mut requests = vec![Request::set(&link, &settings)];
        let addresses = self.addresses.iter();
        requests.extend(addresses.map(|(ip, prefix)| Request::address(&link, *ip, *prefix)));
        for gateway in &self.gateways {
            requests.push(Request::neighbour(&link, *gateway, self.gateway_mac));
            requests.push(Request::default_route(&link, *gateway));
        }
        netlink
            .run(requests)
            .with_context(|| format!("interface {}", self.name))?;
        // It has addresses and routes: the kernel is not to ask for others.
        let file = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", self.name);
        let _ = write_file(&file, b"0");
        Ok(tap)
    }
}
