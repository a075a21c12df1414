//! Published ports.

use crate::engine::container::containers::Container;
use crate::engine::container::record::Published;
use crate::engine::request::publish::{Transport, transport};
use crate::error::Kind;
use crate::error::refuse;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Where a container's port is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// The host's address.
    pub host_ip: String,
    /// The host's port.
    pub host_port: String,
}

/// A published port in a list of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// The host's address.
    #[serde(rename = "IP")]
    pub ip: IpAddr,
    /// The container's port.
    pub private_port: u16,
    /// The host's port.
    pub public_port: u16,
    /// Its protocol.
    #[serde(rename = "Type")]
    pub transport: Transport,
}

impl From<&Published> for Port {
    fn from(port: &Published) -> Port {
        Port {
            ip: port.host.ip(),
            private_port: port.container,
            public_port: port.host.port(),
            transport: port.transport,
        }
    }
}

/// Where each port of a container is published, by docker's names as `80/tcp`.
pub fn bindings(published: &[Published]) -> BTreeMap<String, Vec<Binding>> {
    let mut all: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for port in published {
        all.entry(name(port)).or_default().push(Binding {
            host_ip: port.host.ip().to_string(),
            host_port: port.host.port().to_string(),
        });
    }
    all
}

/// Docker's name of a container's port: `80/tcp`.
pub fn name(port: &Published) -> String {
    format!("{}/{}", port.container, port.transport)
}

/// The ports in one line, as docker's lists show them.
pub fn line(ports: &[Port]) -> String {
    let one = |p: &Port| {
        let host = SocketAddr::new(p.ip, p.public_port);
        format!("{host}->{}/{}", p.private_port, p.transport)
    };
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Where a port of a container, `PORT[/PROTOCOL]`, is published.
///
/// # Errors
/// Of [`NotFound`](Kind::NotFound) if it is nowhere.
pub fn places(container: &Container, port: &str) -> Result<Vec<SocketAddr>> {
    let (number, transport) = transport(port)?;
    let invalid = || Kind::Invalid.says(format!("'{port}' is no port"));
    let number: u16 = number.parse().ok().ok_or_else(invalid)?;
    let is_meant = |p: &&Published| (p.container, p.transport) == (number, transport);
    let all = container.published().iter().filter(is_meant);
    let places: Vec<SocketAddr> = all.map(|p| p.host).collect();
    if places.is_empty() {
        refuse!(
            NotFound,
            "container {}: port {number}/{transport} is not published",
            container.record.name
        );
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_shown_as_docker_does() {
        let port = |host: &str, container, transport| Published {
            host: host.parse().unwrap(),
            container,
            transport,
        };
        let all = [
            port("127.0.0.1:8080", 80, Transport::Tcp),
            port("[::1]:8080", 80, Transport::Tcp),
            port("0.0.0.0:5353", 53, Transport::Udp),
        ];
        assert_eq!(
            serde_json::to_value(bindings(&all)).unwrap(),
            json!({
                "80/tcp": [
                    {"HostIp": "127.0.0.1", "HostPort": "8080"},
                    {"HostIp": "::1", "HostPort": "8080"},
                ],
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}],
            })
        );
        assert_eq!(
            line(&all.each_ref().map(Port::from)),
            "127.0.0.1:8080->80/tcp, [::1]:8080->80/tcp, 0.0.0.0:5353->53/udp"
        );
        assert_eq!(line(&[]), "");
    }
}
