//! What a build tells while it goes on.

/// Hears about the steps of a build. A step's number is what it was announced with.
pub trait Report: Sync {
    /// A step begins: of which stage, and what it is.
    fn begin(&self, number: usize, what: &str);

    /// It prints something.
    fn output(&self, number: usize, text: &[u8]);

    /// It was taken before, and its result is there.
    fn cached(&self, number: usize);

    /// It is done.
    fn done(&self, number: usize);
}
