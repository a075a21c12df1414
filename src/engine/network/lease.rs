//! What containers want of networks and what they get, and the words in which
//! supervisors and holders speak of it. Pure.

use super::subnet::Subnet;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A container's wish to be on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// Further names of the container there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The addresses it wants, at most one of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its interface's name; the first that is free if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl Attachment {
    /// Reads `NAME[:ip=ADDRESS,ip6=ADDRESS,alias=NAME,interface_name=NAME]`
    /// (podman's `--network`).
    ///
    /// # Errors
    /// A name that is none, an option that is unknown.
    pub fn parse(text: &str) -> Result<Attachment> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        super::definition::check_name(name)?;
        let mut attachment = Attachment {
            network: name.to_owned(),
            ..Attachment::default()
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let what = || format!("--network {text}: '{option}'");
            match key {
                "ip" | "ip6" => attachment.want(value).with_context(what)?,
                "alias" => attachment.alias(value).with_context(what)?,
                "interface_name" => {
                    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                    if value.is_empty() || value.len() > 15 || !value.chars().all(sound) {
                        bail!("{}: up to 15 letters and digits are wanted", what());
                    }
                    attachment.interface = Some(value.to_owned());
                }
                _ => bail!(
                    "{}: there are ip=, ip6=, alias= and interface_name=",
                    what()
                ),
            }
        }
        Ok(attachment)
    }

    /// Adds an address that is wanted.
    ///
    /// # Errors
    /// It is none, or the second of its kind.
    pub fn want(&mut self, address: &str) -> Result<()> {
        let Ok(address) = address.parse::<IpAddr>() else {
            bail!("'{address}' is not an address");
        };
        let same = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        if self.addresses.iter().any(same) {
            bail!("{address}: one address of a kind is enough");
        }
        self.addresses.push(address);
        Ok(())
    }

    /// Adds a name.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn alias(&mut self, name: &str) -> Result<()> {
        let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let labels = name.split('.').all(|label| (1..64).contains(&label.len()));
        if name.len() > 253 || !labels || !name.chars().all(sound) {
            bail!("'{name}' cannot be a name: letters, digits, '-', '_' and dots between are");
        }
        self.aliases.push(name.to_owned());
        Ok(())
    }
}

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
    Refused(String),
    /// This is another network, which had the name.
    Gone,
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

    #[test]
    fn attachments_are_read() {
        let read = Attachment::parse("web:ip=10.1.2.3,alias=a,alias=b.c,ip6=fd00::2").unwrap();
        assert_eq!(read.network, "web");
        assert_eq!(read.aliases, ["a", "b.c"]);
        assert_eq!(read.addresses.len(), 2);
        for bad in [
            "",
            "we b",
            "web:ip=1.2.3",
            "web:ip=1.2.3.4,ip=1.2.3.5",
            "web:alias=",
            "web:alias=a..b",
            "web:mac=1",
            "web:interface_name=0123456789012345",
        ] {
            assert!(Attachment::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(mac("10.1.2.3".parse().unwrap()), [2, 0x42, 10, 1, 2, 3]);
    }
}
