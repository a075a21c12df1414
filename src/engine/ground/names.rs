//! Ids and names of containers.

use crate::sys::{self, random};
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use std::path::Path;

const ADJECTIVES: [&str; 48] = [
    "amber", "ashen", "bold", "bright", "calm", "clear", "cool", "damp", "deep", "dewy", "eager",
    "early", "fair", "fine", "fresh", "gentle", "glad", "green", "hardy", "hidden", "humble",
    "keen", "kind", "late", "light", "little", "lively", "lone", "lucid", "mellow", "mild",
    "misty", "neat", "nimble", "patient", "plain", "proud", "quick", "quiet", "rare", "shady",
    "slow", "soft", "still", "sturdy", "supple", "tender", "young",
];

/// Genera of mosses, liverworts and hornworts.
const GENERA: [&str; 48] = [
    "andreaea",
    "anthoceros",
    "atrichum",
    "barbula",
    "bartramia",
    "bazzania",
    "brachythecium",
    "bryum",
    "buxbaumia",
    "calliergon",
    "ceratodon",
    "climacium",
    "conocephalum",
    "cratoneuron",
    "ctenidium",
    "dawsonia",
    "dicranum",
    "ditrichum",
    "encalypta",
    "fissidens",
    "fontinalis",
    "frullania",
    "funaria",
    "grimmia",
    "hedwigia",
    "homalothecium",
    "hookeria",
    "hylocomium",
    "hypnum",
    "isothecium",
    "leucobryum",
    "lophocolea",
    "lunularia",
    "marchantia",
    "metzgeria",
    "mnium",
    "neckera",
    "orthotrichum",
    "pellia",
    "physcomitrium",
    "plagiochila",
    "pohlia",
    "polytrichum",
    "radula",
    "riccia",
    "sphagnum",
    "thuidium",
    "tortula",
];

/// A new container id: 64 random hexadecimal digits.
///
/// # Errors
/// The kernel gives no randomness.
pub fn new_id() -> sys::Result<String> {
    let bytes: [u8; 32] = random::bytes()?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether this is a whole id.
pub fn is_id(text: &str) -> bool {
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 64 && text.bytes().all(digit)
}

/// The target of the symbolic link that stands for a name: the id in 43
/// characters. ext4 keeps up to 59 in the inode itself; a longer target takes
/// a block, and to free that takes longer than all else that ends a container.
pub fn to_link(id: &str) -> String {
    let digit = |at| u8::from_str_radix(id.get(at..at + 2).unwrap_or_default(), 16);
    let bytes: Result<Vec<u8>, _> = (0..id.len()).step_by(2).map(digit).collect();
    BASE64.encode(bytes.unwrap_or_default())
}

/// The id to which the link that stands for a name points; none if there is no
/// such link.
pub fn from_link(link: &Path) -> Option<String> {
    let target = std::fs::read_link(link).ok()?;
    let bytes = BASE64.decode(target.as_os_str().as_encoded_bytes()).ok()?;
    Some(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A name for a container that was given none.
///
/// # Errors
/// The kernel gives no randomness.
pub fn generate() -> sys::Result<String> {
    let [a, b, c] = random::bytes()?;
    let adjective = ADJECTIVES[usize::from(a) % ADJECTIVES.len()];
    let genus = GENERA[usize::from(b) % GENERA.len()];
    Ok(format!("{adjective}_{genus}{c}"))
}

/// The first twelve digits of an id, as docker shows it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_names() {
        for _ in 0..100 {
            crate::engine::request::names::container(&generate().unwrap()).unwrap();
        }
        assert_eq!(new_id().unwrap().len(), 64);
    }

    #[test]
    fn links_are_short_and_come_back() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("name");
        let id = new_id().unwrap();
        std::os::unix::fs::symlink(to_link(&id), &link).unwrap();
        assert_eq!(to_link(&id).len(), 43);
        assert_eq!(from_link(&link), Some(id));
        assert_eq!(from_link(&place.path().join("other")), None);
    }
}
