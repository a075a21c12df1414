//! A named network that a container is on: `--network NAME[:OPTIONS]`,
//! `--network-alias`, `--ip`, `--ip6`, and the flags of `network connect`.

use super::names;
use super::user_network::HardwareAddress;
use crate::error::refuse;
use anyhow::{Context, Result};
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
    /// Its interface's hardware address; one made of its address if there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<HardwareAddress>,
}

impl Attachment {
    /// Reads `NAME[:ip=ADDRESS,ip6=ADDRESS,alias=NAME,interface_name=NAME,mac=ADDRESS]`
    /// (podman's `--network`).
    ///
    /// # Errors
    /// A name that is none, an option that is unknown.
    pub fn parse(text: &str) -> Result<Attachment> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        names::network(name)?;
        let mut attachment = Attachment {
            network: name.to_owned(),
            ..Attachment::default()
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let what = || format!("--network {text}: '{option}'");
            match key {
                "ip" | "ip6" => attachment.want(value).with_context(what)?,
                "mac" => attachment.mac = Some(value.parse().with_context(what)?),
                "alias" => attachment.alias(value).with_context(what)?,
                "interface_name" => {
                    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                    if value.is_empty() || value.len() > 15 || !value.chars().all(sound) {
                        refuse!(
                            Invalid,
                            "{}: up to 15 letters and digits are wanted",
                            what()
                        );
                    }
                    attachment.interface = Some(value.to_owned());
                }
                _ => refuse!(
                    Invalid,
                    "{}: there are ip=, ip6=, alias=, mac= and interface_name=",
                    what()
                ),
            }
        }
        Ok(attachment)
    }

    /// Adds what `--network-alias` (`--alias`), `--ip` and `--ip6` say.
    ///
    /// # Errors
    /// As [`Attachment::alias`] and [`Attachment::want`].
    pub fn add(&mut self, aliases: &[String], addresses: [&Option<String>; 2]) -> Result<()> {
        aliases.iter().try_for_each(|alias| self.alias(alias))?;
        let mut addresses = addresses.into_iter().flatten();
        addresses.try_for_each(|address| self.want(address))
    }

    /// Adds an address that is wanted.
    ///
    /// # Errors
    /// It is none, or the second of its kind.
    pub fn want(&mut self, address: &str) -> Result<()> {
        let Ok(address) = address.parse::<IpAddr>() else {
            refuse!(Invalid, "'{address}' is not an address");
        };
        let same = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        if self.addresses.iter().any(same) {
            refuse!(Invalid, "{address}: one address of a kind is enough");
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
            refuse!(
                Invalid,
                "'{name}' cannot be a name: letters, digits, '-', '_' and dots between are"
            );
        }
        self.aliases.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_read() {
        let read = Attachment::parse(
            "web:ip=10.1.2.3,alias=a,alias=b.c,ip6=fd00::2,mac=02:00:00:00:00:0A",
        )
        .unwrap();
        assert_eq!(read.network, "web");
        assert_eq!(read.aliases, ["a", "b.c"]);
        assert_eq!(read.addresses.len(), 2);
        assert_eq!(read.mac.unwrap().to_string(), "02:00:00:00:00:0a");
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
    }
}
