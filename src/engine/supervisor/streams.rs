//! The container's standard streams, as the supervisor holds them: pipes, or
//! the master side of a terminal.

use crate::engine::log::Stream;
use crate::runtime::process::open_null;
use crate::sys::fd::{duplicate_to, pipe_to_read, set_nonblocking};
use crate::sys::tty::{WindowSize, set_window_size};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Our ends of a container's streams. None of them blocks.
#[derive(Debug, Default)]
pub struct Streams {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    /// The terminal, if it is one: then it is input and output.
    terminal: Option<OwnedFd>,
    /// Input that the container has not taken yet.
    pending: Vec<u8>,
    /// No more input comes.
    ending: bool,
}

/// What reading a stream gave.
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nobody can write to it any more.
    End,
}

impl Streams {
    /// Makes pipes and puts the container's ends of them at descriptors 0 to
    /// 2 of this process. Without `input` it reads nothing.
    pub fn pipes(input: bool) -> Result<Streams> {
        let mut streams = Streams::default();
        if input {
            let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("make a pipe")?;
            set_nonblocking(&writer)?;
            open_to_all(&reader);
            duplicate_to(&reader, 0)?;
            streams.input = Some(writer);
        } else {
            duplicate_to(open_null()?, 0)?;
        }
        for (number, ours) in [(1, &mut streams.output), (2, &mut streams.errors)] {
            let (reader, writer) = pipe_to_read()?;
            open_to_all(&writer);
            duplicate_to(&writer, number)?;
            *ours = Some(reader);
        }
        Ok(streams)
    }

    /// The streams of a terminal by its master side.
    pub fn terminal(master: OwnedFd) -> Result<Streams> {
        set_nonblocking(&master)?;
        Ok(Streams {
            input: Some(master.try_clone()?),
            output: Some(master.try_clone()?),
            terminal: Some(master),
            ..Streams::default()
        })
    }

    /// Gives the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = WindowSize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        if let Some(terminal) = &self.terminal {
            let _ = set_window_size(terminal, &size);
        }
    }

    /// The streams that may still say something.
    pub fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let all = [
            (Stream::Stdout, &self.output),
            (Stream::Stderr, &self.errors),
        ];
        all.into_iter()
            .filter_map(|(stream, fd)| Some((stream, fd.as_ref()?.as_fd())))
    }

    /// Where input waits to be taken.
    pub fn input_waiting(&self) -> Option<BorrowedFd<'_>> {
        match self.pending.is_empty() {
            true => None,
            false => self.input.as_ref().map(|fd| fd.as_fd()),
        }
    }

    /// Reads what a stream says.
    pub fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Read {
        let slot = match stream {
            Stream::Stdout => &mut self.output,
            Stream::Stderr => &mut self.errors,
        };
        let Some(fd) = slot else { return Read::End };
        match read(&*fd, buffer) {
            Ok(0) => {}
            Ok(count) => return Read::Bytes(count),
            Err(Errno::EAGAIN | Errno::EINTR) => return Read::Nothing,
            // A terminal that nobody has open any more says EIO.
            Err(_) => {}
        }
        *slot = None;
        Read::End
    }

    /// Takes input for the container.
    pub fn give(&mut self, data: &[u8]) {
        if self.input.is_some() && !self.ending {
            self.pending.extend(data);
            self.push();
        }
    }

    /// Ends the container's input, once it has taken all; in a terminal by
    /// the character that says so.
    pub fn end_input(&mut self) {
        match self.terminal {
            Some(_) => self.give(&[4]),
            None => {
                self.ending = true;
                self.push();
            }
        }
    }

    /// Writes as much of the input as finds room.
    pub fn push(&mut self) {
        while let (Some(fd), false) = (&self.input, self.pending.is_empty()) {
            match write(fd, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // Nobody reads it any more.
                Err(_) => self.input = None,
            }
        }
        self.pending = Vec::new();
        if self.ending {
            self.input = None;
        }
    }
}

/// A program that opens `/dev/stdout` opens the pipe anew, whoever it runs
/// as; from outside nobody can.
fn open_to_all(fd: &OwnedFd) {
    let _ = fchmod(fd, Mode::from_bits_truncate(0o666));
}
