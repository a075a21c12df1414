//! What came before something that is missing, kept until that comes. Pure.

use super::after;

/// Segments that are kept for one connection.
const MOST: usize = 256;

/// A segment's data.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of its first byte.
    pub seq: u32,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Nothing follows.
    pub fin: bool,
}

/// Parts in the order of their numbers; they may overlap.
#[derive(Debug, Default)]
pub struct Ahead {
    parts: Vec<Part>,
    bytes: usize,
}

impl Ahead {
    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a part, if there is room for it within `most` bytes and it is new.
    /// Returns how many bytes that takes.
    pub fn keep(&mut self, seq: u32, data: &[u8], fin: bool, most: usize) -> usize {
        let at = self.parts.partition_point(|part| !after(part.seq, seq));
        let before = self.parts[..at].last();
        let known = before.is_some_and(|part| {
            let offset = seq.wrapping_sub(part.seq) as usize;
            offset + data.len() <= part.data.len() && part.fin >= fin
        });
        if known || self.parts.len() >= MOST || self.bytes + data.len() > most {
            return 0;
        }
        self.bytes += data.len();
        let part = Part {
            seq,
            data: data.to_vec(),
            fin,
        };
        self.parts.insert(at, part);
        data.len()
    }

    /// The first part, if the byte `next` is not before it.
    pub fn take(&mut self, next: u32) -> Option<Part> {
        let first = self.parts.first()?;
        if after(first.seq, next) {
            return None;
        }
        let part = self.parts.remove(0);
        self.bytes -= part.data.len();
        if self.parts.is_empty() {
            self.parts = Vec::new();
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_in_any_order_is_whole(
            start: u32,
            cuts in proptest::collection::vec((0usize..200, 1usize..40), 1..40),
        ) {
            let data: Vec<u8> = (0..240).map(|n| n as u8).collect();
            let mut ahead = Ahead::default();
            let mut there = vec![false; data.len()];
            for (from, length) in cuts {
                let seq = start.wrapping_add(from as u32);
                let part = &data[from..from + length];
                let before = ahead.bytes();
                let kept = ahead.keep(seq, part, false, 600);
                prop_assert_eq!(ahead.bytes(), before + kept);
                prop_assert!(ahead.bytes() <= 600);
                if kept > 0 {
                    there[from..from + length].fill(true);
                }
            }
            let mut next = start;
            while let Some(part) = ahead.take(next) {
                let at = part.seq.wrapping_sub(start) as usize;
                prop_assert_eq!(&data[at..at + part.data.len()], &part.data[..]);
                let end = part.seq.wrapping_add(part.data.len() as u32);
                if after(end, next) {
                    next = end;
                }
            }
            let reached = next.wrapping_sub(start) as usize;
            prop_assert!(there[..reached].iter().all(|there| *there));
            prop_assert!(!there.get(reached).copied().unwrap_or(false));
        }
    }

    #[test]
    fn what_is_known_takes_no_room() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.keep(100, b"0123456789", false, 1000), 10);
        assert_eq!(ahead.keep(102, b"2345", false, 1000), 0);
        assert_eq!(ahead.keep(108, b"89", true, 1000), 2);
        assert_eq!(ahead.keep(200, &[0; 2000], false, 1000), 0);
        assert_eq!(ahead.take(99), None);
        assert_eq!(ahead.take(105).unwrap().data.len(), 10);
        assert!(ahead.take(110).unwrap().fin);
        assert_eq!(ahead.bytes(), 0);
    }
}
