//! The process that answers about names on a network.

use super::namespace::Made;
use crate::engine::network::usernet::translator::confine;
use crate::net::names::{MAX_TABLE, Server, Table};
use crate::process::{Resident, Until, spawn};
use crate::sys::clone::{Child, NewProcess, exit_now};
use crate::sys::socket;
use anyhow::{Context, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The process that answers about names.
pub struct NameServer {
    /// It.
    pub child: Child,
    /// Takes what it has to know, and tells when servers are wanted anew.
    pub updates: OwnedFd,
}

impl NameServer {
    /// Starts it; `empty` is an empty directory, the only one that it sees.
    pub fn start(made: &Made, empty: &Path) -> Result<NameServer> {
        let (ours, theirs) = socket::pair()?;
        let child = spawn(|process| serve_names(process, made, theirs, empty))
            .context("start the name server")?;
        Ok(NameServer {
            child,
            updates: ours,
        })
    }

    /// Tells it what it has to know; false if it does not take it.
    pub fn tell(&self, table: &Table) -> bool {
        let message = serde_json::to_vec(table).unwrap_or_default();
        message.len() <= MAX_TABLE && socket::try_send(&self.updates, &message).is_ok()
    }
}

/// The life of the process that answers about names: without rights, since
/// anybody may send it anything.
fn serve_names(process: &NewProcess, made: &Made, updates: OwnedFd, empty: &Path) -> Result<()> {
    let udp = made.udp.iter().map(|s| s.try_clone());
    let udp = udp.collect::<std::io::Result<Vec<_>>>()?;
    let tcp = made.tcp.iter().map(|s| s.try_clone());
    let tcp = tcp.collect::<std::io::Result<Vec<_>>>()?;
    let mut kept = vec![updates.as_raw_fd()];
    kept.extend(udp.iter().map(AsRawFd::as_raw_fd));
    kept.extend(tcp.iter().map(AsRawFd::as_raw_fd));
    let resident = Resident {
        name: c"bryo-names",
        role: "names",
        until: Until::MakersEnd,
        hidden: true,
        keeps: Some(&kept),
    };
    resident.begin(process)?;
    confine(empty)?;
    Server::new(udp, tcp, updates).run();
    // The descriptors that were not kept are not closed twice.
    exit_now(0)
}
