//! What containers get of networks, and the words in which
//! supervisors and holders speak of it. Pure.

use super::subnet::Subnet;
use crate::error::Fault;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a container has on a network while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network's name.
    pub network: String,
    /// Which network that is: its id.
    pub network_id: String,
    /// Its addresses.
    pub addresses: Vec<Subnet>,
    /// The way out, one for each kind of address; none where there is no way.
    pub routers: Vec<IpAddr>,
    /// Who answers about names.
    pub name_servers: Vec<IpAddr>,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Names it is known by there.
    pub names: Vec<String>,
    /// Its interface's name; empty until it has one.
    #[serde(default)]
    pub interface: String,
}

/// What a holder is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Addresses and names for a container, for as long as the connection
    /// lasts.
    Join {
        /// The network's id.
        network: String,
        /// The container's id.
        container: String,
        /// What it shall be known by.
        names: Vec<String>,
        /// Addresses that it must have.
        wanted: Vec<IpAddr>,
        /// Addresses that it had before.
        before: Vec<IpAddr>,
        /// Name servers of its own choice.
        dns: Vec<IpAddr>,
        /// Other networks that it is on: it hears of their names too.
        also: Vec<String>,
    },
    /// The socket that comes along is a port of the container's, published at
    /// the host: of TCP or of UDP, and the container's port.
    Publish(bool, u16),
    /// The container's ports are published no more; they are free when the
    /// answer comes.
    TakeBack,
    /// All names, now and whenever they change.
    Watch,
    /// Where the network is.
    Look,
}

/// What a holder answers; its namespace comes along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It has joined.
    Joined(Lease),
    /// It is here.
    Here,
    /// These are the names, each with an address.
    Names(Vec<(String, IpAddr)>),
    /// It cannot be done.
    #[serde(with = "as_text")]
    Refused(Fault),
    /// This is another network, which had the name.
    Gone,
}

/// [`Fault::as_text`], which holders and supervisors of older builds read too.
mod as_text {
    use super::{Fault, MAX_WORDS};
    use crate::error::Kind;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(fault: &Fault, to: S) -> Result<S::Ok, S::Error> {
        // A character takes six bytes at most.
        to.serialize_str(&fault.as_text(MAX_WORDS / 8))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Fault, D::Error> {
        let text = String::deserialize(from)?;
        Ok(Fault::of_text(&text, Kind::Conflict))
    }
}

/// Longest message of either, in bytes.
pub const MAX_WORDS: usize = 64 << 10;

/// The hardware address that goes with an address: one that is administered
/// locally, as docker makes it.
pub fn mac(address: IpAddr) -> [u8; 6] {
    let [.., a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    [0x02, 0x42, a, b, c, d]
}

/// A hardware address as people write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refusal;

    #[test]
    fn what_older_builds_say_and_read_is_a_text() {
        let old: Told = serde_json::from_str(r#"{"Refused":"10.1.2.3 is taken"}"#).unwrap();
        let taken = Fault::of(&refusal!(Conflict, "10.1.2.3 is taken"));
        assert_eq!(old, Told::Refused(taken));
        let full = Told::Refused(Fault::of(&refusal!(NoSpace, "full")));
        let words = serde_json::to_string(&full).unwrap();
        assert!(words.starts_with(r#"{"Refused":"full\u0000"#), "{words}");
        assert_eq!(serde_json::from_str::<Told>(&words).unwrap(), full);
    }

    #[test]
    fn hardware_addresses_follow_from_addresses() {
        assert_eq!(mac("10.1.2.3".parse().unwrap()), [2, 0x42, 10, 1, 2, 3]);
    }
}
