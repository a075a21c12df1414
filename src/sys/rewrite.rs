//! Files of lines that are changed in place while others read them, since they
//! are mounted elsewhere and a rename would not be seen there.
//!
//! A reader may come at any moment and stop for a while anywhere: of what is
//! written over he may see any part, and what is cut off he may see as zeros. So
//! lines stay where they are: what is new is added behind the end, which a file
//! shows when all of it is there; what goes becomes a comment by its first byte;
//! and the file does not become shorter.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of comments and empty lines that a file may have, which takes some
/// thousand changes; with more it is written anew, and a reader of just then may
/// see half of it.
const EMPTIED: usize = 64 << 10;

/// What is added shows page by page, so that no line lies in two.
const PAGE: usize = 4096;

/// Makes `new` of `old`, which is what is in the file. Its format has comments
/// from `#` to the end of a line, and takes empty lines; what went stays as one.
///
/// # Errors
/// What is new, or what was, is there; nothing is half there.
pub fn rewrite_lines(path: &Path, old: &str, new: &str) -> io::Result<()> {
    rewrite(path, old, new, EMPTIED)
}

fn rewrite(path: &Path, old: &str, new: &str, most: usize) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let Changes { gone, added } = Changes::between(old, new);
    let mut now = old.to_owned();
    if !old.is_empty() && !old.ends_with('\n') && !added.is_empty() {
        append(&file, &mut now, "\n")?;
    }
    for line in added {
        let left = PAGE - now.len() % PAGE;
        if line.len() > left {
            append(&file, &mut now, &"\n".repeat(left))?;
        }
        append(&file, &mut now, &line)?;
    }
    for line in gone {
        file.write_all_at(b"#", line.start as u64)?;
        now.replace_range(line.start..=line.start, "#");
    }
    let says = |line: &&str| !line.trim_end().is_empty() && !line.starts_with('#');
    let mut text: String = now.split_inclusive('\n').filter(says).collect();
    let length = text.len();
    if now.len() - length > most {
        text.extend(std::iter::repeat_n('\n', now.len() - length));
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(length as u64)?;
    }
    Ok(())
}

/// Writes behind the end of a file that holds `now`.
fn append(file: &File, now: &mut String, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), now.len() as u64)?;
    now.push_str(text);
    Ok(())
}

/// How one text becomes another while its lines stay where they are.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    /// Lines that go, without their ends.
    gone: Vec<Range<usize>>,
    /// Lines that come behind, with their ends.
    added: Vec<String>,
}

impl Changes {
    fn between(old: &str, new: &str) -> Changes {
        let mut wanted = new.lines().filter(|line| !line.is_empty()).peekable();
        let (mut gone, mut at) = (Vec::new(), 0);
        for line in old.split_inclusive('\n') {
            let text = line.trim_end_matches('\n');
            if wanted.next_if_eq(&text).is_none() && !text.is_empty() && !text.starts_with('#') {
                gone.push(at..at + text.len());
            }
            at += line.len();
        }
        let added = wanted.map(|line| format!("{line}\n")).collect();
        Changes { gone, added }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn lines_stay_where_they_are() {
        let changes = |old: &'static str, new| {
            let Changes { gone, added } = Changes::between(old, new);
            let gone: Vec<&str> = gone.into_iter().map(|line| &old[line]).collect();
            (gone.join(" "), added.concat())
        };
        let text = |gone: &str, added: &str| (gone.to_owned(), added.to_owned());
        assert_eq!(changes("a\nb\n\nc\n", "a\nc\nd\n"), text("b", "d\n"));
        // Another order is worth more than the place.
        assert_eq!(changes("a\nb", "b\na\n"), text("a", "a\n"));
    }

    #[test]
    fn what_is_emptied_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(&path, "10.0.0.1\ta").unwrap();
        let mut longest = 0;
        for n in 0..300 {
            let old = fs::read_to_string(&path).unwrap();
            // The new one is there when the old one goes.
            let (one, two) = (n % 250, (n + 1) % 250);
            let both = format!("10.0.0.{one}\ta\n10.0.0.{two}\ta\n");
            rewrite(&path, &old, &both, 1000).unwrap();
            let old = fs::read_to_string(&path).unwrap();
            let alone = format!("10.0.0.{two}\ta\n");
            rewrite(&path, &old, &alone, 1000).unwrap();
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(lines(&now), [alone.trim_end()]);
            longest = longest.max(now.len());
        }
        assert!((900..1200).contains(&longest), "{longest}");
    }

    /// What counts of a text.
    fn lines(text: &str) -> Vec<&str> {
        let lines = text.lines();
        let counts = |line: &&str| !line.trim_end().is_empty() && !line.starts_with('#');
        lines.filter(counts).collect()
    }

    #[test]
    fn nothing_is_gone_or_half_there_at_any_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let texts = [
            "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n",
            "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.1.0.123\tweb\n10.2.0.22\tweb\n",
            "127.0.0.1\tlocalhost\n10.1.0.123\tweb\n",
            "127.0.0.1\tlocalhost\n10.2.0.22\tweb\n",
        ];
        fs::write(&path, texts[0]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seen = fs::read_to_string(&path).unwrap();
                    let seen = lines(&seen);
                    assert_eq!(seen[0], "127.0.0.1\tlocalhost");
                    assert!(seen.len() > 1, "{seen:?}");
                    let known = |line: &&str| lines(texts[1]).contains(line) || *line == seen[0];
                    assert!(seen.iter().all(known), "{seen:?}");
                }
            });
            for n in 0..1000 {
                // Each to each other.
                let next = (n + 1 + n / 4 % 3) % 4;
                let old = fs::read_to_string(&path).unwrap();
                rewrite_lines(&path, &old, texts[next]).unwrap();
                let now = fs::read_to_string(&path).unwrap();
                assert_eq!(lines(&now), lines(texts[next]));
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
