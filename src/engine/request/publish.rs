//! `-p` and `--expose`: ports of a container.

use crate::error::refuse;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

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

/// Reads a `-p [[ADDRESS:][HOST]:]CONTAINER[/tcp|udp]`, in which ports may be
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
        refuse!(
            Invalid,
            "{}",
            fail("the two ranges are not of the same length")
        );
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
                refuse!(
                    Conflict,
                    "-p {text}: port {}/{} of the host is published already, for port {} of the \
                     container; choose another port or address",
                    port.host.0,
                    port.transport,
                    other.container
                );
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
        Some((_, other)) => refuse!(Invalid, "port {text}: '{other}' is neither tcp nor udp"),
    }
}

/// Ports that an image or `--expose` names, at any free port of the host.
pub fn exposed(text: &str) -> Result<Vec<Port>> {
    let ports = parse(text)?;
    match ports.iter().all(|port| port.host == (0, 0)) {
        true => Ok(ports),
        false => refuse!(
            Invalid,
            "--expose {text}: a port or a range of ports is wanted"
        ),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
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
