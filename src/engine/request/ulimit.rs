//! `--ulimit`.

use crate::error::{refusal, refuse};
use anyhow::{Context, Result};
use oci_spec::runtime::PosixRlimitType;

/// Reads a `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
///
/// # Errors
/// What prlimit(2) does not have, what is no number, a soft limit above the
/// hard one.
pub fn parse(text: &str) -> Result<(PosixRlimitType, u64, u64)> {
    let fail = || format!("ulimit '{text}': NAME=SOFT[:HARD] is wanted, as nofile=1024:2048");
    let (name, values) = text.split_once('=').with_context(fail)?;
    let kind = serde_json::Value::String(format!("RLIMIT_{}", name.to_ascii_uppercase()));
    let kind = serde_json::from_value(kind)
        .map_err(|_| refusal!(Invalid, "ulimit '{text}': '{name}' is none of prlimit(2)'s"))?;
    let value = |v: &str| match v {
        "-1" | "unlimited" => Ok(u64::MAX),
        v => v.parse::<u64>().ok().with_context(fail),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        refuse!(
            Invalid,
            "ulimit '{text}': the soft limit is above the hard one"
        );
    }
    Ok((kind, soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_flag_is_survived(text in "[a-z0-9:=,/.~ \\PC]{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn limits_are_soft_and_hard() {
        let files = PosixRlimitType::RlimitNofile;
        for (text, soft, hard) in [
            ("nofile=10:20", 10, 20),
            ("NOFILE=7", 7, 7),
            ("nofile=0:-1", 0, u64::MAX),
            ("nofile=unlimited", u64::MAX, u64::MAX),
        ] {
            assert_eq!(parse(text).unwrap(), (files, soft, hard), "{text}");
        }
        let wanted = "NAME=SOFT[:HARD] is wanted, as nofile=1024:2048";
        for (text, why) in [
            ("nofile", wanted),
            ("nofile=", wanted),
            ("nofile=1:x", wanted),
            ("x=1", "'x' is none of prlimit(2)'s"),
            ("nofile=20:10", "the soft limit is above the hard one"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("ulimit '{text}': {why}"));
        }
    }
}
