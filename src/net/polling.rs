//! Waiting for events so that an answer which comes at once is not missed.
//!
//! To fall asleep and be woken takes longer than most answers of the host or
//! the container, and a processor that nobody used is slow to come back. So
//! events are looked for a little while before the process sleeps, if waits
//! were short of late: as KVM does before it halts a processor (the kernel's
//! Documentation/virt/kvm/halt-polling.rst).

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use std::time::{Duration, Instant};

/// A wait up to this long is a short one, and events are looked for no longer.
const SHORT: Duration = Duration::from_micros(50);
/// How long they are looked for at first.
const FIRST: Duration = Duration::from_micros(10);

/// How long the next events are looked for before sleeping.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Polling(Duration);

impl Polling {
    /// Waits for events, as epoll_wait(2) does.
    ///
    /// # Errors
    /// Those of epoll_wait(2), EINTR among them.
    pub fn wait(
        &mut self,
        epoll: &Epoll,
        events: &mut [EpollEvent],
        timeout: EpollTimeout,
    ) -> Result<usize, Errno> {
        if timeout == EpollTimeout::ZERO {
            return epoll.wait(events, timeout);
        }
        let begin = Instant::now();
        let mut count = 0;
        while count == 0 && begin.elapsed() < self.0 {
            count = epoll.wait(events, EpollTimeout::ZERO)?;
        }
        if count == 0 {
            count = epoll.wait(events, timeout)?;
        }
        self.learn(begin.elapsed());
        Ok(count)
    }

    /// Takes note of how long a wait was. A long one ends the looking, so that
    /// who is asked now and then hardly costs anything.
    fn learn(&mut self, waited: Duration) {
        self.0 = match waited <= SHORT {
            true => (self.0 * 2).clamp(FIRST, SHORT),
            false => Duration::ZERO,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_longer_while_waits_are_short_and_not_at_all_after_a_long_one() {
        let mut polling = Polling::default();
        let mut seen = Vec::new();
        for waited in [30, 30, 49, 20, 20, 51, 900, 30] {
            polling.learn(Duration::from_micros(waited));
            seen.push(polling.0.as_micros());
        }
        assert_eq!(seen, [10, 20, 40, 50, 50, 0, 0, 10]);
    }
}
