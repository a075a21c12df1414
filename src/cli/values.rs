//! Values of flags.

use crate::engine::etc;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;

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

/// A name and an address.
pub fn add_host(text: &str) -> Result<(String, String)> {
    let parts = text.split_once([':', '=']);
    let (name, address) =
        parts.with_context(|| format!("--add-host {text}: NAME:ADDRESS is wanted"))?;
    if address == etc::HOST_GATEWAY {
        return Ok((name.to_owned(), address.to_owned()));
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() {
        bail!("--add-host {text}: '{address}' is not an address");
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// `NAME[=VALUE]`s.
pub fn labels(list: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(label).collect()
}
