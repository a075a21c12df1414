//! The host as the kernel's sockets have it.

use crate::net::host::{Host, Id, Kind};
use crate::net::own;
use crate::sys::inet::{self, Protocol};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a translator asks its supervisor for, which sees the host's files: the
/// answer is [`encode_name_servers`]'.
pub const NAME_SERVERS: &[u8] = b"names";
/// How long it takes name servers to be what they were.
const FRESH: Duration = Duration::from_secs(2);

/// A socket of a flow.
#[derive(Debug)]
pub enum Socket {
    /// Its own.
    Own(OwnedFd),
    /// A published port's, for one of those who send to it.
    Shared(Rc<OwnedFd>, SocketAddr),
}

impl Socket {
    fn fd(&self) -> &OwnedFd {
        match self {
            Socket::Own(fd) => fd,
            Socket::Shared(fd, _) => fd,
        }
    }
}

/// The kernel's sockets.
pub struct Sockets {
    /// Tells when one is ready.
    pub epoll: Epoll,
    /// The container's interface.
    pub tap: OwnedFd,
    /// Who answers questions about names, the next to be asked first.
    pub name_servers: Vec<SocketAddr>,
    /// Addresses that connections come from, at most one of each family.
    pub outbound: Vec<IpAddr>,
    /// Addresses of the host's interfaces.
    pub own: Vec<IpAddr>,
    /// They are not to be reached.
    pub block_host: bool,
    /// What the next random number comes from.
    pub seed: u64,
    /// The supervisor.
    pub control: OwnedFd,
    /// When the supervisor was last asked for name servers.
    pub asked: Option<Instant>,
}

/// Name servers as a message: addresses, a space between.
pub fn encode_name_servers(servers: &[SocketAddr]) -> Vec<u8> {
    let servers = servers.iter().map(ToString::to_string);
    servers.collect::<Vec<_>>().join(" ").into_bytes()
}

impl Sockets {
    /// Takes the supervisor's answer about [`NAME_SERVERS`].
    pub fn take_name_servers(&mut self, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        let servers: Vec<SocketAddr> = text.split(' ').filter_map(|s| s.parse().ok()).collect();
        let same = |server: &SocketAddr| self.name_servers.contains(server);
        // The order may have changed here, for a reason.
        if servers.len() != self.name_servers.len() || !servers.iter().all(same) {
            self.name_servers = servers;
        }
    }

    /// Has `epoll` tell of a flow's socket.
    pub fn watch(&self, socket: &OwnedFd, id: Id) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(socket, EpollEvent::new(flags, id.to_bits()))
    }
}

impl Host for Sockets {
    type Socket = Socket;

    fn open(&mut self, id: Id, kind: Kind, to: SocketAddr) -> Result<Socket, Errno> {
        let protocol = match kind {
            Kind::Tcp => Protocol::Tcp,
            Kind::Udp => Protocol::Udp,
            Kind::Ping => Protocol::Ping,
        };
        if self.block_host && own::is_own(to.ip(), &self.own)? {
            return Err(Errno::EACCES);
        }
        let socket = inet::open(protocol, to.ip())?;
        let own = self.outbound.iter();
        let mut own = own.filter(|own| own.is_ipv4() == to.is_ipv4() && !to.ip().is_loopback());
        if let Some(own) = own.next() {
            inet::bind_to(&socket, SocketAddr::new(*own, 0))?;
        }
        inet::connect_to(&socket, to)?;
        self.watch(&socket, id)?;
        Ok(Socket::Own(socket))
    }

    fn outcome(&mut self, socket: &Socket) -> Result<(), Errno> {
        inet::take_error(socket.fd())
    }

    fn send(&mut self, socket: &Socket, data: &[u8]) -> Result<usize, Errno> {
        inet::send(socket.fd(), data)
    }

    fn send_datagrams(
        &mut self,
        socket: &Socket,
        data: &[u8],
        segment: Option<u16>,
    ) -> Result<(), Errno> {
        let one = |data: &[u8]| match socket {
            Socket::Own(fd) => inet::send(fd, data).map(drop),
            Socket::Shared(fd, to) => inet::send_to(&**fd, data, *to),
        };
        let Some(size) = segment.filter(|size| data.len() > usize::from(*size)) else {
            return one(data);
        };
        if let Socket::Own(fd) = socket {
            match inet::send_segmented(fd, data, size) {
                Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE) => {}
                other => return other,
            }
        }
        data.chunks(size.into()).try_for_each(one)
    }

    fn receive(&mut self, socket: &Socket, parts: &mut [IoSliceMut]) -> Result<usize, Errno> {
        match socket {
            Socket::Own(fd) => inet::receive_parts(fd, parts),
            // What comes is read by the port.
            Socket::Shared(..) => Err(Errno::EAGAIN),
        }
    }

    fn finish(&mut self, socket: &Socket) {
        inet::finish(socket.fd());
    }

    fn abort(&mut self, socket: &Socket) {
        inet::reset_on_close(socket.fd());
    }

    fn transmit(&mut self, frame: &[u8]) {
        // One that is not taken is lost, as on any wire.
        let _ = nix::unistd::write(&self.tap, frame);
    }

    fn random(&mut self) -> u32 {
        // splitmix64
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32
    }

    fn name_server(&mut self, another: bool) -> Option<SocketAddr> {
        if another && !self.name_servers.is_empty() {
            self.name_servers.rotate_left(1);
        }
        // They may have changed; the answer is for the next question.
        if self.asked.is_none_or(|at| at.elapsed() >= FRESH) {
            self.asked = Some(Instant::now());
            let _ = crate::sys::socket::try_send(&self.control, NAME_SERVERS);
        }
        self.name_servers.first().copied()
    }

    fn own_address(&mut self, like: IpAddr) -> Option<IpAddr> {
        own::known(like, &self.own)
    }
}
