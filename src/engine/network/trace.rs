//! Looking at the packets of a container or of a network, by a socket in the
//! namespace itself.

use super::definition::Networks;
use super::holder::enter;
use super::join::look;
use super::namespace::BRIDGE;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::request::network::Network;
use crate::error;
use crate::error::refuse;
use crate::net::capture;
use crate::sys::ns;
use crate::sys::packet::{Packet, Packets};
use crate::sys::signal::SignalFd;
use crate::sys::wait::wait;
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sched::{CloneFlags, setns};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// Whose packets are looked at.
#[derive(Debug)]
pub struct Subject {
    /// Readable when it is over.
    end: OwnedFd,
    namespaces: Namespaces,
}

#[derive(Debug)]
enum Namespaces {
    /// Those of the process `end`.
    Container,
    /// The network's.
    Network(OwnedFd),
}

impl Subject {
    /// The container of this name that runs, else the network in use.
    ///
    /// # Errors
    /// There is neither; the container has the host's network.
    pub fn find(containers: &Containers, name: &str) -> Result<Subject> {
        match containers.find(name) {
            Ok(mut container) => Subject::container(&mut container),
            Err(error) if error::Kind::said(&error) == Some(error::Kind::NotFound) => {
                let networks = Networks::open(containers.root());
                let Ok(definition) = networks.find(name) else {
                    refuse!(NotFound, "there is no container and no network '{name}'");
                };
                let Some((connection, namespace)) = look(&networks, &definition.name) else {
                    refuse!(
                        Conflict,
                        "network '{name}' is not in use: no container on it runs"
                    );
                };
                Ok(Subject {
                    end: connection.into(),
                    namespaces: Namespaces::Network(namespace),
                })
            }
            Err(error) => Err(error),
        }
    }

    fn container(container: &mut Container) -> Result<Subject> {
        let end = container.running_process()?;
        if container.record.network == Network::Host {
            refuse!(
                Unsupported,
                "container {} has the host's network, which is not bryo's to look at",
                container.record.name
            );
        }
        Ok(Subject {
            end,
            namespaces: Namespaces::Container,
        })
    }

    /// Moves this process, which has one thread, to where the packets are and
    /// opens a socket for them.
    fn open(&self) -> Result<Packets> {
        let what = "join the network's namespaces";
        match &self.namespaces {
            Namespaces::Container => {
                let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
                setns(&self.end, both).context(what)?;
                Ok(Packets::open(None)?)
            }
            Namespaces::Network(namespace) => {
                enter(&ns::owning(namespace)?)?;
                setns(namespace, CloneFlags::CLONE_NEWNET).context(what)?;
                let mut netlink = crate::sys::netlink::Netlink::open()?;
                let bridge = netlink.link(BRIDGE)?;
                Ok(Packets::open(Some(bridge.index as i32))?)
            }
        }
    }

    /// Passes packets to `out` until it is interrupted, what is looked at has
    /// ended, or there were so many: as a file of pcap's, or a line each.
    /// Returns how many there were, and how many were lost.
    pub fn trace(
        &self,
        out: &mut dyn Write,
        lines: bool,
        most: Option<u64>,
        ready: impl FnOnce(),
    ) -> Result<(u64, u64)> {
        let signals = SignalFd::new()?;
        let mut packets = self.open()?;
        if !lines {
            out.write_all(&capture::file_header())?;
            out.flush()?;
        }
        ready();
        let (mut count, mut lost) = (0, 0);
        let mut over = false;
        loop {
            let mut written = Ok(());
            let mut write = |packet: Packet| {
                count += 1;
                written = match lines {
                    true => line(out, &packet),
                    false => record(out, &packet),
                };
            };
            let any = packets.next(&mut write);
            match written {
                // Who reads has had enough.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => break,
                other => other?,
            }
            if most.is_some_and(|most| count >= most) {
                break;
            }
            if any {
                continue;
            }
            if over {
                break;
            }
            out.flush()?;
            lost += u64::from(packets.lost());
            let fds = [packets.as_fd(), self.end.as_fd(), signals.as_fd()];
            let seen = wait(fds.map(|fd| (fd, PollFlags::POLLIN)), None)?;
            let ended = !seen[1].is_empty();
            let asked = std::iter::from_fn(|| signals.next());
            let asked =
                asked.filter(|signal| *signal != libc::SIGCHLD && *signal != libc::SIGWINCH);
            // What is there by then is shown.
            over = ended || asked.count() > 0;
        }
        out.flush()?;
        Ok((count, lost + u64::from(packets.lost())))
    }
}

fn record(out: &mut dyn Write, packet: &Packet) -> std::io::Result<()> {
    let kept = packet.data.len();
    out.write_all(&capture::packet_header(packet.at, packet.length, kept))?;
    out.write_all(packet.data)
}

fn line(out: &mut dyn Write, packet: &Packet) -> std::io::Result<()> {
    let seconds = i64::try_from(packet.at.as_secs()).unwrap_or_default();
    let nanoseconds = packet.at.subsec_nanos() as i32;
    let at = jiff::Timestamp::new(seconds, nanoseconds).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::system());
    let at = at.strftime("%H:%M:%S%.6f");
    writeln!(out, "{at} {}", capture::describe(packet.data))
}
