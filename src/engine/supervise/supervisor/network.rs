//! The named networks of the container that a supervisor looks after.

use super::Life;
use crate::engine::create::etc;
use crate::engine::network::{Joined, Lease, Networks, members, plumb};
use crate::error::refuse;
use crate::net::worker::Listener;
use crate::process::in_process;
use crate::sys::ns::open_file;
use crate::sys::rewrite::rewrite_lines;
use anyhow::{Context, Result};
use nix::unistd::Pid;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// The places that the container has on networks.
#[derive(Debug, Default)]
pub struct Memberships {
    joined: Vec<Joined>,
    /// The container's network namespace, while it runs.
    inside: Option<OwnedFd>,
    /// Holders were told of each other.
    told: bool,
    /// This process is where they are.
    entered: bool,
}

impl Memberships {
    /// Whether it has any.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// Those who tell when their holder is gone.
    pub fn watched(&self) -> impl Iterator<Item = &Joined> {
        self.joined.iter()
    }

    fn leases(&self) -> Vec<Lease> {
        self.joined.iter().map(|j| j.lease.clone()).collect()
    }

    fn pairs(&self) -> Vec<(&Lease, &OwnedFd)> {
        let pairs = self.joined.iter().map(|j| (&j.lease, &j.namespace));
        pairs.collect()
    }

    /// Tells holders of each other, so that all names are known on all of the
    /// container's networks.
    fn tell_others(&mut self) -> Result<()> {
        let all = self.joined.iter().map(|j| j.lease.network.clone());
        let all: Vec<String> = all.collect();
        if all.len() > 1 || self.told {
            self.told = true;
            self.joined
                .iter_mut()
                .try_for_each(|j| j.tell_others(&all))?;
        }
        Ok(())
    }

    /// Has the container's ports published no more.
    pub fn close_ports(&mut self) {
        self.joined.iter_mut().for_each(Joined::take_back);
    }

    /// Connects the container that has just been made.
    pub fn connect(&self, container: &str, first: Pid) -> Result<()> {
        let inside = open_file(&format!("/proc/{first}/ns/net"))?;
        in_process(|| plumb::connect(container, &inside, &self.pairs(), true))
    }

    /// The container runs, or has ended by now.
    pub fn running(&mut self, first: Pid) {
        if !self.is_empty() {
            self.inside = open_file(&format!("/proc/{first}/ns/net")).ok();
        }
    }
}

impl Life {
    /// Joins the container's networks, unless it has places on them from an
    /// earlier run.
    pub(super) fn join_networks(&mut self) -> Result<()> {
        if self.places.is_empty() {
            self.container.read_changes()?;
            for attachment in members::wanted(&self.container).to_vec() {
                self.join_one(&attachment.network)?;
            }
            self.publish_there()?;
            self.places.entered = false;
        }
        Ok(())
    }

    /// Moves this process to where the networks are, if there are any and it is
    /// not there.
    pub(super) fn enter_networks(&mut self) -> Result<()> {
        let Some(first) = self.places.joined.first() else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.places.entered, true) {
            first.enter()?;
        }
        self.save_networks()
    }

    /// Gives the published ports to the first network that has a way out.
    fn publish_there(&mut self) -> Result<()> {
        if self.listeners.is_empty() || self.places.is_empty() {
            return Ok(());
        }
        let copy = |listener: &Listener| {
            Ok(Listener {
                protocol: listener.protocol,
                socket: listener.socket.try_clone().context("published port")?,
                port: listener.port,
            })
        };
        let ports = self.listeners.iter().map(copy).collect::<Result<_>>()?;
        let all = &mut self.places.joined;
        let outward = all.iter().position(|j| !j.lease.routers.is_empty());
        let place = all
            .get_mut(outward.unwrap_or(0))
            .context("-p: there is no network")?;
        place.publish(ports)
    }

    fn join_one(&mut self, network: &str) -> Result<()> {
        let wanted = members::wanted(&self.container);
        let wanted = wanted.iter().find(|a| a.network == network);
        let attachment = wanted.context("it is not to be on that network")?;
        let before = members::leases(&self.container.dir);
        let record = &self.container.record;
        let mut joined = Joined::join(
            &Networks::open(self.containers.root()),
            &record.id,
            &record.name,
            attachment,
            before.iter().find(|lease| lease.network == network),
            &record.keeping.dns,
        )?;
        let taken = |name: &str| {
            let mut all = self.places.joined.iter();
            all.any(|other| other.lease.interface == name)
        };
        let free = (0..).map(|n| format!("eth{n}")).find(|name| !taken(name));
        joined.lease.interface = match &attachment.interface {
            Some(name) if taken(name) || name == "lo" => {
                refuse!(Conflict, "interface {name} is there already")
            }
            Some(name) => name.clone(),
            None => free.context("no name for an interface")?,
        };
        self.places.joined.push(joined);
        Ok(())
    }

    /// Writes down what it has: for others, and for the container itself.
    fn save_networks(&mut self) -> Result<()> {
        self.places.tell_others()?;
        let leases = self.places.leases();
        members::save(&self.container.dir, &leases)?;
        let rewrite = |file: &str, new: &dyn Fn(&str) -> String| {
            let path = self.container.dir.join(file);
            let write = || {
                let text = std::fs::read_to_string(&path)?;
                // It may be mounted in the container already.
                match new(&text) {
                    new if new == text => Ok(()),
                    new => rewrite_lines(&path, &text, &new),
                }
            };
            write().with_context(|| path.display().to_string())
        };
        let addresses: Vec<IpAddr> = leases
            .iter()
            .flat_map(|lease| lease.addresses.iter().map(|a| a.address))
            .collect();
        let hostname = std::fs::read_to_string(self.container.dir.join("hostname"));
        let hostname = hostname.unwrap_or_default();
        rewrite("hosts", &|text| {
            etc::with_own_addresses(text, hostname.trim(), &addresses)
        })?;
        let servers: Vec<IpAddr> = leases
            .iter()
            .flat_map(|lease| lease.name_servers.iter().copied())
            .collect();
        rewrite("resolv.conf", &|text| {
            etc::with_name_servers(text, &servers)
        })
    }

    /// Makes the container's networks what they are to be by now, while it
    /// runs.
    pub(super) fn change_networks(&mut self) -> Result<()> {
        self.container.read_changes()?;
        let wanted = members::wanted(&self.container).to_vec();
        let Some(inside) = self.places.inside.as_ref().map(OwnedFd::try_clone) else {
            refuse!(
                Conflict,
                "it was not started on a named network, so that it cannot be connected to one \
                 while it runs: stop it first"
            );
        };
        let inside = inside?;
        let name = &self.container.record.name;
        self.places
            .joined
            .iter_mut()
            .try_for_each(|joined| joined.rename(name))?;
        let id = self.container.record.id.clone();
        while let Some(at) = (self.places.joined.iter())
            .position(|joined| !wanted.iter().any(|a| a.network == joined.lease.network))
        {
            let namespace = &self.places.joined[at].namespace;
            in_process(|| plumb::disconnect(&id, namespace))?;
            self.places.joined.remove(at);
        }
        for attachment in &wanted {
            let is = |j: &Joined| j.lease.network == attachment.network;
            if self.places.joined.iter().any(is) {
                continue;
            }
            self.join_one(&attachment.network)?;
            let (lease, namespace) = self.places.pairs().pop().context("no place")?;
            let done = in_process(|| plumb::connect(&id, &inside, &[(lease, namespace)], false));
            if done.is_err() {
                self.places.joined.pop();
                return done;
            }
        }
        in_process(|| plumb::route(&inside, &self.places.leases()))?;
        if !self.places.joined.iter().any(Joined::publishes) {
            // The network that published its ports is left; perhaps none can.
            let _ = self.publish_there();
        }
        self.save_networks()
    }

    /// The holder of one of its networks is gone: it gets another one.
    pub(super) fn rejoin_network(&mut self, at: usize) {
        let all = &mut self.places.joined;
        if all
            .get_mut(at)
            .is_some_and(|joined| joined.rejoin().is_err())
        {
            // Its links are where they were; nobody speaks for them.
            all.remove(at);
        }
        // Those who have lost it as a neighbour find it again.
        let _ = self.places.tell_others();
    }
}
