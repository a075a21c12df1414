//! Between a container's pipes and the caller's own streams, which no container
//! gets: bytes are moved by splice(2) where both sides allow it, else copied.

use crate::engine::ground::caller::Caller;
use crate::engine::ground::pipes::{self, Ours};
use crate::error::Kind;
use crate::runtime::Stdio;
use crate::sys::fd::{readable_bytes, set_nonblocking};
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, SFlag, fstat, major};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes that are moved by one call, and what a pipe is enlarged to once that
/// much went through it as it holds by itself.
const LARGE: usize = 1 << 20;
const SMALL: usize = 1 << 16;
/// What a terminal or pipe that has room for anything takes without waiting
/// (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;
/// So little is copied into the caller's pipe: each piece that is spliced would
/// take a whole buffer of it, of which there are 16, and who reads only after
/// the end would wait for ever.
const LITTLE: usize = 1 << 14;

/// Carries the streams.
#[derive(Debug)]
pub struct Pump<'a> {
    lanes: Vec<Lane<'a>>,
    /// Input waits until the container runs.
    input_held: bool,
    /// What could not be written, and why.
    failed: Option<(&'static str, Errno)>,
}

/// One direction.
#[derive(Debug)]
struct Lane<'a> {
    name: &'static str,
    source: End<'a>,
    sink: End<'a>,
    /// Which side is waited for.
    waits: Side,
    /// How bytes are moved.
    by: Means,
    /// Whether it goes into a pipe of the caller's.
    sink_is_pipe: bool,
    /// Copied bytes that the sink has not taken yet.
    pending: Vec<u8>,
    moved: usize,
    /// How much there is still to come, if no more is wanted than was there.
    left: Option<usize>,
    open: bool,
}

#[derive(Debug)]
enum End<'a> {
    Ours(OwnedFd),
    Outer(BorrowedFd<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Sink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Splice,
    /// At most so many bytes a time.
    Copy(usize),
    /// To a socket, without waiting whatever its own flags say.
    Send,
}

impl AsFd for End<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Ours(fd) => fd.as_fd(),
            End::Outer(fd) => *fd,
        }
    }
}

impl<'a> Pump<'a> {
    /// Makes pipes for a container, to carry its streams from and to the
    /// caller's, with or without `input`; one for both outputs where these are the same, so that their
    /// order stays.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn new(caller: &Caller<'a>, input: bool) -> Result<(Pump<'a>, Stdio)> {
        let [stdout, stderr] = [caller.output, caller.errors].map(|fd| fstat(fd).ok());
        let same = |a: &FileStat, b: &FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let merged = matches!((&stdout, &stderr), (Some(a), Some(b)) if same(a, b));
        let (ours, theirs) = pipes::make(input, merged)?;
        let Ours {
            input,
            output,
            errors,
        } = ours;
        let mut lanes = Vec::with_capacity(3);
        let out =
            |ours, outer, name, stat| Lane::new(name, End::Ours(ours), End::Outer(outer), stat);
        lanes.push(out(output, caller.output, "standard output", stdout)?);
        if let Some(errors) = errors {
            lanes.push(out(errors, caller.errors, "standard error", stderr)?);
        }
        if let Some(input) = input {
            let stat = fstat(caller.input).ok();
            let source = End::Outer(caller.input);
            lanes.push(Lane::new("standard input", source, End::Ours(input), stat)?);
        }
        let pump = Pump {
            lanes,
            input_held: true,
            failed: None,
        };
        Ok((pump, theirs))
    }

    /// The container runs: it may have what is typed.
    pub fn begin(&mut self) {
        self.input_held = false;
    }

    /// What to wait for.
    pub fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        // Input is last.
        let held = self.input_held;
        let lanes = self
            .lanes
            .iter()
            .filter(move |lane| !(held && lane.is_input()));
        lanes.flat_map(|lane| match lane.waits {
            // Who reads may go; the container is to know, as in a pipeline.
            Side::Source => vec![
                (lane.source.as_fd(), PollFlags::POLLIN),
                (lane.sink.as_fd(), PollFlags::empty()),
            ],
            Side::Sink => vec![(lane.sink.as_fd(), PollFlags::POLLOUT)],
        })
    }

    /// Moves what can be moved; `seen` is what [`Pump::watched`] led to.
    pub fn serve(&mut self, seen: &[PollFlags]) {
        let mut seen = seen.iter().copied();
        for lane in &mut self.lanes {
            let Some(first) = seen.next() else { break };
            let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
            if lane.waits == Side::Source && seen.next().is_some_and(|s| s.intersects(broken)) {
                lane.open = false;
            } else if !first.is_empty()
                && let Err(errno) = lane.advance()
            {
                lane.open = false;
                if errno != Errno::EPIPE && !lane.is_input() {
                    self.failed.get_or_insert((lane.name, errno));
                }
            }
        }
        self.lanes.retain(|lane| lane.open);
    }

    /// The command has ended: what it printed by now is still to come, and not
    /// what others do who have its streams.
    pub fn end(&mut self) {
        self.lanes.retain_mut(|lane| {
            let left = match &lane.source {
                End::Ours(fd) => readable_bytes(fd).unwrap_or(0),
                End::Outer(_) => return false,
            };
            lane.left = Some(left);
            left > 0 || !lane.pending.is_empty()
        });
    }

    /// Whether there is nothing more to carry.
    pub fn is_done(&self) -> bool {
        self.lanes.is_empty()
    }

    /// # Errors
    /// Something that was printed could not be written.
    pub fn finish(&self) -> Result<()> {
        match self.failed {
            Some((name, errno)) => {
                let text = format!("write to {name}: {}", errno.desc());
                Err(Kind::of_errno(errno).says(text).into())
            }
            None => Ok(()),
        }
    }
}

impl<'a> Lane<'a> {
    fn new(
        name: &'static str,
        source: End<'a>,
        sink: End<'a>,
        outer: Option<FileStat>,
    ) -> Result<Lane<'a>> {
        let kind = outer.map_or(SFlag::empty(), |stat| {
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
        });
        let by = match (kind, &sink) {
            (SFlag::S_IFIFO | SFlag::S_IFREG, _) => Means::Splice,
            (SFlag::S_IFSOCK, End::Outer(_)) => Means::Send,
            // Those of memory, as the null device.
            (SFlag::S_IFCHR, _) if outer.is_some_and(|stat| major(stat.st_rdev) == 1) => {
                Means::Splice
            }
            (SFlag::S_IFCHR, _) => Means::Copy(AT_ONCE),
            _ => Means::Copy(SMALL),
        };
        let sink_is_pipe = kind == SFlag::S_IFIFO && matches!(sink, End::Outer(_));
        let lane = Lane {
            name,
            source,
            sink,
            waits: Side::Source,
            by,
            sink_is_pipe,
            pending: Vec::new(),
            moved: 0,
            left: None,
            open: true,
        };
        if by != Means::Splice {
            lane.no_waiting()?;
        }
        Ok(lane)
    }

    /// Copying must not wait for what the container does with its pipe.
    fn no_waiting(&self) -> Result<()> {
        for end in [&self.source, &self.sink] {
            if let End::Ours(fd) = end {
                set_nonblocking(fd)?;
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> nix::Result<()> {
        // The others have their turn.
        for _ in 0..16 {
            let wanted = self.left.unwrap_or(LARGE).min(LARGE);
            if wanted == 0 && self.pending.is_empty() {
                self.open = false;
                return Ok(());
            }
            if self.by != Means::Splice || !self.pending.is_empty() || self.is_little() {
                return self.copy(wanted);
            }
            let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
            match splice(&self.source, None, &self.sink, None, wanted, flags) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    self.count(count);
                    continue;
                }
                Err(Errno::EINTR) => continue,
                // Either side.
                Err(Errno::EAGAIN) => {
                    self.waits = match self.waits {
                        Side::Source => Side::Sink,
                        Side::Sink => Side::Source,
                    };
                }
                // A file that is open for appending, or of a kind that cannot; or
                // a sandbox that hides the call.
                Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {
                    self.by = Means::Copy(SMALL);
                    self.waits = Side::Source;
                    self.no_waiting().map_err(|_| Errno::EINVAL)?;
                }
                Err(errno) => return Err(errno),
            }
            return Ok(());
        }
        Ok(())
    }

    /// Whether there is something to read, and less than is worth splicing.
    fn is_little(&self) -> bool {
        let End::Ours(source) = &self.source else {
            return false;
        };
        self.sink_is_pipe && readable_bytes(source).is_ok_and(|n| n > 0 && n < LITTLE)
    }

    /// Reads, or writes what was read.
    fn copy(&mut self, wanted: usize) -> nix::Result<()> {
        if self.pending.is_empty() {
            let mut buffer = vec![0; wanted.min(SMALL)];
            match read(&self.source, &mut buffer) {
                Ok(count) if count > 0 => {
                    buffer.truncate(count);
                    self.pending = buffer;
                    self.waits = Side::Sink;
                    self.count(count);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // Who cannot be read has no more to say.
                Ok(_) | Err(_) => self.open = false,
            }
            return Ok(());
        }
        let written = match self.by {
            Means::Send => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(self.sink.as_fd().as_raw_fd(), &self.pending, flags)
            }
            Means::Copy(most) => write(&self.sink, &self.pending[..most.min(self.pending.len())]),
            Means::Splice => {
                let most = AT_ONCE.min(self.pending.len());
                write(&self.sink, &self.pending[..most])
            }
        };
        match written {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if self.pending.is_empty() {
            self.waits = Side::Source;
            self.open = self.left != Some(0);
        }
        Ok(())
    }

    fn count(&mut self, count: usize) {
        let before = self.moved;
        self.moved = self.moved.saturating_add(count);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count);
        }
        if before < SMALL && self.moved >= SMALL {
            for end in [&self.source, &self.sink] {
                if let End::Ours(fd) = end {
                    // Where the user's share is used up it stays as it is.
                    let _ = fcntl(fd, FcntlArg::F_SETPIPE_SZ(LARGE as i32));
                }
            }
        }
    }

    fn is_input(&self) -> bool {
        matches!(self.source, End::Outer(_))
    }
}
