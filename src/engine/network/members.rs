//! Which containers are on which networks: what they want is in their record
//! (and in what was changed since), what they have in `network.json` of their
//! directory, which holds while they run.

use super::definition::Definition;
use super::lease::Lease;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::record::State;
use crate::engine::ground::json::replace_json;
use crate::engine::request::attachment::Attachment;
use crate::engine::request::filter::NetworkFilter;
use anyhow::Result;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

const FILE: &str = "network.json";

/// The networks that a container is to be on.
pub fn wanted(container: &Container) -> &[Attachment] {
    let changed = container.changes.networks.as_deref();
    changed.unwrap_or(&container.record.keeping.networks)
}

/// The names of the containers that are to be on a network.
pub fn on(containers: &Containers, network: &str) -> Result<Vec<String>> {
    let is_on = |c: &Container| wanted(c).iter().any(|a| a.network == network);
    let all = containers.list()?.into_iter();
    Ok(all.filter(is_on).map(|c| c.record.name).collect())
}

/// Whether a filter holds of a network.
///
/// # Errors
/// The containers cannot be listed.
pub fn holds(
    filter: &NetworkFilter,
    network: &Definition,
    containers: &Containers,
) -> Result<bool> {
    Ok(match filter {
        NetworkFilter::Dangling(wanted) => on(containers, &network.name)?.is_empty() == *wanted,
        NetworkFilter::Driver(name) => name == "bridge",
        NetworkFilter::Id(start) => network.id.starts_with(start),
        NetworkFilter::Label(label) => label.holds_of(&network.labels),
        NetworkFilter::Name(part) => network.name.contains(part),
        NetworkFilter::Scope(scope) => scope == "local",
        NetworkFilter::Custom(custom) => *custom,
        NetworkFilter::Until(time) => network.created < *time,
    })
}

/// What a container has, or had when it last ran.
pub fn leases(directory: &Path) -> Vec<Lease> {
    let text = std::fs::read(directory.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes down what it has.
pub fn save(directory: &Path, leases: &[Lease]) -> Result<()> {
    replace_json(&directory.join(FILE), &leases)
}

/// The addresses on a network of the containers that run, by id: without a
/// look at anything but their own files, so that nothing is repaired.
/// `directory` is that of the networks.
pub fn alive(directory: &Path, network_id: &str) -> HashMap<String, Vec<IpAddr>> {
    let containers = directory.with_file_name("containers");
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(containers)
        .into_iter()
        .flatten()
        .flatten()
    {
        let addresses: Vec<IpAddr> = leases(&entry.path())
            .iter()
            .filter(|lease| lease.network_id == network_id)
            .flat_map(|lease| lease.addresses.iter().map(|a| a.address))
            .collect();
        let state = std::fs::read(entry.path().join("state.json")).unwrap_or_default();
        let state = serde_json::from_slice::<State>(&state).ok();
        let process = state.as_ref().and_then(State::process);
        // What cannot be found out does not free an address.
        let lives = process.is_some_and(|process| !matches!(process.open(), Ok(None)));
        if !addresses.is_empty() && lives {
            found.insert(entry.file_name().to_string_lossy().into_owned(), addresses);
        }
    }
    found
}

/// What containers have on a network now, with whom.
pub fn running(containers: &Containers, network_id: &str) -> Result<Vec<(Container, Lease)>> {
    let mut found = Vec::new();
    for container in containers.list()? {
        if container.state.is_active() {
            let leases = leases(&container.dir).into_iter();
            let here = leases.filter(|lease| lease.network_id == network_id);
            found.extend(here.map(|lease| (container.clone(), lease)));
        }
    }
    Ok(found)
}
