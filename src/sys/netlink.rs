//! Links, addresses and routes: rtnetlink(7), one request after the other or
//! several in one go. No thread, no state but the socket; what is asked for is
//! plain bytes ([`Request`]), so that it can be made before it can be sent.

use super::error::{Context, Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Nested attributes say so (netlink(7)).
const NESTED: u16 = libc::NLA_F_NESTED as u16;

// <linux/if_link.h>, <linux/veth.h>
const VETH_INFO_PEER: u16 = 1;
// <linux/if_addr.h>
const IFA_F_NODAD: u8 = 0x02;

/// A link of the namespace, and how errors call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// A property of a link.
#[derive(Debug, Clone, Copy)]
pub enum Setting<'a> {
    /// Up, or down.
    Up(bool),
    /// Largest packet, in bytes.
    Mtu(u32),
    /// Length of the queue of packets to send.
    TxQueueLen(u32),
    /// Another name.
    Name(&'a str),
    /// Hardware address.
    Mac([u8; 6]),
    /// The bridge it is a port of; 0 for none.
    Master(u32),
    /// The network namespace it is in.
    Namespace(BorrowedFd<'a>),
}

/// One message to the kernel, and what it is about.
#[derive(Debug, Clone)]
pub struct Request {
    message: Vec<u8>,
    what: String,
}

impl Request {
    fn new(kind: u16, flags: i32, what: String) -> Request {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        Request { message, what }
    }

    /// Changes a link.
    pub fn set(link: &Link, settings: &[Setting]) -> Request {
        let what = format!("set {}: {}", link.name, describe(settings));
        let mut request = Request::new(libc::RTM_NEWLINK, 0, what);
        request.link(link.index, settings);
        request
    }

    /// Makes a bridge (<linux/if_link.h>, `IFLA_INFO_KIND`).
    pub fn bridge(name: &str, settings: &[Setting]) -> Request {
        let mut request = Request::make("bridge", name, settings);
        request.nested(libc::IFLA_LINKINFO, |r| {
            r.attribute(libc::IFLA_INFO_KIND, b"bridge");
        });
        request
    }

    /// Makes a pair of links of which each receives what the other sends
    /// (veth(4)).
    pub fn veth(name: &str, settings: &[Setting], peer: &str, of_peer: &[Setting]) -> Request {
        let mut request = Request::make("veth", name, settings);
        request.nested(libc::IFLA_LINKINFO, |r| {
            r.attribute(libc::IFLA_INFO_KIND, b"veth");
            r.nested(libc::IFLA_INFO_DATA, |r| {
                r.nested(VETH_INFO_PEER, |r| {
                    r.link(0, of_peer);
                    r.name(peer);
                });
            });
        });
        request
    }

    fn make(kind: &str, name: &str, settings: &[Setting]) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let what = format!("make {kind} {name}");
        let mut request = Request::new(libc::RTM_NEWLINK, flags, what);
        request.link(0, settings);
        request.name(name);
        request
    }

    /// Removes a link.
    pub fn delete(link: &Link) -> Request {
        let what = format!("delete {}", link.name);
        let mut request = Request::new(libc::RTM_DELLINK, 0, what);
        request.link(link.index, &[]);
        request
    }

    /// Gives a link an address and the network of that prefix. One of IPv6 is
    /// used at once: nobody is asked whether he has it too.
    pub fn address(link: &Link, address: IpAddr, prefix: u8) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let what = format!("give {} the address {address}/{prefix}", link.name);
        let mut request = Request::new(libc::RTM_NEWADDR, flags, what);
        let own = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        request.put(&[family(address), prefix, own, libc::RT_SCOPE_UNIVERSE]);
        request.put(&link.index.to_ne_bytes());
        request.ip(libc::IFA_LOCAL, address);
        request.ip(libc::IFA_ADDRESS, address);
        request
    }

    /// Sends everything that has no other way to `gateway`.
    pub fn default_route(link: &Link, gateway: IpAddr) -> Request {
        let what = format!("route through {gateway} on {}", link.name);
        let mut request = Request::to(link, gateway, 0, libc::RT_SCOPE_UNIVERSE, what);
        request.ip(libc::RTA_GATEWAY, gateway);
        request
    }

    /// Says that a network is on a link, without a router.
    pub fn on_link(link: &Link, network: IpAddr, prefix: u8) -> Request {
        let what = format!("route {network}/{prefix} to {}", link.name);
        let scope = match network {
            IpAddr::V4(_) => libc::RT_SCOPE_LINK,
            IpAddr::V6(_) => libc::RT_SCOPE_UNIVERSE,
        };
        let mut request = Request::to(link, network, prefix, scope, what);
        request.ip(libc::RTA_DST, network);
        request
    }

    fn to(link: &Link, of: IpAddr, prefix: u8, scope: u8, what: String) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWROUTE, flags, what);
        let (table, origin) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
        let kind = libc::RTN_UNICAST;
        request.put(&[family(of), prefix, 0, 0, table, origin, scope, kind]);
        request.put(&[0; 4]);
        request.attribute(libc::RTA_OIF, &link.index.to_ne_bytes());
        request
    }

    /// Says who has an address, so that nobody needs to ask.
    pub fn neighbour(link: &Link, address: IpAddr, mac: [u8; 6]) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let what = format!("tell {} where {address} is", link.name);
        let mut request = Request::new(libc::RTM_NEWNEIGH, flags, what);
        request.put(&[family(address), 0, 0, 0]);
        request.put(&link.index.to_ne_bytes());
        request.put(&libc::NUD_PERMANENT.to_ne_bytes());
        request.put(&[0, 0]);
        request.ip(libc::NDA_DST, address);
        request.attribute(libc::NDA_LLADDR, &mac);
        request
    }

    fn put(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg` and the attributes of `settings`.
    fn link(&mut self, index: u32, settings: &[Setting]) {
        let up = settings.iter().rev().find_map(|setting| match setting {
            Setting::Up(up) => Some(*up),
            _ => None,
        });
        let bit = libc::IFF_UP as u32;
        self.put(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
        self.put(&index.to_ne_bytes());
        self.put(&if up == Some(true) { bit } else { 0 }.to_ne_bytes());
        self.put(&if up.is_some() { bit } else { 0 }.to_ne_bytes());
        for setting in settings {
            match setting {
                Setting::Up(_) => {}
                Setting::Mtu(bytes) => self.attribute(libc::IFLA_MTU, &bytes.to_ne_bytes()),
                Setting::TxQueueLen(n) => self.attribute(libc::IFLA_TXQLEN, &n.to_ne_bytes()),
                Setting::Name(name) => self.name(name),
                Setting::Mac(mac) => self.attribute(libc::IFLA_ADDRESS, mac),
                Setting::Master(index) => self.attribute(libc::IFLA_MASTER, &index.to_ne_bytes()),
                Setting::Namespace(fd) => {
                    self.attribute(libc::IFLA_NET_NS_FD, &fd.as_raw_fd().to_ne_bytes());
                }
            }
        }
    }

    fn name(&mut self, name: &str) {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(libc::IFLA_IFNAME, &bytes);
    }

    fn ip(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// `struct rtattr` with a value, which ends at a multiple of four.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = 4 + value.len() as u16;
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.align();
    }

    /// An attribute made of what `fill` adds.
    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Request)) {
        let start = self.message.len();
        self.put(&[0; 2]);
        self.put(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = (self.message.len() - start) as u16;
        self.message[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn align(&mut self) {
        let length = self.message.len().next_multiple_of(4);
        self.message.resize(length, 0);
    }

    /// Fills in what is known last.
    fn seal(&mut self, sequence: u32) -> &[u8] {
        let length = self.message.len() as u32;
        self.message[..4].copy_from_slice(&length.to_ne_bytes());
        self.message[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.message
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn describe(settings: &[Setting]) -> String {
    let word = |setting: &Setting| match setting {
        Setting::Up(true) => "up".to_owned(),
        Setting::Up(false) => "down".to_owned(),
        Setting::Mtu(bytes) => format!("mtu {bytes}"),
        Setting::TxQueueLen(n) => format!("txqueuelen {n}"),
        Setting::Name(name) => format!("name {name}"),
        Setting::Mac(_) => "hardware address".to_owned(),
        Setting::Master(_) => "bridge".to_owned(),
        Setting::Namespace(_) => "namespace".to_owned(),
    };
    settings.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A connection to the kernel about one network namespace: the caller's at
/// the time it is opened, whatever the caller joins later.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens it.
    pub fn open() -> Result<Netlink> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .call("socket", || "AF_NETLINK, NETLINK_ROUTE")?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Looks a link up by its name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&mut self, name: &str) -> Result<Link> {
        let what = format!("find {name}");
        let mut request = Request::new(libc::RTM_GETLINK, 0, what);
        request.link(0, &[Setting::Name(name)]);
        let mut index = 0;
        self.exchange(std::slice::from_mut(&mut request), |kind, payload| {
            // struct ifinfomsg: the index is at 4.
            if let (libc::RTM_NEWLINK, Some(bytes)) = (kind, payload.get(4..8)) {
                index = u32::from_ne_bytes(bytes.try_into().unwrap());
            }
        })?;
        Ok(Link {
            index,
            name: name.to_owned(),
        })
    }

    /// Removes a link, unless it goes by itself, as those of a namespace and of
    /// a process do that have ended.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let link = self.link(name);
        match link.and_then(|link| self.run(vec![Request::delete(&link)])) {
            Err(e) if e.errno == Errno::ENODEV => Ok(()),
            done => done,
        }
    }

    /// Has the kernel do all of `requests`, in their order.
    ///
    /// # Errors
    /// The first that failed, with its object. Those behind it are tried
    /// nevertheless.
    pub fn run(&mut self, mut requests: Vec<Request>) -> Result<()> {
        self.exchange(&mut requests, |_, _| ())
    }

    /// Sends requests in one go and reads until each is acknowledged; other
    /// messages, by kind and payload, go to `reply`.
    fn exchange(
        &mut self,
        requests: &mut [Request],
        mut reply: impl FnMut(u16, &[u8]),
    ) -> Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in requests.iter_mut() {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(request.seal(self.sequence));
        }
        let all = || {
            let texts: Vec<_> = requests.iter().map(|r| r.what.as_str()).collect();
            texts.join(", ")
        };
        let kernel = NetlinkAddr::new(0, 0);
        let socket = self.socket.as_raw_fd();
        sendto(socket, &bytes, &kernel, MsgFlags::empty()).call("netlink", all)?;
        let mut failure = None;
        let mut missing = requests.len();
        let mut buffer = vec![0; 16 << 10];
        while missing > 0 {
            let length = match recv(socket, &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other.call("netlink", all)?,
            };
            for (kind, sequence, payload) in messages(&buffer[..length]) {
                let number = sequence.wrapping_sub(first) as usize;
                let Some(request) = requests.get(number) else {
                    continue;
                };
                if kind != libc::NLMSG_ERROR as u16 {
                    reply(kind, payload);
                    continue;
                }
                missing -= 1;
                let code = payload.get(..4).map(|b| b.try_into().unwrap());
                let code = code.map_or(-libc::EPROTO, i32::from_ne_bytes);
                if code != 0 && failure.is_none() {
                    let errno = Errno::from_raw(-code);
                    failure = Some(Error::new("netlink", request.what.clone(), errno));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The messages in `bytes`: kind, sequence number, payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().unwrap());
        let sequence = u32::from_ne_bytes(header[8..12].try_into().unwrap());
        let payload = bytes.get(HEADER..length.min(bytes.len()))?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, payload))
    })
}

#[cfg(test)]
mod tests;
