//! URLs of registries: where a redirect leads, what may be asked of whom.
//!
//! Pure: no files, no clock.

use crate::error::{demand, refuse};
use std::fmt::Write;

use anyhow::{Context, Result};
use ureq::http::Uri;

/// Reads an absolute `http` or `https` URL; anything else is an error.
pub fn parse(text: &str) -> Result<Uri> {
    let text = text.split('#').next().unwrap_or_default();
    if let Some((scheme, _)) = text.split_once("://")
        && !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https")
    {
        refuse!(Invalid, "URL {text:?}: the scheme {scheme} is not allowed");
    }
    let url: Uri = text.parse().with_context(|| format!("URL {text:?}"))?;
    match url.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => refuse!(Invalid, "URL {text:?}: the scheme {other} is not allowed"),
        None => refuse!(Invalid, "URL {text:?} is not absolute"),
    }
    let host = url.host().unwrap_or_default();
    demand!(Invalid, !host.is_empty(), "URL {text:?} has no host");
    let authority = url.authority().map_or("", |authority| authority.as_str());
    demand!(
        Invalid,
        !authority.contains('@'),
        "URL has a user name in it"
    );
    Ok(url)
}

/// Where `location` points, seen from `base` (RFC 3986, section 5.2, without
/// dot segments, which the server resolves).
pub fn join(base: &Uri, location: &str) -> Result<Uri> {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let has_scheme = location
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|start| start.contains(':'));
    if has_scheme {
        return parse(location);
    }
    if location.starts_with("//") {
        return parse(&format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return parse(&format!("{scheme}://{authority}{location}"));
    }
    let path = match location.starts_with('?') {
        true => base.path(),
        false => base
            .path()
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent),
    };
    let slash = if location.starts_with('?') { "" } else { "/" };
    parse(&format!("{scheme}://{authority}{path}{slash}{location}"))
}

/// Whether two URLs are of the same server: scheme, host and port. What is
/// secret between us and the one is not for the other.
pub fn same_origin(a: &Uri, b: &Uri) -> bool {
    origin(a) == origin(b)
}

fn origin(url: &Uri) -> (bool, String, u16) {
    let https = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let default = if https { 443 } else { 80 };
    (https, host, url.port_u16().unwrap_or(default))
}

/// Whether a host (with or without a port) is this machine. Docker trusts
/// such registries without TLS.
pub fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Adds a parameter to a URL's query.
pub fn with_query(url: &str, name: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{name}={}", escape(value))
}

/// Percent-encodes all but what may stand everywhere (RFC 3986, section 2.3).
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redirects_are_resolved_or_refused() {
        let base = parse("https://r.test:5000/v2/a/blobs/x?y=1").unwrap();
        for (location, expected) in [
            ("https://cdn.test/x#y", "https://cdn.test/x"),
            ("//cdn.test/x", "https://cdn.test/x"),
            ("/other", "https://r.test:5000/other"),
            ("z", "https://r.test:5000/v2/a/blobs/z"),
            ("?q=2", "https://r.test:5000/v2/a/blobs/x?q=2"),
        ] {
            let url = join(&base, location).unwrap();
            assert_eq!(url.to_string(), parse(expected).unwrap().to_string());
        }
        for location in [
            "file:///etc/passwd",
            "ftp://x/y",
            "gopher://x",
            "https://user:password@x/",
            "https:///x",
            "javascript:alert(1)",
        ] {
            assert!(join(&base, location).is_err(), "{location}");
        }
    }

    #[test]
    fn hosts_are_compared() {
        let url = |text: &str| parse(text).unwrap();
        assert!(same_origin(&url("https://A/x"), &url("https://a:443/y")));
        assert!(!same_origin(&url("https://a/x"), &url("http://a/x")));
        assert!(!same_origin(&url("https://a/x"), &url("https://a:1/x")));
        for (host, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.3.4.5:1", true),
            ("[::1]:5000", true),
            ("localhost.test", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
        assert_eq!(
            with_query("http://x/?a=b", "scope", "repository:a/b:pull"),
            "http://x/?a=b&scope=repository%3Aa%2Fb%3Apull"
        );
    }

    proptest! {
        #[test]
        fn no_redirect_leaves_http(location in "[a-z]{0,4}:?/{0,3}[a-z@:.?#]{0,12}") {
            let base = parse("https://r.test/v2/x").unwrap();
            if let Ok(url) = join(&base, &location) {
                prop_assert!(matches!(url.scheme_str(), Some("http" | "https")));
                prop_assert!(!url.authority().unwrap().as_str().contains('@'));
            }
        }
    }
}
