//! The short form of ports: `[[ADDRESS:][PUBLISHED]:]TARGET[/PROTOCOL]`.

use super::node::{Mark, Node, Value};
use std::net::IpAddr;

/// The long forms of what a short one publishes: one for each port of a range.
pub fn parse(text: &str, mark: &Mark) -> Result<Vec<Node>, String> {
    let wrong = |why: &str| format!("the port {text:?} {why}");
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, protocol)) => (ports, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(wrong("has a protocol that is none of tcp, udp, sctp"));
    }
    let (before, target) = match ports.rsplit_once(':') {
        Some((before, target)) => (Some(before), target),
        None => (None, ports),
    };
    let (address, published) = match before.map(|before| (before, before.rsplit_once(':'))) {
        None => ("", ""),
        Some((published, None)) => ("", published),
        Some((_, Some((address, published)))) => (address, published),
    };
    if target.is_empty() {
        return Err(wrong("has no number of the container's port"));
    }
    let address = match address.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .ok_or_else(|| wrong("has an address without its last bracket"))?,
        None if address.contains(':') => {
            return Err(wrong("has an address of IPv6 that is not in brackets"));
        }
        None => address,
    };
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(wrong(&format!("has {address:?} where an address is to be")));
    }
    let (first, last) = range(target).ok_or_else(|| {
        wrong(&format!(
            "has {target:?} where a port, from 0 to 65535, or a range is to be"
        ))
    })?;
    let host = match published {
        "" => None,
        _ => Some(range(published).ok_or_else(|| {
            wrong(&format!(
                "has {published:?} where a port of the host is to be"
            ))
        })?),
    };
    if let Some((start, end)) = host
        && end - start != last - first
        && first != last
    {
        return Err(wrong("has ranges of different lengths"));
    }
    let mut all: Vec<(u16, Node)> = (first..=last)
        .map(|target| {
            let published = host.map(|(start, end)| match first == last && start != end {
                true => format!("{start}-{end}"),
                false => (start + (target - first)).to_string(),
            });
            let mut entries = vec![("mode", Value::Text("ingress".into()))];
            if !address.is_empty() {
                entries.push(("host_ip", Value::Text(address.to_owned())));
            }
            entries.push(("target", Value::Int(target.into())));
            entries.extend(published.map(|published| ("published", Value::Text(published))));
            entries.push(("protocol", Value::Text(protocol.clone())));
            (target, Node::map(entries, mark))
        })
        .collect();
    // As compose has them: by the ports' texts.
    all.sort_by_key(|(target, _)| format!("{target}/{protocol}"));
    Ok(all.into_iter().map(|(_, node)| node).collect())
}

/// A port, or the first and the last of several.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        }
    }
}
