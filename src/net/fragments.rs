//! Putting packets together that came in parts (RFC 791, RFC 8200). Pure.

use super::host::Millis;
use super::shares::oldest_of_most;
use super::wire::{Fragment, Ip, MAX_PACKET};
use std::net::IpAddr;

/// Packets that may be incomplete at a time.
const MOST: usize = 16;
/// How long the rest of one is waited for.
const PATIENCE: Millis = 15_000;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug)]
struct Partial {
    key: Key,
    since: Millis,
    data: Vec<u8>,
    /// What is there: begin and end, in order, apart from each other.
    parts: Vec<(usize, usize)>,
    /// Its length, once the last part is there.
    length: Option<usize>,
}

/// Packets of which parts are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    partial: Vec<Partial>,
}

impl Fragments {
    /// Takes a part; returns the payload that it completes. Packets whose
    /// parts overlap are forgotten (RFC 5722).
    pub fn take(&mut self, ip: &Ip, fragment: Fragment, now: Millis) -> Option<Vec<u8>> {
        let key = Key {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            id: fragment.id,
        };
        self.partial.retain(|p| p.since + PATIENCE > now);
        let (begin, end) = (fragment.offset, fragment.offset + ip.payload.len());
        let found = self.partial.iter().position(|p| p.key == key);
        let whole = begin < end && end <= MAX_PACKET - 40;
        if !whole || fragment.more && !end.is_multiple_of(8) {
            found.map(|at| self.partial.swap_remove(at));
            return None;
        }
        let at = found.unwrap_or_else(|| {
            if self.partial.len() == MOST {
                let senders = self.partial.iter().map(|partial| partial.key.source);
                let least = oldest_of_most(senders);
                self.partial.remove(least);
            }
            self.partial.push(Partial {
                key,
                since: now,
                data: Vec::new(),
                parts: Vec::new(),
                length: None,
            });
            self.partial.len() - 1
        });
        let partial = &mut self.partial[at];
        let place = partial.parts.partition_point(|part| part.0 < begin);
        if partial.parts.get(place) == Some(&(begin, end)) {
            // It came twice.
            return None;
        }
        let clashes = place > 0 && partial.parts[place - 1].1 > begin
            || partial.parts.get(place).is_some_and(|part| part.0 < end)
            || partial
                .length
                .is_some_and(|length| end > length || !fragment.more)
            || !fragment.more && partial.parts.last().is_some_and(|part| part.1 > end);
        if clashes {
            self.partial.remove(at);
            return None;
        }
        partial.parts.insert(place, (begin, end));
        if partial.data.len() < end {
            partial.data.resize(end, 0);
        }
        partial.data[begin..end].copy_from_slice(ip.payload);
        if !fragment.more {
            partial.length = Some(end);
        }
        let there: usize = partial.parts.iter().map(|part| part.1 - part.0).sum();
        match partial.length == Some(there) {
            true => Some(self.partial.remove(at).data),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(
        all: &mut Fragments,
        id: u32,
        offset: usize,
        more: bool,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        take_from(all, 100, id, offset, more, payload)
    }

    fn take_from(
        all: &mut Fragments,
        sender: u8,
        id: u32,
        offset: usize,
        more: bool,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let fragment = Fragment { id, offset, more };
        let ip = Ip {
            source: [10, 0, 2, sender].into(),
            destination: "192.0.2.1".parse().unwrap(),
            protocol: 17,
            hops: 64,
            fragment: Some(fragment),
            payload,
            packet: payload,
        };
        all.take(&ip, fragment, 0)
    }

    #[test]
    fn parts_are_joined_in_any_order() {
        let mut all = Fragments::default();
        assert_eq!(take(&mut all, 1, 16, false, b"end"), None);
        assert_eq!(take(&mut all, 2, 0, true, b"another "), None);
        assert_eq!(take(&mut all, 1, 8, true, b"-middle-"), None);
        assert_eq!(take(&mut all, 1, 8, true, b"-middle-"), None);
        let whole = take(&mut all, 1, 0, true, b"begin000");
        assert_eq!(whole.unwrap(), b"begin000-middle-end");
        assert_eq!(all.partial.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_forgotten() {
        let mut all = Fragments::default();
        assert_eq!(take(&mut all, 1, 0, true, b"0123456789abcdef"), None);
        assert_eq!(take(&mut all, 1, 8, false, b"overlap"), None);
        assert_eq!(take(&mut all, 2, 65528, false, b"0123456789"), None);
        assert_eq!(take(&mut all, 3, 0, true, b"odd"), None);
        assert_eq!(take(&mut all, 4, 8, false, b""), None);
        assert!(all.partial.is_empty());
        for id in 0..100 {
            take(&mut all, id, 0, true, b"01234567");
        }
        assert_eq!(all.partial.len(), MOST);
    }

    #[test]
    fn one_sender_does_not_make_another_lose_its_parts() {
        let mut all = Fragments::default();
        assert_eq!(take_from(&mut all, 2, 7, 0, true, b"begin000"), None);
        for id in 0..100 {
            take(&mut all, id, 0, true, b"01234567");
        }
        let whole = take_from(&mut all, 2, 7, 8, false, b"end");
        assert_eq!(whole.unwrap(), b"begin000end");
    }
}
