//! The contents of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
//! Pure.

use crate::engine::request::dns::Dns;
use crate::engine::request::network::Network;
use crate::net::dns::ResolvConf;
use std::fmt::Write as _;
use std::net::IpAddr;

/// `/etc/hosts` (hosts(5)): loopback, the container's own name, and the
/// user's additions; with the host's network also what the host's file says.
pub fn hosts(
    name: &str,
    network: &Network,
    additions: &[(String, IpAddr)],
    host_file: Option<&str>,
) -> String {
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
    let mut own = "127.0.1.1".to_owned();
    if let Network::User(user) = network {
        own = user.address().to_string();
        if let Some(host) = user.host_address() {
            let _ = writeln!(
                text,
                "{host}\thost.containers.internal host.docker.internal"
            );
        }
    }
    if !name.is_empty() {
        let _ = writeln!(text, "{own}\t{name}");
    }
    text
}

/// `/etc/resolv.conf` (resolv.conf(5)): the host's, each part replaced by the
/// user's where given. Without a network there is nobody to ask.
pub fn resolv_conf(dns: &Dns, network: &Network, host_file: &str) -> String {
    let host = match network {
        Network::None => ResolvConf::default(),
        _ => ResolvConf::parse(host_file),
    };
    let servers = match (network, &dns.servers[..]) {
        // The network's own are put in at each start.
        (Network::Named, _) => Vec::new(),
        (_, given @ [_, ..]) => given.to_vec(),
        (Network::None, []) => Vec::new(),
        // It asks the host's, wherever they are.
        (Network::User(user), []) => vec![user.gateway().to_string()],
        // Those of a link (`fe80::1%eth0`) too.
        (_, []) => lines_of(host_file, "nameserver").collect(),
    };
    let search = dns.search.or(host.search);
    let mut options = dns.options.or(host.options);
    // A name without a dot may be a container's; who says otherwise goes first.
    if *network == Network::Named && !options.iter().any(|o| o.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// What stands behind a keyword at the beginning of lines.
fn lines_of<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = String> + 'a {
    let lines = text.lines().map(str::trim_start);
    let rests = lines.filter_map(move |line| line.strip_prefix(keyword));
    let rests = rests.filter(|rest| rest.starts_with([' ', '\t']));
    rests.map(|rest| rest.trim().to_owned())
}

/// `/etc/hosts` with these addresses as those of the host name, in the place of
/// what stood for it.
pub fn with_own_addresses(text: &str, hostname: &str, addresses: &[IpAddr]) -> String {
    let is_own = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        let (_, name, more) = (fields.next(), fields.next(), fields.next());
        name == Some(hostname) && more.is_none() && !line.starts_with('#')
    };
    let mut new = String::new();
    for line in text.lines().filter(|line| !is_own(line)) {
        let _ = writeln!(new, "{line}");
    }
    for address in addresses {
        let _ = writeln!(new, "{address}\t{hostname}");
    }
    new
}

/// `/etc/resolv.conf` with these name servers alone.
pub fn with_name_servers(text: &str, servers: &[IpAddr]) -> String {
    let is_server = |line: &&str| line.starts_with("nameserver");
    let mut new = String::new();
    for line in text.lines().filter(|line| !is_server(line)) {
        let _ = writeln!(new, "{line}");
    }
    // Those behind the third are not asked (resolv.conf(5)).
    for server in servers.iter().take(3) {
        let _ = writeln!(new, "nameserver {server}");
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::dns::Words;

    const HOST: &str = "# x\nnameserver 127.0.0.53\nsearch a b\noptions edns0\n";

    #[test]
    fn resolv_conf_takes_the_users_parts() {
        let text = resolv_conf(&Dns::default(), &Network::Host, HOST);
        assert_eq!(text, "search a b\nnameserver 127.0.0.53\noptions edns0\n");
        let dns = Dns {
            servers: vec!["1.1.1.1".into(), "::1".into()],
            search: Words::Nothing,
            options: Words::Host,
        };
        let text = resolv_conf(&dns, &Network::Host, HOST);
        assert_eq!(text, "nameserver 1.1.1.1\nnameserver ::1\noptions edns0\n");
        assert_eq!(resolv_conf(&Dns::default(), &Network::None, HOST), "");
    }

    #[test]
    fn the_hosts_options_hold_on_named_networks() {
        let named = |dns: &Dns, host: &str| resolv_conf(dns, &Network::Named, host);
        let none = Dns::default();
        assert_eq!(named(&none, HOST), "search a b\noptions edns0 ndots:0\n");
        let host = "domain old\nsearch svc.local local\noptions ndots:5\noptions timeout:1 # x\n";
        assert_eq!(
            named(&none, host),
            "search svc.local local\noptions ndots:5 timeout:1\n"
        );
        let dns = Dns {
            servers: vec!["1.1.1.1".into()],
            search: Words::These(vec!["mine".into()]),
            options: Words::These(vec!["rotate".into()]),
        };
        assert_eq!(named(&dns, host), "search mine\noptions rotate ndots:0\n");
        assert_eq!(named(&none, "domain d\n"), "search d\noptions ndots:0\n");
        let text = resolv_conf(&none, &Network::Host, "nameserver fe80::1%eth0\n");
        assert_eq!(text, "nameserver fe80::1%eth0\n");
    }

    #[test]
    fn what_networks_give_is_put_in() {
        let text = "127.0.0.1\tlocalhost\n10.0.0.9\tweb db\n127.0.1.1\tweb\n";
        let new = with_own_addresses(text, "web", &["10.89.0.2".parse().unwrap()]);
        assert_eq!(
            new,
            "127.0.0.1\tlocalhost\n10.0.0.9\tweb db\n10.89.0.2\tweb\n"
        );
        let new = with_name_servers("search a\nnameserver 1.1.1.1\n", &["::1".parse().unwrap()]);
        assert_eq!(new, "search a\nnameserver ::1\n");
    }

    #[test]
    fn hosts_has_the_own_name() {
        let text = hosts(
            "web",
            &Network::None,
            &[("db".into(), [10, 0, 0, 2].into())],
            None,
        );
        assert!(text.contains("10.0.0.2\tdb\n") && text.contains("127.0.1.1\tweb\n"));
        assert!(
            hosts("web", &Network::Host, &[], Some("127.0.0.1 x"))
                .contains("127.0.0.1 x\n127.0.1.1")
        );
    }
}
