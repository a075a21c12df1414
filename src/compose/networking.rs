//! Networks and ports of a service, as a request to the engine.

use super::node::{Node, Result, Value};
use super::project::Project;
use super::service::{Draft, Service, each, only, said, shown, texts, wrong};
use crate::engine::request::attachment::Attachment;
use crate::engine::request::dns::Dns;
use crate::engine::request::network::Network;
use crate::engine::request::publish;
use std::collections::BTreeMap;

/// `network_mode`: a mode of the engine's, or whose network it is.
pub fn mode(draft: &mut Draft, node: &Node) -> Result<()> {
    let text = shown(node);
    draft.options.network = match text.strip_prefix("service:") {
        Some(name) => {
            draft.shares_with.push(name.to_owned());
            Network::Container(first_container(draft.project, name))
        }
        None => said(node, str::parse)?,
    };
    Ok(())
}

/// The name of a service's first container.
pub fn first_container(project: &Project, service: &str) -> String {
    let own = project
        .services()
        .get(service)
        .and_then(|node| node.text_of("container_name").map(str::to_owned));
    own.unwrap_or_else(|| format!("{}-{service}-1", project.name))
}

/// `ports`.
pub fn ports(draft: &mut Draft, node: &Node) -> Result<()> {
    let mut all = Vec::new();
    for item in node.items() {
        // `name` and `app_protocol` are for people, and both modes are one where there is one
        // machine.
        only(
            item,
            &[
                "name",
                "mode",
                "host_ip",
                "target",
                "published",
                "protocol",
                "app_protocol",
            ],
        )?;
        let part = |key: &str| item.get(key).map(shown).unwrap_or_default();
        let address = match part("host_ip") {
            address if address.contains(':') && !address.starts_with('[') => {
                format!("[{address}]:")
            }
            address if address.is_empty() => address,
            address => format!("{address}:"),
        };
        let protocol = match part("protocol") {
            protocol if protocol.is_empty() => "tcp".to_owned(),
            protocol => protocol,
        };
        let text = format!(
            "{address}{}:{}/{protocol}",
            part("published"),
            part("target")
        );
        all.push(text.clone());
        draft.options.ports = publish::parse_all(&all).map_err(|error| wrong(item, &error))?;
    }
    Ok(())
}

/// `expose`.
pub fn expose(draft: &mut Draft, node: &Node) -> Result<()> {
    each(node, |text| {
        draft.options.exposed.extend(publish::exposed(text)?);
        Ok(())
    })
}

/// `networks`: what the service's containers are on, that of the highest priority first.
pub fn attach(draft: &mut Draft, name: &str, node: &Node, dns: &Dns) -> Result<()> {
    if node.given("network_mode").is_some() {
        return Ok(());
    }
    let Some(networks) = node.given("networks") else {
        return Ok(());
    };
    let mut all = Vec::new();
    for (key, wish) in networks.entries() {
        only(
            wish,
            &[
                "aliases",
                "ipv4_address",
                "ipv6_address",
                "interface_name",
                "priority",
                "gw_priority",
            ],
        )?;
        let part = draft
            .project
            .root
            .get("networks")
            .and_then(|section| section.get(&key.name));
        let Some(network) = part.and_then(|part| part.text_of("name")) else {
            return Err(networks.fault(format!("networks.{} is not there", key.name)));
        };
        let mut attachment = Attachment {
            network: network.to_owned(),
            interface: wish
                .text_of("interface_name")
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            ..Attachment::default()
        };
        let mut aliases = vec![name.to_owned()];
        aliases.extend(wish.get("aliases").map(texts).unwrap_or_default());
        let address = |key: &str| {
            wish.text_of(key)
                .filter(|address| !address.is_empty())
                .map(str::to_owned)
        };
        let added = attachment.add(
            &aliases,
            [&address("ipv4_address"), &address("ipv6_address")],
        );
        added.map_err(|error| wrong(networks, &error))?;
        let number = |key: &str| match wish.get(key).map(|node| &node.value) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        all.push((
            -number("gw_priority"),
            -number("priority"),
            key.name.clone(),
            attachment,
        ));
    }
    all.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    if !all.is_empty() {
        draft.options.network = Network::Named;
        draft.options.keeping.dns = dns.addresses().map_err(|error| wrong(node, &error))?;
    }
    draft.options.keeping.networks = all.into_iter().map(|(.., attachment)| attachment).collect();
    Ok(())
}

/// `links`: each other service has its name on the networks already, and gets the further one.
pub fn link(project: &Project, all: &mut BTreeMap<String, Service>) -> Result<()> {
    for node in project.services().values() {
        for item in node.get("links").map(Node::items).unwrap_or_default() {
            let text = shown(item);
            let Some((name, alias)) = text.split_once(':') else {
                continue;
            };
            let attachments = all
                .get_mut(name)
                .map(|service| &mut service.options.keeping.networks);
            for attachment in attachments.into_iter().flatten() {
                if !attachment.aliases.iter().any(|own| own == alias) {
                    attachment
                        .alias(alias)
                        .map_err(|error| wrong(item, &error))?;
                }
            }
        }
    }
    Ok(())
}
