//! The contents of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
//! Pure.

use super::options::{Dns, Network};
use std::fmt::Write as _;

/// `/etc/hosts` (hosts(5)): loopback, the container's own name, and the
/// user's additions; with the host's network also what the host's file says.
pub fn hosts(name: &str, additions: &[(String, String)], host_file: Option<&str>) -> String {
    let mut text = String::new();
    for (host, address) in additions {
        let _ = writeln!(text, "{address}\t{host}");
    }
    match host_file {
        Some(file) => {
            text.push_str(file);
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        None => text.push_str(
            "127.0.0.1\tlocalhost localhost.localdomain\n::1\tlocalhost ip6-localhost \
             ip6-loopback\n",
        ),
    }
    if !name.is_empty() {
        let _ = writeln!(text, "127.0.1.1\t{name}");
    }
    text
}

/// `/etc/resolv.conf` (resolv.conf(5)): the host's, each part replaced by the
/// user's where given. Without a network there is nobody to ask.
pub fn resolv_conf(dns: &Dns, network: Network, host_file: &str) -> String {
    let from_host = |keyword: &str| -> Vec<String> {
        if network == Network::None {
            return Vec::new();
        }
        let lines = host_file.lines().map(str::trim_start);
        let mut found: Vec<String> = lines
            .filter_map(|line| line.strip_prefix(keyword))
            .filter(|rest| rest.starts_with([' ', '\t']))
            .map(|rest| rest.trim().to_owned())
            .collect();
        // Of several "search" or "options" lines the last one counts.
        if keyword != "nameserver" {
            found = found.pop().into_iter().collect();
        }
        found
    };
    let choose = |given: &[String], keyword| match given {
        [] => from_host(keyword),
        given if keyword == "nameserver" => given.to_vec(),
        given if given == ["."] => Vec::new(),
        given => vec![given.join(" ")],
    };
    let mut text = String::new();
    for (keyword, values) in [
        ("search", choose(&dns.search, "search")),
        ("nameserver", choose(&dns.servers, "nameserver")),
        ("options", choose(&dns.options, "options")),
    ] {
        for value in values {
            let _ = writeln!(text, "{keyword} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# x\nnameserver 127.0.0.53\nsearch a b\noptions edns0\n";

    #[test]
    fn resolv_conf_takes_the_users_parts() {
        let text = resolv_conf(&Dns::default(), Network::Host, HOST);
        assert_eq!(text, "search a b\nnameserver 127.0.0.53\noptions edns0\n");
        let dns = Dns {
            servers: vec!["1.1.1.1".into(), "::1".into()],
            search: vec![".".into()],
            options: Vec::new(),
        };
        let text = resolv_conf(&dns, Network::Host, HOST);
        assert_eq!(text, "nameserver 1.1.1.1\nnameserver ::1\noptions edns0\n");
        assert_eq!(resolv_conf(&Dns::default(), Network::None, HOST), "");
    }

    #[test]
    fn hosts_has_the_own_name() {
        let text = hosts("web", &[("db".into(), "10.0.0.2".into())], None);
        assert!(text.contains("10.0.0.2\tdb\n") && text.contains("127.0.1.1\tweb\n"));
        assert!(hosts("web", &[], Some("127.0.0.1 x")).contains("127.0.0.1 x\n127.0.1.1"));
    }
}
