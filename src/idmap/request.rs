//! What `bryo-idmap` is asked for: its arguments, which anybody can choose.
//! Pure.

use super::{IdMap, is_sound};
use std::fmt;

/// Longest argument in bytes.
const MAX_BYTES: usize = 4096;
/// Most lines of a map.
const MAX_LINES: usize = 32;

/// The maps that a namespace is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of users.
    pub uids: Vec<IdMap>,
    /// Of groups.
    pub gids: Vec<IdMap>,
}

/// Arguments that are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl Request {
    /// Reads the arguments, the program's name not among them: the map of
    /// users and the map of groups, each as `INSIDE:OUTSIDE:COUNT`, several of
    /// them separated by commas. Numbers are decimal, without sign, blank or
    /// leading zero.
    ///
    /// # Errors
    /// Anything else, and maps with ids that overlap or go beyond the last.
    pub fn parse<A: AsRef<[u8]>>(arguments: &[A]) -> Result<Request, Malformed> {
        let [uids, gids] = arguments else {
            return Err(Malformed(
                "two arguments are wanted: the maps of users and groups",
            ));
        };
        Ok(Request {
            uids: map(uids.as_ref())?,
            gids: map(gids.as_ref())?,
        })
    }

    /// The arguments that ask for these maps.
    pub fn arguments(&self) -> [String; 2] {
        let text = |map: &[IdMap]| {
            let line = |l: &IdMap| format!("{}:{}:{}", l.inside, l.outside, l.count);
            map.iter().map(line).collect::<Vec<_>>().join(",")
        };
        [text(&self.uids), text(&self.gids)]
    }
}

fn map(text: &[u8]) -> Result<Vec<IdMap>, Malformed> {
    if text.len() > MAX_BYTES {
        return Err(Malformed("a map is too long"));
    }
    let mut map = Vec::new();
    for line in text.split(|byte| *byte == b',') {
        if map.len() == MAX_LINES {
            return Err(Malformed("a map has too many lines"));
        }
        let mut fields = line.split(|byte| *byte == b':').map(number);
        let mut next = || fields.next().flatten();
        let line = match (next(), next(), next()) {
            (Some(inside), Some(outside), Some(count)) => IdMap::new(inside, outside, count),
            _ => return Err(Malformed("a line of a map is not INSIDE:OUTSIDE:COUNT")),
        };
        if fields.next().is_some() {
            return Err(Malformed("a line of a map has too many fields"));
        }
        map.push(line);
    }
    match is_sound(&map) {
        true => Ok(map),
        false => Err(Malformed(
            "a map is empty, goes beyond the last id, or has an id twice",
        )),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
    if !digits || text.len() > 1 && text[0] == b'0' {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let request = Request {
            uids: vec![IdMap::new(0, 1000, 1), IdMap::new(1, 100_000, 65536)],
            gids: vec![IdMap::new(0, 100, 1)],
        };
        let arguments = request.arguments();
        assert_eq!(arguments, ["0:1000:1,1:100000:65536", "0:100:1"]);
        assert_eq!(Request::parse(&arguments), Ok(request));
    }

    #[test]
    fn nothing_else_is() {
        let good = "0:1000:1";
        for bad in [
            "",
            ",",
            "0:1000",
            "0:1000:1:1",
            "0:1000:1,",
            "0:1000:0",
            "00:1000:1",
            "+0:1000:1",
            "-1:1000:1",
            " 0:1000:1",
            "0:1000:1\n",
            "0x0:1000:1",
            "0:4294967296:1",
            "0:4294967295:1",
            "4294967295:0:1",
            "0:1:4294967295",
            "0:99999999999999999999:1",
            "0:10:2,1:20:2",
            "0:10:2,2:11:2",
            "0 1000 1",
            "0:1000:1;1:2:3",
        ] {
            assert!(Request::parse(&[bad, good]).is_err(), "{bad:?}");
            assert!(Request::parse(&[good, bad]).is_err(), "{bad:?}");
        }
        assert!(Request::parse::<&str>(&[]).is_err());
        assert!(Request::parse(&[good]).is_err());
        assert!(Request::parse(&[good, good, good]).is_err());
        let long = "1:1:1,".repeat(5000);
        assert!(Request::parse(&[long.as_str(), good]).is_err());
        let lines: Vec<String> = (0..33).map(|n| format!("{n}:{n}:1")).collect();
        assert!(Request::parse(&[lines.join(",").as_str(), good]).is_err());
        assert!(Request::parse(&[lines[..32].join(",").as_str(), good]).is_ok());
    }

    proptest! {
        #[test]
        fn any_arguments(a in "[0-9:,]{0,40}", b in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = Request::parse(&[a.as_bytes(), &b]);
            if let Ok(request) = Request::parse(&[a.as_bytes(), a.as_bytes()]) {
                prop_assert!(is_sound(&request.uids));
                prop_assert_eq!(&request.arguments()[0], &a);
            }
        }
    }
}
