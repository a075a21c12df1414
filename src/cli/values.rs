//! Values of flags.

use crate::engine::etc;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A clock and how far it is shifted.
pub fn time_offset(text: &str) -> Result<(String, i64)> {
    let fail = || format!("--time-offset {text}: CLOCK=SECONDS is wanted, as boottime=3600");
    let (clock, seconds) = text.split_once('=').with_context(fail)?;
    if clock != "monotonic" && clock != "boottime" {
        bail!("--time-offset {text}: there are the clocks monotonic and boottime");
    }
    Ok((clock.to_owned(), seconds.parse().ok().with_context(fail)?))
}

/// An octal mask.
pub fn parse_umask(text: &str) -> Result<u32> {
    let mask = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
    mask.with_context(|| format!("umask '{text}': an octal number up to 777 is wanted"))
}

/// A program, or a JSON list of program and arguments.
pub fn parse_entrypoint(text: &str) -> Result<Vec<String>> {
    match text {
        "" => Ok(Vec::new()),
        list if list.starts_with('[') => {
            serde_json::from_str(list).with_context(|| format!("entrypoint {list}"))
        }
        program => Ok(vec![program.to_owned()]),
    }
}

/// `NAME[;NAME…]:ADDRESS`, or with `=`: the names, each with the address.
pub fn add_host(text: &str) -> Result<Vec<(String, String)>> {
    let fail = |why: String| format!("--add-host {text}: {why}");
    // With "=" an address may have colons in plain sight, as docker has it.
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (names, address) = parts.with_context(|| fail("NAME:ADDRESS is wanted".into()))?;
    let bare = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
        Some(inside) if inside.parse::<IpAddr>().is_ok() => inside,
        _ => address,
    };
    if bare != etc::HOST_GATEWAY && bare.parse::<IpAddr>().is_err() {
        bail!(fail(format!(
            "'{address}' is not an address; an IPv4 or IPv6 address or {} is wanted",
            etc::HOST_GATEWAY
        )));
    }
    let all = names.split(';').map(|name| {
        let word = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '#' | ':');
        if name.is_empty() || !name.chars().all(word) {
            bail!(fail(format!("'{name}' is not a host's name")));
        }
        Ok((name.to_owned(), bare.to_owned()))
    });
    all.collect()
}

/// `NAME[=VALUE]`s.
pub fn labels(list: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_added_by_name_and_address() {
        for (text, lines) in [
            ("a:1.2.3.4", &[("a", "1.2.3.4")][..]),
            ("a=1.2.3.4", &[("a", "1.2.3.4")]),
            ("a:::1", &[("a", "::1")]),
            ("a=::1", &[("a", "::1")]),
            ("a:[::1]", &[("a", "::1")]),
            ("a=[fd00::2]", &[("a", "fd00::2")]),
            ("a;b.c:1.2.3.4", &[("a", "1.2.3.4"), ("b.c", "1.2.3.4")]),
            (
                "a;b=host-gateway",
                &[("a", "host-gateway"), ("b", "host-gateway")],
            ),
        ] {
            let wanted: Vec<(String, String)> = lines
                .iter()
                .map(|(name, address)| ((*name).into(), (*address).into()))
                .collect();
            assert_eq!(add_host(text).unwrap(), wanted, "{text}");
        }
        for text in [
            "a",
            "a:",
            "a::",
            ":1.2.3.4",
            "=1.2.3.4",
            "a=b:1.2.3.4",
            "a:x=1.2.3.4",
            "a:[::1",
            "a;:1.2.3.4",
            "a b:1.2.3.4",
            "a\n:1.2.3.4",
            "#a:1.2.3.4",
        ] {
            assert!(add_host(text).is_err(), "{text:?}");
        }
    }
}
