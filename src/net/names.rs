//! The name server of a named network: a loop over its sockets. What is to
//! be said is decided by [`dns`]. It runs in a process of its own, whose
//! listening sockets are in the network's namespace while those by which it
//! asks others are in the host's; it needs nothing else.

use super::dns::{self, Answer, Names, Transport};
use super::shares::oldest_of_most;
use crate::sys::fd::set_nonblocking;
use crate::sys::socket;
use crate::sys::wait::wait;
use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The port of name servers.
pub const PORT: u16 = 53;

/// What the server knows: it gets all of it anew when something changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Names and their addresses.
    pub names: Vec<(String, IpAddr)>,
    /// Whom to ask about other names.
    pub servers: Vec<IpAddr>,
    /// Clients for which it is different.
    pub of_clients: Vec<Special>,
    /// Nobody else is to be asked.
    pub alone: bool,
}

/// What is different for one client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Special {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whom to ask for it, if that is anybody else.
    pub servers: Vec<IpAddr>,
    /// Names that are known to it alone.
    pub names: Vec<(String, IpAddr)>,
}

/// Longest message that carries a [`Table`].
pub const MAX_TABLE: usize = 160 << 10;

/// What the server asks who tells it what to know: whether that has changed.
pub const ASK: &[u8] = b"servers";
/// How long that takes to change.
const FRESH: Duration = Duration::from_secs(2);
/// How long one server has for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// Questions that others are asked at a time; connections at a time.
const PENDING: usize = 256;
const CONNECTIONS: usize = 64;
/// Bytes of answers that a client need not have taken.
const UNTAKEN: usize = 256 << 10;

/// Where an answer goes.
#[derive(Debug, Clone, Copy)]
enum Client {
    Udp(usize, SocketAddr),
    Tcp(u64),
}

/// A question that somebody else is asked.
struct Pending {
    question: Vec<u8>,
    client: Client,
    /// The address of that client.
    from: IpAddr,
    /// Those that were not asked yet, the next one last.
    servers: Vec<IpAddr>,
    way: Way,
    deadline: Instant,
}

enum Way {
    Udp(UdpSocket),
    /// What is still to be sent, and what has come.
    Tcp(TcpStream, Vec<u8>, Vec<u8>),
}

struct Connection {
    number: u64,
    stream: TcpStream,
    peer: IpAddr,
    received: Vec<u8>,
    to_send: Vec<u8>,
    deadline: Instant,
}

/// The server.
pub struct Server {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    updates: OwnedFd,
    table: Table,
    names: Names,
    /// For those clients that know more.
    more_names: HashMap<IpAddr, Names>,
    pending: Vec<Pending>,
    connections: Vec<Connection>,
    counted: u64,
    /// When it last asked whom to ask.
    asked: Option<Instant>,
}

/// What a descriptor that is ready stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Updates,
    Udp(usize),
    Tcp(usize),
    Pending(usize),
    Connection(usize),
}

impl Server {
    /// A server that listens on these sockets, which must not block. It is
    /// told over `updates` what it has to know.
    pub fn new(udp: Vec<UdpSocket>, tcp: Vec<TcpListener>, updates: OwnedFd) -> Server {
        Server {
            udp,
            tcp,
            updates,
            table: Table::default(),
            names: Names::default(),
            more_names: HashMap::new(),
            pending: Vec::new(),
            connections: Vec::new(),
            counted: 0,
            asked: None,
        }
    }

    /// Serves until nobody is left who tells it anything.
    pub fn run(mut self) {
        let mut buffer = vec![0; MAX_TABLE];
        while let Ok(ready) = self.wait() {
            // First what the answers to the rest may depend on.
            if let Some((Source::Updates, _)) = ready.first() {
                match socket::try_receive(&self.updates, &mut buffer) {
                    Ok(0) => return,
                    Ok(length) => self.update(&buffer[..length]),
                    Err(_) => {}
                }
            }
            // From the last to the first: one that is done is taken out.
            for (source, events) in ready.into_iter().rev() {
                match source {
                    Source::Updates => {}
                    Source::Udp(at) => self.datagrams(at, &mut buffer),
                    Source::Tcp(at) => self.accept(at),
                    Source::Pending(at) => self.heard(at, &mut buffer),
                    Source::Connection(at) => self.connection(at, events, &mut buffer),
                }
            }
            self.expire();
        }
    }

    fn wait(&self) -> nix::Result<Vec<(Source, PollFlags)>> {
        let (input, output) = (PollFlags::POLLIN, PollFlags::POLLOUT);
        let mut watched: Vec<(Source, BorrowedFd, PollFlags)> =
            vec![(Source::Updates, self.updates.as_fd(), input)];
        for (at, udp) in self.udp.iter().enumerate() {
            watched.push((Source::Udp(at), udp.as_fd(), input));
        }
        for (at, tcp) in self.tcp.iter().enumerate() {
            watched.push((Source::Tcp(at), tcp.as_fd(), input));
        }
        for (at, pending) in self.pending.iter().enumerate() {
            let (fd, events) = match &pending.way {
                Way::Udp(socket) => (socket.as_fd(), input),
                Way::Tcp(stream, to_send, _) if to_send.is_empty() => (stream.as_fd(), input),
                Way::Tcp(stream, ..) => (stream.as_fd(), output),
            };
            watched.push((Source::Pending(at), fd, events));
        }
        for (at, connection) in self.connections.iter().enumerate() {
            let mut events = input;
            events.set(output, !connection.to_send.is_empty());
            watched.push((Source::Connection(at), connection.stream.as_fd(), events));
        }
        let of_pending = self.pending.iter().map(|pending| pending.deadline);
        let of_connections = self.connections.iter().map(|c| c.deadline);
        let until = of_pending.chain(of_connections).min();
        let fds = watched.iter().map(|(_, fd, events)| (*fd, *events));
        let events = wait(fds, until)?;
        let sources = watched.iter().map(|(source, ..)| *source);
        Ok(sources
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .collect())
    }

    fn update(&mut self, message: &[u8]) {
        let Ok(table) = serde_json::from_slice::<Table>(message) else {
            return;
        };
        self.names = Names::default();
        for (name, address) in &table.names {
            self.names.add(name, *address);
        }
        self.more_names.clear();
        for special in table.of_clients.iter().filter(|s| !s.names.is_empty()) {
            let mut names = self.names.clone();
            for (name, address) in &special.names {
                names.add(name, *address);
            }
            for client in &special.addresses {
                self.more_names.insert(*client, names.clone());
            }
        }
        self.table = table;
    }

    fn datagrams(&mut self, at: usize, buffer: &mut [u8]) {
        // So many, that others get their turn.
        for _ in 0..64 {
            let Ok((length, from)) = self.udp[at].recv_from(buffer) else {
                return;
            };
            let question = buffer[..length].to_vec();
            self.ask(question, Client::Udp(at, from), from.ip());
        }
    }

    fn accept(&mut self, at: usize) {
        while let Ok((stream, from)) = self.tcp[at].accept() {
            if set_nonblocking(&stream).is_err() {
                continue;
            }
            if self.connections.len() >= CONNECTIONS {
                let peers = self.connections.iter().map(|other| other.peer);
                let least = oldest_of_most(peers);
                self.connections.remove(least);
            }
            self.counted += 1;
            self.connections.push(Connection {
                number: self.counted,
                stream,
                peer: from.ip(),
                received: Vec::new(),
                to_send: Vec::new(),
                deadline: Instant::now() + IDLE,
            });
        }
    }

    fn connection(&mut self, at: usize, events: PollFlags, buffer: &mut [u8]) {
        let connection = &mut self.connections[at];
        let open = match events.contains(PollFlags::POLLOUT) {
            true => connection.flush(),
            false => true,
        };
        let open = open && (!events.intersects(!PollFlags::POLLOUT) || connection.read(buffer));
        let (number, peer) = (connection.number, connection.peer);
        let questions = std::iter::from_fn(|| dns::unframe(&mut connection.received));
        for question in questions.take(64).collect::<Vec<_>>() {
            self.ask(question, Client::Tcp(number), peer);
        }
        if !open {
            self.connections.retain(|other| other.number != number);
        }
    }

    fn ask(&mut self, question: Vec<u8>, client: Client, from: IpAddr) {
        let transport = match client {
            Client::Udp(..) => Transport::Udp,
            Client::Tcp(_) => Transport::Tcp,
        };
        let names = self.more_names.get(&from).unwrap_or(&self.names);
        let answer = match dns::answer(&question, names, transport) {
            Answer::Forward if self.table.alone => dns::deny(&question),
            other => other,
        };
        match answer {
            Answer::Reply(reply) => self.reply(client, &reply),
            Answer::Silence => {}
            Answer::Forward => {
                let mut servers = self.servers(from);
                servers.reverse();
                self.forward(question, client, from, servers);
            }
        }
    }

    /// Whom to ask for a client.
    fn servers(&mut self, client: IpAddr) -> Vec<IpAddr> {
        let is_own = |s: &&Special| s.addresses.contains(&client) && !s.servers.is_empty();
        if let Some(special) = self.table.of_clients.iter().find(is_own) {
            return special.servers.clone();
        }
        // They may have changed; what is said is for the next question.
        let recently = |at: Instant| at.elapsed() < FRESH;
        if !self.asked.is_some_and(recently) {
            self.asked = Some(Instant::now());
            let _ = socket::try_send(&self.updates, ASK);
        }
        self.table.servers.clone()
    }

    /// Asks the last of `servers` that can be asked.
    fn forward(
        &mut self,
        question: Vec<u8>,
        client: Client,
        from: IpAddr,
        mut servers: Vec<IpAddr>,
    ) {
        while let Some(server) = servers.pop() {
            let to = SocketAddr::new(server, PORT);
            let way = match client {
                Client::Udp(..) => by_udp(to, &question),
                Client::Tcp(_) => by_tcp(to, &question),
            };
            if let Ok(way) = way {
                if self.pending.len() >= PENDING {
                    let clients = self.pending.iter().map(|pending| pending.from);
                    let least = oldest_of_most(clients);
                    self.pending.remove(least);
                }
                let deadline = Instant::now() + PATIENCE;
                self.pending.push(Pending {
                    question,
                    client,
                    from,
                    servers,
                    way,
                    deadline,
                });
                return;
            }
        }
        if let Answer::Reply(reply) = dns::fail(&question) {
            self.reply(client, &reply);
        }
    }

    /// Something came from who was asked.
    fn heard(&mut self, at: usize, buffer: &mut [u8]) {
        let Some(pending) = self.pending.get_mut(at) else {
            return;
        };
        let heard = match &mut pending.way {
            Way::Udp(socket) => socket.recv(buffer).map(|n| Some(buffer[..n].to_vec())),
            Way::Tcp(stream, to_send, received) => exchange(stream, to_send, received, buffer),
        };
        match heard {
            Ok(Some(answer)) if dns::answers(&pending.question, &answer) => {
                let client = pending.client;
                self.pending.remove(at);
                self.reply(client, &answer);
            }
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.next_server(at),
        }
    }

    fn next_server(&mut self, at: usize) {
        let Pending {
            question,
            client,
            from,
            servers,
            ..
        } = self.pending.remove(at);
        self.forward(question, client, from, servers);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.pending.iter().position(|p| p.deadline <= now) {
            self.next_server(at);
        }
        self.connections.retain(|c| c.deadline > now);
    }

    fn reply(&mut self, client: Client, message: &[u8]) {
        match client {
            // One that finds no room is lost, as datagrams may be.
            Client::Udp(at, to) => drop(self.udp[at].send_to(message, to)),
            Client::Tcp(number) => {
                let mut all = self.connections.iter_mut();
                // Who asks and does not listen gets no more.
                if let Some(connection) = all.find(|c| c.number == number)
                    && connection.to_send.len() < UNTAKEN
                {
                    connection.to_send.extend(dns::framed(message));
                    connection.deadline = Instant::now() + IDLE;
                    connection.flush();
                }
            }
        }
    }
}

impl Connection {
    /// Sends what it can; false when the connection is broken.
    fn flush(&mut self) -> bool {
        while !self.to_send.is_empty() {
            match self.stream.write(&self.to_send) {
                Ok(count) => drop(self.to_send.drain(..count)),
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Reads what there is; false at the end.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend(&buffer[..count]);
                self.deadline = Instant::now() + IDLE;
                // Longer than any question that is not answered yet.
                self.received.len() < 256 << 10
            }
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn by_udp(to: SocketAddr, question: &[u8]) -> std::io::Result<Way> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: nobody else can guess it.
    let socket = UdpSocket::bind((any, 0))?;
    set_nonblocking(&socket).map_err(|e| e.errno)?;
    socket.connect(to)?;
    socket.send(question)?;
    Ok(Way::Udp(socket))
}

fn by_tcp(to: SocketAddr, question: &[u8]) -> std::io::Result<Way> {
    let stream = TcpStream::from(socket::start_to_connect(to)?);
    Ok(Way::Tcp(stream, dns::framed(question), Vec::new()))
}

/// Sends and reads what it can; the answer once it is whole.
fn exchange(
    stream: &mut TcpStream,
    to_send: &mut Vec<u8>,
    received: &mut Vec<u8>,
    buffer: &mut [u8],
) -> std::io::Result<Option<Vec<u8>>> {
    if !to_send.is_empty() {
        let count = stream.write(to_send)?;
        to_send.drain(..count);
        return Ok(None);
    }
    match stream.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => {
            received.extend(&buffer[..count]);
            Ok(dns::unframe(received))
        }
    }
}

#[cfg(test)]
mod tests;
