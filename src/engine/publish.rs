//! Published ports: what `-p` asks for, and the sockets that it makes.

use crate::error;
use crate::net::worker::Listener;
use crate::sys::inet::{self, Protocol};
use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

/// A port of a container that is to be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// At this address of the host; without, at all.
    pub address: Option<IpAddr>,
    /// At one of these ports of the host, the first and the last; 0 is any
    /// that is free.
    pub host: (u16, u16),
    /// The container's port.
    pub container: u16,
    /// Its protocol.
    pub transport: Transport,
}

/// A port of the host at which a container is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Address and port of the host.
    pub host: SocketAddr,
    /// The container's port.
    pub container: u16,
    /// Its protocol.
    pub transport: Transport,
}

/// Parses a `-p [[ADDRESS:][HOST]:]CONTAINER[/tcp|udp]`, in which ports may be
/// ranges.
///
/// # Errors
/// What is none of these, ranges of different lengths.
pub fn parse(text: &str) -> Result<Vec<Port>> {
    let fail = |why: &str| format!("-p {text}: {why}");
    let wanted = || fail("[[ADDRESS:][HOST]:]CONTAINER[/tcp|udp] is wanted");
    let (rest, transport) = transport(text)?;
    let (rest, container) = match rest.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, rest),
    };
    let (address, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) if !rest.ends_with(']') => (Some(address), host),
            _ if rest.starts_with('[') => (Some(rest), ""),
            _ => (None, rest),
        },
    };
    let address = match address {
        None | Some("") => None,
        Some(address) => {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            Some(bare.parse::<IpAddr>().ok().with_context(wanted)?)
        }
    };
    let (first, last) = range(container).with_context(wanted)?;
    let (low, high) = match host {
        "" => (0, 0),
        host => range(host).with_context(wanted)?,
    };
    let several = u32::from(last - first) + 1;
    if first != last && !host.is_empty() && high - low != last - first {
        bail!(fail("the two ranges are not of the same length"));
    }
    let port = |number: u32| {
        let number = number as u16;
        Port {
            address,
            host: match (low, first == last) {
                (0, _) | (_, true) => (low, high),
                (low, false) => (low + number, low + number),
            },
            container: first + number,
            transport,
        }
    };
    Ok((0..several).map(port).collect())
}

/// All ports that are published, each once.
///
/// # Errors
/// As [`parse`]; one port of the host for two of the container.
pub fn parse_all(texts: &[String]) -> Result<Vec<Port>> {
    let mut all: Vec<Port> = Vec::new();
    for text in texts {
        for port in parse(text)? {
            if all.contains(&port) && port.fixed().is_some() {
                continue;
            }
            if let Some(other) = all.iter().find(|other| other.collides(&port)) {
                bail!(error::Kind::Conflict.says(format!(
                    "-p {text}: port {}/{} of the host is published already, for port {} of the \
                     container; choose another port or address",
                    port.host.0, port.transport, other.container
                )));
            }
            all.push(port);
        }
    }
    Ok(all)
}

impl Port {
    /// Its port of the host, if it can be only one.
    fn fixed(&self) -> Option<u16> {
        let (first, last) = self.host;
        (first == last && first != 0).then_some(first)
    }

    /// Whether both cannot be had.
    fn collides(&self, other: &Port) -> bool {
        let shared = match (self.address, other.address) {
            (Some(one), Some(two)) => {
                one.is_ipv4() == two.is_ipv4()
                    && (one == two || one.is_unspecified() || two.is_unspecified())
            }
            _ => true,
        };
        let one_port = self.fixed().is_some() && self.fixed() == other.fixed();
        shared && one_port && self.transport == other.transport
    }
}

/// Splits `/tcp` or `/udp` off.
pub fn transport(text: &str) -> Result<(&str, Transport)> {
    match text.rsplit_once('/') {
        None => Ok((text, Transport::Tcp)),
        Some((rest, "tcp")) => Ok((rest, Transport::Tcp)),
        Some((rest, "udp")) => Ok((rest, Transport::Udp)),
        Some((_, other)) => bail!("port {text}: '{other}' is neither tcp nor udp"),
    }
}

/// Ports that an image or `--expose` names, at any free port of the host.
pub fn exposed(text: &str) -> Result<Vec<Port>> {
    let ports = parse(text)?;
    match ports.iter().all(|port| port.host == (0, 0)) {
        true => Ok(ports),
        false => bail!("--expose {text}: a port or a range of ports is wanted"),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

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
            Some(owner) => anyhow!(error::Kind::Conflict.says(format!("{what}: {owner} has it"))),
            None => anyhow!(error::Kind::Conflict.says(format!(
                "{what}: it is taken, by nobody that you may look at"
            ))),
        },
        Errno::EACCES => {
            let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
            let first = std::fs::read_to_string(path).unwrap_or_default();
            anyhow!(error::Kind::Forbidden.says(format!(
                "{what}: users may not have ports below {}; take another, or have an \
                 administrator set net.ipv4.ip_unprivileged_port_start={}",
                first.trim(),
                address.port()
            )))
        }
        Errno::EADDRNOTAVAIL => anyhow!("{what}: the host has no such address"),
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

/// As docker's `ps` shows them: `0.0.0.0:8080->80/tcp`.
pub fn show(published: &[Published]) -> String {
    let one = |p: &Published| format!("{}->{}/{}", p.host, p.container, p.transport);
    published.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Port {
        let mut all = parse(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn all_forms_are_read() {
        let port = |address: Option<&str>, host, container, transport| Port {
            address: address.map(|ip| ip.parse().unwrap()),
            host,
            container,
            transport,
        };
        let (tcp, udp) = (Transport::Tcp, Transport::Udp);
        assert_eq!(one("80"), port(None, (0, 0), 80, tcp));
        assert_eq!(one("8080:80/udp"), port(None, (8080, 8080), 80, udp));
        assert_eq!(
            one("127.0.0.1:8080:80"),
            port(Some("127.0.0.1"), (8080, 8080), 80, tcp)
        );
        assert_eq!(
            one("127.0.0.1::80"),
            port(Some("127.0.0.1"), (0, 0), 80, tcp)
        );
        assert_eq!(
            one("[::1]:8080:80/tcp"),
            port(Some("::1"), (8080, 8080), 80, tcp)
        );
        assert_eq!(one("[::1]::80"), port(Some("::1"), (0, 0), 80, tcp));
        assert_eq!(one("8000-8010:80"), port(None, (8000, 8010), 80, tcp));
        let range = parse("8000-8002:90-92").unwrap();
        assert_eq!(range[2], port(None, (8002, 8002), 92, tcp));
        assert_eq!(
            parse("7000-7001").unwrap()[1],
            port(None, (0, 0), 7001, tcp)
        );
    }

    #[test]
    fn a_port_of_the_host_is_published_once() {
        let all = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            parse_all(&texts).map(|ports| ports.len())
        };
        for (texts, count) in [
            (&["80:80", "80:80/udp"][..], 2),
            (&["127.0.0.1:80:80", "127.0.0.2:80:81"], 2),
            (&["0.0.0.0:80:80", "[::]:80:81"], 2),
            (&["80", "80"], 2),
            (&["8000-8001:80", "8000:81"], 2),
            (&["80:80", "80:80"], 1),
            (&["8000-8002:90-92", "8001:91"], 3),
        ] {
            assert_eq!(all(texts).unwrap(), count, "{texts:?}");
        }
        for texts in [
            &["80:80", "80:81"][..],
            &["80:80/udp", "80:81/udp"],
            &["80:80", "127.0.0.1:80:80"],
            &["127.0.0.1:80:80", "80:80"],
            &["0.0.0.0:80:80", "127.0.0.1:80:80"],
            &["[::]:80:80", "[::1]:80:80"],
            &["8000-8002:90-92", "8001:99"],
            &["8000-8002:90-92", "8002-8004:93-95"],
        ] {
            let error = all(texts).unwrap_err().to_string();
            assert!(
                error.contains("of the host is published already"),
                "{error}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "0",
            "x:80",
            "80:",
            "70000",
            "80/sctp",
            "8000-8002:90-93",
            "9-8",
            "a:1:2",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(exposed("80:80").is_err() && exposed("80/udp").is_ok());
    }
}
