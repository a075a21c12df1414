//! Networks and volumes of a project: those that it makes, and those that have to be there.

use super::labels;
use super::node::{Node, Value};
use super::plan::Change;
use super::up::Up;
use crate::engine::container::containers::Containers;
use crate::engine::container::volumes::Volumes;
use crate::engine::network::definition::Wishes;
use crate::engine::network::{Definition, Networks};
use crate::error::{Kind, refusal, refuse};
use anyhow::Result;
use std::collections::BTreeMap;

impl Up<'_> {
    /// Sees to it that what is made elsewhere is there.
    pub(super) fn external(&self) -> Result<()> {
        let networks = Networks::open(self.store.root());
        let volumes = Volumes::open(self.store);
        for (section, has) in [
            (
                "networks",
                &(|name: &str| networks.find(name).map(drop)) as &dyn Fn(&str) -> Result<()>,
            ),
            ("volumes", &|name: &str| volumes.find(name).map(drop)),
        ] {
            for (key, name, node) in self.parts(section) {
                if !is_external(node) {
                    continue;
                }
                has(name).map_err(|error| {
                    let text = format!(
                        "{}: {section}.{key} is external, and not there: {error:#}",
                        node.mark
                    );
                    anyhow::Error::from(Kind::NotFound.says(text))
                })?;
            }
        }
        Ok(())
    }

    /// Networks or volumes: key, name, what is said of it.
    fn parts(&self, section: &str) -> Vec<(&str, &str, &Node)> {
        let section = self.project.root.get(section);
        let entries = section.map(Node::entries).unwrap_or_default().iter();
        entries
            .filter_map(|(key, node)| Some((key.name.as_str(), node.text_of("name")?, node)))
            .collect()
    }

    /// Makes the networks that are missing; those that were made otherwise are made anew, and
    /// so are the containers on them.
    pub(super) fn networks(
        &self,
        containers: &Containers,
        changes: &mut BTreeMap<String, Change>,
    ) -> Result<()> {
        let networks = Networks::open(self.store.root());
        for (key, name, node) in self.parts("networks") {
            if is_external(node) {
                continue;
            }
            let wishes = wishes(&self.project.name, key, name, node)?;
            if let Ok(own) = networks.find(name) {
                if self.is_same(&own, key, &wishes)? {
                    continue;
                }
                for (service, change) in changes.iter_mut() {
                    let attachments = &self.services[service].options.keeping.networks;
                    if attachments
                        .iter()
                        .any(|attachment| attachment.network == name)
                    {
                        for list in [&mut change.leave, &mut change.start, &mut change.restart] {
                            change.replace.append(list);
                        }
                        self.clear(containers, change.replace.iter())?;
                    }
                }
                networks.remove(&own, containers)?;
                (self.report)("Network", name, "Removed");
            }
            networks.create(&wishes)?;
            (self.report)("Network", name, "Created");
        }
        Ok(())
    }

    /// Whether a network is the project's, and as it says.
    fn is_same(&self, own: &Definition, key: &str, wishes: &Wishes) -> Result<bool> {
        let label = |name: &str| own.labels.get(name).map(String::as_str);
        let is_ours = label(labels::PROJECT) == Some(&self.project.name)
            && label(labels::NETWORK) == Some(key);
        if !is_ours {
            refuse!(
                Conflict,
                "network {} is there and not of this project: say external: true to use it, or \
                 give the project's another name",
                own.name
            );
        }
        Ok(own.labels.get(labels::HASH) == wishes.labels.get(labels::HASH))
    }

    pub(super) fn volumes(&self) -> Result<()> {
        let volumes = Volumes::open(self.store);
        for (key, name, node) in self.parts("volumes") {
            if is_external(node) {
                continue;
            }
            let driver = node.text_of("driver").unwrap_or("local");
            if !["", "local"].contains(&driver) || node.given("driver_opts").is_some() {
                refuse!(
                    Unsupported,
                    "{}: volumes.{key}: there is the driver local, without options: a directory of \
                     the host goes into a service's volumes by its path",
                    node.mark
                );
            }
            if let Ok(own) = volumes.find(name) {
                let label = own.labels.get(labels::PROJECT);
                if label != Some(&self.project.name) {
                    (self.warn)(&format!(
                        "volume {name} is there and not of this project: it is used; external: \
                         true says that this is meant"
                    ));
                }
                continue;
            }
            volumes.create(
                name,
                &labels::of_part(&self.project.name, labels::VOLUME, key, node),
            )?;
            (self.report)("Volume", name, "Created");
        }
        Ok(())
    }
}

fn is_external(node: &Node) -> bool {
    node.given("external")
        .is_some_and(|external| external.value != Value::Bool(false))
}

/// A network as the engine is asked for it.
fn wishes(project: &str, key: &str, name: &str, node: &Node) -> Result<Wishes> {
    let wrong = |text: String| refusal!(Unsupported, "{}: networks.{key}.{text}", node.mark);
    let driver = node.text_of("driver").unwrap_or("bridge");
    if !["", "bridge"].contains(&driver) {
        return Err(wrong(format!(
            "driver: {driver:?} is none here: there is bridge"
        )));
    }
    let is = |key: &str| {
        node.get(key)
            .is_some_and(|node| node.value == Value::Bool(true))
    };
    if node
        .get("enable_ipv4")
        .is_some_and(|node| node.value == Value::Bool(false))
    {
        return Err(wrong("enable_ipv4: networks have IPv4 always".into()));
    }
    let mut wishes = Wishes {
        name: name.to_owned(),
        ipv6: is("enable_ipv6"),
        internal: is("internal"),
        labels: labels::of_part(project, labels::NETWORK, key, node),
        ..Wishes::default()
    };
    for (option, value) in node
        .get("driver_opts")
        .map(Node::entries)
        .unwrap_or_default()
    {
        let value = value.value.shown().unwrap_or_default();
        match option.name.as_str() {
            "com.docker.network.driver.mtu" | "mtu" => wishes.options.push(format!("mtu={value}")),
            other => return Err(wrong(format!("driver_opts.{other}: there is mtu"))),
        }
    }
    let ipam = node.given("ipam");
    if ipam
        .and_then(|ipam| ipam.text_of("driver"))
        .is_some_and(|driver| !["", "default"].contains(&driver))
    {
        return Err(wrong("ipam.driver: there is default".into()));
    }
    if ipam.is_some_and(|ipam| ipam.given("options").is_some()) {
        return Err(wrong("ipam.options: there are none".into()));
    }
    for pool in ipam
        .and_then(|ipam| ipam.get("config"))
        .map(Node::items)
        .unwrap_or_default()
    {
        for key in ["ip_range", "aux_addresses"] {
            if pool.given(key).is_some() {
                return Err(wrong(format!(
                    "ipam.config.{key}: addresses are given out of the whole subnet"
                )));
            }
        }
        if let Some(subnet) = pool.text_of("subnet").filter(|text| !text.is_empty()) {
            wishes.subnets.push(subnet.parse()?);
        }
        if let Some(gateway) = pool.text_of("gateway").filter(|text| !text.is_empty()) {
            let read = gateway
                .parse()
                .map_err(|_| wrong(format!("ipam.config.gateway: {gateway:?} is no address")));
            wishes.gateways.push(read?);
        }
    }
    Ok(wishes)
}
