//! Files of lines that are changed in place while others read them, since they
//! are mounted elsewhere and a rename would not be seen there.
//!
//! A reader may come at any moment and read in several steps. So lines stay
//! where they are: what is new is added behind them, what goes becomes a comment
//! by its first byte.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of emptied lines that a file may have; with more it is written anew.
const EMPTIED: usize = 1024;

/// Makes `new` of `old`, which is what is in the file. Its format has comments
/// from `#` to the end of a line, and takes empty lines; emptied ones may stay.
///
/// # Errors
/// What is new, or what was, is there; nothing is half there.
pub fn rewrite_lines(path: &Path, old: &str, new: &str) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let Changes { gone, added } = Changes::between(old, new);
    // The kernel shows what is behind the end when all of it is there.
    file.write_all_at(added.as_bytes(), old.len() as u64)?;
    let mut now = format!("{old}{added}");
    for line in gone {
        let rest = " ".repeat(line.len() - 1);
        file.write_all_at(b"#", line.start as u64)?;
        file.write_all_at(rest.as_bytes(), line.start as u64 + 1)?;
        now.replace_range(line, &format!("#{rest}"));
    }
    let mut kept: Vec<&str> = now.split_inclusive('\n').collect();
    while kept.pop_if(|line| is_emptied(line)).is_some() {}
    let length: usize = kept.iter().map(|line| line.len()).sum();
    let emptied = kept.iter().filter(|line| is_emptied(line));
    if emptied.map(|line| line.len()).sum::<usize>() > EMPTIED {
        kept.retain(|line| !is_emptied(line));
        let mut text = kept.concat();
        let true_length = text.len() as u64;
        text.push_str(&"\n".repeat(length - text.len()));
        file.write_all_at(text.as_bytes(), 0)?;
        return file.set_len(true_length);
    }
    match length < now.len() {
        true => file.set_len(length as u64),
        false => Ok(()),
    }
}

fn is_emptied(line: &str) -> bool {
    line.trim_end() == "#"
}

/// How one text becomes another while its lines stay where they are.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    /// Lines that go, without their ends.
    gone: Vec<Range<usize>>,
    /// What comes behind.
    added: String,
}

impl Changes {
    fn between(old: &str, new: &str) -> Changes {
        let mut wanted = new.lines().filter(|line| !is_emptied(line)).peekable();
        let (mut gone, mut at) = (Vec::new(), 0);
        for line in old.split_inclusive('\n') {
            let text = line.trim_end_matches('\n');
            if wanted.next_if_eq(&text).is_none() && !text.is_empty() && !is_emptied(text) {
                gone.push(at..at + text.len());
            }
            at += line.len();
        }
        let ended = old.is_empty() || old.ends_with('\n');
        let mut added = String::new();
        for line in wanted {
            if added.is_empty() && !ended {
                added.push('\n');
            }
            added.push_str(line);
            added.push('\n');
        }
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
            (gone.join(" "), added)
        };
        let text = |gone: &str, added: &str| (gone.to_owned(), added.to_owned());
        assert_eq!(changes("a\nb\n\nc\n", "a\nc\nd\n"), text("b", "d\n"));
        // Another order is worth more than the place.
        assert_eq!(changes("a\nb", "b\na\n"), text("a", "\na\n"));
    }

    /// What counts of a text.
    fn lines(text: &str) -> Vec<&str> {
        let lines = text.lines();
        let counts = |line: &&str| !line.is_empty() && !line.starts_with('#');
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
            for n in 0..2000 {
                // Each to each other.
                let next = (n + 1 + n / 4 % 3) % 4;
                let old = fs::read_to_string(&path).unwrap();
                rewrite_lines(&path, &old, texts[next]).unwrap();
                let now = fs::read_to_string(&path).unwrap();
                assert_eq!(lines(&now), lines(texts[next]));
                assert!(now.len() < EMPTIED + 200);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
