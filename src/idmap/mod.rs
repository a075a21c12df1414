//! User and group ids across namespaces: maps and what can be done with them,
//! the ranges that an administrator grants, and the helper program that
//! writes maps of granted ids ([`helper`]).
//!
//! All but the helper and [`write`](mod@write) is pure.

pub mod grant;
pub mod helper;
pub mod request;
pub mod subid;
pub mod write;

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// One line of an id map (user_namespaces(7)). Its last ids, inside and
/// outside, are below 4294967295, which stands for "no id".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdMap {
    /// First id in the namespace.
    pub inside: u32,
    /// First id outside of it.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

impl IdMap {
    /// A line that maps `count` ids.
    pub fn new(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap {
            inside,
            outside,
            count,
        }
    }

    /// The line in the other direction.
    fn inverted(self) -> IdMap {
        IdMap::new(self.outside, self.inside, self.count)
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdMap {
            inside,
            outside,
            count,
        } = self;
        write!(f, "{inside} {outside} {count}")
    }
}

/// The text that `/proc/PID/uid_map` takes.
pub fn lines(map: &[IdMap]) -> String {
    map.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

/// Reads the lines of `/proc/PID/uid_map` or `gid_map`.
pub fn parse(text: &str) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(IdMap::new(next()?, next()?, next()?))
    };
    text.lines().filter_map(line).collect()
}

/// Whether the map is that of the machine's first namespace.
pub fn is_full(map: &[IdMap]) -> bool {
    *map == [IdMap::new(0, 0, u32::MAX)]
}

/// What `id` inside is outside.
pub fn outside(map: &[IdMap], id: u32) -> Option<u32> {
    map.iter().find_map(|line| {
        let offset = id.checked_sub(line.inside)?;
        (offset < line.count).then(|| line.outside.checked_add(offset))?
    })
}

/// The map in the other direction: from outside to inside.
pub fn inverted(map: &[IdMap]) -> Vec<IdMap> {
    map.iter().map(|line| line.inverted()).collect()
}

/// How many ids the map has.
pub fn size(map: &[IdMap]) -> u64 {
    map.iter().map(|line| u64::from(line.count)).sum()
}

/// The map whose ids are first mapped by `first` and then by `second`: from
/// the inside of the one to the outside of the other. No line of the result is
/// of more than one line of either, as the kernel wants it of a namespace
/// below another.
///
/// # Errors
/// The first id between the two that `second` does not have.
pub fn compose(first: &[IdMap], second: &[IdMap]) -> Result<Vec<IdMap>, u32> {
    let mut result: Vec<IdMap> = Vec::new();
    for line in first {
        let mut done = 0;
        while done < line.count {
            // No overflow: the line ends below the last number.
            let middle = line.outside + done;
            let found = second.iter().find_map(|next| {
                let offset = middle.checked_sub(next.inside)?;
                let left = next.count.checked_sub(offset).filter(|left| *left > 0)?;
                Some((next.outside + offset, left.min(line.count - done)))
            });
            let (outside, count) = found.ok_or(middle)?;
            result.push(IdMap::new(line.inside + done, outside, count));
            done += count;
        }
    }
    Ok(result)
}

/// Adds a line, joined to the last one if it continues that.
pub fn push(map: &mut Vec<IdMap>, line: IdMap) {
    if line.count == 0 {
        return;
    }
    if let Some(last) = map.last_mut()
        && last.inside.checked_add(last.count) == Some(line.inside)
        && last.outside.checked_add(last.count) == Some(line.outside)
    {
        last.count += line.count;
        return;
    }
    map.push(line);
}

/// Whether every line is sound by itself and no two have an id in common,
/// inside or outside.
pub fn is_sound(map: &[IdMap]) -> bool {
    let sound = |line: &IdMap| {
        let ends = [line.inside, line.outside].map(|start| start.checked_add(line.count));
        line.count > 0 && ends.iter().all(Option::is_some)
    };
    let apart = |a: u32, b: u32, of_a: u32, of_b: u32| a + of_a <= b || b + of_b <= a;
    map.iter().all(sound)
        && map.iter().enumerate().all(|(index, a)| {
            map[index + 1..].iter().all(|b| {
                apart(a.inside, b.inside, a.count, b.count)
                    && apart(a.outside, b.outside, a.count, b.count)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(lines: &[(u32, u32, u32)]) -> Vec<IdMap> {
        let line =
            |(inside, outside, count): &(u32, u32, u32)| IdMap::new(*inside, *outside, *count);
        lines.iter().map(line).collect()
    }

    #[test]
    fn maps_are_put_together() {
        let base = map(&[(0, 1000, 1), (1, 100_000, 65536)]);
        assert_eq!(outside(&base, 0), Some(1000));
        assert_eq!(outside(&base, 65536), Some(165_535));
        assert_eq!(outside(&base, 65537), None);
        let keep = map(&[(0, 1000, 1), (1, 1, 999), (1000, 0, 1), (1001, 1001, 10)]);
        let whole = compose(&keep, &base).unwrap();
        assert_eq!(outside(&whole, 1000), Some(1000));
        assert_eq!(outside(&whole, 0), Some(100_999));
        assert_eq!(outside(&whole, 5), Some(100_004));
        assert_eq!(compose(&map(&[(0, 65000, 600)]), &base), Err(65537));
        // And back again.
        assert_eq!(compose(&whole, &inverted(&base)).unwrap(), keep);
        let all = map(&[(0, 0, 65537)]);
        assert_eq!(compose(&all, &base).unwrap(), base);
        assert_eq!(lines(&base), "0 1000 1\n1 100000 65536\n");
    }

    #[test]
    fn maps_of_the_kernel_are_read() {
        assert!(is_full(&parse("         0          0 4294967295\n")));
        let read = parse("0 1000 1\n1 100000 65536\nx y z\n1 2\n1 2 4294967296\n");
        assert_eq!(read, map(&[(0, 1000, 1), (1, 100_000, 65536)]));
        assert!(!is_full(&read));
    }

    #[test]
    fn overlaps_and_overflows_are_unsound() {
        assert!(is_sound(&map(&[(0, 0, u32::MAX)])));
        assert!(!is_sound(&map(&[(0, 0, 0)])));
        assert!(!is_sound(&map(&[(1, 0, u32::MAX)])));
        assert!(!is_sound(&map(&[(0, 10, 5), (4, 20, 5)])));
        assert!(!is_sound(&map(&[(0, 10, 5), (5, 14, 5)])));
        assert!(is_sound(&map(&[(5, 15, 5), (0, 10, 5)])));
    }

    proptest! {
        #[test]
        fn composition_is_by_id(
            a in proptest::collection::vec((0u32..40, 0u32..40, 1u32..9), 0..4),
            b in proptest::collection::vec((0u32..40, 0u32..40, 1u32..9), 0..4),
        ) {
            let (a, b) = (map(&a), map(&b));
            prop_assert_eq!(&parse(&lines(&a)), &a);
            prop_assume!(is_sound(&a) && is_sound(&b));
            if let Ok(both) = compose(&a, &b) {
                prop_assert!(is_sound(&both));
                for id in 0..60 {
                    let by_steps = outside(&a, id).and_then(|middle| outside(&b, middle));
                    prop_assert_eq!(outside(&both, id), by_steps);
                }
            }
        }
    }
}
