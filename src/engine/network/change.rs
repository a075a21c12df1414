//! Changing which networks a container is on.

use super::definition::Networks;
use super::members::wanted;
use crate::engine::container::asking;
use crate::engine::container::containers::Container;
use crate::engine::container::control::Request;
use crate::engine::request::attachment::Attachment;
use crate::error::refuse;
use anyhow::Result;

/// Puts a container on a further network: at once if it runs.
///
/// # Errors
/// It is there already, or was made without a named network.
pub fn connect(
    networks: &Networks,
    container: &mut Container,
    mut attachment: Attachment,
) -> Result<()> {
    attachment.network = networks.find(&attachment.network)?.name;
    let name = &container.record.name;
    if container.record.keeping.networks.is_empty() {
        refuse!(
            Conflict,
            "container {name} has no named network, so that it can be on no other: create it with \
             --network {}",
            attachment.network
        );
    }
    let mut list = wanted(container).to_vec();
    if list.iter().any(|a| a.network == attachment.network) {
        refuse!(
            AlreadySo,
            "container {name} is on network '{}' already",
            attachment.network
        );
    }
    list.push(attachment);
    change(container, list)
}

/// Takes a container from a network: at once if it runs.
///
/// # Errors
/// It is not there.
pub fn disconnect(networks: &Networks, container: &mut Container, network: &str) -> Result<()> {
    // The network itself may be gone.
    let network = networks
        .find(network)
        .map_or(network.to_owned(), |d| d.name);
    let mut list = wanted(container).to_vec();
    let before = list.len();
    list.retain(|a| a.network != network);
    if list.len() == before {
        refuse!(
            Conflict,
            "container {} is not on network '{network}'",
            container.record.name
        );
    }
    change(container, list)
}

fn change(container: &mut Container, list: Vec<Attachment>) -> Result<()> {
    container.await_start()?;
    let before = container.changes.networks.replace(list);
    container.save_changes()?;
    if !container.state.is_active() {
        return Ok(());
    }
    let done = asking::ask(container, Request::Networks);
    if done.is_err() {
        container.changes.networks = before;
        container.save_changes()?;
    }
    done
}
