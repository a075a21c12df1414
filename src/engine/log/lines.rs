//! From pieces of a stream to records: lines, and pieces of long ones. Pure.

use super::MAX_RECORD;

/// What a stream said since its last line feed.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes of the stream and hands every record on that they
    /// complete.
    pub fn feed(&mut self, mut data: &[u8], mut record: impl FnMut(&[u8])) {
        while let Some(end) = data.iter().position(|b| *b == b'\n') {
            let (line, after) = data.split_at(end + 1);
            self.add(line, &mut record);
            if !self.rest.is_empty() {
                record(&std::mem::take(&mut self.rest));
            }
            data = after;
        }
        self.add(data, &mut record);
    }

    /// Adds to the rest; hands on what is too long. A whole line that has
    /// nothing before it passes through without a copy.
    fn add(&mut self, mut data: &[u8], record: &mut impl FnMut(&[u8])) {
        if self.rest.is_empty() && data.ends_with(b"\n") && data.len() <= MAX_RECORD {
            return record(data);
        }
        while self.rest.len() + data.len() > MAX_RECORD {
            let (piece, after) = data.split_at(MAX_RECORD - self.rest.len());
            self.rest.extend(piece);
            record(&self.rest);
            self.rest.clear();
            data = after;
        }
        self.rest.extend(data);
    }

    /// What is left at the end of the stream.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Gives back unused memory.
    pub fn trim(&mut self) {
        self.rest.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost_and_every_line_feed_ends_a_record(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..200),
            long in 0..3 * MAX_RECORD,
            cut in 1usize..300,
        ) {
            let mut bytes = text.clone();
            bytes.extend(std::iter::repeat_n(b'y', long));
            bytes.extend(&text);
            let (mut lines, mut records) = (Lines::default(), Vec::new());
            for piece in bytes.chunks(cut * 17) {
                lines.feed(piece, |record| records.push(record.to_vec()));
            }
            records.push(lines.take());
            prop_assert_eq!(records.concat(), bytes);
            for record in &records[..records.len() - 1] {
                let feeds = record.iter().filter(|b| **b == b'\n').count();
                prop_assert!(record.len() == MAX_RECORD && feeds <= 1 || feeds == 1);
                prop_assert!(feeds == 0 || record.ends_with(b"\n"));
            }
        }
    }
}
