//! Connections that a published port gets from the host's own loopback: their
//! bytes go from socket to socket, past the stack and its tap. The other socket
//! is one of the container's network namespace, connected to the container's
//! address there and never to its loopback.

use crate::sys::inet;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Descriptors that a connection takes: two sockets.
pub const DESCRIPTORS: usize = 2;
/// Most bytes that are read at once. Where processors are few, both ends and
/// this process take turns, and the longer these are the fewer: on two, a quarter
/// less came through by splice(2), which copies nothing, but takes small turns.
const CHUNK: usize = 512 << 10;
/// And once more than [`MANY`] bytes are kept for slow receivers.
const SMALL_CHUNK: usize = 16 << 10;
const MANY: usize = 8 << 20;
/// Bytes that are carried before others have their turn.
const TURN: u64 = 1 << 20;

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    /// What the receiver has not taken yet, from `sent` on.
    kept: Vec<u8>,
    sent: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// No more comes.
    Ended,
    /// And the receiver knows it.
    Told,
}

/// Why a turn is over.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// Until a socket is ready again.
    Waits,
    /// There may be more at once.
    More,
}

/// Sends what can be sent now; how much that was.
fn send(to: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    loop {
        match inet::send(to, data) {
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::EINTR) => {}
            sent => return sent,
        }
    }
}

impl Way {
    /// Carries what there is, through `buffer`; counts it in `carried`.
    fn carry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
        carried: &mut u64,
    ) -> Result<Rest, Errno> {
        let most = *carried + TURN;
        loop {
            if self.sent < self.kept.len() {
                let sent = send(to, &self.kept[self.sent..])?;
                self.sent += sent;
                *carried += sent as u64;
                if self.sent < self.kept.len() {
                    return Ok(Rest::Waits);
                }
                (self.kept, self.sent) = (Vec::new(), 0);
            }
            match self.state {
                State::Open => match inet::receive(from, buffer) {
                    Ok(0) => self.state = State::Ended,
                    Ok(length) => {
                        let sent = send(to, &buffer[..length])?;
                        *carried += sent as u64;
                        self.kept.extend_from_slice(&buffer[sent..length]);
                    }
                    Err(Errno::EAGAIN) => return Ok(Rest::Waits),
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                },
                State::Ended => {
                    inet::finish(to);
                    self.state = State::Told;
                }
                State::Told => return Ok(Rest::Waits),
            }
            if *carried >= most {
                return Ok(Rest::More);
            }
        }
    }
}

#[derive(Debug)]
struct Relay {
    client: OwnedFd,
    inside: OwnedFd,
    inward: Way,
    outward: Way,
}

impl Relay {
    /// Carries both ways; `None` when both have ended.
    fn carry(&mut self, buffer: &mut [u8], carried: &mut Carried) -> Result<Option<Rest>, Errno> {
        let Carried {
            inward, outward, ..
        } = carried;
        // What the container had to say arrives even if it hears no more.
        let (client, inside) = (&self.client, &self.inside);
        let outward = self.outward.carry(inside, client, buffer, outward);
        let inward = self.inward.carry(client, inside, buffer, inward);
        let rest = (outward?, inward?);
        if (self.inward.state, self.outward.state) == (State::Told, State::Told) {
            return Ok(None);
        }
        Ok(Some(match rest {
            (Rest::Waits, Rest::Waits) => Rest::Waits,
            _ => Rest::More,
        }))
    }

    /// Bytes that are kept for receivers.
    fn kept(&self) -> usize {
        self.inward.kept.len() + self.outward.kept.len()
    }
}

/// What was carried, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// To the container.
    pub inward: u64,
    /// From it.
    pub outward: u64,
    /// Connections begun.
    pub connections: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// How many were kept here before: an event may be about one of them.
    generation: u32,
    relay: Option<Relay>,
    /// In the list of those with more to carry.
    queued: bool,
}

/// All such connections of a translator.
#[derive(Debug, Default)]
pub struct Relays {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Those that may have more to carry at once.
    ready: VecDeque<u32>,
    carried: Carried,
    /// What all of them go through; nothing while all rest.
    buffer: Vec<u8>,
    /// Bytes that are kept for receivers.
    kept: usize,
}

impl Relays {
    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// What was carried so far.
    pub fn carried(&self) -> Carried {
        self.carried
    }

    /// Whether what the container said may have yet to arrive.
    pub fn has_unsent(&self) -> bool {
        let mut relays = self.slots.iter().filter_map(|slot| slot.relay.as_ref());
        relays.any(|relay| relay.outward.state != State::Told)
    }

    /// Begins to carry between `client` and `to`, which `inside`, a socket that
    /// is not connected yet, can reach. Events that `epoll` tells of either have
    /// `token` in their lower half, and are [`ready`](Self::ready)'s.
    ///
    /// # Errors
    /// Those of connect(2), too many descriptors; the client is reset.
    pub fn begin(
        &mut self,
        client: OwnedFd,
        inside: OwnedFd,
        to: SocketAddr,
        epoll: &Epoll,
        token: impl FnOnce(u32) -> u64,
    ) -> Result<(), Errno> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[number as usize];
        let token = u64::from(slot.generation) << 32 | token(number);
        let watched = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let begin = || {
            inet::connect_to(&inside, to)?;
            epoll.add(&client, EpollEvent::new(watched, token))?;
            epoll.add(&inside, EpollEvent::new(watched, token))?;
            Ok(())
        };
        match begin() {
            Ok(()) => {
                self.carried.connections += 1;
                slot.relay = Some(Relay {
                    client,
                    inside,
                    inward: Way::default(),
                    outward: Way::default(),
                });
                Ok(())
            }
            Err(errno) => {
                inet::reset_on_close(&client);
                self.free.push(number);
                Err(errno)
            }
        }
    }

    /// Something has happened to a connection.
    pub fn ready(&mut self, number: u32, generation: u32) {
        let Some(slot) = self.slots.get_mut(number as usize) else {
            return;
        };
        let Some(relay) = (slot.relay.as_mut()).filter(|_| slot.generation == generation) else {
            return;
        };
        self.buffer.resize(CHUNK, 0);
        let chunk = match self.kept > MANY {
            true => SMALL_CHUNK,
            false => CHUNK,
        };
        let before = relay.kept();
        let done = relay.carry(&mut self.buffer[..chunk], &mut self.carried);
        self.kept = self.kept + relay.kept() - before;
        match done {
            Ok(Some(Rest::Waits)) => return,
            Ok(Some(Rest::More)) => {
                if !std::mem::replace(&mut slot.queued, true) {
                    self.ready.push_back(number);
                }
                return;
            }
            Ok(None) => {}
            // Either side learns that the other is gone.
            Err(_) => {
                inet::reset_on_close(&relay.client);
                inet::reset_on_close(&relay.inside);
            }
        }
        self.kept -= relay.kept();
        slot.relay = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(number);
    }

    /// Goes on with those that had more; whether there still are some.
    pub fn run(&mut self) -> bool {
        for _ in 0..self.ready.len() {
            if let Some(number) = self.ready.pop_front() {
                let slot = &mut self.slots[number as usize];
                slot.queued = false;
                let generation = slot.generation;
                self.ready(number, generation);
            }
        }
        !self.ready.is_empty()
    }

    /// Gives back memory that is not used.
    pub fn trim(&mut self) {
        self.buffer = Vec::new();
        if self.count() == 0 {
            // No event of before comes any more.
            *self = Relays {
                carried: self.carried,
                ..Relays::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inet::Protocol;
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};
    use std::io::{ErrorKind, Read, Write};
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn server() -> TcpListener {
        TcpListener::bind((LOOPBACK, 0)).unwrap()
    }

    /// Runs one relay between a client, who is given one end, and the server at
    /// `to`, until it has ended; returns what was carried.
    fn relayed(to: SocketAddr, client: impl FnOnce(TcpStream) + Send + 'static) -> Carried {
        let front = server();
        let at = front.local_addr().unwrap();
        let client: JoinHandle<()> =
            std::thread::spawn(move || client(TcpStream::connect(at).unwrap()));
        let (accepted, _) = front.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut relays = Relays::default();
        let inside = inet::open(Protocol::Tcp, to.ip()).unwrap();
        let begun = relays.begin(accepted.into(), inside, to, &epoll, u64::from);
        if begun.is_ok() {
            assert!(relays.has_unsent());
        }
        let end = Instant::now() + Duration::from_secs(60);
        while relays.count() > 0 {
            assert!(Instant::now() < end, "{relays:?}");
            let mut events = [EpollEvent::empty(); 4];
            let count = epoll.wait(&mut events, EpollTimeout::from(10u16)).unwrap();
            for event in &events[..count] {
                relays.ready(event.data() as u32, (event.data() >> 32) as u32);
            }
            while relays.run() {}
        }
        client.join().unwrap();
        assert_eq!(relays.kept, 0);
        relays.trim();
        relays.carried()
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| ((n * 31) >> 3) as u8).collect()
    }

    #[test]
    fn both_ways_at_once_and_each_ends_by_itself() {
        let listener = server();
        let to = listener.local_addr().unwrap();
        let (inward, outward) = (pattern(8 << 20), pattern(5 << 20));
        let (heard, said) = (inward.clone(), outward.clone());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            let writes = std::thread::spawn(move || {
                writer.write_all(&said).unwrap();
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert!(all == heard);
            writes.join().unwrap();
        });
        let lengths = (inward.len() as u64, outward.len() as u64);
        let carried = relayed(to, move |mut stream| {
            let mut reader = stream.try_clone().unwrap();
            let reads = std::thread::spawn(move || {
                let mut all = Vec::new();
                let mut buffer = vec![0; 100_000];
                loop {
                    match reader.read(&mut buffer).unwrap() {
                        0 => break,
                        n => all.extend_from_slice(&buffer[..n]),
                    }
                    // Slowly.
                    std::thread::sleep(Duration::from_micros(500));
                }
                all
            });
            stream.write_all(&inward).unwrap();
            // The other way goes on.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(reads.join().unwrap() == outward);
        });
        server.join().unwrap();
        assert_eq!((carried.inward, carried.outward), lengths);
        assert_eq!(carried.connections, 1);
    }

    #[test]
    fn what_fails_on_one_side_fails_on_the_other() {
        // Nobody listens.
        let closed = server().local_addr().unwrap();
        relayed(closed, |mut stream| {
            let error = stream.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
        // The server goes without hearing all of it.
        let listener = server();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        });
        relayed(to, |mut stream| {
            let data = vec![0; 4 << 20];
            while stream.write_all(&data).is_ok() {}
        });
        server.join().unwrap();
        // The client goes without hearing all of it.
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let data = vec![0; 4 << 20];
            while stream.write_all(&data).is_ok() {}
        });
        relayed(to, |mut stream| stream.read_exact(&mut [0; 1]).unwrap());
        server.join().unwrap();
    }
}
