//! How image work reports how far it is, without knowing who listens.

/// Hears about pieces of work. Several may run at once.
pub trait Progress: Sync {
    /// So many pieces of work with so many bytes in all are about to begin.
    fn expect(&self, _pieces: usize, _bytes: u64) {}

    /// A piece of work starts: what it is, and how many bytes it will read if
    /// that is known. It is over when the meter is dropped.
    fn begin(&self, what: &str, bytes: Option<u64>) -> Box<dyn Meter>;
}

/// Counts the bytes of one piece of work.
pub trait Meter: Send + Sync {
    /// So many more bytes were read.
    fn advance(&self, bytes: u64);
}

/// Nobody listens.
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Meter> {
        Box::new(Quiet)
    }
}

impl Meter for Quiet {
    fn advance(&self, _: u64) {}
}
