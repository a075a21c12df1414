//! Networks, and what containers have of them.

use super::port::{self, Binding};
use super::words;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::ground::names::short;
use crate::engine::network::lease::{Lease, mac_text};
use crate::engine::network::subnet::Subnet;
use crate::engine::network::usernet::translator;
use crate::engine::network::{Definition, Networks, members};
use crate::engine::operate::processes;
use crate::engine::request;
use crate::net::worker::Report;
use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The one driver of named networks.
const DRIVER: &str = "bridge";

/// A network, as `network inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// There is one: `local`.
    pub scope: &'static str,
    /// There is one: `bridge`.
    pub driver: &'static str,
    /// It has a subnet of IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its subnets.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// It has no way out.
    pub internal: bool,
    /// What containers that run have on it, by their ids.
    pub containers: BTreeMap<String, Member>,
    /// How its way out is.
    pub options: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name servers that are asked in place of the host's.
    pub dns: Vec<IpAddr>,
    /// What its translator has done, while there is one.
    pub traffic: Option<Translated>,
}

/// Who gives out addresses, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// There is one: `default`.
    pub driver: &'static str,
    /// The subnets.
    pub config: Vec<Pool>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    /// As `10.90.0.0/24`.
    pub subnet: String,
    /// The way out.
    pub gateway: IpAddr,
}

/// What a container has on a network, as the network shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// The container's name.
    pub name: String,
    /// Its hardware address.
    pub mac_address: String,
    /// With the length of the prefix; empty for none.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With the length of the prefix; empty for none.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

impl Member {
    fn of(name: &str, lease: &Lease) -> Member {
        let address = |v4: bool| {
            let mut all = lease.addresses.iter();
            let found = all.find(|a| a.address.is_ipv4() == v4);
            found.map_or_else(String::new, Subnet::to_string)
        };
        Member {
            name: name.to_owned(),
            mac_address: mac_text(lease.mac),
            ipv4_address: address(true),
            ipv6_address: address(false),
        }
    }
}

impl Network {
    /// The network of this name or id.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound).
    pub fn find(name: &str, networks: &Networks, containers: &Containers) -> Result<Network> {
        let found = networks.find(name)?;
        let members = members::running(containers, &found.id)?;
        let members = members.iter().map(|(container, lease)| {
            let member = Member::of(&container.record.name, lease);
            (container.record.id.clone(), member)
        });
        let report = translator::report(&networks.traffic(&found.name));
        Ok(Network::of(&found, members.collect(), report.as_ref()))
    }

    /// How a network is shown, with what containers have on it.
    fn of(
        network: &Definition,
        containers: BTreeMap<String, Member>,
        report: Option<&Report>,
    ) -> Network {
        let pool = |gateway: &Subnet| Pool {
            subnet: gateway.network().to_string(),
            gateway: gateway.address,
        };
        Network {
            name: network.name.clone(),
            id: network.id.clone(),
            created: network.created,
            scope: "local",
            driver: DRIVER,
            enable_ipv6: network.gateways.len() > 1,
            ipam: Ipam {
                driver: "default",
                config: network.gateways.iter().map(pool).collect(),
            },
            internal: network.internal,
            containers,
            options: network.options.clone(),
            labels: network.labels.clone(),
            dns: network.dns.clone(),
            traffic: report.map(Translated::of),
        }
    }
}

/// A network in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its id, short unless the whole is wanted.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// There is one: `bridge`.
    pub driver: &'static str,
    /// There is one: `local`.
    pub scope: &'static str,
    /// It has a subnet of IPv6.
    #[serde(rename = "IPv6")]
    pub ipv6: bool,
    /// It has no way out.
    pub internal: bool,
    /// Labels in one line.
    pub labels: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Row {
    /// How a network is listed.
    pub fn of(network: &Definition, whole: bool) -> Row {
        Row {
            id: match whole {
                true => network.id.clone(),
                false => short(&network.id).to_owned(),
            },
            name: network.name.clone(),
            driver: DRIVER,
            scope: "local",
            ipv6: network.gateways.len() > 1,
            internal: network.internal,
            labels: words::labels(&network.labels),
            created_at: network.created,
        }
    }
}

/// What a translator has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Translated {
    /// Flows there are.
    pub flows: usize,
    /// Connections among them.
    pub connections: usize,
    /// Flows begun.
    pub flows_begun: u64,
    /// Connections to published ports that went past it.
    pub relayed: u64,
    /// Their bytes to the outside.
    pub relayed_bytes_out: u64,
    /// Their bytes to the container.
    pub relayed_bytes_in: u64,
    /// Bytes of frames to the outside.
    pub bytes_out: u64,
    /// Frames to the outside.
    pub packets_out: u64,
    /// Bytes of frames to the container.
    pub bytes_in: u64,
    /// Frames to the container.
    pub packets_in: u64,
    /// Frames that were malformed.
    pub malformed: u64,
    /// Frames that were not passed on for another reason.
    pub dropped: u64,
    /// Segments sent again.
    pub retransmitted: u64,
}

impl Translated {
    fn of(report: &Report) -> Translated {
        let (counters, relayed) = (&report.counters, &report.relayed);
        Translated {
            flows: report.flows,
            connections: report.connections,
            flows_begun: counters.flows,
            relayed: relayed.connections,
            relayed_bytes_out: relayed.outward,
            relayed_bytes_in: relayed.inward,
            bytes_out: counters.sent.1,
            packets_out: counters.sent.0,
            bytes_in: counters.received.1,
            packets_in: counters.received.0,
            malformed: counters.malformed,
            dropped: counters.dropped,
            retransmitted: counters.retransmitted,
        }
    }
}

/// What went over a container's network: by its interfaces, and by what serves
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Traffic {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_lost: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_lost: u64,
    /// What its translator has done, while there is one.
    pub translator: Option<Translated>,
}

impl Traffic {
    /// Of a container; nothing if it does not run or has the host's network.
    fn of(container: &Container) -> Option<Traffic> {
        let process = container.state.process()?;
        if container.record.network == request::network::Network::Host {
            return None;
        }
        let [received, sent] = processes::network(container, process.pid);
        let report = translator::report(&translator::report_of(&container.dir));
        Some(Traffic {
            rx_bytes: received.bytes,
            rx_packets: received.packets,
            rx_lost: received.lost,
            tx_bytes: sent.bytes,
            tx_packets: sent.packets,
            tx_lost: sent.lost,
            translator: report.as_ref().map(Translated::of),
        })
    }
}

/// A container's networks, as `inspect` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// The first network's, once more.
    #[serde(flatten)]
    pub interface: Interface,
    /// What it has on each, by their names.
    pub networks: BTreeMap<String, Endpoint>,
    /// Where each of its ports is published.
    pub ports: BTreeMap<String, Vec<Binding>>,
    /// What went over its network; nothing if it does not run or has the host's.
    pub traffic: Option<Traffic>,
    /// Its network namespace, while it runs.
    pub sandbox_key: String,
}

/// A container's network in one word, as docker has it: the first one, where it
/// is on named ones; that of bryo's own whatever its options are.
pub fn mode(container: &Container) -> String {
    match (&container.record.network, members::wanted(container)) {
        (request::network::Network::Named, [first, ..]) => first.network.clone(),
        (request::network::Network::User(_), _) => "user".to_owned(),
        (network, _) => network.to_string(),
    }
}

/// What a container has on a network, as the container shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its interface.
    #[serde(flatten)]
    pub interface: Interface,
    /// What it has on a named network alone.
    #[serde(flatten)]
    pub membership: Membership,
}

/// What a container has on a named network alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Membership {
    /// The network, while it runs.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Further names that it asked for there.
    pub aliases: Vec<String>,
    /// Its interface there, while it runs.
    pub interface_name: String,
}

/// An interface, with docker's fields; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Interface {
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "Gateway")]
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "MacAddress")]
    pub mac_address: String,
}

impl Interface {
    fn of(
        addresses: impl IntoIterator<Item = (IpAddr, u8)>,
        gateways: &[IpAddr],
        mac: [u8; 6],
    ) -> Interface {
        let mut shown = Interface {
            mac_address: mac_text(mac),
            ..Interface::default()
        };
        for (address, prefix) in addresses {
            let (field, bits) = match address {
                IpAddr::V4(_) => (&mut shown.ip_address, &mut shown.ip_prefix_len),
                IpAddr::V6(_) => (
                    &mut shown.global_ipv6_address,
                    &mut shown.global_ipv6_prefix_len,
                ),
            };
            *field = address.to_string();
            *bits = prefix;
        }
        for gateway in gateways {
            match gateway {
                IpAddr::V4(_) => shown.gateway = gateway.to_string(),
                IpAddr::V6(_) => shown.ipv6_gateway = gateway.to_string(),
            }
        }
        shown
    }
}

impl From<&Lease> for Interface {
    fn from(lease: &Lease) -> Interface {
        let addresses = lease.addresses.iter().map(|s| (s.address, s.prefix));
        Interface::of(addresses, &lease.routers, lease.mac)
    }
}

impl Settings {
    /// Those of a container.
    pub fn of(container: &Container) -> Settings {
        let networks = on_each(container);
        let first = networks.first().map(|(_, endpoint)| &endpoint.interface);
        Settings {
            interface: first.cloned().unwrap_or_default(),
            networks: networks.into_iter().collect(),
            ports: port::bindings(container.published()),
            traffic: Traffic::of(container),
            sandbox_key: (container.state.process()).map_or(String::new(), |process| {
                format!("/proc/{}/ns/net", process.pid)
            }),
        }
    }
}

/// What a container has on each of its networks, by their names.
pub fn endpoints(container: &Container) -> BTreeMap<String, Endpoint> {
    on_each(container).into_iter().collect()
}

/// The same, in the order in which it is on them.
fn on_each(container: &Container) -> Vec<(String, Endpoint)> {
    let runs = container.state.is_active();
    let mut all = Vec::new();
    if let request::network::Network::User(user) = &container.record.network {
        let interface = match runs {
            true => {
                let made = user.interface();
                Interface::of(made.addresses, &made.gateways, made.mac)
            }
            false => Interface::default(),
        };
        let endpoint = Endpoint {
            interface,
            membership: Membership::default(),
        };
        all.push(("user".to_owned(), endpoint));
    }
    let wanted = members::wanted(container);
    let leases = match runs && !wanted.is_empty() {
        true => members::leases(&container.dir),
        false => Vec::new(),
    };
    all.extend(wanted.iter().map(|attachment| {
        let lease = leases.iter().find(|l| l.network == attachment.network);
        let endpoint = Endpoint {
            interface: lease.map(Interface::from).unwrap_or_default(),
            membership: Membership {
                network_id: lease.map_or(String::new(), |l| l.network_id.clone()),
                aliases: attachment.aliases.clone(),
                interface_name: lease.map_or(String::new(), |l| l.interface.clone()),
            },
        };
        (attachment.network.clone(), endpoint)
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Definition {
        Definition {
            name: "web".into(),
            id: "0123456789abcdef".into(),
            created: "2026-01-02T03:04:05Z".parse().unwrap(),
            gateways: vec![
                "10.90.0.1/24".parse().unwrap(),
                "fd00::1/64".parse().unwrap(),
            ],
            internal: false,
            dns: vec!["192.0.2.1".parse().unwrap()],
            labels: [("a".into(), "1".into()), ("b".into(), String::new())].into(),
            options: "mtu=1500".into(),
        }
    }

    fn lease() -> Lease {
        Lease {
            network: "web".into(),
            network_id: "0123456789abcdef".into(),
            addresses: vec![
                "10.90.0.7/24".parse().unwrap(),
                "fd00::7/64".parse().unwrap(),
            ],
            routers: vec!["10.90.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            name_servers: Vec::new(),
            mac: [2, 0, 0, 0, 0, 7],
            mtu: 1500,
            names: Vec::new(),
            interface: "eth0".into(),
        }
    }

    #[test]
    fn a_network_has_dockers_fields() {
        let mut report = Report {
            flows: 3,
            connections: 2,
            ..Report::default()
        };
        report.counters.sent = (10, 1000);
        report.counters.received = (20, 2000);
        report.relayed.connections = 1;
        report.relayed.outward = 5;
        let members = [("ab".to_owned(), Member::of("one", &lease()))];
        assert_eq!(
            serde_json::to_value(Network::of(&definition(), members.into(), Some(&report)))
                .unwrap(),
            json!({
                "Name": "web",
                "Id": "0123456789abcdef",
                "Created": "2026-01-02T03:04:05Z",
                "Scope": "local",
                "Driver": "bridge",
                "EnableIPv6": true,
                "IPAM": {
                    "Driver": "default",
                    "Config": [
                        {"Subnet": "10.90.0.0/24", "Gateway": "10.90.0.1"},
                        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
                    ],
                },
                "Internal": false,
                "Containers": {
                    "ab": {
                        "Name": "one",
                        "MacAddress": "02:00:00:00:00:07",
                        "IPv4Address": "10.90.0.7/24",
                        "IPv6Address": "fd00::7/64",
                    },
                },
                "Options": "mtu=1500",
                "Labels": {"a": "1", "b": ""},
                "Dns": ["192.0.2.1"],
                "Traffic": {
                    "Flows": 3,
                    "Connections": 2,
                    "FlowsBegun": 0,
                    "Relayed": 1,
                    "RelayedBytesOut": 5,
                    "RelayedBytesIn": 0,
                    "BytesOut": 1000,
                    "PacketsOut": 10,
                    "BytesIn": 2000,
                    "PacketsIn": 20,
                    "Malformed": 0,
                    "Dropped": 0,
                    "Retransmitted": 0,
                },
            })
        );
    }

    #[test]
    fn a_row_is_short_unless_the_whole_is_wanted() {
        let row = |whole| serde_json::to_value(Row::of(&definition(), whole)).unwrap();
        assert_eq!(
            row(false),
            json!({
                "ID": "0123456789ab",
                "Name": "web",
                "Driver": "bridge",
                "Scope": "local",
                "IPv6": true,
                "Internal": false,
                "Labels": "a=1,b=",
                "CreatedAt": "2026-01-02T03:04:05Z",
            })
        );
        assert_eq!(row(true)["ID"], "0123456789abcdef");
    }

    #[test]
    fn an_endpoint_has_dockers_fields() {
        let endpoint = Endpoint {
            interface: Interface::from(&lease()),
            membership: Membership {
                network_id: "0123".into(),
                aliases: vec!["db".into()],
                interface_name: "eth0".into(),
            },
        };
        assert_eq!(
            serde_json::to_value(endpoint).unwrap(),
            json!({
                "IPAddress": "10.90.0.7",
                "IPPrefixLen": 24,
                "Gateway": "10.90.0.1",
                "GlobalIPv6Address": "fd00::7",
                "GlobalIPv6PrefixLen": 64,
                "IPv6Gateway": "fd00::1",
                "MacAddress": "02:00:00:00:00:07",
                "NetworkID": "0123",
                "Aliases": ["db"],
                "InterfaceName": "eth0",
            })
        );
        let of_none = Endpoint {
            interface: Interface::default(),
            membership: Membership::default(),
        };
        assert_eq!(
            serde_json::to_value(of_none).unwrap(),
            json!({
                "IPAddress": "",
                "IPPrefixLen": 0,
                "Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "IPv6Gateway": "",
                "MacAddress": "",
                "NetworkID": "",
                "Aliases": [],
                "InterfaceName": "",
            })
        );
    }
}
