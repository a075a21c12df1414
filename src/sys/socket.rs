//! Sockets. Those of Unix have names in directories and are of type
//! SOCK_SEQPACKET, so that a message is read as it was written (unix(7)).

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect as connect_to,
    getsockopt, listen as listen_on, recv, send, socket, socketpair, sockopt::PeerCredentials,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A path to `directory` that is short whatever the directory's own is: the
/// address of a socket has room for 108 bytes.
fn address(directory: &OwnedFd, name: &str) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    UnixAddr::new(path.as_str()).call("unix address", || path)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).call("open", || path.display().to_string())
}

fn make(kind: SockType) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, kind, flags, None).call("socket", || format!("AF_UNIX, {kind:?}"))
}

/// A connected pair; neither end blocks.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
        .call("socketpair", || "AF_UNIX, SOCK_SEQPACKET")
}

/// Listens at `directory`/`name`, in the place of what a killed process left
/// there, for processes of this process's user.
pub fn listen(directory: &Path, name: &str) -> Result<OwnedFd> {
    listen_at(directory, name, SockType::SeqPacket)
}

/// As [`listen`], for connections that are streams.
pub fn listen_for_streams(directory: &Path, name: &str) -> Result<OwnedFd> {
    listen_at(directory, name, SockType::Stream)
}

fn listen_at(directory: &Path, name: &str, kind: SockType) -> Result<OwnedFd> {
    let dir = open_directory(directory)?;
    let what = || directory.join(name).display().to_string();
    let _ = std::fs::remove_file(directory.join(name));
    let fd = make(kind)?;
    // The mode of the file that bind(2) makes.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).call("fchmod", what)?;
    bind(fd.as_raw_fd(), &address(&dir, name)?).call("bind", what)?;
    listen_on(&fd, Backlog::MAXCONN).call("listen", what)?;
    Ok(fd)
}

/// Whether at the other end of a connection is a process of this one's user
/// (`SO_PEERCRED`, unix(7); ids are as this process's namespace has them).
fn is_own(connection: &OwnedFd) -> nix::Result<bool> {
    let peer = getsockopt(connection, PeerCredentials)?;
    Ok(peer.uid() == geteuid().as_raw())
}

/// Connects to who listens at `directory`/`name`; the connection blocks.
///
/// # Errors
/// ENOENT or ECONNREFUSED when nobody does, EACCES when that is somebody
/// else's process.
pub fn connect(directory: &Path, name: &str) -> Result<OwnedFd> {
    let dir = open_directory(directory)?;
    let what = || directory.join(name).display().to_string();
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .call("socket", || "AF_UNIX, SOCK_SEQPACKET")?;
    connect_to(fd.as_raw_fd(), &address(&dir, name)?).call("connect", what)?;
    match is_own(&fd).call("getsockopt", what)? {
        true => Ok(fd),
        false => Err(Errno::EACCES).call("connect", what),
    }
}

/// Starts to connect to an address of the Internet by TCP; poll(2) for writing
/// tells when that is done.
pub fn start_to_connect(to: std::net::SocketAddr) -> std::io::Result<OwnedFd> {
    use nix::sys::socket::{SockaddrIn, SockaddrIn6};
    use std::net::SocketAddr;
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    let started = match to {
        SocketAddr::V4(to) => connect_to(fd.as_raw_fd(), &SockaddrIn::from(to)),
        SocketAddr::V6(to) => connect_to(fd.as_raw_fd(), &SockaddrIn6::from(to)),
    };
    match started {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the next connection, which does not block; `None` if there is none.
/// Those of other users are closed.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    loop {
        match accept_any(&listener)? {
            Some(fd) if is_own(&fd) != Ok(true) => {}
            other => return Ok(other),
        }
    }
}

fn accept_any(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    let ret = unsafe {
        libc::accept4(
            listener.as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            flags,
        )
    };
    match Errno::result(ret) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno).call("accept4", String::new),
    }
}

/// Sends one message without waiting.
///
/// # Errors
/// EAGAIN when the other side has to read first, EPIPE when it is gone.
pub fn try_send(fd: impl AsFd, data: &[u8]) -> nix::Result<()> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(fd.as_fd().as_raw_fd(), data, flags).map(drop)
}

/// Sends one message; waits until there is room.
pub fn send_all(fd: impl AsFd, data: &[u8]) -> nix::Result<()> {
    loop {
        match try_send(&fd, data) {
            Err(Errno::EAGAIN) => super::wait::writable(&fd),
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Reads one message into `buffer` without waiting; 0 is the end.
///
/// # Errors
/// EAGAIN when there is none.
pub fn try_receive(fd: impl AsFd, buffer: &mut [u8]) -> nix::Result<usize> {
    let fd = fd.as_fd().as_raw_fd();
    let mut receive = || recv(fd, buffer, MsgFlags::MSG_DONTWAIT);
    // The other end died with messages of ours unread. That is told once, and
    // before what it had sent.
    let received = receive().or_else(|errno| match errno {
        Errno::ECONNRESET => receive(),
        other => Err(other),
    });
    match received {
        Err(Errno::ECONNRESET) => Ok(0),
        received => received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard_whatever_was_left_unread() {
        let (ours, theirs) = pair().unwrap();
        send_all(&theirs, b"last words").unwrap();
        send_all(&ours, b"unread").unwrap();
        drop(theirs);
        let mut buffer = [0; 64];
        assert_eq!(try_receive(&ours, &mut buffer), Ok(10));
        assert_eq!(try_receive(&ours, &mut buffer), Ok(0));
    }
}
