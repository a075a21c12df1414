//! Keys that end an attachment: `--detach-keys`. Pure.

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<u8>,
    seen: usize,
}

impl Keys {
    /// Looks for `keys`, in this order; for none if there are none.
    pub fn new(keys: &[u8]) -> Keys {
        Keys {
            keys: keys.to_vec(),
            seen: 0,
        }
    }

    /// Takes what was typed; returns what of it is meant for the container,
    /// and whether the keys were complete. Keys that may be the beginning are
    /// held back until it is known.
    pub fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.seen) != Some(byte) {
                out.extend(&self.keys[..self.seen]);
                self.seen = 0;
            }
            if self.keys.get(self.seen) != Some(byte) {
                out.push(*byte);
                continue;
            }
            self.seen += 1;
            if self.seen == self.keys.len() {
                return (out, true);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_across_reads() {
        let keys = [16, 17];
        let mut matcher = Keys::new(&keys);
        assert_eq!(matcher.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(matcher.feed(b"c\x10"), (b"\x10c".to_vec(), false));
        assert_eq!(matcher.feed(b"\x10"), (b"\x10".to_vec(), false));
        assert_eq!(matcher.feed(b"\x11z"), (Vec::new(), true));
        assert_eq!(Keys::new(&[]).feed(&keys), (keys.to_vec(), false));
    }
}
