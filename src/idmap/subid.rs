//! Subordinate ids by the lines of `/etc/subuid` and `/etc/subgid`
//! (subuid(5)). Pure.

/// Ids in a row, `start` to `start + count - 1`. Never empty, and never with
/// the last number, which stands for "no id".
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Range {
    /// The first id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// A line that grants nothing, since it cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Malformed {
    /// Its number, from 1.
    pub line: usize,
    /// What it says, fit to be shown.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Range {
    /// The id behind the last.
    pub fn end(&self) -> u32 {
        self.start + self.count
    }

    /// Whether all of `other` is in it.
    pub fn contains(&self, other: &Range) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
}

/// The ranges that `file` grants to the user called `name` with number `uid`,
/// in its order, and the lines (of whomever) that are malformed. Where ranges
/// overlap, an id belongs to the first alone.
///
/// A line is the user's by name or by number. An owner made of digits is
/// always a number: a login name of digits does not reach the range of
/// somebody else's number.
pub fn ranges(file: &[u8], name: &str, uid: u32) -> (Vec<Range>, Vec<Malformed>) {
    let mut ranges: Vec<Range> = Vec::new();
    let mut malformed = Vec::new();
    for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match parse(line) {
            Ok((owner, range)) => {
                let mine = match number(owner) {
                    Some(number) => number == uid,
                    None => !all_digits(owner) && owner == name.as_bytes(),
                };
                if mine {
                    add(&mut ranges, range);
                }
            }
            Err(why) => malformed.push(Malformed {
                line: index + 1,
                text: shown(line),
                why,
            }),
        }
    }
    (ranges, malformed)
}

/// The login name of user `uid` by the lines of passwd(5); the first of several,
/// as getpwuid(3) takes it.
pub fn login_name(passwd: &[u8], uid: u32) -> Option<String> {
    let mut lines = passwd.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let number = fields.nth(1).and_then(number)?;
        let name = std::str::from_utf8(name).ok()?;
        (number == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Where `/etc/nsswitch.conf` has subordinate ids come from, if not from the
/// files.
pub fn source(nsswitch: &str) -> Option<String> {
    let lines = nsswitch.lines().map(|l| l.split('#').next().unwrap_or(""));
    let mut sources = lines.filter_map(|l| l.trim().strip_prefix("subid:"));
    let source = sources.next()?.split_ascii_whitespace().next()?;
    (source != "files").then(|| source.chars().filter(|c| !c.is_control()).collect())
}

/// How many ids the ranges hold together.
pub fn total(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| u64::from(range.count)).sum()
}

fn parse(line: &[u8]) -> Result<(&[u8], Range), &'static str> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let [owner, start, count] = fields.as_slice() else {
        return Err("it is not owner:start:count");
    };
    if owner.is_empty() {
        return Err("it names no owner");
    }
    if !all_digits(start) || !all_digits(count) {
        return Err("start and count are decimal numbers");
    }
    let (start, count) = match (number(start), number(count)) {
        (Some(start), Some(count)) => (start, count),
        _ => return Err("a number does not fit in 32 bits"),
    };
    if count == 0 {
        return Err("it grants no id");
    }
    // Then the last id is below u32::MAX.
    match start.checked_add(count) {
        Some(_) => Ok((owner, Range { start, count })),
        None => Err("it goes beyond the last id, 4294967294"),
    }
}

/// Adds what of `range` is not yet there.
fn add(ranges: &mut Vec<Range>, range: Range) {
    let mut pieces = vec![range];
    for old in ranges.iter() {
        let cut = pieces.iter().flat_map(|piece| subtract(*piece, *old));
        pieces = cut.collect();
    }
    ranges.extend(pieces);
}

fn subtract(from: Range, what: Range) -> impl Iterator<Item = Range> {
    let piece = |start: u32, end: u32| {
        (start < end).then(|| Range {
            start,
            count: end - start,
        })
    };
    let before = piece(from.start, from.end().min(what.start));
    let after = piece(from.start.max(what.end()), from.end());
    before.into_iter().chain(after)
}

fn all_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn number(text: &[u8]) -> Option<u32> {
    if !all_digits(text) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// At most 60 characters, none of which does anything to a terminal.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let harmless = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    shown.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(file: &str) -> Vec<(u32, u32)> {
        let (ranges, _) = ranges(file.as_bytes(), "web", 1000);
        ranges.iter().map(|r| (r.start, r.count)).collect()
    }

    #[test]
    fn by_name_and_by_number_in_order() {
        let file = "# a comment\n\nother:1:2\nweb:300000:65536\n1000:100000:10\n  web:50:1 \n";
        assert_eq!(found(file), [(300_000, 65536), (100_000, 10), (50, 1)]);
        let (_, malformed) = ranges(file.as_bytes(), "web", 1000);
        assert!(malformed.is_empty(), "{malformed:?}");
        assert_eq!(found("web:1:2"), [(1, 2)]);
        assert_eq!(found("webx:1:2\nwe:1:2\nWEB:1:2\n01000:7:1\n"), [(7, 1)]);
    }

    #[test]
    fn a_name_of_digits_is_no_number() {
        let file = b"2000:100000:65536\n";
        assert!(ranges(file, "2000", 1000).0.is_empty());
        assert_eq!(ranges(file, "", 2000).0.len(), 1);
        // Nor does a number out of range fall back to a name.
        assert!(ranges(b"99999999999:1:1\n", "99999999999", 7).0.is_empty());
        assert!(ranges(b":1:1\n", "", 7).0.is_empty());
    }

    #[test]
    fn malformed_lines_grant_nothing_and_are_named() {
        let lines = [
            "web",
            "web:1",
            "web:1:2:3",
            ":1:2",
            "web:-1:2",
            "web:0x10:2",
            "web:+1:2",
            "web: 1:2",
            "web:1:",
            "web:1:0",
            "web:4294967296:1",
            "web:1:99999999999999999999",
            "web:4294967295:1",
            "web:4294967294:2",
            "web:1\0:2",
            "\x1b[2J:x:y",
        ];
        for line in lines {
            let file = format!("web:5:5\n{line}\n");
            let (ranges, malformed) = ranges(file.as_bytes(), "web", 1000);
            assert_eq!(ranges, [Range { start: 5, count: 5 }], "{line:?}");
            assert_eq!(malformed.len(), 1, "{line:?}");
            assert_eq!(malformed[0].line, 2);
            assert!(!malformed[0].text.contains('\x1b'));
        }
        assert_eq!(found("web:4294967294:1"), [(u32::MAX - 1, 1)]);
        assert_eq!(found("web:0:4294967295"), [(0, u32::MAX)]);
        let long = [b"web:".as_slice(), &[0xff; 500]].concat();
        assert!(ranges(&long, "web", 1000).1[0].text.chars().count() <= 61);
    }

    #[test]
    fn an_id_is_granted_once() {
        assert_eq!(found("web:10:10\nweb:10:10\n"), [(10, 10)]);
        assert_eq!(found("web:10:10\nweb:15:10\n"), [(10, 10), (20, 5)]);
        assert_eq!(found("web:10:10\nweb:5:20\n"), [(10, 10), (5, 5), (20, 5)]);
        assert_eq!(found("web:10:5\nweb:15:5\n"), [(10, 5), (15, 5)]);
    }

    #[test]
    fn names_by_passwd() {
        let file =
            b"+nis\nroot:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:\nalso:x:1000:1:::\nx:x:01:1:\n";
        assert_eq!(login_name(file, 1000).as_deref(), Some("web"));
        assert_eq!(login_name(file, 0).as_deref(), Some("root"));
        assert_eq!(login_name(file, 1001), None);
        assert_eq!(login_name(b":x:5:5:", 5), None);
    }

    #[test]
    fn other_sources_than_files() {
        assert_eq!(
            source("passwd: files\nsubid: sss # ipa\n").as_deref(),
            Some("sss")
        );
        assert_eq!(source("subid: files\n"), None);
        assert_eq!(source("#subid: sss\nsubid:\n"), None);
    }

    proptest! {
        #[test]
        fn any_file_gives_disjoint_ranges(
            file in "((web|1000|x|#)?:[0-9]{0,3}:[0-9]{0,3}[:x]?\n){0,12}",
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let file = [file.as_bytes(), &noise].concat();
            let (ranges, _) = ranges(&file, "web", 1000);
            for (index, a) in ranges.iter().enumerate() {
                prop_assert!(a.count > 0);
                for b in &ranges[index + 1..] {
                    prop_assert!(a.end() <= b.start || b.end() <= a.start);
                }
            }
        }
    }
}
