//! A connection: requests one after the other, and their answers.

use super::answer::{self, Answer, chunk, status};
use super::body::{Body, Broken, Step};
use super::request::{Head, Length, head};
use super::route::{self, Asked, Of, Route};
use super::{containers, create, images, logs, system, wait};
use crate::engine::container::containers::Containers;
use crate::engine::view::failure;
use crate::error::refuse;
use crate::image::store::Store;
use crate::sys::wait::wait as poll;
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use std::io::{self, Read, Write};
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
    /// The body of the request that is being answered.
    body: Body,
    /// The client waits for a word before it sends that.
    expects: bool,
    /// The client knows chunks.
    takes_chunks: bool,
    /// Who it is to registries, as it was sent.
    pub registry_auth: Option<String>,
    /// Nothing can be answered any more: what was begun has no end.
    broken_off: bool,
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
            body: Body::new(Length::Known(0)),
            expects: false,
            takes_chunks: true,
            registry_auth: None,
            broken_off: false,
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
            self.body = Body::new(head.length);
            self.expects = head.expects;
            self.takes_chunks = head.takes_chunks;
            self.registry_auth = head.registry_auth;
            let asked = route::find(&head.method, &head.target);
            let said = match &asked {
                Err(astray) => self.pass_body().map(|()| {
                    let (status, message) = astray.answer();
                    Reply::Answer(Answer::error(status, message))
                }),
                Ok(asked) => self.answer(asked),
            };
            let reply = said.unwrap_or_else(|error| {
                let status = status(failure::kind(&error));
                Reply::Answer(Answer::error(status, &format!("{error:#}")))
            });
            if self.broken_off {
                break;
            }
            let goes_on = head.goes_on && self.is_at_end();
            if let Reply::Answer(answer) = reply {
                // Whatever came of it, half a body is what is wrong here.
                if let Some(broken) = self.body.broken() {
                    let (status, message) = broken.answer();
                    return self.refuse(status, message);
                }
                let bytes = answer.bytes(goes_on, head.method == "HEAD");
                self.stream.write_all(&bytes)?;
            }
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, asked: &Asked) -> Result<Reply> {
        // Nothing is done for who says too much, or what would not be listened to.
        match &asked.route {
            Route::Container(_, Of::Start) => {
                let body = self.whole_body(MOST_UNREAD as usize)?;
                if !matches!(body.trim_ascii(), b"" | b"null" | b"{}") {
                    refuse!(
                        Invalid,
                        "starting container with non-empty request body was deprecated since API \
                         v1.22 and removed in v1.24"
                    );
                }
            }
            // These read it.
            Route::Images(_) | Route::Create => {}
            _ => self.pass_body()?,
        }
        let answer = match &asked.route {
            Route::Ping => Answer {
                status: 200,
                content: "text/plain; charset=utf-8",
                body: answer::Body::Whole(b"OK".to_vec()),
            },
            Route::Version => system::version()?,
            Route::Info => system::info(self)?,
            Route::List => containers::list(self, &asked.query)?,
            Route::Create => create::create(self, &asked.query)?,
            Route::Images(what) => return images::answer(self, what, asked),
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

    /// The body of the request, as it comes: however slowly, since a client that has
    /// gone is told of. What is not read of it is passed over before the next request.
    pub fn body(&mut self) -> Reader<'_> {
        Reader {
            session: self,
            most: u64::MAX,
            until: None,
        }
    }

    /// The whole body, of so many bytes at most.
    ///
    /// # Errors
    /// It is longer, cut off or malformed, which is then the answer.
    pub fn whole_body(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_up_to(most as u64, &mut all)?;
        Ok(all)
    }

    /// Passes over a body that nobody reads.
    ///
    /// # Errors
    /// It is too long for that, cut off or malformed.
    pub fn pass_body(&mut self) -> Result<()> {
        self.read_up_to(MOST_UNREAD, &mut io::sink())
    }

    fn read_up_to(&mut self, most: u64, to: &mut impl Write) -> Result<()> {
        let mut reader = self.body();
        reader.most = most;
        reader.until = Some(Instant::now() + PATIENCE);
        io::copy(&mut reader, to).context("read the request's body")?;
        Ok(())
    }

    /// Whether the request was read to its end, so that another one can follow.
    fn is_at_end(&mut self) -> bool {
        // Who waits for a word may send the body or not.
        self.body.is_done() || !self.expects && self.pass_body().is_ok()
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
        let chunks = self.takes_chunks;
        let bytes = Answer::stream(content, chunks).bytes(chunks, false);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// A piece of a body; an empty one is its end.
    ///
    /// # Errors
    /// The client has gone.
    pub fn piece(&mut self, data: &[u8]) -> Result<()> {
        match self.takes_chunks {
            true => Ok(self.stream.write_all(&chunk(data))?),
            false => Ok(self.stream.write_all(data)?),
        }
    }

    /// Ends an answer that was begun and cannot be ended as it should: the client
    /// sees that it is cut off.
    pub fn break_off(&mut self) {
        self.broken_off = true;
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

/// A request's body.
pub struct Reader<'a> {
    session: &'a mut Session,
    /// How many more bytes there may be.
    most: u64,
    /// How long it may take.
    until: Option<Instant>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Session {
            stream,
            came,
            body,
            expects,
            ..
        } = &mut *self.session;
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let wanted = match body.step(came).map_err(io::Error::other)? {
                Step::Done => return Ok(0),
                Step::Skip(count) => {
                    came.drain(..count);
                    continue;
                }
                // A length is taken at its word.
                Step::Data(left) if left > self.most => {
                    return Err(io::Error::other(body.breaks(Broken::TooLong)));
                }
                Step::Data(left) => buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX)),
                Step::More => 0,
            };
            if wanted > 0 && !came.is_empty() {
                let count = wanted.min(came.len());
                buffer[..count].copy_from_slice(&came[..count]);
                came.drain(..count);
                body.passed(count as u64);
                self.most -= count as u64;
                return Ok(count);
            }
            if std::mem::take(expects) {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let seen = poll([(stream.as_fd(), PollFlags::POLLIN)], self.until)?;
            if seen[0].is_empty() {
                match self.until.is_some_and(|end| end <= Instant::now()) {
                    true => return Err(io::Error::other(body.breaks(Broken::CutOff))),
                    false => continue,
                }
            }
            let mut framing = [0; 4096];
            let into = match wanted {
                0 => &mut framing[..],
                wanted => &mut buffer[..wanted],
            };
            match stream.read(into) {
                Ok(0) => return Err(io::Error::other(body.breaks(Broken::CutOff))),
                Ok(count) if wanted > 0 => {
                    body.passed(count as u64);
                    self.most -= count as u64;
                    return Ok(count);
                }
                Ok(count) => came.extend(&into[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to these bytes by one that reads the whole body, of three
    /// bytes at most.
    fn whole(bytes: &[u8], length: Length, expects: bool) -> (Result<Vec<u8>>, String, bool) {
        let (mut client, stream) = UnixStream::pair().unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut session = Session::new(stream, PathBuf::new());
        session.body = Body::new(length);
        session.expects = expects;
        let body = session.whole_body(3);
        let at_end = session.is_at_end();
        drop(session);
        let mut said = String::new();
        let _ = client.read_to_string(&mut said);
        (body, said, at_end)
    }

    #[test]
    fn a_body_is_read_up_to_what_is_allowed() {
        let (body, said, at_end) = whole(b"abc", Length::Known(3), true);
        assert_eq!(body.unwrap(), b"abc");
        assert_eq!(said, "HTTP/1.1 100 Continue\r\n\r\n");
        assert!(at_end);
        let chunked = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        let (body, said, at_end) = whole(chunked, Length::Chunked, false);
        assert_eq!((&*body.unwrap(), &*said, at_end), (&b"abc"[..], "", true));
        // Nobody waits where there is none.
        let (body, said, at_end) = whole(b"", Length::Known(0), true);
        assert_eq!((&*body.unwrap(), &*said, at_end), (&b""[..], "", true));
        for (bytes, length) in [
            (&b"abcd"[..], Length::Known(4)),
            (b"abcd", Length::Known(u64::MAX)),
            (b"ab", Length::Known(3)),
            (b"+2\r\nab\r\n0\r\n\r\n", Length::Chunked),
            (b"4\r\nabcd\r\n0\r\n\r\n", Length::Chunked),
        ] {
            let (body, _, at_end) = whole(bytes, length, false);
            assert!(body.is_err() && !at_end, "{length:?}");
        }
    }

    #[test]
    fn what_was_not_read_is_passed_over_unless_the_client_waits() {
        let (mut client, stream) = UnixStream::pair().unwrap();
        client.write_all(b"abcdefrest").unwrap();
        let mut session = Session::new(stream, PathBuf::new());
        session.body = Body::new(Length::Known(6));
        let mut two = [0; 2];
        session.body().read_exact(&mut two).unwrap();
        assert_eq!(&two, b"ab");
        assert!(session.is_at_end());
        assert!(session.more(None).unwrap());
        assert_eq!(session.came, b"rest");
        session.body = Body::new(Length::Known(6));
        session.expects = true;
        assert!(!session.is_at_end());
    }
}
