//! Giving memory back: for a process that will sleep for long.

use nix::poll::{PollFd, PollTimeout, poll};
use std::ops::Range;

/// Waits without a timeout as poll(2) does, for long: returns what the
/// allocator holds unused, and forgets pages that hold nothing but what the
/// program's file has; the kernel reads them again when they are needed
/// (madvise(2), `MADV_DONTNEED`).
pub fn poll_at_rest(fds: &mut [PollFd<'_>]) -> nix::Result<i32> {
    Forgettable::find().forget();
    // At once: whatever runs in between would come back to memory.
    poll(fds, PollTimeout::NONE)
}

/// Memory of this process that a file has too.
#[derive(Debug)]
pub struct Forgettable(Vec<Range<usize>>);

impl Forgettable {
    /// Looks for it in `/proc`.
    pub fn find() -> Forgettable {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        Forgettable(clean_file_mappings(&maps))
    }

    /// Gives it back, and what the allocator holds unused.
    pub fn forget(&self) {
        // SAFETY: no preconditions; glibc alone uses what it returns.
        unsafe { libc::malloc_trim(0) };
        for range in &self.0 {
            // SAFETY: the mapping cannot be written to and no page of it ever
            // was, so the file has all of it; the next access reads it from
            // there.
            unsafe {
                libc::madvise(
                    std::ptr::with_exposed_provenance_mut(range.start),
                    range.len(),
                    libc::MADV_DONTNEED,
                )
            };
        }
    }
}

/// The mappings of files in a text of `/proc/PID/smaps` (proc_pid_smaps(5))
/// that are not writable and of which no page differs from the file.
fn clean_file_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let mode = words.next().unwrap_or_default();
            let file = words.nth(3).is_some_and(|path| path.starts_with('/'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            current = match (number(start), number(end)) {
                (Some(start), Some(end)) if file && !mode.contains('w') => Some(start..end),
                _ => None,
            };
        } else if first == "Anonymous:" && words.next() == Some("0") {
            found.extend(current.take());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_what_the_file_has_is_forgotten() {
        let smaps = "\
            1000-2000 r-xp 00000000 08:01 7    /bin/x\nRss: 4 kB\nAnonymous:   0 kB\n\
            2000-3000 r--p 00001000 08:01 7    /bin/x\nAnonymous:   4 kB\n\
            3000-4000 rw-p 00002000 08:01 7    /bin/x\nAnonymous:   0 kB\n\
            4000-5000 r-xp 00000000 00:00 0    [vdso]\nAnonymous:   0 kB\n\
            5000-6000 rw-p 00000000 00:00 0\nAnonymous:   8 kB\n";
        let clean = clean_file_mappings(smaps);
        assert_eq!(clean.len(), 1);
        assert_eq!(clean[0], 0x1000..0x2000);
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(other);
        let mut fds = [PollFd::new(one.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(poll_at_rest(&mut fds), Ok(1));
    }
}
