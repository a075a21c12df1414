//! Published ports.

use crate::engine::containers::Container;
use crate::engine::record::Published;
use crate::engine::request::publish::transport;
use crate::error::Kind;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where a container's port is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// The host's address.
    pub host_ip: String,
    /// The host's port.
    pub host_port: String,
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
pub fn line(published: &[Published]) -> String {
    let one = |p: &Published| format!("{}->{}", p.host, name(p));
    published.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Where a port of a container, `PORT[/PROTOCOL]`, is published.
///
/// # Errors
/// Of [`NotFound`](Kind::NotFound) if it is nowhere.
pub fn places(container: &Container, port: &str) -> Result<Vec<SocketAddr>> {
    let (number, transport) = transport(port)?;
    let invalid = || Kind::Invalid.says(format!("'{port}' is no port"));
    let number: u16 = number.parse().ok().with_context(invalid)?;
    let is_meant = |p: &&Published| (p.container, p.transport) == (number, transport);
    let all = container.published().iter().filter(is_meant);
    let places: Vec<SocketAddr> = all.map(|p| p.host).collect();
    if places.is_empty() {
        bail!(Kind::NotFound.says(format!(
            "container {}: port {number}/{transport} is not published",
            container.record.name
        )));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::publish::Transport;
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
            line(&all),
            "127.0.0.1:8080->80/tcp, [::1]:8080->80/tcp, 0.0.0.0:5353->53/udp"
        );
        assert_eq!(line(&[]), "");
    }
}
