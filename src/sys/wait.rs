//! Waiting until something can be done with descriptors: poll(2).

use super::memory::Forgettable;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Waits until one of `watched` has an event that it is watched for, or an error
/// or end, which need not be asked for; until a signal came; or until `until`,
/// without end if this is None. Returns the events of each, in their order: all
/// are empty where none has one.
///
/// # Errors
/// Those of poll(2) but EINTR.
pub fn wait<'a>(
    watched: impl IntoIterator<Item = (BorrowedFd<'a>, PollFlags)>,
    until: Option<Instant>,
) -> nix::Result<Vec<PollFlags>> {
    let mut fds = of(watched);
    let polled = poll(&mut fds, timeout(until));
    events(&fds, polled)
}

/// As [`wait`] without a time, for long: gives memory back first that is not
/// needed meanwhile.
///
/// # Errors
/// As [`wait`].
pub fn wait_at_rest<'a>(
    watched: impl IntoIterator<Item = (BorrowedFd<'a>, PollFlags)>,
) -> nix::Result<Vec<PollFlags>> {
    let mut fds = of(watched);
    Forgettable::find().forget();
    // At once: whatever runs in between would come back to memory.
    let polled = poll(&mut fds, PollTimeout::NONE);
    events(&fds, polled)
}

/// Waits until `fd` can be read, or is at its end: a process has ended, if it is
/// a pidfd. False if that is not so at `until`.
pub fn readable(fd: impl AsFd, until: Option<Instant>) -> bool {
    one(fd.as_fd(), PollFlags::POLLIN, until)
}

/// Whether `fd` can be read now, or is at its end.
pub fn is_readable(fd: impl AsFd) -> bool {
    readable(fd, Some(Instant::now()))
}

/// Waits until `fd` can be written to, or nobody is left to read it.
pub fn writable(fd: impl AsFd) {
    one(fd.as_fd(), PollFlags::POLLOUT, None);
}

/// The time in which something has to be done that is begun now.
pub fn within(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

fn one(fd: BorrowedFd<'_>, events: PollFlags, until: Option<Instant>) -> bool {
    loop {
        match wait([(fd, events)], until) {
            Ok(seen) if !seen[0].is_empty() => return true,
            Ok(_) if until.is_some_and(|end| end <= Instant::now()) => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn of<'a>(watched: impl IntoIterator<Item = (BorrowedFd<'a>, PollFlags)>) -> Vec<PollFd<'a>> {
    let watched = watched.into_iter();
    watched
        .map(|(fd, events)| PollFd::new(fd, events))
        .collect()
}

fn events(fds: &[PollFd<'_>], polled: nix::Result<i32>) -> nix::Result<Vec<PollFlags>> {
    match polled {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let seen = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
    Ok(fds.iter().map(seen).collect())
}

/// Not shorter than asked for: poll(2) counts whole milliseconds.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(end) = until else {
        return PollTimeout::NONE;
    };
    let left = end.saturating_duration_since(Instant::now());
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds)
        .ok()
        .and_then(|count| PollTimeout::try_from(count).ok())
        .unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_can_be_read_and_what_cannot() {
        let (first, _open) = std::io::pipe().unwrap();
        let (second, mut writer) = std::io::pipe().unwrap();
        let both = || {
            [
                (first.as_fd(), PollFlags::POLLIN),
                (second.as_fd(), PollFlags::POLLIN),
            ]
        };
        let past = Some(Instant::now());
        assert_eq!(wait(both(), past).unwrap(), [PollFlags::empty(); 2]);
        assert!(!is_readable(&second));
        writer.write_all(b"x").unwrap();
        let seen = [PollFlags::empty(), PollFlags::POLLIN];
        assert_eq!(wait(both(), None).unwrap(), seen);
        assert!(readable(&second, None));
        drop(writer);
        let end = PollFlags::POLLIN | PollFlags::POLLHUP;
        assert_eq!(wait(both(), past).unwrap()[1], end);
    }

    #[test]
    fn no_time_is_shorter_than_asked_for() {
        let begin = Instant::now();
        let end = begin + Duration::from_micros(300);
        let (nothing, _open) = std::io::pipe().unwrap();
        assert!(!readable(&nothing, Some(end)));
        assert!(Instant::now() >= end);
        assert_eq!(timeout(Some(begin)), PollTimeout::ZERO);
        assert_eq!(timeout(None), PollTimeout::NONE);
        let years = begin + Duration::from_secs(1 << 30);
        assert_eq!(timeout(Some(years)), PollTimeout::MAX);
    }
}
