//! Host names to addresses, without the C library: a static program cannot
//! load its modules. `/etc/hosts`, then the servers of `/etc/resolv.conf`
//! (hosts(5), resolv.conf(5), RFC 1035).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::sys::random;

/// How long the answer of the second family may come after the first's.
const SECOND_ANSWER: Duration = Duration::from_millis(300);

/// Resolves names as described above.
#[derive(Debug, Default)]
pub struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        url: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = url.host().unwrap_or_default();
        let default = match url.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        let port = url.port_u16().unwrap_or(default);
        let mut found = self.empty();
        for address in lookup(host)?.into_iter().take(16) {
            found.push(SocketAddr::new(address, port));
        }
        match found.is_empty() {
            true => Err(ureq::Error::HostNotFound),
            false => Ok(found),
        }
    }
}

/// Addresses of `host`, IPv4 first. None is no error.
fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, &name);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761: such names never leave the machine.
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Servers::parse(&text).ask(bare)
}

/// What a hosts file says of a name.
fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|word| word.eq_ignore_ascii_case(name))
        {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// The settings of resolv.conf(5) that matter here.
#[derive(Debug, PartialEq)]
struct Servers {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Servers {
    fn parse(text: &str) -> Servers {
        let mut found = Servers {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`%eth0`) has no place in an address.
                    found
                        .servers
                        .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| found.option(word)),
                _ => {}
            }
        }
        found.servers.truncate(3);
        if found.servers.is_empty() {
            found.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        found
    }

    fn option(&mut self, word: &str) {
        let number = |name: &str| word.strip_prefix(name)?.parse::<u32>().ok();
        if let Some(dots) = number("ndots:") {
            self.dots = dots.min(15) as usize;
        } else if let Some(seconds) = number("timeout:") {
            self.timeout = Duration::from_secs(seconds.clamp(1, 30).into());
        } else if let Some(attempts) = number("attempts:") {
            self.attempts = attempts.clamp(1, 5);
        }
    }

    /// The names that stand for `host`, in the order to ask for.
    fn candidates(&self, host: &str) -> Vec<String> {
        let absolute = host.trim_end_matches('.').to_owned();
        if host.ends_with('.') {
            return vec![absolute];
        }
        let found = self.search.iter();
        let mut found: Vec<String> = found.map(|domain| format!("{absolute}.{domain}")).collect();
        let dots = absolute.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= self.dots { 0 } else { found.len() };
        found.insert(at, absolute);
        found
    }

    fn ask(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        for name in self.candidates(host) {
            let found = self.ask_for(&name)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Asks one server after the other. An error if none answers.
    fn ask_for(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..self.attempts {
            for server in &self.servers {
                match self.exchange(*server, name) {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    Err(error) => last = error,
                }
            }
        }
        let text = format!("no name server answers: {last}");
        Err(io::Error::new(last.kind(), text))
    }

    /// Both families from one server; None if it cannot or will not tell.
    fn exchange(&self, server: IpAddr, name: &str) -> io::Result<Option<Vec<IpAddr>>> {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((server, 53))?;
        let id = u16::from_ne_bytes(random::bytes().map_err(io::Error::other)?);
        let mut open = Vec::new();
        for (id, kind) in [(id, TYPE::A), (id.wrapping_add(1), TYPE::AAAA)] {
            let Some(query) = query(id, name, kind) else {
                return Ok(Some(Vec::new()));
            };
            socket.send(&query)?;
            open.push((id, query));
        }
        let mut found = Vec::new();
        let mut end = Instant::now() + self.timeout;
        let mut buffer = [0; 4096];
        let mut answered = false;
        while !open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let Some(mut reply) = reply(&buffer[..length]) else {
                continue;
            };
            let Some(at) = open.iter().position(|(id, _)| *id == reply.id) else {
                continue;
            };
            let (_, query) = open.swap_remove(at);
            if reply.truncated {
                match over_tcp(server, &query, self.timeout) {
                    Ok(Some(whole)) => reply = whole,
                    Ok(None) => continue,
                    Err(error) => return Err(error),
                }
            }
            if reply.failed {
                continue;
            }
            answered = true;
            found.extend(reply.addresses);
            end = end.min(Instant::now() + SECOND_ANSWER);
        }
        found.sort_by_key(IpAddr::is_ipv6);
        Ok(answered.then_some(found))
    }
}

/// A question; None if `name` cannot be a name.
fn query(id: u16, name: &str, kind: TYPE) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    let class = QCLASS::CLASS(CLASS::IN);
    let question = Question::new(name, QTYPE::TYPE(kind), class, false);
    packet.questions.push(question);
    packet.build_bytes_vec().ok()
}

struct Reply {
    id: u16,
    addresses: Vec<IpAddr>,
    truncated: bool,
    /// The server could not find out.
    failed: bool,
}

/// Reads an answer; None if it is none.
fn reply(bytes: &[u8]) -> Option<Reply> {
    let packet = Packet::parse(bytes).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    // The servers follow aliases: all addresses belong to the name.
    let addresses = packet
        .answers
        .iter()
        .filter_map(|answer| match &answer.rdata {
            RData::A(a) => Some(IpAddr::V4(a.address.into())),
            RData::AAAA(a) => Some(IpAddr::V6(a.address.into())),
            _ => None,
        });
    Some(Reply {
        id: packet.id(),
        addresses: addresses.collect(),
        truncated: packet.has_flags(PacketFlag::TRUNCATION),
        failed: !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError),
    })
}

/// Asks again for an answer that did not fit (RFC 7766).
fn over_tcp(server: IpAddr, query: &[u8], timeout: Duration) -> io::Result<Option<Reply>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, 53), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(reply(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let hosts = "::1 me\n127.0.0.1 localhost Me # you\n10.0.0.1 other\n#1.1.1.1 me\n";
        let expected: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(in_hosts(hosts, "me"), expected);
        assert!(in_hosts(hosts, "you").is_empty());

        let servers = Servers::parse(
            "# x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.test b.test\n\
             options ndots:2 timeout:1 attempts:9 rotate\n",
        );
        assert_eq!(servers.servers, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!((servers.dots, servers.attempts), (2, 5));
        assert_eq!(servers.timeout, Duration::from_secs(1));
        assert_eq!(
            servers.candidates("r.x"),
            ["r.x.a.test", "r.x.b.test", "r.x"]
        );
        assert_eq!(servers.candidates("a.b.c")[0], "a.b.c");
        assert_eq!(servers.candidates("r."), ["r"]);
        let none = Servers::parse("");
        assert_eq!(none.servers, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn questions_and_answers() {
        let bytes = query(7, "r.test", TYPE::A).unwrap();
        let mut packet = Packet::parse(&bytes).unwrap().into_reply();
        packet.answers.push(simple_dns::ResourceRecord::new(
            Name::new("r.test").unwrap(),
            CLASS::IN,
            60,
            RData::A(simple_dns::rdata::A {
                address: Ipv4Addr::new(10, 0, 0, 9).into(),
            }),
        ));
        let reply = reply(&packet.build_bytes_vec().unwrap()).unwrap();
        assert_eq!((reply.id, reply.failed), (7, false));
        assert_eq!(reply.addresses, [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))]);
        assert!(super::reply(&bytes).is_none());
        assert!(super::reply(b"x").is_none());
        assert!(query(1, &"a".repeat(70), TYPE::A).is_none());
    }
}
