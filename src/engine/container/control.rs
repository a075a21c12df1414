//! What supervisors and commands tell each other, over the socket `control`
//! in a container's directory. Pure: requests and replies as bytes.
//!
//! A connection that asked to be attached carries the container's streams
//! from then on: [`Data`].
//!
//! A container may run for months, so that its supervisor is of an older bryo
//! than the command, or of a newer one where two machines share a store. Hence
//! what a message means never changes; a new wish is a new message; and who gets
//! one that it does not know says so ([`Reply::unknown`]) in place of silence.

use crate::engine::log::Stream;
use crate::error::{Fault, Kind, refusal};
use crate::runtime::StartError;
use crate::runtime::message::Message;
use crate::sys::channel::MAX_MESSAGE;

/// Name of the socket.
pub const SOCKET: &str = "control";

/// What a command asks a supervisor for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Pass a signal on.
    Signal(i32),
    /// The terminal has so many rows and columns.
    Resize(u16, u16),
    /// Carry these streams over this connection: input, output, errors.
    Attach(bool, bool, bool),
    /// Tell when the container has ended.
    Wait,
    /// Do not start it again.
    End,
    /// Stop its processes where they are.
    Pause,
    /// Let them go on.
    Resume,
    /// The caller leaves: the container is no longer its own.
    Release,
    /// Its networks have changed.
    Networks,
}

impl Request {
    /// The request as a message.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Request::Signal(number) => [&b"S"[..], &number.to_ne_bytes()].concat(),
            Request::Resize(rows, columns) => {
                [&b"R"[..], &rows.to_ne_bytes(), &columns.to_ne_bytes()].concat()
            }
            Request::Attach(input, output, errors) => {
                vec![b'A', input.into(), output.into(), errors.into()]
            }
            Request::Wait => b"W".to_vec(),
            Request::End => b"E".to_vec(),
            Request::Pause => b"P".to_vec(),
            Request::Resume => b"U".to_vec(),
            Request::Release => b"L".to_vec(),
            Request::Networks => b"N".to_vec(),
        }
    }

    /// Reads a message; `None` for what is no request.
    pub fn decode(data: &[u8]) -> Option<Request> {
        Some(match data.split_first()? {
            (b'S', number) => Request::Signal(i32::from_ne_bytes(number.try_into().ok()?)),
            (b'R', &[a, b, c, d]) => {
                Request::Resize(u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
            }
            (b'A', &[input, output, errors]) => {
                Request::Attach(input != 0, output != 0, errors != 0)
            }
            (b'W', []) => Request::Wait,
            (b'E', []) => Request::End,
            (b'P', []) => Request::Pause,
            (b'U', []) => Request::Resume,
            (b'L', []) => Request::Release,
            (b'N', []) => Request::Networks,
            _ => return None,
        })
    }
}

/// What a supervisor answers, and tells who started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Something is less than asked for.
    Warning(String),
    /// The command has been executed.
    Started,
    /// It could not be started.
    Failed(StartError),
    /// It has ended, with docker's exit code.
    Exited(i32),
    /// What was asked for is done.
    Done,
    /// It cannot be done.
    Refused(Fault),
}

/// Starts that message.
const REFUSED: &[u8] = b"refused";

impl Reply {
    /// The answer to what is no request here.
    pub fn unknown() -> Reply {
        let version = env!("CARGO_PKG_VERSION");
        Reply::refused(&refusal!(
            Unsupported,
            "it was started by a bryo ({version}) that does not know this request: stop and start \
             the container to have it looked after by another one"
        ))
    }

    /// The answer to what cannot be done because of `error`.
    pub fn refused(error: &anyhow::Error) -> Reply {
        Reply::Refused(Fault::of(error))
    }

    /// The reply as a message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Started => b"started".to_vec(),
            Reply::Done => b"done".to_vec(),
            Reply::Exited(code) => [b"exited".as_slice(), &code.to_ne_bytes()].concat(),
            Reply::Refused(fault) => {
                let text = fault.as_text(MAX_MESSAGE - REFUSED.len());
                [REFUSED, text.as_bytes()].concat()
            }
            Reply::Warning(text) => Message::Warning(text.clone()).encode(),
            Reply::Failed(error) => Message::Failed(error.clone()).encode(),
        }
    }

    /// Reads a message; `None` for what no supervisor sends.
    pub fn decode(data: &[u8]) -> Option<Reply> {
        match data {
            b"started" => return Some(Reply::Started),
            b"done" => return Some(Reply::Done),
            _ => {}
        }
        if let Some(code) = data.strip_prefix(b"exited") {
            return Some(Reply::Exited(i32::from_ne_bytes(code.try_into().ok()?)));
        }
        if let Some(text) = data.strip_prefix(REFUSED) {
            let text = String::from_utf8_lossy(text);
            return Some(Reply::Refused(Fault::of_text(&text, Kind::Conflict)));
        }
        match Message::decode(data, "")? {
            Message::Warning(text) => Some(Reply::Warning(text)),
            Message::Failed(error) => Some(Reply::Failed(error)),
            Message::Console
            | Message::Listener
            | Message::Tap
            | Message::Mapped
            | Message::Mounted
            | Message::Proceed
            | Message::Ready => None,
        }
    }
}

/// A message of an attached connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// For standard input.
    Input(&'a [u8]),
    /// Standard input ends.
    InputEnd,
    /// What the container printed.
    Output(Stream, &'a [u8]),
}

/// Most bytes of a stream in one message.
pub const MAX_DATA: usize = 32 << 10;

impl Data<'_> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, data) = match self {
            Data::Input(data) => (b'i', *data),
            Data::InputEnd => (b'e', &[][..]),
            Data::Output(Stream::Stdout, data) => (b'1', *data),
            Data::Output(Stream::Stderr, data) => (b'2', *data),
        };
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(kind);
        message.extend(data);
        message
    }

    /// Reads a message; `None` for what is none.
    pub fn decode(message: &[u8]) -> Option<Data<'_>> {
        match message.split_first()? {
            (b'i', data) => Some(Data::Input(data)),
            (b'e', []) => Some(Data::InputEnd),
            (b'1', data) => Some(Data::Output(Stream::Stdout, data)),
            (b'2', data) => Some(Data::Output(Stream::Stderr, data)),
            _ => None,
        }
    }
}

/// Which streams of a container somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedStreams {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub errors: bool,
}

impl WantedStreams {
    /// What the container prints.
    pub const OUTPUTS: WantedStreams = WantedStreams {
        input: false,
        output: true,
        errors: true,
    };
    /// All three.
    pub const ALL: WantedStreams = WantedStreams {
        input: true,
        ..WantedStreams::OUTPUTS
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use nix::errno::Errno;

    #[test]
    fn requests_and_replies_survive_the_wire() {
        for request in [
            Request::Signal(libc::SIGTERM),
            Request::Resize(24, 300),
            Request::Attach(true, false, true),
            Request::Wait,
            Request::End,
            Request::Pause,
            Request::Resume,
            Request::Release,
            Request::Networks,
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for reply in [
            Reply::Warning("w".into()),
            Reply::Started,
            Reply::Exited(-1),
            Reply::Done,
            Reply::unknown(),
            Reply::refused(&anyhow!(Errno::ENOSPC).context("freeze")),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
        for data in [
            Data::Input(b"x"),
            Data::InputEnd,
            Data::Output(Stream::Stderr, b"y"),
        ] {
            assert_eq!(Data::decode(&data.encode()), Some(data));
        }
        for nonsense in [&b""[..], b"S", b"Z", b"R12", b"exited", b"e1"] {
            assert_eq!(Request::decode(nonsense), None);
            assert_eq!(Reply::decode(nonsense), None);
            assert_eq!(Data::decode(nonsense), None);
        }
    }
}
