//! The connections of a supervisor: the command that started it, and those
//! that ask for something over its socket.

use crate::engine::container::control::{Data, MAX_DATA, Reply, Request};
use crate::engine::log::Stream;
use crate::sys::socket;
use nix::errno::Errno;
use nix::poll::PollFlags;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// All connections.
#[derive(Debug, Default)]
pub struct Hub {
    /// Where new ones come from.
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    role: Role,
    /// Messages that found no room yet.
    queue: VecDeque<Vec<u8>>,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It started the supervisor.
    Caller,
    /// It asks.
    Asking,
    /// It asked to hear of the end.
    Waiting,
    /// It carries streams: input, output, errors.
    Attached(bool, bool, bool),
}

/// What was asked for, and by which connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// By the connection with this number.
    Request(usize, Request),
    /// Input came.
    Input(Vec<u8>),
    /// An attached connection has no more input.
    InputEnd,
    /// An attached connection is gone.
    InputGone,
    /// Who started the supervisor is gone.
    CallerGone,
}

impl Hub {
    /// Starts with the caller, and with a connection for the streams if it
    /// has one.
    pub fn new(caller: OwnedFd, attached: Option<(OwnedFd, bool, bool, bool)>) -> Hub {
        let mut hub = Hub::default();
        hub.add(caller, Role::Caller);
        if let Some((fd, input, output, errors)) = attached {
            hub.add(fd, Role::Attached(input, output, errors));
        }
        hub
    }

    /// Takes connections from here.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    fn add(&mut self, fd: OwnedFd, role: Role) {
        self.clients.push(Client {
            fd,
            role,
            queue: VecDeque::new(),
            gone: false,
        });
    }

    /// What to wait for: the listener first, as `None`, then connections by
    /// number. With `full`, input is not asked for.
    pub fn watched(
        &self,
        full: bool,
    ) -> impl Iterator<Item = (Option<usize>, BorrowedFd<'_>, PollFlags)> {
        let listener = self.listener.iter();
        let listener = listener.map(|fd| (None, fd.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().enumerate();
        listener.chain(clients.map(move |(number, client)| {
            let mut events = PollFlags::empty();
            events.set(
                PollFlags::POLLIN,
                !(full && matches!(client.role, Role::Attached(true, ..))),
            );
            events.set(PollFlags::POLLOUT, !client.queue.is_empty());
            (Some(number), client.fd.as_fd(), events)
        }))
    }

    /// Takes new connections.
    pub fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match socket::accept(listener) {
                Ok(Some(fd)) => self.add(fd, Role::Asking),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Reads and writes what it can on a connection; returns what was asked.
    pub fn serve(&mut self, number: usize, events: PollFlags) -> Vec<Asked> {
        let Some(client) = self.clients.get_mut(number) else {
            return Vec::new();
        };
        if events.contains(PollFlags::POLLOUT) {
            client.flush();
        }
        let hung_up = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        let mut asked = Vec::new();
        if !hung_up && !events.contains(PollFlags::POLLIN) {
            return asked;
        }
        let mut buffer = vec![0; MAX_DATA + 1];
        loop {
            match socket::try_receive(&client.fd, &mut buffer) {
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => {
                    client.gone = true;
                    asked.extend(client.farewell());
                    break;
                }
                Ok(count) => asked.extend(client.take(number, &buffer[..count])),
            }
            // The others have their turn.
            if !hung_up && asked.len() >= 4 {
                break;
            }
        }
        asked
    }

    /// Forgets connections that are gone. Numbers change.
    pub fn sweep(&mut self) {
        self.clients.retain(|client| !client.gone);
    }

    /// Answers a connection.
    pub fn reply(&mut self, number: usize, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(number) {
            client.send(reply.encode());
        }
    }

    /// Tells the caller, if it is there.
    pub fn tell_caller(&mut self, reply: &Reply) {
        for client in &mut self.clients {
            if client.role == Role::Caller {
                client.send(reply.encode());
            }
        }
    }

    /// Lets the caller go.
    pub fn release_caller(&mut self) {
        self.clients.retain(|client| client.role != Role::Caller);
    }

    /// Tells all who wait that the container has ended.
    pub fn tell_end(&mut self, code: i32) {
        for client in &mut self.clients {
            if matches!(client.role, Role::Caller | Role::Waiting) {
                client.send(Reply::Exited(code).encode());
            }
        }
    }

    /// Passes on what the container printed.
    pub fn broadcast(&mut self, stream: Stream, data: &[u8]) {
        for client in &mut self.clients {
            let wanted = match client.role {
                Role::Attached(_, output, errors) => match stream {
                    Stream::Stdout => output,
                    Stream::Stderr => errors,
                },
                _ => false,
            };
            if wanted {
                for piece in data.chunks(MAX_DATA) {
                    client.send(Data::Output(stream, piece).encode());
                }
            }
        }
    }

    /// Whether somebody who is attached has to read first. The container
    /// waits then: nothing is lost.
    pub fn congested(&self) -> bool {
        self.clients.iter().any(|client| {
            matches!(client.role, Role::Attached(..)) && !client.queue.is_empty() && !client.gone
        })
    }

    /// Sends all that is left and closes all connections.
    pub fn close(mut self) {
        self.listener = None;
        for client in &mut self.clients {
            while let Some(message) = client.queue.pop_front() {
                if client.gone || socket::send_all(&client.fd, &message).is_err() {
                    break;
                }
            }
        }
    }
}

impl Client {
    fn send(&mut self, message: Vec<u8>) {
        if !self.gone {
            self.queue.push_back(message);
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(message) = self.queue.front() {
            match socket::try_send(&self.fd, message) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => return,
                Err(_) => {
                    self.queue = VecDeque::new();
                    return;
                }
            }
        }
        self.queue = VecDeque::new();
    }

    fn take(&mut self, number: usize, message: &[u8]) -> Option<Asked> {
        if let Role::Attached(input, ..) = self.role {
            return match Data::decode(message) {
                Some(Data::Input(data)) if input => Some(Asked::Input(data.to_vec())),
                Some(Data::InputEnd) if input => Some(Asked::InputEnd),
                _ => None,
            };
        }
        let Some(request) = Request::decode(message) else {
            self.send(Reply::unknown().encode());
            return None;
        };
        match request {
            Request::Attach(input, output, errors) => {
                self.role = Role::Attached(input, output, errors);
            }
            Request::Wait if self.role != Role::Caller => self.role = Role::Waiting,
            _ => {}
        }
        Some(Asked::Request(number, request))
    }

    /// What it means that the connection is gone.
    fn farewell(&self) -> Option<Asked> {
        match self.role {
            Role::Caller => Some(Asked::CallerGone),
            Role::Attached(true, ..) => Some(Asked::InputGone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
