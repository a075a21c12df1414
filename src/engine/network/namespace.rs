//! The namespaces of a network: a network namespace with a bridge, and the
//! sockets that are opened there.

use super::definition::Definition;
use super::subnet::Subnet;
use crate::error::refuse;
use crate::net::names::PORT;
use crate::process::Beside;
use crate::runtime::interface::Interface;
use crate::sys::channel::Channel;
use crate::sys::fd::write_file;
use crate::sys::netlink::{Netlink, Request, Setting};
use crate::sys::tap;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use std::cell::Cell;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The bridge's name in its namespace.
pub const BRIDGE: &str = "bridge0";

/// How long the name server of a holder that was killed has to end as well:
/// the members know of the holder's end before it does.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the interface that leads out.
const TAP: &str = "out0";

/// What a network consists of.
#[derive(Debug)]
pub struct Made {
    /// Its network namespace, which lasts as long as somebody has it.
    pub namespace: OwnedFd,
    /// Where questions about names come in.
    pub udp: Vec<UdpSocket>,
    /// See `udp`.
    pub tcp: Vec<TcpListener>,
    /// The way out, where there is one.
    pub tap: Option<OwnedFd>,
}

/// Makes the network in a new namespace, or makes sure of what is needed of
/// it in one that there is. The caller, who has one thread, must be root of
/// the user namespace that owns it or will; it stays where it is.
pub fn make(definition: &Definition, existing: Option<&OwnedFd>) -> Result<Made> {
    let (ours, theirs) = Channel::pair()?;
    let ours = Cell::new(Some(ours));
    let maker = Beside::start(|| {
        // Else it would not hear that this process was killed.
        drop(ours.take());
        inside(definition, existing, &theirs)
    })?;
    let ours = ours.take().context("no channel")?;
    drop(theirs);
    let mut namespace = None;
    let (mut udp, mut tcp, mut tap) = (Vec::new(), Vec::new(), None);
    while let Some(received) = ours.receive()? {
        match (&received.data[..], received.fd) {
            (b"namespace", fd @ Some(_)) => namespace = fd,
            (b"udp", Some(fd)) => udp.push(UdpSocket::from(fd)),
            (b"tcp", Some(fd)) => tcp.push(TcpListener::from(fd)),
            (b"tap", fd @ Some(_)) => tap = fd,
            (what, _) => refuse!(Internal, "unexpected {}", String::from_utf8_lossy(what)),
        }
    }
    maker
        .finish()
        .with_context(|| format!("make network '{}'", definition.name))?;
    Ok(Made {
        namespace: namespace.context("no namespace came")?,
        udp,
        tcp,
        tap,
    })
}

fn inside(definition: &Definition, existing: Option<&OwnedFd>, out: &Channel) -> Result<()> {
    match existing {
        Some(namespace) => setns(namespace, CloneFlags::CLONE_NEWNET),
        None => unshare(CloneFlags::CLONE_NEWNET),
    }
    .context("network namespace")?;
    let namespace = std::fs::File::open("/proc/self/ns/net").context("/proc/self/ns/net")?;
    out.send(b"namespace", Some(namespace.as_fd()))?;
    bridge(definition)?;
    for gateway in &definition.gateways {
        let at = (gateway.address, PORT);
        let patience = match existing {
            Some(_) => PATIENCE,
            None => Duration::ZERO,
        };
        let what = || format!("listen at {}, port {PORT}", gateway.address);
        let udp = once_free(patience, || UdpSocket::bind(at)).with_context(what)?;
        udp.set_nonblocking(true)?;
        out.send(b"udp", Some(udp.as_fd()))?;
        let tcp = once_free(patience, || TcpListener::bind(at)).with_context(what)?;
        tcp.set_nonblocking(true)?;
        out.send(b"tcp", Some(tcp.as_fd()))?;
    }
    if let Some(way_out) = definition.way_out()?
        && tap::probe().is_ok()
    {
        // Its other end was somebody's who was killed.
        Netlink::open()?.remove(TAP)?;
        let interface = Interface {
            name: TAP.to_owned(),
            ..way_out.interface()
        };
        out.send(b"tap", Some(interface.make()?.as_fd()))?;
    }
    Ok(())
}

/// Binds a socket; waits so long for who has its address.
fn once_free<S>(patience: Duration, bind: impl Fn() -> io::Result<S>) -> io::Result<S> {
    let begin = Instant::now();
    loop {
        match bind() {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

/// Makes the bridge, which has the gateway's addresses.
fn bridge(definition: &Definition) -> Result<()> {
    let mut netlink = Netlink::open()?;
    match netlink.link(BRIDGE) {
        Ok(_) => return Ok(()),
        Err(e) if e.errno == Errno::ENODEV => {}
        Err(e) => return Err(e.into()),
    }
    let up = Setting::Up(true);
    // One of its own, so that it does not change with the ports.
    let mac = super::lease::mac(definition.gateways[0].address);
    netlink.run(vec![Request::bridge(BRIDGE, &[Setting::Mac(mac)])])?;
    let lo = netlink.link("lo")?;
    let bridge = netlink.link(BRIDGE)?;
    let mut requests = vec![
        Request::set(&lo, &[up]),
        Request::set(&bridge, &[up, Setting::Mtu(definition.mtu())]),
    ];
    let address = |gateway: &Subnet| Request::address(&bridge, gateway.address, gateway.prefix);
    requests.extend(definition.gateways.iter().map(address));
    netlink.run(requests)?;
    if !definition.internal {
        write_file("/proc/sys/net/ipv4/ip_forward", b"1").context("forward packets")?;
        if definition.gateways.iter().any(|g| g.address.is_ipv6()) {
            write_file("/proc/sys/net/ipv6/conf/all/forwarding", b"1")
                .context("forward packets of IPv6")?;
        }
    }
    Ok(())
}
