//! Links between containers and networks.

use super::lease::Lease;
use super::namespace::BRIDGE;
use crate::sys::netlink::{Link, Netlink, Request, Setting};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

/// What the network's end of a container's link is called: its first letter
/// and the container's short id.
fn port(container: &str) -> String {
    format!("v{}", crate::engine::ground::names::short(container))
}

fn join(namespace: &OwnedFd) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).context("join a network namespace")
}

/// Connects the namespace `inside`, which is `container`'s, to networks: each
/// with what the container has there and where it is. The caller is a process
/// made for it, root of a user namespace that owns the networks' and is above
/// the container's. With `route`, the first network that has a way out gets
/// the default route.
pub fn connect(
    container: &str,
    inside: &OwnedFd,
    networks: &[(&Lease, &OwnedFd)],
    route: bool,
) -> Result<()> {
    for (lease, namespace) in networks {
        let what = || format!("connect to network '{}'", lease.network);
        join(namespace)?;
        pair(container, lease, inside).with_context(what)?;
    }
    join(inside)?;
    let mut netlink = Netlink::open()?;
    let lo = netlink.link("lo")?;
    let up = Setting::Up(true);
    let mut requests = vec![Request::set(&lo, &[up])];
    for (lease, _) in networks {
        let link = netlink.link(&lease.interface)?;
        requests.push(Request::set(&link, &[up]));
        requests.extend(addresses(&link, lease));
    }
    if route {
        let leases = networks.iter().map(|(lease, _)| *lease);
        requests.extend(routes(&mut netlink, leases)?);
    }
    Ok(netlink.run(requests)?)
}

/// Gives the namespace `inside`, whose networks may have changed, a way out if
/// it has none. The caller is as for [`connect`].
pub fn route(inside: &OwnedFd, leases: &[Lease]) -> Result<()> {
    join(inside)?;
    let mut netlink = Netlink::open()?;
    for request in routes(&mut netlink, leases.iter())? {
        match netlink.run(vec![request]) {
            Err(e) if e.errno != Errno::EEXIST => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Default routes: of each kind of address through the first network that has
/// a way out.
fn routes<'a>(
    netlink: &mut Netlink,
    leases: impl Iterator<Item = &'a Lease>,
) -> Result<Vec<Request>> {
    let mut found: Vec<(IpAddr, &Lease)> = Vec::new();
    for lease in leases {
        for router in &lease.routers {
            if !found.iter().any(|(r, _)| r.is_ipv4() == router.is_ipv4()) {
                found.push((*router, lease));
            }
        }
    }
    let request = |(router, lease): (IpAddr, &Lease)| {
        let link = netlink.link(&lease.interface)?;
        Ok(Request::default_route(&link, router))
    };
    found.into_iter().map(request).collect()
}

fn addresses(link: &Link, lease: &Lease) -> Vec<Request> {
    let all = lease.addresses.iter();
    all.map(|a| Request::address(link, a.address, a.prefix))
        .collect()
}

/// Makes the pair of links; this process is in the network's namespace.
fn pair(container: &str, lease: &Lease, inside: &OwnedFd) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let bridge = netlink.link(BRIDGE)?;
    let name = port(container);
    let mtu = Setting::Mtu(lease.mtu);
    let here = [mtu, Setting::Master(bridge.index), Setting::Up(true)];
    let there = [
        mtu,
        Setting::Mac(lease.mac),
        Setting::Namespace(inside.as_fd()),
    ];
    let made = |netlink: &mut Netlink| {
        let request = Request::veth(&name, &here, &lease.interface, &there);
        netlink.run(vec![request])
    };
    match made(&mut netlink) {
        // The kernel has not got round to what ended a moment ago.
        Err(e) if e.errno == Errno::EEXIST => {
            netlink.remove(&name)?;
            Ok(made(&mut netlink)?)
        }
        other => Ok(other?),
    }
}

/// Takes a container from the network of the namespace that this process, one
/// made for it, joins.
pub fn disconnect(container: &str, namespace: &OwnedFd) -> Result<()> {
    join(namespace)?;
    Ok(Netlink::open()?.remove(&port(container))?)
}
