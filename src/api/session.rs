//! A connection: requests one after the other, and their answers.

use super::answer::{Answer, Body, chunk, status};
use super::request::{Head, Length, MOST_HEAD, head};
use super::route::{self, Asked, Of, Route};
use super::{containers, logs, system, wait};
use crate::engine::container::containers::Containers;
use crate::engine::view::failure;
use crate::error::refuse;
use crate::image::store::Store;
use crate::sys::wait::wait as poll;
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a request may take to come once it has begun.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a body that nobody reads.
const MOST_UNREAD: u64 = 1 << 20;

/// A client's connection, and what it asks about.
pub struct Session {
    stream: UnixStream,
    root: PathBuf,
    /// What came and was not read.
    came: Vec<u8>,
}

/// What answers a request.
pub enum Reply {
    /// This.
    Answer(Answer),
    /// What was written already, up to its end.
    Written,
}

impl Session {
    /// One that is about the store in `root`.
    pub fn new(stream: UnixStream, root: PathBuf) -> Session {
        Session {
            stream,
            root,
            came: Vec::new(),
        }
    }

    /// The store.
    pub fn store(&self) -> Result<Store> {
        Store::open(&self.root)
    }

    /// The containers.
    pub fn containers(&self) -> Result<Containers> {
        Ok(Containers::open(&self.store()?))
    }

    /// Where the store is.
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// Answers requests until the client closes, or says nonsense.
    ///
    /// # Errors
    /// It takes no answers.
    pub fn serve(&mut self) -> Result<()> {
        while let Some(head) = self.next()? {
            let asked = route::find(&head.method, &head.target);
            let reply = match self.pass_body(&head) {
                Err(_) => return self.refuse(413, "the request's body is too long or cut off"),
                Ok(()) => match asked {
                    Err(astray) => {
                        let (status, message) = astray.answer();
                        Reply::Answer(Answer::error(status, message))
                    }
                    Ok(asked) => self.answer(&asked).unwrap_or_else(|error| {
                        let status = status(failure::kind(&error));
                        Reply::Answer(Answer::error(status, &format!("{error:#}")))
                    }),
                },
            };
            if let Reply::Answer(answer) = reply {
                let bytes = answer.bytes(head.goes_on, head.method == "HEAD");
                self.stream.write_all(&bytes)?;
            }
            if !head.goes_on {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, asked: &Asked) -> Result<Reply> {
        let answer = match &asked.route {
            Route::Ping => Answer {
                status: 200,
                content: "text/plain; charset=utf-8",
                body: Body::Whole(b"OK".to_vec()),
            },
            Route::Version => system::version()?,
            Route::Info => system::info(self)?,
            Route::List => containers::list(self, &asked.query)?,
            Route::Container(name, Of::Logs) => return logs::show(self, name, &asked.query),
            Route::Container(name, Of::Wait) => return wait::wait(self, name, &asked.query),
            Route::Container(name, of) => containers::of(self, name, *of, &asked.query)?,
        };
        Ok(Reply::Answer(answer))
    }

    /// The next request; nothing if the client has closed.
    fn next(&mut self) -> Result<Option<Head>> {
        let mut until = None;
        loop {
            match head(&self.came) {
                Ok(Some((head, count))) => {
                    self.came.drain(..count);
                    return Ok(Some(head));
                }
                Ok(None) => {}
                Err(malformed) => {
                    let (status, message) = malformed.answer();
                    self.refuse(status, message)?;
                    return Ok(None);
                }
            }
            // Who has said nothing yet may take his time.
            if !self.came.is_empty() && until.is_none() {
                until = Some(Instant::now() + PATIENCE);
            }
            if !self.more(until)? {
                return Ok(None);
            }
        }
    }

    /// Reads what has come; false if nothing does any more.
    fn more(&mut self, until: Option<Instant>) -> Result<bool> {
        let seen = poll([(self.stream.as_fd(), PollFlags::POLLIN)], until)?;
        if seen[0].is_empty() && until.is_some_and(|end| end <= Instant::now()) {
            return Ok(false);
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.came.extend(&buffer[..count]);
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(e).context("read"),
        }
    }

    /// Passes over a request's body: what is asked for here is all in its head.
    fn pass_body(&mut self, head: &Head) -> Result<()> {
        let until = Some(Instant::now() + PATIENCE);
        if head.length == Length::Known(0) {
            return Ok(());
        }
        if head.expects {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut passed = 0;
        match head.length {
            Length::Known(length) => self.pass(length, &mut passed, until),
            Length::Chunked => loop {
                let line = self.line(until)?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let Ok(length) = u64::from_str_radix(digits, 16) else {
                    refuse!(Invalid, "a chunk without a length");
                };
                self.pass(length, &mut passed, until)?;
                if length == 0 {
                    // What is said behind the last chunk.
                    while !self.line(until)?.is_empty() {}
                    return Ok(());
                }
                if !self.line(until)?.is_empty() {
                    refuse!(Invalid, "a chunk longer than its length");
                }
            },
        }
    }

    fn pass(&mut self, length: u64, passed: &mut u64, until: Option<Instant>) -> Result<()> {
        *passed = passed.saturating_add(length);
        if *passed > MOST_UNREAD {
            refuse!(Invalid, "more than {MOST_UNREAD} bytes");
        }
        let mut left = length as usize;
        loop {
            let here = left.min(self.came.len());
            self.came.drain(..here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if !self.more(until)? {
                refuse!(Invalid, "the client has closed");
            }
        }
    }

    fn line(&mut self, until: Option<Instant>) -> Result<String> {
        loop {
            if let Some(end) = self.came.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.came[..end]).into_owned();
                self.came.drain(..end + 2);
                return Ok(line);
            }
            if self.came.len() > MOST_HEAD || !self.more(until)? {
                refuse!(Invalid, "no line");
            }
        }
    }

    fn refuse(&mut self, status: u16, message: &str) -> Result<()> {
        let bytes = Answer::error(status, message).bytes(false, false);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Begins an answer whose body follows in [pieces](Self::piece).
    ///
    /// # Errors
    /// The client has gone.
    pub fn begin(&mut self, content: &'static str) -> Result<()> {
        let bytes = Answer::stream(content).bytes(true, false);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// A piece of a body; an empty one is its end.
    ///
    /// # Errors
    /// The client has gone.
    pub fn piece(&mut self, data: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(&chunk(data))?)
    }

    /// Waits until `other` can be read, for a second at most; false if the client
    /// has gone meanwhile.
    pub fn await_beside(&self, other: BorrowedFd<'_>) -> bool {
        let until = Some(Instant::now() + Duration::from_secs(1));
        // An end of both directions is told unasked.
        let watched = [
            (other, PollFlags::POLLIN),
            (self.stream.as_fd(), PollFlags::empty()),
        ];
        poll(watched, until).is_ok_and(|seen| seen[1].is_empty())
    }
}
