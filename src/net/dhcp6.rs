//! A DHCPv6 server with one answer (RFC 8415), for clients that a router
//! advertisement sends here. Pure.

use super::dhcp::domains;
use std::net::Ipv6Addr;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: Ipv6Addr,
    /// Our hardware address, by which it knows us.
    pub server: [u8; 6],
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// How long, in seconds.
    pub seconds: u32,
}

/// Port of servers.
pub const SERVER: u16 = 547;
/// Port of clients.
pub const CLIENT: u16 = 546;

mod kind {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION: u8 = 11;
}

mod option {
    pub const CLIENT: u16 = 1;
    pub const SERVER: u16 = 2;
    pub const ADDRESSES: u16 = 3;
    pub const ADDRESS: u16 = 5;
    pub const STATUS: u16 = 13;
    pub const RAPID: u16 = 14;
    pub const DNS: u16 = 23;
    pub const SEARCH: u16 = 24;
}

/// Longest identity that a client may have (RFC 8415, 11.1).
const MAX_IDENTITY: usize = 130;

/// Answers a client's message; `None` for what is none, or is for another
/// server.
pub fn answer(request: &[u8], lease: &Lease) -> Option<Vec<u8>> {
    let (&[asked, a, b, c], options) = request.split_first_chunk::<4>()?;
    // A DUID of our hardware address (RFC 8415, 11.4).
    let own = [&[0, 3, 0, 1][..], &lease.server].concat();
    let client = find(options, option::CLIENT);
    if client.is_some_and(|client| client.len() > MAX_IDENTITY) {
        return None;
    }
    let named = find(options, option::SERVER);
    let to_us = named == Some(&own[..]);
    let rapid = asked == kind::SOLICIT && find(options, option::RAPID).is_some();
    let fits = match asked {
        kind::SOLICIT | kind::CONFIRM | kind::REBIND => client.is_some() && named.is_none(),
        kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => client.is_some() && to_us,
        kind::INFORMATION => named.is_none() || to_us,
        _ => false,
    };
    if !fits {
        return None;
    }
    let kind = match asked {
        kind::SOLICIT if !rapid => kind::ADVERTISE,
        _ => kind::REPLY,
    };
    let mut reply = vec![kind, a, b, c];
    put(&mut reply, option::SERVER, &own);
    if let Some(client) = client {
        put(&mut reply, option::CLIENT, client);
    }
    if rapid {
        put(&mut reply, option::RAPID, &[]);
    }
    match asked {
        kind::SOLICIT | kind::REQUEST | kind::RENEW | kind::REBIND => {
            let identity = find(options, option::ADDRESSES).and_then(|value| value.get(..4));
            if let Some(identity) = identity {
                put(&mut reply, option::ADDRESSES, &addresses(identity, lease));
            }
        }
        // Success.
        kind::CONFIRM | kind::RELEASE | kind::DECLINE => {
            put(&mut reply, option::STATUS, &[0, 0]);
            return Some(reply);
        }
        _ => {}
    }
    let servers: Vec<u8> = lease.dns.iter().flat_map(|dns| dns.octets()).collect();
    if !servers.is_empty() {
        put(&mut reply, option::DNS, &servers);
    }
    let search = domains(&lease.search);
    if !search.is_empty() {
        put(&mut reply, option::SEARCH, &search);
    }
    Some(reply)
}

/// The value of an IA_NA option (RFC 8415, 21.4) with the one address.
fn addresses(identity: &[u8], lease: &Lease) -> Vec<u8> {
    let mut value = identity.to_vec();
    // When to renew, and when to ask anybody.
    value.extend((lease.seconds / 2).to_be_bytes());
    value.extend((lease.seconds / 5 * 4).to_be_bytes());
    let mut address = lease.address.octets().to_vec();
    address.extend(lease.seconds.to_be_bytes());
    address.extend(lease.seconds.to_be_bytes());
    put(&mut value, option::ADDRESS, &address);
    value
}

fn put(message: &mut Vec<u8>, code: u16, value: &[u8]) {
    // One that is longer has no place.
    if let Ok(length) = u16::try_from(value.len()) {
        message.extend(code.to_be_bytes());
        message.extend(length.to_be_bytes());
        message.extend(value);
    }
}

/// The value of the first option with this code.
fn find(mut options: &[u8], code: u16) -> Option<&[u8]> {
    loop {
        let (header, rest) = options.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([header[0], header[1]]) == code {
            return Some(value);
        }
        options = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease() -> Lease {
        Lease {
            address: "fd00::100".parse().unwrap(),
            server: [2, 0, 0, 0, 0, 9],
            dns: vec!["fd00::2".parse().unwrap()],
            search: vec!["a.example".into()],
            seconds: 1000,
        }
    }

    fn request(kind: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![kind, 1, 2, 3];
        for (code, value) in options {
            put(&mut bytes, *code, value);
        }
        bytes
    }

    const CLIENT: (u16, &[u8]) = (option::CLIENT, &[0, 3, 0, 1, 7, 7, 7, 7, 7, 7]);
    const SERVER: (u16, &[u8]) = (option::SERVER, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 9]);
    const IA: (u16, &[u8]) = (option::ADDRESSES, &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]);

    #[test]
    fn a_client_gets_its_address() {
        let advertised = answer(&request(kind::SOLICIT, &[CLIENT, IA]), &lease()).unwrap();
        assert_eq!(advertised[..4], [kind::ADVERTISE, 1, 2, 3]);
        assert_eq!(find(&advertised[4..], option::CLIENT), Some(CLIENT.1));
        let ia = find(&advertised[4..], option::ADDRESSES).unwrap();
        assert_eq!(ia[..4], [0, 0, 0, 5]);
        let address = find(&ia[12..], option::ADDRESS).unwrap();
        assert_eq!(address[..16], lease().address.octets());
        assert_eq!(
            find(&advertised[4..], option::DNS),
            Some(&lease().dns[0].octets()[..])
        );
        let rapid = request(kind::SOLICIT, &[CLIENT, IA, (option::RAPID, &[])]);
        assert_eq!(answer(&rapid, &lease()).unwrap()[0], kind::REPLY);
        let asked = request(kind::REQUEST, &[CLIENT, SERVER, IA]);
        assert_eq!(answer(&asked, &lease()).unwrap()[0], kind::REPLY);
        let told = answer(&request(kind::INFORMATION, &[]), &lease()).unwrap();
        assert_eq!(find(&told[4..], option::ADDRESSES), None);
        assert!(find(&told[4..], option::SEARCH).is_some());
        let released = answer(&request(kind::RELEASE, &[CLIENT, SERVER, IA]), &lease()).unwrap();
        assert_eq!(find(&released[4..], option::STATUS), Some(&[0, 0][..]));
        for unfit in [
            request(kind::REQUEST, &[CLIENT, IA]),
            request(kind::REQUEST, &[CLIENT, (option::SERVER, &[1]), IA]),
            request(kind::SOLICIT, &[IA]),
            advertised,
        ] {
            assert_eq!(answer(&unfit, &lease()), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(kind in 0u8..14, options in proptest::collection::vec(any::<u8>(), 0..90)) {
            let mut bytes = request(kind, &[CLIENT]);
            bytes.extend(&options);
            let _ = answer(&bytes, &lease());
            let _ = answer(&options, &lease());
        }
    }
}
