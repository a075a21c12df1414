//! `--add-host`: lines of `/etc/hosts`.

use crate::error::refuse;
use anyhow::{Context, Result};
use std::net::IpAddr;

/// What stands for the host's address (docker's).
const HOST_GATEWAY: &str = "host-gateway";

/// The address that a name gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAddress {
    /// This one.
    Ip(IpAddr),
    /// `host-gateway`: the host's, as the container can reach it.
    Gateway,
}

/// A name and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: HostAddress,
}

/// Reads `NAME[;NAME…]:ADDRESS`, or with `=`: the names, each with the address.
///
/// # Errors
/// What is no name or no address.
pub fn add_host(text: &str) -> Result<Vec<HostEntry>> {
    let fail = |why: String| format!("--add-host {text}: {why}");
    // With "=" an address may have colons in plain sight, as docker has it.
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (names, address) = parts.with_context(|| fail("NAME:ADDRESS is wanted".into()))?;
    let inside = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match inside.unwrap_or(address).parse() {
        Ok(ip) => HostAddress::Ip(ip),
        Err(_) if address == HOST_GATEWAY => HostAddress::Gateway,
        Err(_) => refuse!(
            Invalid,
            "{}",
            fail(format!(
                "'{address}' is not an address; an IPv4 or IPv6 address or {HOST_GATEWAY} is wanted"
            ))
        ),
    };
    let all = names.split(';').map(|name| {
        let word = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '#' | ':');
        if name.is_empty() || !name.chars().all(word) {
            refuse!(
                Invalid,
                "{}",
                fail(format!("'{name}' is not a host's name"))
            );
        }
        Ok(HostEntry {
            name: name.to_owned(),
            address,
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_added_by_name_and_address() {
        for (text, lines) in [
            ("a:1.2.3.4", &[("a", "1.2.3.4")][..]),
            ("a=1.2.3.4", &[("a", "1.2.3.4")]),
            ("a:::1", &[("a", "::1")]),
            ("a=::1", &[("a", "::1")]),
            ("a:[::1]", &[("a", "::1")]),
            ("a=[fd00::2]", &[("a", "fd00::2")]),
            ("a;b.c:1.2.3.4", &[("a", "1.2.3.4"), ("b.c", "1.2.3.4")]),
            ("a;b=host-gateway", &[("a", ""), ("b", "")]),
        ] {
            let wanted: Vec<HostEntry> = lines
                .iter()
                .map(|(name, address)| HostEntry {
                    name: (*name).to_owned(),
                    address: match *address {
                        "" => HostAddress::Gateway,
                        address => HostAddress::Ip(address.parse().unwrap()),
                    },
                })
                .collect();
            assert_eq!(add_host(text).unwrap(), wanted, "{text}");
        }
        for (text, why) in [
            ("a", "NAME:ADDRESS is wanted"),
            ("a:", "'' is not an address"),
            ("a::", "':' is not an address"),
            (":1.2.3.4", "'' is not a host's name"),
            ("=1.2.3.4", "'' is not a host's name"),
            ("a=b:1.2.3.4", "'b:1.2.3.4' is not an address"),
            ("a:x=1.2.3.4", "'a:x' is not a host's name"),
            ("a:[::1", "'[::1' is not an address"),
            ("a:[host-gateway]", "'[host-gateway]' is not an address"),
            ("a;:1.2.3.4", "'' is not a host's name"),
            ("a b:1.2.3.4", "'a b' is not a host's name"),
            ("a\n:1.2.3.4", "'a\n' is not a host's name"),
            ("#a:1.2.3.4", "'#a' is not a host's name"),
        ] {
            let error = add_host(text).unwrap_err().to_string();
            let said = format!("--add-host {text}: {why}");
            assert!(error.starts_with(&said), "{error}");
        }
    }
}
