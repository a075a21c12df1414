//! The container's standard streams, as the supervisor holds them: pipes, or
//! the master side of a terminal.

use crate::engine::ground::pipes;
use crate::engine::log::Stream;
use crate::runtime::Stdio;
use crate::sys::fd::set_nonblocking;
use crate::sys::tty::{WindowSize, set_window_size};
use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::{read, write};
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
    /// Makes pipes; returns the container's ends too. Without `input` it reads
    /// nothing.
    pub fn pipes(input: bool) -> Result<(Streams, Stdio)> {
        let (ours, theirs) = pipes::make(input, false)?;
        let streams = Streams {
            input: ours.input,
            output: Some(ours.output),
            errors: ours.errors,
            ..Streams::default()
        };
        let all = [&streams.input, &streams.output, &streams.errors];
        for fd in all.into_iter().flatten() {
            set_nonblocking(fd)?;
        }
        Ok((streams, theirs))
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
