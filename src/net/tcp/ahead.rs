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
    /// The number of the first byte of what came last.
    last: u32,
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
        self.last = seq;
        let part = Part {
            seq,
            data: data.to_vec(),
            fin,
        };
        self.parts.insert(at, part);
        data.len()
    }

    /// What is kept, in ranges as a selective acknowledgment has them
    /// (RFC 2018, 4): first where the last part is, then those that come first.
    /// Returns how many of `blocks` are filled.
    pub fn ranges(&self, blocks: &mut [(u32, u32)]) -> usize {
        let mut count = 0;
        let mut add = |(first, end): (u32, u32)| {
            let has_last = !after(first, self.last) && after(end, self.last);
            if has_last && count > 0 {
                // In front, and the last of the others has no place any more.
                count = (count + 1).min(blocks.len());
                blocks[..count].rotate_right(1);
                blocks[0] = (first, end);
            } else if count < blocks.len() {
                blocks[count] = (first, end);
                count += 1;
            }
        };
        let mut range: Option<(u32, u32)> = None;
        for part in self.parts.iter().filter(|part| !part.data.is_empty()) {
            let end = part.seq.wrapping_add(part.data.len() as u32);
            match &mut range {
                Some((_, till)) if !after(part.seq, *till) => {
                    if after(end, *till) {
                        *till = end;
                    }
                }
                other => other
                    .replace((part.seq, end))
                    .into_iter()
                    .for_each(&mut add),
            }
        }
        range.into_iter().for_each(add);
        count
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
    fn ranges_are_told_with_the_last_one_first() {
        let mut ahead = Ahead::default();
        let told = |ahead: &Ahead| {
            let mut blocks = [(0, 0); 4];
            let count = ahead.ranges(&mut blocks);
            blocks[..count].to_vec()
        };
        assert_eq!(told(&ahead), []);
        ahead.keep(200, &[0; 10], false, 1000);
        ahead.keep(210, &[0; 10], false, 1000);
        ahead.keep(205, &[0; 30], false, 1000);
        assert_eq!(told(&ahead), [(200, 235)]);
        for start in [300, 400, 500, 600, 700] {
            ahead.keep(start, &[0; 5], false, 1000);
        }
        let three = [(200, 235), (300, 305), (400, 405)];
        assert_eq!(told(&ahead), [&[(700, 705)], &three[..]].concat());
        ahead.keep(235, &[0; 5], false, 1000);
        ahead.keep(800, &[], true, 1000);
        let all = [(200, 240), (300, 305), (400, 405), (500, 505)];
        assert_eq!(told(&ahead), all);
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
