//! `--dns`, `--dns-search`, `--dns-option`: lines of `/etc/resolv.conf`.

use crate::error::refuse;
use anyhow::Result;
use std::net::IpAddr;

/// What stands in `/etc/resolv.conf` in place of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers, as resolv.conf(5) has them: those of a link
    /// (`fe80::1%eth0`) too. The host's if there are none.
    pub servers: Vec<String>,
    /// Search domains.
    pub search: Words,
    /// Options of resolv.conf(5).
    pub options: Words,
}

/// Words in place of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Words {
    /// The host's.
    #[default]
    Host,
    /// None.
    Nothing,
    /// These.
    These(Vec<String>),
}

impl Words {
    /// Reads all values of a flag: `.` alone stands for none.
    pub fn read(texts: &[String]) -> Words {
        match texts {
            [] => Words::Host,
            [only] if only == "." => Words::Nothing,
            texts => Words::These(texts.to_vec()),
        }
    }

    /// They, where the host has `host`.
    pub fn or(&self, host: Vec<String>) -> Vec<String> {
        match self {
            Words::Host => host,
            Words::Nothing => Vec::new(),
            Words::These(words) => words.clone(),
        }
    }
}

impl Dns {
    /// Reads all values of the three flags.
    pub fn read(servers: &[String], search: &[String], options: &[String]) -> Dns {
        Dns {
            servers: servers.to_vec(),
            search: Words::read(search),
            options: Words::read(options),
        }
    }

    /// Whom the name servers of named networks are to ask.
    ///
    /// # Errors
    /// A server that is no address.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let address = |text: &String| match text.parse() {
            Ok(address) => Ok(address),
            Err(_) => refuse!(Invalid, "--dns {text}: an address is wanted"),
        };
        self.servers.iter().map(address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_stands_for_nothing() {
        let words = |texts: &[&str]| -> Vec<String> { texts.iter().map(|t| (*t).into()).collect() };
        for (texts, wanted) in [
            (&[][..], &["h"][..]),
            (&["."], &[]),
            (&["a", "."], &["a", "."]),
            (&["a"], &["a"]),
        ] {
            assert_eq!(Words::read(&words(texts)).or(words(&["h"])), words(wanted));
        }
        assert_eq!(Dns::read(&[], &[], &[]), Dns::default());
    }

    #[test]
    fn networks_ask_addresses() {
        let addresses = |text: &str| Dns::read(&[text.to_owned()], &[], &[]).addresses();
        assert_eq!(addresses("9.9.9.9").unwrap(), [IpAddr::from([9, 9, 9, 9])]);
        let error = addresses("fe80::1%eth0").unwrap_err().to_string();
        assert_eq!(error, "--dns fe80::1%eth0: an address is wanted");
    }
}
