//! `--network user[:OPTIONS]` and the options of `network create`: an
//! interface of the container's own, served through ordinary sockets. What is
//! made of it is in [`usernet`](crate::engine::network::usernet).

use crate::error::refuse;
use crate::net::policy::{Cidr, Policy};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A hardware address that an interface is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HardwareAddress(pub [u8; 6]);

impl FromStr for HardwareAddress {
    type Err = anyhow::Error;

    /// Reads six numbers in hexadecimal, with ':' or '-' between.
    fn from_str(text: &str) -> Result<HardwareAddress> {
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let byte = |part: &&str| match part.len() {
            2 => u8::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = parts.iter().map(byte).collect();
        let bytes: Option<[u8; 6]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.with_context(|| {
            format!("'{text}' is no hardware address; one is wanted as 02:42:ac:11:00:02")
        })?;
        // The lowest bit is that of groups (IEEE 802).
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            refuse!(
                Invalid,
                "'{text}' cannot be the hardware address of an interface: make its first number even"
            );
        }
        Ok(HardwareAddress(bytes))
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl TryFrom<String> for HardwareAddress {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<HardwareAddress> {
        text.parse()
    }
}

impl From<HardwareAddress> for String {
    fn from(address: HardwareAddress) -> String {
        address.to_string()
    }
}

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
    /// `mac=`: the hardware address of the container's interface.
    pub mac: Option<HardwareAddress>,
    /// Networks behind the one at the other end; not an option.
    pub behind: Vec<Cidr>,
}

/// The longest packet that the Linux loopback has too, less what no frame of
/// 64 KiB can hold.
const MTU: u16 = 65520;
/// The shortest that IPv6 allows (RFC 8200, 5).
const MIN_MTU: u16 = 1280;

impl Default for UserNetwork {
    fn default() -> UserNetwork {
        UserNetwork {
            mtu: MTU,
            cidr: None,
            ipv6: true,
            outbound: Vec::new(),
            dns: Vec::new(),
            policy: Policy::default(),
            mac: None,
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
                    refuse!(
                        Invalid,
                        "an IPv4 network of 8 to 25 bits is wanted, as 10.0.2.0/24"
                    );
                };
                let mask = u32::MAX << (32 - u32::from(parsed.prefix));
                self.cidr = Some((Ipv4Addr::from_bits(address.to_bits() & mask), parsed.prefix));
            }
            ("outbound-addr", address) => self.outbound.push(parse_address(address)?),
            ("dns", address) => self.dns.push(parse_address(address)?),
            ("mac", address) => self.mac = Some(address.parse()?),
            ("allow", rule) => self.policy.allow.push(parse_rule(rule)?),
            _ => refuse!(
                Invalid,
                "unknown; there are host-loopback, block-host, mtu=, cidr=, ipv6=off, mac=, \
                 outbound-addr=, dns=, allow=CIDR[:PORT]"
            ),
        }
        Ok(())
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
        options.extend(self.mac.iter().map(|mac| format!("mac={mac}")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        let text = "host-loopback,block-host,ipv6=off,mtu=1500,cidr=10.9.0.0/16,\
                    mac=02:00:00:00:00:0a,outbound-addr=192.0.2.7,dns=9.9.9.9,allow=192.0.2.0/24:443,\
                    allow=[2001:db8::/32]:80,allow=fd00::/8";
        let network: UserNetwork = text.parse().unwrap();
        assert_eq!(network.to_string(), text);
        assert_eq!(UserNetwork::default().to_string(), "");
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
            "mac=03:00:00:00:00:0a",
            "mac=00:00:00:00:00:00",
            "mac=2:0:0:0:0:1",
            "mac=02:00:00:00:00:1+",
        ] {
            assert!(text.parse::<UserNetwork>().is_err(), "{text}");
        }
    }
}
