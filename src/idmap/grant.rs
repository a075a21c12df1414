//! Which ids somebody may map: his own, and those that the subordinate files
//! grant him. Pure.

use super::IdMap;
use super::subid::{self, Range};
use std::fmt;

/// Who asks, and what he is granted in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The file, for messages.
    pub file: &'static str,
    /// What to call him in messages.
    pub name: String,
    /// His own user or group id.
    pub own: u32,
    /// The ranges of his lines.
    pub ranges: Vec<Range>,
}

/// A map that goes beyond the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    file: &'static str,
    name: String,
    first: u32,
    last: u32,
    granted: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal {
            file,
            name,
            first,
            last,
            granted,
        } = self;
        write!(
            f,
            "ids {first} to {last} are not granted to {name} by {file} ({granted})"
        )
    }
}

impl std::error::Error for Refusal {}

impl Grant {
    /// What `file` with this content grants.
    pub fn of(file: &'static str, content: &[u8], name: Option<&str>, uid: u32, own: u32) -> Grant {
        let (ranges, _) = subid::ranges(content, name.unwrap_or_default(), uid);
        Grant {
            file,
            name: name.map_or_else(|| format!("user {uid}"), str::to_owned),
            own,
            ranges,
        }
    }

    /// Checks that every line of a sound map is either his own id alone or
    /// within one granted range. Returns whether a granted range is used: who
    /// maps nothing but himself must not be able to drop groups.
    ///
    /// # Errors
    /// The first line that is not.
    pub fn check(&self, map: &[IdMap]) -> Result<bool, Refusal> {
        let mut granted = false;
        for line in map {
            let wanted = Range {
                start: line.outside,
                count: line.count,
            };
            let own = (line.outside, line.count) == (self.own, 1);
            let by_range = self.ranges.iter().any(|range| range.contains(&wanted));
            if !own && !by_range {
                return Err(Refusal {
                    file: self.file,
                    name: self.name.clone(),
                    first: wanted.start,
                    last: wanted.end() - 1,
                    granted: self.described(),
                });
            }
            granted |= by_range;
        }
        Ok(granted)
    }

    /// What is granted, in words.
    pub fn described(&self) -> String {
        let text = |r: &Range| format!("{} to {}", r.start, r.end() - 1);
        match self.ranges.as_slice() {
            [] => "it grants nothing".to_owned(),
            ranges => {
                let ranges: Vec<String> = ranges.iter().map(text).collect();
                format!("it grants {}", ranges.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "/etc/subuid";

    fn check(map: &[(u32, u32, u32)]) -> Result<bool, String> {
        let content = b"web:100000:65536\nweb:300000:10\nother:500000:65536\n";
        let map: Vec<IdMap> = map.iter().map(|l| IdMap::new(l.0, l.1, l.2)).collect();
        let grant = Grant::of(FILE, content, Some("web"), 1000, 1000);
        grant.check(&map).map_err(|e| e.to_string())
    }

    #[test]
    fn own_id_and_granted_ranges() {
        assert_eq!(check(&[(0, 1000, 1)]), Ok(false));
        assert_eq!(check(&[(0, 1000, 1), (1, 100_000, 65536)]), Ok(true));
        assert_eq!(check(&[(7, 165_535, 1), (0, 300_009, 1)]), Ok(true));
    }

    #[test]
    fn nothing_beyond_them() {
        for bad in [
            (0, 0, 1),
            (0, 999, 1),
            (0, 1000, 2),
            (0, 1001, 1),
            (0, 99_999, 1),
            (0, 99_999, 2),
            (0, 100_000, 65537),
            (0, 165_536, 1),
            (0, 300_000, 11),
            (0, 500_000, 1),
            (0, 0, u32::MAX),
        ] {
            let error = check(&[(70_000, 100_000, 1), bad]).unwrap_err();
            let ids = format!("ids {} to {} ", bad.1, bad.1 + bad.2 - 1);
            assert!(error.starts_with(&ids), "{error}");
            assert!(
                error.contains("web by /etc/subuid (it grants 100000 to 165535, 300000 to 300009)"),
                "{error}"
            );
        }
        let nobody = Grant::of(FILE, b"web:1:1\n", None, 1001, 1001);
        let refusal = nobody.check(&[IdMap::new(0, 1, 1)]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "ids 1 to 1 are not granted to user 1001 by /etc/subuid (it grants nothing)"
        );
    }

    proptest! {
        #[test]
        fn no_id_of_others(
            content in "((web|x|1000|#)?:[0-9]{0,3}:[0-9]{0,3}\n){0,6}",
            start in 0u32..1000, count in 1u32..50,
        ) {
            let grant = Grant::of(FILE, content.as_bytes(), Some("web"), 1000, 1000);
            if grant.check(&[IdMap::new(0, start, count)]).is_ok() {
                for id in start..start + count {
                    let mine = |r: &Range| (r.start..r.end()).contains(&id);
                    prop_assert!(grant.ranges.iter().any(mine));
                }
            }
        }
    }
}
