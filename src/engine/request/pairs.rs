//! Names with values: `--label`, `--annotation`, `--sysctl`.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Reads `NAME[=VALUE]`s: all values of `--label`.
pub fn labels(texts: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(label).collect()
}

/// Reads `NAME=VALUE`s: all values of the flag that is named.
///
/// # Errors
/// One without a value.
pub fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--{flag} {text}: NAME=VALUE is wanted"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_behind_the_first_equals_sign() {
        let texts = ["a=b=c", "d=", "a=e"].map(str::to_owned);
        let wanted = [("a", "e"), ("d", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs("sysctl", &texts).unwrap(), wanted.clone().into());
        assert_eq!(labels(&texts), wanted.into());
        assert_eq!(labels(&["x".into()])["x"], "");
        let error = pairs("sysctl", &["x".into()]).unwrap_err().to_string();
        assert_eq!(error, "--sysctl x: NAME=VALUE is wanted");
    }
}
