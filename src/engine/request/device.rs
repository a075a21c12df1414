//! `--device`: device nodes of the host.

use crate::error::refuse;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Reads a `--device HOST[:CONTAINER[:PERMISSIONS]]`: its places on the host
/// and in the container.
///
/// # Errors
/// More parts, a node that the host does not have, a comma in a path.
pub fn parse(text: &str) -> Result<(PathBuf, PathBuf)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside) = match parts.as_slice() {
        [host] => (*host, *host),
        // The third part is a cgroup rule, which users have none of: the
        // node's own mode decides.
        [host, inside] | [host, inside, _] => (*host, *inside),
        _ => refuse!(Invalid, "device '{text}': HOST[:CONTAINER] is wanted"),
    };
    if !Path::new(host).exists() {
        refuse!(Invalid, "device '{text}': there is no {host} on this host");
    }
    if text.contains(',') {
        refuse!(Invalid, "device '{text}': a comma cannot be in the path");
    }
    Ok((host.into(), inside.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        for (text, inside) in [
            ("/dev/null", "/dev/null"),
            ("/dev/null:/dev/x", "/dev/x"),
            ("/dev/null:/dev/x:rwm", "/dev/x"),
        ] {
            let wanted = ("/dev/null".into(), inside.into());
            assert_eq!(parse(text).unwrap(), wanted, "{text}");
        }
        for (text, why) in [
            ("/dev/null:a:b:c", "HOST[:CONTAINER] is wanted"),
            ("/dev/nosuch", "there is no /dev/nosuch on this host"),
            ("/dev/null:/a,b", "a comma cannot be in the path"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("device '{text}': {why}"));
        }
    }
}
