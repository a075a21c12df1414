//! `--network`: where a container's network is from.

use super::attachment::Attachment;
use super::user_network::UserNetwork;
use crate::error::refuse;
use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The container's network. Records have it as the flag would, and `named` for
/// [`Network::Named`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Network {
    /// User-mode networking where it works, else the host's.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Loopback alone.
    None,
    /// Named networks.
    Named,
    /// An interface of its own, served by a process of bryo's.
    User(UserNetwork),
    /// That of another container, which is named, or has this id.
    Container(String),
    /// The network namespace that this file stands for.
    Namespace(PathBuf),
    /// What a record says that cannot be read, or is of a later bryo; never
    /// asked for.
    Unknown(String),
}

/// The modes of bryo's own: what may stand before the options.
const MODES: [&str; 6] = ["default", "host", "none", "user", "container", "ns"];

/// What docker and podman call networks of a container's own; `user` is that here.
const PEERS: [&str; 3] = ["bridge", "pasta", "slirp4netns"];

/// Whether no network can be called so.
pub fn is_reserved(name: &str) -> bool {
    name == "private" || MODES.contains(&name) || PEERS.contains(&name)
}

/// Docker's or podman's word, if `--network` has one that is taken for bryo's
/// default; who asked is to be told.
pub fn foreign(text: &str) -> Option<&'static str> {
    PEERS.into_iter().find(|peer| text == *peer)
}

impl FromStr for Network {
    type Err = Error;

    /// Reads a mode of bryo's own with its options, or what others call one.
    fn from_str(text: &str) -> Result<Network> {
        let (kind, options) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "default" if options.is_empty() => Ok(Network::Default),
            _ if foreign(text).is_some() => Ok(Network::Default),
            peer if PEERS.contains(&peer) => refuse!(
                Unsupported,
                "--network {text}: the options of {peer} are not known here; those of \
                 user[:OPTIONS], which is in its place, are in docs/networking.md"
            ),
            "host" if options.is_empty() => Ok(Network::Host),
            "none" if options.is_empty() => Ok(Network::None),
            "user" => Ok(Network::User(options.parse()?)),
            "container" if !options.is_empty() => Ok(Network::Container(options.to_owned())),
            "ns" if !options.is_empty() => {
                let path = std::path::absolute(options).with_context(|| format!("ns:{options}"))?;
                Ok(Network::Namespace(path))
            }
            _ => refuse!(
                Invalid,
                "--network {text}: there are user[:OPTIONS], host, none, container:NAME, ns:PATH \
                 and the names of networks"
            ),
        }
    }
}

impl fmt::Display for Network {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Default => f.write_str("default"),
            Network::Host => f.write_str("host"),
            Network::None => f.write_str("none"),
            Network::Named => f.write_str("named"),
            Network::User(user) => match user.to_string().as_str() {
                "" => f.write_str("user"),
                options => write!(f, "user:{options}"),
            },
            Network::Container(name) => write!(f, "container:{name}"),
            Network::Namespace(path) => write!(f, "ns:{}", path.display()),
            Network::Unknown(text) => f.write_str(text),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl From<String> for Network {
    /// What a record has. Those who cannot read all of it still list the
    /// container and stop it.
    fn from(text: String) -> Network {
        match text.as_str() {
            "named" => Network::Named,
            known => known.parse().unwrap_or(Network::Unknown(text)),
        }
    }
}

impl Network {
    /// Whether it is another network namespace than bryo's.
    pub fn is_own(&self) -> bool {
        !matches!(self, Network::Default | Network::Host)
    }
}

/// Whether a `--network` is a mode, and no network's name.
fn is_mode(text: &str) -> bool {
    let kind = text.split(':').next().unwrap_or(text);
    MODES.contains(&kind) || PEERS.contains(&kind)
}

/// What all values of `--network` ask for together, with what the other flags
/// say of them: one mode of bryo's own, or named networks.
///
/// # Errors
/// Networks of both kinds, flags that say nothing to any; as
/// [`Network::from_str`] and [`Attachment::parse`].
pub fn read(
    texts: &[String],
    aliases: &[String],
    addresses: [&Option<String>; 2],
    mac: Option<&str>,
) -> Result<(Network, Vec<Attachment>)> {
    let is_named = |text: &String| !is_mode(text);
    let Some(_) = texts.iter().find(|text| is_named(text)) else {
        if texts.len() > 1 {
            refuse!(
                Invalid,
                "--network {}: one is enough",
                texts.join(" --network ")
            );
        }
        if !aliases.is_empty() || addresses.iter().any(|a| a.is_some()) {
            refuse!(
                Invalid,
                "--network-alias, --ip and --ip6 go with --network NAME, a named network"
            );
        }
        let network = texts.first().map(|text| text.parse()).transpose()?;
        let mut network = network.unwrap_or_default();
        if let Some(mac) = mac {
            let mac = mac.parse().context("--mac-address")?;
            match &mut network {
                Network::User(user) => user.mac = Some(mac),
                Network::Default => {
                    network = Network::User(UserNetwork {
                        mac: Some(mac),
                        ..UserNetwork::default()
                    });
                }
                other => {
                    refuse!(
                        Invalid,
                        "--mac-address: the container has no interface with --network {other}"
                    )
                }
            }
        }
        return Ok((network, Vec::new()));
    };
    if let Some(mode) = texts.iter().find(|text| !is_named(text)) {
        refuse!(Invalid, "--network {mode} goes with no other network");
    }
    let list = texts.iter().map(|text| Attachment::parse(text));
    let mut list = list.collect::<Result<Vec<_>>>()?;
    for (at, attachment) in list.iter().enumerate() {
        if list[..at].iter().any(|a| a.network == attachment.network) {
            refuse!(
                Invalid,
                "--network {0}: the container is on '{0}' once",
                attachment.network
            );
        }
    }
    if list.len() > 1 && addresses.iter().any(|a| a.is_some()) {
        refuse!(
            Invalid,
            "--ip and --ip6 go with one network: write --network NAME:ip=ADDRESS"
        );
    }
    if let Some(mac) = mac {
        // As docker has it: that of the first.
        list[0].mac = Some(mac.parse().context("--mac-address")?);
    }
    for attachment in &mut list {
        attachment.add(aliases, addresses)?;
    }
    Ok((Network::Named, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(network: &Network) -> String {
        serde_json::to_string(network).unwrap()
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        let user = |options: &str| Network::User(options.parse().unwrap());
        for (text, wanted) in [
            ("default", Network::Default),
            ("host", Network::Host),
            ("none", Network::None),
            ("user", user("")),
            (
                "user:mtu=1500,cidr=10.9.0.0/16",
                user("mtu=1500,cidr=10.9.0.0/16"),
            ),
            ("container:web", Network::Container("web".into())),
            ("container:a:b", Network::Container("a:b".into())),
            ("ns:/run/netns/x", Network::Namespace("/run/netns/x".into())),
        ] {
            assert_eq!(text.parse::<Network>().unwrap(), wanted);
            assert_eq!(wanted.to_string(), text);
        }
        for peer in ["bridge", "pasta", "slirp4netns"] {
            assert_eq!(peer.parse::<Network>().unwrap(), Network::Default);
            assert_eq!(foreign(peer), Some(peer));
            assert!(is_reserved(peer) && read(&[peer.into()], &[], [&None; 2], None).is_ok());
            let options = format!("{peer}:mtu=1500").parse::<Network>().unwrap_err();
            assert!(options.to_string().contains(&format!("options of {peer}")));
        }
        assert!(foreign("default").is_none() && is_reserved("default") && !is_reserved("web"));
        for text in [
            "",
            "web",
            "host:x",
            "none:",
            "container",
            "container:",
            "ns:",
            "named",
        ] {
            let read = text.parse::<Network>();
            // A colon without anything behind it says nothing.
            match text {
                "none:" => assert_eq!(read.unwrap(), Network::None),
                _ => assert_eq!(
                    read.unwrap_err().to_string(),
                    format!(
                        "--network {text}: there are user[:OPTIONS], host, none, container:NAME, \
                         ns:PATH and the names of networks"
                    )
                ),
            }
        }
    }

    /// Records of all builds so far have these.
    #[test]
    fn records_have_the_text() {
        for text in [
            "host",
            "none",
            "named",
            "user:cidr=10.0.2.0/24",
            "user:host-loopback,ipv6=off,mtu=1500,cidr=10.0.2.0/24,dns=9.9.9.9",
            "container:0123abcd",
            "ns:/x",
            "",
            "later:than=this",
        ] {
            let text = format!("{text:?}");
            let network: Network = serde_json::from_str(&text).unwrap();
            assert_eq!(json(&network), text);
        }
        let unknown: Network = serde_json::from_str(r#""user:later=1""#).unwrap();
        assert_eq!(unknown, Network::Unknown("user:later=1".into()));
    }

    #[test]
    fn flags_about_networks_are_read_together() {
        let read = |texts: &[&str], aliases: &[&str], ip: Option<&str>| {
            let owned = |all: &[&str]| -> Vec<String> { all.iter().map(|t| (*t).into()).collect() };
            super::read(
                &owned(texts),
                &owned(aliases),
                [&ip.map(str::to_owned), &None],
                None,
            )
        };
        assert_eq!(
            read(&["none"], &[], None).unwrap(),
            (Network::None, Vec::new())
        );
        let (network, list) = read(&["a", "b:alias=c"], &["d"], None).unwrap();
        assert_eq!(network, Network::Named);
        assert_eq!(list[0].aliases, ["d"]);
        assert_eq!(list[1].aliases, ["c", "d"]);
        let (_, list) = read(&["named"], &[], Some("10.1.2.3")).unwrap();
        assert_eq!(list[0].network, "named");
        assert_eq!(
            list[0].addresses,
            ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]
        );
        for (texts, aliases, ip, said) in [
            (
                &["none", "host"][..],
                &[][..],
                None,
                "--network none --network host: one is enough",
            ),
            (
                &["none"],
                &["x"],
                None,
                "--network-alias, --ip and --ip6 go with",
            ),
            (
                &["none"],
                &[],
                Some("10.0.0.1"),
                "--network-alias, --ip and --ip6 go with",
            ),
            (
                &["a", "host"],
                &[],
                None,
                "--network host goes with no other network",
            ),
            (
                &["a", "a"],
                &[],
                None,
                "--network a: the container is on 'a' once",
            ),
            (
                &["a", "b"],
                &[],
                Some("10.0.0.1"),
                "--ip and --ip6 go with one network",
            ),
            (&["a"], &["x/"], None, "'x/' cannot be a name"),
        ] {
            let error = read(texts, aliases, ip).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
