//! What the translator asks of the world outside, so that it can be run
//! against the kernel's sockets and against a model of them.

use super::shares::Account;
use super::wire::{Link, MAX_FRAME};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

/// Milliseconds since some beginning.
pub type Millis = u64;

/// Names a flow for as long as it lives, and no other flow ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Where it is kept.
    pub index: u32,
    /// How many were kept there before.
    pub generation: u32,
}

impl Id {
    /// As one number.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// From that number.
    pub fn from_bits(bits: u64) -> Id {
        Id {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A connection.
    Tcp,
    /// Datagrams to and from one address.
    Udp,
    /// Echo requests to one address (icmp(7), "ping sockets").
    Ping,
}

/// The world outside. Nothing here waits: what cannot be done now is EAGAIN.
pub trait Host {
    /// A socket; it is closed when it is dropped.
    type Socket;

    /// Opens a socket to an address; [`Stack::ready`](super::stack::Stack::ready)
    /// tells when a connection is made or has failed.
    fn open(&mut self, id: Id, kind: Kind, to: SocketAddr) -> Result<Self::Socket, Errno>;
    /// How the attempt to connect went.
    fn outcome(&mut self, socket: &Self::Socket) -> Result<(), Errno>;
    /// Sends bytes of a connection, and says how many were taken.
    fn send(&mut self, socket: &Self::Socket, data: &[u8]) -> Result<usize, Errno>;
    /// Sends one datagram, or with `segment` as many of that size as it is.
    fn send_datagrams(
        &mut self,
        socket: &Self::Socket,
        data: &[u8],
        segment: Option<u16>,
    ) -> Result<(), Errno>;
    /// Reads, one part filled after the other; 0 is the end of a connection.
    fn receive(&mut self, socket: &Self::Socket, parts: &mut [IoSliceMut]) -> Result<usize, Errno>;
    /// Tells the other side that no more data comes.
    fn finish(&mut self, socket: &Self::Socket);
    /// Has the socket reset its connection when it is dropped.
    fn abort(&mut self, socket: &Self::Socket);
    /// Gives the container a frame.
    fn transmit(&mut self, frame: &[u8]);
    /// A number that nobody can foresee.
    fn random(&mut self) -> u32;
    /// Who answers questions about names; another one if the last did not.
    fn name_server(&mut self, another: bool) -> Option<SocketAddr>;
    /// The host's own address, preferably one like this; never its loopback.
    fn own_address(&mut self, like: IpAddr) -> Option<IpAddr>;
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames of the container, and their bytes.
    pub sent: (u64, u64),
    /// Frames to it, and their bytes.
    pub received: (u64, u64),
    /// Frames that were malformed.
    pub malformed: u64,
    /// Frames that were not passed on for another reason.
    pub dropped: u64,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Flows begun.
    pub flows: u64,
}

/// What all flows share while something is done.
pub struct Context<'a, H: Host> {
    /// The world outside.
    pub io: &'a mut H,
    /// The time.
    pub now: Millis,
    /// The two ends of the tap.
    pub link: Link,
    /// Largest packet that the container's interface takes.
    pub mtu: u16,
    /// Memory for packets.
    pub buffers: &'a mut Buffers,
    /// What happened so far.
    pub counters: &'a mut Counters,
}

impl<H: Host> Context<'_, H> {
    /// Gives the container a frame and counts it.
    pub fn transmit(&mut self, frame: &[u8]) {
        self.counters.received.0 += 1;
        self.counters.received.1 += (frame.len() - super::wire::VNET) as u64;
        self.io.transmit(frame);
    }
}

/// Memory for packets, used over and over, and how much is in use.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    /// Bytes that flows hold.
    held: usize,
}

/// Bytes that all flows together may hold before each gets little.
const PLENTY: usize = 64 << 20;
/// Bytes beyond which nothing is taken from who has many of them, and from
/// anybody.
const TOO_MUCH: usize = 2 * PLENTY;
const FULL: usize = 2 * TOO_MUCH;
/// Bytes that a container may have when others have taken too much.
const MODEST: usize = 1 << 20;
/// Buffers kept for the next use.
const SPARE: usize = 64;

impl Buffers {
    /// A buffer of [`MAX_FRAME`] bytes, whatever they are.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| vec![0; MAX_FRAME])
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if buffer.len() == MAX_FRAME && self.free.len() < SPARE {
            self.free.push(buffer);
        }
    }

    /// Counts bytes that a flow keeps, for its container.
    pub fn hold(&mut self, account: &Account, bytes: usize) {
        self.held += bytes;
        account.add(bytes);
    }

    /// Counts bytes that it no longer keeps.
    pub fn release(&mut self, account: &Account, bytes: usize) {
        self.held -= bytes;
        account.take(bytes);
    }

    /// Bytes that flows hold.
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many bytes one flow may hold now, of at most `most`.
    pub fn allowance(&self, account: &Account, most: usize) -> usize {
        match self.held {
            held if held < PLENTY => most,
            held if held < TOO_MUCH => most.min(1 << 16),
            held if held < FULL && account.held() < MODEST => most.min(1 << 16),
            _ => 0,
        }
    }

    /// Gives what is not used back to the allocator.
    pub fn trim(&mut self) {
        self.free = Vec::new();
    }
}
