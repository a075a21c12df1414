//! The process that answers about names on a network.

use super::namespace::Made;
use crate::engine::usernet::translator::confine;
use crate::net::names::{MAX_TABLE, Server, Table};
use crate::sys::clone::{Child, Forked, Parent, clone3, exit_now};
use crate::sys::fd::close_all_but;
use crate::sys::socket;
use crate::sys::title;
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
        match clone3(0, Parent::Caller).context("start the name server")? {
            Forked::Parent(child) => Ok(NameServer {
                child,
                updates: ours,
            }),
            Forked::Child => {
                drop(ours);
                exit_now(serve_names(made, theirs, empty).is_err().into())
            }
        }
    }

    /// Tells it what it has to know; false if it does not take it.
    pub fn tell(&self, table: &Table) -> bool {
        let message = serde_json::to_vec(table).unwrap_or_default();
        message.len() <= MAX_TABLE && socket::try_send(&self.updates, &message).is_ok()
    }
}

/// The life of the process that answers about names: without rights, since
/// anybody may send it anything.
fn serve_names(made: &Made, updates: OwnedFd, empty: &Path) -> Result<()> {
    title::set(c"bryo-names", "names");
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::prctl::set_dumpable(false)?;
    let udp = made.udp.iter().map(|s| s.try_clone());
    let udp = udp.collect::<std::io::Result<Vec<_>>>()?;
    let tcp = made.tcp.iter().map(|s| s.try_clone());
    let tcp = tcp.collect::<std::io::Result<Vec<_>>>()?;
    let mut kept = vec![updates.as_raw_fd()];
    kept.extend(udp.iter().map(AsRawFd::as_raw_fd));
    kept.extend(tcp.iter().map(AsRawFd::as_raw_fd));
    close_all_but(&kept);
    confine(empty)?;
    Server::new(udp, tcp, updates).run();
    // The descriptors that were not kept are not closed twice.
    exit_now(0)
}
