//! Joining networks: what who looks after a container does.

use super::definition::{Definition, Networks};
use super::holder::{self, Basis};
use super::lease::{Ask, Lease, MAX_WORDS, Told};
use super::members;
use crate::engine::request::attachment::Attachment;
use crate::error::refuse;
use crate::net::worker::Listener;
use crate::sys::channel::Channel;
use crate::sys::inet::Protocol;
use crate::sys::socket;
use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A container's place on a network, for as long as this value is there.
#[derive(Debug)]
pub struct Joined {
    /// What it has.
    pub lease: Lease,
    /// The network's namespace.
    pub namespace: OwnedFd,
    connection: Channel,
    networks: Networks,
    definition: Definition,
    ask: Ask,
    ports: Vec<Listener>,
}

impl AsFd for Joined {
    /// Readable when the holder is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// How long members have to start a holder in the place of one that was
/// killed, before somebody new makes the network anew.
const PATIENCE: Duration = Duration::from_secs(3);

impl Joined {
    /// Joins a network for a container; its holder is started if there is
    /// none. The caller must have one thread.
    ///
    /// # Errors
    /// There is no such network; an address that is wanted is taken.
    pub fn join(
        networks: &Networks,
        container: &str,
        name: &str,
        attachment: &Attachment,
        before: Option<&Lease>,
        dns: &[IpAddr],
    ) -> Result<Joined> {
        let definition = networks.find(&attachment.network)?;
        let before = before.filter(|lease| lease.network_id == definition.id);
        let before = before.into_iter().flat_map(|lease| &lease.addresses);
        let mut names = vec![name.to_owned()];
        names.extend(attachment.aliases.iter().cloned());
        let ask = Ask::Join {
            network: definition.id.clone(),
            container: container.to_owned(),
            names,
            wanted: attachment.addresses.clone(),
            before: before.map(|a| a.address).collect(),
            dns: dns.to_vec(),
            also: Vec::new(),
        };
        let (connection, mut lease, namespace) = join(networks, &definition, &ask, None)?;
        if let Some(mac) = attachment.mac {
            lease.mac = mac.0;
        }
        Ok(Joined {
            lease,
            namespace,
            connection,
            networks: networks.clone(),
            definition,
            ask,
            ports: Vec::new(),
        })
    }

    /// Tells the holder which other networks the container is on.
    pub fn tell_others(&mut self, others: &[String]) -> Result<()> {
        if let Ask::Join { wanted, also, .. } = &mut self.ask {
            *wanted = self.lease.addresses.iter().map(|a| a.address).collect();
            *also = others.to_vec();
        }
        // One that is gone is joined again, with this.
        exchange(&self.connection, &self.ask).map(drop)
    }

    /// Tells the holder that the container is called by another name.
    pub fn rename(&mut self, name: &str) -> Result<()> {
        if let Ask::Join { wanted, names, .. } = &mut self.ask
            && let Some(first) = names.first_mut()
            && first != name
        {
            name.clone_into(first);
            *wanted = self.lease.addresses.iter().map(|a| a.address).collect();
            self.lease.names.clone_from(names);
            // One that is gone is joined again, with this.
            exchange(&self.connection, &self.ask)?;
        }
        Ok(())
    }

    /// Joins again after the holder is gone; the network is where it was.
    ///
    /// # Errors
    /// No holder can be started; somebody made the network anew.
    pub fn rejoin(&mut self) -> Result<()> {
        if let Ask::Join { wanted, .. } = &mut self.ask {
            *wanted = self.lease.addresses.iter().map(|a| a.address).collect();
        }
        let begin = Instant::now();
        let (connection, _, namespace) = loop {
            let here = Some(&self.namespace);
            match join(&self.networks, &self.definition, &self.ask, here) {
                // What is left of the holder that was killed may be in the way.
                Err(_) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                joined => break joined?,
            }
        };
        if !crate::sys::ns::same(&namespace, &self.namespace)? {
            refuse!(Conflict, "network '{}' was made anew", self.definition.name);
        }
        self.connection = connection;
        self.tell_ports()
    }

    /// Has ports of the container published by the network's translator.
    ///
    /// # Errors
    /// The network has no way out.
    pub fn publish(&mut self, ports: Vec<Listener>) -> Result<()> {
        if self.lease.routers.is_empty() {
            refuse!(
                Conflict,
                "-p: network '{}' is internal, so that nobody outside can reach it",
                self.definition.name
            );
        }
        self.ports = ports;
        self.tell_ports()
    }

    /// Whether the container's ports are published by this network.
    pub fn publishes(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Has the container's ports published no more: when this returns, the
    /// host's are free.
    pub fn take_back(&mut self) {
        if !std::mem::take(&mut self.ports).is_empty() {
            // A holder that is gone has none.
            let _ = exchange(&self.connection, &Ask::TakeBack);
        }
    }

    fn tell_ports(&self) -> Result<()> {
        for port in &self.ports {
            let ask = Ask::Publish(port.protocol == Protocol::Tcp, port.port);
            let words = serde_json::to_vec(&ask)?;
            // One that is gone is joined again, and told then.
            if self
                .connection
                .send(&words, Some(port.socket.as_fd()))
                .is_err()
            {
                return Ok(());
            }
            self.connection.receive_up_to(MAX_WORDS)?;
        }
        Ok(())
    }

    /// Moves this process, which has one thread, into the user namespace in
    /// which the network is.
    pub fn enter(&self) -> Result<()> {
        holder::enter(&crate::sys::ns::owning(&self.namespace)?)
    }
}

/// A connection to the holder of a network, and where that is; `None` if
/// there is none.
pub fn look(networks: &Networks, name: &str) -> Option<(Channel, OwnedFd)> {
    let connection = connect(networks, name).ok().flatten()?;
    match exchange(&connection, &Ask::Look) {
        Ok(Some((Told::Here, namespace))) => Some((connection, namespace)),
        _ => None,
    }
}

fn connect(networks: &Networks, name: &str) -> Result<Option<Channel>> {
    let socket = format!("{name}.socket");
    match socket::connect(networks.directory(), &socket) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Asks a holder; `None` if it has ended.
fn exchange(connection: &Channel, ask: &Ask) -> Result<Option<(Told, OwnedFd)>> {
    let words = serde_json::to_vec(ask)?;
    if words.len() > MAX_WORDS {
        refuse!(Invalid, "too many names");
    }
    if connection.send(&words, None).is_err() {
        return Ok(None);
    }
    let Some(received) = connection.receive_up_to(MAX_WORDS)? else {
        return Ok(None);
    };
    let told = serde_json::from_slice(&received.data)?;
    let namespace = received.fd.context("no namespace came")?;
    Ok(Some((told, namespace)))
}

fn join(
    networks: &Networks,
    definition: &Definition,
    ask: &Ask,
    here: Option<&OwnedFd>,
) -> Result<(Channel, Lease, OwnedFd)> {
    let what = || format!("network '{}'", definition.name);
    let begin = Instant::now();
    loop {
        if let Some(connection) = connect(networks, &definition.name)? {
            match exchange(&connection, ask).with_context(what)? {
                Some((Told::Joined(lease), namespace)) => {
                    return Ok((connection, lease, namespace));
                }
                Some((Told::Refused(fault), _)) => {
                    return Err(Error::from(fault)).with_context(what);
                }
                // It has ended, or will: it holds another one of that name.
                Some((Told::Here | Told::Names(_) | Told::Gone, _)) | None => {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        } else {
            let lock = networks.start_file()?;
            lock.lock().with_context(what)?;
            // Somebody else may have been faster.
            let there = connect(networks, &definition.name)?.is_some();
            let others = here.is_none()
                && begin.elapsed() < PATIENCE
                && !members::alive(networks.directory(), &definition.id).is_empty();
            match () {
                () if there => {}
                // They start it where it was.
                () if others => {
                    drop(lock);
                    std::thread::sleep(Duration::from_millis(20));
                }
                () => {
                    let place = match here {
                        Some(namespace) => Basis::Existing(namespace.try_clone()?),
                        None => holder::basis(networks, &definition.name)?,
                    };
                    holder::start(networks, definition, place)?;
                }
            }
        }
        if begin.elapsed() > PATIENCE * 4 {
            refuse!(
                Internal,
                "{}: its holder ends as often as it is started",
                what()
            );
        }
    }
}
