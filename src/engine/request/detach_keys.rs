//! `--detach-keys`: keys that end an attachment.

use crate::error::refuse;
use anyhow::Result;

/// Docker's default.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Reads a list of keys: characters, or `ctrl-` and one of `a` to `z`, `@`,
/// `[`, `\\`, `]`, `^`, `_`.
///
/// # Errors
/// Something that is no key.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    let key = |word: &str| match (word.strip_prefix("ctrl-"), word.as_bytes()) {
        (Some(rest), _) => match rest.as_bytes() {
            [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
                Ok(letter.to_ascii_uppercase() - b'@')
            }
            _ => refuse!(Invalid, "detach keys '{text}': there is no key '{word}'"),
        },
        (None, [one]) => Ok(*one),
        _ => refuse!(
            Invalid,
            "detach keys '{text}': '{word}' is neither a character nor ctrl-LETTER"
        ),
    };
    match text {
        "" => Ok(Vec::new()),
        text => text.split(',').map(key).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        for (text, keys) in [
            (DEFAULT, &[16, 17][..]),
            ("", &[]),
            ("x,ctrl-[", b"x\x1b"),
            ("ctrl-@,ctrl-_", &[0, 31]),
        ] {
            assert_eq!(parse(text).unwrap(), keys, "{text}");
        }
        for (text, why) in [
            ("ctrl-1", "there is no key 'ctrl-1'"),
            ("x,ab", "'ab' is neither a character nor ctrl-LETTER"),
            ("x,", "'' is neither a character nor ctrl-LETTER"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("detach keys '{text}': {why}"));
        }
    }
}
