//! Sockets of the Internet protocols, none of which waits.

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, Shutdown, SockFlag, SockProtocol, SockType,
    SockaddrIn6, SockaddrLike, SockaddrStorage, accept4, bind, connect, getpeername, getsockname,
    getsockopt, listen as listen_on, recv, recvfrom, recvmsg, sendmsg, sendto, setsockopt,
    shutdown, socket, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// tcp(7), without waiting for more to send.
    Tcp,
    /// udp(7).
    Udp,
    /// Echo requests: icmp(7), "ping sockets".
    Ping,
}

/// A new socket for addresses like `like`.
///
/// # Errors
/// EACCES for [`Protocol::Ping`] where `net.ipv4.ping_group_range` leaves the
/// caller out; EAFNOSUPPORT without IPv6.
pub fn open(protocol: Protocol, like: IpAddr) -> Result<OwnedFd> {
    let family = match like {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let (kind, protocol_number) = match (protocol, like) {
        (Protocol::Tcp, _) => (SockType::Stream, SockProtocol::Tcp),
        (Protocol::Udp, _) => (SockType::Datagram, SockProtocol::Udp),
        (Protocol::Ping, IpAddr::V4(_)) => (SockType::Datagram, SockProtocol::Icmp),
        (Protocol::Ping, IpAddr::V6(_)) => (SockType::Datagram, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, kind, flags, protocol_number)?;
    if protocol == Protocol::Tcp {
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    }
    Ok(socket)
}

/// Gives a socket its own address.
pub fn bind_to(socket: impl AsFd, address: SocketAddr) -> Result<()> {
    bind(socket.as_fd().as_raw_fd(), &SockaddrStorage::from(address))
}

/// Begins to connect; a connection that takes time is no error.
pub fn connect_to(socket: impl AsFd, address: SocketAddr) -> Result<()> {
    match connect(socket.as_fd().as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(Errno::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// A socket at `address` that clients connect or send to.
///
/// # Errors
/// EADDRINUSE, EADDRNOTAVAIL; EACCES below `net.ipv4.ip_unprivileged_port_start`.
pub fn listen(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd> {
    let socket = open(protocol, address.ip())?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind_to(&socket, address)?;
    if protocol == Protocol::Tcp {
        listen_on(&socket, Backlog::MAXCONN)?;
    }
    Ok(socket)
}

/// Has a connection whose other end is silent for a minute, and does not
/// answer, fail with ETIMEDOUT (tcp(7)).
pub fn keep_alive(socket: impl AsFd) -> Result<()> {
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &30)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &10)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &3)
}

/// Takes the next connection, and who made it.
///
/// # Errors
/// EAGAIN when there is none.
pub fn accept(listener: impl AsFd) -> Result<(OwnedFd, SocketAddr)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw = accept4(listener.as_fd().as_raw_fd(), flags)?;
    // SAFETY: a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    let peer = getpeername::<SockaddrStorage>(raw)?;
    Ok((socket, address(&peer).ok_or(Errno::EAFNOSUPPORT)?))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        AddressFamily::Inet => storage
            .as_sockaddr_in()
            .map(|a| SocketAddr::V4((*a).into())),
        AddressFamily::Inet6 => storage
            .as_sockaddr_in6()
            .map(|a: &SockaddrIn6| SocketAddr::V6((*a).into())),
        _ => None,
    }
}

/// A socket's own address.
pub fn local_address(socket: impl AsFd) -> Result<SocketAddr> {
    let storage = getsockname::<SockaddrStorage>(socket.as_fd().as_raw_fd())?;
    address(&storage).ok_or(Errno::EAFNOSUPPORT)
}

/// The error that a socket has met with; it is told once.
pub fn take_error(socket: impl AsFd) -> Result<()> {
    match getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Sends what the socket takes.
pub fn send(socket: impl AsFd, data: &[u8]) -> Result<usize> {
    nix::sys::socket::send(socket.as_fd().as_raw_fd(), data, NOW)
}

/// Sends a datagram to who does not need to be the one it is connected to.
pub fn send_to(socket: impl AsFd, data: &[u8], to: SocketAddr) -> Result<()> {
    let to = SockaddrStorage::from(to);
    sendto(socket.as_fd().as_raw_fd(), data, &to, NOW).map(drop)
}

/// Sends `data` as datagrams of `segment` bytes, the last of what is left
/// (udp(7), `UDP_SEGMENT`, Linux 4.18).
pub fn send_segmented(socket: impl AsFd, data: &[u8], segment: u16) -> Result<()> {
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let data = [IoSlice::new(data)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &data, &control, NOW, None).map(drop)
}

/// Reads what is there.
///
/// # Errors
/// EAGAIN when nothing is.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    recv(socket.as_fd().as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
}

/// Reads what is there, one part filled after the other.
///
/// # Errors
/// EAGAIN when nothing is.
pub fn receive_parts(socket: impl AsFd, parts: &mut [IoSliceMut]) -> Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    Ok(recvmsg::<()>(fd, parts, None, MsgFlags::MSG_DONTWAIT)?.bytes)
}

/// Reads a datagram, and who sent it.
///
/// # Errors
/// EAGAIN when there is none.
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_fd().as_raw_fd(), buffer)?;
    let from = from.and_then(|from| address(&from));
    Ok((length, from.ok_or(Errno::EAFNOSUPPORT)?))
}

/// Sends no more.
pub fn finish(socket: impl AsFd) {
    let _ = shutdown(socket.as_fd().as_raw_fd(), Shutdown::Write);
}

/// Has the connection be reset when the socket is closed.
pub fn reset_on_close(socket: impl AsFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = setsockopt(&socket, sockopt::Linger, &linger);
}
