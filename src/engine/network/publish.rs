//! Published ports: the sockets that `-p` makes.

use crate::engine::container::record::Published;
use crate::engine::request::publish::{Port, Transport};
use crate::error::refusal;
use crate::net::worker::Listener;
use crate::sys::inet::{self, Protocol};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Makes the sockets of published ports.
///
/// # Errors
/// A port that is taken, with its owner where that is known; one that users
/// may not have.
pub fn listen(ports: &[Port]) -> Result<(Vec<Listener>, Vec<Published>)> {
    let (mut listeners, mut published) = (Vec::new(), Vec::new());
    // Who can have one port only is served before who may choose.
    let mut order: Vec<usize> = (0..ports.len()).collect();
    order.sort_by_key(|n| match ports[*n].host {
        (0, _) => u16::MAX,
        (first, last) => last - first,
    });
    let mut found: Vec<_> = ports.iter().map(|_| Vec::new()).collect();
    for n in order {
        found[n] = sockets(&ports[n])?;
    }
    for (port, sockets) in ports.iter().zip(found) {
        for (host, socket) in sockets {
            published.push(Published {
                host,
                container: port.container,
                transport: port.transport,
            });
            listeners.push(Listener {
                protocol: port.transport.into(),
                socket,
                port: port.container,
            });
        }
    }
    Ok((listeners, published))
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Protocol {
        match transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        }
    }
}

/// How many free ports are tried before one that is free for both families is
/// given up.
const TRIES: usize = 16;

fn sockets(port: &Port) -> Result<Vec<(SocketAddr, OwnedFd)>> {
    let (low, high) = port.host;
    let mut failure = None;
    for candidate in low..=high {
        for _ in 0..if candidate == 0 { TRIES } else { 1 } {
            match at(port, candidate) {
                Ok(sockets) => return Ok(sockets),
                Err((address, errno)) => failure = Some((address, errno)),
            }
        }
    }
    let (address, errno) = failure.context("no port")?;
    Err(explain(address, port.transport, errno))
}

/// The sockets at one port of the host: one, or one of each family.
fn at(
    port: &Port,
    number: u16,
) -> std::result::Result<Vec<(SocketAddr, OwnedFd)>, (SocketAddr, Errno)> {
    let open = |ip: IpAddr, number| {
        let address = SocketAddr::new(ip, number);
        let socket = inet::listen(port.transport.into(), address);
        let socket = socket.map_err(|errno| (address, errno))?;
        let address = inet::local_address(&socket).map_err(|errno| (address, errno))?;
        Ok((address, socket))
    };
    let Some(ip) = port.address else {
        let first = open(Ipv4Addr::UNSPECIFIED.into(), number)?;
        let second = open(Ipv6Addr::UNSPECIFIED.into(), first.0.port());
        return match second {
            Ok(second) => Ok(vec![first, second]),
            // A host without IPv6.
            Err((_, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)) => Ok(vec![first]),
            Err(failure) => Err(failure),
        };
    };
    Ok(vec![open(ip, number)?])
}

fn explain(address: SocketAddr, transport: Transport, errno: Errno) -> anyhow::Error {
    let what = format!("publish port {address}/{transport}");
    match errno {
        Errno::EADDRINUSE => match owner(address.port(), transport) {
            Some(owner) => refusal!(Conflict, "{what}: {owner} has it"),
            None => refusal!(
                Conflict,
                "{what}: it is taken, by nobody that you may look at"
            ),
        },
        Errno::EACCES => {
            let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
            let first = std::fs::read_to_string(path).unwrap_or_default();
            refusal!(
                Forbidden,
                "{what}: users may not have ports below {}; take another, or have an \
                 administrator set net.ipv4.ip_unprivileged_port_start={}",
                first.trim(),
                address.port()
            )
        }
        Errno::EADDRNOTAVAIL => refusal!(Invalid, "{what}: the host has no such address"),
        errno => anyhow!(errno).context(what),
    }
}

/// The process that has a port, if it is one of the user's (proc_pid_net(5)).
fn owner(port: u16, transport: Transport) -> Option<String> {
    let mut inodes = Vec::new();
    for version in ["", "6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{transport}{version}"));
        for line in table.unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (words.get(1), words.get(3), words.get(9))
            else {
                continue;
            };
            let bound = local.rsplit_once(':').map(|(_, port)| port);
            let number = bound.and_then(|port| u16::from_str_radix(port, 16).ok());
            // Listening, or bound.
            if number == Some(port) && matches!(*state, "0A" | "07") {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let descriptors = std::fs::read_dir(process.path().join("fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            let Ok(link) = std::fs::read_link(descriptor.path()) else {
                continue;
            };
            if inodes
                .iter()
                .any(|inode| link.as_os_str() == inode.as_str())
            {
                let name = std::fs::read_to_string(process.path().join("comm"));
                let name = name.unwrap_or_default();
                let pid = process.file_name();
                return Some(format!("{} (process {})", name.trim(), pid.display()));
            }
        }
    }
    None
}
