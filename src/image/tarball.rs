//! Reading a tar archive member by member, from a stream or with seeking.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use crate::error::{demand, refusal, refuse};
use anyhow::{Context, Result};

use super::budget::{Budget, Tally};
use super::entry::{self, BLOCK, Entry, Extensions, Header, Piece, SparseMap};

/// Longest extension header (names, pax records) that is accepted, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Fills `buffer` with data of a member.
pub fn fill(data: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    data.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refusal!(Invalid, "the archive is truncated"),
        _ => anyhow::Error::from(error).context("read"),
    })
}

/// A source that can pass over bytes.
pub trait Skip: Read {
    /// Passes over `count` bytes; false if the source ended before.
    fn skip(&mut self, count: u64) -> io::Result<bool>;
}

/// A source that passes over bytes by reading them.
pub struct Stream<R>(pub R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Stream<R> {
    fn skip(&mut self, count: u64) -> io::Result<bool> {
        let skipped = io::copy(&mut (&mut self.0).take(count), &mut io::sink())?;
        Ok(skipped == count)
    }
}

/// The members of a tar archive, one after the other. Between two calls of
/// [`Members::next`] it reads as the data of the current member (of a sparse
/// file: its pieces, back to back).
pub struct Members<S> {
    source: S,
    globals: Rc<BTreeMap<Vec<u8>, Vec<u8>>>,
    spent: Tally,
    /// Data of the current member still in the archive, and its padding.
    left: u64,
    padding: u64,
    position: u64,
    ended: bool,
    /// Names of whiteouts are names like others.
    literal: bool,
}

impl<S: Skip> Members<S> {
    /// Starts at the first header. What exceeds the budget is an error.
    pub fn new(source: S, budget: Budget) -> Self {
        Members {
            source,
            globals: Rc::default(),
            spent: Tally::new(budget),
            left: 0,
            padding: 0,
            position: 0,
            ended: false,
            literal: false,
        }
    }

    /// The members of an archive that is no layer: without whiteouts.
    pub fn literal(source: S, budget: Budget) -> Self {
        Members {
            literal: true,
            ..Members::new(source, budget)
        }
    }

    /// The next member, or None at the end. The archive may end with blocks of
    /// zeros, as it should, or just so between two members;
    /// [`Members::ended_properly`] tells which.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let mut ext = Extensions::default();
        loop {
            let rest = self.left + self.padding;
            demand!(Invalid, self.source.skip(rest)?, "the archive is truncated");
            self.position += rest;
            (self.left, self.padding) = (0, 0);
            let at = self.position;
            let Some(header) = self.header().with_context(|| format!("at byte {at}"))? else {
                return Ok(None);
            };
            match header.type_byte() {
                b'L' => ext.long_name = Some(self.long_name(&header)?),
                b'K' => ext.long_link = Some(self.long_name(&header)?),
                b'x' | b'X' => {
                    ext.pax = entry::pax_records(&self.extension(&header)?)?;
                }
                b'g' => {
                    let records = entry::pax_records(&self.extension(&header)?)?;
                    let globals = Rc::make_mut(&mut self.globals);
                    globals.extend(records);
                    let size: usize = globals.iter().map(|(k, v)| k.len() + v.len()).sum();
                    demand!(
                        Invalid,
                        size as u64 <= MAX_EXTENSION,
                        "too many global pax records"
                    );
                    self.spent.entry()?;
                }
                _ => {
                    ext.global = self.globals.clone();
                    let name = ext.long_name.clone().unwrap_or_else(|| header.name());
                    return self
                        .member(&header, &ext)
                        .with_context(|| format!("entry {}", entry::show(&name)))
                        .map(Some);
                }
            }
        }
    }

    /// Whether the archive ended with a block of zeros.
    pub fn ended_properly(&self) -> bool {
        self.ended
    }

    /// Where the data of the current member starts, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many members, and headers for them all, were read.
    pub fn count(&self) -> u64 {
        self.spent.entries()
    }

    /// Gives the source back.
    pub fn into_inner(self) -> S {
        self.source
    }

    fn header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        let header = Header::parse(&block)?;
        self.ended = header.is_none();
        Ok(header)
    }

    fn member(&mut self, header: &Header, ext: &Extensions) -> Result<Entry> {
        let mut pieces = Vec::new();
        let mut more = header.more_pieces();
        while more {
            let block = self.block()?.context("the archive is truncated")?;
            more = entry::more_pieces(&block, &mut pieces)?;
        }
        let member = entry::member(header, ext, pieces)?;
        self.left = member.stored;
        self.padding = member.stored.wrapping_neg() % BLOCK as u64;
        demand!(
            Invalid,
            member.stored.checked_add(BLOCK as u64).is_some(),
            "the size is too large"
        );
        let mut entry = member.entry;
        if member.sparse == SparseMap::InData {
            let pieces = self.map_in_data()?;
            entry::check_pieces(&pieces, entry.size, self.left)?;
            entry.pieces = Some(pieces);
        }
        if !self.literal {
            entry::read_whiteout(&mut entry)?;
        }
        self.spent.member(&entry)?;
        Ok(entry)
    }

    /// The map of pax sparse form 1.0: a count, then offsets and lengths, one
    /// number a line, padded to a whole block.
    fn map_in_data(&mut self) -> Result<Vec<Piece>> {
        let mut block = [0; BLOCK];
        let mut at = BLOCK;
        let mut next = |members: &mut Self| -> Result<u64> {
            let mut value: u64 = 0;
            for digits in 0.. {
                if at == BLOCK {
                    members.read_exact(&mut block).context("sparse map")?;
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                match byte {
                    b'\n' if digits > 0 => break,
                    b'0'..=b'9' if digits < 20 => {
                        value = value
                            .checked_mul(10)
                            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
                            .context("malformed sparse map")?;
                    }
                    _ => refuse!(Invalid, "malformed sparse map"),
                }
            }
            Ok(value)
        };
        let count = next(self)?;
        demand!(Invalid, count <= entry::MAX_MAP, "too many sparse pieces");
        let mut numbers = Vec::new();
        for _ in 0..count * 2 {
            numbers.push(next(self)?);
        }
        entry::pair_up(&numbers)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.extension(header)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size()?;
        demand!(
            Invalid,
            size <= MAX_EXTENSION,
            "an extension header of {size} bytes is too long"
        );
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes)
            .context("the archive is truncated")?;
        Ok(bytes)
    }

    /// One block; None at the end of the source.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => refuse!(Invalid, "the archive is truncated"),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }
}

impl<S: Read> Read for Members<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.source.read(&mut buffer[..wanted])?;
        if n == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(kind, "the archive is truncated"));
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}
