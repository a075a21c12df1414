//! A container's networks: `NetworkMode`, `NetworkingConfig` and what else says
//! something of them. Pure.

use super::Draft;
use super::values::{each, member, object, says_something, some_text};
use crate::engine::request::attachment::Attachment;
use crate::engine::request::names;
use crate::engine::request::network::{Network, is_reserved, read as read_modes};
use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use serde_json::Value;

/// What is wanted of networks.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// `NetworkMode`.
    pub mode: String,
    /// Networks by name or id, and what is said of the container on each.
    endpoints: Vec<(String, Endpoint)>,
    /// The hardware address on the first.
    pub mac: Option<String>,
    /// There is to be none.
    pub disabled: bool,
}

/// A container on a network.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// Further names.
    aliases: Vec<String>,
    /// IPv4 and IPv6.
    addresses: [Option<String>; 2],
    mac: Option<String>,
}

/// `NetworkingConfig`
pub(super) fn read(draft: &mut Draft, value: &Value) -> Result<()> {
    let Some(all) = member(value, "EndpointsConfig") else {
        return Ok(());
    };
    for (name, wish) in object(all).context("EndpointsConfig")? {
        let endpoint = endpoint(wish).with_context(|| format!("EndpointsConfig.{name}"))?;
        draft.networking.endpoints.push((name.clone(), endpoint));
    }
    Ok(())
}

/// What is said of a container on a network: an `EndpointSettings`, of which what docker
/// answers is passed over.
///
/// # Errors
/// It is none, or asks for what is not done.
pub fn endpoint(wish: &Value) -> Result<Endpoint> {
    for (key, why) in [
        (
            "Links",
            "containers find each other by their names and aliases",
        ),
        ("DriverOpts", "its networks have no options of drivers"),
    ] {
        demand!(
            Unsupported,
            !member(wish, key).is_some_and(says_something),
            "{key}: bryo does not do that: {why}"
        );
    }
    let mut endpoint = Endpoint::default();
    if let Some(aliases) = member(wish, "Aliases") {
        endpoint.aliases = each(aliases).context("Aliases")?;
    }
    let owned = |value: &Value| Ok::<_, anyhow::Error>(some_text(value)?.map(str::to_owned));
    if let Some(mac) = member(wish, "MacAddress") {
        endpoint.mac = owned(mac).context("MacAddress")?;
    }
    if let Some(ipam) = member(wish, "IPAMConfig") {
        for (key, place) in ["IPv4Address", "IPv6Address"]
            .into_iter()
            .zip(&mut endpoint.addresses)
        {
            if let Some(address) = member(ipam, key) {
                *place = owned(address).context(key)?;
            }
        }
        demand!(
            Unsupported,
            !member(ipam, "LinkLocalIPs").is_some_and(says_something),
            "IPAMConfig.LinkLocalIPs: bryo does not do that: one address of a kind is given"
        );
    }
    Ok(endpoint)
}

impl Endpoint {
    /// The container's wish to be on the network of that name.
    ///
    /// # Errors
    /// What is no name or address.
    pub fn attachment(&self, network: String) -> Result<Attachment> {
        names::network(&network)?;
        let mut attachment = Attachment {
            network,
            ..Attachment::default()
        };
        let [v4, v6] = &self.addresses;
        attachment.add(&self.aliases, [v4, v6])?;
        attachment.mac = self.mac.as_deref().map(str::parse).transpose()?;
        Ok(attachment)
    }
}

/// Whether it is the network that a container has if nothing else is said.
fn is_default(mode: &str) -> bool {
    matches!(mode, "" | "default" | "bridge")
}

/// Whether it is a mode, and no network.
fn is_mode(mode: &str) -> bool {
    mode.is_empty() || mode.contains(':') || is_reserved(mode)
}

/// Makes of all that what the engine takes; `named` knows a network's name by its id.
pub(super) fn finish(draft: &mut Draft, named: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    let Wanted {
        mode,
        endpoints,
        mac,
        disabled,
    } = std::mem::take(&mut draft.networking);
    if disabled {
        draft.options.network = Network::None;
        return Ok(());
    }
    let of_mode = endpoints.iter().find(|(name, _)| *name == mode);
    let of_mode = of_mode.and_then(|(_, endpoint)| endpoint.mac.clone());
    let mac = mac.or(of_mode);
    let mut names: Vec<&str> = Vec::new();
    if !is_mode(&mode) {
        names.push(&mode);
    }
    let others = endpoints.iter().map(|(name, _)| name.as_str());
    names.extend(others.filter(|name| *name != mode && !is_mode(name)));
    if names.is_empty() {
        let modes = match is_default(&mode) {
            true => Vec::new(),
            false => vec![mode],
        };
        let (network, _) = read_modes(&modes, &[], [&None; 2], mac.as_deref())?;
        draft.options.network = network;
        return Ok(());
    }
    if is_mode(&mode) && !is_default(&mode) {
        refuse!(
            Invalid,
            "NetworkMode {mode} goes with no other network, as {} is",
            names.join(", ")
        );
    }
    let none = Endpoint::default();
    let mut all: Vec<Attachment> = Vec::new();
    for name in names {
        let own = endpoints.iter().find(|(own, _)| own == name);
        let endpoint = own.map_or(&none, |(_, endpoint)| endpoint);
        let attachment = endpoint.attachment(named(name)?);
        let attachment = attachment.with_context(|| format!("EndpointsConfig.{name}"))?;
        // By its id and by its name it is one.
        if all.iter().all(|a| a.network != attachment.network) {
            all.push(attachment);
        }
    }
    if let (Some(mac), Some(first)) = (mac, all.first_mut()) {
        first.mac = Some(mac.parse().context("MacAddress")?);
    }
    draft.options.network = Network::Named;
    draft.options.keeping.networks = all;
    draft.options.keeping.dns = draft.options.dns.addresses().context("HostConfig.Dns")?;
    Ok(())
}
