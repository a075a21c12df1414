//! Giving memory back: for a process that will sleep for long.

use std::ops::Range;

/// Memory of this process that holds nothing but what the program's file has
/// too; the kernel reads it again when it is needed (madvise(2),
/// `MADV_DONTNEED`).
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
        Forgettable::find().forget();
    }
}
