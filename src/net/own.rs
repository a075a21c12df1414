//! The host's own addresses.

use crate::sys::inet::{self, Protocol};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Somewhere in the internet: addresses for documentation, to which nothing is
/// sent (RFC 5737, RFC 3849).
const AFAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address for what is sent to `to`; nothing is sent.
pub fn towards(to: IpAddr) -> Result<IpAddr, Errno> {
    let probe = inet::open(Protocol::Udp, to)?;
    inet::connect_to(&probe, SocketAddr::new(to, 9))?;
    Ok(inet::local_address(&probe)?.ip())
}

/// Whether an address is the host's, whatever it is called: the kernel would
/// use it as the sender's too, or lets a socket have it. `others` are known.
pub fn is_own(address: IpAddr, others: &[IpAddr]) -> Result<bool, Errno> {
    if others.contains(&address) || towards(address)? == address {
        return Ok(true);
    }
    // The sender's is the first address of an interface that has several.
    let has = |ip| {
        let socket = inet::open(Protocol::Udp, ip)?;
        match inet::bind_to(&socket, SocketAddr::new(ip, 0)) {
            Err(Errno::EADDRNOTAVAIL) => Ok(false),
            bound => bound.map(|()| true),
        }
    };
    // Where any address may be bound, that says nothing (ip(7),
    // ip_nonlocal_bind).
    let afar = AFAR
        .into_iter()
        .find(|ip| ip.is_ipv4() == address.is_ipv4());
    Ok(has(address)? && !afar.map_or(Ok(false), has)?)
}

/// The address by which the host is known to others: that for the internet, of
/// the same family as `like` if there is one, else the first of `others`.
pub fn known(like: IpAddr, others: &[IpAddr]) -> Option<IpAddr> {
    let same = |ip: &IpAddr| ip.is_ipv4() == like.is_ipv4();
    let found: Vec<IpAddr> = AFAR.iter().filter_map(|to| towards(*to).ok()).collect();
    let all = || found.iter().chain(others).filter(|ip| !ip.is_loopback());
    all().find(|ip| same(ip)).or_else(|| all().next()).copied()
}

/// The addresses of interfaces that are up, but those that mean nothing
/// elsewhere.
pub fn of_interfaces() -> Vec<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let up = interfaces.filter(|i| i.flags.contains(InterfaceFlags::IFF_UP));
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let addresses = up.filter_map(|interface| address(interface.address?));
    let means_something = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    addresses.filter(means_something).collect()
}
