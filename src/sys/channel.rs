//! Messages with descriptors between two processes of bryo: a socket pair of
//! type SOCK_SEQPACKET, close-on-exec at both ends.

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Longest message in bytes; what is longer is cut by the receiver.
pub const MAX_MESSAGE: usize = 1024;

/// One end of a message channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message received, with at most one descriptor.
#[derive(Debug)]
pub struct Received {
    /// The bytes of the message; empty never occurs (that is end-of-file).
    pub data: Vec<u8>,
    /// A descriptor sent along, close-on-exec.
    pub fd: Option<OwnedFd>,
}

impl Channel {
    /// A connected pair.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .call("socketpair", || "AF_UNIX, SOCK_SEQPACKET")?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends a message, with a descriptor if one is given. A closed other end
    /// is EPIPE, never a signal.
    pub fn send(&self, data: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        send_to(&self.0, data, fd)
    }

    /// Waits for a message; `None` when the other end is closed.
    ///
    /// # Errors
    /// EINTR when a signal handler ran first.
    pub fn receive(&self) -> Result<Option<Received>> {
        self.receive_up_to(MAX_MESSAGE)
    }

    /// Waits for a message of at most so many bytes, see
    /// [`receive`](Self::receive).
    pub fn receive_up_to(&self, most: usize) -> Result<Option<Received>> {
        receive_from(&self.0, most)
    }
}

/// Sends a message over any connection of Unix's, see [`send`](Channel::send).
pub fn send_to(socket: impl AsFd, data: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let iov = [IoSlice::new(data)];
    let raw = fd.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|r| ControlMessage::ScmRights(r));
    let control = rights.as_slice();
    loop {
        match sendmsg::<()>(socket, &iov, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => continue,
            other => return other.map(drop).call("sendmsg", String::new),
        }
    }
}

/// Takes a message from a channel's descriptor, see
/// [`receive`](Channel::receive).
///
/// # Errors
/// EAGAIN when there is none and the descriptor does not block.
pub fn receive_from(channel: impl AsFd, most: usize) -> Result<Option<Received>> {
    let mut received = receive_once(&channel, most);
    if matches!(&received, Err(e) if e.errno == Errno::ECONNRESET) {
        // The other end died with messages of ours unread. That is told once, and
        // before what it had sent.
        received = receive_once(&channel, most);
    }
    match received {
        Err(e) if e.errno == Errno::ECONNRESET => Ok(None),
        received => received,
    }
}

fn receive_once(channel: impl AsFd, most: usize) -> Result<Option<Received>> {
    let mut data = vec![0; most];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (bytes, fd) = {
        let mut iov = [IoSliceMut::new(&mut data)];
        let message = recvmsg::<()>(
            channel.as_fd().as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .call("recvmsg", String::new)?;
        let mut fds = Vec::new();
        for control in message.cmsgs().call("recvmsg", || "control data")? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel installed these descriptors for us
                // with this message; nothing else knows them.
                fds.extend(raw.into_iter().map(|r| unsafe { OwnedFd::from_raw_fd(r) }));
            }
        }
        (message.bytes, fds.into_iter().next())
    };
    if bytes == 0 {
        return Ok(None);
    }
    data.truncate(bytes);
    Ok(Some(Received { data, fd }))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.0
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Channel {
        Channel(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard_whatever_was_left_unread() {
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.send(b"last words", None).unwrap();
        ours.send(b"unread", None).unwrap();
        drop(theirs);
        assert_eq!(ours.receive().unwrap().unwrap().data, b"last words");
        assert!(ours.receive().unwrap().is_none());
        assert!(ours.receive().unwrap().is_none());
    }
}
