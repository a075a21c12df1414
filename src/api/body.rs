//! Where a request's body ends, and which of the bytes that come are of it (RFC 9112,
//! 6 and 7.1). Pure: it is told what came, and says what to do with it.

use super::request::Length;

/// Most bytes of what frames one chunk: its length and its extensions.
const MOST_LINE: usize = 4 << 10;
/// Most bytes behind the last chunk.
const MOST_BEHIND: usize = 16 << 10;

/// A body of which a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    at: At,
    chunked: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many bytes of it.
    Data(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// The length of a chunk.
    ChunkLength,
    /// Lines behind the last chunk, of which so many bytes have come.
    Behind(usize),
    /// What is not of it.
    Done,
    /// Nobody knows.
    Broken(Broken),
}

/// What is to be done with the bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many are the body's, at most; there may be more of them than came.
    Data(u64),
    /// So many frame it, and are passed over.
    Skip(usize),
    /// More have to come before that is known.
    More,
    /// The body has ended.
    Done,
}

/// Why a body cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It is longer than who reads it allows.
    TooLong,
    /// Its chunks are none.
    Nonsense,
    /// The client has closed, or says nothing any more.
    CutOff,
}

impl Broken {
    /// The status, and what is said.
    pub fn answer(self) -> (u16, &'static str) {
        match self {
            Broken::TooLong => (413, "the request's body is too long"),
            Broken::Nonsense => (400, "the chunks of the request's body are malformed"),
            Broken::CutOff => (400, "the request's body is cut off"),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.answer().1)
    }
}

impl std::error::Error for Broken {}

impl Body {
    /// One of which nothing has come.
    pub fn new(length: Length) -> Body {
        let (at, chunked) = match length {
            Length::Known(0) => (At::Done, false),
            Length::Known(length) => (At::Data(length), false),
            Length::Chunked => (At::ChunkLength, true),
        };
        Body { at, chunked }
    }

    /// What is to be done with `came`, the bytes that follow those that were
    /// [passed](Self::passed).
    ///
    /// # Errors
    /// They are no body's, now and from now on.
    pub fn step(&mut self, came: &[u8]) -> Result<Step, Broken> {
        match self.at {
            At::Done => Ok(Step::Done),
            At::Data(left) => Ok(Step::Data(left)),
            At::Broken(broken) => Err(broken),
            At::ChunkEnd => match came {
                [b'\r', b'\n', ..] => {
                    self.at = At::ChunkLength;
                    Ok(Step::Skip(2))
                }
                [] | [b'\r'] => Ok(Step::More),
                _ => Err(self.breaks(Broken::Nonsense)),
            },
            At::ChunkLength => {
                let Some(line) = self.line(came, MOST_LINE)? else {
                    return Ok(Step::More);
                };
                self.at = match chunk_length(line) {
                    None => return Err(self.breaks(Broken::Nonsense)),
                    Some(0) => At::Behind(0),
                    Some(length) => At::Data(length),
                };
                Ok(Step::Skip(line.len() + 2))
            }
            At::Behind(passed) => {
                let Some(line) = self.line(came, MOST_BEHIND - passed)? else {
                    return Ok(Step::More);
                };
                self.at = match line.len() {
                    0 => At::Done,
                    length => At::Behind(passed + length + 2),
                };
                Ok(Step::Skip(line.len() + 2))
            }
        }
    }

    /// So many bytes of [data](Step::Data) were taken.
    pub fn passed(&mut self, count: u64) {
        if let At::Data(left) = &mut self.at {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.at = match self.chunked {
                    true => At::ChunkEnd,
                    false => At::Done,
                };
            }
        }
    }

    /// Nothing is to be read of it any more, for this reason.
    pub fn breaks(&mut self, broken: Broken) -> Broken {
        self.at = At::Broken(broken);
        broken
    }

    /// Why it cannot be read, if that is so.
    pub fn broken(&self) -> Option<Broken> {
        match self.at {
            At::Broken(broken) => Some(broken),
            _ => None,
        }
    }

    /// Whether what comes next is another request.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// The line at the beginning of `came`, of so many bytes at most with its end.
    fn line<'a>(&mut self, came: &'a [u8], most: usize) -> Result<Option<&'a [u8]>, Broken> {
        let within = &came[..came.len().min(most)];
        match within.windows(2).position(|two| two == b"\r\n") {
            Some(end) => Ok(Some(&within[..end])),
            None if came.len() < most => Ok(None),
            None => Err(self.breaks(Broken::Nonsense)),
        }
    }
}

/// The length that a chunk's line says: digits alone, no sign.
fn chunk_length(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| hexadecimal)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body in `bytes`, which come in pieces of `size`, and what is behind it.
    fn read(length: Length, bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>), Broken> {
        let (mut body, mut came, mut data) = (Body::new(length), Vec::new(), Vec::new());
        let mut pieces = bytes.chunks(size);
        loop {
            match body.step(&came)? {
                Step::Data(most) if !came.is_empty() => {
                    let count = came.len().min(most as usize);
                    data.extend(came.drain(..count));
                    body.passed(count as u64);
                }
                Step::Skip(count) => drop(came.drain(..count)),
                Step::Data(_) | Step::More => match pieces.next() {
                    Some(piece) => came.extend(piece),
                    None => return Err(Broken::CutOff),
                },
                Step::Done => {
                    came.extend(pieces.flatten());
                    return Ok((data, came));
                }
            }
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_comes() {
        let chunked = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: z\r\n\r\nrest";
        for size in 1..chunked.len() {
            let (data, rest) = read(Length::Chunked, chunked, size).unwrap();
            assert_eq!((&*data, &*rest), (&b"abc0123456789"[..], &b"rest"[..]));
            let (data, rest) = read(Length::Known(3), b"abcrest", size).unwrap();
            assert_eq!((&*data, &*rest), (&b"abc"[..], &b"rest"[..]));
        }
        let nothing = read(Length::Known(0), b"rest", 2).unwrap();
        assert_eq!(nothing, (Vec::new(), b"rest".to_vec()));
        assert_eq!(read(Length::Known(5), b"abc", 9), Err(Broken::CutOff));
        assert_eq!(read(Length::Chunked, b"3\r\nab", 9), Err(Broken::CutOff));
    }

    #[test]
    fn what_are_no_chunks_is_refused_within_bounds() {
        let long = format!("1;{}", "x".repeat(MOST_LINE));
        let behind = format!("0\r\n{}", "a: b\r\n".repeat(MOST_BEHIND));
        for text in [
            "+3\r\nabc\r\n0\r\n\r\n",
            "-1\r\n",
            "0x3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "\r\n",
            "11111111111111111\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            &long,
            &behind,
        ] {
            let shown: String = text.chars().take(20).collect();
            let said = read(Length::Chunked, text.as_bytes(), 7);
            assert_eq!(said, Err(Broken::Nonsense), "{shown:?}");
        }
        // It stays so.
        let mut body = Body::new(Length::Chunked);
        assert!(body.step(b"x\r\n").is_err() && body.step(b"3\r\n").is_err());
        assert_eq!(body.broken(), Some(Broken::Nonsense));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            size in 1..50_usize,
        ) {
            let _ = read(Length::Chunked, &bytes, size);
        }

        #[test]
        fn what_is_sent_in_chunks_is_what_is_read(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            size in 1..50_usize,
        ) {
            let mut sent = Vec::new();
            for chunk in &chunks {
                sent.extend(crate::api::answer::chunk(chunk));
            }
            sent.extend(crate::api::answer::chunk(b""));
            let (data, rest) = read(Length::Chunked, &sent, size).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(rest.is_empty());
        }
    }
}
