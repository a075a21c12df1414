//! A DHCP server with one answer (RFC 2131, RFC 2132): what a client is told
//! is what it has anyway. Pure.

use std::net::Ipv4Addr;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The router, which is us.
    pub gateway: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// How long, in seconds.
    pub seconds: u32,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload, for port [`CLIENT`].
    pub payload: Vec<u8>,
    /// To whom; 255.255.255.255 is everybody on the link.
    pub to: Ipv4Addr,
}

/// Port of servers.
pub const SERVER: u16 = 67;
/// Port of clients.
pub const CLIENT: u16 = 68;

/// Bytes before the options: the fields of BOOTP and the magic cookie.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

// RFC 2132, 9.6
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

mod option {
    pub const PAD: u8 = 0;
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const MTU: u8 = 26;
    pub const REQUESTED: u8 = 50;
    pub const SECONDS: u8 = 51;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const SEARCH: u8 = 119;
    pub const END: u8 = 255;
}

/// Answers a client's message; `None` for what is none, or needs no answer.
pub fn answer(request: &[u8], lease: &Lease) -> Option<Reply> {
    let fixed = request.get(..FIXED)?;
    let at = |offset: usize| -> [u8; 4] { fixed[offset..offset + 4].try_into().unwrap() };
    let (op, relay) = (fixed[0], at(24));
    // Ethernet, six bytes, and no relay agent between.
    if op != 1 || fixed[1..3] != [1, 6] || at(236) != COOKIE || relay != [0; 4] {
        return None;
    }
    let options = &request[FIXED..];
    let [kind] = *find(options, option::KIND)? else {
        return None;
    };
    let address = |code| find(options, code).and_then(|v| <[u8; 4]>::try_from(v).ok());
    let server = address(option::SERVER).map(Ipv4Addr::from);
    let own = Ipv4Addr::from(at(12));
    let answer = match kind {
        DISCOVER => OFFER,
        // The client has chosen another server.
        REQUEST if server.is_some_and(|server| server != lease.gateway) => return None,
        REQUEST => {
            let wanted = address(option::REQUESTED).map_or(own, Ipv4Addr::from);
            match wanted == lease.address {
                true => ACK,
                false => NAK,
            }
        }
        INFORM => ACK,
        _ => return None,
    };

    let mut payload = vec![0; FIXED];
    payload[..3].copy_from_slice(&[2, 1, 6]);
    // Transaction and flags, hardware address.
    payload[4..8].copy_from_slice(&fixed[4..8]);
    payload[10..12].copy_from_slice(&fixed[10..12]);
    payload[28..44].copy_from_slice(&fixed[28..44]);
    payload[236..240].copy_from_slice(&COOKIE);
    if kind == INFORM {
        payload[12..16].copy_from_slice(&own.octets());
    } else if answer != NAK {
        payload[16..20].copy_from_slice(&lease.address.octets());
    }
    let mut put = |code: u8, value: &[u8]| {
        // One that is longer has no place.
        if let Ok(length) = u8::try_from(value.len()) {
            payload.extend([code, length]);
            payload.extend(value);
        }
    };
    put(option::KIND, &[answer]);
    put(option::SERVER, &lease.gateway.octets());
    if answer != NAK {
        let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix.min(32)));
        put(option::MASK, &mask.unwrap_or(0).to_be_bytes());
        put(option::ROUTER, &lease.gateway.octets());
        put(option::MTU, &lease.mtu.to_be_bytes());
        if kind != INFORM {
            put(option::SECONDS, &lease.seconds.to_be_bytes());
        }
        let servers: Vec<u8> = lease.dns.iter().flat_map(|dns| dns.octets()).collect();
        if !servers.is_empty() {
            put(option::DNS, &servers);
        }
        let search = domains(&lease.search);
        if !search.is_empty() {
            put(option::SEARCH, &search);
        }
    }
    payload.push(option::END);
    // Some clients drop what is shorter than BOOTP's messages were.
    let length = payload.len().max(300);
    payload.resize(length, option::PAD);

    let broadcast = fixed[10] & 0x80 != 0;
    let to = match () {
        () if answer == NAK => Ipv4Addr::BROADCAST,
        () if !own.is_unspecified() => own,
        () if broadcast => Ipv4Addr::BROADCAST,
        () => lease.address,
    };
    Some(Reply { payload, to })
}

/// The value of the first option with this code.
fn find(mut options: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        match *options.first()? {
            option::END => return None,
            option::PAD => options = &options[1..],
            found => {
                let length = usize::from(*options.get(1)?);
                let value = options.get(2..2 + length)?;
                if found == code {
                    return Some(value);
                }
                options = &options[2 + length..];
            }
        }
    }
}

/// Domains in the form of DNS messages (RFC 1035, 3.1), without compression;
/// what is no domain is left out.
pub fn domains(list: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for domain in list {
        let domain = domain.trim_matches('.');
        let labels: Vec<&str> = domain.split('.').collect();
        let sound = |label: &&str| (1..64).contains(&label.len());
        if domain.len() > 253 || !labels.iter().all(sound) {
            continue;
        }
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease() -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 2, 100),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 2, 2),
            dns: vec![Ipv4Addr::new(10, 0, 2, 2)],
            search: vec!["a.example".into(), "bad..example".into(), ".".into()],
            mtu: 65520,
            seconds: 86400,
        }
    }

    fn request(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[9, 8, 7, 6]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend([option::PAD, option::KIND, 1, kind]);
        bytes.extend(options);
        bytes.push(option::END);
        bytes
    }

    #[test]
    fn a_client_gets_its_address() {
        let offer = answer(&request(DISCOVER, &[]), &lease()).unwrap();
        let options = &offer.payload[FIXED..];
        assert_eq!(find(options, option::KIND), Some(&[OFFER][..]));
        assert_eq!(find(options, option::MASK), Some(&[255, 255, 255, 0][..]));
        assert_eq!(
            find(options, option::MTU),
            Some(&65520u16.to_be_bytes()[..])
        );
        assert_eq!(
            find(options, option::SEARCH),
            Some(&b"\x01a\x07example\0"[..])
        );
        assert_eq!(offer.payload[16..20], [10, 0, 2, 100]);
        assert_eq!(offer.payload[4..8], [9, 8, 7, 6]);
        assert_eq!(offer.to, lease().address);
        let wanted = [
            option::REQUESTED,
            4,
            10,
            0,
            2,
            100,
            option::SERVER,
            4,
            10,
            0,
            2,
            2,
        ];
        let ack = answer(&request(REQUEST, &wanted), &lease()).unwrap();
        assert_eq!(find(&ack.payload[FIXED..], option::KIND), Some(&[ACK][..]));
        // Another address, another server, a renewal, a question.
        let nak = answer(
            &request(REQUEST, &[option::REQUESTED, 4, 1, 2, 3, 4]),
            &lease(),
        )
        .unwrap();
        assert_eq!(find(&nak.payload[FIXED..], option::KIND), Some(&[NAK][..]));
        assert_eq!(nak.to, Ipv4Addr::BROADCAST);
        assert_eq!(
            answer(
                &request(REQUEST, &[option::SERVER, 4, 1, 2, 3, 4]),
                &lease()
            ),
            None
        );
        let mut renewal = request(REQUEST, &[]);
        renewal[12..16].copy_from_slice(&[10, 0, 2, 100]);
        let ack = answer(&renewal, &lease()).unwrap();
        assert_eq!((ack.payload[FIXED + 2], ack.to), (ACK, lease().address));
        let mut inform = request(INFORM, &[]);
        inform[12..16].copy_from_slice(&[10, 0, 2, 9]);
        let told = answer(&inform, &lease()).unwrap();
        assert_eq!(find(&told.payload[FIXED..], option::SECONDS), None);
        assert_eq!(
            (&told.payload[16..20], told.to),
            (&[0; 4][..], Ipv4Addr::new(10, 0, 2, 9))
        );
        // RELEASE, a server's message, a relay's.
        assert_eq!(answer(&request(7, &[]), &lease()), None);
        assert_eq!(answer(&offer.payload, &lease()), None);
        let mut relayed = request(DISCOVER, &[]);
        relayed[24] = 1;
        assert_eq!(answer(&relayed, &lease()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_survive(
            kind: u8,
            options in proptest::collection::vec(any::<u8>(), 0..60),
            at in 0..FIXED + 60,
            byte: u8,
        ) {
            let mut bytes = request(kind, &options);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Some(reply) = answer(&bytes, &lease()) {
                prop_assert!(reply.payload.len() >= 300);
                prop_assert_eq!(reply.payload[0], 2);
            }
            let _ = answer(&options, &lease());
        }
    }
}
