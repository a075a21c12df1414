//! `--pull` of `run` and `create`.

use crate::error::refuse;
use crate::image::registry::pull::Policy;
use anyhow::Result;

/// Reads when a registry is asked for the image.
///
/// # Errors
/// Any other word.
pub fn policy(text: &str) -> Result<Policy> {
    Ok(match text {
        "always" | "true" => Policy::Always,
        "missing" | "ifnotpresent" => Policy::Missing,
        "newer" => Policy::Newer,
        "never" | "false" => Policy::Never,
        _ => refuse!(Invalid, "there are always, missing, newer and never"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_podmans_too() {
        for (words, wanted) in [
            (["always", "true"], Policy::Always),
            (["missing", "ifnotpresent"], Policy::Missing),
            (["newer", "newer"], Policy::Newer),
            (["never", "false"], Policy::Never),
        ] {
            for word in words {
                assert_eq!(policy(word).unwrap(), wanted, "{word}");
            }
        }
        let error = policy("now").unwrap_err().to_string();
        assert_eq!(error, "there are always, missing, newer and never");
    }
}
